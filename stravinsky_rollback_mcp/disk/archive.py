"""Archives: written in one pass while a target is read, read back strictly before anything is trusted.

A folder becomes a gzip-compressed tar of its regular files and folders; its links stand in the manifest alone. A
file is stored as it is. The reader accepts exactly what the manifest lists, in both directions, and nothing else.

Packing and unpacking of large archives go along in a second thread. Two threads never change a disk at once: while
that one packs and writes, the other only reads.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from stravinsky_rollback_mcp.core import tar
from stravinsky_rollback_mcp.core.codec.text import name_bytes
from stravinsky_rollback_mcp.core.model import Entry, EntryType, Kind, StoredTarget
from stravinsky_rollback_mcp.core.names import path_problem, spelling_problem
from stravinsky_rollback_mcp.disk.atomic import PRIVATE_FILE, Files
from stravinsky_rollback_mcp.disk.compression import LEVEL, deflate
from stravinsky_rollback_mcp.errors import Code, RollbackError

_GZIP = 31  # window bits that mean "with a gzip header", which then holds neither name nor time
_FLUSH_BYTES = 1 << 18
_READ_BYTES = 1 << 18
_MAX_WAITING = 4  # pieces of a target that are read and not yet packed


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written: the digest and size of the archive's own bytes."""

    sha256: str
    size_bytes: int


class Writer(Protocol):
    """A place to which the content of one extracted entry goes, and which is closed at its end."""

    def write(self, chunk: bytes) -> None:
        """The next bytes."""
        ...

    def close(self) -> None:
        """The end of the entry."""
        ...


class ArchiveWriter:
    """Sink of a scan: one archive file, private, streamed, with its digest. ``close`` after ``finish`` or failure.

    The file is made when there is something to write: a target that is absent leaves no trace. Whoever feeds it only
    reads meanwhile: the pieces of a large target are packed and written in another thread, one after the other, and
    what fails there is raised by a later call.
    """

    def __init__(self, path: str, kind: Kind, files: Files) -> None:
        self._path = path
        self._files = files
        self._handle: int | None = None
        self._packs = kind is Kind.DIRECTORY
        self._compressor = deflate.compressobj(LEVEL, deflate.DEFLATED, _GZIP) if self._packs else None
        self._digest = hashlib.sha256()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._tail = b""
        self._size_bytes = 0
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()

    def folder(self, path: str, mode: int) -> None:
        """A folder below the target."""
        self._take(self._tail + tar.header(name_bytes(path), mode, 0, folder=True))
        self._tail = b""

    def file(self, path: str, mode: int, size_bytes: int) -> None:
        """A file whose content follows."""
        if self._packs:
            self._take(self._tail + tar.header(name_bytes(path), mode, size_bytes, folder=False))
            self._tail = tar.padding(size_bytes)

    def content(self, chunk: bytes) -> None:
        """The next bytes of the file announced last."""
        self._take(chunk)

    def finish(self) -> Written:
        """Complete the archive and make its bytes durable."""
        if self._packs:
            self._take(self._tail + tar.END)
        self._settle(0)
        self._pack(self._drained())
        if self._compressor is not None:
            self._store(self._compressor.flush())
        self._files.fsync(self._opened(), self._path)
        return Written(sha256=self._digest.hexdigest(), size_bytes=self._size_bytes)

    def close(self) -> None:
        """Give up what is not packed yet, and the handle back."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        if self._handle is not None:
            os.close(self._handle)

    def _opened(self) -> int:
        if self._handle is None:
            self._handle = self._files.create(self._path, PRIVATE_FILE)
        return self._handle

    def _take(self, chunk: bytes) -> None:
        self._pending.append(chunk)
        self._pending_bytes += len(chunk)
        if self._pending_bytes >= _FLUSH_BYTES:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(max_workers=1)
            self._settle(_MAX_WAITING - 1)
            self._waiting.append(self._thread.submit(self._pack, self._drained()))

    def _settle(self, left: int) -> None:
        """Wait until at most so many pieces are not packed yet."""
        while len(self._waiting) > left:
            self._waiting.popleft().result()

    def _drained(self) -> bytes:
        chunk = b"".join(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        return chunk

    def _pack(self, chunk: bytes) -> None:
        self._store(chunk if self._compressor is None else self._compressor.compress(chunk))

    def _store(self, content: bytes) -> None:
        if content:
            self._digest.update(content)
            self._size_bytes += len(content)
            self._files.write(self._opened(), content, self._path)


def verify(path: str, stored: StoredTarget) -> None:
    """Read a stored archive back whole and compare it with the manifest's entries.

    Raises ``archive_mismatch`` when bytes are missing, surplus or different, ``archive_unsafe`` when the archive
    holds what no archive of ours holds, ``too_large`` when it unpacks to more than the manifest says.
    """
    unpack(path, stored, lambda _: None)


def unpack(path: str, stored: StoredTarget, place: Callable[[Entry], Writer | None]) -> None:
    """Stream the regular files of an archive to the writers that ``place`` gives for their entries (None: only check).

    The same errors as ``verify``; they may come after some entries were written, and those are then not to be used.
    """
    source = _Source(path, stored)
    try:
        if stored.kind is Kind.FILE:
            _copy(source, stored.tree.entries[0], place, source.read_some)
        else:
            _unpack_members(source, stored, place)
        source.finish()
    finally:
        source.close()


class _Kept:
    """A writer that keeps what it gets."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def close(self) -> None:
        """There is nothing to give back."""


