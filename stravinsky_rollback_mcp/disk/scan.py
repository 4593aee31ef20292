"""Reading live targets: what they hold, and whether they held still.

Nothing here follows a link below a target, opens anything but regular files, or waits on a special file. Folders
are walked by handle, so that a folder swapped for a link in mid-walk is an error and not a way out.
"""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import Protocol

from stravinsky_rollback_mcp.core.codec.trees import ABSENT, not_recorded, present, sort_key
from stravinsky_rollback_mcp.core.components import EXCLUDED_FOLDERS, downloaded_below
from stravinsky_rollback_mcp.core.model import Attributes, Entry, EntryType, Kind, Limits, Skipped, Tree
from stravinsky_rollback_mcp.disk.attributes import read_attributes
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, open_regular, read_all, unreadable
from stravinsky_rollback_mcp.disk.memory import Held, Memory, Recall
from stravinsky_rollback_mcp.disk.place import Place
from stravinsky_rollback_mcp.disk.stillness import still_moment
from stravinsky_rollback_mcp.errors import Code, RollbackError

_ATTEMPTS = 4  # FUSE tells the stats of a moment ago; people save a file twice
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Signature = tuple[tuple[str, int, int, int, int, int, int], ...]


class Sink(Protocol):
    """What a scan streams the content to, in walk order, while it reads it."""

    def folder(self, path: str, mode: int) -> None:
        """A folder below the target."""
        ...

    def file(self, path: str, mode: int, size_bytes: int) -> None:
        """A file whose content follows."""
        ...

    def content(self, chunk: bytes) -> None:
        """The next bytes of the file announced last."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One look at a target: its tree, and the stat signature that must still hold when everything was read.

    ``hard_linked`` are files that have other names too; replacing them here does not change what those names hold.
    ``unkept`` says of which paths no backup keeps everything, and what.
    """

    place: Place
    tree: Tree
    signature: Signature
    hard_linked: tuple[str, ...] = ()
    unkept: tuple[tuple[str, str], ...] = ()


def scan(place: Place, limits: Limits, sink: Sink | None = None, memory: Memory | None = None) -> Scan:
    """Read one target whole, once.

    A target that is missing is ``absent``; one of the wrong kind (a folder named settings.json, a FIFO) is
    ``not_recorded``. With ``memory`` a file that it knows is not read again. Raises ``unreadable``, ``too_large`` or
    ``too_many_files`` with the path, and ``ChangedWhileReadError`` when the content moved.
    """
    kind = place.target.kind
    if place.refusal is not None:
        return Scan(place=place, tree=not_recorded(f"out of sight ({place.refusal.code})"), signature=())
    if place.same_as is not None:
        return Scan(place=place, tree=not_recorded(f"one with {place.same_as}"), signature=())
    if place.dangling:
        return Scan(place=place, tree=not_recorded("a link to nothing"), signature=())
    try:
        status = os.lstat(place.resolved)
    except (FileNotFoundError, NotADirectoryError):
        return Scan(place=place, tree=ABSENT, signature=())
    except OSError as error:
        raise unreadable(place.resolved, error) from error
    is_right_kind = stat.S_ISDIR(status.st_mode) if kind is Kind.DIRECTORY else stat.S_ISREG(status.st_mode)
    if not is_right_kind:
        reason = f"not a {kind} but {_type_name(status.st_mode)}"
        return Scan(place=place, tree=not_recorded(reason), signature=())
    recall = None if memory is None else memory.recall(place.target.id)
    walk = _Walk(place, limits, sink, recall, reads=True)
    walk.start(kind)
    if memory is not None and recall is not None:
        memory.keep(place.target.id, recall)
    return Scan(
        place=place,
        tree=present(walk.entries, walk.skipped),
        signature=tuple(walk.signature),
        hard_linked=tuple(walk.hard_linked),
        unkept=tuple(walk.unkept),
    )


