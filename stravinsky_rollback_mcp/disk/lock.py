"""One writer a store: an advisory lock that dies with its holder."""

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator

from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError

_POLL_SECONDS = 0.02


@contextlib.contextmanager
def exclusive(path: str, files: Files, *, timeout_seconds: float, holder: str) -> Iterator[None]:
    """Hold the lock file at ``path``; raises ``busy``, naming the holder, when it is not free in time.

    The file is opened without following links, is never deleted (two owners would be possible), and is closed on
    exec so that no child keeps it.
    """
    handle = files.open_append(path)
    try:
        _acquire(handle, time.monotonic() + timeout_seconds)
        files.truncate(handle, 0, path)
        files.write(handle, json.dumps({"pid": os.getpid(), "holder": holder}).encode(), path)
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


def _holder(handle: int) -> str:
    content = os.pread(handle, 400, 0).decode("utf-8", "replace")
    try:
        record = json.loads(content)
        return f"process {int(record['pid'])}, {str(record['holder'])[:80]}"
    except (ValueError, KeyError, TypeError):
        return "its holder is not known"
