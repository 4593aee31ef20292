"""Kill or fail every operation at every point: wholly old or wholly new, nothing lost, nothing left over.

The method is SQLite's (testing.html, sections 3.1 to 3.4): the N-th call, for every N, until a clean pass; once as a
single failure and once as "all fail from here"; and again inside the recovery of the first. Daily that is the
plainest rollback, and every few calls of all else; the long tests take every one. The cases are those of
``support/cases.py``.
"""

import errno
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count

import pytest
from support.crash import (
    SITUATIONS,
    Case,
    CrashAt,
    CrashedError,
    FailAt,
    FailThenCrash,
    FullDisk,
    Log,
    NoExchange,
    NoFlags,
    World,
    difference,
    judge,
    kill_at,
    prepare,
)

from stravinsky_rollback_mcp.core.outcome import BackupCreated, Restored
from stravinsky_rollback_mcp.disk.atomic import Files, Observer
from stravinsky_rollback_mcp.errors import Code, RollbackError

Disk = Callable[[Observer], Files]

EVERY = 1
SOME = 4  # daily, of the calls; each situation begins at another one
DAILY_STEP = {"rollback": EVERY}  # the plainest one whole
FEW = 24  # daily, of the kills whose recovery is killed or fails in turn
# Those that between them create, replace and remove; the long tests take all.
DAILY = ["rollback", "rollback that brings all back", "backup"]
JOURNAL = "/recovery/journal.json"
LATEST = "/rollback/latest.json"
DISKS: dict[str, Disk] = {"no exchange": NoExchange, "no flags": NoFlags}


def crash(case: Case, at: int, disk: Disk = Files) -> bool:
    """A fresh copy of the situation in which the process died before its N-th call; False when it was done by then."""
    case.world.reset()
    observer = CrashAt(at)
    try:
        case.perform(disk(observer))
    except CrashedError:
        assert observer.fired
        return True
    assert not observer.fired
    return False


def crash_in_recovery(case: Case, at: int, disk: Disk = Files) -> bool:
    """A recovery that dies before its N-th call; False when it was done by then."""
    observer = CrashAt(at)
    try:
        case.world.resume(disk(observer))
    except CrashedError:
        assert observer.fired
        return True
    assert not observer.fired
    return False


def attempt(case: Case, files: Files) -> Restored | BackupCreated | RollbackError:
    """What the operation returned or was refused with."""
    try:
        return case.perform(files)
    except RollbackError as error:
        return error


def without_slots(case: Case) -> dict[str, tuple[str, int, bytes, int]]:
    """What is live now, staged and displaced trees left out: they may wait for the next operation."""
    return {path: entry for path, entry in case.world.fingerprint().items() if ".stravinsky-" not in path}


def tell(what: str, states: Counter[str]) -> None:
    """The counts of states tried; shown with `-rP`."""
    print(f"{what}: {sum(states.values())} states, {dict(states)}")  # noqa: T201


def _first(case: Case, path: str, after: int = 0) -> int:
    """The number of the first call on a path in the clean run."""
    return next(number for number, (_, touched) in enumerate(case.calls, 1) if path in touched and number > after)


# -- killed ---------------------------------------------------------------------------------------------------------


def _tried(case: Case, situation: str, step: int) -> range:
    """The numbers of the calls that are tried; where some are left out, each situation begins at another one."""
    return range(1 + list(SITUATIONS).index(situation) % step, len(case.calls) + 1, step)


def _killed_anywhere(world: World, situation: str, step: int) -> None:
    case = prepare(world, situation)
    states: Counter[str] = Counter()
    for at in _tried(case, situation, step):
        assert crash(case, at)
        world.resume()
        is_new = judge(case, (at, case.calls[at - 1]))
        assert not world.resume().recovered
        assert list(world.store.rglob("*.tmp")) == []
        states["new" if is_new else "old"] += 1
    tell(f"killed in {situation}", states)
    assert not crash(case, len(case.calls) + 1)
    assert states["new"] > 0
    assert states["old"] > 0 or situation == "backup"


