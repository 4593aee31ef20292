"""Deciding what a rollback, undo or redo means here: gather, then plan. Nothing is changed."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from stravinsky_rollback_mcp.core import history
from stravinsky_rollback_mcp.core import plan as planning
from stravinsky_rollback_mcp.core.checks.settings_schema import is_dropped
from stravinsky_rollback_mcp.core.codec.trees import ABSENT
from stravinsky_rollback_mcp.core.components import is_settings
from stravinsky_rollback_mcp.core.history import EDITS, NOTHING_KNOWN
from stravinsky_rollback_mcp.core.model import EventType, Finding, Scope, TargetState
from stravinsky_rollback_mcp.core.onset import Onset, onsets_of
from stravinsky_rollback_mcp.core.outcome import Undone
from stravinsky_rollback_mcp.core.plan import Plan, Step
from stravinsky_rollback_mcp.core.security_changes import SettingsChange, security_changes
from stravinsky_rollback_mcp.service.checks import check_target, consent_lines
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.look import Look, live_file, target_of
from stravinsky_rollback_mcp.service.parts import steps_to
from stravinsky_rollback_mcp.service.selectors import goal_of
from stravinsky_rollback_mcp.service.stored import known_file, matching_version, stored_file
from stravinsky_rollback_mcp.service.walk import Stride, stride

_ALWAYS_ASKED = "this restore is to be confirmed: safety.require_manual_confirmation_for_rollback is on"
_CHECKOUT = (
    "HEAD of this project's git repository moved since the state that comes back: what is undone may be a checkout. "
    "If it is, redo, and let git go back instead."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A plan with what the report and the audit say about it; ``level`` is how much a recovery brings back."""

    plan: Plan
    findings: tuple[Finding, ...]
    to_version: str | None
    goal: str = ""
    level: str = ""
    restores: int | None = None
    undone: Undone | None = None
    next_undo: Undone | None = None
    notices: tuple[str, ...] = ()


def intend_rollback(
    desk: Desk,
    look: Look,
    version: str,
    only: tuple[str, ...],
    scope: Scope | None,
    *,
    operation: EventType = EventType.MANUAL_ROLLBACK,
) -> Intent:
    """What bringing back the state that a version or selector names, or part of it, would do."""
    goal = goal_of(desk, look, version)
    steps = steps_to(desk, look, goal, only, scope)
    arguments = {"version": goal.version, "since": goal.since_seq, "only": sorted(only), "scope": scope}
    findings = check_target(desk, look, steps)
    return Intent(
        plan=plan_of(desk, look, operation, steps, arguments, look.known.timeline, goal.since_seq, findings),
        findings=findings,
        to_version=goal.version,
        goal=goal.name,
        notices=(
            *_covered(
                desk,
                look,
                {name: stored.tree.digest for name, (_, stored) in goal.targets.items()},
                {step.target.id for step in steps},
            ),
            *(_of_the_persons(desk, look) if scope is Scope.PROJECT else ()),
        ),
    )


def intend_walk(desk: Desk, look: Look, operation: EventType) -> Intent:
    """What one step back (undo) or forward (redo) along the known states would do."""
    found = stride(desk, look, operation)
    walk = found.walk
    known, since = (found.known, walk.state.seq) if operation is EventType.UNDO else (NOTHING_KNOWN, 0)
    notices = [f"State {name} is no longer in any backup and was passed over." for name in walk.unavailable]
    findings = check_target(desk, look, found.steps)
    return Intent(
        plan=plan_of(desk, look, operation, found.steps, {"state": walk.state.seq}, known, since, findings),
        findings=findings,
        to_version=matching_version(desk, look.known, look.with_state(walk.state.digests)),
        restores=walk.state.seq,
        undone=_undone(desk, walk, operation),
        next_undo=None if walk.next_undo is None else _named(desk, walk.next_undo),
        notices=(*notices, *_checkout(desk, found, operation), *_covered(desk, look, walk.state.digests, look.places)),
    )


def _covered(desk: Desk, look: Look, digests: Mapping[str, str], among: Container[str]) -> tuple[str, ...]:
    """The targets that a state had for themselves and that are one with another by now, which is among some."""
    links = {name: place.same_as for name, place in look.places.items() if place.same_as is not None}
    return tuple(
        f"{desk.shown_target(target_of(desk, name))} is a link to what {desk.shown_target(target_of(desk, other))} is: "
        "it stays one, and what it held by itself in that state does not come back."
        for name, other in links.items()
        if other in among and digests.get(name, "") not in ("", ABSENT.digest, digests.get(other))
    )


