"""Neither finished nor taken back: both trees stay, a person is told where and what to type, all else goes on."""

import errno
import os
import shlex
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from support.crash import (
    PERSON,
    SETTINGS_ONE,
    Case,
    CrashAt,
    CrashedError,
    NoExchange,
    World,
    before_retirement,
    consent_for,
    judge,
    plant,
    prepare,
    world_in_memory,
)

from stravinsky_rollback_mcp.core.codec import journal as codec
from stravinsky_rollback_mcp.core.model import EventType, TargetState
from stravinsky_rollback_mcp.core.outcome import Restored
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent, Scope


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world with names that a shell would take apart."""
    with world_in_memory(tmp_path, name="it's $HOME ") as made:
        yield made


class Frozen:
    """From the N-th mutating call on nothing below the targets' folders can be changed; the store still can."""

    def __init__(self, at: int, world: World) -> None:
        self.left = at
        self.fired = False
        self._store = str(world.store)

    def __call__(self, _operation: str, path: str) -> None:
        """Count, and refuse what lies outside the store."""
        self.left -= 1
        if self.left <= 0 and not path.startswith(self._store):
            self.fired = True
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))


class Stuck:
    """The targets of the operations that wait, and their slots, cannot be changed; everything else can."""

    def __init__(self, world: World) -> None:
        records = [codec.decode(path.read_bytes()) for path in (world.store / "recovery").glob("parked-*.json")]
        targets = [target for record in records for target in record.targets]
        self._paths = {path for target in targets for path in (target.resolved, *target.slots)}

    def __call__(self, _operation: str, path: str) -> None:
        """Refuse what belongs to them."""
        if path in self._paths:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def first_swap(case: Case) -> int:
    """The number of the first call that changes a live target in the clean run."""
    return next(number for number, (call, _) in enumerate(case.calls, 1) if call == "renameat2")


def stuck(world: World, after: int = 1, situation: str = "rollback") -> Case:
    """A rollback that could be neither finished nor taken back after so many of its exchanges."""
    case = prepare(world, situation)
    world.reset()
    frozen = Frozen(first_swap(case) + after, world)
    with pytest.raises(RollbackError) as caught:
        case.perform(Files(observe=frozen))
    assert frozen.fired
    assert caught.value.code is Code.NEEDS_ATTENTION
    assert ".stravinsky-" in caught.value.message
    return case


def explained(world: World) -> str:
    """What a person reads."""
    return (world.store / "recovery" / "RECOVERY.md").read_text(encoding="utf-8")


def refused(request: Callable[[], object]) -> RollbackError:
    """What a request is refused with."""
    with pytest.raises(RollbackError) as caught:
        request()
    return caught.value


@pytest.mark.case(6)
def test_both_trees_stay_and_the_person_is_told(world: World) -> None:
    """No tree is deleted, each is named with its place, and the audit knows that somebody is needed."""
    case = stuck(world)
    text = explained(world)
    slots = [path for path in world.fingerprint() if os.path.basename(path).startswith(".stravinsky-")]
    assert slots
    assert all(slot in text for slot in slots)
    assert f"stravinsky-rollback recovery resume --store {shlex.quote(str(world.store))}" in text
    assert "Read-only file system" in text
    assert [name[:7] for name in sorted(os.listdir(world.store / "recovery"))] == ["RECOVER", "parked-"]
    attempt = [record.draft for record in world.records() if record.draft.event_type is EventType.RECOVERY_ATTEMPT]
    assert [draft.error for draft in attempt] == [Code.NEEDS_ATTENTION]
    assert world.resume().recovered
    assert not judge(case, "resumed")


