"""The audit log of one store: ``operations.log`` is the truth, ``head.json`` its length, ``audit.db`` an index.

An append holds the log's own ``flock``, checks what is new, writes one line, flushes it, then replaces
``head.json``. So an honest log is at most one record ahead of its head, and ends at worst in one torn line, which
the next append seals. Every other break is somebody's hand, and nothing is written on top of it.
"""

import base64
import fcntl
import os
import time
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from threading import RLock

from stravinsky_rollback_mcp.core.adoption import Adoption, adoptions_in, as_owned
from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.model import (
    Actor,
    Anchor,
    AuditDraft,
    AuditFilter,
    AuditRecord,
    Chain,
    EventStatus,
    EventType,
)
from stravinsky_rollback_mcp.core.policy import AuditPolicy
from stravinsky_rollback_mcp.disk import audit_restart as restart
from stravinsky_rollback_mcp.disk import audit_rotation as rotation
from stravinsky_rollback_mcp.disk.atomic import PRIVATE_FOLDER, Files
from stravinsky_rollback_mcp.disk.audit_archive import DamagedArchiveError
from stravinsky_rollback_mcp.disk.audit_chain import ChainReader, Look
from stravinsky_rollback_mcp.disk.audit_index import AuditIndex
from stravinsky_rollback_mcp.disk.audit_lines import Prefix
from stravinsky_rollback_mcp.disk.audit_rotation import Rotation
from stravinsky_rollback_mcp.disk.audit_rows import instant_key
from stravinsky_rollback_mcp.disk.lock import owned
from stravinsky_rollback_mcp.errors import Code, RollbackError

LOCK_WAIT_SECONDS = 5.0

_TORN_KEPT_BYTES = 4096
_HINT_ANEW = "`stravinsky-rollback recovery resume`, in a terminal, asks and then begins a new log."
_HINT_BROKEN = f"run `audit verify`, and compare with an anchor that you noted elsewhere; {_HINT_ANEW}"
_HINT_MISSING = f"put the audit folder back from a copy if there is one; {_HINT_ANEW}"