def contents(path: str, stored: StoredTarget, wanted: Collection[str]) -> dict[str, bytes]:
    """The bytes of some files in an archive, which is checked whole on the way. The same errors as ``verify``."""
    kept: dict[str, _Kept] = {}

    def place(entry: Entry) -> Writer | None:
        return kept.setdefault(entry.path, _Kept()) if entry.path in wanted else None

    unpack(path, stored, place)
    return {name: b"".join(writer.chunks) for name, writer in kept.items()}


def _unpack_members(source: "_Source", stored: StoredTarget, place: Callable[[Entry], Writer | None]) -> None:
    listed = {
        name_bytes(entry.path): entry
        for entry in stored.tree.entries
        if entry.path and entry.type is not EntryType.SYMLINK
    }
    missing = set(listed)
    long_name: bytes | None = None
    while (member := tar.parse(source.read(tar.BLOCK))) is not None:
        if member.is_long_name:
            if long_name is not None:
                raise tar.unsafe("two long names in a row")
            long_name = source.read(member.size_bytes).removesuffix(b"\0")
            source.skip_padding(member.size_bytes)
            continue
        name = member.name if long_name is None else long_name
        long_name = None
        name = name.removesuffix(b"/") if member.is_folder else name
        entry = listed.get(name)
        if entry is None:
            text = name.decode("utf-8", "surrogateescape")
            problem = path_problem(text) or spelling_problem(text, (known.path for known in listed.values()))
            raise tar.unsafe(problem) if problem else _mismatch(stored, "a member that its manifest does not list")
        if name not in missing:
            raise tar.unsafe("a member twice")
        missing.remove(name)
        if member.is_folder != (entry.type is EntryType.DIRECTORY) or member.size_bytes != entry.size_bytes:
            raise _mismatch(stored, "a member of another type or size than its manifest says")
        if not member.is_folder:
            _copy(source, entry, place, source.read_some)
            source.skip_padding(member.size_bytes)
    if any(source.read(tar.BLOCK)):
        raise tar.unsafe("an end mark that is none")
    if missing or long_name is not None:
        raise _mismatch(stored, "fewer members than its manifest lists")


def _copy(
    source: "_Source", entry: Entry, place: Callable[[Entry], Writer | None], read_some: Callable[[int], bytes]
) -> None:
    digest = hashlib.sha256()
    writer = place(entry)
    left = entry.size_bytes
    try:
        while left:
            chunk = read_some(left)
            digest.update(chunk)
            if writer is not None:
                writer.write(chunk)
            left -= len(chunk)
    finally:
        if writer is not None:
            writer.close()
    if digest.hexdigest() != entry.sha256:
        raise source.mismatch("a file with other bytes than its manifest says")


