"""The same faults from the real machine: full and read-only file systems, other users, mounts, power cuts, kills.

The in-process enumeration of ``test_crash.py`` is the daily truth; these show that what it stands for is so. Each test
says why it cannot run where a machine lacks something, and proves that its fault took place.
"""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.crash import PERSON, Case, World, before_rollback, consent_for, judge, perform, prepare
from support.machine import (
    BUSY,
    Children,
    ImageWorld,
    MountedWorld,
    Traced,
    cut_power,
    inject,
    is_mounted,
    mounted,
    profile,
    require,
)
from support.tree import Link, build, snapshot

from stravinsky_rollback_mcp.core.outcome import Restored
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError

pytestmark = pytest.mark.long

NOBODY = 65534
MEMORY = "/dev/shm"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A folder, in memory where there is one, that other users may enter."""
    with TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else tmp_path) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def world(root: Path) -> Iterator[World]:
    """A world on the file system of the fixture above."""
    made = World(root)
    yield made
    made.close()


@pytest.fixture
def children(home: Path) -> Iterator[Children]:
    """A server that forks children for single operations."""
    with Children(home) as made:
        yield made


def tell(what: str, states: Counter[str]) -> None:
    """The counts of states tried; shown with `-rP`."""
    print(f"{what}: {sum(states.values())} states, {dict(states)}")  # noqa: T201


def attempt(case: Case) -> RollbackError | None:
    """The error with which the operation ends, None when it is done."""
    try:
        case.perform(Files())
    except RollbackError as error:
        return error
    return None


def refusal(world: World, name: str = "rollback") -> RollbackError:
    """The error that the operation is refused with, and which leaves everything as it was."""
    before = world.fingerprint()
    with pytest.raises(RollbackError) as caught:
        perform(world, name)
    assert world.fingerprint() == before
    return caught.value


# -- full -----------------------------------------------------------------------------------------------------------


def _fill_bytes(place: Path, left_kb: int) -> None:
    free = os.statvfs(place)
    size = free.f_bavail * free.f_frsize - (left_kb << 10)
    with (place / "ballast").open("wb") as file:
        while size > 0:
            size -= file.write(bytes(min(size, 1 << 16)))


def _fill_inodes(place: Path, left: int) -> None:
    ballast = place / "ballast"
    ballast.mkdir()
    for number in range(os.statvfs(place).f_ffree - left):
        (ballast / str(number)).touch()


def _empty(place: Path) -> None:
    ballast = place / "ballast"
    if ballast.is_dir():
        shutil.rmtree(ballast)
    elif ballast.exists():
        ballast.unlink()


FULL: dict[str, tuple[str, Callable[[Path, int], None], int]] = {
    "bytes": ("size=3m", _fill_bytes, 4),
    "inodes": ("size=64m,nr_inodes=400", _fill_inodes, 1),
}


@pytest.mark.case(7, 8, 9, 10)
@pytest.mark.parametrize("kind", FULL)
@pytest.mark.parametrize("situation", ["rollback", "backup"])
def test_a_full_disk_refuses_or_the_operation_stands(
    root: Path, kind: str, situation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing left, then a little more each time, until it passes: old or new, and everything usable again."""
    require("mount")
    # Asked beforehand, both are refused with room to spare; here the disk is to fill up in the middle of them.

    def is_enough(_: object) -> None:
        """Whatever is free."""

    monkeypatch.setattr("stravinsky_rollback_mcp.core.checks.disk_space._judged", is_enough)
    options, fill, step = FULL[kind]
    (root / "live").mkdir()
    states: Counter[str] = Counter()
    with mounted(root / "live", "-t", "tmpfs", "-o", options, "none"):
        world = MountedWorld(root)
        case = prepare(world, situation)
        for left in count(0, step):
            world.reset()
            fill(root / "live", left)
            error = attempt(case)
            _empty(root / "live")
            world.resume()
            is_new = judge(case, (kind, left))
            states["refused" if error else "done"] += 1
            if error is None:
                assert is_new or situation == "backup"
                break
            assert error.code in (Code.NO_SPACE, Code.AUDIT_UNWRITABLE, Code.NEEDS_ATTENTION), error
        world.close()
    assert states["refused"] > 3, "the disk was never full"
    assert states["done"] == 1
    tell(f"full of {kind}, {situation}", states)


# -- other users ----------------------------------------------------------------------------------------------------


def _give_away(world: World) -> None:
    subprocess.run(["chown", "-hR", f"{NOBODY}:{NOBODY}", str(world.root / "live")], check=True)


