"""Reading ``operations.log`` as a chain: what of it is sound, and which records others need.

The whole log is checked once; after that only the last known line and what follows it. Readers take no lock, so
``head.json`` is read before the log (it then never runs ahead of honest appenders), and bytes behind the last
newline are an append under way or a torn one, never a record. A trouble is believed only when nothing moved while
it was found. A log that was rotated begins where its first record says; what that record says of the archives is
checked by a complete look alone.
"""

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.codec import opening as opening_codec
from stravinsky_rollback_mcp.core.codec.opening import Opening
from stravinsky_rollback_mcp.core.model import Anchor, Chain, EventType
from stravinsky_rollback_mcp.disk.audit_archive import seqs_of
from stravinsky_rollback_mcp.disk.audit_lines import (
    HEAD,
    LOG,
    READ,
    Archives,
    Kept,
    OpenLog,
    Operations,
    Prefix,
    lines_of,
    unreadable,
)
from stravinsky_rollback_mcp.disk.audit_proof import problem_of_archives
from stravinsky_rollback_mcp.errors import Code, RollbackError

_HEAD_BYTES = 4096
_LOOKS = 5
_NOT_CHECKED = "not checked, because audit.tamper_detection_enabled is false"
# What marks a line to be kept. A line that holds it by chance is sorted out when read. `rfind` looks from the end,
# where these stand, and finds out in a third of the time that `in` takes.
_BACKUP = b"BACKUP_CREATED"
_STATE = b'"state":['
_OPERATION = b'"operation_id":"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the log: the chain, the length of a torn tail, and what ``head.json`` counts (0 without one)."""

    chain: Chain
    prefix: Prefix
    head_events: int = 0
    tail_bytes: int = 0
    missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What ``head.json`` held: nothing, an anchor, or something else."""

    content: bytes | None
    anchor: Anchor | None = None
    problem: str | None = None


class ChainReader:
    """The log of one folder, checked, for one thread at a time.

    With ``is_checking`` off, lines are only put in their places and not compared with their hashes, except by a
    complete look.
    """

    def __init__(self, folder: str, *, is_checking: bool = True) -> None:
        self.log = os.path.join(folder, LOG)
        self.head = os.path.join(folder, HEAD)
        self.backups = Kept()
        self.states = Kept()
        self.operations = Operations()
        self.archives = Archives(folder)
        self.opening = Opening()
        self._body_seq = 0  # the first record behind the opening
        self._is_checking = is_checking
        self._prefix = Prefix()
        self._known: Anchor | None = None  # the newest record that head.json ever confirmed to this object

    @property
    def has_checked(self) -> bool:
        """Whether most of the log was checked already, so that the next look is short."""
        return self._prefix.end > 0

    @property
    def known_seq(self) -> int:
        """The newest record that ``head.json`` ever confirmed to this object, 0 for none."""
        return 0 if self._known is None else self._known.seq

    def begun_anew(self) -> None:
        """Expect nothing of the log that was there before: a person had it replaced."""
        self._known = None
        self._forget()

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
            return (self.read_head().content, error.errno)
        return (self.read_head().content, status.st_ino, status.st_size, status.st_mtime_ns)

    def _look(self, *, complete: bool) -> Look:
        head = self.read_head()
        try:
            handle = os.open(self.log, READ)
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

    def _look_at_nothing(self, head: Head) -> Look:
        self._forget()
        archived = self._archived_to()
        if head.content is None and self._known is None and not archived:
            return Look(chain=_sound(self._prefix, 1), prefix=self._prefix)
        events = max(head.anchor.seq if head.anchor else 0, self._known.seq if self._known else 0, archived)
        problem = f"{LOG} is missing, and {events} records were known to be in it"
        return Look(chain=_broken(self._prefix, 1, archived + 1, problem), prefix=self._prefix, missing=True)

    def _foreign(self) -> Look:
        self._forget()
        problem = f"{LOG} is not a regular file"
        return Look(chain=_broken(self._prefix, 1, self._archived_to() + 1, problem), prefix=self._prefix)

    def _look_at_file(self, handle: int, head: Head, *, complete: bool) -> Look:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return self._foreign()
        start = self._prefix
        is_checking = self._is_checking or complete
        follows = (
            not complete
            and (start.device, start.inode) == (status.st_dev, status.st_ino)
            and status.st_size >= start.end
            and (head.anchor is None or head.anchor.seq >= start.seq - 1)
        )
        expected = {head.anchor.seq: head.anchor.head} if head.anchor and is_checking else {}
        if self._known is not None and is_checking:
            named = expected.setdefault(self._known.seq, self._known.head)
            if named != self._known.head:
                expected[self._known.seq] = ""  # head.json was rewritten: no record can be the one of both
        if follows:
            tail_bytes, problem = self._scan(handle, expected, is_checking=is_checking)
            if problem is None:
                return self._judge(head, tail_bytes, None, start.seq + 1, is_checking=is_checking)
        self._forget()
        self._begin(handle, status)
        since = self._prefix.first_seq
        tail_bytes, problem = self._scan(handle, expected, is_checking=is_checking)
        look = self._judge(head, tail_bytes, problem, since, is_checking=is_checking)
        return self._look_at_archives(look, expected) if complete else look

    def _judge(self, head: Head, tail_bytes: int, problem: str | None, since: int, *, is_checking: bool) -> Look:
        """The verdict once the lines themselves are checked: do their number and the head agree?"""
        prefix = self._prefix
        head_events = head.anchor.seq if head.anchor else 0
        required = max(head_events, self._known.seq if self._known else 0)
        bad: int | None = prefix.seq + 1
        missing = False
        if is_checking:
            if problem is None and prefix.seq < required:
                problem = f"the log holds {prefix.seq} records, and {required} were known to be in it"
            if problem is None and head.problem is not None:
                bad, problem = None, head.problem
            if problem is None and head.content is None and prefix.seq > 1:
                # One record without a head is the first append, cut short by a crash; more cannot come by itself.
                bad, problem, missing = None, f"{HEAD} is missing, and the log holds {prefix.seq} records", True
            if problem is None and head.anchor is not None and head_events < prefix.first_seq - 1:
                bad, problem = None, f"{HEAD} is older than the log"
        if problem is None and head.anchor is not None and (self._known is None or self._known.seq < head_events):
            self._known = head.anchor
        verdict = _sound(prefix, since) if problem is None else _broken(prefix, since, bad, problem)
        if not is_checking and problem is None:
            verdict = replace(verdict, checked=False, verified_from_seq=prefix.seq + 1, problem=_NOT_CHECKED)
        return Look(chain=verdict, prefix=prefix, head_events=head_events, tail_bytes=tail_bytes, missing=missing)

    # -- the lines ------------------------------------------------------------------------------------------------

    def _begin(self, handle: int, status: os.stat_result) -> None:
        """Where the log begins: at the first record of all, or at one that opens a rotated log."""
        at = Prefix(device=status.st_dev, inode=status.st_ino)
        first = next(lines_of(handle, 0), b"")
        try:
            record = chain.decode_line(first)
        except (ValueError, RollbackError):
            record = None
        if record is not None and record.draft.event_type is EventType.LOG_OPENED:
            try:
                self.opening = opening_codec.decode(record.draft)
            except ValueError:
                record = None
        if record is None or self.opening.records < 1:
            before, prev = self._archived_to(), chain.GENESIS
        elif record.draft.event_type is EventType.LOG_OPENED:
            before, prev = record.seq - 1, chain.stated(first)[1]
        else:
            before, prev = (0 if record.seq == 1 else self._archived_to()), chain.GENESIS
        self.archives.name(self.opening)
        self._body_seq = before + 1 + (0 if self.opening == Opening() else self.opening.records)
        begun_at = "" if record is None else record.timestamp
        self._prefix = replace(at, first_seq=before + 1, before=prev, seq=before, hash=prev, begun_at=begun_at)

    def _scan(self, handle: int, expected: Mapping[int, str], *, is_checking: bool) -> tuple[int, str | None]:
        """Move the prefix over the sound lines that follow its last but one; the tail's length, or what is wrong."""
        begin = self._prefix
        seq, prev, offset = begin.seq, begin.hash, begin.end
        if begin.end:
            seq, prev, offset = begin.seq - 1, begin.last_prev, begin.last_start
        last_start, last_prev, body, problem = offset, prev, begin.body, None
        if expected.get(seq, prev) != prev:
            return 0, f"record {seq} is not the one that {HEAD} names"
        check = chain.check_line if is_checking else chain.place_line
        for line in lines_of(handle, offset):
            found = check(line, prev, seq + 1)
            if found is None:
                problem = chain.line_problem(line, prev, seq + 1)
                break
            if expected.get(seq + 1, found) != found or (seq + 1 == begin.seq and begin.end and found != begin.hash):
                problem = f"record {seq + 1} is not the one that {HEAD} names, or that was there before"
                break
            seq += 1
            last_start, last_prev, prev = offset, prev, found
            offset += len(line) + 1
            if seq <= begin.seq:
                continue  # the last line that was known, checked once more
            if seq < self._body_seq:
                body = offset
                self._carry(line)
            else:
                self._keep(line, seq, last_start, found)
        self._prefix = replace(
            begin, body=body, last_start=last_start, last_prev=last_prev, end=offset, seq=seq, hash=prev
        )
        tail_bytes = os.fstat(handle).st_size - offset
        if problem is None and tail_bytes >= chain.MAX_LINE_BYTES:
            problem = f"line {seq + 1} of the log is longer than any record"
        return tail_bytes, problem

    def _keep(self, line: bytes, seq: int, offset: int, found: str) -> None:
        """Note the line, if others will ask for it."""
        if line.rfind(_BACKUP) > 0:
            self.backups.add(seq, offset, len(line), found)
        if line.rfind(_STATE) > 0:
            self.states.add(seq, offset, len(line), found)
        if line.rfind(_OPERATION) > 0:
            self.operations.add(chain.operation_of(line), (seq, offset, len(line), found))

    def _carry(self, line: bytes) -> None:
        """Take over what a record of the opening carries from the logs before."""
        for record in chain.decode_line(line).draft.carried:
            if record.draft.event_type is EventType.BACKUP_CREATED:
                self.backups.carry(record)
            if record.draft.state is not None:
                self.states.carry(record)
            if record.draft.operation_id is not None:
                self.operations.carry(record.draft.operation_id, record)

    def _forget(self) -> None:
        self._prefix = Prefix()
        self.opening = Opening()
        self.archives.name(self.opening)
        self.backups.clear()
        self.states.clear()
        self.operations.clear()

    def read_head(self) -> Head:
        """What ``head.json`` holds. Raises ``unreadable``."""
        try:
            handle = os.open(self.head, READ)
        except FileNotFoundError:
            return Head(content=None)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                return Head(content=b"", problem=f"{HEAD} is not a regular file")
            raise unreadable(error, self.head) from error
        try:
            content = os.read(handle, _HEAD_BYTES)
            return Head(content=content, anchor=chain.decode_head(content))
        except IsADirectoryError:
            return Head(content=b"", problem=f"{HEAD} is not a regular file")
        except OSError as error:
            raise unreadable(error, self.head) from error
        except (ValueError, RollbackError) as error:
            return Head(content=b"", problem=f"{HEAD} is damaged: {error}")
        finally:
            os.close(handle)

    # -- archives -------------------------------------------------------------------------------------------------

    def archive_names(self) -> list[tuple[int, int, str]]:
        """First record, last record and name of each file that is called like an archive, oldest first."""
        try:
            names = os.listdir(self.archives.folder)
        except OSError:
            return []
        found = ((seqs_of(name), name) for name in names)
        return sorted((*seqs, name) for seqs, name in found if seqs is not None)

    def _archived_to(self) -> int:
        return max((last for _, last, _ in self.archive_names()), default=0)

    def _look_at_archives(self, look: Look, expected: Mapping[int, str]) -> Look:
        """The same look, with the archives that the log names checked line by line: what they hold comes first."""
        since = self.archives.named[0].first_seq if self.archives.named else look.prefix.first_seq
        found = problem_of_archives(self.archives, self.opening, look.prefix, expected) if look.prefix.end else None
        if found is None:
            return replace(look, chain=replace(look.chain, verified_from_seq=since))
        return replace(look, chain=_broken(look.prefix, since, *found))

    # -- records of the checked part ------------------------------------------------------------------------------

    def open(self) -> OpenLog:
        """The log as it is now, checked, and what it names, open for reading; for a ``with``.

        Raises ``unreadable``, and ``audit_broken`` when it is replaced faster than it can be read.
        """
        for _ in range(_LOOKS):
            log = OpenLog(self.log, self.look().prefix, self.archives)
            if log.opens_what_was_checked():
                return log
            log.close()
        raise RollbackError(Code.AUDIT_BROKEN, "the audit log changed while it was read.", "run `audit verify`.")


def _sound(prefix: Prefix, since: int) -> Chain:
    return Chain(intact=True, events=prefix.seq, head=prefix.hash, verified_from_seq=since)


def _broken(prefix: Prefix, since: int, first_bad_seq: int | None, problem: str) -> Chain:
    events = prefix.seq if first_bad_seq is None else min(prefix.seq, first_bad_seq - 1)
    return Chain(
        intact=False,
        events=events,
        head=prefix.hash,
        verified_from_seq=since,
        first_bad_seq=first_bad_seq,
        problem=problem,
    )
