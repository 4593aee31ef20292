"""Each step of the protocol is needed: the program without it is caught by the tests that the program passes.

A mutant is the production code with one step left out: a flush, a record, a look, a rename. It must die in the
enumeration that it is put through, and the unmutated code must live through the same one; else the enumeration proves
nothing about that step.
"""

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from support.crash import Case, CrashAt, CrashedError, Log, NoFlags, World, judge, prepare
from support.disk_model import Forgets, forgets_nothing
from support.power import Scene, cuts, cuts_of_recovery, kept_word, recovered, scene

from stravinsky_rollback_mcp.core.codec.journal import Journal, Phase
from stravinsky_rollback_mcp.disk import swap
from stravinsky_rollback_mcp.disk.atomic import Files, Observer
from stravinsky_rollback_mcp.disk.ending import Ending
from stravinsky_rollback_mcp.disk.execute import Executor
from stravinsky_rollback_mcp.disk.journal import JournalFile
from stravinsky_rollback_mcp.errors import RollbackError

# -- enumerations: each raises where the program it runs is wrong -----------------------------------------------------


class WrongError(AssertionError):
    """What the program left behind is neither old nor new, or not what it said."""


def require(is_right: bool, what: object) -> None:  # noqa: FBT001
    """Not ``assert``: under ``python -O`` a mutant must die as well."""
    if not is_right:
        raise WrongError(what)


def power_cuts(made: Scene, forgets: Forgets) -> int:
    """The power goes anywhere in the operation, and after it; the last moments first."""
    found = cuts(made, forgets)
    for image in found.after:
        require(kept_word(made, image), (image.at, image.how, "said to be done"))
    for image in reversed(found.during):
        recovered(made, image)
    return found.forgotten


def power_cuts_in_recovery(made: Scene, forgets: Forgets) -> int:
    """Killed when all was exchanged and proven, taken back by the next process, and the power goes there."""
    commit = numbers(made.case, "rename", "journal.json")[-1]
    found = cuts_of_recovery(made, commit, forgets)
    for image in (*found.after, *reversed(found.during)):
        require(not recovered(made, image), (image.at, image.how, "it was taken back"))
    return found.forgotten


def numbers(case: Case, call: str, path: str = "") -> list[int]:
    """The numbers of the calls of that name in the clean run."""
    return [number for number, (name, touched) in enumerate(case.calls, 1) if name == call and path in touched]


Disk = Callable[[Observer], Files]


def kills(world: World, disk: Disk = Files, *, minds_rescues: bool = True) -> None:
    """Killed at each call from the journal on; where all was exchanged the recovery is killed at each call as well."""
    case = prepare(world, "rollback", disk)
    first = next(number for number, (_, path) in enumerate(case.calls, 1) if "/recovery/" in path)
    exchanged = numbers(case, "create", "journal.json")[-1]
    for at in range(first, len(case.calls) + 1):
        _killed(case, at, disk)
        if at != exchanged:
            world.resume(disk(Log()))
            _judge(case, at, minds_rescues=minds_rescues)
            continue
        world.save("crashed")
        for second in count(1):
            world.reset("crashed")
            crash = CrashAt(second)
            try:
                world.resume(disk(crash))
            except CrashedError:
                world.resume(disk(Log()))
            _judge(case, (at, second), minds_rescues=minds_rescues)
            if not crash.fired:
                break


def _killed(case: Case, at: int, disk: Disk) -> None:
    case.world.reset()
    crash = CrashAt(at)
    with suppress(CrashedError):
        case.perform(disk(crash))
    require(crash.fired, at)


def _judge(case: Case, where: object, *, minds_rescues: bool) -> None:
    judge(case, where)
    has_rescued = any(version.endswith(".rescue") for version in os.listdir(case.world.store / "backups"))
    require(not has_rescued or not minds_rescues, (where, "nobody wrote late"))


def strangers(world: World) -> None:
    """Somebody edits a target just before it is replaced; another writes into the displaced tree, after the commit."""
    case = prepare(world, "rollback")
    path = world.home / ".claude" / "hooks" / "guard.py"
    require(_edited_at(case, path, numbers(case, "renameat2")[0]) is None, "replaced what somebody just wrote")
    require(path.read_bytes().endswith(b"# theirs\n"), "an edit is gone")
    done = _edited_at(case, path, numbers(case, "rename", "journal.json")[-1] + 1)
    require(done is not None, "it was committed")
    require(len(list((world.store / "backups").glob("*.rescue"))) == 1, "late bytes are gone")


