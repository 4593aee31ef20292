"""Rollback, undo and redo: one way for all three. Look, plan, ask, keep a safety backup, execute, report."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core import plan as planning
from stravinsky_rollback_mcp.core.codec.trees import ABSENT
from stravinsky_rollback_mcp.core.model import (
    AuditDraft,
    BackupKind,
    EntryType,
    EventStatus,
    EventType,
    Scope,
)
from stravinsky_rollback_mcp.core.names import capped
from stravinsky_rollback_mcp.core.outcome import Restored
from stravinsky_rollback_mcp.core.plan import Plan
from stravinsky_rollback_mcp.disk import archive
from stravinsky_rollback_mcp.disk.execute import Order
from stravinsky_rollback_mcp.disk.place import Place
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.backup import Wish, make_backup
from stravinsky_rollback_mcp.service.desk import Caller, Desk, digests_of, state_of
from stravinsky_rollback_mcp.service.drift import record_drift
from stravinsky_rollback_mcp.service.intent import Intent, intend_rollback, intend_walk
from stravinsky_rollback_mcp.service.latest import write_latest
from stravinsky_rollback_mcp.service.look import Look, gather
from stravinsky_rollback_mcp.service.quarantine import DAMAGE, put_aside_damaged
from stravinsky_rollback_mcp.service.recover import Lost, intend_recovery
from stravinsky_rollback_mcp.service.report import report
from stravinsky_rollback_mcp.service.room import require_space
from stravinsky_rollback_mcp.service.stored import held_pairs, matching_version, open_authentic

_NO_ROOM = frozenset({Code.NO_SPACE, Code.UNWRITABLE})  # in the store; staging finds its own room, or takes itself back


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What the caller says beside what it wants: lines it accepts, the plan it saw, or that it only looks.

    ``is_given`` is consent from beforehand: a person who began an update wants it taken back where it fails.
    """

    accept: tuple[str, ...] = ()
    plan_id: str | None = None
    dry_run: bool = False
    is_given: bool = False


def rollback_to(
    desk: Desk, caller: Caller, version: str, only: tuple[str, ...], scope: Scope | None, consent: Consent
) -> Restored:
    """Bring the targets in view to what a backup recorded, or only some of them."""
    return restore(desk, caller, lambda look: intend_rollback(desk, look, version, only, scope), consent, version)


def recover_version(desk: Desk, caller: Caller, version: str, consent: Consent) -> Restored:
    """Bring everything back to what a backup recorded: the third level of recovery."""
    operation = EventType.RECOVERY_ATTEMPT
    return restore(
        desk, caller, lambda look: intend_rollback(desk, look, version, (), None, operation=operation), consent, version
    )


def roll_back_automatically(desk: Desk, caller: Caller, version: str, consent: Consent) -> Restored:
    """Bring everything in view to what a backup recorded, because a program and not a person found it broken."""
    operation = EventType.AUTO_ROLLBACK
    return restore(
        desk, caller, lambda look: intend_rollback(desk, look, version, (), None, operation=operation), consent
    )


def recover(desk: Desk, caller: Caller, lost: Lost, version: str | None, consent: Consent) -> Restored:
    """Bring back one file, directory or key, from that version or the newest that has it different."""
    return restore(desk, caller, lambda look: intend_recovery(desk, look, lost, version), consent, version or "")


def undo(desk: Desk, caller: Caller, consent: Consent) -> Restored:
    """Take back the last thing that happened to this configuration."""
    return restore(desk, caller, lambda look: intend_walk(desk, look, EventType.UNDO), consent)


def redo(desk: Desk, caller: Caller, consent: Consent) -> Restored:
    """Bring again what the last undo took back."""
    return restore(desk, caller, lambda look: intend_walk(desk, look, EventType.REDO), consent)


