"""Several at once on one store: every answer is true, the chain is whole, and the end is a state that is known."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.crash import (
    PERSON,
    SETTINGS_ONE,
    SETTINGS_TWO,
    CrashAt,
    CrashedError,
    Log,
    World,
    before_retirement,
    before_rollback,
    consent_for,
    guard,
    perform,
    plant,
)
from support.host import ended, process, typed
from support.tree import Spec, snapshot

from stravinsky_rollback_mcp.core.model import BackupStatus, EventStatus, EventType
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit import AuditLog
from stravinsky_rollback_mcp.disk.lock import exclusive
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent, RollbackService
from stravinsky_rollback_mcp.service.desk import Desk, Known


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A home and a project with a store."""
    made = World(tmp_path / "w")
    yield made
    made.close()


def alternating(world: World) -> None:
    """Two backups, ``v1`` and ``v2``, of configurations that differ in everything; ``v2`` is live."""
    for version, word, settings in (("v1", "one", SETTINGS_ONE), ("v2", "two", SETTINGS_TWO)):
        claude: Spec = {"hooks": {"guard.py": guard(word), f"{word}.py": f"{word} = 1\n"}, "settings.json": settings}
        for path in (world.home / ".claude" / "hooks").glob("*.py"):
            path.unlink()
        plant(world, {"home": {".claude": claude}, "project": {".claude": {"settings.json": settings}}}, old=False)
        world.run(world.service().create_backup(PERSON, version=version))


def audited(world: World) -> None:
    """The chain is whole, every operation that began has one end, and no backup is damaged."""
    assert AuditLog(str(world.store / "audit"), Files()).verify(complete=True).intact
    outcomes: dict[str, list[EventStatus]] = {}
    for record in world.records():
        if record.draft.operation_id is not None and record.draft.event_type is not EventType.CRASH_RECOVERY:
            outcomes.setdefault(record.draft.operation_id, []).append(record.draft.status)
    assert all(len(statuses) == 2 for statuses in outcomes.values()), outcomes
    assert os.listdir(world.store / "recovery") == []
    assert not [path for path in world.fingerprint() if ".stravinsky-" in path]
    listed = world.run(world.service().verify_backups(PERSON)).backups
    assert {backup.status for backup in listed} == {BackupStatus.INTACT}


def test_row_60_a_backup_that_retention_removes_meanwhile_is_not_damaged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look for backups and the reading of one: it is left out, or told as not found; no other is hidden."""
    alternating(world)
    away = world.root / "away"
    honest = Desk.known

    def known_before(desk: Desk) -> Known:
        found = honest(desk)
        if not away.exists():
            (world.store / "backups" / "v1").rename(away)
        return found

    def read(use_case: str, **given: object) -> Any:
        with monkeypatch.context() as between:
            between.setattr(Desk, "known", known_before)
            try:
                return world.run(getattr(world.service(), use_case)(PERSON, **given))
            finally:
                away.rename(world.store / "backups" / "v1")

    assert "v1" in {backup.version for backup in world.run(world.service().list_backups(PERSON)).backups}
    for listed in (read("list_backups"), read("list_backups", detail=True), read("verify_backups")):
        assert {backup.status for backup in listed.backups} == {BackupStatus.INTACT}
        assert "v2" in {backup.version for backup in listed.backups}
        assert "v1" not in {backup.version for backup in listed.backups}
    for use_case in ("show_backup", "verify_backups"):
        with pytest.raises(RollbackError) as refused:
            read(use_case, version="v1")
        assert refused.value.code is Code.NOT_FOUND


# -- many writers ---------------------------------------------------------------------------------------------------

# Performs argv[3] random operations on the world argv[1]; prints what each ended with.
MIXER = """
import json, random, sys
from dataclasses import replace
from pathlib import Path
from support.crash import PERSON, World
from stravinsky_rollback_mcp.errors import RollbackError
from stravinsky_rollback_mcp.service import Consent, RollbackService

world = World(Path(sys.argv[1]))
chance = random.Random(int(sys.argv[2]))
service = world.service()
said = []
for number in range(int(sys.argv[3])):
    what = chance.choice(["create_backup", "v1", "v2", "undo", "redo", "list_backups"])
    try:
        if what == "create_backup":
            world.run(service.create_backup(PERSON, version=f"p{sys.argv[2]}.{number}"))
        elif what == "list_backups":
            listed = world.run(service.list_backups(PERSON))
            assert {backup.status for backup in listed.backups} == {"intact"}, listed
        else:
            ask = lambda consent: (
                service.rollback_to(PERSON, version=what, consent=consent)
                if what[0] == "v"
                else getattr(service, what)(PERSON, consent=consent)
            )
            plan = world.run(ask(Consent(dry_run=True)))
            world.run(ask(Consent(accept=plan.security_changes)))
        said.append([what, "done"])
    except RollbackError as error:
        said.append([what, error.code])
