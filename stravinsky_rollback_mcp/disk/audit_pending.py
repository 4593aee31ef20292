"""What was done while the audit could not be written, and the person went on without: it waits here for the audit.

``recovery/unaudited.jsonl`` holds one record a line. Nothing vouches for it until the audit has taken it over; only
the process that was told to go on without the audit takes its word before.
"""

import os
from collections.abc import Callable, Collection
from dataclasses import replace

from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.model import Anchor, AuditDraft, AuditRecord, EventStatus, EventType
from stravinsky_rollback_mcp.core.policy import AuditPolicy
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit import AuditLog
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file
from stravinsky_rollback_mcp.errors import Code, RollbackError

_MAX_BYTES = 1 << 24


class PendingRecords:
    """The waiting records, oldest first. Writers hold the store's lock."""

    def __init__(self, folder: str, files: Files) -> None:
        self._folder = folder
        self.path = f"{folder}/unaudited.jsonl"
        self._files = files

    def read(self) -> tuple[AuditRecord, ...]:
        """All that wait. Raises ``needs_attention`` when the file is damaged: it is the only trace of what was done."""
        if not os.path.lexists(self.path):
            return ()
        try:
            return tuple(chain.decode_line(line) for line in read_file(self.path, _MAX_BYTES).splitlines())
        except (ValueError, RollbackError, ChangedWhileReadError) as error:
            raise RollbackError(
                Code.NEEDS_ATTENTION,
                f"{self.path} holds what was done without the audit, and is damaged.",
                "look at it, then move it away.",
            ) from error

    def add(self, record: AuditRecord) -> None:
        """Let one more wait; durable on return."""
        self.write((*self.read(), record))

    def write(self, records: tuple[AuditRecord, ...]) -> None:
        """Let exactly these wait."""
        if records:
            numbered = (replace(record, seq=place) for place, record in enumerate(records, 1))
            self._files.write_file(self.path, b"".join(chain.encode_line(one, chain.GENESIS) for one in numbered))
        elif os.path.lexists(self.path):
            self._files.remove_file(self.path)
            self._files.sync_folder(self._folder)


class PermissiveLog(AuditLog):
    """The audit of a process that a person told to go on without it: what it cannot write waits in a file.

    Whatever waits counts as history and as creation here, so that what was just kept can be found again. A broken or
    missing log stays broken: nobody can be told apart from a forger without it.
    """

    def __init__(
        self,
        folder: str,
        files: Files,
        policy: AuditPolicy,
        existing: Callable[[], Collection[str]],
        pending: PendingRecords,
    ) -> None:
        super().__init__(folder, files, policy, existing)
        self._pending = pending

    def append(self, draft: AuditDraft, *, now: str, event_id: str) -> Anchor:
        """Add one record to the log, or else to those that wait; the place is then that of the last in the log."""
        try:
            return super().append(draft, now=now, event_id=event_id)
        except RollbackError as error:
            if error.code is not Code.AUDIT_UNWRITABLE:
                raise
            self._pending.add(AuditRecord(seq=0, event_id=event_id, timestamp=now, draft=draft))
            return self.anchor()

    def check_writable(self) -> bool:
        """Whether an append would reach the log; raises for what is worse than not being writable."""
        try:
            return super().check_writable()
        except RollbackError as error:
            if error.code is not Code.AUDIT_UNWRITABLE:
                raise
            return False

    def history(self, user_root: str, project: str | None) -> tuple[AuditRecord, ...]:
        """Those of the log, and those that wait."""
        waiting = (record for record in self._waiting() if record.draft.state is not None)
        own = (one for one in waiting if one.draft.user_root == user_root or one.draft.project == project is not None)
        return (*super().history(user_root, project), *own)

    def backups(self) -> dict[str, AuditRecord]:
        """Those of the log, and those that wait."""
        made = (EventType.BACKUP_CREATED, EventStatus.SUCCESS)
        waiting = (one for one in self._waiting() if (one.draft.event_type, one.draft.status) == made)
        return super().backups() | {one.draft.version: one for one in waiting if one.draft.version is not None}

    def operation(self, operation_id: str) -> tuple[AuditRecord, ...]:
        """Those of the log, and those that wait."""
        waiting = (one for one in self._waiting() if one.draft.operation_id == operation_id)
        return (*super().operation(operation_id), *waiting)

    def _waiting(self) -> tuple[AuditRecord, ...]:
        last = self.anchor().seq
        return tuple(replace(record, seq=last + record.seq) for record in self._pending.read())


def take_over(pending: PendingRecords, audit: AuditLog, now: str) -> int:
    """Let a writable audit have what waits, each with the moment at which it happened; how many that were.

    The caller holds the store's lock. A stop in between repeats at most the record that was just taken over.
    """
    waiting = pending.read()
    for place, record in enumerate(waiting):
        details = {**(record.draft.details or {}), "unaudited_since": record.timestamp}
        audit.append(replace(record.draft, details=details), now=now, event_id=record.event_id)
        pending.write(waiting[place + 1 :])
    return len(waiting)
