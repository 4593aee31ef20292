"""Deciding what a rollback, undo or redo means here: gather, then plan. Nothing is changed."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core import history
from stravinsky_rollback_mcp.core import plan as planning
from stravinsky_rollback_mcp.core.codec.trees import ABSENT
from stravinsky_rollback_mcp.core.components import is_settings
from stravinsky_rollback_mcp.core.model import EventType, Kind, Scope, StoredTarget, Target, TargetState
from stravinsky_rollback_mcp.core.outcome import Undone
from stravinsky_rollback_mcp.core.plan import Named, Plan, Step
from stravinsky_rollback_mcp.core.scripts import Roots, named_scripts
from stravinsky_rollback_mcp.core.security_changes import SettingsChange, security_changes
from stravinsky_rollback_mcp.core.selection import Part, parts_of
from stravinsky_rollback_mcp.core.settings import MAX_SETTINGS_BYTES
from stravinsky_rollback_mcp.disk import archive
from stravinsky_rollback_mcp.disk.content import read_file
from stravinsky_rollback_mcp.disk.scan import Place
from stravinsky_rollback_mcp.disk.store import Opened
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.look import Look
from stravinsky_rollback_mcp.service.stored import held_pairs, holder_of, matching_version, open_authentic


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A plan with what the report and the audit say about it."""

    plan: Plan
    to_version: str | None
    restores: int | None = None
    undone: Undone | None = None
    next_undo: Undone | None = None
    notices: tuple[str, ...] = ()


def intend_rollback(desk: Desk, look: Look, version: str, only: tuple[str, ...], scope: Scope | None) -> Intent:
    """What bringing back a backup, or part of it, would do."""
    opened = open_authentic(desk, look.known, version)
    steps = _steps_to(desk, look, opened, only, scope)
    sequence = look.known.backups[version].seq
    since = tuple(state for state in look.known.timeline.states if state.seq > sequence)
    arguments = {"version": version, "only": sorted(only), "scope": scope}
    return Intent(
        plan=_plan(desk, look, EventType.MANUAL_ROLLBACK, steps, arguments, _foreign_lines(desk, steps, since)),
        to_version=version,
    )


def intend_walk(desk: Desk, look: Look, operation: EventType) -> Intent:
    """What one step back (undo) or forward (redo) along the known states would do."""
    move = history.undo if operation is EventType.UNDO else history.redo
    known = look.known.timeline
    held = held_pairs(desk, look.known)
    while True:
        walk = move(known, look.digests, held, desk.view.project)
        sources = _sources(desk, look, walk.state)
        lost = {(target, walk.state.digests[target]) for target, source in sources.items() if source is None}
        if lost:
            held -= lost  # damaged is as good as gone: history passes it over, or says so
            continue
        scripts = _scripts(desk, look, walk.state.digests)
        steps = tuple(
            planning.step(_target(desk, target), look.seen[target].tree, *source, None, scripts[target])
            for target, source in sources.items()
            if source is not None
        )
        if any(step.is_change for step in steps):
            break
        # All that differs is what no backup holds and what has to stay: we are there, and go on from there.
        known = history.arrived(known, walk.state, look.digests)
    return Intent(
        plan=_plan(desk, look, operation, steps, {"state": walk.state.seq}, _foreign_lines(desk, steps, walk.foreign)),
        to_version=matching_version(desk, look.known, {**look.digests, **walk.state.digests}),
        restores=walk.state.seq,
        undone=_undone(desk, walk, operation),
        next_undo=None if walk.next_undo is None else _named(walk.next_undo),
        notices=tuple(f"State {name} is no longer in any backup and was passed over." for name in walk.unavailable),
    )


def _sources(desk: Desk, look: Look, state: history.KnownState) -> dict[str, tuple[str, StoredTarget] | None]:
    """Where the targets that differ from a state can be had from, None where no intact backup holds them."""
    drifted = _in_order(desk, state.drifted(look.digests))
    return {target_id: _stored(desk, look, target_id, state.digests[target_id]) for target_id in drifted}


