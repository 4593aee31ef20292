"""One target's change and its way back, in every state that a crash or a stranger can leave."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.crash import NoExchange, NoFlags
from support.tree import Spec, build, snapshot

from stravinsky_rollback_mcp.core.codec.journal import JournalTarget
from stravinsky_rollback_mcp.core.model import Kind
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.swap import EXCHANGE, TWO_RENAMES, require_no_mount, swap, swap_back
from stravinsky_rollback_mcp.errors import Code, RollbackError

OLD: Spec = {"old.py": "old\n"}
NEW: Spec = {"new.py": "new\n"}


def digest(path: str) -> str:
    """Stands for a tree digest: anything that differs when the content does."""
    return hashlib.sha256(repr(sorted(snapshot(Path(path)).items())).encode()).hexdigest()


def staged(folder: Path, kind: Kind = Kind.DIRECTORY, *, had_old: bool = True, want_new: bool = True) -> JournalTarget:
    """A target with its staged tree, as PREPARED has it."""
    live, new = folder / "live", folder / ".new"
    for path, content, wanted in ((live, OLD, had_old), (new, NEW, want_new)):
        if wanted and kind is Kind.DIRECTORY:
            build(path, content)
        elif wanted:
            build(folder, {path.name: next(iter(content.values()))})
    return JournalTarget(
        id="user.hooks",
        kind=kind,
        path=str(live),
        resolved=str(live),
        new_slot=str(new),
        old_slot=str(folder / ".old"),
        had_old=had_old,
        want_new=want_new,
        old_digest=digest(str(live)) if had_old else "",
        new_digest=digest(str(new)) if want_new else "",
        new_inode=new.stat().st_ino if want_new else 0,
    )


def prepared(files: Files) -> Files:
    """The phase in which live targets may change."""
    files.phase = "PREPARED"
    return files


@pytest.mark.case(19)
@pytest.mark.parametrize("disk", [Files, NoExchange, NoFlags])
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(("had_old", "want_new"), [(True, True), (True, False), (False, True)])
def test_a_swap_is_taken_back_any_number_of_times(
    tmp_path: Path,
    disk: type[Files],
    kind: Kind,
    had_old: bool,  # noqa: FBT001
    want_new: bool,  # noqa: FBT001
) -> None:
    """Replace, remove, create; undo twice is undo once (fault cases, 3.1: every step may be repeated)."""
    target = staged(tmp_path, kind, had_old=had_old, want_new=want_new)
    before = snapshot(tmp_path)
    files = prepared(disk())
    how = swap(target, files)
    assert how == (TWO_RENAMES if disk is not Files and had_old and want_new else EXCHANGE)
    live = snapshot(tmp_path / "live")
    assert live != snapshot(tmp_path / "nothing") or not want_new
    for _ in range(2):
        swap_back(target, files, digest)
        assert snapshot(tmp_path) == before


def test_what_was_not_swapped_stays(tmp_path: Path) -> None:
    """A slot with the staged tree's own inode was never exchanged, whatever was written into it."""
    target = staged(tmp_path)
    (tmp_path / ".new" / "late.py").write_text("late\n", encoding="utf-8")
    before = snapshot(tmp_path)
    swap_back(target, prepared(Files()), digest)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("was_swapped", [True, False])
def test_a_copied_home_is_recovered_all_the_same(tmp_path: Path, was_swapped: bool) -> None:  # noqa: FBT001
    """A restored home, or FUSE after a restart, has other inode numbers: the content says what the slot holds."""
    target = replace(staged(tmp_path), new_inode=1)
    before = snapshot(tmp_path)
    files = prepared(Files())
    if was_swapped:
        swap(target, files)
    swap_back(target, files, digest)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("found", ["", "another"])
def test_a_slot_that_was_written_into_is_known_by_its_inode(tmp_path: Path, found: str) -> None:
    """Neither tree is as it was recorded any more: each still goes where it belongs."""
    target = staged(tmp_path)
    before = snapshot(tmp_path)
    files = prepared(Files())
    swap_back(target, files, lambda _: found)
    assert snapshot(tmp_path) == before
    swap(target, files)
    swap_back(target, files, lambda _: found)
    assert snapshot(tmp_path) == before


def test_a_removed_new_tree_makes_room_for_the_old_one(tmp_path: Path) -> None:
    """Somebody deleted the target after the exchange: the old tree, in the slot, must still come back."""
    target = staged(tmp_path)
    old = snapshot(tmp_path / "live")
    files = prepared(Files())
    swap(target, files)
    shutil.rmtree(tmp_path / "live")
    swap_back(target, files, digest)
    assert snapshot(tmp_path / "live") == old
    assert not (tmp_path / ".new").exists()


@pytest.mark.case(21)
@pytest.mark.parametrize("kind", Kind)
def test_something_foreign_in_the_gap_stops_the_way_back(tmp_path: Path, kind: Kind) -> None:
    """Between two renames the name is free; what appears there is kept, and so is everything."""
    target = staged(tmp_path, kind)
    files = prepared(NoExchange())
    files.move(target.resolved, target.old_slot)
    (tmp_path / "live").write_text("foreign\n", encoding="utf-8")
    before = snapshot(tmp_path)
    with pytest.raises(RollbackError) as caught:
        swap_back(target, files, digest)
    assert caught.value.code is Code.NEEDS_ATTENTION
    assert all(path in caught.value.message for path in (target.resolved, target.old_slot, target.new_slot))
    assert snapshot(tmp_path) == before
    # The way out that the hint names.
    (tmp_path / "live").rename(tmp_path / "kept")
    swap_back(target, files, digest)
    assert snapshot(tmp_path / "kept") != {}
    assert not os.path.lexists(target.old_slot)


