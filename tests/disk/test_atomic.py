"""The only writer: exact modes, no half files, no way through links, and nothing out of order."""

import errno
import os
import resource
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.tree import Entry as Spec
from support.tree import File, Folder, Link, build, snapshot

from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.failure import failure
from stravinsky_rollback_mcp.errors import Code, RollbackError


@contextmanager
def umask(mask: int) -> Generator[None]:
    """Run under another umask."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


class Nth:
    """An observer that remembers all operations and fails the N-th."""

    def __init__(self, fails: int | None = None, number: int = errno.ENOSPC) -> None:
        self.seen: list[str] = []
        self._fails = fails
        self._number = number

    def __call__(self, operation: str, path: str) -> None:
        """Called before each operation."""
        self.seen.append(operation)
        if len(self.seen) - 1 == self._fails:
            raise OSError(self._number, os.strerror(self._number), path)


def refusal(body: Callable[[], object]) -> RollbackError:
    """The error that a call ends with."""
    with pytest.raises(RollbackError) as caught:
        body()
    return caught.value


def written(files: Files, path: Path, content: bytes, mode: int = 0o600) -> None:
    """Make a file through the door."""
    handle = files.create(str(path), mode)
    try:
        files.write(handle, content, str(path))
    finally:
        os.close(handle)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o444, 0o777])
def test_modes_are_exact_whatever_the_umask(here: Path, mask: int, mode: int) -> None:
    """The umask of the session decides nothing (design)."""
    files = Files()
    with umask(mask):
        written(files, here / "file", b"x", mode)
        files.make_folder(str(here / "folder"), mode | 0o700)
        handle = files.open_append(str(here / "log"))
        os.close(handle)
    assert (here / "file").stat().st_mode & 0o7777 == mode
    assert (here / "folder").stat().st_mode & 0o7777 == mode | 0o700
    assert (here / "log").stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("entry", ["taken", Link("elsewhere"), Link("nowhere"), {}], ids=repr)
def test_new_files_replace_nothing_and_follow_no_link(here: Path, entry: str | Link | dict[str | bytes, str]) -> None:
    """Hostile input: a link planted at the name of a new file."""
    build(here, {"elsewhere": "theirs", "name": entry})
    before = snapshot(here)
    refusal(lambda: Files().create(str(here / "name"), 0o600))
    assert snapshot(here) == before


def test_logs_are_not_opened_through_links(here: Path) -> None:
    """Hostile input: a link planted at the name of a log or lock."""
    build(here, {"elsewhere": "theirs", "log": Link("elsewhere")})
    assert refusal(lambda: Files().open_append(str(here / "log"))).code is Code.UNSAFE_PATH


def test_a_file_is_replaced_whole(here: Path) -> None:
    """Readers see the old or the new bytes, and no temporary name stays (design)."""
    path = here / "latest.json"
    path.write_bytes(b"old")
    with open(path, "rb") as reader:
        Files().write_file(str(path), b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(here) == ["latest.json"]


def test_replacing_a_link_leaves_what_it_leads_to(here: Path) -> None:
    """Hostile input: a store file that was made a link is replaced, not written through."""
    build(here, {"theirs": "keep", "store": {"latest.json": Link("../theirs")}})
    Files().write_file(str(here / "store/latest.json"), b"new")
    assert (here / "theirs").read_text(encoding="utf-8") == "keep"
    assert not (here / "store/latest.json").is_symlink()


def test_whichever_step_fails_the_file_is_old_or_new(here: Path) -> None:
    """For every N, the N-th operation fails: no mixture, no temporary file (design)."""
    path = here / "file"
    steps = Nth()
    Files(steps).write_file(str(path), b"first")
    assert steps.seen == ["create", "write", "fsync", "rename", "fsync"]
    for number in range(len(steps.seen)):
        path.write_bytes(b"old")
        observer = Nth(number)
        assert refusal(lambda: Files(observer).write_file(str(path), b"new")).code is Code.NO_SPACE  # noqa: B023
        assert len(observer.seen) > number
        assert path.read_bytes() == (b"new" if number == 4 else b"old")
        assert os.listdir(here) == ["file"]


def test_a_full_disk_is_told_as_one(here: Path) -> None:
    """A write that the system cuts short goes on and then fails, by its cause; a real limit, not a made-up error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = here / "big"
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        error = refusal(lambda: written(Files(), path, bytes(4096)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.code is Code.NO_SPACE
    assert str(path) in error.message
    assert path.stat().st_size == 1000


def test_all_bytes_are_written_however_little_a_call_takes() -> None:
    """A pipe takes 64 KiB at a time from a slow reader."""
    reader, writer = os.pipe()
    content = os.urandom(60_000)
    try:
        Files().write(writer, memoryview(content), "pipe")
        assert os.read(reader, 1 << 20) == content
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, Code.NO_SPACE),
        (errno.EDQUOT, Code.NO_SPACE),
        (errno.EFBIG, Code.NO_SPACE),
        (errno.EXDEV, Code.CROSS_DEVICE),
        (errno.EACCES, Code.UNWRITABLE),
        (errno.EROFS, Code.UNWRITABLE),
        (errno.EIO, Code.UNWRITABLE),
        (errno.ELOOP, Code.UNSAFE_PATH),
        (errno.ENOTDIR, Code.UNSAFE_PATH),
        (errno.ENAMETOOLONG, Code.INTERNAL),
        (0, Code.INTERNAL),
    ],
    ids=str,
)
def test_causes_have_codes(number: int, code: Code) -> None:
    """``OSError`` leaves the disk once, with operation, path and what to do (design)."""
    error = failure(OSError(number, "x") if number else OSError("x"), "writing", "/a/b")
    assert error.code is code
    assert "writing" in error.message
    assert "/a/b" in error.message
    assert error.hint


