"""Power cuts on a disk that keeps nothing that was not flushed: wholly old or wholly new, and new once it was said."""

import os
from collections import Counter
from pathlib import Path

import pytest
from support.crash import SITUATIONS, World
from support.disk_model import Image, Model, Recorded, materialise
from support.power import Scene, cuts, cuts_of_recovery, kept_word, outcomes, scene
from support.tree import build, snapshot


def tell(what: str, states: Counter[str], seen: int) -> None:
    """The counts of states tried; shown with `-rP`."""
    print(f"{what}: {sum(states.values())} of {seen} states, {dict(states)}")  # noqa: T201


# -- the model itself -----------------------------------------------------------------------------------------------


def left(model: Model, root: Path) -> list[dict[bytes, tuple[str, int, bytes]]]:
    """Every state that a cut may leave, as it looks on a disk."""
    found: list[dict[bytes, tuple[str, int, bytes]]] = []
    for image in model.images(0):
        materialise(image, [root])
        state = snapshot(root)
        if state not in found:
            found.append(state)
    return found


def states_after(root: Path, *, content: bool, name: bool) -> list[list[bytes]]:
    """What a new file may hold after a cut, when its bytes or its name were flushed; an empty list where it is gone."""
    build(root, {})
    model = Model([root])
    files = Recorded(model, lambda _model, _at: None)
    handle = files.create(str(root / "file"), 0o600)
    files.write(handle, b"bytes", "file")
    if content:
        files.fsync(handle, "file")
    os.close(handle)
    if name:
        files.sync_folder(str(root))
    model.look()
    return [[entry[2] for path, entry in state.items() if path] for state in left(model, root)]


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (False, False, [[], [b"bytes"], [b""]]),
        (True, False, [[], [b"bytes"]]),
        (False, True, [[b""], [b"bytes"]]),
        (True, True, [[b"bytes"]]),
    ],
)
def test_only_what_was_flushed_is_sure(
    tmp_path: Path,
    content: bool,  # noqa: FBT001
    name: bool,  # noqa: FBT001
    expected: list[list[bytes]],
) -> None:
    """A file's bytes and its name are two things, and each needs its own flush."""
    found = states_after(tmp_path / "root", content=content, name=name)
    assert sorted(found) == sorted(expected)


def test_an_exchange_is_whole_or_did_not_happen(tmp_path: Path) -> None:
    """No state has one half of a rename; a flush of the file system makes it sure."""
    root = tmp_path / "root"
    build(root, {"a": {"x": "1"}, "b": {"y": "2"}})
    old = snapshot(root)
    model = Model([root])
    files = Recorded(model, lambda _model, _at: None)
    files.phase = "PREPARED"
    if not files.exchange(str(root / "a"), str(root / "b")):
        pytest.skip("this file system cannot exchange names")
    model.look()
    new = snapshot(root)
    assert {frozenset(state) for state in left(model, root)} == {frozenset(old), frozenset(new)}
    files.sync_file_system(str(root))
    assert {frozenset(state) for state in left(model, root)} == {frozenset(new)}


def test_hard_links_stay_links(tmp_path: Path) -> None:
    """One inode under two names is one inode after the cut."""
    root = tmp_path / "root"
    build(root, {"a": "1"})
    os.link(root / "a", root / "b")
    image: Image = next(Model([root]).images(0))
    materialise(image, [root])
    assert os.path.samefile(root / "a", root / "b")


# -- the service on it ----------------------------------------------------------------------------------------------


def numbers(made: Scene, call: str, path: str = "") -> list[int]:
    """The numbers of the calls of that name in the clean run."""
    return [number for number, (name, touched) in enumerate(made.case.calls, 1) if name == call and path in touched]


def _forward(made: Scene, sample: int | None) -> tuple[Counter[str], int]:
    found = cuts(made)
    during = outcomes(made, found.during, sample)
    after = Counter("new" if kept_word(made, image) else "old" for image in found.after)
    assert during["old"] > 0 < during["new"] or made.case.old == made.case.new
    assert set(after) == {"new"}  # it was said, so it is so
    return during + after, len(found.during) + len(found.after)


@pytest.mark.case(3, 4)
def test_a_power_cut_anywhere_leaves_old_or_new(world: World) -> None:
    """A sample of the states of a rollback that replaces, creates and removes."""
    made = scene(world, "rollback")
    states, seen = _forward(made, 30)
    tell("power cuts in rollback", states, seen)


@pytest.mark.case(3)
def test_a_power_cut_in_the_recovery_leaves_old_or_new(world: World) -> None:
    """A sample: killed when all was exchanged, the other process's recovery is cut as well."""
    made = scene(world, "rollback")
    found = cuts_of_recovery(made, numbers(made, "renameat2")[-1] + 1)
    states = outcomes(made, found.during, 10) + outcomes(made, found.after, 5)
    assert set(states) == {"old"}
    tell("power cuts in the recovery of rollback", states, len(found.during) + len(found.after))


@pytest.mark.long
@pytest.mark.case(3, 4)
@pytest.mark.parametrize("situation", sorted(SITUATIONS.keys() - {"rich rollback"}))
def test_a_power_cut_anywhere_in_any_operation_leaves_old_or_new(world: World, situation: str) -> None:
    """Every state of every kind of operation."""
    made = scene(world, situation)
    states, seen = _forward(made, None)
    tell(f"power cuts in {situation}", states, seen)


@pytest.mark.long
@pytest.mark.case(3)
@pytest.mark.parametrize("situation", ["rollback", "rollback that brings all back", "rollback that removes"])
def test_a_power_cut_in_any_recovery_leaves_old_or_new(world: World, situation: str) -> None:
    """Killed at every fourth call from the journal on; each recovery of that is cut at each of its calls."""
    made = scene(world, situation)
    first = numbers(made, "create", "/recovery/")[0]
    states: Counter[str] = Counter()
    seen = 0
    for kill_at in range(first + 4, len(made.case.calls), 4):
        found = cuts_of_recovery(made, kill_at)
        seen += len(found.during) + len(found.after)
        states += outcomes(made, found.during, 14) + outcomes(made, found.after, 2)
    assert states["old"] > 0 < states["new"]
    tell(f"power cuts in recoveries of {situation}", states, seen)


@pytest.mark.long
@pytest.mark.case(3)
def test_a_power_cut_with_two_file_systems_leaves_old_or_new(world: World, tmp_path: Path) -> None:
    """Home and project on different ones: each loses what it likes."""
    if os.stat(world.root).st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("there is no second file system at hand")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "project").mkdir(parents=True)
    world.project.rmdir()
    world.project.symlink_to(elsewhere / "project")
    world.project = elsewhere / "project"
    made = scene(world, "rollback", elsewhere)
    assert len({node.device for _, _, node in made.start.entries}) == 2
    states, seen = _forward(made, None)
    tell("power cuts with two file systems", states, seen)