def restore(
    desk: Desk, caller: Caller, intend: Callable[[Look], Intent], consent: Consent, version: str = ""
) -> Restored:
    """Do what an intent says, or only tell it; the one way for everything that brings a state back."""
    started = time.monotonic()
    if consent.dry_run:
        look = gather(desk)
        return report(desk, look, intend(look), started)
    with desk.writing(caller) as notices:
        look = gather(desk)
        with _putting_aside(desk, caller, look, (version,)):
            intent = intend(look)
        intent = replace(intent, notices=(*notices, *intent.notices))
        _require_consent(intent, consent)
        if not intent.plan.changes:
            return report(desk, look, intent, started)
        planning.require_separate(
            {step.target.id: look.places[step.target.id].resolved for step in intent.plan.changes}
        )
        with _putting_aside(desk, caller, look, {step.version for step in intent.plan.changes if step.from_backup}):
            _require_restorable(desk, intent.plan)
        if desk.config.policy.safety.fail_safe_on_backup_error:
            require_space(intent.findings)
        return _apply(desk, caller, look, intent, started)


@contextlib.contextmanager
def _putting_aside(desk: Desk, caller: Caller, look: Look, versions: Iterable[str]) -> Generator[None]:
    """A restore that is refused because a backup is damaged puts that backup into quarantine."""
    try:
        yield
    except RollbackError as error:
        if error.code in DAMAGE:
            # The refusal is what the caller has to hear; what cannot be moved now is found again.
            with contextlib.suppress(RollbackError):
                put_aside_damaged(desk, caller, look.known, versions)
        raise


def _require_consent(intent: Intent, consent: Consent) -> None:
    plan = intent.plan
    if consent.plan_id is not None and consent.plan_id != plan.plan_id:
        raise RollbackError(
            Code.STATE_CHANGED,
            "what would be done is no longer what was shown: something changed since.",
            "look again with dry_run, then call with the new plan_id.",
        )
    missing = tuple(line for line in plan.security_changes if line not in consent.accept)
    if missing and plan.changes and not consent.is_given:
        raise RollbackError(
            Code.CONFIRM_REQUIRED,
            "this would make the configuration less safe, or take back another session's work.",
            "ask the person; if they agree, call again with `accept` repeating exactly these lines.",
            lines=plan.security_changes,
            plan_id=plan.plan_id,
        )


def _require_restorable(desk: Desk, plan: Plan) -> None:
    """What the backups would bring is within the limits and reads back whole, before anything is kept or begun for it.

    Executing checks both again, but by then a safety backup exists and a tree was built.
    """
    limits = desk.config.limits
    for step in plan.changes:
        path = desk.shown_target(step.target)
        entries = step.desired.entries
        deepest = max((entry.path.count("/") + 1 for entry in entries if entry.type is EntryType.DIRECTORY), default=0)
        if len(entries) + len(step.desired.skipped) > limits.max_entries or deepest > limits.max_depth:
            raise RollbackError(
                Code.TOO_MANY_FILES,
                f"{path} would hold more than {limits.max_entries} entries, or be over {limits.max_depth} deep.",
                "raise backup.max_entries or backup.max_depth if that is what you want.",
            )
        if any(entry.size_bytes > limits.max_file_size_bytes for entry in entries):
            raise RollbackError(
                Code.TOO_LARGE,
                f"{path} would hold a file of more than {limits.max_file_size_bytes} bytes.",
                "raise backup.max_file_size_mb if that is what you want.",
            )
        if step.from_backup:
            archive.verify(desk.store.archive_path(step.version, step.stored), step.stored)


