"""The machine as the checks see it: room, permissions and locks, without touching any of it."""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from stravinsky_rollback_mcp.disk import probe

LOCK_IN_ANOTHER_PROCESS = """
import fcntl, sys
held = open(sys.argv[1], "r+")
fcntl.lockf(held, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_room_is_that_of_the_file_system_where_a_path_would_lie(tmp_path: Path) -> None:
    """The nearest folder that exists is asked; nothing is made."""
    here = probe.room(str(tmp_path))
    deep = probe.room(str(tmp_path / "a" / "b"))
    assert (deep.path, deep.device) == (str(tmp_path), os.stat(tmp_path).st_dev)
    assert here.free_bytes > 0
    assert not (tmp_path / "a").exists()
    assert probe.room("/proc").device != here.device


def test_a_file_system_that_does_not_count_inodes_says_none() -> None:
    """Some make them as they need them and say that there are none; then no file is too many."""
    counts = os.statvfs("/proc").f_files
    assert (probe.room("/proc").free_inodes is None) == (counts == 0)


@contextlib.contextmanager
def as_nobody(folder: Path) -> Generator[None]:
    """For a moment without root's rights, which nothing is closed to; whoever is not root has none to lose."""
    if os.geteuid() != 0:
        yield
        return
    for parent in folder.parents:  # pytest keeps its folders to itself
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    folder.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_where_nothing_may_be_replaced(tmp_path: Path) -> None:
    """The kernel is asked, with the rights in force; a folder that is not there yet is made in the one above."""
    closed, opened = tmp_path / "closed", tmp_path / "open"
    closed.mkdir(mode=0o555)
    opened.mkdir()
    opened.chmod(0o777)
    with as_nobody(tmp_path):
        assert closed.exists(), "it can be reached"
        assert not probe.can_replace_in(str(closed))
        assert not probe.can_replace_in(str(closed / "new" / "deeper"))
        assert probe.can_replace_in(str(opened / "new" / "deeper"))


@contextlib.contextmanager
def flocked(path: Path) -> Generator[None]:
    """A lock of the one kind."""
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def posix_locked(path: Path) -> Generator[None]:
    """A lock of the other kind, which a process cannot hold against itself."""
    command = [sys.executable, "-ISc", LOCK_IN_ANOTHER_PROCESS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        yield
        other.communicate()


@pytest.mark.parametrize("lock", [flocked, posix_locked])
def test_a_lock_of_either_kind_is_seen(tmp_path: Path, lock: Callable[[Path], AbstractContextManager[None]]) -> None:
    """Files of which nobody holds one are not named; what cannot be opened is for other checks."""
    held, free = tmp_path / "held", tmp_path / "free"
    held.write_text("x", encoding="utf-8")
    free.write_text("x", encoding="utf-8")
    paths = [str(held), str(free), str(tmp_path / "gone")]
    with lock(held):
        assert probe.held_by_others(paths, wait_seconds=0) == (str(held),)
    assert probe.held_by_others(paths, wait_seconds=0) == ()


def test_a_shared_lock_is_no_matter(tmp_path: Path) -> None:
    """Whoever only reads keeps nobody from reading; ours is given back, so the next writer is not kept out."""
    path = tmp_path / "read"
    path.write_text("x", encoding="utf-8")
    with path.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        assert probe.held_by_others([str(path)], wait_seconds=0) == ()
    with path.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_that_goes_while_we_wait_is_none(tmp_path: Path) -> None:
    """The wait ends with the lock, long before its time."""
    path = tmp_path / "held"
    path.write_text("x", encoding="utf-8")
    held = path.open("rb")
    fcntl.flock(held, fcntl.LOCK_EX)

    def paths() -> Iterator[str]:
        yield str(path)
        held.close()  # after the first look

    assert probe.held_by_others(paths(), wait_seconds=60) == ()
    assert held.closed


def test_what_stands_at_a_path(tmp_path: Path) -> None:
    """Links are followed; what is no file, or too large, has no content; nothing waits on a FIFO."""
    file = tmp_path / "file"
    file.write_text("#!/bin/sh\n", encoding="utf-8")
    file.chmod(0o750)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")

    def at(name: str, limit_bytes: int = 100) -> tuple[bool, bytes | None] | None:
        looked = probe.look_at(str(tmp_path / name), limit_bytes)
        return None if looked is None else (looked.is_file, looked.content)

    assert at("file") == at("link") == (True, b"#!/bin/sh\n")
    assert at("file", limit_bytes=3) == (True, None)
    assert at("fifo") == at("") == (False, None)
    assert at("dangling") is at("nowhere") is at("a\0b") is None
    looked = probe.look_at(str(file), 100)
    assert looked is not None
    assert looked.mode == 0o750
