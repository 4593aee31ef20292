"""Reading ``operations.log`` as a chain: what of it is sound, and the records of the sound part.

The whole chain is checked once; after that only the last known line and what follows it. Readers take no lock, so
``head.json`` is read before the log (it then never runs ahead of honest appenders), and bytes behind the last
newline are an append under way or a torn one, never a record. A trouble is believed only when nothing moved while
it was found.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.model import Anchor, AuditRecord, Chain
from stravinsky_rollback_mcp.errors import Code, RollbackError

LOG = "operations.log"
HEAD = "head.json"

_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 4096
_LOOKS = 5
# O_NONBLOCK: a FIFO that was put in the file's place must not hold the reader forever.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What marks a line to be kept. A line that holds it by chance is sorted out when read; capitals are found fastest.
_BACKUP = b"BACKUP_CREATED"
_STATE = b'"state":['
_PLACE = struct.Struct("<QQI32s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a checked line lies in the log, and the hash it had when it was checked."""

    seq: int
    offset: int
    size_bytes: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """The checked part of one log file: ``seq`` records in ``end`` bytes, the last of them from ``last_start``."""

    device: int = 0
    inode: int = 0
    last_start: int = 0
    last_prev: str = chain.GENESIS
    end: int = 0
    seq: int = 0
    hash: str = chain.GENESIS


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the log: the chain, the length of a torn tail, and what ``head.json`` counts (0 without one)."""

    chain: Chain
    prefix: Prefix
    head_events: int = 0
    tail_bytes: int = 0
    missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What ``head.json`` held: nothing, an anchor, or something else."""

    content: bytes | None
    anchor: Anchor | None = None
    problem: str | None = None


