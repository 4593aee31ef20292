"""Lines of the log by their place: of the log that is written to, and of the archives that it names.

Whatever is read here has been checked as a chain, or lies in an archive whose SHA-256 the chain names; each line is
compared with the hash that is expected of it once more.
"""

import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.codec.opening import Archived, Opening
from stravinsky_rollback_mcp.core.model import AuditRecord
from stravinsky_rollback_mcp.disk.audit_archive import FOLDER, DamagedArchiveError, LogArchive, name_of
from stravinsky_rollback_mcp.errors import Code, RollbackError

LOG = "operations.log"
HEAD = "head.json"
# O_NONBLOCK: a FIFO that was put in the file's place must not hold the reader forever.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_BLOCK_BYTES = 1 << 20
_PLACE = struct.Struct("<QQI32s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a checked line lies in the log that has it, and the hash it had when it was checked."""

    seq: int
    offset: int
    size_bytes: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """The checked part of one log file: the records from ``first_seq`` to ``seq`` in ``end`` bytes.

    ``before`` is the hash of the record before the first. The last record lies from ``last_start``, the opening ends at
    ``body``, and ``begun_at`` is the time of the first.
    """

    device: int = 0
    inode: int = 0
    first_seq: int = 1
    before: str = chain.GENESIS
    begun_at: str = ""
    body: int = 0
    last_start: int = 0
    last_prev: str = chain.GENESIS
    end: int = 0
    seq: int = 0
    hash: str = chain.GENESIS


class Kept:
    """The records of one kind: those that the log carries over, and the places of its own, 52 bytes each."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self._carried: list[AuditRecord] = []
        self._read: list[AuditRecord] = []

    def add(self, seq: int, offset: int, size_bytes: int, found: str) -> None:
        """Note one more line."""
        self._packed += _PLACE.pack(seq, offset, size_bytes, bytes.fromhex(found))

    def carry(self, record: AuditRecord) -> None:
        """Note a record that the log's opening carries."""
        self._carried.append(record)

    def clear(self) -> None:
        """Forget everything: the log is checked from the start again."""
        self._packed.clear()
        self._carried.clear()
        self._read.clear()

    def records(self, log: "OpenLog") -> list[AuditRecord]:
        """All of them, oldest first. Raises ``audit_broken`` when one changed since its check."""
        for start in range(len(self._read) * _PLACE.size, len(self._packed), _PLACE.size):
            seq, offset, size_bytes, found = _PLACE.unpack_from(self._packed, start)
            place = Place(seq=seq, offset=offset, size_bytes=size_bytes, hash=found.hex())
            self._read.append(log.require(place))
        return self._carried + self._read


class Operations:
    """Where the records of each operation lie, by its id."""

    def __init__(self) -> None:
        self._places: dict[str, list[tuple[int, int, int, str]]] = {}
        self._carried: dict[str, list[AuditRecord]] = {}

    def add(self, operation_id: str, place: tuple[int, int, int, str]) -> None:
        """Note one more line: its number, offset, size in bytes and hash."""
        self._places.setdefault(operation_id, []).append(place)

    def carry(self, operation_id: str, record: AuditRecord) -> None:
        """Note a record that the log's opening carries."""
        self._carried.setdefault(operation_id, []).append(record)

    def clear(self) -> None:
        """Forget everything."""
        self._places.clear()
        self._carried.clear()

    def records(self, operation_id: str, log: "OpenLog") -> list[AuditRecord]:
        """The records of one operation, oldest first; some may only quote its id. Raises ``audit_broken``."""
        own = [
            log.require(Place(seq=seq, offset=offset, size_bytes=size_bytes, hash=found))
            for seq, offset, size_bytes, found in self._places.get(operation_id, ())
        ]
        return self._carried.get(operation_id, []) + own

    def newest(self, limit: int, log: "OpenLog") -> list[AuditRecord]:
        """The records of the newest operations, at least ``limit`` where there are as many, oldest first."""
        found: list[AuditRecord] = []
        ids = dict.fromkeys((*self._carried, *self._places))
        for operation_id in reversed(ids):
            if len(found) >= limit:
                break
            found.extend(self.records(operation_id, log))
        return sorted(found, key=lambda record: record.seq)


class Archives:
    """The archives that a log names, opened when they are needed, each checked once against the chain's word for it."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.join(folder, FOLDER)
        self.named: tuple[Archived, ...] = ()
        self._open: dict[int, LogArchive] = {}

    def name(self, opening: Opening) -> None:
        """Take over what a log's opening says."""
        if self.named != opening.archives:
            self.close()
            self.named = opening.archives

    def close(self) -> None:
        """Let go of the files."""
        for archive in self._open.values():
            archive.close()
        self._open.clear()

    def path(self, item: Archived) -> str:
        """Where an archive lies."""
        return os.path.join(self.folder, name_of(item.first_seq, item.last_seq))

    def of(self, seq: int) -> tuple[Archived, LogArchive]:
        """The archive that has a record. Raises ``DamagedArchiveError``, also where none has it."""
        for item in reversed(self.named):
            if item.first_seq <= seq <= item.last_seq:
                if item.first_seq not in self._open:
                    self._open[item.first_seq] = LogArchive(self.path(item), item.sha256)
                return item, self._open[item.first_seq]
        raise DamagedArchiveError(f"record {seq} is in no archive")

    def first_readable(self, after: int) -> int:
        """The oldest record from which on everything up to ``after`` can be read."""
        for item in reversed(self.named):
            try:
                self.of(item.first_seq)
            except DamagedArchiveError:
                break
            after = item.first_seq
        return after


class OpenLog:
    """Handles to the log and its archives; use it in a ``with``. ``prefix`` is what was checked of the log."""

    def __init__(self, path: str, prefix: Prefix, archives: Archives) -> None:
        self._path = path
        self._archives = archives
        self._handle = -1
        self.prefix = prefix

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the log; the archives stay open for the next."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def opens_what_was_checked(self) -> bool:
        """Open the log; False when another file lies there by now. Raises ``unreadable``."""
        try:
            self._handle = os.open(self._path, READ)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return self.prefix.inode == 0  # no log, no lines: a handle is needed only where a place was found
            raise unreadable(error, self._path) from error
        status = os.fstat(self._handle)
        return self.prefix.inode == 0 or (status.st_dev, status.st_ino) == (self.prefix.device, self.prefix.inode)

    @property
    def first_seq(self) -> int:
        """The oldest record that is kept, archives included."""
        named = self._archives.named
        return named[0].first_seq if named else self.prefix.first_seq

    @property
    def first_readable(self) -> int:
        """The oldest record from which on nothing is missing or damaged."""
        return self._archives.first_readable(self.prefix.first_seq)

    def record(self, place: Place) -> AuditRecord | None:
        """The record at a place, or None when another line lies there."""
        if place.size_bytes > 2 * chain.MAX_LINE_BYTES:
            return None
        raw = self._raw(place)
        if chain.line_hash(raw) != place.hash:
            return None
        try:
            record = chain.decode_line(raw)
        except ValueError:
            return None
        return record if record.seq == place.seq else None

    def require(self, place: Place) -> AuditRecord:
        """The record at a place that was checked. Raises ``audit_broken`` when it is another by now."""
        record = self.record(place)
        if record is None:
            raise RollbackError(
                Code.AUDIT_BROKEN,
                f"record {place.seq} of the audit log was changed after it had been checked.",
                "run `audit verify` and compare with an anchor that you noted elsewhere.",
            )
        return record

    def lines(self, seq: int, offset: int) -> Iterator[bytes]:
        """The lines from record ``seq``, which begins at ``offset``, to the end of the log or archive that has it.

        Raises ``unreadable``, and ``DamagedArchiveError`` for an archive.
        """
        if seq < self.prefix.first_seq:
            _, archive = self._archives.of(seq)
            yield from archive.lines(offset)
        elif self._handle >= 0:
            try:
                yield from lines_of(self._handle, offset, self.prefix.end)
            except OSError as error:
                raise unreadable(error, self._path) from error

    def ends_at(self, seq: int) -> int:
        """The last record of the log or archive that has record ``seq``."""
        for item in self._archives.named:
            if item.first_seq <= seq <= item.last_seq:
                return item.last_seq
        return self.prefix.seq

    def _raw(self, place: Place) -> bytes:
        if place.seq < self.prefix.first_seq:
            try:
                _, archive = self._archives.of(place.seq)
                return archive.line(place.offset, place.size_bytes)
            except DamagedArchiveError:
                return b""
        if self._handle < 0:
            return b""
        try:
            return os.pread(self._handle, place.size_bytes, place.offset)
        except OSError as error:
            raise unreadable(error, self._path) from error


def lines_of(handle: int, offset: int, end: int | None = None) -> Iterator[bytes]:
    """The complete lines from ``offset`` on; stops early at a line that is longer than any record. Raises OSError."""
    rest = b""
    while len(rest) < chain.MAX_LINE_BYTES:
        wanted = _BLOCK_BYTES if end is None else min(_BLOCK_BYTES, end - offset)
        block = os.pread(handle, wanted, offset) if wanted > 0 else b""
        if not block:
            return
        offset += len(block)
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield from lines


def unreadable(error: OSError, path: str) -> RollbackError:
    """The refusal for a log that exists and cannot be read."""
    return RollbackError(
        Code.UNREADABLE,
        f"reading {path} failed: {error.strerror}.",
        "give yourself read permission on the audit folder and try again.",
    )
