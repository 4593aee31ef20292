"""Building the tree that a plan wants in a slot beside its target, complete before anything live changes."""

import os
import stat
from typing import Self

from stravinsky_rollback_mcp.core.model import Entry, EntryType, Kind
from stravinsky_rollback_mcp.core.plan import Step
from stravinsky_rollback_mcp.disk import archive, content
from stravinsky_rollback_mcp.disk.atomic import PRIVATE_FILE, PRIVATE_FOLDER, Files
from stravinsky_rollback_mcp.disk.attributes import read_attributes
from stravinsky_rollback_mcp.errors import Code, RollbackError

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def stage(step: Step, live: str, slot: str, archive_path: str, files: Files) -> None:
    """Build the desired tree at ``slot``: bytes from the archive or the plan, or linked from the ``live`` tree.

    Whoever plans a restore verifies the archive before anything is begun. It is checked again while it is unpacked, and
    the slot of a tree that ended with an error goes. Nothing is durable yet when this returns. Extended attributes that
    the file system does not hold are left out.
    """
    if step.target.kind is Kind.FILE:
        entry = step.desired.entries[0]
        if step.content is not None:
            writer = _EntryWriter(slot, entry, files, None)
            try:
                writer.write(step.content)
            finally:
                writer.close()
            return
        archive.unpack(archive_path, step.stored, lambda _: _EntryWriter(slot, entry, files, None))
        return
    files.make_folder(slot, PRIVATE_FOLDER)
    with Folders(slot) as new, Folders(live) as old:
        _Stage(step, new, old, files).build(archive_path)


class _EntryWriter:
    """Writes one extracted file: exclusive, never through a link, with the recorded mode and time."""

    def __init__(self, name: str, entry: Entry, files: Files, dir_fd: int | None) -> None:
        self._name = name
        self._entry = entry
        self._files = files
        self._dir_fd = dir_fd
        self._handle = files.create(name, PRIVATE_FILE, dir_fd=dir_fd)

    def write(self, chunk: bytes) -> None:
        self._files.write(self._handle, chunk, self._name)

    def close(self) -> None:
        try:
            _finish(self._handle, self._entry, self._files)
        finally:
            os.close(self._handle)
        self._files.set_time(self._name, self._entry.mtime_ns, dir_fd=self._dir_fd)


def _finish(handle: int, entry: Entry, files: Files) -> None:
    """Attributes, then the mode: a file that may not be written takes none, not even from its owner."""
    for name, value in entry.attributes:
        files.set_attribute(handle, name, value, entry.path)
    if entry.mode != (PRIVATE_FOLDER if entry.type is EntryType.DIRECTORY else PRIVATE_FILE):
        files.set_mode_of(handle, entry.mode, entry.path)


class Folders:
    """Handles to the folders of one tree, reached from its top without following links.

    Only the folders on the way to the last one asked for are kept open: trees are visited depth first.
    """

    def __init__(self, top: str) -> None:
        self._top = top
        self._open: list[tuple[str, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            os.close(self._open.pop()[1])

    def at(self, path: str) -> int:
        """A handle to the folder with that path in the tree; valid until the next call."""
        while self._open and not (path == self._open[-1][0] or path.startswith(self._open[-1][0] + "/")):
            if not self._open[-1][0]:
                break
            os.close(self._open.pop()[1])
        try:
            if not self._open:
                self._open.append(("", os.open(self._top, _FOLDER_FLAGS)))
            here = self._open[-1][0]
            for name in path[len(here) :].split("/"):
                if name:
                    here = f"{here}/{name}" if here else name
                    self._open.append((here, os.open(name, _FOLDER_FLAGS, dir_fd=self._open[-1][1])))
        except OSError as error:
            raise RollbackError(
                Code.UNSTABLE_SOURCE,
                f"{self._top}/{path} changed while it was used: {os.strerror(error.errno or 0)}.",
                "try again when nothing else writes there.",
            ) from error
        return self._open[-1][1]

    def parent(self, path: str) -> tuple[int, str]:
        """A handle to the folder that holds ``path``, and the name in it."""
        folder, _, name = path.rpartition("/")
        return self.at(folder), name


class _Stage:
    """One folder target under construction."""

    def __init__(self, step: Step, new: Folders, old: Folders, files: Files) -> None:
        self._step = step
        self._new = new
        self._old = old
        self._files = files

    def build(self, archive_path: str) -> None:
        """Folders, then files, then links, then what no backup holds; last the folders' own modes and times."""
        entries = self._step.staged.entries
        folders = [entry for entry in entries if entry.type is EntryType.DIRECTORY]
        for entry in folders:
            if entry.path:
                handle, name = self._new.parent(entry.path)
                self._files.make_folder(name, PRIVATE_FOLDER, dir_fd=handle)
        for entry in entries:
            if entry.type is EntryType.FILE and entry.path not in self._step.from_backup:
                self._link_or_copy(entry)
        if self._step.from_backup:
            archive.unpack(archive_path, self._step.stored, self._writer)
        for entry in entries:
            if entry.type is EntryType.SYMLINK:
                handle, name = self._new.parent(entry.path)
                self._files.symlink(entry.link, name, dir_fd=handle)
                self._files.set_time(name, entry.mtime_ns, dir_fd=handle)
        for item in self._step.carried:
            self._carry(item.path)
        for entry in reversed(folders):
            self._finish_folder(entry)

    def _writer(self, entry: Entry) -> _EntryWriter | None:
        if entry.path not in self._step.from_backup:
            return None
        handle, name = self._new.parent(entry.path)
        return _EntryWriter(name, entry, self._files, handle)

    def _link_or_copy(self, entry: Entry) -> None:
        source, name = self._old.parent(entry.path)
        target, _ = self._new.parent(entry.path)
        if not self._files.hard_link(name, name, source_dir_fd=source, dir_fd=target):
            self._copy(entry, source, target, name)

    def _copy(self, entry: Entry, source: int, target: int, name: str) -> None:
        writer = _EntryWriter(name, entry, self._files, target)
        try:
            content.copy_content(entry.path, name, source, writer.write)
        finally:
            writer.close()

    def _carry(self, path: str) -> None:
        """Bring along something that no backup holds, by a second name for each of its files."""
        source, name = self._old.parent(path)
        target, _ = self._new.parent(path)
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            self._files.make_folder(name, PRIVATE_FOLDER, dir_fd=target)
            for child in sorted(os.listdir(self._old.at(path))):
                self._carry(f"{path}/{child}")
            self._finish_folder(
                Entry(
                    path=path,
                    type=EntryType.DIRECTORY,
                    mode=status.st_mode & 0o7777,
                    mtime_ns=status.st_mtime_ns,
                    attributes=read_attributes(self._old.at(path), path)[0],
                )
            )
        elif stat.S_ISLNK(status.st_mode):
            self._files.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            self._files.set_time(name, status.st_mtime_ns, dir_fd=target)
        elif not self._files.hard_link(name, name, source_dir_fd=source, dir_fd=target):
            if not stat.S_ISREG(status.st_mode):
                raise RollbackError(
                    Code.UNSUPPORTED_FILE_TYPE,
                    f"{path} is a special file that cannot be linked into the new tree.",
                    "move it away by hand, then try again.",
                )
            entry = Entry(path=path, type=EntryType.FILE, mode=status.st_mode & 0o777, mtime_ns=status.st_mtime_ns)
            self._copy(entry, source, target, name)

    def _finish_folder(self, entry: Entry) -> None:
        handle = self._new.at(entry.path)
        _finish(handle, entry, self._files)
        self._files.set_time_of(handle, entry.mtime_ns, entry.path)
