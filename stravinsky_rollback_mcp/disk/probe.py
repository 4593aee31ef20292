"""Looking at the machine for the checks: room, permissions, locks. Nothing is changed, nothing of the user's is run."""

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file
from stravinsky_rollback_mcp.errors import RollbackError

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is free on the file system that holds ``path``; ``device`` tells file systems apart."""

    path: str
    device: int
    free_bytes: int
    free_inodes: int | None


def room(path: str) -> Room:
    """What is free where ``path`` lies or would lie."""
    place = _existing(path)
    found = os.statvfs(place)
    return Room(
        path=place,
        device=os.stat(place).st_dev,
        free_bytes=found.f_bavail * found.f_frsize,
        # Some file systems make inodes as they need them, and say that they have none.
        free_inodes=found.f_favail if found.f_files else None,
    )


def can_replace_in(folder: str) -> bool:
    """Whether a name in this folder, or in the nearest one above that exists, may be replaced.

    The kernel is asked; no file is made where Claude Code would see it.
    """
    return os.access(_existing(folder), os.W_OK | os.X_OK, effective_ids=True)


def held_by_others(paths: Iterable[str], *, wait_seconds: float) -> tuple[str, ...]:
    """The files on which another process holds an exclusive lock, after waiting that long for all of them."""
    deadline = time.monotonic() + wait_seconds
    held = tuple(path for path in paths if _is_locked(path))
    while held and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        held = tuple(path for path in held if _is_locked(path))
    return held


def _is_locked(path: str) -> bool:
    """Whether a shared lock of either kind is refused; ours is given back at once."""
    try:
        handle = os.open(path, _FLAGS)
    except OSError:
        return False  # what cannot be opened is for other checks to tell
    try:
        for lock in (fcntl.flock, fcntl.lockf):
            lock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            lock(handle, fcntl.LOCK_UN)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    finally:
        os.close(handle)
    return False


def _existing(path: str) -> str:
    return next(place for place in _upwards(path) if os.path.exists(place))


def _upwards(path: str) -> Iterator[str]:
    while True:
        yield path
        if path == os.path.dirname(path):
            return
        path = os.path.dirname(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What stands at a path, links followed; ``content`` is None for what is no readable file of bearable size."""

    is_file: bool
    mode: int
    content: bytes | None


def look_at(path: str, limit_bytes: int) -> Looked | None:
    """What stands at a path outside all that is protected; None where nothing does."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    is_file = stat.S_ISREG(status.st_mode)
    content = None
    if is_file:
        with contextlib.suppress(RollbackError, ChangedWhileReadError, OSError):
            content = read_file(os.path.realpath(path), limit_bytes)
    return Looked(is_file=is_file, mode=stat.S_IMODE(status.st_mode), content=content)


def sh_is_dash() -> bool:
    """Whether ``sh`` here is dash, which ends differently from bash when a script is missing."""
    return os.path.basename(os.path.realpath("/bin/sh")) == "dash"