@pytest.mark.case(1, 31)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_killed_anywhere_all_targets_are_old_or_all_are_new(world: World, situation: str) -> None:
    """Before each mutating call of a rollback, and every fourth of the others; then recovery, and recovery again."""
    _killed_anywhere(world, situation, DAILY_STEP.get(situation, SOME))


@pytest.mark.case(1, 31)
@pytest.mark.long
@pytest.mark.parametrize("situation", SITUATIONS)
def test_killed_at_every_call_all_targets_are_old_or_all_are_new(world: World, situation: str) -> None:
    """The same before each one."""
    _killed_anywhere(world, situation, EVERY)


def _killed_between(world: World, kind: str, kills: Callable[[str], bool]) -> None:
    disk = DISKS[kind]
    case = prepare(world, "rollback", disk)
    states: Counter[str] = Counter()
    gaps = 0
    for at, (call, path) in enumerate(case.calls, 1):
        if not kills(call):
            continue
        assert crash(case, at, disk)
        gaps += not (world.home / ".claude" / "hooks").exists()
        world.resume(disk(Log()))
        states["new" if judge(case, (at, call, path)) else "old"] += 1
    tell(f"killed with {kind}", states)
    assert gaps > 0
    assert states["new"] > 0 < states["old"]


@pytest.mark.case(19, 20)
@pytest.mark.parametrize("kind", DISKS)
def test_killed_between_two_renames_all_targets_come_back(world: World, kind: str) -> None:
    """Where exchange is not offered: the gap has no name for the target, and its old tree a slot."""
    _killed_between(world, kind, lambda call: "rename" in call)


@pytest.mark.case(19, 20)
@pytest.mark.long
@pytest.mark.parametrize("kind", DISKS)
def test_killed_at_every_call_without_exchange_all_targets_come_back(world: World, kind: str) -> None:
    """The same before each call."""
    _killed_between(world, kind, lambda _: True)


def _compound(world: World, situation: str, disk: Disk, step: int) -> None:
    case = prepare(world, situation, disk)
    states: Counter[str] = Counter()
    # Before its journal a process leaves nothing that recovery could be killed at.
    for first in range(_first(case, JOURNAL), len(case.calls) + 1, step):
        assert crash(case, first, disk)
        world.save("crashed")
        for second in count(1):
            world.reset("crashed")
            if not crash_in_recovery(case, second, disk):
                break
            world.resume(disk(Log()))
            states["new" if judge(case, (first, second)) else "old"] += 1
    tell(f"killed in the recovery of {situation}", states)
    assert states["new"] > 0 < states["old"]


@pytest.mark.case(2)
@pytest.mark.parametrize("disk", [Files, NoFlags])
def test_killed_in_the_recovery_of_a_kill_the_next_recovery_ends_it(world: World, disk: Disk) -> None:
    """Compound failures found the need for the ABORTED record; a few kills, every call of recovery."""
    _compound(world, "rollback", disk, FEW)


@pytest.mark.case(2)
@pytest.mark.long
@pytest.mark.parametrize(
    ("situation", "disk"),
    [
        ("rollback", Files),
        ("rollback", NoFlags),
        ("rollback that brings all back", Files),
        ("rollback that removes", Files),
    ],
)
def test_killed_in_the_recovery_of_any_kill_the_next_recovery_ends_it(world: World, situation: str, disk: Disk) -> None:
    """The same for every kill."""
    _compound(world, situation, disk, EVERY)


@pytest.mark.case(1)
def test_a_real_kill_is_what_the_crashes_stand_for(world: World) -> None:
    """SIGKILL at a handful of points: in the backup, staging, exchange, commit and cleaning up."""
    case = prepare(world, "rollback")
    swaps = [number for number, (call, _) in enumerate(case.calls, 1) if call == "renameat2"]
    states: Counter[str] = Counter()
    for at in (20, swaps[0] - 12, swaps[0] + 1, swaps[-1] + 1, swaps[-1] + 9, len(case.calls) - 12):
        world.reset()
        assert kill_at(case, at) == -9
        world.resume()
        states["new" if judge(case, (at, case.calls[at - 1])) else "old"] += 1
    tell("killed by SIGKILL", states)
    assert states["new"] > 0 < states["old"]


# -- failing --------------------------------------------------------------------------------------------------------


