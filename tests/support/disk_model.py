"""A disk that forgets: everything that a power cut may leave of what was not made durable.

``Recorded`` is the file layer on the real file system; before each mutating call the ``Model`` looks at what the call
before it did. Bytes, modes and times become durable with ``fsync`` of their file or folder, names with ``fsync`` of the
folder they stand in, everything of one file system with ``syncfs``; nothing else does, and what is not durable may be
there or not, in any combination. That is less than any real file system promises, as LevelDB's test environment has
it: what holds here rests on no file system's kindness.
"""

import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stravinsky_rollback_mcp.disk.atomic import Files, Observer

# Not part of what has to survive: the lock's note, and the index, which is built again whenever it is missing.
_LEFT_OUT = ("audit.db", "audit.db-wal", "audit.db-shm")
_DURABLE_AT_ONCE = ("lock",)
_RANDOM_SUBSETS = 2

Names = Mapping[int, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Node:
    """What one inode holds; ``content`` is a file's bytes or a link's text."""

    kind: str
    mode: int
    mtime_ns: int
    content: bytes
    device: int


@dataclass(frozen=True, slots=True)
class Renaming:
    """What one system call did to names: it happened as a whole or not at all."""

    names: tuple[tuple[int, str, int | None], ...]

    @property
    def folders(self) -> frozenset[int]:
        """The folders that must be flushed for it."""
        return frozenset(folder for folder, _, _ in self.names)


@dataclass(frozen=True, slots=True)
class Image:
    """What is on the disk after the power came back: (path, inode, what it holds), folders first."""

    at: int
    how: str
    entries: tuple[tuple[str, int, Node], ...]

    @property
    def key(self) -> frozenset[tuple[str, Node]]:
        """Equal for images between which no recovery could tell."""
        return frozenset(
            (path, replace(node, mtime_ns=0) if "/.stravinsky/" in path else node) for path, _, node in self.entries
        )


class Model:
    """Some folders, as they are and as they would be after a power cut."""

    def __init__(self, roots: Sequence[Path], seed: int = 0) -> None:
        self._roots = {str(root): number for number, root in enumerate(roots)}
        self._inodes: dict[tuple[int, int], int] = {}
        self._next = len(roots)
        self._random = random.Random(seed)
        self._renamings: list[Renaming] = []
        self._contents: dict[int, Node] = {}  # not durable yet, the newest of each
        self._names, self._nodes = self._see()
        self._durable_names: dict[int, dict[str, int]] = {folder: dict(names) for folder, names in self._names.items()}
        self._durable_nodes = dict(self._nodes)
        self._just_synced = True

    # -- looking ------------------------------------------------------------------------------------------------

    def _see(self) -> tuple[dict[int, dict[str, int]], dict[int, Node]]:
        names: dict[int, dict[str, int]] = {}
        nodes: dict[int, Node] = {}
        alive: dict[tuple[int, int], int] = {}
        waiting = list(self._roots.items())
        for path, number in waiting:
            status = os.lstat(path)
            alive[status.st_dev, status.st_ino] = number
        while waiting:
            path, folder = waiting.pop()
            if folder not in nodes:
                nodes[folder] = _node(path, os.lstat(path))
            entries = names.setdefault(folder, {})
            for name in sorted(os.listdir(path)):
                if name in _LEFT_OUT:
                    continue
                below = f"{path}/{name}"
                status = os.lstat(below)
                identity = status.st_dev, status.st_ino
                number = alive.get(identity, self._inodes.get(identity, -1))
                if number < 0:
                    number, self._next = self._next, self._next + 1
                alive[identity] = number
                entries[name] = number
                nodes[number] = _node(below, status)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append((below, number))
        self._inodes = alive  # the number of an inode that is gone may come back for another one
        return names, nodes

    def look(self) -> None:
        """Take note of what the last call changed."""
        names, nodes = self._see()
        changed: list[tuple[int, str, int | None]] = []
        for folder in names.keys() | self._names.keys():
            new, old = names.get(folder, {}), self._names.get(folder, {})
            if folder in names or folder in nodes:
                changed.extend(
                    (folder, name, new.get(name)) for name in new.keys() | old.keys() if new.get(name) != old.get(name)
                )
        for number, node in nodes.items():
            if number not in self._nodes:
                # A new inode comes with its name; what was written into it does not.
                self._durable_nodes[number] = replace(node, content=b"" if node.kind == "file" else node.content)
                self._durable_names.setdefault(number, {})
                if node.kind == "file" and node.content:
                    self._contents[number] = node
            elif node != self._nodes[number]:
                self._contents[number] = node
        if changed:
            self._renamings.append(Renaming(tuple(sorted(changed, key=str))))
        for _, name, number in changed:
            if name in _DURABLE_AT_ONCE and number is not None:
                self.synced(number)
        self._names, self._nodes = names, nodes

    # -- flushing -----------------------------------------------------------------------------------------------

    def number(self, status: os.stat_result) -> int:
        """The model's number of an inode, -1 for one outside."""
        return self._inodes.get((status.st_dev, status.st_ino), -1)

    def synced(self, number: int) -> None:
        """One file or folder was flushed."""
        self._just_synced = True
        if number in self._contents:
            self._durable_nodes[number] = self._contents.pop(number)
        self._apply([change for change in self._renamings if number in change.folders])
        self._renamings = [change for change in self._renamings if number not in change.folders]

    def synced_device(self, device: int) -> None:
        """A whole file system was flushed."""
        self._just_synced = True
        for number in [number for number, node in self._contents.items() if node.device == device]:
            self._durable_nodes[number] = self._contents.pop(number)
        here = [change for change in self._renamings if self._device(change) == device]
        self._apply(here)
        self._renamings = [change for change in self._renamings if change not in here]

    def _device(self, change: Renaming) -> int:
        return next(self._durable_nodes[folder].device for folder in change.folders)

    def _apply(self, changes: Sequence[Renaming]) -> None:
        for change in changes:
            for folder, name, number in change.names:
                entries = self._durable_names.setdefault(folder, {})
                if number is None:
                    entries.pop(name, None)
                else:
                    entries[name] = number

    # -- power cuts ---------------------------------------------------------------------------------------------

    def images(self, at: int) -> Iterator[Image]:
        """What a power cut just now may leave: of what is not durable nothing, all, each alone, all but each, some.

        Each alone only where something was flushed since, else just the newest: the others were there before.
        """
        loose: list[Renaming | int] = [*self._renamings, *self._contents]
        yield self._image(at, "nothing", ())
        if loose:
            yield self._image(at, "all", loose)
        few = loose if self._just_synced else [*self._renamings[-1:], *list(self._contents)[-1:]]
        for number, one in enumerate(few):
            yield self._image(at, f"only {number}", (one,))
            yield self._image(at, f"all but {number}", [other for other in loose if other != one])
        for number in range(_RANDOM_SUBSETS if len(loose) > 2 else 0):
            yield self._image(at, f"some, {number}", [one for one in loose if self._random.random() < 0.5])
        self._just_synced = False

    def _image(self, at: int, how: str, kept: Sequence[Renaming | int]) -> Image:
        names = {folder: dict(entries) for folder, entries in self._durable_names.items()}
        nodes = dict(self._durable_nodes)
        for one in kept:
            if isinstance(one, int):
                nodes[one] = self._contents[one]
                continue
            for folder, name, number in one.names:
                entries = names.setdefault(folder, {})
                if number is None:
                    entries.pop(name, None)
                else:
                    entries[name] = number
        found: list[tuple[str, int, Node]] = []
        waiting = [(path, number, frozenset[int]()) for path, number in self._roots.items()]
        while waiting:
            path, number, above = waiting.pop()
            if number in above:
                continue  # a folder in itself: the two halves of no rename of ours could do that
            found.append((path, number, nodes[number]))
            if nodes[number].kind == "folder":
                below = names.get(number, {})
                waiting.extend((f"{path}/{name}", inner, above | {number}) for name, inner in sorted(below.items()))
        return Image(at, how, tuple(found))


def _node(path: str, status: os.stat_result) -> Node:
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return Node("folder", mode, status.st_mtime_ns, b"", status.st_dev)
    if stat.S_ISLNK(status.st_mode):
        return Node("link", mode, status.st_mtime_ns, os.fsencode(os.readlink(path)), status.st_dev)
    with open(path, "rb") as file:
        return Node("file", mode, status.st_mtime_ns, file.read(), status.st_dev)


def materialise(image: Image, roots: Sequence[Path]) -> None:
    """Put an image in the place of what is there."""
    for root in roots:
        for entry in os.scandir(root):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    made: dict[int, str] = {}
    folders: list[tuple[str, Node]] = []
    for path, number, node in image.entries:
        if node.kind == "folder":
            os.makedirs(path, exist_ok=True)
            folders.append((path, node))
        elif number in made:
            os.link(made[number], path, follow_symlinks=False)
        else:
            made[number] = path
            if node.kind == "link":
                os.symlink(node.content, path)
            else:
                with open(path, "wb") as file:
                    file.write(node.content)
                os.chmod(path, node.mode)
            os.utime(path, ns=(node.mtime_ns, node.mtime_ns), follow_symlinks=False)
    for path, node in reversed(folders):
        os.chmod(path, node.mode)
        os.utime(path, ns=(node.mtime_ns, node.mtime_ns))


# -- the file layer -------------------------------------------------------------------------------------------------

Forgets = Callable[[Files, str, str], bool]


def forgets_nothing(_files: Files, _call: str, _path: str) -> bool:
    """The production code."""
    return False


class Recorded(Files):
    """The file layer over a model; ``forgets`` are the flushes that a mutant leaves out: (files, call, path)."""

    def __init__(
        self,
        model: Model,
        visit: Callable[[Model, int], None],
        forgets: Forgets = forgets_nothing,
        observe: Observer = lambda _operation, _path: None,
    ) -> None:
        super().__init__(observe)
        self.model = model
        self.forgotten = 0
        self._visit = visit
        self._forgets = forgets

    def _begin(self, operation: str, path: str) -> None:
        self.model.look()
        self._visit(self.model, self.operations)
        super()._begin(operation, path)

    def _is_forgotten(self, call: str, path: str) -> bool:
        is_forgotten = self._forgets(self, call, path)
        self.forgotten += is_forgotten
        return is_forgotten

    def fsync(self, handle: int, path: str) -> None:
        """Flush one open file or folder."""
        if not self._is_forgotten("fsync", path):
            super().fsync(handle, path)
            self.model.synced(self.model.number(os.fstat(handle)))

    def sync_folder(self, path: str) -> None:
        """Flush the names in a folder."""
        if not self._is_forgotten("sync_folder", path):
            super().sync_folder(path)
            self.model.synced(self.model.number(os.stat(path)))

    def sync_file_system(self, path: str) -> None:
        """Flush a file system."""
        if not self._is_forgotten("sync_file_system", path):
            super().sync_file_system(path)
            self.model.synced_device(os.lstat(path).st_dev)
