"""Keeping the store within its limits: room is asked for before a backup is made, the old go after it was made."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core import history, retention
from stravinsky_rollback_mcp.core.model import (
    AuditDraft,
    AuditRecord,
    BackupKind,
    EventStatus,
    EventType,
    Kind,
    MadeBy,
    Scope,
    Target,
)
from stravinsky_rollback_mcp.core.names import plural
from stravinsky_rollback_mcp.core.policy import BackupPolicy
from stravinsky_rollback_mcp.core.retention import (
    UNDO_STEPS,
    Decision,
    Held,
    Owner,
    Reason,
    Stored,
    Verdict,
    longest_gap_seconds,
)
from stravinsky_rollback_mcp.core.times import DAY_SECONDS, seconds_between
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Caller, Desk, Known
from stravinsky_rollback_mcp.service.latest import let_go
from stravinsky_rollback_mcp.service.quarantine import put_aside_damaged
from stravinsky_rollback_mcp.service.stored import creation_of, recorded, recorded_digests


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What retention removed, and what it could not."""

    versions: tuple[str, ...]
    warnings: tuple[str, ...]


# -- deciding -------------------------------------------------------------------------------------------------------


def stored_backups(desk: Desk, known: Known) -> list[Stored]:
    """Every backup of which the audit knows, as retention sees it, by one look into the folder of each."""
    needed = in_use(desk)
    return [stored_backup(desk, version, record, needed) for version, record in known.backups.items()]


def stored_backup(desk: Desk, version: str, record: AuditRecord, needed: frozenset[str]) -> Stored:
    """One backup as retention sees it; ``needed`` are the versions that are in use."""
    owner = (record.draft.user_root, record.draft.project)
    creation = creation_of(desk, version, record)
    found = desk.store.shelf.look(version)
    if creation is None:
        sequence = recorded(record, "sequence")
        return Stored(
            version=version,
            sequence=sequence if isinstance(sequence, int) else record.seq,
            kind=BackupKind.MANUAL,
            made_by=MadeBy.TERMINAL,
            owner=owner,
            created_at=record.timestamp,
            holds=retention.holds_of(owner, recorded_digests(record)),
            pieces=found.pieces,
            is_intact=False,
            is_pinned=found.is_pinned,
            is_in_use=version in needed,
        )
    return Stored(
        version=version,
        sequence=creation.sequence,
        kind=creation.kind,
        made_by=creation.made_by,
        owner=owner,
        created_at=creation.created_at,
        holds=retention.holds_of(owner, creation.digests),
        pieces=found.pieces,
        # Not only what is damaged: one that cannot be read, or is of a newer program, is no last good backup either.
        is_intact=desk.store.shelf.is_as_recorded(found, creation.manifest_sha256, creation.archives),
        is_pinned=found.is_pinned,
        is_in_use=version in needed,
    )


def in_use(desk: Desk) -> frozenset[str]:
    """The backups that an unfinished operation or an open update names. Raises ``needs_attention``."""
    names: set[object] = {update.backup for update in desk.updates.read()}
    journal = desk.journal.read()
    for unfinished in (*desk.journal.parked().values(), *(() if journal is None else (journal,))):
        outcome = unfinished.outcome
        names |= {outcome.version, outcome.previous_version, (outcome.details or {}).get("safety_backup")}
    return frozenset(name for name in names if isinstance(name, str))


def verdict_on(
    desk: Desk, known: Known, backups: Sequence[Stored], policy: BackupPolicy, evictor: MadeBy, *, steps_ahead: int = 0
) -> Verdict:
    """What becomes of these backups; what undo may ask for is only looked up where anything would go.

    With ``steps_ahead`` so many steps of undo are still to come, and count among those that are kept possible.
    """
    now = desk.now()
    first = retention.decide(backups, policy, now=now, reach=frozenset(), evictor=evictor)
    if not first.removed:
        return first
    reach = within_undo(desk, known, backups, steps_ahead=steps_ahead)
    return retention.decide(backups, policy, now=now, reach=reach, evictor=evictor)


def within_undo(desk: Desk, known: Known, backups: Iterable[Stored], *, steps_ahead: int = 0) -> frozenset[Held]:
    """The trees that undo and redo may ask for, in every view that the store knows."""
    held = frozenset(tree for backup in backups if backup.is_intact for tree in backup.holds)
    by_owner: dict[Owner, set[str]] = {}
    for record in known.backups.values():
        by_owner.setdefault((record.draft.user_root, record.draft.project), set()).update(recorded_digests(record))
    needed: set[Held] = set()
    for owner, target_ids in by_owner.items():
        timeline = _timeline_of(desk, owner, target_ids)
        needed |= retention.within_undo(timeline, owner, held, UNDO_STEPS - steps_ahead)
    return frozenset(needed)


def _timeline_of(desk: Desk, owner: Owner, target_ids: Iterable[str]) -> history.Timeline:
    """The history of any view, whose targets matter by their ids alone."""
    user_root, project = owner
    named = (target_id.partition(".") for target_id in sorted(target_ids))
    targets = tuple(
        Target(scope=Scope(scope), component=component, kind=Kind.FILE, path="") for scope, _, component in named
    )
    view = replace(desk.view, user_root=user_root, project=project, targets=targets)
    return history.timeline(desk.audit.history(user_root, project), view)


