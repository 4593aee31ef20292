"""Which steps bring back what `only` and `scope` choose of a backup."""

import hashlib
import posixpath
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from stravinsky_rollback_mcp.core.model import EntryType, Kind, Scope, StoredTarget, Target, TargetState, Tree
from stravinsky_rollback_mcp.core.plan import Step
from stravinsky_rollback_mcp.core.pointer import Pointer
from stravinsky_rollback_mcp.core.scripts import scripts_in
from stravinsky_rollback_mcp.core.selection import Part, parts_of
from stravinsky_rollback_mcp.core.settings import Settings, table
from stravinsky_rollback_mcp.core.splice import Document, document, splice, value_at
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError
from stravinsky_rollback_mcp.disk.store import Opened
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.look import (
    Look,
    below,
    live_file,
    require_in_sight,
    roots_of,
    steps_of,
    target_of,
)
from stravinsky_rollback_mcp.service.selectors import Goal
from stravinsky_rollback_mcp.service.stored import stored_file

Item = TypeVar("Item")
Recorded = Mapping[str, tuple[str, StoredTarget]]  # by target id: the backup that holds it, and what it holds


def steps_to(desk: Desk, look: Look, goal: Goal, only: tuple[str, ...], scope: Scope | None) -> tuple[Step, ...]:
    """The steps in the order in which they are made live.

    Raises ``scope_mismatch`` for a backup of another place and what it cannot bring back, ``not_found`` and what
    ``selection.parts_of`` and ``splice`` refuse.
    """
    if goal.opened is not None:
        _require_same_place(desk, goal.opened, scope)
    recorded = {
        target_id: (version, stored)
        for target_id, (version, stored) in goal.targets.items()
        if target_id in look.seen
        and stored.tree.state is not TargetState.NOT_RECORDED
        and (scope is None or stored.scope is scope)
    }
    parts = _chosen(desk, look, goal.name, recorded, only, scope)
    paths = _grouped((part.target.id, part.path) for part in parts if part.pointer is None)
    keys = _grouped((part.target.id, part.pointer) for part in parts if part.pointer and part.target.id not in paths)
    spliced = {target_id: _spliced(desk, look, *recorded[target_id], pointers) for target_id, pointers in keys.items()}
    restored = [settings for file in spliced.values() for settings in file.restored]
    for target_id, scripts in _named_by(desk, look, recorded, restored).items():
        paths[target_id] = (*paths.get(target_id, ()), *scripts)
    made = {target_id: file.content for target_id, file in spliced.items()}
    return steps_of(desk, look, recorded, paths, {*paths, *made}, made)


def _grouped(pairs: Iterable[tuple[str, Item]]) -> dict[str, tuple[Item, ...]]:
    found: dict[str, tuple[Item, ...]] = {}
    for target_id, item in pairs:
        found[target_id] = (*found.get(target_id, ()), item)
    return found


def _chosen(
    desk: Desk,
    look: Look,
    name: str,
    recorded: Recorded,
    only: tuple[str, ...],
    scope: Scope | None,
) -> tuple[Part, ...]:
    """The parts that are to come back, each of them live or in the backup."""

    def exists(named: Part) -> bool:
        part = look.meant(named)
        stored = recorded.get(part.target.id)
        trees = [look.seen[part.target.id].tree] + ([] if stored is None else [stored[1].tree])
        return any(entry.path == part.path for tree in trees for entry in tree.entries)

    if not only:
        return tuple(Part(target=target_of(desk, target_id), path="") for target_id in recorded)
    parts = tuple(dict.fromkeys(map(look.meant, _parts(desk, name, only, scope, exists))))
    for part in parts:
        if part.target.id not in recorded:
            raise _excluded(desk, name, part.target)
        if part.path and not exists(part):
            raise RollbackError(
                Code.NOT_FOUND,
                f"{desk.shown(f'{part.target.path}/{part.path}')} is neither live nor in {name}.",
                "see list_backups with `path`.",
            )
    return parts


def _parts(
    desk: Desk, name: str, only: tuple[str, ...], scope: Scope | None, exists: Callable[[Part], bool]
) -> tuple[Part, ...]:
    """What `only` names within the scope."""
    inside = tuple(target for target in desk.view.targets if scope is None or target.scope is scope)
    try:
        return parts_of(only, replace(desk.view, targets=inside), exists, with_keys=True)
    except RollbackError as error:
        if scope is None or error.code is not Code.NOT_FOUND:
            raise
        parts_of(only, desk.view, exists, with_keys=True)  # raises again where the path is nowhere at all
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
        elsewhere = "go to that project"
        if manifest.project is not None:
            moved = f"stravinsky-rollback adopt {shlex.quote(where)}"
            elsewhere += f"; if it was moved to here, run `{moved}` in a terminal"
        raise RollbackError(
            Code.SCOPE_MISMATCH,
            f"backup {manifest.version} is of {where}, not of this project.",
            f"call again with scope `user` for the user scope alone, or {elsewhere}.",
        )


# -- keys of a file -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spliced:
    """A live file with some of its keys as a backup has them, and those keys by themselves."""

    content: bytes
    restored: tuple[Settings, ...]


def _spliced(desk: Desk, look: Look, version: str, stored: StoredTarget, pointers: Iterable[Pointer]) -> _Spliced:
    require_in_sight(look, stored.id)
    path = desk.shown(stored.path)
    live = live_file(desk, look, stored.id)
    if live is not None and _sha256(look.seen[stored.id].tree) != hashlib.sha256(live).hexdigest():
        raise ChangedWhileReadError(path)
    then = stored_file(desk, version, stored) if stored.tree.state is TargetState.PRESENT else None
    backup = document(then, f"{path} in backup {version}")
    content = splice(document(live, path), backup, pointers)
    restored = () if backup is None else tuple(_alone(backup, pointer) for pointer in pointers)
    return _Spliced(content=content, restored=restored)


def _sha256(tree: Tree) -> str:
    return tree.entries[0].sha256 if tree.entries else ""


def _alone(backup: Document, pointer: Pointer) -> Settings:
    """Settings with nothing in them but what a pointer names, at its place as far as that matters for commands."""
    value = value_at(backup, pointer)
    for name in reversed(pointer):
        value = [value] if name.isdecimal() else {name: value}
    return table(value)


def _named_by(desk: Desk, look: Look, recorded: Recorded, restored: Iterable[Settings]) -> dict[str, list[str]]:
    """The scripts that returning settings name, as far as the backup has them: without them a hook would be off."""
    named = frozenset(path for settings in restored for path in scripts_in(settings, roots_of(desk)))
    found = {
        target_id: _held(stored.tree, below(look.places[target_id], named))
        for target_id, (_, stored) in recorded.items()
        if stored.kind is Kind.DIRECTORY
    }
    return {target_id: scripts for target_id, scripts in found.items() if scripts}


def _held(tree: Tree, paths: Iterable[str]) -> list[str]:
    """Those of the paths that are files in a tree; where one is a link, what it leads to in the tree as well."""
    entries = {entry.path: entry for entry in tree.entries if entry.type is not EntryType.DIRECTORY}
    found: list[str] = []
    waiting = sorted(paths)
    while waiting:
        path = waiting.pop()
        if path in entries and path not in found:
            found.append(path)
            if entries[path].link:
                waiting.append(posixpath.normpath(posixpath.join(posixpath.dirname(path), entries[path].link)))
    return sorted(found)
