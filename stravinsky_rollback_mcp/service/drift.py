"""Somebody else changed the configuration since we last knew it: that is an event of its own."""

from collections.abc import Mapping
from dataclasses import replace

from stravinsky_rollback_mcp.core.model import Actor, AuditDraft, Certainty, EventStatus, EventType
from stravinsky_rollback_mcp.service.desk import Caller, Desk, Known, state_of

# The events of Claude Code's hooks that tell of a call that was just made (its documentation of hooks).
_AFTER_A_CALL = frozenset({"PostToolUse", "PostToolUseFailure"})


def record_drift(desk: Desk, caller: Caller, known: Known, digests: Mapping[str, str]) -> None:
    """Record what is live where it is not what was known last; who noticed it stands beside."""
    here = known.timeline.current
    drifted = () if here is None else here.drifted(digests)
    if drifted:
        noticed = caller.actor
        paths = {target.id: desk.shown_target(target) for target in desk.view.targets}
        session = {"noticed_in_session": noticed.session_id} if noticed.session_id else {}
        desk.record(
            AuditDraft(
                event_type=EventType.DRIFT_DETECTED,
                status=EventStatus.SUCCESS,
                actor=changed_by(noticed),
                user_root=desk.view.user_root,
                project=desk.view.project,
                paths=tuple(paths[target] for target in drifted),
                state=state_of(digests),
                details=desk.with_head({"noticed_by": f"{noticed.kind} {noticed.name}".strip(), **session}),
            )
        )


def changed_by(noticed: Actor) -> Actor:
    """Who made a change that somebody noticed: the call that a hook stands behind, by inference; else nobody knows.

    A person or another session may have written at the same time, so it is never more than inferred.
    """
    if noticed.kind == "hook" and noticed.name in _AFTER_A_CALL and noticed.session_id and noticed.tool:
        return replace(noticed, kind="session", name="", certainty=Certainty.INFERRED)
    return Actor(kind="unknown", certainty=Certainty.UNKNOWN)
