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

    The file is opened without following links, is never deleted (two owners would be possible), and is closed on
    exec so that no child keeps it.
    """
    handle = files.open_append(path)
    try:
        _acquire(handle, time.monotonic() + timeout_seconds)
        # The note is for those who wait. A full disk must not keep out the recovery that would free it.
        with contextlib.suppress(RollbackError):
            files.truncate(handle, 0, path)
            files.write(handle, _note(holder), path)
        yield
    finally:
        os.close(handle)


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
