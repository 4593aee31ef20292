"""What a restore tells: what was done or would be, what takes it back, and what to mind."""

import time
from collections.abc import Mapping

from stravinsky_rollback_mcp.core import plan as planning
from stravinsky_rollback_mcp.core.model import EventType, TargetState
from stravinsky_rollback_mcp.core.names import capped, leads_out, shown
from stravinsky_rollback_mcp.core.onset import where_to_look
from stravinsky_rollback_mcp.core.outcome import Restored, Undone
from stravinsky_rollback_mcp.core.plan import Plan
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.intent import Intent
from stravinsky_rollback_mcp.service.look import Look
from stravinsky_rollback_mcp.service.stored import matching_version, recorded


def report(
    desk: Desk,
    look: Look,
    intent: Intent,
    started: float,
    *,
    safety: str | None = None,
    atomicity: Mapping[str, str] | None = None,
) -> Restored:
    """The outcome of a restore, or of a look at one; ``atomicity`` by target id when it was applied."""
    plan = intent.plan
    changes = tuple(
        planning.change(step, desk.view.home, plan.onsets[step.target.id], (atomicity or {}).get(step.target.id))
        for step in plan.steps
        if step.is_change or step.live.state is TargetState.PRESENT
    )
    applied = atomicity is not None
    return Restored(
        summary=_summary(intent, applied=applied),
        next_step=_next_step(intent, applied=applied, is_kept=safety is not None),
        notices=intent.notices,
        applied=applied,
        already_at_target=not plan.changes,
        plan_id=plan.plan_id,
        from_version=matching_version(desk, look.known, look.digests),
        to_version=intent.to_version,
        safety_backup=safety,
        changes=changes,
        security_changes=plan.security_changes,
        findings=intent.findings,
        warnings=_restore_warnings(desk, look, plan),
        duration_ms=round((time.monotonic() - started) * 1000),
        audit=desk.audit.anchor(),
        undo="Call `undo`, or type `stravinsky-rollback undo`." if safety is not None else "",
        undone=intent.undone,
    )


def _summary(intent: Intent, *, applied: bool) -> str:
    plan = intent.plan
    if not plan.changes:
        return "Everything is already as it was asked to be; nothing was changed."
    names = ", ".join(
        f"{'' if step.content is None else 'keys of '}{step.target.scope} {step.target.component}"
        for step in plan.changes
    )
    done = "Restored" if applied else "Would restore"
    if intent.undone is None:
        return f"{done} {names} to {intent.goal}."
    verb = {EventType.UNDO: "takes back", EventType.REDO: "brings again"}[plan.operation]
    further = " Nothing further could be undone then."
    if intent.next_undo is not None:
        further = f" The next undo would take back {_told(intent.next_undo)}."
    return f"{done} {names}: this {verb} {_told(intent.undone)}.{further}"


def _told(undone: Undone) -> str:
    what = undone.operation.lower().removeprefix("manual_").removesuffix("_success").replace("_", " ")
    place = "" if undone.project is None else f", made from {undone.project}"
    return f"the {what} of {undone.at}{place}"


def _next_step(intent: Intent, *, applied: bool, is_kept: bool) -> str:
    if not intent.plan.changes:
        return ""
    if applied:
        onsets = [onset for step in intent.plan.changes for onset in intent.plan.onsets[step.target.id]]
        return f"{where_to_look(onsets)}{' `undo` takes this back.' if is_kept else ''}"
    if intent.plan.security_changes:
        return "Show security_changes to the person; if they agree, call again with plan_id and accept."
    return "To do exactly this, call again without dry_run and with this plan_id."


def _restore_warnings(desk: Desk, look: Look, plan: Plan) -> tuple[str, ...]:
    lines = [
        f"{desk.shown_target(step.target)}/{shown(name, '')} stays: settings that are not restored still name it."
        for step in plan.steps
        for name in step.stays
    ]
    lines.extend(
        f"No chain vouches for what backup {version} held before the audit was begun anew."
        for version in sorted({step.version for step in plan.changes if step.from_backup})
        if recorded(look.known.record_of(version), "unanchored") is True
    )
    for step in plan.changes:
        path = desk.shown_target(step.target)
        lines.extend(
            f"{path}/{shown(item.path, '')} ({item.reason}) is in no backup and stays as it is."
            for item in step.carried
        )
        lines.extend(
            f"{path}/{shown(entry.path, '')} is a link that leads outside; what lies there is not restored."
            for entry in step.desired.entries
            if entry.link and leads_out(entry.path, entry.link)
        )
        replaced = {entry.path for entry in step.live.entries} - {entry.path for entry in step.kept}
        lines.extend(
            f"{_joined(path, name)} has another name (hard link), which keeps what it holds."
            for name in look.seen[step.target.id].hard_linked
            if name in replaced
        )
    return capped(lines)


def _joined(path: str, name: str) -> str:
    return f"{path}/{shown(name, '')}" if name else path