@pytest.mark.case(15)
@pytest.mark.parametrize("folder", [".claude", ".claude/hooks"])
def test_a_folder_that_is_not_ours_to_change_refuses_the_whole(world: World, children: Children, folder: str) -> None:
    """A parent without write permission, and one that belongs to somebody else, as a user whom permissions bind."""
    require()
    case = prepare(world, "rollback")
    world.reset()
    _give_away(world)
    (world.home / folder).chmod(0o555)
    old = (snapshot(world.home / ".claude"), snapshot(world.project))
    status, told = children.perform(case, user=NOBODY)
    assert status == 0
    if folder == ".claude":
        assert told.startswith("unwritable: "), told
        assert (snapshot(world.home / ".claude"), snapshot(world.project)) == old
    else:
        assert told == "done", "its parent is what is written to"
    (world.home / folder).chmod(0o755)


@pytest.mark.case(16)
def test_an_unreadable_file_is_named_and_no_backup_is_made(world: World, children: Children) -> None:
    """A user who may not read a hook has no backup without it."""
    require()
    case = prepare(world, "backup")
    world.reset()
    _give_away(world)
    (world.home / ".claude" / "hooks" / "guard.py").chmod(0o000)
    before = set(os.listdir(world.store / "backups"))
    status, told = children.perform(case, user=NOBODY)
    assert status == 0
    assert told.startswith("unreadable: ")
    assert "hooks/guard.py" in told
    assert set(os.listdir(world.store / "backups")) == before


# -- mounts ---------------------------------------------------------------------------------------------------------


@pytest.mark.case(17)
def test_row_52_a_read_only_mount_refuses_the_whole(world: World) -> None:
    """The project lies on a mount that is read-only; the user scope stays as it is too."""
    require("mount")
    case = prepare(world, "rollback")
    world.reset()
    with mounted(world.project, "--bind", world.project):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(world.project)], check=True)
        with pytest.raises(OSError, match="Read-only"):
            (world.project / "probe").touch()
        old = world.fingerprint()
        error = attempt(case)
        assert error is not None
        assert error.code is Code.UNWRITABLE
        assert world.fingerprint() == old
    world.resume()
    assert not judge(case, "read-only")


@pytest.mark.case(17)
def test_turned_read_only_midway_it_is_taken_back_or_left_for_a_person(root: Path, children: Children) -> None:
    """At every call; once it can be written again, recovery makes it wholly old or wholly new."""
    require("mount")
    (root / "live" / "project").mkdir(parents=True)
    states: Counter[str] = Counter()
    with mounted(root / "live" / "project", "-t", "tmpfs", "-o", "size=8m", "none"):
        world = MountedWorld(root)
        case = prepare(world, "rollback")
        for at, (operation, path) in enumerate(case.calls, 1):
            if str(world.project) not in path:
                continue
            world.reset()
            status, told = children.perform(case, how="read-only", at=at, places=[str(world.project)])
            if status == BUSY:
                continue
            assert status == 0, told
            with pytest.raises(OSError, match="Read-only"):
                (world.project / "probe").touch()
            subprocess.run(["mount", "-o", "remount,rw", str(world.project)], check=True)
            world.resume()
            is_new = judge(case, (at, operation, told))
            states[f"{told.partition(':')[0]}, {'new' if is_new else 'old'}"] += 1
        world.close()
    assert sum(states.values()) > 5
    tell("turned read-only", states)


def _bound(world: World, path: str) -> tuple[Path, Path]:
    """A place to mount over, and what to mount there: another folder or file with the same content."""
    place, source = world.home / path, world.root / "elsewhere"
    subprocess.run(["cp", "-a", str(place), str(source)], check=True)
    return place, source


@pytest.mark.case(22, 28)
@pytest.mark.parametrize("path", [".claude/hooks", ".claude/hooks/lib", ".claude/settings.json"])
def test_row_51_a_mount_at_or_below_a_target_refuses_with_steps(world: World, path: str) -> None:
    """A folder, a single file, and a mount inside: an exchange would not be atomic, or take the mount away."""
    require("mount")
    before_rollback(world)
    (world.home / ".claude" / "hooks" / "lib").mkdir()
    consent = consent_for(world, "rollback")
    place, source = _bound(world, path)
    with mounted(place, "--bind", source):
        old = world.fingerprint()
        with pytest.raises(RollbackError) as caught:
            world.run(world.service().rollback_to(PERSON, version="v1", consent=consent))
        assert caught.value.code is Code.CROSS_DEVICE
        assert str(place) in str(caught.value) or f"~/{path}" in str(caught.value)
        assert "unmount" in caught.value.hint
        assert world.fingerprint() == old
    assert not [*world.home.rglob(".stravinsky-*")]