def _fail_once(case: Case, number: int, tried: range) -> Counter[str]:
    states: Counter[str] = Counter()
    for at in tried:
        case.world.reset()
        observer = FailAt(at, number)
        result = attempt(case, Files(observe=observer))
        assert observer.fired
        where = (at, case.calls[at - 1 : at], str(result))
        if isinstance(result, RollbackError):
            assert result.code is not Code.NEEDS_ATTENTION, where
            assert without_slots(case) == case.old, (where, difference(case, without_slots(case)))
        else:
            # What fails after the commit waits for the next operation and says so, retiring scripts included.
            is_waiting = any("left to the next operation" in notice for notice in result.notices)
            has_retiring = bool(without_slots(case).keys() - case.new.keys())
            assert without_slots(case) == case.new or (is_waiting and has_retiring), where
        case.world.resume()
        is_new = judge(case, where)
        assert is_new == (not isinstance(result, RollbackError)) or case.old == case.new, where
        states["refused" if isinstance(result, RollbackError) else "done"] += 1
    return states


def _fail_from(case: Case, observers: Callable[[int], FailAt | FullDisk], tried: range) -> Counter[str]:
    states: Counter[str] = Counter()
    for at in tried:
        case.world.reset()
        observer = observers(at)
        result = attempt(case, Files(observe=observer))
        if not observer.fired:  # nothing after that call needs space
            break
        where = (at, case.calls[at - 1 : at], str(result))
        case.world.resume()
        is_new = judge(case, where)
        if isinstance(result, RollbackError):
            assert not is_new or result.code is Code.NEEDS_ATTENTION or case.old == case.new, where
        else:
            assert is_new, where
        states[f"{result.code if isinstance(result, RollbackError) else 'done'}, {'new' if is_new else 'old'}"] += 1
    return states


@pytest.mark.case(5, 10, 13, 14)
@pytest.mark.parametrize("situation", DAILY)
def test_one_failing_call_refuses_with_all_as_before_or_does_no_harm(world: World, situation: str) -> None:
    """EIO at the N-th call alone: an error and the old state, or success and the new one."""
    case = prepare(world, situation)
    states = _fail_once(case, errno.EIO, _tried(case, situation, DAILY_STEP.get(situation, SOME)))
    tell(f"EIO once in {situation}", states)
    assert states["refused"] > 0 < states["done"]


@pytest.mark.case(10)
def test_a_note_that_cannot_be_written_refuses_nothing_that_was_done(world: World) -> None:
    """``latest.json`` can be written anew at any time; after the commit nothing may look like a refusal."""
    case = prepare(world, "rollback")
    at = _first(case, LATEST, max(number for number, (_, path) in enumerate(case.calls, 1) if JOURNAL in path))
    world.reset()
    observer = FailAt(at, errno.EIO)
    result = attempt(case, Files(observe=observer))
    assert observer.fired
    assert world.fingerprint() == case.new
    assert isinstance(result, Restored)


@pytest.mark.case(6)
@pytest.mark.parametrize("situation", DAILY)
def test_a_disk_that_dies_leaves_what_a_later_recovery_can_end(world: World, situation: str) -> None:
    """EIO at the N-th call and all later ones, then a healthy disk: wholly old or wholly new."""
    case = prepare(world, situation)
    tried = _tried(case, situation, DAILY_STEP.get(situation, SOME))
    states = _fail_from(case, lambda at: FailAt(at, errno.EIO, persistent=True), tried)
    tell(f"EIO from then on in {situation}", states)
    assert sum(states.values()) == len(tried)


@pytest.mark.case(7, 8, 10)
def test_a_full_disk_calls_for_no_person(world: World) -> None:
    """Nothing grows from the N-th call on; removing and renaming still work, so all is taken back."""
    case = prepare(world, "rollback")
    states = _fail_from(case, FullDisk, _tried(case, "rollback", EVERY))
    tell("full disk", states)
    assert states
    assert not any(state.startswith(Code.NEEDS_ATTENTION) for state in states)


