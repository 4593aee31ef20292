"""The way of every request: one hop to a thread, the notices that all answers carry, and refusals on record.

A request is not torn off by cancellation: what was begun ends, in the thread, before the cancelled caller goes on.
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

from stravinsky_rollback_mcp.core.model import AuditDraft, EventStatus, EventType
from stravinsky_rollback_mcp.core.outcome import (
    BackupCreated,
    Restored,
    UpdateBegun,
    UpdateFinished,
)
from stravinsky_rollback_mcp.core.outcome_keeping import Adopted, CleanedUp, Forgotten
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import notices
from stravinsky_rollback_mcp.service.desk import Caller, Desk
from stravinsky_rollback_mcp.service.refusals import Refusals

Outcome = TypeVar("Outcome")


class Tells(Enum):
    """When a use case has the notices about what is live gathered: all answers carry them."""

    BEFORE = auto()
    AFTER = auto()  # of a restore: what it has taken back need not be told any more
    BY_ITSELF = auto()  # it looks at everything anyway, and makes known what it finds


_CANCELLED_TOO_LATE = "cancelled_too_late"


class Requests:
    """What all use cases of one process share: the desk, who is still at work, and what was refused."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._refusals = Refusals(desk.record, time.monotonic)
        self._busy = 0
        self._settled = anyio.Event()

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
            told = (*notices.standing(self._desk), *notices.of_the_view(self._desk))
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
            return notices.added(outcome, (*notices.standing(self._desk), *after))

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
        also = (*notices.standing(self._desk), *notices.of_the_view(self._desk))
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
        case Restored() | CleanedUp() | Forgotten() | Adopted():
            return outcome.applied
        case UpdateBegun() | UpdateFinished():
            return True
        case _:
            return False


def _digest(arguments: Mapping[str, object]) -> str:
    """SHA-256 of what was asked, whatever it was: refused arguments may hold anything that JSON can."""
    return hashlib.sha256(repr(sorted(arguments.items())).encode("utf-8", "backslashreplace")).hexdigest()
