"""Directory trees as literals, and their exact state as a value.

``build`` makes what a test describes; ``snapshot`` says what is there, so that "byte for byte as before" is one
``==``. Modes are set explicitly: the umask of whoever runs the tests changes nothing.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class File:
    """A regular file; ``str`` content is written as UTF-8."""

    content: str | bytes = b""
    mode: int = 0o644
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link with this text, which may lead nowhere."""

    text: str | bytes


@dataclass(frozen=True, slots=True)
class Fifo:
    """A named pipe: opening it for reading would wait for ever."""

    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory with its own mode, set after its content is in place."""

    entries: "Spec"
    mode: int = 0o755


Entry: TypeAlias = "str | bytes | File | Link | Fifo | Folder | Mapping[str | bytes, Entry]"
Spec: TypeAlias = Mapping[str | bytes, Entry]
Snapshot: TypeAlias = dict[bytes, tuple[str, int, bytes]]


def build(root: Path, spec: Spec) -> None:
    """Make every entry of ``spec`` below ``root``, and ``root`` itself where it is missing.

    A key is one name, not a path; ``bytes`` where it is no UTF-8. What exists already stays, unless it is named.
    """
    root.mkdir(parents=True, exist_ok=True)
    for name, entry in spec.items():
        _make(os.path.join(os.fsencode(root), os.fsencode(name)), entry)


def snapshot(root: Path) -> Snapshot:
    """Names, types, modes, link texts and bytes of ``root`` and all below it, keyed by raw relative path.

    ``root`` itself is ``b""``; an absent root is ``{}``. No link is followed, ``root`` included, nothing but regular
    files is opened, and what may not be read is recorded as such. Time stamps and hard links are left out.
    """
    found: Snapshot = {}
    _record(os.fsencode(root), b"", found)
    return found


def _make(path: bytes, entry: Entry) -> None:
    match entry:
        case str() | bytes():
            _make(path, File(entry))
        case File(content, mode, mtime_ns):
            with open(path, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            os.chmod(path, mode)
            if mtime_ns is not None:
                os.utime(path, ns=(mtime_ns, mtime_ns))
        case Link(text):
            os.symlink(os.fsencode(text), path)
        case Fifo(mode):
            os.mkfifo(path)
            os.chmod(path, mode)
        case Folder(entries, mode):
            build(Path(os.fsdecode(path)), entries)
            os.chmod(path, mode)
        case _:
            _make(path, Folder(entry))


def _record(path: bytes, relative: bytes, found: Snapshot) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        try:
            names = sorted(os.listdir(path))
        except PermissionError:
            found[relative] = ("folder", mode, b"<unreadable>")
            return
        found[relative] = ("folder", mode, b"")
        for name in names:
            _record(os.path.join(path, name), os.path.join(relative, name), found)
    elif stat.S_ISLNK(status.st_mode):
        found[relative] = ("link", mode, os.readlink(path))
    elif stat.S_ISREG(status.st_mode):
        found[relative] = ("file", mode, _content(path, status.st_size))
    else:
        found[relative] = ("fifo" if stat.S_ISFIFO(status.st_mode) else "special", mode, b"")


def _content(path: bytes, size_bytes: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except PermissionError:
        return b"<unreadable, %d bytes>" % size_bytes
