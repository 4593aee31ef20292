"""What one process has read already: an unchanged file need not be read again to know what it holds.

Only looking may rest on it, and finding that nothing changed since the last backup. What is backed up, planned, and
proven after a change is always read.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.model import Attributes

Stamp = tuple[int, int, int, int, int]


def stamp_of(status: os.stat_result) -> Stamp:
    """Device, inode, size, mtime_ns and ctime_ns: another one after every change of the content."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Held:
    """What a file holds: the digest of its content, its extended attributes, and what of these no backup keeps."""

    sha256: str
    attributes: Attributes
    unkept: tuple[str, ...]


class Recall:
    """The files of one target while it is looked at once more."""

    def __init__(self, earlier: Mapping[Stamp, Held]) -> None:
        self.now: dict[Stamp, Held] = {}
        self._earlier = earlier
        self._began_ns = time.time_ns()

    def held(self, status: os.stat_result) -> Held | None:
        """What a file holds whose stamp is that of an earlier look; None for any other."""
        stamp = stamp_of(status)
        found = self._earlier.get(stamp)
        if found is not None:
            self.now[stamp] = found
        return found

    def note(self, status: os.stat_result, held: Held) -> None:
        """Remember a file that was read; one whose time stamps are not older than this look may still change unseen."""
        if max(status.st_mtime_ns, status.st_ctime_ns) < self._began_ns:
            self.now[stamp_of(status)] = held


class Memory:
    """What was read of each target when it was last looked at; threads may share it."""

    def __init__(self, targets: dict[str, Mapping[Stamp, Held]] | None = None, *, is_blank: bool = False) -> None:
        self._targets = {} if targets is None else targets
        self._is_blank = is_blank

    def blank(self) -> "Memory":
        """The same memory for one who must read everything: it takes over what is seen, and knows nothing before."""
        return Memory(self._targets, is_blank=True)

    def recall(self, target_id: str) -> Recall:
        """What is remembered of a target, to look at it with."""
        return Recall({} if self._is_blank else self._targets.get(target_id, {}))

    def keep(self, target_id: str, recall: Recall) -> None:
        """Take over what a look that came to its end has seen; the rest is forgotten."""
        self._targets[target_id] = recall.now