@pytest.mark.case(40)
@pytest.mark.parametrize(
    ("linked", "to"), [("live", ".old"), (".new", "live")], ids=["leaving its place", "going into place"]
)
def test_a_file_with_two_names_is_a_move_in_progress(tmp_path: Path, linked: str, to: str) -> None:
    """Without NOREPLACE a file is linked, then unlinked; a kill in between leaves both names (FUSE, NFS, macOS)."""
    target = staged(tmp_path, Kind.FILE)
    before = snapshot(tmp_path)
    files = prepared(NoFlags())
    if linked == ".new":
        files.move(target.resolved, target.old_slot)
    os.link(tmp_path / linked, tmp_path / to)
    swap_back(target, files, digest)
    assert snapshot(tmp_path) == before


def test_a_creation_with_two_names_is_taken_back(tmp_path: Path) -> None:
    """The same while a file was being created: it must not stay live."""
    target = staged(tmp_path, Kind.FILE, had_old=False)
    os.link(tmp_path / ".new", tmp_path / "live")
    swap_back(target, prepared(NoFlags()), digest)
    assert not (tmp_path / "live").exists()
    assert (tmp_path / ".new").exists()


@pytest.mark.case(21)
def test_a_second_tree_is_never_overwritten(tmp_path: Path) -> None:
    """A creation finds its place taken: refused, and the stranger stays."""
    target = staged(tmp_path, had_old=False)
    build(tmp_path / "live", {"theirs.py": "x"})
    before = snapshot(tmp_path)
    for disk in (Files, NoFlags):
        with pytest.raises(RollbackError):
            swap(target, prepared(disk()))
        assert snapshot(tmp_path) == before


# -- order rules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [None, "STAGING", "COMMITTED", "ABORTED"])
def test_nothing_live_changes_unless_a_way_back_is_durable(tmp_path: Path, phase: str | None) -> None:
    """The order is asserted at run time, not only tested (fault cases, gate 3)."""
    target = staged(tmp_path)
    before = snapshot(tmp_path)
    calls: list[str] = []
    files = Files(observe=lambda operation, _: calls.append(operation))
    files.phase = phase
    changes: list[Callable[[], object]] = [
        lambda: files.exchange(target.new_slot, target.resolved),
        lambda: files.move(target.resolved, target.old_slot),
        lambda: swap(target, files),
        lambda: swap(replace(target, want_new=False), files),
        lambda: swap(replace(target, had_old=False), files),
    ]
    for change in changes:
        with pytest.raises(RollbackError) as caught:
            change()
        assert caught.value.code is Code.INTERNAL
    assert calls == []
    assert snapshot(tmp_path) == before


def test_no_slot_goes_while_it_may_hold_the_only_old_tree(tmp_path: Path) -> None:
    """While PREPARED nothing is deleted (fault cases, gate 3)."""
    target = staged(tmp_path)
    before = snapshot(tmp_path)
    files = prepared(Files())
    for change in (
        lambda: files.remove_slot(target.new_slot),
        lambda: files.doom_slot(target.new_slot, f"{target.new_slot}.gone"),
    ):
        with pytest.raises(RollbackError) as caught:
            change()
        assert caught.value.code is Code.INTERNAL
    assert snapshot(tmp_path) == before


# -- mounts ---------------------------------------------------------------------------------------------------------


def _in_own_mounts(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """A script with mounts that nobody else sees."""
    return subprocess.run(
        ["unshare", "-Urm", "sh", "-euc", script, "sh", str(folder)], capture_output=True, text=True, check=False
    )


@pytest.mark.case(28)
@pytest.mark.parametrize("below", [".", "node_modules", "odd name\\here"])
def test_a_target_that_is_or_holds_a_mount_is_refused(tmp_path: Path, below: str) -> None:
    """It would travel away with the old tree, and cleaning up would empty it."""
    (tmp_path / "hooks" / below).mkdir(parents=True, exist_ok=True)
    (tmp_path / "hooks-too").mkdir()
    (tmp_path / "data").mkdir()
    if _in_own_mounts('mount --bind "$1/data" "$1/hooks"', tmp_path).returncode != 0:
        pytest.skip("this system lets nobody mount")
    code = (
        "import sys; from stravinsky_rollback_mcp.disk.swap import require_no_mount; "
        "require_no_mount(sys.argv[1] + '/hooks-too'); require_no_mount(sys.argv[1] + '/hooks')"
    )
    # A bind mount of the same file system: the device number does not tell.
    script = f'mount --bind "$1/data" "$1/hooks/{below}"; exec \'{sys.executable}\' -c "{code}" "$1"'
    found = _in_own_mounts(script, tmp_path)
    assert found.returncode == 1
    assert "cross_device" in found.stderr
    require_no_mount(str(tmp_path / "hooks"))