def test_those_targets_are_refused_and_everything_else_goes_on(world: World) -> None:
    """Reading, backups, other targets and other projects do not wait for the person."""
    case = stuck(world)
    service, before = world.service(Files(observe=Stuck(world))), world.fingerprint()

    def rollback(*only: str) -> Restored:
        return world.run(service.rollback_to(PERSON, version="v1", only=only, consent=case.consent))

    for request in (
        rollback,
        lambda: rollback("~/.claude/hooks/guard.py"),
        lambda: world.run(service.undo(PERSON, consent=Consent())),
    ):
        assert refused(request).code is Code.NEEDS_ATTENTION
        assert world.fingerprint() == before
    status = world.run(service.status(PERSON))
    assert status.operation is not None
    assert status.operation.needs_attention
    assert any("RECOVERY.md" in notice for notice in status.notices)
    assert world.run(service.list_backups(PERSON)).total == 2  # v1 and the safety backup
    assert world.run(service.verify_backups(PERSON)).ok

    (world.home / ".claude" / "commands").mkdir()
    made = world.run(service.create_backup(PERSON, version="meanwhile"))
    assert any("neither finished nor taken back" in line for line in made.warnings)
    shown = world.run(service.show_backup(PERSON, version="meanwhile")).backups[0].targets or ()
    states = {f"{target.scope}.{target.component}": target.state for target in shown}
    assert states["user.hooks"] is TargetState.NOT_RECORDED
    assert states["user.commands"] is TargetState.PRESENT
    assert rollback("~/.claude/commands").applied
    assert not (world.home / ".claude" / "commands").exists()
    assert any("needs attention" in notice for notice in rollback("~/.claude/commands").notices)

    elsewhere = world.root / "live" / "elsewhere"
    plant(world, {"elsewhere": {".claude": {"settings.json": SETTINGS_ONE}}}, old=False)
    other = world.service(Files(observe=Stuck(world)), project=elsewhere)
    world.run(other.create_backup(PERSON, version="other"))
    (elsewhere / ".claude" / "settings.json").write_text("{}\n", encoding="utf-8")
    assert world.run(other.rollback_to(PERSON, version="other", scope=Scope.PROJECT, consent=Consent())).applied
    assert (elsewhere / ".claude" / "settings.json").read_text(encoding="utf-8") == SETTINGS_ONE
    assert world.resume().recovered
    assert world.fingerprint() == case.old


def test_resume_is_refused_until_the_cause_is_mended(world: World) -> None:
    """Exit code 4 for as long as it lasts; then once, and nothing is left to say."""
    case = stuck(world)
    for _ in range(2):
        error = refused(lambda: world.resume(Files(observe=Frozen(1, world))))
        assert error.code is Code.NEEDS_ATTENTION
        assert "RECOVERY.md" in error.message
    attempts = [record for record in world.records() if record.draft.event_type is EventType.RECOVERY_ATTEMPT]
    assert len(attempts) == 1
    assert world.resume().recovered
    assert not world.resume().recovered
    assert not judge(case, "mended")


def test_two_operations_wait_side_by_side(world: World) -> None:
    """A second one gets stuck on other targets: both are explained, and one resume ends both."""
    case = stuck(world)
    (world.home / ".claude" / "commands").mkdir()
    frozen, stuck_before = Frozen(10_000, world), Stuck(world)

    def observe(operation: str, path: str) -> None:
        stuck_before(operation, path)
        frozen(operation, path)
        if operation == "renameat2" and path.endswith(".old"):
            frozen.left = 1

    request = world.service(Files(observe=observe)).rollback_to(
        PERSON, version="v1", only=("~/.claude/commands",), consent=Consent()
    )
    assert refused(lambda: world.run(request)).code is Code.NEEDS_ATTENTION
    assert explained(world).count("## MANUAL_ROLLBACK") == 2
    assert world.resume().recovered
    (world.home / ".claude" / "commands").rmdir()
    assert not judge(case, "both")


def typed(text: str) -> list[str]:
    """The commands that put everything back by hand."""
    return [line.strip() for line in text.splitlines() if line.startswith("    mv ")]


