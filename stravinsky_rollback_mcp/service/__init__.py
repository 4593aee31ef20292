"""The use cases, one async method each. The server and the terminal call these and nothing else.

A method hops to a worker thread once and is not torn off by cancellation: what was begun ends, in the thread, before
the cancelled caller goes on. Refusals are recorded in the audit on their way out.
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum, auto
from typing import TypeVar

import anyio
import anyio.to_thread

from stravinsky_rollback_mcp.config import Config
from stravinsky_rollback_mcp.core.model import (
    Actor,
    AuditDraft,
    AuditRecord,
    EventStatus,
    EventType,
    Kind,
    MadeBy,
    Scope,
)
from stravinsky_rollback_mcp.core.outcome import (
    AuditBegun,
    AuditPage,
    BackupCreated,
    BackupList,
    ChainVerified,
    Compared,
    Restored,
    Resumed,
    Status,
    Verified,
)
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import anew, audit, backup, compare, notices, reading, restore
from stravinsky_rollback_mcp.service.desk import Caller, Desk
from stravinsky_rollback_mcp.service.recover import Lost
from stravinsky_rollback_mcp.service.refusals import Refusals
from stravinsky_rollback_mcp.service.restore import Consent

__all__ = [
    "Actor",
    "Caller",
    "Consent",
    "EventStatus",
    "EventType",
    "Kind",
    "Lost",
    "MadeBy",
    "RollbackService",
    "Scope",
]

Outcome = TypeVar("Outcome")


class Tells(Enum):
    """When a use case has the notices about what is live gathered: all answers carry them."""

    BEFORE = auto()
    AFTER = auto()  # of a restore: what it has taken back need not be told any more
    BY_ITSELF = auto()  # of a backup: it looks at everything anyway, and makes known what it finds


_CANCELLED_TOO_LATE = "cancelled_too_late"


class RollbackService:
    """Back up, list, roll back, undo, redo and audit one view of Claude Code's configuration."""

    def __init__(self, config: Config, files: Files | None = None, *, without_audit: bool = False) -> None:
        self._desk = Desk(config, files or Files(), backup.keep_rescued, without_audit=without_audit)
        self._refusals = Refusals(self._desk.record, time.monotonic)
        self._busy = 0
        self._settled = anyio.Event()

    async def create_backup(self, caller: Caller, *, version: str | None = None, note: str = "") -> BackupCreated:
        """Back up everything in view; see ``BackupCreated``."""
        return await self._do(
            caller,
            "create_backup",
            {"version": version, "note": note},
            lambda: backup.create_backup(self._desk, caller, version, note),
            tells=Tells.BY_ITSELF,
        )

    async def protect(self, caller: Caller) -> bool:
        """Back up a state that no intact backup holds yet; returns whether there was one."""
        return await self._do(caller, "protect", {}, lambda: backup.protect(self._desk, caller), tells=Tells.BY_ITSELF)

    async def list_backups(
        self,
        caller: Caller,
        *,
        limit: int = 20,
        cursor: str | None = None,
        path: str | None = None,
        detail: bool = False,
        all_projects: bool = False,
    ) -> BackupList:
        """One page of backups, newest first, and what is live."""
        arguments = {"limit": limit, "cursor": cursor, "path": path, "detail": detail, "all_projects": all_projects}
        return await self._do(
            caller,
            "list_backups",
            arguments,
            lambda: reading.list_backups(
                self._desk, limit=limit, cursor=cursor, path=path, detail=detail, all_projects=all_projects
            ),
        )

    async def show_backup(self, caller: Caller, *, version: str) -> Verified:
        """One backup with its targets."""
        return await self._do(
            caller, "show_backup", {"version": version}, lambda: reading.show_backup(self._desk, version)
        )

    async def verify_backups(self, caller: Caller, *, version: str | None = None) -> Verified:
        """Read one backup, or all, back whole."""
        return await self._do(
            caller, "verify_backups", {"version": version}, lambda: reading.verify_backups(self._desk, version)
        )

    async def compare(
        self,
        caller: Caller,
        *,
        version: str | None = None,
        other: str | None = None,
        path: str | None = None,
        cursor: str | None = None,
    ) -> Compared:
        """What differs from one state to another, and what going back would be."""
        arguments = {"version": version, "other": other, "path": path, "cursor": cursor}
        return await self._do(
            caller, "compare", arguments, lambda: compare.compare(self._desk, version, other, path, cursor)
        )

    async def rollback_to(
        self,
        caller: Caller,
        *,
        version: str,
        only: tuple[str, ...] = (),
        scope: Scope | None = None,
        consent: Consent,
    ) -> Restored:
        """Bring the configuration, or parts of it, to what a backup recorded."""
        arguments = {"version": version, "only": only, "scope": scope, "consent": consent}
        return await self._do(
            caller,
            "rollback_to",
            arguments,
            lambda: restore.rollback_to(self._desk, caller, version, only, scope, consent),
            tells=Tells.AFTER,
        )

    async def roll_back_automatically(self, caller: Caller, *, version: str, consent: Consent) -> Restored:
        """As ``rollback_to`` of everything, but recorded as what a script did."""
        return await self._do(
            caller,
            "roll_back_automatically",
            {"version": version, "consent": consent},
            lambda: restore.roll_back_automatically(self._desk, caller, version, consent),
            tells=Tells.AFTER,
        )

    async def recover(self, caller: Caller, *, lost: Lost, version: str | None, consent: Consent) -> Restored:
        """Bring back one file, directory or key; without a version from the newest backup that has it different."""
        arguments = {"lost": lost, "version": version, "consent": consent}
        return await self._do(
            caller, "recover", arguments, lambda: restore.recover(self._desk, caller, lost, version, consent)
        )

    async def undo(self, caller: Caller, *, consent: Consent) -> Restored:
        """Take back the last thing that happened to this configuration."""
        return await self._do(
            caller,
            "undo",
            {"consent": consent},
            lambda: restore.undo(self._desk, caller, consent),
            tells=Tells.AFTER,
        )

    async def redo(self, caller: Caller, *, consent: Consent) -> Restored:
        """Bring again what the last undo took back."""
        return await self._do(
            caller,
            "redo",
            {"consent": consent},
            lambda: restore.redo(self._desk, caller, consent),
            tells=Tells.AFTER,
        )

    async def query_audit(
        self,
        caller: Caller,
        *,
        event_type: EventType | None = None,
        version: str | None = None,
        status: EventStatus | None = None,
        path: str | None = None,
        since: str | None = None,
        until: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> AuditPage:
        """One page of the audit, newest first, and whether the chain is intact."""
        return await self._do(
            caller,
            "query_audit",
            {
                "event_type": event_type,
                "version": version,
                "status": status,
                "path": path,
                "since": since,
                "until": until,
                "limit": limit,
                "cursor": cursor,
            },
            lambda: audit.query_audit(
                self._desk,
                event_type=event_type,
                version=version,
                status=status,
                path=path,
                since=since,
                until=until,
                limit=limit,
                cursor=cursor,
            ),
        )

    async def verify_audit(self, caller: Caller) -> ChainVerified:
        """Check the whole audit chain."""
        return await self._do(caller, "verify_audit", {}, lambda: audit.verify_audit(self._desk))

    async def export_audit(self, caller: Caller, take: Callable[[AuditRecord], None]) -> ChainVerified:
        """Hand every record that is kept to ``take``, oldest first, in a worker thread; then how the chain stands."""
        return await self._do(caller, "export_audit", {}, lambda: audit.export_audit(self._desk, take))

    async def begin_audit_anew(self, caller: Caller) -> AuditBegun:
        """Begin the audit anew where its chain is broken or gone; only after a person agreed."""
        return await self._do(caller, "begin_audit_anew", {}, lambda: anew.begin_audit_anew(self._desk, caller))

    async def status(self, caller: Caller) -> Status:
        """Everything at a glance."""
        return await self._do(caller, "status", {}, lambda: reading.status(self._desk))

    async def resume(self, caller: Caller) -> Resumed:
        """Bring an operation that was interrupted to its end."""

        def body() -> Resumed:
            journal = self._desk.journal
            is_interrupted = journal.read() is not None or bool(journal.parked())
            with self._desk.writing(caller) as recovered:
                if journal.parked():
                    raise RollbackError(
                        Code.NEEDS_ATTENTION,
                        " ".join(recovered),
                        "mend the cause, then run `stravinsky-rollback recovery resume` again.",
                    )
                return Resumed(
                    summary=recovered[0] if is_interrupted and recovered else "Nothing was unfinished.",
                    next_step="",
                    notices=recovered,
                    recovered=is_interrupted and bool(recovered),
                )

        return await self._do(caller, "resume", {}, body, tells=Tells.AFTER)

    async def refuse(
        self,
        caller: Caller,
        operation: str,
        arguments: Mapping[str, object],
        error: RollbackError,
        *,
        incident: str = "",
    ) -> RollbackError:
        """Record a refusal that no use case decided: a wrong argument, an unknown tool, something unforeseen.

        Returns the error with the notices that every answer carries.
        """

        def body() -> RollbackError:
            self._record_refusal(caller, operation, arguments, error.code, incident)
            told = (*notices.unfinished(self._desk), *notices.of_the_view(self._desk))
            return RollbackError(
                error.code, error.message, error.hint, lines=error.lines, plan_id=error.plan_id, notices=told
            )

        return await anyio.to_thread.run_sync(body)

    async def _do(
        self,
        caller: Caller,
        operation: str,
        arguments: Mapping[str, object],
        body: Callable[[], Outcome],
        *,
        tells: Tells = Tells.BEFORE,
    ) -> Outcome:
        def request() -> Outcome:
            before = notices.of_the_view(self._desk) if tells is Tells.BEFORE else ()
            try:
                outcome = body()
            except ChangedWhileReadError as error:
                refusal = RollbackError(
                    Code.UNSTABLE_SOURCE, f"{error} changed while it was read.", "try again in a moment."
                )
                raise self._refused(caller, operation, arguments, refusal) from error
            except RollbackError as error:
                raise self._refused(caller, operation, arguments, error) from error
            after = notices.of_the_view(self._desk) if tells is Tells.AFTER else before
            return notices.added(outcome, (*notices.unfinished(self._desk), *after))

        self._busy += 1
        try:
            outcome = await anyio.to_thread.run_sync(request)
            if _has_changed_something(outcome) and anyio.current_effective_deadline() == -math.inf:
                # The caller gave up in the middle and gets no answer: the audit says what became of that.
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(
                        self._record_refusal, caller, operation, arguments, _CANCELLED_TOO_LATE
                    )
            return outcome
        finally:
            self._busy -= 1
            if not self._busy:
                self._settled.set()
                self._settled = anyio.Event()

    def new_incident(self) -> str:
        """A fresh id by which what the caller is told, the log and the audit can be brought together."""
        return self._desk.new_id()

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._busy:
            await self._settled.wait()

    async def end(self) -> None:
        """Settle, and let the audit have what was only counted so far."""
        await self.settle()

        def body() -> None:
            with suppress(RollbackError):  # nobody is left to be told
                self._refusals.end()

        await anyio.to_thread.run_sync(body)

    def _refused(
        self, caller: Caller, operation: str, arguments: Mapping[str, object], error: RollbackError
    ) -> RollbackError:
        self._record_refusal(caller, operation, arguments, error.code)
        told = self._desk.told
        message = told(error.message)
        also = (*notices.unfinished(self._desk), *notices.of_the_view(self._desk))
        return RollbackError(
            error.code,
            message,
            told(error.hint),
            lines=error.lines,
            plan_id=error.plan_id,
            notices=tuple(notice for notice in also if message not in notice),
        )

    def _record_refusal(
        self,
        caller: Caller,
        operation: str,
        arguments: Mapping[str, object],
        reason: str,
        incident: str = "",
    ) -> None:
        if not self._desk.config.policy.audit.enable_audit_logging:
            return  # what history, recovery and the proof of backups rest on is recorded all the same
        details = {"operation": operation, "arguments_sha256": _digest(arguments)}
        draft = AuditDraft(
            event_type=EventType.REFUSED,
            status=EventStatus.REFUSED,
            actor=caller.actor,
            user_root=self._desk.view.user_root,
            project=self._desk.view.project,
            error=reason,
            details=details | ({"incident": incident} if incident else {}),
        )
        # An audit that cannot be written is one of the things that are refused; the caller is told that, not this.
        with suppress(RollbackError):
            self._desk.store.open()
            self._refusals.add(draft)


def _has_changed_something(outcome: object) -> bool:
    """Whether what was asked for has been done, and not only been looked at."""
    match outcome:
        case BackupCreated():
            return outcome.created
        case Restored():
            return outcome.applied
        case _:
            return False


def _digest(arguments: Mapping[str, object]) -> str:
    """SHA-256 of what was asked, whatever it was: refused arguments may hold anything that JSON can."""
    return hashlib.sha256(repr(sorted(arguments.items())).encode("utf-8", "backslashreplace")).hexdigest()
