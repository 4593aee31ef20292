"""One writer a store: an advisory lock that dies with its holder."""

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Generator

from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError

_POLL_SECONDS = 0.02
_MAX_HOLDER = 80
_MAX_NOTE_BYTES = 2048  # a letter takes up to twelve bytes in JSON


@contextlib.contextmanager
def exclusive(path: str, files: Files, *, timeout_seconds: float, holder: str) -> Generator[None]:
    """Hold the lock file at ``path``; raises ``busy``, naming the holder, when it is not free in time.

    The file is opened without following links and never deleted by us (two owners would be possible); where somebody
    else did that, the lock on what it was counts for nothing. No child keeps it.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        handle = files.open_append(path)
        with owned(handle):
            _acquire(handle, deadline)
            if not _lies_at(handle, path):
                continue
            # The note is for those who wait. A full disk must not keep out the recovery that would free it.
            with contextlib.suppress(RollbackError):
                files.truncate(handle, 0, path)
                files.write(handle, _note(holder), path)
            yield
            return


_owned: set[int] = set()


@contextlib.contextmanager
def owned(handle: int) -> Generator[None]:
    """Close an open lock file at the end, and at once in a child that is forked meanwhile.

    ``exec`` closes it anyway; without one the child would keep the lock for as long as it lives.
    """
    _owned.add(handle)
    try:
        yield
    finally:
        if handle in _owned:  # a forked child comes here too, and its handle of that number may be another file's
            _owned.remove(handle)
            os.close(handle)


def _let_go() -> None:
    while _owned:
        os.close(_owned.pop())


os.register_at_fork(after_in_child=_let_go)


def _lies_at(handle: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def _acquire(handle: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise RollbackError(
                    Code.STORE_UNTRUSTED,
                    f"the store's file system has no working locks: {os.strerror(error.errno or 0)}.",
                    "put the store on a local file system with --store.",
                ) from error
            if time.monotonic() >= deadline:
                raise RollbackError(
                    Code.BUSY, f"another operation is under way ({_holder(handle)}).", "try again in a moment."
                ) from error
            time.sleep(_POLL_SECONDS)
        else:
            return


def _note(holder: str) -> bytes:
    """Who holds the lock; a client names itself as it likes, and others are shown that name."""
    shown = "".join(letter for letter in holder if letter.isprintable())[:_MAX_HOLDER]
    return json.dumps({"pid": os.getpid(), "holder": shown}).encode()


def _holder(handle: int) -> str:
    try:
        record = json.loads(os.pread(handle, _MAX_NOTE_BYTES, 0))
        return f"process {int(record['pid'])}, {str(record['holder'])[:_MAX_HOLDER]}"
    except (OSError, ValueError, KeyError, TypeError):
        return "its holder is not known"