class AuditLog:
    """The log in one folder. Threads may share an object: each call has it for itself.

    Within one process an object also remembers the newest record that ``head.json`` confirmed to it, so a log that
    is swapped together with its head for an older copy is found too. ``existing`` tells which backups there are: of
    the others a rotated log carries nothing over; without it, it carries all.
    """

    def __init__(
        self,
        folder: str,
        files: Files,
        policy: AuditPolicy | None = None,
        existing: Callable[[], Collection[str]] | None = None,
    ) -> None:
        policy = policy or AuditPolicy()
        self._folder = folder
        self._files = files
        self._rotation = Rotation.of(policy)
        self._existing = existing
        self._guard = RLock()
        self._reader = ChainReader(folder, is_checking=policy.tamper_detection_enabled)
        self._index = AuditIndex(folder, self._reader, files, self._locked)

    # -- writing --------------------------------------------------------------------------------------------------

    def append(self, draft: AuditDraft, *, now: str, event_id: str) -> Anchor:
        """Add one record, durable on return, and say where it stands.

        A torn last line is sealed first, by a record of its own with the id ``<event_id>-torn``. Raises
        ``audit_broken`` or ``audit_missing`` with nothing written, ``audit_unwritable``, ``busy``, ``too_large``.
        """
        record = AuditRecord(seq=0, event_id=event_id, timestamp=now, draft=draft)
        with self._guard, self._appending(record) as (handle, look):
            end, last = look.prefix.end, _anchor(look.prefix)
            record = self._on_time(record, handle, look.prefix)
            if look.tail_bytes:
                seal = replace(record, event_id=f"{event_id}-torn", draft=self._seal(handle, look, draft))
                with _as_unwritable():
                    self._files.truncate(handle, end, self._reader.log)
                end, last = self._add(handle, seal, end, last)
            _, last = self._add(handle, record, end, last)
        return last

    def check_writable(self) -> bool:
        """True, or raise what an append would raise now, with no record written; a new log is created empty."""
        with self._guard, self._appending(None), _as_unwritable():
            self._files.sweep_temporaries(self._folder)
            rotation.sweep(self._reader, self._files)
        return True

    def begin_anew(self, draft: AuditDraft, adopt: restart.Adopt, *, now: str, event_id: str) -> str | None:
        """Replace a broken or missing log by one that opens with what was wrong; where the old one was put.

        None, and nothing is done, when the complete check finds no fault. For ``adopt`` see ``audit_restart``;
        ``draft`` says who asked. Raises ``unreadable``, ``audit_unwritable``, ``busy``.
        """
        with self._guard, self._locked():
            found = self._checked(complete=True).chain
            if found.intact:
                return None
            about = AuditRecord(seq=0, event_id=event_id, timestamp=now, draft=draft)
            with _as_unwritable():
                aside = restart.begin_anew(self._reader, self._files, found, adopt, about)
            self.close()
            return aside

    def _checked(self, *, complete: bool = False) -> Look:
        """A look that also misses a log of which nothing at all is left, while there are backups that it recorded."""
        look = self._reader.look(complete=complete)
        if look.prefix.seq or not look.chain.intact or self._existing is None:
            return look
        existing = self._existing()
        if not existing:
            return look
        lost = replace(look.chain, intact=False, first_bad_seq=1, problem=restart.unclaimed(existing))
        return replace(look, chain=lost, missing=True)

    def _ready(self, look: Look, record: AuditRecord) -> Look:
        """The head brought up to the log, so that this never runs ahead by more than one record; then the rotation.

        One that fails waits for the next append: there is nothing in it that this record needs.
        """
        if look.head_events < look.prefix.seq:
            self._write_head(_anchor(look.prefix))
        if look.tail_bytes or not self._rotation.is_due(look.prefix, self._reader.opening, record.timestamp):
            return look
        with suppress(RollbackError):
            existing = None if self._existing is None else self._existing()
            rotation.rotate(self._reader, self._files, self._rotation, existing, record)
        with _as_unwritable():
            look = self._reader.look()
        _require_sound(look)
        if look.head_events < look.prefix.seq:
            self._write_head(_anchor(look.prefix))
        return look

    def _add(self, handle: int, record: AuditRecord, end: int, last: Anchor) -> tuple[int, Anchor]:
        """Write one record behind ``last``, which ends at ``end``: the whole line and then the head, or nothing."""
        path = self._reader.log
        record = replace(record, seq=last.seq + 1)
        line = chain.encode_line(record, last.head)
        with _as_unwritable():
            try:
                self._files.write(handle, line, path)
                self._files.fsync(handle, path)
            except RollbackError:
                # Not durable is not there: what cannot be cut off now is sealed, or found whole, by the next append.
                with suppress(RollbackError):
                    self._files.truncate(handle, end, path)
                raise
        added = Anchor(seq=record.seq, head=chain.line_hash(line[:-1]))
        self._write_head(added)
        return end + len(line), added

    def _on_time(self, record: AuditRecord, handle: int, prefix: Prefix) -> AuditRecord:
        """The record, which says so when the clock went back since the last one: order is by number, not by time."""
        if not prefix.end:
            return record
        try:
            raw = os.pread(handle, prefix.end - prefix.last_start, prefix.last_start)
            before = chain.decode_line(raw).timestamp
        except (OSError, ValueError) as error:
            raise RollbackError(Code.AUDIT_UNWRITABLE, f"reading {self._reader.log} failed.") from error
        if instant_key(before) <= instant_key(record.timestamp):
            return record
        details = {**(record.draft.details or {}), "clock_went_back_from": before}
        return replace(record, draft=replace(record.draft, details=details))

    def _seal(self, handle: int, look: Look, draft: AuditDraft) -> AuditDraft:
        """The record that keeps what an append that never ended has left behind."""
        try:
            torn = os.pread(handle, look.tail_bytes, look.prefix.end)
        except OSError as error:
            raise RollbackError(Code.AUDIT_UNWRITABLE, f"reading {self._reader.log} failed.") from error
        kept = base64.b64encode(torn[:_TORN_KEPT_BYTES]).decode("ascii")
        return AuditDraft(
            event_type=EventType.CRASH_RECOVERY,
            status=EventStatus.RECOVERED,
            actor=Actor(kind="server", name="audit"),
            user_root=draft.user_root,
            project=draft.project,
            details={"torn": {"size_bytes": len(torn), "sha256": sha256(torn).hexdigest(), "base64": kept}},
        )

    def _write_head(self, head: Anchor) -> None:
        with _as_unwritable():
            self._files.write_file(self._reader.head, chain.encode_head(head))

    @contextmanager
    def _appending(self, record: AuditRecord | None) -> Generator[tuple[int, Look], None, None]:
        """The log open for appending ``record``, its lock held and its chain found sound; a full log is put away."""
        if not self._reader.has_checked:
            with _as_unwritable():
                self._reader.look()  # the long first check happens before others have to wait for it
        with self._locked():
            with _as_unwritable():
                look = self._checked()
            _require_sound(look)
            if record is not None:
                look = self._ready(look, record)
            with _as_unwritable():
                is_new = not os.path.lexists(self._reader.log)
                handle = self._files.open_append(self._reader.log)
                try:
                    if is_new:
                        self._files.sync_folder(self._folder)  # head.json must never be durable without a log
                except RollbackError:
                    os.close(handle)
                    raise
            try:
                yield handle, look
            finally:
                os.close(handle)

    @contextmanager
    def _locked(self) -> Generator[None, None, None]:
        """The log's lock, waited for at most ``LOCK_WAIT_SECONDS``. The file itself is never deleted."""
        path = os.path.join(self._folder, "lock")
        with _as_unwritable():
            self._make_folder()
            handle = self._files.open_append(path)
        with owned(handle):
            waited, pause = 0.0, 0.001
            while not _try_lock(handle, path):
                if waited >= LOCK_WAIT_SECONDS:
                    raise RollbackError(Code.BUSY, "another process holds the audit log.", "try again in a moment.")
                time.sleep(pause)
                waited, pause = waited + pause, min(2 * pause, 0.02)
            yield

    def _make_folder(self) -> None:
        if os.path.isdir(self._folder):
            return
        try:
            self._files.make_folder(self._folder, PRIVATE_FOLDER)
        except RollbackError:
            if not os.path.isdir(self._folder):  # it may be another process that was first
                raise
        self._files.sync_folder(os.path.dirname(self._folder))

    # -- reading --------------------------------------------------------------------------------------------------

    def verify(self, *, complete: bool = False) -> Chain:
        """What the chain holds: checked whole the first time or when ``complete``, else what is new since.

        Never raises for tampering; raises ``unreadable`` when the files cannot be read.
        """
        with self._guard:
            return self._checked(complete=complete).chain

    def anchor(self) -> Anchor:
        """The place of the last sound record; ``seq`` 0 for an empty log."""
        with self._guard:
            return _anchor(self._reader.look().prefix)

    def query(self, wanted: AuditFilter) -> tuple[tuple[AuditRecord, ...], int | None]:
        """One page of the sound part, newest first, and the ``before_seq`` of the next page or None.

        A ``path`` matches records one of whose paths equals it or lies below it. Pages go on into archives.
        """
        with self._guard:
            return self._index.page(wanted)

    def trace(self, operation_id: str) -> tuple[AuditRecord, ...]:
        """The records of one operation wherever they lie, oldest first, as the index finds them."""
        with self._guard:
            return self._index.operation(operation_id)

    def history(self, user_root: str, project: str | None) -> tuple[AuditRecord, ...]:
        """The sound records with a state that this user root or this project sees, oldest first, by who owns them."""
        with self._guard, self._reader.open() as log:
            states = self._reader.states.records(log)
            return tuple(
                record
                for record in as_owned(states, adoptions_in(states))
                if record.draft.state is not None
                and (
                    record.draft.user_root == user_root
                    or (record.draft.project is not None and record.draft.project == project)
                )
            )

    def backups(self) -> dict[str, AuditRecord]:
        """The sound records of successful creations by version, by who owns them; the last one of a version counts."""
        with self._guard, self._reader.open() as log:
            adoptions = adoptions_in(self._reader.states.records(log))
            return {
                record.draft.version: record
                for record in as_owned(self._reader.backups.records(log), adoptions)
                if record.draft.version is not None
                and (record.draft.event_type, record.draft.status) == (EventType.BACKUP_CREATED, EventStatus.SUCCESS)
            }

    def adoptions(self) -> tuple[Adoption, ...]:
        """Every adoption on record, oldest first; each bears an empty state: history is what it changes."""
        with self._guard, self._reader.open() as log:
            return adoptions_in(self._reader.states.records(log))

    def operation(self, operation_id: str) -> tuple[AuditRecord, ...]:
        """The sound records of one operation that is among the newest, oldest first."""
        with self._guard, self._reader.open() as log:
            found = self._reader.operations.records(operation_id, log)
            return tuple(record for record in found if record.draft.operation_id == operation_id)

    def export(self, take: Callable[[AuditRecord], None]) -> None:
        """Hand every sound record to ``take``, oldest first, from the first on that can be read without a gap."""
        with self._guard, self._reader.open() as log, _as_broken():
            seq = log.first_readable
            while seq <= log.prefix.seq:
                for line in log.lines(seq, 0):
                    take(chain.decode_line(line))
                seq = log.ends_at(seq) + 1

    def close(self) -> None:
        """Let go of the index and the archives; the object can still be used."""
        with self._guard:
            self._index.close()
            self._reader.archives.close()