print(json.dumps(said))
"""


def mixed(world: World, processes: int, each: int) -> Counter[str]:
    """So many processes at once; what their operations ended with."""
    tests = str(Path(__file__).resolve().parent)
    environ = {**os.environ, "HOME": str(world.home), "PYTHONPATH": tests}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", MIXER, str(world.root), str(seed), str(each)], env=environ, stdout=subprocess.PIPE
        )
        for seed in range(processes)
    ]
    ends: Counter[str] = Counter()
    for child in children:
        output, _ = child.communicate(timeout=120)
        assert child.returncode == 0
        ends.update(end for _, end in json.loads(output))
    return ends


def _mix(world: World, processes: int, each: int) -> None:
    alternating(world)
    ends = mixed(world, processes, each)
    print(f"{processes} processes, {processes * each} operations: {dict(ends)}")  # noqa: T201
    # What another process did in between may leave nothing to undo, or something to agree to first; on a slow machine
    # a wait of a second is not always enough.
    known = {"done", Code.NOTHING_TO_UNDO, Code.NOTHING_TO_REDO, Code.CONFIRM_REQUIRED, Code.BUSY}
    known.add(Code.NOT_FOUND)  # so many named backups push out the oldest ones
    assert set(ends) <= known, ends
    assert ends["done"] > 0
    audited(world)
    status = world.run(world.service().status(PERSON))
    assert status.current.drift == ()
    assert status.current.version is not None


@pytest.mark.case(31)
def test_row_58_three_processes_leave_a_state_that_is_known(world: World) -> None:
    """Backups, rollbacks, undo and redo at random: all are carried out one after the other, or refused for a reason."""
    _mix(world, 3, 4)


@pytest.mark.long
@pytest.mark.case(31)
def test_row_58_eight_processes_leave_a_state_that_is_known(world: World) -> None:
    """The same with twenty operations each."""
    _mix(world, 8, 20)


@pytest.mark.long
@pytest.mark.case(31)
def test_row_58_two_servers_and_a_terminal_share_one_store(home: Path, project: Path) -> None:
    """Real processes: both servers answer, the terminal too, and nobody's backup is lost."""
    (home / ".claude").mkdir()
    (home / ".claude" / "settings.json").write_text(SETTINGS_ONE, encoding="utf-8")
    with process(home, project) as one, process(home, project) as two:
        one.shake_hands()
        two.shake_hands()
        asked = [(server, server.ask_tool("create_backup", version=name)) for server, name in ((one, "a"), (two, "b"))]
        done = ended(typed("backup", "create", "c"), home, project)
        assert done.returncode == 0, done.stderr
        for server, number in asked:
            assert not server.answer(number)["result"].get("isError")
    listed = ended(typed("backup", "list", "--json"), home, project)
    assert {"a", "b", "c"} <= {backup["version"] for backup in json.loads(listed.stdout)["backups"]}


def test_row_58_the_second_is_busy_within_the_time_allowed(world: World) -> None:
    """Bounded: whoever waits in vain is told who holds the store, nothing changes, and readers do not wait at all."""
    before_rollback(world)
    before = world.fingerprint()
    config = world.config()
    safety = replace(config.policy.safety, lock_timeout_seconds=0)
    hasty = RollbackService(replace(config, policy=replace(config.policy, safety=safety)))
    with exclusive(str(world.store / "lock"), Files(), timeout_seconds=0, holder="mcp_client claude-code"):
        for request in (
            lambda: world.service().create_backup(PERSON, version="v2"),
            lambda: hasty.rollback_to(PERSON, version="v1", consent=Consent()),
            lambda: hasty.undo(PERSON, consent=Consent()),
            lambda: hasty.resume(PERSON),
        ):
            with pytest.raises(RollbackError) as caught:
                world.run(request())
            assert caught.value.code is Code.BUSY
            assert f"process {os.getpid()}, mcp_client claude-code" in caught.value.message
        assert world.run(world.service().list_backups(PERSON)).total == 1
        assert world.run(world.service().verify_backups(PERSON)).ok
        assert world.run(world.service().query_audit(PERSON)).chain.intact
    assert world.fingerprint() == before


@pytest.mark.parametrize("kind", ["link", "note of a dead process"])
def test_row_59_an_odd_lock_file_keeps_nobody_out_and_leads_nowhere(world: World, kind: str) -> None:
    """A planted link is not followed; what a process that is gone left there means nothing."""
    before_rollback(world)
    lock, victim = world.store / "lock", world.root / "victim"
    victim.write_bytes(b"precious")
    if kind == "link":
        lock.unlink()
        lock.symlink_to(victim)
        with pytest.raises(RollbackError):
            world.run(world.service().create_backup(PERSON, version="v2"))
        assert victim.read_bytes() == b"precious"
        lock.unlink()
    else:
        lock.write_bytes(b'{"pid": 4194304, "holder": "a process that is gone"}')
    assert world.run(world.service().create_backup(PERSON, version="v2")).created


# -- readers --------------------------------------------------------------------------------------------------------


