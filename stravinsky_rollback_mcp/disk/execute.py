"""Carrying out a plan under the journal, and bringing an unfinished one to an end.

Every change of every live target goes through ``Executor.run``; crash, error, failed verification and cancellation
share one way back. The order of the durable steps is the safety argument:

STAGING names every slot → the new trees are built beside their targets and made durable → PREPARED → all targets are
exchanged back to back → their folders are made durable → what is live is compared with what was meant, and what was
displaced with what was recorded → COMMITTED → the outcome is in the audit → the slots go → the journal goes.
"""

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.codec.journal import Journal, JournalTarget, Phase
from stravinsky_rollback_mcp.core.model import AuditDraft, EventStatus, Limits, Scope, Target, TargetState
from stravinsky_rollback_mcp.core.plan import Step
from stravinsky_rollback_mcp.core.times import seconds_between
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit import AuditLog
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError
from stravinsky_rollback_mcp.disk.failure import failure
from stravinsky_rollback_mcp.disk.journal import JournalFile
from stravinsky_rollback_mcp.disk.retire import retire, retirements
from stravinsky_rollback_mcp.disk.scan import Place, scan
from stravinsky_rollback_mcp.disk.stage import stage
from stravinsky_rollback_mcp.disk.swap import require_no_mount, swap, swap_back
from stravinsky_rollback_mcp.errors import Code, RollbackError