@pytest.mark.case(23)
def test_a_lower_folder_of_an_overlay_refuses_with_steps(root: Path) -> None:
    """It cannot be renamed at all: EXDEV, and nothing else may be tried."""
    require("mount")
    (root / "live").mkdir()
    with mounted(root / "live", "-t", "tmpfs", "none"):
        for name in ("lower/.claude/hooks", "upper", "work", "home", "project"):
            (root / "live" / name).mkdir(parents=True)
        (root / "live" / "lower" / ".claude" / "hooks" / "guard.py").write_text("one\n", encoding="utf-8")
        options = ",".join(f"{name}dir={root / 'live' / name}" for name in ("lower", "upper", "work"))
        with mounted(root / "live" / "home", "-t", "overlay", "-o", f"{options},redirect_dir=off", "overlay"):
            world = World(root)
            world.run(world.service().create_backup(PERSON, version="v1"))
            hooks = world.home / ".claude" / "hooks"
            (hooks / "guard.py").write_text("two\n", encoding="utf-8")
            with pytest.raises(OSError, match="cross-device"):
                hooks.rename(hooks.with_name("probe"))
            error = refusal(world)
            assert error.code is Code.CROSS_DEVICE
            assert error.hint
            world.resume()
            assert (hooks / "guard.py").read_text(encoding="utf-8") == "two\n"
            world.close()


@pytest.mark.case(24)
def test_row_51_a_link_to_another_file_system_is_exchanged_there(world: World) -> None:
    """A dotfile manager's folder on another disk: staged beside its real place, and the link stays."""
    require("mount")
    (world.root / "disk").mkdir()
    with mounted(world.root / "disk", "-t", "tmpfs", "none"):
        build(world.root / "disk", {"hooks": {"guard.py": "one\n"}})
        build(world.home, {".claude": {"hooks": Link(str(world.root / "disk" / "hooks"))}})
        world.run(world.service().create_backup(PERSON, version="v1"))
        old = snapshot(world.root / "disk")
        (world.root / "disk" / "hooks" / "guard.py").write_text("two\n", encoding="utf-8")
        done = perform(world, "rollback")
        assert isinstance(done, Restored)
        assert [change.atomicity for change in done.changes if change.action != "none"] == ["exchange"]
        assert snapshot(world.root / "disk") == old
        assert (world.home / ".claude" / "hooks").is_symlink()


@pytest.mark.case(19, 40)
def test_without_an_exchange_two_renames_do_it_and_say_so(root: Path) -> None:
    """A FUSE file system, which knows no flag of renameat2."""
    require("mount", "bindfs")
    for name in ("beneath", "live"):
        (root / name).mkdir()
    done = subprocess.run(["bindfs", str(root / "beneath"), str(root / "live")], check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"no FUSE here: {done.stderr.decode().strip()}")
    try:
        assert is_mounted(root / "live")
        world = World(root)
        before_rollback(world)
        done = perform(world, "rollback")
        assert isinstance(done, Restored)
        atomicity = {change.component: change.atomicity for change in done.changes if change.action == "replace"}
        assert set(atomicity.values()) == {"two_renames"}
        assert not [*world.home.rglob(".stravinsky-*"), *world.project.rglob(".stravinsky-*")]
        world.close()
    finally:
        subprocess.run(["umount", "-l", str(root / "live")], check=True)


@pytest.mark.case(18)
def test_row_52_an_immutable_target_refuses_the_whole(tmp_path: Path) -> None:
    """The flag binds root too: EPERM at the exchange, and what was exchanged before comes back."""
    require("chattr")
    world = World(tmp_path)
    case = prepare(world, "rollback")
    world.reset()
    settings = world.project / ".claude" / "settings.json"
    done = subprocess.run(["chattr", "+i", str(settings)], check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"no such flag here: {done.stderr.decode().strip()}")
    try:
        with pytest.raises(PermissionError):
            settings.rename(settings.with_name("probe"))
        error = attempt(case)
    finally:
        subprocess.run(["chattr", "-i", str(settings)], check=True)
    assert error is not None
    assert error.code is Code.UNWRITABLE
    world.resume()
    assert not judge(case, "immutable")
    world.close()


# -- power ----------------------------------------------------------------------------------------------------------


@pytest.mark.case(3)
@pytest.mark.parametrize("kinds", [("ext4", "ext4"), ("ext4", "xfs")])
def test_power_lost_anywhere_all_targets_are_old_or_all_are_new(
    root: Path, children: Children, kinds: tuple[str, str]
) -> None:
    """Home and project on two disks; what the system happened to flush by itself before differs each time."""
    require("mount", *(f"mkfs.{kind}" for kind in kinds))
    world = ImageWorld(root, kinds)
    try:
        case = prepare(world, "rollback")
        home, project = str(world.home), str(world.project)
        flushed: list[list[str]] = [[], [home], [project], [home, project]]
        states: Counter[str] = Counter()
        for at in range(1, len(case.calls) + 1):
            world.reset()
            status, told = children.perform(
                case, how="power", at=at, flushed=flushed[at % len(flushed)], places=[home, project]
            )
            assert status == -9, told
            with pytest.raises(OSError, match="Input/output error"):
                (world.home / "probe").touch()
            world.restart()
            world.resume()
            states["new" if judge(case, (at, case.calls[at - 1])) else "old"] += 1
            assert not world.resume().recovered
    finally:
        world.close()
    assert min(states["old"], states["new"]) > 0
    tell(f"power cuts on {' and '.join(kinds)}", states)


