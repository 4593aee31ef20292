"""What a restore would do, decided before anything is touched.

A plan is a value: the trees that are live, the trees that are meant, and where each byte comes from. A dry run shows
it, ``disk/execute.py`` carries it out, and its id binds what was shown to what is done.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from stravinsky_rollback_mcp.core.codec.text import to_json
from stravinsky_rollback_mcp.core.codec.trees import ABSENT, present
from stravinsky_rollback_mcp.core.diff import difference
from stravinsky_rollback_mcp.core.model import (
    Entry,
    EntryType,
    EventType,
    Scope,
    Skipped,
    StoredTarget,
    Target,
    TargetState,
    Tree,
    View,
)
from stravinsky_rollback_mcp.core.names import shown
from stravinsky_rollback_mcp.core.onset import Onset, takes_effect
from stravinsky_rollback_mcp.errors import Code, RollbackError

MAX_PATHS_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a plan does to one target; the lists are relative paths, capped for the wire, the totals are not."""

    scope: Scope
    component: str
    path: str
    action: str
    takes_effect: str
    added: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    added_total: int = 0
    modified_total: int = 0
    removed_total: int = 0
    atomicity: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One target on its way from ``live`` to ``desired``.

    ``stored`` (in backup ``version``) holds the bytes of every file in ``from_backup``; all other files are those of
    the live tree. ``carried`` lies in the live tree, is in no backup, and moves over untouched. ``retired`` are scripts
    that go once the settings which name them have changed; ``stays`` are scripts that settings outside the plan name.
    ``content``, when not None, are the bytes of the one file: made for this plan, and in no backup.
    """

    target: Target
    live: Tree
    desired: Tree
    version: str
    stored: StoredTarget
    from_backup: frozenset[str]
    carried: tuple[Skipped, ...]
    retired: tuple[Entry, ...] = ()
    stays: tuple[str, ...] = ()
    content: bytes | None = None

    @property
    def staged(self) -> Tree:
        """The tree that goes live in the exchange: the desired one with the scripts that retire afterwards."""
        return present((*self.desired.entries, *self.retired), self.live.skipped) if self.retired else self.desired

    @property
    def kept(self) -> tuple[Entry, ...]:
        """The live files that stay in the tree as they are."""
        return tuple(
            entry
            for entry in self.desired.entries
            if entry.type is EntryType.FILE and entry.path not in self.from_backup and self.content is None
        )

    @property
    def is_change(self) -> bool:
        """Whether the target would not stay as it is."""
        return self.live.digest != self.desired.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All steps of one operation, in the order in which they are made live.

    ``onsets`` tell by target id when what changes holds in running sessions.
    """

    operation: EventType
    steps: tuple[Step, ...]
    onsets: Mapping[str, tuple[Onset, ...]]
    security_changes: tuple[str, ...]
    plan_id: str

    @property
    def changes(self) -> tuple[Step, ...]:
        """The steps that change something."""
        return tuple(step for step in self.steps if step.is_change)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The paths below one target that live settings name as scripts; ``outside`` those in settings that stay."""

    live: frozenset[str] = frozenset()
    outside: frozenset[str] = frozenset()


NOTHING_NAMED = Named()


def step(
    target: Target,
    live: Tree,
    version: str,
    stored: StoredTarget,
    only: Iterable[str] | None,
    named: Named = NOTHING_NAMED,
) -> Step:
    """The step that brings a target, or just the paths ``only`` below it, to what a backup recorded.

    No script that live settings name may be missing at any moment: one that the desired tree lacks goes live with it
    and retires afterwards, or stays when settings that are not restored still name it.

    Raises ``unsupported_file_type`` when the live target is not what its kind says, or when something that no backup
    holds stands where an entry must go: overwriting it would lose it.
    """
    _require_recorded(target, live)
    wanted = _wanted(live, stored.tree, only)
    old = {entry.path: entry for entry in live.entries}
    stays = tuple(path for path in sorted(named.outside) if _is_script(old, path) and path not in wanted)
    wanted.update(_brought_along(wanted, old, stays))
    for item in live.skipped:
        _make_room(wanted, live, target, item)
    desired = present(wanted.values(), live.skipped) if wanted else ABSENT
    leaving = [path for path in sorted(named.live) if _is_script(old, path) and path not in wanted]
    retired = _brought_along(wanted, old, leaving)
    from_backup = frozenset(
        entry.path for entry in desired.entries if entry.type is EntryType.FILE and old.get(entry.path) != entry
    )
    return Step(
        target=target,
        live=live,
        desired=desired,
        version=version,
        stored=stored,
        from_backup=from_backup,
        carried=live.skipped if wanted else (),
        retired=tuple(retired.values()),
        stays=tuple(path for path in stays if path in wanted),
    )


def step_with(target: Target, live: Tree, version: str, stored: StoredTarget, content: bytes, *, mtime_ns: int) -> Step:
    """The step that gives a live file another content, made from a backup's and its own; mode and links stay.

    Raises ``unsupported_file_type`` when the live target is no plain file.
    """
    _require_recorded(target, live)
    sha256 = hashlib.sha256(content).hexdigest()
    entries = [
        replace(entry, sha256=sha256, size_bytes=len(content), mtime_ns=mtime_ns)
        for entry in live.entries
        if entry.sha256 != sha256
    ]
    return Step(
        target=target,
        live=live,
        desired=present(entries, live.skipped) if entries else live,
        version=version,
        stored=stored,
        from_backup=frozenset(),
        carried=(),
        content=content,
    )


def _require_recorded(target: Target, live: Tree) -> None:
    if live.state is TargetState.NOT_RECORDED:
        raise RollbackError(
            Code.UNSUPPORTED_FILE_TYPE,
            f"{target.path} is {live.skipped[0].reason}, which no backup can hold.",
            "move it away by hand, then try again.",
        )


def _is_script(live: Mapping[str, Entry], path: str) -> bool:
    return path in live and live[path].type is not EntryType.DIRECTORY


def _brought_along(wanted: Mapping[str, Entry], live: Mapping[str, Entry], paths: Iterable[str]) -> dict[str, Entry]:
    """The live entries at ``paths`` and the folders above them that a tree lacks; not where a file is in the way."""
    found: dict[str, Entry] = {}
    for path in paths:
        above = {folder: wanted.get(folder, live[folder]) for folder in _ancestors(path)}
        if all(entry.type is EntryType.DIRECTORY for entry in above.values()):
            found |= {folder: entry for folder, entry in above.items() if folder not in wanted}
            found[path] = live[path]
    return found


def _wanted(live: Tree, stored: Tree, only: Iterable[str] | None) -> dict[str, Entry]:
    recorded = {entry.path: entry for entry in stored.entries}
    chosen = None if only is None else tuple(only)
    if chosen is None or "" in chosen:
        return recorded
    wanted = {entry.path: entry for entry in live.entries if not _is_below(entry.path, chosen)}
    for path, entry in recorded.items():
        if _is_below(path, chosen):
            _add_ancestors(wanted, recorded, path)
            wanted[path] = entry
    return wanted


def _is_below(path: str, chosen: tuple[str, ...]) -> bool:
    return any(path == top or path.startswith(top + "/") for top in chosen)


def _ancestors(path: str) -> list[str]:
    """The folders above a path, the target itself (empty) first."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts))]