def _named(state: history.KnownState) -> Undone:
    return Undone(operation=_name_of(state), at=state.timestamp)


def _undone(desk: Desk, walk: history.Walk, operation: EventType) -> Undone:
    if operation is EventType.REDO:
        return _named(walk.state)
    if walk.taken_back is None:
        return Undone(operation="edit", at=desk.now())
    return _named(walk.taken_back)


def _name_of(state: history.KnownState) -> str:
    """What made a state, in one word: an operation of ours, or an edit that a backup or a later look found."""
    is_edit = state.event_type in (EventType.BACKUP_CREATED, EventType.DRIFT_DETECTED)
    return "edit" if is_edit else state.event_type.value.lower()


def _target(desk: Desk, target_id: str) -> Target:
    return next(target for target in desk.view.targets if target.id == target_id)


def _in_order(desk: Desk, target_ids: Iterable[str]) -> list[str]:
    """Script trees before settings, as the table of components has them."""
    wanted = set(target_ids)
    ordered = sorted(desk.view.targets, key=lambda target: target.kind is Kind.FILE)
    return [target.id for target in ordered if target.id in wanted]


def _steps_to(desk: Desk, look: Look, opened: Opened, only: tuple[str, ...], scope: Scope | None) -> tuple[Step, ...]:
    manifest = opened.manifest
    _require_same_place(desk, opened, scope)
    recorded = {
        stored.id: stored
        for stored in manifest.targets
        if stored.id in look.seen
        and stored.tree.state is not TargetState.NOT_RECORDED
        and (scope is None or stored.scope is scope)
    }

    def exists(part: Part) -> bool:
        stored = recorded.get(part.target.id)
        trees = [look.seen[part.target.id].tree] + ([] if stored is None else [stored.tree])
        return any(entry.path == part.path for tree in trees for entry in tree.entries)

    parts = _parts(desk, manifest.version, only, scope, exists)
    chosen: dict[str, list[str] | None] = {}
    for part in parts:
        if part.target.id not in recorded:
            raise _excluded(desk, manifest.version, part.target)
        if part.path and not exists(part):
            raise RollbackError(
                Code.NOT_FOUND,
                f"{desk.shown(f'{part.target.path}/{part.path}')} is neither live nor in backup {manifest.version}.",
                "see list_backups with `path`.",
            )
        below = chosen.setdefault(part.target.id, [])
        if below is not None:
            below.append(part.path)
    if not only:
        chosen = dict.fromkeys(recorded)
    scripts = _scripts(desk, look, chosen)
    return tuple(
        planning.step(
            _target(desk, target_id),
            look.seen[target_id].tree,
            manifest.version,
            recorded[target_id],
            chosen[target_id],
            scripts[target_id],
        )
        for target_id in _in_order(desk, chosen)
    )


def _scripts(desk: Desk, look: Look, covered: Container[str]) -> dict[str, Named]:
    """Which paths below each target the live settings name as scripts; settings that are not covered will stay."""
    roots = Roots(home=desk.view.home, project=desk.view.project or desk.view.home)
    contents = {
        target_id: read_file(look.places[target_id].resolved, desk.config.limits.max_file_size_bytes)
        for target_id, seen in look.seen.items()
        if is_settings(seen.place.target) and seen.tree.state is TargetState.PRESENT
    }
    live = named_scripts(contents.values(), roots)
    outside = named_scripts((content for name, content in contents.items() if name not in covered), roots)
    return {
        target_id: Named(live=_below(place, live), outside=_below(place, outside))
        for target_id, place in look.places.items()
    }


def _below(place: Place, paths: frozenset[str]) -> frozenset[str]:
    tops = {f"{place.target.path}/", f"{place.resolved}/"}
    return frozenset(path[len(top) :] for path in paths for top in tops if path.startswith(top))


