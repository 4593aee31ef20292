"""Deciding what a rollback, undo or redo means here: gather, then plan. Nothing is changed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core import history
from stravinsky_rollback_mcp.core import plan as planning
from stravinsky_rollback_mcp.core.components import is_settings
from stravinsky_rollback_mcp.core.history import EDITS, NOTHING_KNOWN
from stravinsky_rollback_mcp.core.model import EventType, Scope, Target, TargetState
from stravinsky_rollback_mcp.core.outcome import Undone
from stravinsky_rollback_mcp.core.plan import Plan, Step
from stravinsky_rollback_mcp.core.security_changes import SettingsChange, security_changes
from stravinsky_rollback_mcp.core.selection import Part, parts_of
from stravinsky_rollback_mcp.disk.content import read_file
from stravinsky_rollback_mcp.disk.store import Opened
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.look import Look, steps_of
from stravinsky_rollback_mcp.service.selectors import Goal, goal_of
from stravinsky_rollback_mcp.service.stored import known_file, matching_version, stored_file
from stravinsky_rollback_mcp.service.walk import Stride, stride

_CHECKOUT = (
    "HEAD of this project's git repository moved since the state that comes back: what is undone may be a checkout. "
    "If it is, redo, and let git go back instead."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A plan with what the report and the audit say about it."""

    plan: Plan
    to_version: str | None
    goal: str = ""
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
    steps = _steps_to(desk, look, goal, only, scope)
    arguments = {"version": goal.version, "since": goal.since_seq, "only": sorted(only), "scope": scope}
    return Intent(
        plan=_plan(desk, look, operation, steps, arguments, look.known.timeline, goal.since_seq),
        to_version=goal.version,
        goal=goal.name,
    )


def intend_walk(desk: Desk, look: Look, operation: EventType) -> Intent:
    """What one step back (undo) or forward (redo) along the known states would do."""
    found = stride(desk, look, operation)
    walk = found.walk
    known, since = (found.known, walk.state.seq) if operation is EventType.UNDO else (NOTHING_KNOWN, 0)
    notices = [f"State {name} is no longer in any backup and was passed over." for name in walk.unavailable]
    return Intent(
        plan=_plan(desk, look, operation, found.steps, {"state": walk.state.seq}, known, since),
        to_version=matching_version(desk, look.known, look.with_state(walk.state.digests)),
        restores=walk.state.seq,
        undone=_undone(desk, walk, operation),
        next_undo=None if walk.next_undo is None else _named(desk, walk.next_undo),
        notices=(*notices, *_checkout(desk, found, operation)),
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


def _steps_to(desk: Desk, look: Look, goal: Goal, only: tuple[str, ...], scope: Scope | None) -> tuple[Step, ...]:
    if goal.opened is not None:
        _require_same_place(desk, goal.opened, scope)
    recorded = {
        target_id: (version, stored)
        for target_id, (version, stored) in goal.targets.items()
        if target_id in look.seen
        and stored.tree.state is not TargetState.NOT_RECORDED
        and (scope is None or stored.scope is scope)
    }

    def exists(part: Part) -> bool:
        stored = recorded.get(part.target.id)
        trees = [look.seen[part.target.id].tree] + ([] if stored is None else [stored[1].tree])
        return any(entry.path == part.path for tree in trees for entry in tree.entries)

    chosen: dict[str, list[str] | None] = {}
    for part in _parts(desk, goal.name, only, scope, exists):
        if part.target.id not in recorded:
            raise _excluded(desk, goal.name, part.target)
        if part.path and not exists(part):
            raise RollbackError(
                Code.NOT_FOUND,
                f"{desk.shown(f'{part.target.path}/{part.path}')} is neither live nor in {goal.name}.",
                "see list_backups with `path`.",
            )
        below = chosen.setdefault(part.target.id, [])
        if below is not None:
            below.append(part.path)
    if not only:
        chosen = dict.fromkeys(recorded)
    return steps_of(desk, look, recorded, chosen, chosen)


def _parts(
    desk: Desk, name: str, only: tuple[str, ...], scope: Scope | None, exists: Callable[[Part], bool]
) -> tuple[Part, ...]:
    """What `only` names within the scope."""
    inside = tuple(target for target in desk.view.targets if scope is None or target.scope is scope)
    try:
        return parts_of(only, replace(desk.view, targets=inside), exists)
    except RollbackError as error:
        if scope is None or error.code is not Code.NOT_FOUND:
            raise
        parts_of(only, desk.view, exists)  # raises again where the path is nowhere at all
        raise _excluded(desk, name) from error


def _excluded(desk: Desk, name: str, target: Target | None = None) -> RollbackError:
    what = "a path that `scope` excludes" if target is None else desk.shown_target(target)
    return RollbackError(
        Code.SCOPE_MISMATCH, f"{name} cannot bring back {what}.", "choose another path, scope or version."
    )


def _require_same_place(desk: Desk, opened: Opened, scope: Scope | None) -> None:
    """A backup goes back to where it was taken, never to another project or person."""
    manifest = opened.manifest
    if manifest.user_root != desk.view.user_root and scope is not Scope.PROJECT:
        raise RollbackError(
            Code.SCOPE_MISMATCH,
            f"backup {manifest.version} is of another user root, {desk.shown(manifest.user_root)}.",
            "set CLAUDE_CONFIG_DIR to that folder, or choose another backup.",
        )
    has_project = any(target.scope is Scope.PROJECT for target in manifest.targets)
    is_other = manifest.project != desk.view.project
    if (has_project and is_other and scope is not Scope.USER) or (scope is Scope.PROJECT and not has_project):
        where = "no project" if manifest.project is None else desk.shown(manifest.project)
        raise RollbackError(
            Code.SCOPE_MISMATCH,
            f"backup {manifest.version} is of {where}, not of this project.",
            "call again with scope `user` for the user scope alone, or go to that project.",
        )


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


def _plan(
    desk: Desk,
    look: Look,
    operation: EventType,
    steps: tuple[Step, ...],
    arguments: Mapping[str, object],
    known: history.Timeline,
    since_seq: int,
) -> Plan:
    lines = security_changes([_settings_change(desk, look, step) for step in steps if _changes_settings(step)])
    foreign = _foreign_lines(desk, steps, known, since_seq)
    return planning.plan(operation, steps, desk.view, arguments, (*lines, *foreign))


def _changes_settings(step: Step) -> bool:
    return is_settings(step.target) and step.is_change


def _settings_change(desk: Desk, look: Look, step: Step) -> SettingsChange:
    after = None
    if step.desired.state is TargetState.PRESENT:
        after = stored_file(desk, step.version, step.stored)
    before = None
    if step.live.state is TargetState.PRESENT:
        before = read_file(look.places[step.target.id].resolved, desk.config.limits.max_file_size_bytes)
    here = look.known.timeline.current
    digest = "" if here is None else here.digests.get(step.target.id, "")
    known = None if digest == step.live.digest else known_file(desk, look.known, step.target.id, digest)
    return SettingsChange(path=desk.shown_target(step.target), before=before, known=known, after=after)