def _edited_at(case: Case, path: Path, number: int) -> object:
    """What the operation returned, None where it was refused, when somebody wrote before that call."""
    case.world.reset()
    with path.open("ab", buffering=0) as file:
        left = number

        def observe(_operation: str, _path: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                file.write(b"# theirs\n")

        try:
            return case.perform(Files(observe=observe))
        except RollbackError:
            return None


# -- the omissions --------------------------------------------------------------------------------------------------


def _is_store(path: str) -> bool:
    return "/.stravinsky/" in path


def _has_doomed(path: str) -> bool:
    return any(name.endswith(".gone") for name in os.listdir(path))


# Flushes left out: in the operation itself, …
FORWARD: Mapping[str, Forgets] = {
    "the staged trees": lambda _, call, __: call == "sync_file_system",
    "the journal's bytes": lambda _, call, path: call == "fsync" and "journal.json" in path,
    "the journal's name": lambda _, call, path: call == "sync_folder" and path.endswith("/recovery"),
    "the exchanges before the commit": lambda files, call, path: (
        call == "sync_folder" and files.phase == Phase.PREPARED and not _is_store(path)
    ),
    "the doomed names before what is in them goes": lambda files, call, path: (
        call == "sync_folder" and files.phase == Phase.COMMITTED and not _is_store(path) and _has_doomed(path)
    ),
    "the slots' removal before the journal goes": lambda files, call, path: (
        call == "sync_folder" and files.phase == Phase.COMMITTED and not _is_store(path) and not _has_doomed(path)
    ),
    "the bytes of the audit": lambda _, call, path: call == "fsync" and path.endswith("/operations.log"),
}
# … in a backup, …
OF_BACKUPS: Mapping[str, Forgets] = {
    "the bytes of archives": lambda _, call, path: call == "fsync" and "/backups/" in path and "manifest" not in path,
    "the bytes of manifests": lambda _, call, path: call == "fsync" and "manifest.json" in path,
    "the names in a backup": lambda _, call, path: call == "sync_folder" and "/backups/" in path,
    "the names of backups": lambda _, call, path: call == "sync_folder" and path.endswith("/backups"),
}
# … and in the way back.
BACKWARD: Mapping[str, Forgets] = {
    "the old trees before ABORTED": FORWARD["the exchanges before the commit"],
    "the name of ABORTED": FORWARD["the journal's name"],
    "the bytes of ABORTED": FORWARD["the journal's bytes"],
}


Patch = tuple[object, str, Callable[..., object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Omission:
    """Methods that do less, and the enumeration that this must not survive."""

    patches: tuple[Patch, ...]
    caught_by: Callable[[World], object]


def _write_unless(phase: Phase) -> Callable[[JournalFile, Journal], None]:
    original = JournalFile.write

    def write(self: JournalFile, journal: Journal) -> None:
        if journal.phase is phase:
            self._files.phase = phase
        else:
            original(self, journal)

    return write


def _commit_early(self: Executor, journal: Journal) -> None:
    self._journal.write(replace(journal, phase=Phase.COMMITTED))
    for parent in journal.parents:
        self._files.sync_folder(parent)


def _nothing(*_: object) -> None:
    pass


_NO_DOOM: Patch = (Files, "doom_slot", _nothing)


def _unrecorded(phase: Phase) -> Omission:
    return Omission(patches=((JournalFile, "write", _write_unless(phase)),), caught_by=kills)


OMISSIONS: Mapping[str, Omission] = {
    "COMMITTED before the exchanges are durable": Omission(
        patches=((Executor, "_make_durable", _commit_early),),
        caught_by=lambda world: power_cuts(scene(world, "rollback"), forgets_nothing),
    ),
    "no STAGING record": _unrecorded(Phase.STAGING),
    "no PREPARED record": _unrecorded(Phase.PREPARED),
    "no COMMITTED record": _unrecorded(Phase.COMMITTED),
    "slots are taken apart under their own names": Omission(patches=(_NO_DOOM,), caught_by=kills),
    # Each of the two alone keeps a half deleted new tree from being taken for the old one; one of them is needed.
    "no ABORTED record, and slots are taken apart under their own names": Omission(
        patches=(_NO_DOOM, (JournalFile, "write", _write_unless(Phase.ABORTED))),
        caught_by=lambda world: kills(world, minds_rescues=False),
    ),
    "no look at what was displaced": Omission(patches=((Executor, "_require_meant", _nothing),), caught_by=strangers),
    "no last look before slots go": Omission(patches=((Ending, "_rescue_unknown", _nothing),), caught_by=strangers),
    "half a move is left as it is": Omission(
        patches=((swap, "_finish_moves", _nothing),), caught_by=lambda world: kills(world, NoFlags)
    ),
}


@contextmanager
def dying() -> Generator[None]:
    """The mutant must be caught: by what it leaves behind, or because the next process cannot go on."""
    with pytest.raises((AssertionError, RollbackError)):
        yield


# The others take about as long together as all other tests of a minute.
DAILY = frozenset(
    {
        "the staged trees",
        "the journal's name",
        "the exchanges before the commit",
        "the bytes of the audit",
        "the names of backups",
        "the old trees before ABORTED",
        "no STAGING record",
        "no look at what was displaced",
        "no last look before slots go",
        "strangers",
    }
)


def _named(names: Iterable[str]) -> list[ParameterSet]:
    return [pytest.param(name, marks=() if name in DAILY else pytest.mark.long, id=name) for name in names]


@pytest.mark.case(3, 4)
@pytest.mark.parametrize("omitted", _named(FORWARD))
def test_without_a_flush_a_power_cut_shows(world: World, omitted: str) -> None:
    """Each flush of an operation, on a disk that keeps nothing else."""
    with dying():
        power_cuts(scene(world, "rollback"), FORWARD[omitted])


@pytest.mark.case(4)
@pytest.mark.parametrize("omitted", _named(OF_BACKUPS))
def test_without_a_flush_of_a_backup_a_power_cut_shows(world: World, omitted: str) -> None:
    """Each flush of what a backup keeps: it is said to be there, and is not."""
    with dying():
        power_cuts(scene(world, "backup"), OF_BACKUPS[omitted])


@pytest.mark.case(3)
@pytest.mark.parametrize("omitted", _named(BACKWARD))
def test_without_a_flush_on_the_way_back_a_power_cut_shows(world: World, omitted: str) -> None:
    """Each flush of a recovery."""
    with dying():
        power_cuts_in_recovery(scene(world, "rollback"), BACKWARD[omitted])


@pytest.mark.case(1, 2, 29, 30)
@pytest.mark.parametrize("omitted", _named(OMISSIONS))
def test_without_a_step_the_enumeration_fails(world: World, monkeypatch: pytest.MonkeyPatch, omitted: str) -> None:
    """Each record, look and rename."""
    mutant = OMISSIONS[omitted]
    for owner, name, instead in mutant.patches:
        monkeypatch.setattr(owner, name, instead)
    with dying():
        mutant.caught_by(world)


ENUMERATIONS: Mapping[str, Callable[[World], object]] = {
    "power cuts": lambda world: power_cuts(scene(world, "rollback"), forgets_nothing),
    "power cuts in a backup": lambda world: power_cuts(scene(world, "backup"), forgets_nothing),
    "power cuts in recovery": lambda world: power_cuts_in_recovery(scene(world, "rollback"), forgets_nothing),
    "kills": kills,
    "kills, rescues allowed": lambda world: kills(world, minds_rescues=False),
    "kills without flags": lambda world: kills(world, NoFlags),
    "strangers": strangers,
}


@pytest.mark.parametrize("how", _named(ENUMERATIONS))
def test_the_program_lives_through_what_its_mutants_do_not(world: World, how: str) -> None:
    """The same enumerations with nothing left out."""
    ENUMERATIONS[how](world)


@pytest.mark.long
def test_taking_slots_apart_under_their_own_names_loses_nothing_by_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the mutant that lacks ABORTED as well dies of that: of a loss, not of a needless rescue."""
    monkeypatch.setattr(*_NO_DOOM)
    kills(world, minds_rescues=False)
