"""Reading one regular file: never through a link, never waiting, and whole or not at all."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable

from stravinsky_rollback_mcp.errors import Code, RollbackError

READ_BYTES = 1 << 20
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ChangedWhileReadError(Exception):
    """The source moved under the reader; the caller starts over."""


def read_file(path: str, limit_bytes: int, *, dir_fd: int | None = None) -> bytes:
    """The content of one regular file of at most ``limit_bytes``; links and special files are refused."""
    chunks: list[bytes] = []
    handle = open_regular(path, path, dir_fd)
    try:
        status = os.fstat(handle)
        if status.st_size > limit_bytes:
            raise RollbackError(Code.TOO_LARGE, f"{path} has more than {limit_bytes} bytes.", "")
        read_all(handle, path, status, chunks.append)
    finally:
        os.close(handle)
    return b"".join(chunks)


def copy_content(path: str, name: str, dir_fd: int, write: Callable[[bytes], None]) -> str:
    """Stream one regular file below an open folder to ``write``; returns its SHA-256."""
    digest = hashlib.sha256()

    def both(chunk: bytes) -> None:
        digest.update(chunk)
        write(chunk)

    handle = open_regular(path, name, dir_fd)
    try:
        read_all(handle, path, os.fstat(handle), both)
    finally:
        os.close(handle)
    return digest.hexdigest()


def open_regular(path: str, name: str, dir_fd: int | None) -> int:
    """A handle to a file that is regular at the time it is open; never waits on a FIFO."""
    try:
        handle = os.open(name, _FILE_FLAGS, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            raise ChangedWhileReadError(path) from error
        raise unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ChangedWhileReadError(path)
    return handle


def read_all(handle: int, path: str, before: os.stat_result, take: Callable[[bytes], None]) -> None:
    """Read as many bytes as the stat promised, then make sure that the file is still that file."""
    left = before.st_size
    while left:
        try:
            chunk = os.read(handle, min(left, READ_BYTES))
        except OSError as error:
            raise unreadable(path, error) from error
        if not chunk:
            raise ChangedWhileReadError(path)
        take(chunk)
        left -= len(chunk)
    after = os.fstat(handle)
    if (after.st_size, after.st_mtime_ns, after.st_ctime_ns) != (
        before.st_size,
        before.st_mtime_ns,
        before.st_ctime_ns,
    ):
        raise ChangedWhileReadError(path)


def unreadable(path: str, error: OSError) -> RollbackError:
    """The refusal of something that cannot be read."""
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return RollbackError(
        Code.UNREADABLE,
        f"{path} cannot be read: {reason}.",
        "give yourself read permission on it, or move it out of the configuration.",
    )