@pytest.mark.parametrize("situation", ["rollback", "rollback that removes", "rollback that brings all back"])
@pytest.mark.parametrize("disk", [Files, NoExchange])
def test_the_commands_that_a_person_types_bring_the_old_trees_back(
    world: World, situation: str, disk: type[Files]
) -> None:
    """Real paths, quoted for a shell, in every state in which the exchanges can have stopped."""
    case = prepare(world, situation, lambda log: disk(observe=log))
    first = first_swap(case)
    swaps = [number for number, (call, _) in enumerate(case.calls, 1) if call == "renameat2"]
    lines = 0
    for at in range(first + 1, swaps[-1] + 2):
        world.reset()
        frozen = Frozen(at, world)
        assert refused(lambda: case.perform(disk(observe=frozen))).code is Code.NEEDS_ATTENTION  # noqa: B023
        commands = typed(explained(world))
        lines += len(commands)
        for command in commands:
            subprocess.run(["sh", "-c", command], check=True, cwd=world.root)
        live = {path: entry for path, entry in world.fingerprint().items() if ".stravinsky-" not in path}
        made = {path for path in live if path.endswith("/.claude")} if "brings" in situation else set[str]()
        assert {path: entry for path, entry in live.items() if path not in made} == case.old
        world.resume(disk())
        assert not judge(case, at)
    assert lines > 0


@pytest.mark.case(21)
def test_something_foreign_is_moved_away_by_the_first_command(world: World) -> None:
    """Both trees and the stranger are kept; after what RECOVERY.md says, the old tree is back and the stranger safe."""
    case = prepare(world, "rollback")
    world.reset()
    hooks = world.home / ".claude" / "hooks"

    def observe(operation: str, path: str) -> None:
        if operation == "renameat2" and path == str(hooks):
            hooks.mkdir()
            (hooks / "theirs.py").write_text("theirs\n", encoding="utf-8")

    assert refused(lambda: case.perform(NoExchange(observe=observe))).code is Code.NEEDS_ATTENTION
    assert refused(lambda: world.resume(NoExchange())).code is Code.NEEDS_ATTENTION
    assert f"something else, which appeared meanwhile: {hooks}" in explained(world)
    for command in typed(explained(world)):
        subprocess.run(["sh", "-c", command], check=True)
    world.resume(NoExchange())
    kept = [path for path in (world.home / ".claude").iterdir() if path.name.endswith(".kept")]
    assert [(path / "theirs.py").read_text(encoding="utf-8") for path in kept] == ["theirs\n"]
    (kept[0] / "theirs.py").unlink()
    kept[0].rmdir()
    assert not judge(case, "by hand")


@pytest.mark.case(2)
def test_killed_while_it_is_set_aside_the_next_recovery_ends_it(world: World) -> None:
    """At every third call of parking, of trying again and of explaining: no record is lost and none is there twice."""
    case = stuck(world)
    world.save("parked")
    world.reset()
    with pytest.raises(CrashedError):
        case.perform(Files(observe=CrashAt(first_swap(case) + 2)))
    world.save("crashed")
    states: Counter[str] = Counter()
    for name in ("crashed", "parked"):
        for at in count(1, 3):
            world.reset(name)
            crash, frozen = CrashAt(at), Frozen(1, world)

            def observe(operation: str, path: str, crash: CrashAt = crash, frozen: Frozen = frozen) -> None:
                crash(operation, path)
                frozen(operation, path)

            try:
                assert refused(lambda: world.resume(Files(observe=observe))).code is Code.NEEDS_ATTENTION
            except CrashedError:
                assert crash.fired
            if not crash.fired:
                break
            assert world.resume().recovered
            assert not judge(case, (name, at))
            states[name] += 1
    print(f"killed while set aside: {sum(states.values())} states, {dict(states)}")  # noqa: T201
    assert min(states.values()) > 5


def test_scripts_that_half_done_settings_name_stay(world: World) -> None:
    """Nobody knows which settings will be live: what either version names is not taken away."""
    before_retirement(world)
    consent = consent_for(world, "rollback")
    settings = str(world.home / ".claude" / "settings.json")
    frozen = Frozen(10_000, world)

    def observe(operation: str, path: str) -> None:
        frozen(operation, path)
        if (operation, path) == ("renameat2", settings):
            frozen.left = 1

    request = world.service(Files(observe=observe)).rollback_to(
        PERSON, version="v1", only=("~/.claude/settings.json",), consent=consent
    )
    assert refused(lambda: world.run(request)).code is Code.NEEDS_ATTENTION
    assert "guard.py" not in Path(settings).read_text(encoding="utf-8")
    plan = Consent(dry_run=True)
    shown = world.run(world.service().rollback_to(PERSON, version="v1", only=("~/.claude/hooks",), consent=plan))
    assert any("hooks/guard.py stays" in line for line in shown.warnings)
