"""Carrying out a plan under the journal: every target changes, or none.

Every change of every live target goes through ``Executor.run``; crash, error, failed verification and cancellation
share one way back, ``disk/ending.py``. The order of the durable steps is the safety argument:

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
from stravinsky_rollback_mcp.core.model import AuditDraft, Limits, TargetState
from stravinsky_rollback_mcp.core.plan import Step
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.ending import TROUBLE, Ending
from stravinsky_rollback_mcp.disk.failure import failure
from stravinsky_rollback_mcp.disk.journal import JournalFile
from stravinsky_rollback_mcp.disk.place import Place
from stravinsky_rollback_mcp.disk.retire import retirements
from stravinsky_rollback_mcp.disk.scan import scan_when_still
from stravinsky_rollback_mcp.disk.stage import stage
from stravinsky_rollback_mcp.disk.swap import require_no_mount, swap
from stravinsky_rollback_mcp.errors import Code, RollbackError

SLOT_PREFIX = ".stravinsky-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One changing step of a plan with everything that the disk needs to know."""

    step: Step
    place: Place
    archive_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A committed operation: the atomicity by target id, and what kept it from being cleaned up, if anything did.

    ``bare`` are the live paths whose extended attributes their file system does not hold.
    """

    atomicity: Mapping[str, str]
    bare: tuple[str, ...]
    unfinished: str


class Executor:
    """Runs plans. The caller holds the store's lock; ``now`` comes from the service, which owns the clock."""

    def __init__(
        self, *, ending: Ending, journal: JournalFile, files: Files, limits: Limits, now: Callable[[], str]
    ) -> None:
        self._ending = ending
        self._journal = journal
        self._files = files
        self._limits = limits
        self._now = now

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
            self._make_durable(journal)
            self._require_meant(journal)
            bare = self._bare(orders, journal)
            journal = replace(journal, phase=Phase.COMMITTED)
            self._journal.write(journal)
        except TROUBLE as error:
            raise self._ending.take_back(journal, _as_refusal(error)) from error
        try:
            self._ending.finish(journal)
        except TROUBLE as error:
            # The operation stands: it is committed. What is left to do, the next start or operation does.
            return Done(atomicity=atomicity, bare=bare, unfinished=str(error))
        return Done(atomicity=atomicity, bare=bare, unfinished="")

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
            self._files.sync_file_system(os.path.dirname(slot))  # their names in the folders around them included
        staged: list[JournalTarget] = []
        for order, target in zip(orders, journal.targets, strict=True):
            inode = 0
            if target.want_new and target.is_swapped:
                found = scan_when_still(replace(order.place, resolved=target.new_slot), self._limits).tree
                if found.digest != target.new_digest or found.skipped != order.step.staged.skipped:
                    raise RollbackError(
                        Code.ARCHIVE_MISMATCH,
                        f"the tree built for {target.path} is not the one that was meant.",
                        "nothing was changed; verify the backup and try again.",
                    )
                inode = os.lstat(target.new_slot).st_ino
            staged.append(replace(target, new_inode=inode))
        return replace(journal, phase=Phase.PREPARED, targets=tuple(staged))

    def _bare(self, orders: Sequence[Order], journal: Journal) -> tuple[str, ...]:
        """Where the live tree lacks extended attributes that were meant; the digest does not tell of them."""
        found: list[str] = []
        for order, target in zip(orders, journal.targets, strict=True):
            meant = {entry.path: entry.attributes for entry in order.step.desired.entries if entry.attributes}
            if meant:
                live = {entry.path: entry.attributes for entry in self._ending.tree(target, target.resolved).entries}
                found.extend(f"{target.path}/{path}" for path in meant if live.get(path) != meant[path])
        return tuple(found)

    def _make_durable(self, journal: Journal) -> None:
        """All exchanges survive a power cut from here on."""
        for parent in journal.parents:
            if os.path.lexists(parent):
                self._files.sync_folder(parent)

    def _require_meant(self, journal: Journal) -> None:
        """What is live must be what was meant, and what was displaced what was recorded: nobody wrote in between."""
        for target in journal.targets:
            if os.path.realpath(target.path) != target.resolved:
                raise _conflict(target, "was made to lead elsewhere while it was being restored")
            live = self._ending.digest(target, target.resolved)
            if live != (target.new_digest if target.want_new else ""):
                raise _conflict(target, "was changed again while it was being restored")
            if target.had_old and target.is_swapped:
                slot = target.old_slot if os.path.lexists(target.old_slot) else target.new_slot
                if self._ending.digest(target, slot) != target.old_digest:
                    raise _conflict(target, "was changed by something else just before it was replaced")


def slots_beside(places: Sequence[Place]) -> tuple[str, ...]:
    """The staged and displaced trees that lie beside these targets, whoever left them there."""
    found: list[str] = []
    for parent in sorted({os.path.dirname(place.resolved) for place in places}):
        with suppress(OSError):
            found.extend(f"{parent}/{name}" for name in sorted(os.listdir(parent)) if name.startswith(SLOT_PREFIX))
    return tuple(found)


def _missing_folders(orders: Sequence[Order]) -> tuple[str, ...]:
    """The folders above the targets that were deleted with everything in them, outermost first."""
    missing: set[str] = set()
    for order in orders:
        folder = os.path.dirname(order.place.resolved)
        while not os.path.lexists(folder):
            missing.add(folder)
            folder = os.path.dirname(folder)
    return tuple(sorted(missing))


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
