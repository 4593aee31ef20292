"""Taking over a project that moved: its backups, history and undo belong to the project at its new path."""

import difflib
import posixpath
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.adoption import moved, owner
from stravinsky_rollback_mcp.core.codec import adoption as codec
from stravinsky_rollback_mcp.core.codec.updates import OpenUpdate
from stravinsky_rollback_mcp.core.model import AuditDraft, AuditRecord, EventStatus, EventType
from stravinsky_rollback_mcp.core.names import plural
from stravinsky_rollback_mcp.core.outcome_keeping import Adopted
from stravinsky_rollback_mcp.disk.place import has_configuration, real_path
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Caller, Desk
from stravinsky_rollback_mcp.service.underway import open_update


def adopt(desk: Desk, caller: Caller, old_path: str, *, is_agreed: bool, dry_run: bool) -> Adopted:
    """Let the current project have what is recorded of ``old_path`` until now.

    Raises ``not_found`` for a path of which nothing is recorded, ``already_exists`` for one that was taken over,
    ``invalid_argument`` for the project's own, ``confirm_required`` where a project is still there and nobody agreed,
    ``update_in_progress`` where both have an open update.
    """
    if dry_run:
        move = _move(desk, old_path)
        _updates(desk, move)
        return _adopted(desk, move, (), applied=False)
    with desk.writing(caller) as notices:
        move = _move(desk, old_path)
        updates = _updates(desk, move)
        if move.is_still_there and not is_agreed:
            raise RollbackError(
                Code.CONFIRM_REQUIRED,
                _still_there(desk, move),
                "look with --dry-run; add --yes if this project is to have its backups.",
            )
        # First, so that a stop before the next step leaves an adoption that can be repeated.
        if updates is not None:
            desk.updates.write(updates)
        desk.record(
            AuditDraft(
                event_type=EventType.ADOPTED,
                status=EventStatus.SUCCESS,
                actor=caller.actor,
                user_root=desk.view.user_root,
                project=move.new,
                paths=(desk.shown(move.old),),
                state=(),  # part of the history, and nothing that is live changed
                details=codec.encode(move.old),
            )
        )
        with suppress(RollbackError):  # only a note for people and other programs, see `write_latest`
            desk.store.write_latest(tuple(one for one in desk.store.read_latest() if one.project != move.old))
        return _adopted(desk, move, notices, applied=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """From where to where, the records of the backups of the old place by version, and whether a project is there."""

    old: str
    new: str
    backups: Mapping[str, AuditRecord]
    is_still_there: bool


def _move(desk: Desk, old_path: str) -> _Move:
    new = desk.view.project
    if new is None:
        raise RollbackError(
            Code.INVALID_ARGUMENT,
            "no project is in view: its configuration is the user's own.",
            "run this in the project that moved, or name it with --project.",
        )
    named = posixpath.normpath(desk.absolute(old_path))
    recorded = desk.audit.backups() if desk.store.exists() else {}
    projects = {record.draft.project for record in recorded.values()}
    # A link may have been left at the old path; a path may also be written with a link in it.
    old = next((path for path in (named, real_path(named)) if path in projects or path == new), None)
    if old == new:
        raise RollbackError(
            Code.INVALID_ARGUMENT,
            "that is the path of this project.",
            "give the path that it had before it was moved.",
        )
    if old is None:
        raise _unknown(desk, named, sorted(project for project in projects if project not in (None, new)))
    backups = {version: record for version, record in recorded.items() if record.draft.project == old}
    is_still_there = real_path(old) != new and has_configuration(old)
    return _Move(old=old, new=new, backups=backups, is_still_there=is_still_there)


def _unknown(desk: Desk, named: str, projects: list[str]) -> RollbackError:
    adoptions = desk.audit.adoptions() if desk.store.exists() else ()
    gone = next((one for one in reversed(adoptions) if one.old in (named, real_path(named))), None)
    if gone is not None:
        now = owner(gone.old, gone.seq - 1, adoptions) or gone.new
        is_here = now == desk.view.project
        return RollbackError(
            Code.ALREADY_EXISTS,
            f"what was recorded of {desk.shown(gone.old)} belongs to {desk.shown(now)} since {gone.timestamp}.",
            "list_backups shows it." if is_here else f"if that is what moved to here, adopt {desk.shown(now)}.",
        )
    near = difflib.get_close_matches(named, projects, n=3)
    near += [path for path in projects if posixpath.basename(path) == posixpath.basename(named) and path not in near]
    if near:
        hint = f"did you mean {', '.join(map(desk.shown, near[:3]))}?"
    else:
        known = ", ".join(map(desk.shown, projects[:3]))
        hint = f"there are backups of {known}." if known else "there are backups of no other project."
    return RollbackError(Code.NOT_FOUND, f"nothing is recorded of {desk.shown(named)}.", hint)


def _updates(desk: Desk, move: _Move) -> tuple[OpenUpdate, ...] | None:
    """The open updates with that of the old place moved along; None where it has none."""
    updates = desk.updates.read()
    if not any(update.project == move.old for update in updates):
        return None
    if open_update(desk) is not None:
        raise RollbackError(
            Code.UPDATE_IN_PROGRESS,
            "an update is open here, and one at the old path.",
            "end this one first: `stravinsky-rollback update finish`.",
        )
    return tuple(_moved(update, move) for update in updates if update.project != move.new)


def _moved(update: OpenUpdate, move: _Move) -> OpenUpdate:
    if update.project != move.old:
        return update
    file = update.version_file
    return replace(update, project=move.new, version_file=None if file is None else moved(file, move.old, move.new))


def _still_there(desk: Desk, move: _Move) -> str:
    return f"{desk.shown(move.old)} still holds a configuration: it looks copied, not moved."


def _adopted(desk: Desk, move: _Move, notices: tuple[str, ...], *, applied: bool) -> Adopted:
    existing = {*desk.store.versions(), *desk.quarantine.versions()}
    ordered = sorted(move.backups, key=lambda version: move.backups[version].seq, reverse=True)
    versions = tuple(version for version in ordered if version in existing)
    what = f"{plural(len(versions), 'backup')} and the history of {desk.shown(move.old)}"
    return Adopted(
        summary=f"{what} {'belong' if applied else 'would belong'} to this project.",
        next_step="Look with list_backups and compare; undo goes back as far as it did at the old path.",
        notices=notices,
        applied=applied,
        old_project=desk.shown(move.old),
        project=desk.shown(move.new),
        versions=versions,
        warnings=(_still_there(desk, move),) if move.is_still_there else (),
        audit=desk.audit.anchor(),
    )