class Kept:
    """The places of one kind of record in the checked part, 52 bytes each, and their records once asked for."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self.records: list[AuditRecord] = []

    def add(self, seq: int, offset: int, size_bytes: int, found: str) -> None:
        """Note one more line."""
        self._packed += _PLACE.pack(seq, offset, size_bytes, bytes.fromhex(found))

    def clear(self) -> None:
        """Forget everything: the log is checked from the start again."""
        self._packed.clear()
        self.records.clear()

    def unread(self) -> Iterator[Place]:
        """The places whose records have not been read yet."""
        for start in range(len(self.records) * _PLACE.size, len(self._packed), _PLACE.size):
            seq, offset, size_bytes, found = _PLACE.unpack_from(self._packed, start)
            yield Place(seq=seq, offset=offset, size_bytes=size_bytes, hash=found.hex())


def unreadable(error: OSError, path: str) -> RollbackError:
    """The refusal for a log that exists and cannot be read."""
    return RollbackError(
        Code.UNREADABLE,
        f"reading {path} failed: {error.strerror}.",
        "give yourself read permission on the audit folder and try again.",
    )


class ChainReader:
    """The log of one folder, checked, for one thread at a time."""

    def __init__(self, folder: str) -> None:
        self.log = os.path.join(folder, LOG)
        self.head = os.path.join(folder, HEAD)
        self.backups = Kept()
        self.states = Kept()
        self._prefix = Prefix()
        self._known: Anchor | None = None  # the newest record that head.json ever confirmed to this object

    @property
    def has_checked(self) -> bool:
        """Whether most of the log was checked already, so that the next look is short."""
        return self._prefix.seq > 0

    # -- the chain ------------------------------------------------------------------------------------------------

    def look(self, *, complete: bool = False) -> Look:
        """Check what is new, or everything. Raises ``unreadable`` alone, whatever the files hold."""
        for _ in range(_LOOKS - 1):
            before = self._token()
            found = self._look(complete=complete)
            if found.chain.intact or self._token() == before:
                return found
        return self._look(complete=complete)

    def _token(self) -> tuple[object, ...]:
        """Something that differs when the log or its head changed."""
        try:
            status = os.lstat(self.log)
        except OSError as error:
            return (self._read_head().content, error.errno)
        return (self._read_head().content, status.st_ino, status.st_size, status.st_mtime_ns)

    def _look(self, *, complete: bool) -> Look:
        head = self._read_head()
        try:
            handle = os.open(self.log, _READ)
        except FileNotFoundError:
            return self._look_at_nothing(head)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                return self._foreign()
            raise unreadable(error, self.log) from error
        try:
            return self._look_at_file(handle, head, complete=complete)
        except OSError as error:
            raise unreadable(error, self.log) from error
        finally:
            os.close(handle)

    def _look_at_nothing(self, head: _Head) -> Look:
        self._forget()
        if head.content is None and self._known is None:
            return Look(chain=_sound(self._prefix, 1), prefix=self._prefix)
        events = max(head.anchor.seq if head.anchor else 0, self._known.seq if self._known else 0)
        problem = f"{LOG} is missing, and {events} records were known to be in it"
        return Look(chain=_broken(self._prefix, 1, 1, problem), prefix=self._prefix, missing=True)

    def _foreign(self) -> Look:
        self._forget()
        return Look(chain=_broken(self._prefix, 1, 1, f"{LOG} is not a regular file"), prefix=self._prefix)

    def _look_at_file(self, handle: int, head: _Head, *, complete: bool) -> Look:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return self._foreign()
        start = self._prefix
        follows = (
            not complete
            and (start.device, start.inode) == (status.st_dev, status.st_ino)
            and status.st_size >= start.end
            and (head.anchor is None or head.anchor.seq >= start.seq - 1)
        )
        expected = {} if head.anchor is None else {head.anchor.seq: head.anchor.head}
        if follows:
            tail_bytes, problem = self._scan(handle, expected)
            if problem is None:
                return self._judge(head, tail_bytes, problem, start.seq + 1)
        self._forget()
        self._prefix = Prefix(device=status.st_dev, inode=status.st_ino)
        if self._known is not None:
            named = expected.setdefault(self._known.seq, self._known.head)
            if named != self._known.head:
                expected[self._known.seq] = ""  # head.json was rewritten: no record can be the one of both
        tail_bytes, problem = self._scan(handle, expected)
        return self._judge(head, tail_bytes, problem, 1)

    def _judge(self, head: _Head, tail_bytes: int, problem: str | None, since: int) -> Look:
        """The verdict once the lines themselves are checked: do their number and the head agree?"""
        prefix = self._prefix
        head_events = head.anchor.seq if head.anchor else 0
        required = max(head_events, self._known.seq if self._known else 0)
        bad: int | None = prefix.seq + 1
        missing = False
        if problem is None and prefix.seq < required:
            problem = f"the log holds {prefix.seq} records, and {required} were known to be in it"
        if problem is None and head.problem is not None:
            bad, problem = None, head.problem
        if problem is None and head.content is None and prefix.seq > 1:
            # One record without a head is the first append, cut short by a crash; more cannot come about by itself.
            bad, problem, missing = None, f"{HEAD} is missing, and the log holds {prefix.seq} records", True
        if problem is None and head.anchor is not None and (self._known is None or self._known.seq < head_events):
            self._known = head.anchor
        verdict = _sound(prefix, since) if problem is None else _broken(prefix, since, bad, problem)
        return Look(chain=verdict, prefix=prefix, head_events=head_events, tail_bytes=tail_bytes, missing=missing)

    def _scan(self, handle: int, expected: Mapping[int, str]) -> tuple[int, str | None]:
        """Move the prefix over the sound lines that follow its last but one; the tail's length, or what is wrong."""
        begin = self._prefix
        seq, prev, offset = max(begin.seq - 1, 0), begin.last_prev, begin.last_start
        last_start, last_prev, problem = offset, prev, None
        if expected.get(seq, prev) != prev:
            return 0, f"record {seq} is not the one that {HEAD} names"
        for line in self._lines(handle, offset):
            found = chain.check_line(line, prev, seq + 1)
            if found is None:
                problem = chain.line_problem(line, prev, seq + 1)
                break
            seq += 1
            if seq in expected and expected[seq] != found:
                seq -= 1
                problem = f"record {seq + 1} is not the one that {HEAD} names, or that was there before"
                break
            if seq == begin.seq and found != begin.hash:
                seq -= 1
                problem = f"record {seq + 1} is not the one that was there before"
                break
            if seq > begin.seq:
                if _BACKUP in line:
                    self.backups.add(seq, offset, len(line), found)
                if _STATE in line:
                    self.states.add(seq, offset, len(line), found)
            last_start, last_prev, prev = offset, prev, found
            offset += len(line) + 1
        self._prefix = Prefix(
            device=begin.device,
            inode=begin.inode,
            last_start=last_start,
            last_prev=last_prev,
            end=offset,
            seq=seq,
            hash=prev,
        )
        tail_bytes = os.fstat(handle).st_size - offset
        if problem is None and tail_bytes >= chain.MAX_LINE_BYTES:
            problem = f"line {seq + 1} of the log is longer than any record"
        return tail_bytes, problem

    def _lines(self, handle: int, offset: int, end: int | None = None) -> Iterator[bytes]:
        """The complete lines from ``offset`` on; stops early at a line that is longer than any record."""
        rest = b""
        while len(rest) < chain.MAX_LINE_BYTES:
            wanted = _BLOCK_BYTES if end is None else min(_BLOCK_BYTES, end - offset)
            block = os.pread(handle, wanted, offset)
            if not block:
                return
            offset += len(block)
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            yield from lines

    def _forget(self) -> None:
        self._prefix = Prefix()
        self.backups.clear()
        self.states.clear()

    def _read_head(self) -> _Head:
        try:
            handle = os.open(self.head, _READ)
        except FileNotFoundError:
            return _Head(content=None)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                return _Head(content=b"", problem=f"{HEAD} is not a regular file")
            raise unreadable(error, self.head) from error
        try:
            content = os.read(handle, _HEAD_BYTES)
            return _Head(content=content, anchor=chain.decode_head(content))
        except IsADirectoryError:
            return _Head(content=b"", problem=f"{HEAD} is not a regular file")
        except OSError as error:
            raise unreadable(error, self.head) from error
        except (ValueError, RollbackError) as error:
            return _Head(content=b"", problem=f"{HEAD} is damaged: {error}")
        finally:
            os.close(handle)

    # -- records of the checked part ------------------------------------------------------------------------------

    def decoded(self, kept: Kept) -> list[AuditRecord]:
        """The records of those places, oldest first. Raises ``audit_broken`` when one changed since its check."""
        kept.records.extend(self.records(kept.unread()))
        return kept.records

    def records(self, places: Iterable[Place]) -> Iterator[AuditRecord]:
        """The records at those places, each line compared with its hash. Raises ``audit_broken``."""
        with self.open() as log:
            for place in places:
                record = log.record(place)
                if record is None:
                    raise RollbackError(
                        Code.AUDIT_BROKEN,
                        f"record {place.seq} of the audit log was changed after it had been checked.",
                        "run `audit verify` and compare with an anchor that you noted elsewhere.",
                    )
                yield record

    def open(self) -> "OpenLog":
        """The log, open for reading. Raises ``unreadable``."""
        return OpenLog(self.log)

    def lines(self, log: "OpenLog", offset: int, end: int) -> Iterator[bytes]:
        """The complete lines between two ends of lines. Raises ``unreadable``."""
        try:
            if offset < end and log.handle >= 0:
                yield from self._lines(log.handle, offset, end)
        except OSError as error:
            raise unreadable(error, self.log) from error