def _of_the_persons(desk: Desk, look: Look) -> tuple[str, ...]:
    """The project's targets that do not come back with the project, because they are the person's."""
    others = {name: place.same_as for name, place in look.places.items() if place.same_as is not None}
    return tuple(
        f"{desk.shown_target(target_of(desk, name))} is what {desk.shown_target(target_of(desk, other))} is, so it "
        "belongs to the user scope and is left as it is."
        for name, other in others.items()
        if target_of(desk, other).scope is Scope.USER
    )


def _checkout(desk: Desk, found: Stride, operation: EventType) -> tuple[str, ...]:
    """Whether what undo takes back may be a checkout of git's: its HEAD moved since the state that comes back."""
    walk = found.walk
    is_of_project = any(step.is_change and step.target.scope is Scope.PROJECT for step in found.steps)
    if operation is not EventType.UNDO or not is_of_project:
        return ()
    was = walk.state.git_head
    now = desk.git_head() if walk.taken_back is None else walk.taken_back.git_head
    is_edit = walk.taken_back is None or walk.taken_back.event_type in EDITS
    if not is_edit or not was or not now or was == now:
        return ()
    return (_CHECKOUT,)


def _named(desk: Desk, state: history.KnownState) -> Undone:
    other = None if state.project == desk.view.project else desk.shown(state.project or desk.view.user_root)
    return Undone(operation=_name_of(state), at=state.timestamp, project=other)


def _undone(desk: Desk, walk: history.Walk, operation: EventType) -> Undone:
    if operation is EventType.REDO:
        return _named(desk, walk.state)
    if walk.taken_back is None:
        return Undone(operation="edit", at=desk.now(), project=None)
    return _named(desk, walk.taken_back)


def _name_of(state: history.KnownState) -> str:
    """What made a state, in one word: an operation of ours, or an edit that a backup or a later look found."""
    return "edit" if state.event_type in EDITS else state.event_type.value.lower()


def _foreign_lines(desk: Desk, steps: Iterable[Step], known: history.Timeline, since_seq: int) -> tuple[str, ...]:
    """One line for each other project whose session changed what these steps take back."""
    wanted = {
        step.target.id: step.desired.digest for step in steps if step.is_change and step.target.scope is Scope.USER
    }
    states = history.foreign_changes(known, wanted, since_seq=since_seq, project=desk.view.project)
    lines = {
        f"takes back a change to the user scope made from {desk.shown(state.project or desk.view.user_root)}"
        f" at {state.timestamp}"
        for state in states
    }
    return tuple(sorted(lines))


def plan_of(
    desk: Desk,
    look: Look,
    operation: EventType,
    steps: tuple[Step, ...],
    arguments: Mapping[str, object],
    known: history.Timeline,
    since_seq: int,
    findings: tuple[Finding, ...],
) -> Plan:
    """The plan of some steps; what other projects did after ``since_seq`` is asked about."""
    settings = {step.target.id: settings_change(desk, look, step) for step in steps if changes_settings(step)}
    lines = security_changes(tuple(settings.values()))
    foreign = _foreign_lines(desk, steps, known, since_seq)
    broken = consent_lines(desk, look, findings)
    asked = (_ALWAYS_ASKED,) if desk.config.policy.safety.require_manual_confirmation_for_rollback else ()
    onsets = {step.target.id: _onsets(step, settings.get(step.target.id)) for step in steps}
    return planning.plan(operation, steps, desk.view, arguments, (*lines, *broken, *foreign, *asked), onsets)


def _onsets(step: Step, change: SettingsChange | None) -> tuple[Onset, ...]:
    before, after = (None, None) if change is None else (change.before, change.after)
    return onsets_of(step.target.component, before, after)


def changes_settings(step: Step) -> bool:
    """Whether a step changes a settings file."""
    return is_settings(step.target) and step.is_change


def settings_change(desk: Desk, look: Look, step: Step) -> SettingsChange:
    """A settings file before and after a step."""
    after = step.content
    if after is None and step.desired.state is TargetState.PRESENT:
        after = stored_file(desk, step.version, step.stored)
    if is_dropped(after):
        after = None  # Claude Code would load nothing of it, its deny rules included
    before = live_file(desk, look, step.target.id)
    here = look.known.timeline.current
    digest = "" if here is None else here.digests.get(step.target.id, "")
    known = None if digest == step.live.digest else known_file(desk, look.known, step.target.id, digest)
    return SettingsChange(path=desk.shown_target(step.target), before=before, known=known, after=after)