def _fail_with(world: World, situation: str, number: int) -> None:
    case = prepare(world, situation)
    tried = _tried(case, situation, EVERY)
    tell(f"{errno.errorcode[number]} once in {situation}", _fail_once(case, number, tried))
    states = _fail_from(case, lambda at: FailAt(at, number, persistent=True), tried)
    assert sum(states.values()) == len(tried)
    tell(f"{errno.errorcode[number]} from then on in {situation}", states)


@pytest.mark.case(8, 17)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=["ENOSPC", "EROFS"])
def test_a_full_or_a_read_only_disk_tears_no_set(world: World, number: int) -> None:
    """The two loops above for the other errors that a disk answers day by day."""
    _fail_with(world, "rollback", number)


@pytest.mark.case(5, 6, 8, 15, 17)
@pytest.mark.long
@pytest.mark.parametrize(
    ("situation", "number"),
    [
        *((situation, errno.EIO) for situation in SITUATIONS),
        *((situation, errno.ENOSPC) for situation in SITUATIONS if situation != "rollback"),
        ("rollback", errno.EACCES),
    ],
)
def test_no_error_number_tears_the_set(world: World, situation: str, number: int) -> None:
    """The same for every situation, and for what is not allowed."""
    _fail_with(world, situation, number)


def _fail_then_crash(case: Case, failing: Iterable[int], step: int) -> Counter[str]:
    """A call fails, and while that is taken back the process dies, at each call of the taking back, or at some."""
    states: Counter[str] = Counter()
    for at in failing:
        for then in count(1, step):
            case.world.reset()
            observer = FailThenCrash(at, errno.EIO, then)
            try:
                attempt(case, Files(observe=observer))
            except CrashedError:
                assert observer.fired
            if not observer.fired:
                break
            case.world.resume()
            states["new" if judge(case, (at, then)) else "old"] += 1
    return states


@pytest.mark.case(2, 8, 14)
def test_killed_while_a_failed_commit_is_taken_back(world: World) -> None:
    """The record of the commit can be seen, its flush fails, and the way back is cut short."""
    case = prepare(world, "rollback")
    commit = [number for number, (call, path) in enumerate(case.calls, 1) if call == "rename" and JOURNAL in path][2]
    states = _fail_then_crash(case, (commit, commit + 1), SOME)
    tell("killed while a failed commit is taken back", states)
    assert states["old"] > 0


@pytest.mark.case(2, 5, 14)
@pytest.mark.long
def test_killed_while_any_failure_is_taken_back(world: World) -> None:
    """The same for every call from the journal on."""
    case = prepare(world, "rollback")
    states = _fail_then_crash(case, range(_first(case, JOURNAL), len(case.calls) + 1), EVERY)
    tell("killed while a failure is taken back", states)
    assert states["new"] > 0 < states["old"]


def _fail_recovery(world: World, step: int, *, persistent: bool) -> None:
    case = prepare(world, "rollback")
    states: Counter[str] = Counter()
    for first in range(_first(case, JOURNAL), len(case.calls) + 1, step):
        assert crash(case, first)
        world.save("crashed")
        for second in count(1):
            world.reset("crashed")
            observer = FailAt(second, errno.EIO, persistent=persistent)
            try:
                world.resume(Files(observe=observer))
                state = "ended"
            except RollbackError as error:
                state = error.code
            if not observer.fired:
                break
            world.resume()
            judge(case, (first, second))
            states[state] += 1
    tell("failures in recovery", states)
    assert states[Code.NEEDS_ATTENTION] > 0


@pytest.mark.case(2, 6)
@pytest.mark.parametrize("persistent", [False, True], ids=["once", "from then on"])
def test_a_recovery_that_fails_is_ended_by_the_next(world: World, persistent: bool) -> None:  # noqa: FBT001
    """EIO at each call of the recovery after a few kills."""
    _fail_recovery(world, FEW, persistent=persistent)


@pytest.mark.case(2, 6)
@pytest.mark.long
@pytest.mark.parametrize("persistent", [False, True], ids=["once", "from then on"])
def test_a_recovery_that_fails_anywhere_is_ended_by_the_next(world: World, persistent: bool) -> None:  # noqa: FBT001
    """The same after every second kill."""
    _fail_recovery(world, 2, persistent=persistent)