def scan_when_still(place: Place, limits: Limits, memory: Memory | None = None) -> Scan:
    """Read one target whole, again while it moves under the reader; the same errors as ``scan``, but not at once."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return scan(place, limits, memory=memory)
        except ChangedWhileReadError:
            continue
    return scan(place, limits, memory=memory)


def still_the_same(seen: Scan, limits: Limits) -> bool:
    """Whether every stat of an earlier scan still holds; nothing is read but what was not there before."""
    walk = _Walk(seen.place, limits, None, None, reads=False)
    try:
        if not seen.signature:
            return scan(seen.place, limits).tree == seen.tree
        walk.start(seen.place.target.kind)
    except ChangedWhileReadError:
        return False
    return tuple(walk.signature) == seen.signature


def looks_like(place: Place, tree: Tree, limits: Limits) -> bool:
    """Whether names, modes, sizes and times are those of a recorded tree. Nothing is read, so this proves nothing."""
    if place.refusal is not None or place.same_as is not None or place.dangling:
        return False
    walk = _Walk(place, limits, None, None, reads=False)
    try:
        walk.start(place.target.kind)
    except (ChangedWhileReadError, RollbackError):
        return False
    found = {
        (path, mode & 0o777, size_bytes if stat.S_ISREG(mode) else 0, mtime_ns)
        for path, _, _, mode, size_bytes, mtime_ns, _ in walk.signature
    }
    return found == {(entry.path, entry.mode, entry.size_bytes, entry.mtime_ns) for entry in tree.entries}


class _Walk:
    """One pass over a target; with ``reads`` off it only looks at stats."""

    def __init__(self, place: Place, limits: Limits, sink: Sink | None, recall: Recall | None, *, reads: bool) -> None:
        self.entries: list[Entry] = []
        self.skipped: list[Skipped] = []
        self.hard_linked: list[str] = []
        self.unkept: list[tuple[str, str]] = []
        self.signature: list[tuple[str, int, int, int, int, int, int]] = []
        self._top = place.resolved
        self._without = place.without
        self._downloaded = downloaded_below(place.target.component)
        self._limits = limits
        self._sink = sink
        self._recall = recall
        self._reads = reads

    def start(self, kind: Kind) -> None:
        """Walk the target; the entry of the target itself has the empty path."""
        try:
            if kind is Kind.FILE:
                self._file("", self._top, None, os.lstat(self._top))
                return
            handle = os.open(self._top, _FOLDER_FLAGS)
        except OSError as error:
            raise self._trouble("", error) from error
        try:
            self._folder("", handle, 0)
        finally:
            os.close(handle)

    def _folder(self, path: str, handle: int, depth: int) -> None:
        if depth > self._limits.max_depth:
            raise RollbackError(
                Code.TOO_MANY_FILES,
                f"{self._full(path)} lies deeper than {self._limits.max_depth} folders.",
                "move it elsewhere, or raise backup.max_depth.",
            )
        status = os.fstat(handle)
        self._note(path, status)
        self._count(
            Entry(
                path=path,
                type=EntryType.DIRECTORY,
                mode=status.st_mode & 0o777,
                mtime_ns=status.st_mtime_ns,
                attributes=self._attributes(path, handle) if self._reads else (),
            )
        )
        if path and self._sink is not None:
            self._sink.folder(path, status.st_mode & 0o777)
        try:
            names = sorted(os.listdir(handle), key=sort_key)
        except OSError as error:
            raise self._trouble(path, error) from error
        for name in names:
            child = f"{path}/{name}" if path else name
            if child not in self._without:
                self._child(child, name, handle, depth)

    def _child(self, path: str, name: str, folder: int, depth: int) -> None:
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if name in EXCLUDED_FOLDERS or path in self._downloaded:
                    self._skip(path, "excluded folder")
                    return
                handle = self._open_folder(path, name, folder)
                try:
                    self._folder(path, handle, depth + 1)
                finally:
                    os.close(handle)
            elif stat.S_ISREG(status.st_mode):
                self._file(path, name, folder, status)
            elif stat.S_ISLNK(status.st_mode):
                self._note(path, status)
                text = os.readlink(name, dir_fd=folder)
                self._count(
                    Entry(path=path, type=EntryType.SYMLINK, mode=0o777, link=text, mtime_ns=status.st_mtime_ns)
                )
            else:
                self._skip(path, _type_name(status.st_mode))
        except OSError as error:
            raise self._trouble(path, error) from error

    def _open_folder(self, path: str, name: str, folder: int) -> int:
        """A handle to a folder that was just seen. One that became a link meanwhile is no accident to read again."""
        try:
            return os.open(name, _FOLDER_FLAGS, dir_fd=folder)
        except NotADirectoryError as error:
            if not stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise
            raise RollbackError(
                Code.UNSAFE_PATH,
                f"{self._full(path)} was replaced by a link while it was read.",
                "look at what replaced it; when it is meant to be a link, try again.",
            ) from error

    def _file(self, path: str, name: str, folder: int | None, status: os.stat_result) -> None:
        if status.st_size > self._limits.max_file_size_bytes:
            raise RollbackError(
                Code.TOO_LARGE,
                f"{self._full(path)} has {status.st_size} bytes; {self._limits.max_file_size_bytes} are allowed.",
                "move it out of the configuration, or raise backup.max_file_size_mb.",
            )
        if not self._reads:
            self._note(path, status)
            return
        held = None if self._recall is None else self._recall.held(status)
        if held is None:
            status, held = self._read(path, name, folder)
        self._note(path, status)
        if status.st_nlink > 1:
            self.hard_linked.append(path)
        self.unkept.extend((path, what) for what in held.unkept)
        self._count(
            Entry(
                path=path,
                type=EntryType.FILE,
                mode=status.st_mode & 0o777,
                size_bytes=status.st_size,
                sha256=held.sha256,
                mtime_ns=status.st_mtime_ns,
                attributes=held.attributes,
            )
        )

    def _read(self, path: str, name: str, folder: int | None) -> tuple[os.stat_result, Held]:
        """What a file holds at a moment from which its stat tells of every change."""
        handle = open_regular(self._full(path), name, folder)
        try:
            status = still_moment(handle)
            if status is None:
                raise ChangedWhileReadError(self._full(path))
            kept, unkept = read_attributes(handle, self._full(path))
            held = Held(self._content(path, handle, status), kept, unkept)
        finally:
            os.close(handle)
        if self._recall is not None:
            self._recall.note(status, held)
        return status, held

    def _attributes(self, path: str, handle: int) -> Attributes:
        """What is kept beside a folder; a change of it changes the stat, which tells in the end."""
        kept, unkept = read_attributes(handle, self._full(path))
        self.unkept.extend((path, what) for what in unkept)
        return kept

    def _content(self, path: str, handle: int, status: os.stat_result) -> str:
        digest = hashlib.sha256()
        sink = self._sink
        if sink is None:
            read_all(handle, self._full(path), status, digest.update)
        else:
            sink.file(path, status.st_mode & 0o777, status.st_size)

            def both(chunk: bytes) -> None:
                digest.update(chunk)
                sink.content(chunk)

            read_all(handle, self._full(path), status, both)
        return digest.hexdigest()

    def _count(self, entry: Entry) -> None:
        self._require_room()
        self.entries.append(entry)

    def _skip(self, path: str, reason: str) -> None:
        self._require_room()
        self.skipped.append(Skipped(path=path, reason=reason))

    def _require_room(self) -> None:
        if len(self.entries) + len(self.skipped) >= self._limits.max_entries:
            raise RollbackError(
                Code.TOO_MANY_FILES,
                f"{self._top} holds more than {self._limits.max_entries} entries.",
                "move what is not configuration elsewhere, or raise backup.max_entries.",
            )

    def _note(self, path: str, status: os.stat_result) -> None:
        self.signature.append(
            (
                path,
                status.st_dev,
                status.st_ino,
                status.st_mode,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
        )

    def _full(self, path: str) -> str:
        return f"{self._top}/{path}" if path else self._top

    def _trouble(self, path: str, error: OSError) -> Exception:
        # EINVAL: a link that is none any more when it is read.
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL):
            return ChangedWhileReadError(self._full(path))
        return unreadable(self._full(path), error)


def _type_name(mode: int) -> str:
    for test, name in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISREG, "a regular file"),
        (stat.S_ISLNK, "a link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
    ):
        if test(mode):
            return name
    return "a special file"
