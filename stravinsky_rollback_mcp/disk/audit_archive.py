"""One archived log: a gzip file of many members, so that a line in its middle is read without all that lies before.

``zcat`` gives the log back as it was. Each member holds whole lines and says its own length in its header's extra
field (RFC 1952, 2.3.1.1), by which a reader hops from one to the next. No name and no time stand in any header, so the
same log gives the same file.
"""

import binascii
import hashlib
import os
import re
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from stravinsky_rollback_mcp.core.codec.chain import MAX_LINE_BYTES
from stravinsky_rollback_mcp.disk.atomic import PRIVATE_FILE, Files
from stravinsky_rollback_mcp.disk.compression import LEVEL, deflate

FOLDER = "archive"

_NAME = re.compile(r"operations\.log\.([1-9][0-9]{0,17})-([1-9][0-9]{0,17})\.gz")
_MEMBER_BYTES = 1 << 15  # before compression: small enough that one line costs a fraction of a millisecond
_READ_BYTES = 1 << 18
# Magic, deflate, FEXTRA; no time, no hints, unknown system; one subfield "RB" of 8 bytes: lengths packed and unpacked.
_HEADER = struct.Struct("<4sIBBH2sHII")
_FIXED = (b"\x1f\x8b\x08\x04", 0, 0, 255, 12, b"RB", 8)
_TRAILER = struct.Struct("<II")
_RAW = -15  # window bits that mean "no header of its own"


def name_of(first_seq: int, last_seq: int) -> str:
    """The file's name for a log with those records."""
    return f"operations.log.{first_seq}-{last_seq}.gz"


def seqs_of(name: str) -> tuple[int, int] | None:
    """The first and last record that an archive's name speaks of, or None for any other name."""
    found = _NAME.fullmatch(name)
    return None if found is None else (int(found[1]), int(found[2]))


def write(lines: Iterable[bytes], path: str, files: Files) -> str:
    """Make a new durable archive of lines (without their newlines) at a free path; its SHA-256."""
    digest = hashlib.sha256()
    handle = files.create(path, PRIVATE_FILE)
    try:
        for member in _members(lines):
            digest.update(member)
            files.write(handle, member, path)
        files.fsync(handle, path)
    finally:
        os.close(handle)
    return digest.hexdigest()


def _members(lines: Iterable[bytes]) -> Iterator[bytes]:
    part: list[bytes] = []
    size_bytes = 0
    for line in lines:
        part.append(line)
        size_bytes += len(line) + 1
        if size_bytes >= _MEMBER_BYTES:
            yield _member(part)
            part, size_bytes = [], 0
    if part:
        yield _member(part)


def _member(lines: list[bytes]) -> bytes:
    raw = b"\n".join((*lines, b""))
    packer = deflate.compressobj(LEVEL, deflate.DEFLATED, _RAW)
    packed = packer.compress(raw) + packer.flush()
    length = _HEADER.size + len(packed) + _TRAILER.size
    header = _HEADER.pack(*_FIXED, length, len(raw))
    return header + packed + _TRAILER.pack(binascii.crc32(raw), len(raw))


class DamagedArchiveError(Exception):
    """The file is missing, or is not the one that was written."""


class LogArchive:
    """An archive, open for reading until ``close``; with ``sha256`` only one whose bytes have that.

    Raises ``DamagedArchiveError``, as all its methods do.
    """

    def __init__(self, path: str, sha256: str | None = None) -> None:
        self._path = path
        self._raw_starts: list[int] = []  # of each member, in the unpacked log
        self._starts: list[int] = []
        self._last: tuple[int, bytes] = (-1, b"")  # the member that was unpacked last
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise DamagedArchiveError(f"{os.path.basename(path)} is missing or cannot be opened") from error
        try:
            if sha256 is not None and self.sha256() != sha256:
                raise DamagedArchiveError(f"{os.path.basename(path)} is not the file that was written")
            self._is_whole = self._hop()
        except BaseException:
            os.close(self._handle)
            raise

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)

    def line(self, offset: int, size_bytes: int) -> bytes:
        """The bytes at a place of the unpacked log; fewer where it does not lie in one member."""
        place = bisect_right(self._raw_starts, offset) - 1
        if place < 0 or offset < 0:
            return b""
        begin = offset - self._raw_starts[place]
        return self._member(place)[begin : begin + size_bytes]

    def lines(self, offset: int = 0) -> Iterator[bytes]:
        """The lines from ``offset``, where one begins, to the end."""
        first = max(bisect_right(self._raw_starts, offset) - 1, 0)
        for place in range(first, len(self._starts)):
            raw = self._member(place)
            skipped = max(offset - self._raw_starts[place], 0)
            yield from raw[skipped:].split(b"\n")[:-1]
        if not self._is_whole:
            raise self._damaged()

    def sha256(self) -> str:
        """The SHA-256 of the file."""
        digest = hashlib.sha256()
        offset = 0
        while block := self._read(_READ_BYTES, offset):
            digest.update(block)
            offset += len(block)
        return digest.hexdigest()

    def _hop(self) -> bool:
        """Find where each member begins; False where something lies that is none."""
        offset = raw_offset = 0
        while header := self._read(_HEADER.size, offset):
            if len(header) != _HEADER.size or _HEADER.unpack(header)[:-2] != _FIXED:
                return False
            length, raw_length = _HEADER.unpack(header)[-2:]
            if length < _HEADER.size + _TRAILER.size or not 0 < raw_length <= _MEMBER_BYTES + MAX_LINE_BYTES:
                return False
            self._starts.append(offset)
            self._raw_starts.append(raw_offset)
            offset += length
            raw_offset += raw_length
        return True

    def _member(self, place: int) -> bytes:
        if self._last[0] == place:
            return self._last[1]
        start = self._starts[place]
        length, raw_length = _HEADER.unpack(self._read(_HEADER.size, start))[-2:]
        packed = self._read(length, start)
        unpacker = deflate.decompressobj(_RAW)
        try:
            raw = unpacker.decompress(packed[_HEADER.size : -_TRAILER.size], raw_length + 1)
        except deflate.error as error:
            raise self._damaged() from error
        if len(raw) != raw_length or packed[-_TRAILER.size :] != _TRAILER.pack(binascii.crc32(raw), len(raw)):
            raise self._damaged()
        self._last = (place, raw)
        return raw

    def _read(self, size_bytes: int, offset: int) -> bytes:
        try:
            return os.pread(self._handle, size_bytes, offset)
        except OSError as error:
            raise DamagedArchiveError(f"reading {os.path.basename(self._path)} failed: {error.strerror}") from error

    def _damaged(self) -> DamagedArchiveError:
        return DamagedArchiveError(f"{os.path.basename(self._path)} is not an archive of ours")
