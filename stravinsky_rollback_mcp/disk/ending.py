"""How an operation ends: taken back, finished, or set aside for a person when neither is possible.

Crash, error, failed verification and cancellation share this one way back. Before COMMITTED it leads to the old
trees, after it to the new ones; every step may be repeated.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.codec.journal import Journal, JournalTarget, Phase, doomed
from stravinsky_rollback_mcp.core.model import AuditDraft, EventStatus, EventType, Limits, Scope, Target, Tree
from stravinsky_rollback_mcp.core.times import seconds_between
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.attention import explanation, trees_of
from stravinsky_rollback_mcp.disk.audit import AuditLog
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError
from stravinsky_rollback_mcp.disk.journal import JournalFile
from stravinsky_rollback_mcp.disk.memory import Memory
from stravinsky_rollback_mcp.disk.place import Place
from stravinsky_rollback_mcp.disk.retire import retire
from stravinsky_rollback_mcp.disk.scan import scan_when_still
from stravinsky_rollback_mcp.disk.swap import swap_back
from stravinsky_rollback_mcp.errors import Code, RollbackError

# What the disk, a full store or a busy writer may answer anywhere; whatever else escapes is a programming error.
TROUBLE = (RollbackError, ChangedWhileReadError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An operation of an earlier process that was brought to an end."""

    operation_id: str
    event_type: str
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What recovery brought to an end, and what it could not: those operations are set aside for a person."""

    ended: tuple[Ended, ...]
    parked: tuple[Journal, ...]


class Ending:
    """Ends operations. The caller holds the store's lock.

    ``memory`` takes over what is read of live targets: nobody who looks at them afterwards need read it again. ``now``
    and ``new_id`` come from the service, which owns clock and chance; ``rescue`` is called with a target and a slot
    whose content nobody recorded, before that slot is deleted.
    """

    def __init__(
        self,
        *,
        journal: JournalFile,
        files: Files,
        audit: AuditLog,
        limits: Limits,
        memory: Memory,
        now: Callable[[], str],
        new_id: Callable[[], str],
        rescue: Callable[[Journal, JournalTarget, str], None],
    ) -> None:
        self._journal = journal
        self._files = files
        self._audit = audit
        self._limits = limits
        self._memory = memory
        self._now = now
        self._new_id = new_id
        self._rescue = rescue

    # -- looking ----------------------------------------------------------------------------------------------

    def tree(self, target: JournalTarget, path: str) -> Tree:
        """What lies at a path, read whole."""
        memory = self._memory.blank() if path == target.resolved else None
        return scan_when_still(_place(target, path), self._limits, memory).tree

    def digest(self, target: JournalTarget, path: str) -> str:
        """The tree digest of what lies at a path, empty when nothing does."""
        return self.tree(target, path).digest if os.path.lexists(path) else ""

    def _digest_if_readable(self, target: JournalTarget, path: str) -> str:
        try:
            return self.digest(target, path)
        except TROUBLE:
            # Too large now, or unreadable, or still being written to: then it is not what was recorded.
            return ""

    # -- the one way back -------------------------------------------------------------------------------------

    def take_back(self, journal: Journal, failed: RollbackError) -> RollbackError:
        """Undo in reverse order and make that durable; only then the audit hears of it and the slots go.

        Returns the error to raise: ``failed``, or ``needs_attention`` when not everything is as before. What cannot
        be cleaned up now (a full disk, mostly) waits for the next operation, and is no reason to call for a person.
        """
        status = EventStatus.FAILED if journal.phase is Phase.STAGING else EventStatus.ROLLED_BACK
        try:
            if journal.phase is Phase.COMMITTED:
                journal = self._withdraw(journal)
            if journal.phase is Phase.PREPARED:
                self._undo(journal)
        except TROUBLE as error:
            return self._attention(journal, failed, error)
        try:
            if journal.phase is Phase.PREPARED:
                journal = self._abort(journal)
            self.finish(journal, failed, status)
        except TROUBLE as error:
            return RollbackError(
                failed.code,
                f"{failed.message} Everything is as before; cleaning up is left to the next operation ({error}).",
                failed.hint,
            )
        return failed

    def _withdraw(self, journal: Journal) -> Journal:
        """A commit that failed: its record, when it can be seen at all, may or may not be durable. PREPARED must be."""
        journal = replace(journal, phase=Phase.PREPARED)
        visible = self._journal.read()
        if visible is None or visible.phase is not Phase.PREPARED:
            self._journal.write(journal)
        return journal

    def _undo(self, journal: Journal) -> None:
        """Bring every old tree back, durably."""
        for target in reversed([target for target in journal.targets if target.is_swapped]):
            swap_back(target, self._files, lambda path, target=target: self._digest_if_readable(target, path))
        self._sync_parents(journal)

    def _abort(self, journal: Journal) -> Journal:
        """Say durably that everything is as before: without it, a half deleted slot would be taken for an old tree."""
        journal = replace(journal, phase=Phase.ABORTED)
        self._journal.write(journal)
        return journal

    def _sync_parents(self, journal: Journal) -> None:
        for parent in journal.parents:
            if os.path.lexists(parent):
                self._files.sync_folder(parent)

    # -- the end ----------------------------------------------------------------------------------------------

    def finish(
        self, journal: Journal, failed: RollbackError | None = None, status: EventStatus = EventStatus.RECOVERED
    ) -> None:
        """The audit's outcome, if it is not there yet; then the slots; then the journal.

        A full disk must not keep the slots, which fill it: where the audit refuses, the slots go first.
        """
        outcome = journal.outcome
        if journal.phase is not Phase.COMMITTED:
            error = failed.code if failed is not None else None
            outcome = replace(outcome, status=status, state=None, restores=None, error=error)
        try:
            self._tell(journal, outcome)
        except RollbackError:
            self._clean_up(journal)
            self._tell(journal, outcome)
        else:
            self._clean_up(journal)
        self._journal.remove(journal)

    def _tell(self, journal: Journal, outcome: AuditDraft) -> None:
        """Append the outcome unless an earlier attempt did."""
        recorded = {record.draft.status for record in self._audit.operation(journal.operation_id)}
        if not recorded - {EventStatus.STARTED}:
            ended_at = self._now()
            duration_seconds = seconds_between(journal.started_at, ended_at)
            outcome = replace(outcome, duration_seconds=duration_seconds)
            self._audit.append(outcome, now=ended_at, event_id=self._new_id())

    def _clean_up(self, journal: Journal) -> None:
        """Retire scripts, delete the slots, and the folders that were made for nothing."""
        is_committed = journal.phase is Phase.COMMITTED
        for target in journal.targets if is_committed else ():
            retire(target, self._files)
        for target in journal.targets:
            self._doom(journal, target, target.new_slot, target.old_digest if is_committed else target.new_digest)
            self._doom(journal, target, target.old_slot, target.old_digest)
        self._sync_parents(journal)
        for slot in (slot for target in journal.targets for slot in target.slots if os.path.lexists(slot)):
            self._files.remove_slot(slot)
        self._sync_parents(journal)
        for folder in () if is_committed else reversed(journal.made_folders):
            self._files.remove_empty_folder(folder)
            if os.path.lexists(os.path.dirname(folder)):
                self._files.sync_folder(os.path.dirname(folder))

    def _doom(self, journal: Journal, target: JournalTarget, slot: str, expected: str) -> None:
        """Give a slot up, after its content was compared one last time.

        It gets another name, durably, before anything in it is deleted: what is half deleted must never be taken for
        something that somebody wrote into.
        """
        if os.path.lexists(slot):
            if target.new_inode or not target.want_new:
                self._rescue_unknown(journal, target, slot, expected)
            self._files.doom_slot(slot, doomed(slot))

    def _rescue_unknown(self, journal: Journal, target: JournalTarget, slot: str, expected: str) -> None:
        """Somebody with an open handle may have written into a tree after it was displaced: keep that."""
        try:
            is_expected = scan_when_still(_place(target, slot), self._limits).tree.digest == expected
        except ChangedWhileReadError:
            is_expected = False
        if not is_expected:
            self._rescue(journal, target, slot)

    # -- after a crash ----------------------------------------------------------------------------------------

    def recover(self) -> Recovery:
        """Bring to an end what another process left: finished after COMMITTED, else as before.

        What was set aside is tried again. Raises ``needs_attention`` where a record is damaged, so that nobody knows
        what it is about, or where the store itself cannot be written.
        """
        journal = self._journal.read()
        parked = self._journal.parked()
        self._journal.adopt(journal)
        ended: list[Ended] = []
        left: list[Journal] = []
        try:
            if journal is not None:
                self._end(journal, ended, left)
            for name, record in parked.items():
                self._journal.unpark(name, record)
                self._end(record, ended, left)
        except RollbackError as error:
            raise RollbackError(
                Code.NEEDS_ATTENTION,
                f"an unfinished operation can be neither ended nor set aside: {error.message}",
                "mend the cause, then run `stravinsky-rollback recovery resume`.",
            ) from error
        if journal is not None or parked:
            self._explain()
        return Recovery(ended=tuple(ended), parked=tuple(left))

    def _end(self, journal: Journal, ended: list[Ended], left: list[Journal]) -> None:
        finished = journal.phase is Phase.COMMITTED
        is_new = not journal.problem
        try:
            if journal.phase is Phase.PREPARED:
                self._undo(journal)
                journal = self._abort(journal)
            self.finish(journal)
        except TROUBLE as error:
            left.append(self._set_aside(journal, str(error), is_new=is_new))
        else:
            event_type = journal.outcome.event_type
            ended.append(Ended(operation_id=journal.operation_id, event_type=event_type, finished=finished))

    # -- for a person -----------------------------------------------------------------------------------------

    def _attention(self, journal: Journal, failed: RollbackError, error: Exception) -> RollbackError:
        with suppress(*TROUBLE):
            # A disk on which not even this can be written leaves the record where the next operation finds it.
            self._set_aside(journal, f"{failed} Then: {error}", is_new=True)
            self._explain()
        return RollbackError(
            Code.NEEDS_ATTENTION,
            f"the operation failed ({failed.code}: {failed.message}) and could not be taken back ({error}). "
            f"{trees_of(journal)}",
            "mend the cause, then run `stravinsky-rollback recovery resume`; recovery/RECOVERY.md says where "
            "everything lies and what to type.",
        )

    def _set_aside(self, journal: Journal, problem: str, *, is_new: bool) -> Journal:
        """Park the record, so that everything but these targets can go on."""
        with suppress(RollbackError):  # on a full disk it is parked without its reason
            visible = self._journal.read()
            if visible is not None:
                journal = replace(visible, problem=problem)
                self._journal.write(journal)
        self._journal.park()
        if is_new:
            draft = replace(
                journal.outcome,
                event_type=EventType.RECOVERY_ATTEMPT,
                status=EventStatus.FAILED,
                operation_id=None,  # it is not the operation's outcome
                state=None,
                restores=None,
                error=Code.NEEDS_ATTENTION,
                details={"operation_id": journal.operation_id, "phase": journal.phase},
            )
            with suppress(RollbackError):
                self._audit.append(draft, now=self._now(), event_id=self._new_id())
        return journal

    def _explain(self) -> None:
        """RECOVERY.md is there exactly as long as something waits for a person."""
        parked = tuple(self._journal.parked().values())
        with suppress(*TROUBLE):
            self._journal.explain(explanation(parked, self._journal.folder, self._digest_if_readable))


def _place(target: JournalTarget, path: str) -> Place:
    scope, _, component = target.id.partition(".")
    return Place(
        target=Target(scope=Scope(scope), component=component, kind=target.kind, path=target.path),
        resolved=path,
        dangling=False,
    )