class OpenLog:
    """A handle to the log, for reading single lines; use it in a ``with``."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.handle = -1

    def __enter__(self) -> Self:
        try:
            self.handle = os.open(self._path, _READ)
        except FileNotFoundError:
            pass  # no log, no lines: a handle is needed only where a place was found
        except OSError as error:
            raise unreadable(error, self._path) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self.handle >= 0:
            os.close(self.handle)

    def record(self, place: Place) -> AuditRecord | None:
        """The record at a place, or None when another line lies there."""
        if self.handle < 0 or place.size_bytes > 2 * chain.MAX_LINE_BYTES:
            return None
        try:
            raw = os.pread(self.handle, place.size_bytes, place.offset)
        except OSError as error:
            raise unreadable(error, self._path) from error
        if chain.line_hash(raw) != place.hash:
            return None
        try:
            record = chain.decode_line(raw)
        except ValueError:
            return None
        return record if record.seq == place.seq else None


def _sound(prefix: Prefix, since: int) -> Chain:
    return Chain(intact=True, events=prefix.seq, head=prefix.hash, verified_from_seq=since)


def _broken(prefix: Prefix, since: int, first_bad_seq: int | None, problem: str) -> Chain:
    return Chain(
        intact=False,
        events=prefix.seq,
        head=prefix.hash,
        verified_from_seq=since,
        first_bad_seq=first_bad_seq,
        problem=problem,
    )