SLOT_PREFIX = ".stravinsky-"
# What the disk, a full store or a busy writer may answer anywhere; whatever else escapes is a programming error.
_TROUBLE = (RollbackError, ChangedWhileReadError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One changing step of a plan with everything that the disk needs to know."""

    step: Step
    place: Place
    archive_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A committed operation: the atomicity by target id, and what kept it from being cleaned up, if anything did."""

    atomicity: Mapping[str, str]
    unfinished: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """An operation of an earlier process that was brought to an end."""

    operation_id: str
    event_type: str
    finished: bool


class Executor:
    """Runs plans and recovers from what was left of them. The caller holds the store's lock.

    ``now`` and ``new_id`` come from the service, which owns clock and chance; ``rescue`` is called with a target and a
    slot whose content nobody recorded, before that slot is deleted.
    """

    def __init__(
        self,
        *,
        journal: JournalFile,
        files: Files,
        audit: AuditLog,
        limits: Limits,
        now: Callable[[], str],
        new_id: Callable[[], str],
        rescue: Callable[[Journal, JournalTarget, str], None],
    ) -> None:
        self._journal = journal
        self._files = files
        self._audit = audit
        self._limits = limits
        self._now = now
        self._new_id = new_id
        self._rescue = rescue

    # -- forward ----------------------------------------------------------------------------------------------

    def run(
        self,
        orders: Sequence[Order],
        operation_id: str,
        outcome: AuditDraft,
        keep: Callable[[Mapping[str, str]], None],
    ) -> Done:
        """Make all targets live, or none.

        ``keep`` gets the staged trees (slot by target id) once they are complete and before anything is exchanged, so
        that a state which no backup holds yet can be stored first.
        On any failure everything is as before and the error says why; ``needs_attention`` when even that failed.
        """
        tag = secrets.token_hex(4)
        journal = Journal(
            operation_id=operation_id,
            phase=Phase.STAGING,
            started_at=self._now(),
            targets=tuple(self._target(order, f"{tag}-{place}") for place, order in enumerate(orders)),
            made_folders=_missing_folders(orders),
            outcome=outcome,
        )
        try:
            self._journal.write(journal)
            prepared = self._stage(orders, journal)
            keep({target.id: target.new_slot for target in prepared.targets if target.want_new and target.is_swapped})
            journal = prepared
            self._journal.write(journal)
            atomicity = {target.id: swap(target, self._files) for target in journal.targets if target.is_swapped}
            self._sync_parents(journal)
            self._require_meant(journal)
            journal = replace(journal, phase=Phase.COMMITTED)
            self._journal.write(journal)
        except _TROUBLE as error:
            raise self._take_back(journal, _as_refusal(error)) from error
        try:
            self._finish(journal)
        except _TROUBLE as error:
            # The operation stands: it is committed. What is left to do, the next start or operation does.
            return Done(atomicity=atomicity, unfinished=str(error))
        return Done(atomicity=atomicity, unfinished="")

    def _target(self, order: Order, tag: str) -> JournalTarget:
        resolved = order.place.resolved
        slot = f"{os.path.dirname(resolved)}/{SLOT_PREFIX}{tag}"
        return JournalTarget(
            id=order.step.target.id,
            kind=order.step.target.kind,
            path=order.step.target.path,
            resolved=resolved,
            new_slot=f"{slot}.new",
            old_slot=f"{slot}.old",
            had_old=order.step.live.state is TargetState.PRESENT,
            want_new=order.step.staged.state is TargetState.PRESENT,
            old_digest=order.step.live.digest,
            new_digest=order.step.staged.digest,
            retired=retirements(order.step),
        )

    def _stage(self, orders: Sequence[Order], journal: Journal) -> Journal:
        """Build and prove every new tree; the result is the journal that allows the exchange."""
        devices: dict[int, str] = {}
        for folder in journal.made_folders:
            self._files.make_folder(folder, 0o755)
            self._files.sync_folder(os.path.dirname(folder))
        for order, target in zip(orders, journal.targets, strict=True):
            require_no_mount(target.resolved)
            if target.want_new and target.is_swapped:
                stage(order.step, target.resolved, target.new_slot, order.archive_path, self._files)
                devices[os.lstat(target.new_slot).st_dev] = target.new_slot
        for slot in devices.values():
            self._files.sync_file_system(os.path.dirname(slot))
        for parent in sorted({os.path.dirname(target.resolved) for target in journal.targets}):
            self._files.sync_folder(parent)
        staged: list[JournalTarget] = []
        for order, target in zip(orders, journal.targets, strict=True):
            inode = 0
            if target.want_new and target.is_swapped:
                found = scan(replace(order.place, resolved=target.new_slot), self._limits).tree
                if found.digest != target.new_digest or found.skipped != order.step.staged.skipped:
                    raise RollbackError(
                        Code.ARCHIVE_MISMATCH,
                        f"the tree built for {target.path} is not the one that was meant.",
                        "nothing was changed; verify the backup and try again.",
                    )
                inode = os.lstat(target.new_slot).st_ino
            staged.append(replace(target, new_inode=inode))
        return replace(journal, phase=Phase.PREPARED, targets=tuple(staged))

    def _require_meant(self, journal: Journal) -> None:
        """What is live must be what was meant, and what was displaced what was recorded: nobody wrote in between."""
        for target in journal.targets:
            if os.path.realpath(target.path) != target.resolved:
                raise _conflict(target, "was made to lead elsewhere while it was being restored")
            live = self._digest(target, target.resolved)
            if live != (target.new_digest if target.want_new else ""):
                raise _conflict(target, "was changed again while it was being restored")
            if target.had_old and target.is_swapped:
                slot = target.old_slot if os.path.lexists(target.old_slot) else target.new_slot
                if self._digest(target, slot) != target.old_digest:
                    raise _conflict(target, "was changed by something else just before it was replaced")

    def _digest(self, target: JournalTarget, path: str) -> str:
        """The tree digest of what lies at a path, empty when nothing does."""
        if not os.path.lexists(path):
            return ""
        return scan(_place(target, path), self._limits).tree.digest

    def _digest_if_readable(self, target: JournalTarget, path: str) -> str:
        try:
            return self._digest(target, path)
        except _TROUBLE:
            # Too large now, or unreadable, or still being written to: then it is not what was recorded.
            return ""

    def _sync_parents(self, journal: Journal) -> None:
        for parent in sorted({os.path.dirname(target.resolved) for target in journal.targets}):
            if os.path.lexists(parent):
                self._files.sync_folder(parent)

    # -- the one way back -------------------------------------------------------------------------------------

    def _take_back(self, journal: Journal, failed: RollbackError) -> RollbackError:
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
        except _TROUBLE as error:
            return self._attention(journal, failed, error)
        try:
            if journal.phase is Phase.PREPARED:
                journal = self._abort(journal)
            self._finish(journal, failed, status)
        except _TROUBLE as error:
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

    def _attention(self, journal: Journal, failed: RollbackError, error: Exception) -> RollbackError:
        trees = " ".join(
            f"{target.path}: live {target.resolved}, slots {target.new_slot} and {target.old_slot}."
            for target in journal.targets
        )
        text = (
            f"An operation that began at {journal.started_at} could be neither finished nor taken back.\n"
            f"First: {failed}\nThen: {error}\n{trees}\n"
            "Nothing was deleted. Mend the cause (space, permissions, disk), then run:\n"
            "  stravinsky-rollback recovery resume\n"
        )
        with suppress(RollbackError):
            self._journal.explain(text)
        return RollbackError(
            Code.NEEDS_ATTENTION,
            f"the operation failed ({failed.code}: {failed.message}) and could not be taken back ({error}). {trees}",
            "mend the cause, then run `stravinsky-rollback recovery resume`; recovery/RECOVERY.md says where "
            "everything lies.",
        )

    # -- the end ----------------------------------------------------------------------------------------------

    def _finish(
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
        self._journal.remove()

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
            self._drop(journal, target, target.new_slot, target.old_digest if is_committed else target.new_digest)
            self._drop(journal, target, target.old_slot, target.old_digest)
        self._sync_parents(journal)
        for folder in () if is_committed else reversed(journal.made_folders):
            self._files.remove_empty_folder(folder)
            if os.path.lexists(os.path.dirname(folder)):
                self._files.sync_folder(os.path.dirname(folder))

    def _drop(self, journal: Journal, target: JournalTarget, slot: str, expected: str) -> None:
        """Delete a slot, after its content was compared one last time.

        It gets another name first, so that a half deleted slot is never taken for one that somebody wrote into.
        """
        doomed = f"{slot}.gone"
        if os.path.lexists(slot):
            if target.new_inode or not target.want_new:
                self._rescue_unknown(journal, target, slot, expected)
            self._files.doom_slot(slot, doomed)
        if os.path.lexists(doomed):
            self._files.remove_slot(doomed)

    def _rescue_unknown(self, journal: Journal, target: JournalTarget, slot: str, expected: str) -> None:
        """Somebody with an open handle may have written into a tree after it was displaced: keep that."""
        try:
            is_expected = scan(_place(target, slot), self._limits).tree.digest == expected
        except ChangedWhileReadError:
            is_expected = False
        if not is_expected:
            self._rescue(journal, target, slot)

    # -- after a crash ----------------------------------------------------------------------------------------

    def recover(self) -> Recovered | None:
        """Bring an operation that another process left to its end: finished after COMMITTED, else as before."""
        journal = self._journal.read()
        self._journal.adopt(journal)
        if journal is None:
            return None
        finished = journal.phase is Phase.COMMITTED
        try:
            if journal.phase is Phase.PREPARED:
                self._undo(journal)
                journal = self._abort(journal)
            self._finish(journal)
        except _TROUBLE as error:
            interrupted = RollbackError(Code.INTERNAL, "the process ended in the middle of it.")
            raise self._attention(journal, interrupted, error) from error
        return Recovered(operation_id=journal.operation_id, event_type=journal.outcome.event_type, finished=finished)


def _missing_folders(orders: Sequence[Order]) -> tuple[str, ...]:
    """The folders above the targets that were deleted with everything in them, outermost first."""
    missing: set[str] = set()
    for order in orders:
        folder = os.path.dirname(order.place.resolved)
        while not os.path.lexists(folder):
            missing.add(folder)
            folder = os.path.dirname(folder)
    return tuple(sorted(missing))


def _place(target: JournalTarget, path: str) -> Place:
    scope, _, component = target.id.partition(".")
    named = Target(scope=Scope(scope), component=component, kind=target.kind, path=target.path)
    return Place(target=named, resolved=path, dangling=False)


def _as_refusal(error: Exception) -> RollbackError:
    if isinstance(error, RollbackError):
        return error
    if isinstance(error, OSError):
        return failure(error, "building the new tree", str(error.filename or "a target"))
    return RollbackError(
        Code.UNSTABLE_SOURCE, f"{error} changed while it was read.", "try again when nothing else writes there."
    )


def _conflict(target: JournalTarget, what: str) -> RollbackError:
    return RollbackError(
        Code.STATE_CHANGED,
        f"{target.path} {what}; that change was kept and everything is as before.",
        "look at it, then try again.",
    )
