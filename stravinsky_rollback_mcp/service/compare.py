"""Comparing two states, each live, a backup or a known state: what differs, and what going back would mean."""

import hashlib
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.codec.text import to_json
from stravinsky_rollback_mcp.core.comparison import (
    MAX_BYTES,
    Differing,
    Page,
    Place,
    cut_tree,
    diff_lines,
    differing,
    page_of,
)
from stravinsky_rollback_mcp.core.components import BY_NAME, is_settings
from stravinsky_rollback_mcp.core.model import Entry, EntryType, EventType, Target, TargetState, Tree
from stravinsky_rollback_mcp.core.names import capped
from stravinsky_rollback_mcp.core.onset import onsets_of
from stravinsky_rollback_mcp.core.outcome import Compared
from stravinsky_rollback_mcp.core.plan import Change, change_between
from stravinsky_rollback_mcp.core.selection import Part, parts_of
from stravinsky_rollback_mcp.disk import archive
from stravinsky_rollback_mcp.disk.peek import live_files
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.intent import Intent, intend_rollback, intend_walk
from stravinsky_rollback_mcp.service.look import Look, gather
from stravinsky_rollback_mcp.service.selectors import Goal, goal_of, last_known

LIVE = "live"
_PAGE_BYTES = 20_000  # of the diff: hosts cut results of more than about 50 KB
_PAGE_FILES = 50
_PAGE_READ_BYTES = 2 * MAX_BYTES
_CHANGES_BYTES = 10_000
_CURSOR = re.compile(r"([0-9a-f]{12})\.([0-9]{1,9})\.([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the two states: its targets, what they hold, and how to read files of them."""

    name: str
    targets: Mapping[str, Target]
    trees: Mapping[str, Tree]
    read: Callable[[str, Sequence[Entry]], Mapping[str, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """One target as it is on both sides."""

    target: Target
    old: Tree
    new: Tree


def compare(desk: Desk, version: str | None, other: str | None, path: str | None, cursor: str | None) -> Compared:
    """What differs from one state to another, as ``git diff version other`` has it.

    Without a version from the last known state, without another one to what is live; then also what going back is.
    Raises what naming a version raises, ``scope_mismatch`` when the two have nothing in common, ``state_changed`` for
    a cursor of another comparison.
    """
    look = gather(desk)
    goal = None if version == LIVE else last_known(desk, look) if version is None else goal_of(desk, look, version)
    old = _live(look) if goal is None else _stored(desk, goal)
    is_to_live = other in (None, LIVE)
    new = _live(look) if is_to_live else _stored(desk, goal_of(desk, look, other or LIVE))
    links = frozenset(name for name, place in look.places.items() if place.same_as is not None)
    pairs, left_out = _pairs(desk, old, new, links)
    if path is not None:
        pairs = _limited(desk, look, pairs, path)
    changed = [pair for pair in pairs if pair.old.digest != pair.new.digest]
    changes = _fitting([_change(desk, pair, old, new) for pair in changed])
    items = [item for pair in changed for item in differing(pair.target, pair.old, pair.new)]
    mark = hashlib.sha256(to_json([[pair.target.id, pair.old.digest, pair.new.digest] for pair in pairs])).hexdigest()
    page = _page(desk, items, old, new, _start(cursor, mark[:12]))
    back = _back(desk, look, goal, version, path) if changed and is_to_live and goal is not None else _Back()
    return Compared(
        summary=_summary(old, new, changed, items),
        next_step=back.next_step,
        notices=back.notices,
        version=old.name,
        other=new.name,
        changes=changes,
        not_compared=capped(left_out),
        diff="".join(f"{line}\n" for line in page.lines),
        next_cursor=None if page.next is None else f"{mark[:12]}.{page.next.path}.{page.next.line}",
        plan_id=back.plan_id,
        security_changes=back.security_changes,
        findings=() if back.intent is None else back.intent.findings,
    )


# -- the two sides --------------------------------------------------------------------------------------------------


def _live(look: Look) -> _Side:
    return _Side(
        name=LIVE,
        targets={name: place.target for name, place in look.places.items()},
        trees={name: seen.tree for name, seen in look.seen.items()},
        read=lambda target_id, entries: live_files(look.places[target_id].resolved, entries),
    )


def _stored(desk: Desk, goal: Goal) -> _Side:
    def read(target_id: str, entries: Sequence[Entry]) -> Mapping[str, bytes]:
        version, stored = goal.targets[target_id]
        return archive.contents(desk.store.archive_path(version, stored), stored, {entry.path for entry in entries})

    targets = {
        name: Target(scope=stored.scope, component=stored.component, kind=stored.kind, path=stored.path)
        for name, (_, stored) in goal.targets.items()
    }
    trees = {name: stored.tree for name, (_, stored) in goal.targets.items()}
    return _Side(name=goal.version or goal.name, targets=targets, trees=trees, read=read)


def _pairs(desk: Desk, old: _Side, new: _Side, links: Container[str]) -> tuple[list[_Pair], list[str]]:
    """The targets that both sides know, and a line for each that one of them does not.

    ``links`` are targets that are one with another: nothing is missing where neither side has one.
    """
    pairs: list[_Pair] = []
    left_out: list[str] = []
    both = {**new.targets, **old.targets}
    order = [name for name in (target.id for target in desk.view.targets) if name in both]
    for name in dict.fromkeys((*order, *both)):
        target, trees = both[name], (old.trees.get(name), new.trees.get(name))
        if all(tree is None or tree.state is TargetState.NOT_RECORDED for tree in trees) and name in links:
            continue  # it is compared under another name
        if any(tree is None or tree.state is TargetState.NOT_RECORDED for tree in trees):
            without = " and ".join(
                side.name
                for side, tree in zip((old, new), trees, strict=True)
                if tree is None or tree.state is TargetState.NOT_RECORDED
            )
            left_out.append(f"{desk.shown_target(target)}: not recorded in {without}.")
        elif old.targets[name].path != new.targets[name].path or old.targets[name].kind is not new.targets[name].kind:
            left_out.append(f"{desk.shown_target(target)}: {name} lies elsewhere on the other side.")
        elif target.component not in BY_NAME:
            left_out.append(f"{desk.shown_target(target)}: {name} is unknown to this version of the program.")
        else:
            pairs.append(_Pair(target=target, old=old.trees[name], new=new.trees[name]))
    if not pairs:
        raise RollbackError(
            Code.SCOPE_MISMATCH,
            f"{old.name} and {new.name} have no target in common.",
            "compare two backups of one project; list_backups shows the project of each.",
        )
    return pairs, left_out


def _limited(desk: Desk, look: Look, pairs: Sequence[_Pair], path: str) -> list[_Pair]:
    """Only what lies at or below a path. Raises ``not_found`` for one that neither side has."""
    trees = {pair.target.id: (pair.old, pair.new) for pair in pairs}

    def meant(part: Part) -> Part:
        return part if part.target.id in trees else look.meant(part)

    def exists(named: Part) -> bool:
        part = meant(named)
        return any(entry.path == part.path for tree in trees[part.target.id] for entry in tree.entries)

    links = (place.target for place in look.places.values() if place.same_as in trees)
    targets = {target.id: target for target in (*(pair.target for pair in pairs), *links)}
    view = replace(desk.view, targets=tuple(targets.values()))
    wanted = {part.target.id: part for part in map(meant, parts_of((path,), view, exists))}
    for part in wanted.values():
        if part.path and not exists(part):
            raise RollbackError(
                Code.NOT_FOUND,
                f"{desk.shown(f'{part.target.path}/{part.path}')} is on neither side.",
                "see list_backups with `path`.",
            )
    return [
        replace(
            pair,
            old=cut_tree(pair.old, wanted[pair.target.id].path),
            new=cut_tree(pair.new, wanted[pair.target.id].path),
        )
        for pair in pairs
        if pair.target.id in wanted
    ]


def _change(desk: Desk, pair: _Pair, old: _Side, new: _Side) -> Change:
    before, after = (_settings(side, pair.target, tree) for side, tree in ((old, pair.old), (new, pair.new)))
    onsets = onsets_of(pair.target.component, before, after)
    return change_between(pair.target, pair.old, pair.new, desk.view.home, onsets)


def _settings(side: _Side, target: Target, tree: Tree) -> bytes | None:
    """What a settings file holds; None where there is none that Claude Code could load, and of any other target."""
    wanted = [(target.id, entry) for entry in tree.entries] if is_settings(target) else []
    return _contents(side, wanted).get((target.id, ""))


# -- the diff -------------------------------------------------------------------------------------------------------


def _start(cursor: str | None, mark: str) -> Place:
    if cursor is None:
        return Place()
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise RollbackError(
            Code.INVALID_ARGUMENT, "the cursor is not one that compare gave.", "leave it out to begin anew."
        )
    if found[1] != mark:
        raise RollbackError(
            Code.STATE_CHANGED,
            "what is compared is no longer what the page before showed.",
            "leave the cursor out to begin anew.",
        )
    return Place(path=int(found[2]), line=int(found[3]))


def _page(desk: Desk, items: Sequence[Differing], old: _Side, new: _Side, start: Place) -> Page:
    """The lines from a place on, of as many files as may be read for one page."""
    batch: list[Differing] = []
    to_read = 0
    for item in items[start.path : start.path + _PAGE_FILES]:
        to_read += item.size_bytes
        if batch and to_read > _PAGE_READ_BYTES:
            break
        batch.append(item)
    page = page_of(_diffs(desk, batch, old, new), start, _PAGE_BYTES)
    is_end = page.next is not None and page.next.path >= len(items)
    return replace(page, next=None) if is_end else page


def _diffs(desk: Desk, batch: Sequence[Differing], old: _Side, new: _Side) -> Iterator[tuple[str, ...]]:
    before = _contents(old, [(item.target.id, item.old) for item in batch if item.old is not None])
    after = _contents(new, [(item.target.id, item.new) for item in batch if item.new is not None])
    for item in batch:
        key = (item.target.id, item.path)
        both = (before.get(key, b""), after.get(key, b""))
        yield tuple(diff_lines(item, desk.view.home, (old.name, new.name), both))


def _contents(side: _Side, wanted: Sequence[tuple[str, Entry]]) -> dict[tuple[str, str], bytes]:
    """What the regular files hold that are small enough to be shown, by target id and path."""
    found: dict[tuple[str, str], bytes] = {}
    by_target: dict[str, list[Entry]] = {}
    for target_id, entry in wanted:
        if entry.type is EntryType.FILE and entry.size_bytes <= MAX_BYTES:
            by_target.setdefault(target_id, []).append(entry)
    for target_id, entries in by_target.items():
        found |= {(target_id, path): content for path, content in side.read(target_id, entries).items()}
    return found


# -- telling --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Back:
    """What going back from the live state would be, or why it would be refused."""

    intent: Intent | None = None
    next_step: str = ""
    notices: tuple[str, ...] = ()

    @property
    def plan_id(self) -> str | None:
        return None if self.intent is None else self.intent.plan.plan_id

    @property
    def security_changes(self) -> tuple[str, ...]:
        return () if self.intent is None else self.intent.plan.security_changes


def _back(desk: Desk, look: Look, goal: Goal, version: str | None, path: str | None) -> _Back:
    """The very plan that the call which ``next_step`` names would carry out."""
    name = version or goal.version
    try:
        if name is None:
            intent = intend_walk(desk, look, EventType.UNDO)
            call = "undo" if path is None else "undo (all of it, not only this path)"
        else:
            intent = intend_rollback(desk, look, name, () if path is None else (path,), None)
            call = f"rollback_to with version {name}" + ("" if path is None else " and this path in `only`")
    except RollbackError as error:
        return _Back(notices=(f"Going back would be refused: {desk.told(str(error))}",))
    return _Back(intent=intent, next_step=f"To go back: {call}, with this plan_id and security_changes in `accept`.")


def _summary(old: _Side, new: _Side, changed: Sequence[_Pair], items: Sequence[Differing]) -> str:
    if not changed:
        return f"{old.name} and {new.name} are the same."
    names = ", ".join(f"{pair.target.scope} {pair.target.component}" for pair in changed)
    differ = "folders differ" if not items else "1 file differs" if len(items) == 1 else f"{len(items)} files differ"
    return f"From {old.name} to {new.name}, {differ} in {names}."


def _fitting(changes: Sequence[Change]) -> tuple[Change, ...]:
    """The changes with as many paths each as fit; their totals say what was left off."""
    for most in (50, 20, 5, 1):
        shorter = tuple(
            replace(change, added=change.added[:most], modified=change.modified[:most], removed=change.removed[:most])
            for change in changes
        )
        paths = (path for change in shorter for path in (*change.added, *change.modified, *change.removed))
        if sum(len(path.encode()) for path in paths) <= _CHANGES_BYTES:
            return shorter
    return tuple(replace(change, added=(), modified=(), removed=()) for change in changes)