class _Source:
    """The unpacked bytes of one stored archive, never more of them than the manifest accounts for.

    While one piece is used the next one is unpacked in another thread.
    """

    def __init__(self, path: str, stored: StoredTarget) -> None:
        self._stored = stored
        self._left = _unpacked_bytes(stored)
        self._digest = hashlib.sha256()
        self._buffer: bytes = b""
        self._offset = 0
        self._unpacker = deflate.decompressobj(_GZIP) if stored.kind is Kind.DIRECTORY else None
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: Future[bytes] | None = None
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise self.mismatch("no readable file of that name") from error

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown()
        os.close(self._handle)

    def mismatch(self, what: str) -> RollbackError:
        return _mismatch(self._stored, what)

    def read(self, size_bytes: int) -> bytes:
        """Exactly ``size_bytes``."""
        content = self.read_some(size_bytes)
        while len(content) < size_bytes:
            content += self.read_some(size_bytes - len(content))
        return content

    def read_some(self, size_bytes: int) -> bytes:
        """At least one and at most ``size_bytes`` bytes."""
        if self._offset == len(self._buffer):
            self._buffer = self._next()
            self._offset = 0
            if not self._buffer:
                raise self.mismatch("an end that comes too early")
        chunk = self._buffer[self._offset : self._offset + size_bytes]
        self._offset += len(chunk)
        self._left -= len(chunk)
        if self._left < 0:
            raise self._too_large()
        return chunk

    def _too_large(self) -> RollbackError:
        return RollbackError(
            Code.TOO_LARGE,
            f"the archive of {self._stored.id} unpacks to more than its manifest says.",
            "choose another backup.",
        )

    def skip_padding(self, size_bytes: int) -> None:
        """Pass over the zero bytes that fill the last block."""
        if size_bytes % tar.BLOCK and any(self.read(-size_bytes % tar.BLOCK)):
            raise tar.unsafe("padding that is not empty")

    def finish(self) -> None:
        """Make sure that nothing follows, and that the stored bytes are those that the manifest names."""
        if self._offset != len(self._buffer) or self._next():
            raise self.mismatch("bytes after its end") if self._unpacker is None else self._too_large()
        if self._unpacker is not None and (not self._unpacker.eof or self._unpacker.unused_data or self._raw()):
            raise self.mismatch("a broken or second compressed stream")
        if self._digest.hexdigest() != self._stored.archive_sha256:
            raise self.mismatch("other bytes than its manifest names")

    def _next(self) -> bytes:
        """The next piece, empty at the end; from the first full one on the one after it is under way already."""
        ahead, self._ahead = self._ahead, None
        content = self._unpacked() if ahead is None else ahead.result()
        if ahead is not None or len(content) == _FLUSH_BYTES:
            self._thread = self._thread or ThreadPoolExecutor(max_workers=1)
            self._ahead = self._thread.submit(self._unpacked) if content else None
        return content

    def _unpacked(self) -> bytes:
        unpacker = self._unpacker
        if unpacker is None:
            return self._raw()
        try:
            content = unpacker.decompress(unpacker.unconsumed_tail, _FLUSH_BYTES) if unpacker.unconsumed_tail else b""
            while not content and not unpacker.eof:
                raw = self._raw()
                if not raw:
                    raise self.mismatch("an end that comes too early")
                content = unpacker.decompress(raw, _FLUSH_BYTES)
        except deflate.error as error:
            raise self.mismatch("bytes that do not unpack") from error
        return content

    def _raw(self) -> bytes:
        try:
            content = os.read(self._handle, _READ_BYTES)
        except OSError as error:
            raise self.mismatch("bytes that cannot be read") from error
        self._digest.update(content)
        return content


def _unpacked_bytes(stored: StoredTarget) -> int:
    if stored.kind is Kind.FILE:
        return stored.tree.size_bytes
    total = len(tar.END)
    for entry in stored.tree.entries:
        if entry.path and entry.type is not EntryType.SYMLINK:
            is_folder = entry.type is EntryType.DIRECTORY
            total += tar.header_bytes(name_bytes(entry.path), folder=is_folder)
            total += entry.size_bytes + -entry.size_bytes % tar.BLOCK
    return total


def _mismatch(stored: StoredTarget, what: str) -> RollbackError:
    return RollbackError(
        Code.ARCHIVE_MISMATCH,
        f"the stored archive of {stored.id} has {what}.",
        "choose another backup; `stravinsky-rollback backup verify` tells which are intact.",
    )
