"""One writer a store: busy names the holder, death frees, children do not inherit."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.lock import exclusive
from stravinsky_rollback_mcp.errors import Code, RollbackError

# Holds the lock of argv[1] until its standard input ends; with a third argument it starts a child that outlives it.
HOLDER = """
import subprocess, sys
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.lock import exclusive
with exclusive(sys.argv[1], Files(), timeout_seconds=1, holder=sys.argv[2]):
    if len(sys.argv) > 3:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=sys.stdin, stdout=subprocess.DEVNULL,
            close_fds=False,
        )
    print("held", flush=True)
    sys.stdin.read()
"""


def take(path: Path, *, timeout_seconds: float = 0, holder: str = "me", files: Files | None = None) -> None:
    """Hold the lock for a moment."""
    with exclusive(str(path), files or Files(), timeout_seconds=timeout_seconds, holder=holder):
        pass


@contextmanager
def held_elsewhere(path: Path, holder: str, *more: str) -> Generator["subprocess.Popen[bytes]"]:
    """The lock is in the hands of another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), holder, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()


@pytest.mark.case(31)
def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    """Busy, with the process and the holder, after no longer than the time allowed."""
    path = tmp_path / "lock"
    with held_elsewhere(path, "mcp_client claude-code") as process, pytest.raises(RollbackError) as caught:
        take(path, timeout_seconds=0.05)
    assert caught.value.code is Code.BUSY
    assert f"process {process.pid}, mcp_client claude-code" in caught.value.message
    take(path)


@pytest.mark.case(31)
def test_a_killed_holder_frees_it(tmp_path: Path) -> None:
    """The lock dies with the process, and is never deleted."""
    path = tmp_path / "lock"
    take(path)
    inode = path.stat().st_ino
    with held_elsewhere(path, "victim") as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -9
        take(path)
    assert path.stat().st_ino == inode


@pytest.mark.case(31)
def test_a_child_does_not_keep_it(tmp_path: Path) -> None:
    """A forked child would keep it; it is closed on exec."""
    path = tmp_path / "lock"
    with held_elsewhere(path, "parent", "with a child") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        take(path)  # the child still waits for the end of this pipe
        process.stdin.close()


@pytest.mark.case(31)
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python warns of any fork in a process with threads")
def test_a_forked_child_does_not_keep_it(tmp_path: Path) -> None:
    """Without an exec nothing would be closed: the child lets go at once, and the parent's lock stays."""
    path = tmp_path / "lock"
    done, say = os.pipe()
    with exclusive(str(path), Files(), timeout_seconds=0, holder="parent"):
        child = os.fork()
        if not child:
            os.close(say)
            os.read(done, 1)  # lives until the parent is through
            os._exit(0)
        with pytest.raises(RollbackError):
            take(path)
    take(path, timeout_seconds=60)  # the child may not have had its first moment yet
    os.close(say)
    os.close(done)
    assert os.waitpid(child, 0)[1] == 0


def test_a_child_that_ends_its_own_copy_of_the_block_closes_no_other_file(tmp_path: Path) -> None:
    """``multiprocessing`` runs such blocks to their end in the child; a handle of that number may be another file's."""
    path = tmp_path / "lock"
    code = (
        "import os, sys\n"
        "from stravinsky_rollback_mcp.disk.atomic import Files\n"
        "from stravinsky_rollback_mcp.disk.lock import exclusive\n"
        "with exclusive(sys.argv[1], Files(), timeout_seconds=0, holder='me'):\n"
        "    child = os.fork()\n"
        "    mine = os.open(sys.argv[1], os.O_RDONLY) if not child else -1\n"
        "if not child:\n"
        "    os.fstat(mine)\n"
        "    os._exit(7)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert done.returncode == 7


def test_a_file_that_was_replaced_while_waited_for_is_no_lock(tmp_path: Path) -> None:
    """Somebody deletes the lock file: who waited for the old one takes the new one, or waits for its holder."""
    path = tmp_path / "lock"

    class Deleting(Files):
        def open_append(self, path: str) -> int:
            handle = super().open_append(path)
            os.unlink(path)
            return handle

    with exclusive(str(path), Files(), timeout_seconds=0, holder="old"):
        with pytest.raises(RollbackError) as caught:
            take(path, timeout_seconds=0.05, files=Deleting())
        assert caught.value.code is Code.BUSY
        assert not path.exists()
        with exclusive(str(path), Files(), timeout_seconds=0, holder="new"), pytest.raises(RollbackError):
            take(path)


def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    """Two requests of one server are two writers as well."""
    path = tmp_path / "lock"
    seen: list[Code] = []

    def other() -> None:
        try:
            take(path)
        except RollbackError as error:
            seen.append(error.code)

    with exclusive(str(path), Files(), timeout_seconds=0, holder="one"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seen == [Code.BUSY]


def test_waiting_ends_when_it_is_free(tmp_path: Path) -> None:
    """Whoever waits gets it as soon as the holder is done."""
    path = tmp_path / "lock"
    release, waiting = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(str(path), Files(), timeout_seconds=0, holder="first"):
            waiting.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    waiting.wait()
    threading.Timer(0.05, release.set).start()
    take(path, timeout_seconds=60)
    thread.join()


@pytest.mark.case(10)
def test_a_full_disk_does_not_keep_anybody_out(tmp_path: Path) -> None:
    """Recovery, which frees space, needs the lock: the note about the holder is not worth a refusal."""
    path = tmp_path / "lock"
    take(path)

    def fail(operation: str, _path: str) -> None:
        if operation in ("write", "truncate"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    entered = False
    with exclusive(str(path), Files(observe=fail), timeout_seconds=0, holder="me"):
        entered = True
    assert entered


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b'{"pid": "x"}', b'{"pid": 1}', b'{"pid": 7, "holder": "' + b"x" * 3000]
)
def test_an_odd_note_is_no_obstacle(tmp_path: Path, content: bytes) -> None:
    """The note is for people; whatever stands there, the answer is busy."""
    path = tmp_path / "lock"
    with exclusive(str(path), Files(), timeout_seconds=0, holder="me"):
        path.write_bytes(content)
        with pytest.raises(RollbackError) as caught:
            take(path)
    assert caught.value.code is Code.BUSY
    assert "its holder is not known" in caught.value.message


def test_a_client_cannot_talk_through_its_name(tmp_path: Path) -> None:
    """Clients name themselves; others see at most eighty printable characters of that."""
    path = tmp_path / "lock"
    with exclusive(str(path), Files(), timeout_seconds=0, holder="\x1b[2J\nIgnore this. " + "\N{GRINNING FACE}" * 500):
        note = json.loads(path.read_bytes())
        with pytest.raises(RollbackError) as caught:
            take(path)
    assert len(note["holder"]) == 80
    assert "\x1b" not in caught.value.message
    assert "\n" not in caught.value.message
    assert "process" in caught.value.message


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A planted link must not make us write elsewhere."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(RollbackError):
        take(tmp_path / "lock")
    assert victim.read_bytes() == b"precious"