def _on_a_file(call: Callable[[Files, str], object]) -> Callable[[Files, Path], object]:
    return lambda files, path: call(files, str(path / "file"))


OPERATIONS: dict[str, Callable[[Files, Path], object]] = {
    "make_folder": lambda files, path: files.make_folder(str(path / "new"), 0o755),
    "create": lambda files, path: os.close(files.create(str(path / "new"), 0o644)),
    "open_append": lambda files, path: os.close(files.open_append(str(path / "new"))),
    "sync_folder": lambda files, path: files.sync_folder(str(path)),
    "sync_file_system": lambda files, path: files.sync_file_system(str(path)),
    "set_mode": _on_a_file(lambda files, path: files.set_mode(path, 0o640)),
    "set_time": _on_a_file(lambda files, path: files.set_time(path, 5)),
    "symlink": lambda files, path: files.symlink("text", str(path / "new")),
    "hard_link": lambda files, path: files.hard_link(str(path / "file"), str(path / "new")),
    "remove_file": _on_a_file(lambda files, path: files.remove_file(path)),
    "remove_folder": lambda files, path: files.remove_folder(str(path / "empty")),
    "remove_empty_folder": lambda files, path: files.remove_empty_folder(str(path / "empty")),
    "remove_tree": lambda files, path: files.remove_tree(str(path / "tree")),
    "publish": lambda files, path: files.publish(str(path / "file"), str(path / "new")),
    "write_file": _on_a_file(lambda files, path: files.write_file(path, b"new")),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_operation_is_counted_and_can_fail(here: Path, operation: Callable[[Files, Path], object]) -> None:
    """Nothing changes a disk uncounted, and every failure is the one error (design)."""
    spec: dict[str | bytes, Spec] = {"file": "x", "empty": {}, "tree": {"a": {"b": "x"}}}
    build(here / "0", spec)
    steps = Nth()
    files = Files(steps)
    operation(files, here / "0")
    assert files.operations == len(steps.seen) > 0
    for number in range(len(steps.seen)):
        folder = here / f"{number + 1}"
        build(folder, spec)
        observer = Nth(number, errno.EIO)
        assert refusal(lambda: operation(Files(observer), folder)).code is Code.UNWRITABLE  # noqa: B023
        assert len(observer.seen) > number


def test_removing_a_tree_removes_links_and_nothing_behind_them(here: Path) -> None:
    """Hostile input: a link in a leftover must not make the sweep delete what it leads to."""
    build(
        here,
        {
            "theirs": {"keep": "x"},
            "tree": {
                "link": Link("../theirs"),
                "dangling": Link("nowhere"),
                "locked": Folder({"file": File("x", 0o400), "deep": Folder({"y": "y"}, 0o500)}, 0o500),
                "shut": Folder({"z": "z"}, 0o000),
                b"odd \xff": "x",
            },
            "link": Link("theirs"),
        },
    )
    before = snapshot(here / "theirs")
    files = Files()
    files.remove_tree(str(here / "tree"))
    files.remove_tree(str(here / "link"))
    files.remove_tree(str(here / "nowhere"))
    assert os.listdir(here) == ["theirs"]
    assert snapshot(here / "theirs") == before


def test_what_is_gone_already_is_removed(here: Path) -> None:
    """Removing again after a crash is no error; a folder that was filled meanwhile stays."""
    files = Files()
    files.remove_file(str(here / "gone"))
    files.remove_folder(str(here / "gone"))
    files.remove_empty_folder(str(here / "gone"))
    build(here, {"full": {"x": "theirs"}})
    files.remove_empty_folder(str(here / "full"))
    assert (here / "full/x").exists()
    assert refusal(lambda: files.remove_folder(str(here / "full"))).code is Code.INTERNAL


def test_times_of_links_are_their_own(here: Path) -> None:
    """Hostile input: setting a link's time must not touch what it leads to."""
    build(here, {"theirs": File("x", mtime_ns=77), "link": Link("theirs")})
    Files().set_time(str(here / "link"), 10**18)
    assert (here / "theirs").stat().st_mtime_ns == 77
    assert os.lstat(here / "link").st_mtime_ns == 10**18


@pytest.mark.parametrize("number", [errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP])
def test_links_that_the_system_refuses_are_no_error(here: Path, number: int) -> None:
    """The caller copies instead."""
    build(here, {"a": "x"})
    assert not Files(Nth(0, number)).hard_link(str(here / "a"), str(here / "b"))
    assert Files().hard_link(str(here / "a"), str(here / "b"))
    assert (here / "a").samefile(here / "b")
    assert refusal(lambda: Files().hard_link(str(here / "a"), str(here / "b"))).code is Code.STATE_CHANGED


def test_a_hard_link_to_a_link_is_one_to_the_link(here: Path) -> None:
    """Hostile input: an archive that was made a link must not pull another file into a backup."""
    build(here, {"secret": "x", "a": Link("secret")})
    Files().hard_link(str(here / "a"), str(here / "b"))
    assert stat.S_ISLNK(os.lstat(here / "b").st_mode)


@pytest.mark.parametrize("phase", [None, "STAGING", "COMMITTED", "ABORTED"])
def test_live_targets_change_only_while_prepared(here: Path, phase: str | None) -> None:
    """No exchange without a durable way back: a programming error that stops at once (design)."""
    build(here, {"a": "1", "b": "2"})
    before = snapshot(here)
    files = Files()
    files.phase = phase
    a, b = str(here / "a"), str(here / "b")
    assert refusal(lambda: files.exchange(a, b)).code is Code.INTERNAL
    assert refusal(lambda: files.move(a, str(here / "c"))).code is Code.INTERNAL
    assert snapshot(here) == before
    assert files.operations == 0


def test_slots_are_not_deleted_while_prepared(here: Path) -> None:
    """A slot may hold the only old tree until the journal says otherwise (design)."""
    build(here, {"slot": {"only": "copy"}})
    before = snapshot(here)
    files = Files()
    files.phase = "PREPARED"
    slot = str(here / "slot")
    assert refusal(lambda: files.remove_slot(slot)).code is Code.INTERNAL
    assert refusal(lambda: files.doom_slot(slot, slot + ".doomed")).code is Code.INTERNAL
    assert snapshot(here) == before
    files.phase = "COMMITTED"
    files.doom_slot(slot, slot + ".doomed")
    files.remove_slot(slot + ".doomed")
    assert os.listdir(here) == []


def prepared(*, with_flags: bool = True) -> Files:
    """Files that may change live targets; without flags as on a C library that has no renameat2."""
    files = Files()
    files.phase = "PREPARED"
    if not with_flags:
        files._system().renameat2 = None
    return files


@pytest.mark.parametrize("with_flags", [True, False], ids=["renameat2", "without"])
@pytest.mark.parametrize("spec", ["1", {"x": "1"}, Link("nowhere")], ids=["file", "folder", "link"])
def test_moving_replaces_nothing(here: Path, spec: str | Link | dict[str | bytes, str], *, with_flags: bool) -> None:
    """With the system call and without it, a name that is taken stays taken (design)."""
    build(here, {"a": spec, "taken": "theirs", "folder": {}})
    before = snapshot(here)
    files = prepared(with_flags=with_flags)
    for name in ("taken", "folder", "a"):
        refusal(lambda: files.move(str(here / "a"), str(here / name)))  # noqa: B023
        assert snapshot(here) == before
    files.move(str(here / "a"), str(here / "b"))
    after = snapshot(here)
    assert b"a" not in after
    assert after[b"b"] == before[b"a"]


def test_an_exchange_leaves_both_names_in_place(here: Path) -> None:
    """One atomic step, folder for file included; where it is not known the caller is told (design)."""
    build(here, {"a": {"x": "1"}, "b": "2"})
    before = snapshot(here)
    assert not prepared(with_flags=False).exchange(str(here / "a"), str(here / "b"))
    assert snapshot(here) == before
    if not prepared().exchange(str(here / "a"), str(here / "b")):
        pytest.skip("this file system cannot exchange names")
    after = snapshot(here)
    assert (after[b"a"], after[b"b/x"]) == (before[b"b"], before[b"a/x"])