@pytest.mark.case(4)
@pytest.mark.parametrize("situation", ["rollback", "partial rollback", "rollback that brings all back", "backup"])
def test_power_lost_after_success_leaves_the_new_state(root: Path, situation: str) -> None:
    """What was reported as done is there after the plug was pulled right behind the report."""
    require("mount", "mkfs.ext4")
    world = ImageWorld(root, ("ext4", "ext4"))
    try:
        case = prepare(world, situation)
        world.reset()
        assert attempt(case) is None
        versions = set(os.listdir(world.store / "backups"))
        for place in world.mounts:
            cut_power(str(place))
        with pytest.raises(OSError, match="Input/output error"):
            (world.home / "probe").touch()
        world.restart()
        world.resume()
        assert judge(case, situation)
        assert set(os.listdir(world.store / "backups")) == versions
    finally:
        world.close()


# -- from outside ---------------------------------------------------------------------------------------------------


@pytest.mark.case(1, 5)
def test_no_call_bypasses_the_one_door(world: World, tmp_path: Path) -> None:
    """What the system saw being changed is what the file layer counted, name by name: nothing else writes."""
    require("strace")
    case = prepare(world, "rollback")
    world.reset()
    seen = Counter(_COUNTED.get(call.name, call.name) for call in profile(case, tmp_path / "log"))
    counted = Counter(_COUNTED.get(operation, operation) for operation, _ in case.calls)
    assert set(seen) <= set(counted), seen - counted
    assert {name: seen[name] for name in seen} == {name: counted[name] for name in seen}


# The names by which the system and the file layer know the same call.
_COUNTED = {
    **dict.fromkeys(("mkdir", "mkdirat"), "mkdir"),
    **dict.fromkeys(("link", "linkat"), "link"),
    **dict.fromkeys(("symlink", "symlinkat"), "symlink"),
    **dict.fromkeys(("unlink", "rmdir", "unlinkat"), "unlink"),
    **dict.fromkeys(("chmod", "fchmod", "fchmodat"), "chmod"),
    **dict.fromkeys(("utime", "futimens", "utimensat"), "utime"),
    **dict.fromkeys(("truncate", "ftruncate"), "truncate"),
}


@pytest.mark.case(1)
def test_killed_from_outside_before_calls_of_every_kind(world: World, tmp_path: Path) -> None:
    """Not our counter but the system kills, before the call is made: the same two states, and no other."""
    require("strace")
    case = prepare(world, "rollback")
    world.reset()
    calls = _some(profile(case, tmp_path / "log"), 30)
    states: Counter[str] = Counter()
    for call in calls:
        world.reset()
        status, told, did = inject(case, tmp_path / "log", call.name, "signal=SIGKILL", str(call.number))
        assert did, (call, told)
        assert status in (-9, 137), (call, status, told)
        world.resume()
        states["new" if judge(case, call) else "old"] += 1
    assert min(states["old"], states["new"]) > 0
    tell("killed from outside", states)


@pytest.mark.case(5, 6, 8, 13, 14)
@pytest.mark.parametrize(("number", "persistent"), [("EIO", False), ("ENOSPC", False), ("EIO", True)])
def test_errors_of_the_system_leave_old_or_new(world: World, tmp_path: Path, number: str, persistent: bool) -> None:  # noqa: FBT001
    """Once, and from then on, at calls of every kind; what could not be taken back waits for the next start."""
    require("strace")
    case = prepare(world, "rollback")
    world.reset()
    states: Counter[str] = Counter()
    for call in _some(profile(case, tmp_path / "log"), 10):
        world.reset()
        when = f"{call.number}+" if persistent else str(call.number)
        status, told, did = inject(case, tmp_path / "log", call.name, f"error={number}", when)
        assert did, (call, told)
        assert status == 0, (call, told)
        world.resume()
        is_new = judge(case, (call, told))
        states[f"{told.partition(':')[0].strip()}, {'new' if is_new else 'old'}"] += 1
    tell(f"errors from outside, {number}{' from then on' if persistent else ''}", states)


def _some(calls: list[Traced], most: int) -> list[Traced]:
    """Calls from the whole run, of every kind that it makes."""
    first = {call.name: call for call in reversed(calls)}
    step = max(1, len(calls) // max(1, most - len(first)))
    return list(dict.fromkeys([*first.values(), *calls[::step]]))