def _add_ancestors(wanted: dict[str, Entry], source: Mapping[str, Entry], path: str) -> None:
    for folder in _ancestors(path):
        above = wanted.setdefault(folder, source[folder])
        if above.type is not EntryType.DIRECTORY:
            raise RollbackError(
                Code.INVALID_ARGUMENT,
                f"{shown(folder, '')} is not a folder now, so {shown(path, '')} cannot be brought back alone.",
                f"bring back {shown(folder, '')} as a whole.",
            )


def _make_room(wanted: dict[str, Entry], live: Tree, target: Target, item: Skipped) -> None:
    """Keep a place for something that backups leave out: it is carried over, with the folders above it."""
    kept = {entry.path: entry for entry in live.entries}
    in_the_way = wanted.get(item.path)
    for folder in _ancestors(item.path):
        above = wanted.setdefault(folder, kept[folder])
        if above.type is not EntryType.DIRECTORY:
            in_the_way = above
    if in_the_way is not None:
        raise RollbackError(
            Code.UNSUPPORTED_FILE_TYPE,
            f"{shown(f'{target.path}/{item.path}', '')} ({item.reason}) is in no backup and stands where "
            f"{shown(in_the_way.path, '')} must go.",
            "move it away by hand, then try again.",
        )


def plan(
    operation: EventType,
    steps: Iterable[Step],
    view: View,
    arguments: Mapping[str, object],
    security_changes: tuple[str, ...],
    onsets: Mapping[str, tuple[Onset, ...]],
) -> Plan:
    """The plan, with the id that a caller may hand back to have exactly this done.

    The id is a digest over everything that could make the same request mean something else; it is recomputed at
    each call and never stored.
    """
    ordered = tuple(steps)
    content = {
        "operation": operation,
        "arguments": dict(arguments),
        "user_root": view.user_root,
        "project": view.project,
        "steps": [[step.target.id, step.live.digest, step.desired.digest] for step in ordered],
        "security_changes": list(security_changes),
    }
    return Plan(
        operation=operation,
        steps=ordered,
        onsets=onsets,
        security_changes=security_changes,
        plan_id=hashlib.sha256(to_json(content)).hexdigest()[:32],
    )


def change(step: Step, home: str, onsets: Iterable[Onset], atomicity: str | None) -> Change:
    """What people and models are shown of a step."""
    shown_change = change_between(step.target, step.live, step.desired, home, onsets)
    return replace(shown_change, atomicity=atomicity if step.is_change else None)


def change_between(target: Target, before: Tree, after: Tree, home: str, onsets: Iterable[Onset]) -> Change:
    """What people and models are shown of a target that becomes another one."""
    found = difference(before, after)
    if before.digest == after.digest:
        action = "none"
    elif before.state is TargetState.ABSENT:
        action = "create"
    else:
        action = "remove" if after.state is TargetState.ABSENT else "replace"
    return Change(
        scope=target.scope,
        component=target.component,
        path=shown(target.path, home),
        action=action,
        takes_effect=takes_effect(onsets),
        added=_capped(found.added),
        modified=_capped(found.modified),
        removed=_capped(found.removed),
        added_total=len(found.added),
        modified_total=len(found.modified),
        removed_total=len(found.removed),
    )


def _capped(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(shown(path, "") for path in paths[:MAX_PATHS_SHOWN])


def require_separate(resolved: Mapping[str, str]) -> None:
    """Refuse targets (id → resolved path) that lie inside each other or are one: swapping one would move the other."""
    # By components, not by characters: only so does everything inside a folder follow right after it ("-" < "/").
    ordered = sorted(resolved.items(), key=lambda item: item[1].split("/"))
    for (first, above), (second, below) in pairwise(ordered):
        if below == above or below.startswith(above + "/"):
            raise RollbackError(
                Code.UNSAFE_PATH,
                f"{first} and {second} resolve to {above} and {below}: one lies in the other.",
                "restore one scope at a time with `scope`, or separate the links.",
            )
