"""What the system refuses by its own limits, and what a clock may do: an error and the old state, or the new one."""

import os
import random
import resource
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from support.crash import ACTS, PERSON, SETTINGS_ONE, SETTINGS_TWO, Log, World, judge, plant, prepare

from stravinsky_rollback_mcp.core.model import BackupStatus, Scope
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent
from stravinsky_rollback_mcp.service.desk import Desk


@contextmanager
def limit(kind: int, value: int) -> Generator[None]:
    """One of the process's soft limits, for a moment."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@pytest.mark.case(11)
@pytest.mark.parametrize("situation", ["rollback", "backup"])
def test_a_limit_on_the_size_of_files_tears_none(world: World, situation: str) -> None:
    """The kernel writes what still fits, then refuses: no half file is ever taken for a whole one."""
    plant(world, {"home": {".claude": {"hooks": {"large.bin": random.Random(0).randbytes(60_000)}}}})
    case = prepare(world, situation)
    states: Counter[str] = Counter()
    for size in (400, 6000, 30_000, 59_000, 80_000):
        world.reset()
        try:
            with limit(resource.RLIMIT_FSIZE, size):
                case.perform(Files())
            state = "done"
        except RollbackError as error:
            state = error.code
        states[state] += 1
        world.resume()
        judge(case, size)
    print(f"file size limits in {situation}: {dict(states)}")  # noqa: T201
    assert set(states) <= {"done", Code.NO_SPACE, Code.AUDIT_UNWRITABLE}
    assert states[Code.NO_SPACE] > 0 < states["done"]


@contextmanager
def spare_handles(count: int) -> Generator[None]:
    """No more than so many handles to open: the numbers below the limit are taken."""
    top = max(int(name) for name in os.listdir("/proc/self/fd"))
    taken: list[int] = []
    try:
        while not taken or taken[-1] <= top:
            taken.append(os.open(os.devnull, os.O_RDONLY))
        with limit(resource.RLIMIT_NOFILE, taken[-1] + 1 + count):
            yield
    finally:
        for handle in taken:
            os.close(handle)


@pytest.mark.case(12)
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="this system does not list a process's handles")
@pytest.mark.parametrize("situation", ["rollback", "backup"])
def test_no_handles_left_is_an_error_and_the_old_state(world: World, situation: str) -> None:
    """With so many handles to spare, for every number until it suffices."""
    case = prepare(world, situation)
    states: Counter[str] = Counter()
    for count in range(0, 12, 2):
        world.reset()
        service = world.service()
        world.run(service.status(PERSON))  # threads and modules are there before the handles are gone
        try:
            with spare_handles(count):
                world.run(ACTS[case.name](service, case.consent))
            state = "done"
        except RollbackError as error:
            state = error.code
        states[state] += 1
        world.resume()
        judge(case, count)
    print(f"handles to spare in {situation}: {dict(states)}")  # noqa: T201
    assert len(states) > 1
    assert states["done"] > 0


@pytest.mark.case(26)
def test_a_project_that_is_the_home_is_one_scope_and_changes_once(world: World) -> None:
    """Both roots are one folder: each target is backed up once and exchanged once."""
    plant(world, {"home": {".claude": {"hooks": {"a.py": "one\n"}, "settings.json": SETTINGS_ONE}}})
    service = world.service(project=world.home)
    made = world.run(service.create_backup(PERSON, version="v1"))
    shown = world.run(service.show_backup(PERSON, version=made.backup.version)).backups[0].targets or ()
    assert {target.scope for target in shown} == {Scope.USER}
    (world.home / ".claude" / "settings.json").write_text(SETTINGS_TWO, encoding="utf-8")
    (world.home / ".claude" / "hooks" / "a.py").write_text("two\n", encoding="utf-8")
    log = Log()
    files = Files(observe=log)
    request = world.service(files, project=world.home).rollback_to(PERSON, version="v1", consent=Consent())
    done = world.run(request)
    assert [change.component for change in done.changes if change.action == "replace"] == ["hooks", "settings"]
    assert len([call for call, _ in log.calls if call == "renameat2"]) == 2
    assert (world.home / ".claude" / "hooks" / "a.py").read_text(encoding="utf-8") == "one\n"
    assert (world.home / ".claude" / "settings.json").read_text(encoding="utf-8") == SETTINGS_ONE


@pytest.mark.case(38)
def test_order_is_by_sequence_whatever_the_clock_says(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands, then jumps back a year: names stay unique, the last made is the newest."""
    now = [datetime(2026, 11, 24, 12, tzinfo=UTC)]

    def moment(_: Desk) -> datetime:
        return now[0]

    monkeypatch.setattr(Desk, "moment", moment)
    settings = world.home / ".claude" / "settings.json"
    plant(world, {"home": {".claude": {"settings.json": "{}\n"}}})
    versions: list[str] = []
    for number in range(6):
        if number == 3:
            now[0] -= timedelta(days=365)
        settings.write_text(f'{{"cleanupPeriodDays": {number + 1}}}\n', encoding="utf-8")
        versions.append(world.run(world.service().create_backup(PERSON)).backup.version)
    assert len(set(versions)) == 6
    listed = world.run(world.service().list_backups(PERSON))
    assert [backup.version for backup in listed.backups] == versions[::-1]
    assert listed.current.version == versions[-1]
    assert {backup.status for backup in listed.backups} == {BackupStatus.INTACT}
    world.run(world.service().undo(PERSON, consent=Consent()))
    assert world.run(world.service().list_backups(PERSON)).current.version == versions[-2]
    world.run(world.service().redo(PERSON, consent=Consent()))
    assert world.run(world.service().list_backups(PERSON)).current.version == versions[-1]
