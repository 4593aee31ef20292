"""Bringing back what was lost and nothing else: one file, one directory, or one key of a file."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.model import EntryType, EventType, Kind
from stravinsky_rollback_mcp.core.pointer import parse
from stravinsky_rollback_mcp.core.selection import Part, parts_of
from stravinsky_rollback_mcp.core.splice import document
from stravinsky_rollback_mcp.disk import archive
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.intent import Intent, intend_rollback
from stravinsky_rollback_mcp.service.look import Look
from stravinsky_rollback_mcp.service.selectors import Goal, goal_of
from stravinsky_rollback_mcp.service.stored import backups_of_view, stored_file

# What is wrong with what was asked for, whichever backup it is looked for in.
_MEANINGLESS = frozenset({Code.INVALID_ARGUMENT, Code.AMBIGUOUS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What is to come back: a path that was a file or a directory; of a JSON file perhaps only one key."""

    path: str
    kind: Kind
    pointer: str | None = None

    @property
    def level(self) -> str:
        """How much is brought back, in one word for the audit."""
        return str(self.kind) if self.pointer is None else "key"

    @property
    def name(self) -> str:
        """The path as `only` of a rollback takes it."""
        return self.path if self.pointer is None else f"{self.path}#{self.pointer}"


def intend_recovery(desk: Desk, look: Look, lost: Lost, version: str | None) -> Intent:
    """What bringing it back would do: from that version, else from the newest intact backup that has it different.

    Where that takes back an earlier recovery, it is said, with the version that goes further back. Raises ``not_found``
    where no such backup has it: unlike a rollback, a recovery never takes away what it names.
    """
    if version is not None:
        return _from(desk, look, lost, version)
    offers = _offers(desk, look, lost)
    newest = next(offers)
    taken_back = _recovery_before(desk, newest)
    if taken_back is None:
        return newest
    older = None
    with suppress(RollbackError):
        older = next(offer for offer in offers if _results(offer) != _results(newest))
    further = "No backup goes further back." if older is None else f"To go further back, name {older.goal}."
    said = f"{newest.goal} holds what was live before the recovery of {taken_back}: this takes that back. {further}"
    return replace(newest, notices=(*newest.notices, said))


def _offers(desk: Desk, look: Look, lost: Lost) -> Iterator[Intent]:
    """What each intact backup that has it different would do, newest first; at the end, why there are no more."""
    refused: RollbackError | None = None
    for name, _ in backups_of_view(desk, look.known):
        try:
            intent = _from(desk, look, lost, name)
            for step in intent.plan.changes:
                if step.from_backup:
                    archive.verify(desk.store.archive_path(step.version, step.stored), step.stored)
        except RollbackError as error:
            if error.code in _MEANINGLESS:
                raise
            # It is damaged, or has it not: an older one may be better.
            refused = refused or error
            continue
        if intent.plan.changes:
            yield intent
    if refused is not None and refused.code is not Code.NOT_FOUND:
        raise refused
    raise RollbackError(
        Code.NOT_FOUND,
        f"no intact backup has {desk.told(lost.name)} other than it is now.",
        "`stravinsky-rollback backup list` shows what there is.",
    )


def _results(intent: Intent) -> list[str]:
    return [step.desired.digest for step in intent.plan.changes]


def _recovery_before(desk: Desk, intent: Intent) -> str | None:
    """When the newest recovery was that this one would take back: of the same paths, with this backup as its safety."""
    paths = {desk.shown_target(step.target) for step in intent.plan.changes}
    for record in reversed(desk.audit.history(desk.view.user_root, desk.view.project)):
        draft = record.draft
        is_recovery = draft.event_type is EventType.RECOVERY_ATTEMPT and not paths.isdisjoint(draft.paths)
        if is_recovery and (draft.details or {}).get("safety_backup") == intent.to_version:
            return record.timestamp
    return None


def _from(desk: Desk, look: Look, lost: Lost, version: str) -> Intent:
    _require_held(desk, look, goal_of(desk, look, version), lost)
    intent = intend_rollback(desk, look, version, (lost.name,), None, operation=EventType.RECOVERY_ATTEMPT)
    return replace(intent, level=lost.level)


def _require_held(desk: Desk, look: Look, goal: Goal, lost: Lost) -> None:
    """The backup must have what was lost, as the kind of thing that it is said to be."""

    def exists(named: Part) -> bool:
        part = look.meant(named)
        live = look.seen[part.target.id].tree.entries
        return any(entry.path == part.path for entry in live) or any(_types(goal, part))

    parts = tuple(dict.fromkeys(map(look.meant, parts_of((lost.path,), desk.view, exists))))
    types = [kind for part in parts for kind in _types(goal, part)]
    if not types:
        raise RollbackError(
            Code.NOT_FOUND, f"{goal.name} does not have {desk.told(lost.path)}.", "choose another version."
        )
    is_directory = len(parts) > 1 or EntryType.DIRECTORY in types
    if is_directory != (lost.kind is Kind.DIRECTORY):
        found, other = ("a directory", "directory") if is_directory else ("a file", "file")
        raise RollbackError(
            Code.INVALID_ARGUMENT,
            f"{desk.told(lost.path)} is {found} in {goal.name}.",
            f"type `stravinsky-rollback recovery {other}`.",
        )
    if lost.pointer is not None:
        _require_key(desk, goal, next(iter(parts)), lost.pointer)


def _types(goal: Goal, part: Part) -> Iterator[EntryType]:
    """The type of what the backup has at a path; nothing where it has nothing."""
    held = goal.targets.get(part.target.id)
    yield from (entry.type for entry in (held[1].tree.entries if held else ()) if entry.path == part.path)


def _require_key(desk: Desk, goal: Goal, part: Part, pointer: str) -> None:
    path = desk.shown_target(part.target)
    if part.target.kind is not Kind.FILE or not part.target.path.endswith(".json"):
        raise RollbackError(
            Code.INVALID_ARGUMENT, f"{path} is no JSON file with keys.", "leave out --pointer: bring the file back."
        )
    stored = document(stored_file(desk, *goal.targets[part.target.id]), f"{path} in {goal.name}")
    if stored is None or stored.find(parse(pointer)) is None:
        raise RollbackError(
            Code.NOT_FOUND, f"{path} in {goal.name} does not have that key.", "choose another version or key."
        )