# -- before and after a creation ------------------------------------------------------------------------------------


def room_for(desk: Desk, known: Known, backups: Sequence[Stored], kind: BackupKind, made_by: MadeBy) -> Verdict:
    """What would become of these if one more backup of this view were made, as small as can be."""
    new = Stored(
        version="",
        sequence=max((backup.sequence for backup in backups), default=0) + 1,
        kind=kind,
        made_by=made_by,
        owner=(desk.view.user_root, desk.view.project),
        created_at=desk.now(),
        holds=frozenset(),
        pieces={},
    )
    # The new state will be one more step.
    return verdict_on(desk, known, [*backups, new], desk.config.policy.backup, made_by, steps_ahead=1)


def require_room(desk: Desk, known: Known, backups: Sequence[Stored], kind: BackupKind, made_by: MadeBy) -> None:
    """Refuse a backup that would go beyond the limits whatever may be removed for it (``quota``)."""
    exceeded = room_for(desk, known, backups, kind, made_by).exceeded
    if Reason.MAX_TOTAL_SIZE in exceeded:
        raise RollbackError(
            Code.QUOTA,
            f"the store is as large as {Reason.MAX_TOTAL_SIZE} allows, and nothing may be removed for another backup.",
            "in a terminal: look with `backup cleanup --dry-run`, then unpin or forget some, or raise that limit.",
        )
    if exceeded:
        raise RollbackError(
            Code.QUOTA,
            f"{exceeded[0]} is reached, and what would have to go was made by a person.",
            "leave the name out, or ask the person to make room in a terminal: `backup cleanup`, `backup forget`.",
        )


def prune(desk: Desk, caller: Caller, fresh: str, others: Sequence[Stored]) -> Pruned:
    """Remove what the limits call for now that the backup ``fresh`` exists; what fails is left to the next time.

    ``others`` are those that there were before, under the same lock.

    In each view that loses one, the newest backup is read back first: the last good one never goes.
    """
    removed: list[str] = []
    try:
        verdict, known = _verified_verdict(desk, caller, fresh, others)
        for decision in reversed(verdict.decisions):
            if not decision.is_kept:
                remove(desk, caller, known, decision)
                removed.append(decision.version)
        doubted = _clock_in_doubt(desk, verdict, others)
    except RollbackError as error:
        trouble = f"Old backups could not all be removed ({error.code}: {desk.told(error.message)})"
        return Pruned(versions=tuple(removed), warnings=(f"{trouble}; the next backup tries again.",))
    return Pruned(versions=tuple(removed), warnings=doubted)


def _clock_in_doubt(desk: Desk, verdict: Verdict, others: Sequence[Stored]) -> tuple[str, ...]:
    """Said once, with the backup behind the jump: what only the clock calls old is kept."""
    doubted = sum(1 for item in verdict.decisions if item.reason is Reason.CLOCK_IN_DOUBT)
    if not doubted or not others:
        return ()
    passed = seconds_between(max(others, key=lambda item: item.sequence).created_at, desk.now())
    if passed <= longest_gap_seconds(desk.config.policy.backup.retention_days):
        return ()
    jump = f"By the clock {plural(int(passed // DAY_SECONDS), 'day')} passed since the backup before this one."
    return (f"{jump} In case it is wrong, {plural(doubted, 'backup')} stay that it calls too old.",)


def _verified_verdict(desk: Desk, caller: Caller, fresh: str, others: Sequence[Stored]) -> tuple[Verdict, Known]:
    verified = {fresh}
    known = desk.known()
    backups = [*others, stored_backup(desk, fresh, known.backups[fresh], frozenset())]
    while True:
        verdict = verdict_on(desk, known, backups, desk.config.policy.backup, caller.made_by)
        losing = {backup.owner for backup in backups if backup.version in verdict.removed}
        ordered = sorted(backups, key=lambda backup: backup.sequence)
        newest = {backup.owner: backup.version for backup in ordered if backup.is_intact and backup.owner in losing}
        unsure = [version for version in newest.values() if version not in verified]
        verified.update(unsure)
        aside = put_aside_damaged(desk, caller, known, unsure)
        if not aside:
            return verdict, known
        known = desk.known()
        backups = [backup for backup in backups if backup.version not in aside]


def remove(desk: Desk, caller: Caller, known: Known, decision: Decision) -> None:
    """Remove one backup as decided. The audit hears of it first: a crash may leave a record, never a silent gap."""
    draft = _pruned(caller, known.backups[decision.version], decision)
    desk.record(draft)
    let_go(desk, decision.version)
    try:
        desk.store.remove(decision.version)
    except RollbackError as error:
        desk.record(replace(draft, status=EventStatus.FAILED, error=error.code))
        raise


def _pruned(caller: Caller, record: AuditRecord, decision: Decision) -> AuditDraft:
    details: Mapping[str, object] = {
        "reason": decision.reason.value,
        "manifest_sha256": recorded(record, "manifest_sha256"),
    }
    return AuditDraft(
        event_type=EventType.PRUNED,
        status=EventStatus.SUCCESS,
        actor=caller.actor,
        user_root=record.draft.user_root,
        project=record.draft.project,
        version=decision.version,
        details=details,
    )