def _apply(desk: Desk, caller: Caller, look: Look, intent: Intent, started: float) -> Restored:
    plan = intent.plan
    try:
        safety = _safety_backup(desk, caller, look, plan.operation)
    except RollbackError as error:
        if error.code not in _NO_ROOM or desk.config.policy.safety.fail_safe_on_backup_error:
            raise
        safety = None
        lost = f"No backup holds what was live before ({error.code}): this cannot be undone."
        intent = replace(intent, notices=(*intent.notices, lost))
    operation_id = desk.new_id()
    from_version = matching_version(desk, look.known, look.digests)
    after = {**look.digests, **{step.target.id: step.desired.digest for step in plan.steps}}
    outcome = AuditDraft(
        event_type=plan.operation,
        status=EventStatus.SUCCESS,
        actor=caller.actor,
        user_root=desk.view.user_root,
        project=desk.view.project,
        version=intent.to_version,
        previous_version=from_version,
        operation_id=operation_id,
        paths=tuple(desk.shown_target(step.target) for step in plan.changes),
        state=state_of(after),
        restores=intent.restores,
        details=desk.with_head(
            {
                "plan_id": plan.plan_id,
                "safety_backup": safety,
                "accepted": len(plan.security_changes),
                "person_asked": caller.is_agreed,
                **({"level": intent.level} if intent.level else {}),
            }
        ),
    )
    desk.record(replace(outcome, status=EventStatus.STARTED, state=None, restores=None))
    orders = [
        Order(
            step=step,
            place=look.places[step.target.id],
            archive_path=desk.store.archive_path(step.version, step.stored),
        )
        for step in plan.changes
    ]
    known = desk.known()

    def keep(slots: Mapping[str, str]) -> None:
        _keep_result(desk, caller, replace(look, known=known), plan, after, slots)

    done = desk.executor(caller).run(orders, operation_id, outcome, keep)
    write_latest(desk, matching_version(desk, desk.known(), after), after)
    if done.unfinished:
        notice = f"The result stands; cleaning up is left to the next operation ({done.unfinished})."
        intent = replace(intent, notices=(*intent.notices, notice))
    bare = capped([f"{desk.shown(path)}: its file system does not hold extended attributes." for path in done.bare])
    intent = replace(intent, notices=(*intent.notices, *bare))
    return report(desk, look, intent, started, safety=safety, atomicity=done.atomicity)


def _safety_backup(desk: Desk, caller: Caller, look: Look, operation: EventType) -> str:
    """The backup that holds what is live now: an intact one that is there already, or a new one."""
    existing = matching_version(desk, look.known, look.digests)
    if existing is not None:
        try:
            is_intact = not desk.store.verify(open_authentic(desk, look.known, existing))
        except RollbackError:
            # A damaged one is no safety: another is made, and `backup verify` tells about the old one.
            is_intact = False
        if is_intact:
            record_drift(desk, caller, look.known, look.digests)
            return existing
    word = {EventType.UNDO: ".pre_undo", EventType.REDO: ".pre_redo"}.get(operation, ".pre_rollback")
    wish = Wish(version=desk.new_version(word), kind=BackupKind.SAFETY)
    _, seen = make_backup(desk, caller, wish, tuple(look.places.values()), look.known)
    if digests_of(seen) != look.digests:
        raise RollbackError(
            Code.STATE_CHANGED,
            "the configuration changed while it was being backed up; nothing was restored.",
            "look at what changed, then try again.",
        )
    return wish.version


def _keep_result(
    desk: Desk, caller: Caller, look: Look, plan: Plan, after: Mapping[str, str], slots: Mapping[str, str]
) -> None:
    """Store the state that results, when no backup holds each part of it: history never points at nothing."""
    held = held_pairs(desk, look.known)
    if all(not digest or (target_id, digest) in held for target_id, digest in after.items()):
        return
    retired = {step.target.id: [entry.path for entry in step.retired] for step in plan.changes}
    places = tuple(
        replace(
            place,
            resolved=_resulting_path(look, target_id, place, slots, after),
            without=frozenset(retired.get(target_id, ())),
        )
        for target_id, place in look.places.items()
    )
    wish = Wish(
        version=desk.new_version("result"), kind=BackupKind.SAFETY, note="what a partial restore made", observed=False
    )
    _, seen = make_backup(desk, caller, wish, places, look.known)
    if digests_of(seen) != dict(after):
        raise RollbackError(
            Code.STATE_CHANGED,
            "the configuration changed while the result was being stored; nothing was restored.",
            "try again.",
        )


def _resulting_path(
    look: Look, target_id: str, place: Place, slots: Mapping[str, str], after: Mapping[str, str]
) -> str:
    """Where the resulting tree of a target lies before the exchange; a removed one lies nowhere.

    One that only loses retired scripts has no slot: it is the live one without them.
    """
    if after[target_id] == look.digests[target_id]:
        return place.resolved
    absent = f"{place.resolved}.stravinsky-absent"
    return absent if after[target_id] == ABSENT.digest else slots.get(target_id, place.resolved)