def _parts(
    desk: Desk, version: str, only: tuple[str, ...], scope: Scope | None, exists: Callable[[Part], bool]
) -> tuple[Part, ...]:
    """What `only` names within the scope."""
    inside = tuple(target for target in desk.view.targets if scope is None or target.scope is scope)
    try:
        return parts_of(only, replace(desk.view, targets=inside), exists)
    except RollbackError as error:
        if scope is None or error.code is not Code.NOT_FOUND:
            raise
        parts_of(only, desk.view, exists)  # raises again where the path is nowhere at all
        raise _excluded(desk, version) from error


def _excluded(desk: Desk, version: str, target: Target | None = None) -> RollbackError:
    what = "a path that `scope` excludes" if target is None else desk.shown_target(target)
    return RollbackError(
        Code.SCOPE_MISMATCH, f"backup {version} cannot bring back {what}.", "choose another path, scope or version."
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


def _stored(desk: Desk, look: Look, target_id: str, digest: str) -> tuple[str, StoredTarget] | None:
    """A backup that still holds this tree of a target, or None when no intact one does."""
    for version in holder_of(desk, look.known, target_id, digest):
        try:
            stored = open_authentic(desk, look.known, version).manifest.target(target_id)
        except RollbackError:
            continue
        if stored is not None and stored.tree.digest == digest:
            return version, stored
    return None


def _foreign_lines(desk: Desk, steps: Iterable[Step], since: Iterable[history.KnownState]) -> tuple[str, ...]:
    """One line for each other project whose session changed what these steps take back."""
    touched = {step.target.id for step in steps if step.is_change and step.target.scope is Scope.USER}
    if not touched:
        return ()
    lines = {
        f"takes back a change to the user scope made from {desk.shown(state.project or desk.view.user_root)}"
        f" at {state.timestamp}"
        for state in since
        if state.project != desk.view.project
    }
    return tuple(sorted(lines))


def _plan(
    desk: Desk,
    look: Look,
    operation: EventType,
    steps: tuple[Step, ...],
    arguments: Mapping[str, object],
    foreign: tuple[str, ...],
) -> Plan:
    lines = security_changes([_settings_change(desk, look, step) for step in steps if _changes_settings(step)])
    return planning.plan(operation, steps, desk.view, arguments, (*lines, *foreign))


def _changes_settings(step: Step) -> bool:
    return is_settings(step.target) and step.is_change


def _settings_change(desk: Desk, look: Look, step: Step) -> SettingsChange:
    after = None
    if step.desired.state is TargetState.PRESENT:
        after = _stored_file(desk, step.version, step.stored)
    before = None
    if step.live.state is TargetState.PRESENT:
        before = read_file(look.places[step.target.id].resolved, desk.config.limits.max_file_size_bytes)
    return SettingsChange(
        path=desk.shown_target(step.target), before=before, known=_known_bytes(desk, look, step), after=after
    )


def _known_bytes(desk: Desk, look: Look, step: Step) -> bytes | None:
    """The settings of the last known state, which count where the live ones no longer load."""
    here = look.known.timeline.current
    digest = "" if here is None else here.digests.get(step.target.id, "")
    if here is None or not digest or digest in (step.live.digest, ABSENT.digest):
        return None
    for version in holder_of(desk, look.known, step.target.id, digest):
        try:
            stored = open_authentic(desk, look.known, version).manifest.target(step.target.id)
            if stored is not None and stored.tree.digest == digest:
                return _stored_file(desk, version, stored)
        except RollbackError:
            continue
    return None


def _stored_file(desk: Desk, version: str, stored: StoredTarget) -> bytes:
    """The bytes of a stored settings file, authenticated: what asks the person must be what would be restored."""
    path = desk.store.archive_path(version, stored)
    archive.verify(path, stored)
    return read_file(path, MAX_SETTINGS_BYTES * 2)