def _anchor(prefix: Prefix) -> Anchor:
    return Anchor(seq=prefix.seq, head=prefix.hash)


def _try_lock(handle: int, path: str) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise RollbackError(Code.AUDIT_UNWRITABLE, f"locking {path} failed: {error.strerror}.") from error
    return True


def _require_sound(look: Look) -> None:
    if look.chain.intact:
        return
    if look.missing:
        raise RollbackError(Code.AUDIT_MISSING, f"{look.chain.problem}.", _HINT_MISSING)
    where = "" if look.chain.first_bad_seq is None else f" from record {look.chain.first_bad_seq} on"
    raise RollbackError(Code.AUDIT_BROKEN, f"the audit log is broken{where}: {look.chain.problem}.", _HINT_BROKEN)


@contextmanager
def _as_broken() -> Generator[None, None, None]:
    """What was sound a moment ago and is not any more."""
    try:
        yield
    except (ValueError, DamagedArchiveError) as error:
        raise RollbackError(Code.AUDIT_BROKEN, "the audit log changed while it was read.", _HINT_BROKEN) from error


@contextmanager
def _as_unwritable() -> Generator[None, None, None]:
    """Whatever keeps a file of the log from being written is ``audit_unwritable``; the reason stays in the text."""
    try:
        yield
    except RollbackError as error:
        raise RollbackError(Code.AUDIT_UNWRITABLE, error.message, error.hint) from error
