"""What a person does to the store by hand, in a terminal alone: pin, unpin, clean up."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.model import AuditDraft, AuditRecord, EventStatus, EventType, MadeBy
from stravinsky_rollback_mcp.core.names import plural
from stravinsky_rollback_mcp.core.outcome_keeping import CleanedUp, Fate, Pinning
from stravinsky_rollback_mcp.core.retention import Stored, Verdict
from stravinsky_rollback_mcp.disk.store import Proven
from stravinsky_rollback_mcp.service.desk import Caller, Desk, Known
from stravinsky_rollback_mcp.service.quarantine import damage_found, put_aside
from stravinsky_rollback_mcp.service.retention import remove, stored_backups, verdict_on
from stravinsky_rollback_mcp.service.stored import not_found, open_authentic

# -- pins -----------------------------------------------------------------------------------------------------------


def pin(desk: Desk, caller: Caller, version: str) -> Pinning:
    """Keep a backup whatever the retention rules say."""
    with desk.writing(caller) as notices:
        open_authentic(desk, desk.known(), version)
        return _pinning(desk, caller, version, notices, wanted=True)


def unpin(desk: Desk, caller: Caller, version: str) -> Pinning:
    """Let the retention rules hold for a backup again."""
    with desk.writing(caller) as notices:
        known = desk.known()
        if version not in known.backups:
            raise not_found(desk, known, version)
        return _pinning(desk, caller, version, notices, wanted=False)


def _pinning(desk: Desk, caller: Caller, version: str, notices: tuple[str, ...], *, wanted: bool) -> Pinning:
    is_new = desk.store.is_pinned(version) is not wanted
    if is_new:
        event_type = EventType.PINNED if wanted else EventType.UNPINNED
        desk.record(draft_about(desk, caller, desk.known().backups[version], event_type, version, {}))
        (desk.store.pin if wanted else desk.store.unpin)(version)
    state = "pinned: no limit removes it" if wanted else "not pinned: the limits hold for it"
    return Pinning(
        summary=f"Backup {version} is {'now' if is_new else 'already'} {state}.",
        next_step="",
        notices=notices,
        version=version,
        pinned=wanted,
        audit=desk.audit.anchor(),
    )


def draft_about(
    desk: Desk,
    caller: Caller,
    record: AuditRecord | None,
    event_type: EventType,
    version: str,
    details: Mapping[str, object],
) -> AuditDraft:
    """A record about a backup, in the view that the backup is of."""
    return AuditDraft(
        event_type=event_type,
        status=EventStatus.SUCCESS,
        actor=caller.actor,
        user_root=desk.view.user_root if record is None else record.draft.user_root,
        project=desk.view.project if record is None else record.draft.project,
        version=version,
        details=details or None,
    )


# -- cleaning up ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What a cleanup would do: ``damaged`` backups with their problems, and the verdict on the others."""

    known: Known
    backups: list[Stored]
    damaged: Mapping[str, tuple[str, ...]]
    verdict: Verdict


def cleanup(desk: Desk, caller: Caller, keep: int | None, agreed: frozenset[str] | None) -> CleanedUp:
    """Read every backup back, put the damaged aside, and remove what the limits call for.

    ``keep`` stands for both limits of number this once. Only backups in ``agreed`` go; without it nothing is done.
    """
    if agreed is None:
        return _told(desk, _plan(desk, keep), None, ())
    with desk.writing(caller) as notices:
        plan = _plan(desk, keep)
        for version, problems in plan.damaged.items():
            put_aside(desk, caller, plan.known, version, problems)
        for decision in reversed(plan.verdict.decisions):
            if decision.version in agreed and not decision.is_kept:
                remove(desk, caller, plan.known, decision)
        return _told(desk, plan, agreed, notices)


def _plan(desk: Desk, keep: int | None) -> _Plan:
    known = desk.known()
    proven: Proven = set()
    found = {version: damage_found(desk, known, version, proven=proven) for version in known.backups}
    damaged = {version: problems for version, problems in found.items() if problems}
    stored = stored_backups(desk, known)
    backups = [replace(item, is_intact=item.is_intact and item.version not in damaged) for item in stored]
    policy = desk.config.policy.backup
    if keep is not None:
        policy = replace(policy, max_versions=keep, max_automatic=keep)
    verdict = verdict_on(desk, known, backups, policy, MadeBy.TERMINAL)
    return _Plan(known=known, backups=backups, damaged=damaged, verdict=verdict)


def _told(desk: Desk, plan: _Plan, agreed: frozenset[str] | None, notices: tuple[str, ...]) -> CleanedUp:
    removed = {version for version in plan.verdict.removed if agreed is None or version in agreed}
    fates = [
        Fate(version=item.version, action="remove" if item.version in removed else "keep", reason=item.reason)
        if item.version not in plan.damaged
        else Fate(version=item.version, action="quarantine", reason=desk.told(plan.damaged[item.version][0]))
        for item in plan.verdict.decisions
    ]
    strange = (*((name, "not_in_audit") for name in plan.known.unrecorded),)
    aside = (*((name, "quarantined") for name in sorted(plan.known.quarantined)),)
    fates.extend(Fate(version=version, action="keep", reason=reason) for version, reason in (*strange, *aside))
    left = {piece for item in plan.backups if item.version not in removed for piece in item.pieces}
    gone = {piece: size for item in plan.backups for piece, size in item.pieces.items() if piece not in left}
    would = "" if agreed is not None else "would be "
    done = f"{plural(len(removed), 'backup')} {would}removed" if removed else f"No backup {would or 'was '}removed"
    if plan.damaged:
        done += f", {len(plan.damaged)} damaged {would}put into quarantine"
    return CleanedUp(
        summary=f"{done}; {len(fates) - len(removed)} stay.",
        next_step="",
        notices=notices,
        applied=agreed is not None,
        backups=tuple(fates),
        freed_bytes=sum(gone.values()),
        audit=desk.audit.anchor(),
    )