class Reader(threading.Thread):
    """Asks the same again and again, in a world of its own; remembers what it was told."""

    def __init__(self, root: Path, ask: Callable[[World], object]) -> None:
        super().__init__()
        self._root = root
        self._ask = ask
        self.stop = threading.Event()
        self.answers: list[object] = []
        self.errors: list[str] = []

    def run(self) -> None:
        """Until told to stop."""
        world = World(self._root)
        while not self.stop.is_set():
            try:
                self.answers.append(self._ask(world))
            except RollbackError as error:
                self.errors.append(str(error))
        world.close()


def statuses(world: World) -> object:
    """The health of all that is listed."""
    listed = world.run(world.service().list_backups(PERSON, detail=True))
    return {backup.status for backup in listed.backups}


def test_row_60_readers_take_no_lock_and_see_nothing_torn(world: World) -> None:
    """While a writer goes to and fro: lists and verifications see whole backups, a look at one target a whole tree."""
    alternating(world)
    hooks = world.home / ".claude" / "hooks"
    trees = {frozenset(snapshot(hooks).items())}
    world.run(world.service().rollback_to(PERSON, version="v1", consent=Consent()))
    trees.add(frozenset(snapshot(hooks).items()))
    readers = [
        Reader(world.root, statuses),
        Reader(world.root, lambda own: own.run(own.service().verify_backups(PERSON)).ok),
        Reader(world.root, lambda own: own.run(own.service().query_audit(PERSON)).chain.intact),
    ]
    for reader in readers:
        reader.start()
    try:
        for number in range(4):
            version = ("v2", "v1")[number % 2]
            plan = world.run(world.service().rollback_to(PERSON, version=version, consent=Consent(dry_run=True)))
            consent = Consent(accept=plan.security_changes)
            assert world.run(world.service().rollback_to(PERSON, version=version, consent=consent)).applied
            assert frozenset(snapshot(hooks).items()) in trees
    finally:
        for reader in readers:
            reader.stop.set()
            reader.join(20)
    assert [reader.errors for reader in readers] == [[], [], []]
    assert all(answer == {BackupStatus.INTACT} for answer in readers[0].answers)
    assert all(reader.answers and all(reader.answers) for reader in readers[1:])
    audited(world)


# -- what others left behind, and the order of the steps ------------------------------------------------------------


def test_row_53_what_lies_about_is_neither_used_nor_trusted(world: World) -> None:
    """Old backups of editors, slots and temporary files of other times: only what is surely ours and dead goes."""
    before_rollback(world)
    claude = world.home / ".claude"
    strange: Spec = {
        "hooks.bak": {"guard.py": "stale\n"},
        ".stravinsky-00000000-0.new": {"guard.py": "stale\n"},
        ".stravinsky-00000000-0.old": {"guard.py": "stale\n"},
    }
    plant(world, {"home": {".claude": strange}}, old=False)
    (world.store / "latest.json.0a0b0c0d.tmp").write_bytes(b"{")
    (world.store / "backups" / "v7").mkdir()
    names = [path.name for path in claude.iterdir() if "stravinsky" in path.name or path.suffix == ".bak"]
    before = {name: snapshot(claude / name) for name in names}
    perform(world, "rollback")
    assert {name: snapshot(claude / name) for name in names} == before
    assert len(names) == 3
    assert (claude / "hooks" / "guard.py").read_text(encoding="utf-8") == guard("one").content
    assert not list(world.store.rglob("*.tmp"))
    assert not (world.store / "backups" / "v7").exists()


@pytest.mark.parametrize("name", ["rollback", "undo"])
def test_row_55_scripts_go_live_before_settings_and_leave_after_them(world: World, name: str) -> None:
    """Forwards and back: at no moment do settings name what is not there yet or not there any more."""
    before_retirement(world)
    if name == "undo":
        perform(world, "rollback")
    log = Log()
    perform(world, name, Files(observe=log))
    swapped = [path for call, path in log.calls if call == "renameat2"]
    kinds = [path.endswith(".json") for path in swapped]
    assert kinds == sorted(kinds)
    assert any(kinds)
    if name == "rollback":
        commit = [number for number, (call, path) in enumerate(log.calls) if call == "rename" and "journal" in path][2]
        retired = [
            number for number, call in enumerate(log.calls) if call in (("unlink", "guard.py"), ("unlink", "deep.py"))
        ]
        assert retired
        assert min(retired) > commit


@pytest.mark.case(31)
def test_row_54_a_killed_writer_holds_up_nobody(world: World) -> None:
    """Its lock died with it: the next operation ends what it began, and does its own work."""
    before_rollback(world)
    consent = consent_for(world, "rollback")
    log = Log()
    world.save()
    world.run(world.service(Files(observe=log)).rollback_to(PERSON, version="v1", consent=consent))
    swap = next(number for number, (call, _) in enumerate(log.calls, 1) if call == "renameat2")
    world.reset()
    request = world.service(Files(observe=CrashAt(swap + 1))).rollback_to(PERSON, version="v1", consent=consent)
    with pytest.raises(CrashedError):
        world.run(request)
    made = world.run(world.service().create_backup(PERSON, version="next"))
    assert made.created
    assert any("was taken back" in notice for notice in made.notices)
    audited(world)
