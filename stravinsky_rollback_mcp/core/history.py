"""Undo and redo: where one view stands in the sequence of states that were ever known.

The audit is one sequence for the whole store. A view takes from each record the digests of the user scope and of its
own project; every record that changes what this view sees is a known state. Undo and redo of this view move a cursor
along these states; anything else that brings a new state drops what lay ahead of the cursor and appends.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.model import AuditDraft, AuditRecord, EventType, Scope, View
from stravinsky_rollback_mcp.errors import Code, RollbackError

_NAMED = 5  # states that no backup holds any more, in one message

EDITS = frozenset({EventType.BACKUP_CREATED, EventType.DRIFT_DETECTED})  # they find what somebody else changed

RESTORES = frozenset(
    {
        EventType.MANUAL_ROLLBACK,
        EventType.AUTO_ROLLBACK,
        EventType.RECOVERY_ATTEMPT,
        EventType.UNDO,
        EventType.REDO,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """The record of an operation of ours that brought a state back."""

    seq: int
    timestamp: str
    event_type: EventType


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownState:
    """What this view held at one moment: ``digests`` by target id; ``seq`` is the record that established it.

    An empty digest, here and in what is live, stands for a target that could not be looked at. ``git_head`` is where
    the project's git repository stood when this state was last seen, empty when that is not known.
    """

    seq: int
    timestamp: str
    event_type: EventType
    version: str | None
    project: str | None
    digests: Mapping[str, str]
    git_head: str = ""
    restoring: Restoring | None = None

    def equals(self, live: Mapping[str, str]) -> bool:
        """Whether the live targets hold this state, as far as both were recorded."""
        return not self.drifted(live)

    def drifted(self, live: Mapping[str, str]) -> tuple[str, ...]:
        """The ids of the targets that do not hold what this state says."""
        return tuple(
            target for target, digest in self.digests.items() if digest and live.get(target) not in ("", None, digest)
        )

    def out_of_sight(self, live: Mapping[str, str]) -> tuple[str, ...]:
        """The ids of the targets that this state knows and that cannot be looked at any more."""
        return tuple(target for target, digest in self.digests.items() if digest and live.get(target) == "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The known states of a view, oldest first, and where it stands (-1: nothing is known yet)."""

    states: tuple[KnownState, ...]
    cursor: int

    @property
    def current(self) -> KnownState | None:
        """The last known state."""
        return self.states[self.cursor] if self.states else None


NOTHING_KNOWN = Timeline(states=(), cursor=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A step along the timeline: the state to bring back, and what that takes back.

    ``taken_back`` is None when it is an edit that nobody announced. ``next_undo`` is what a further undo would take
    back, None when there is nothing earlier. ``unavailable`` are versions that were passed over because no backup
    holds them any more.
    """

    state: KnownState
    taken_back: KnownState | None
    next_undo: KnownState | None
    unavailable: tuple[str, ...]


def timeline(records: Iterable[AuditRecord], view: View) -> Timeline:
    """The known states of a view from the records that bear a state, oldest first."""
    states: list[KnownState] = []
    cursor = -1
    persons = frozenset(target.id for target in view.targets if target.scope is Scope.USER)
    projects = frozenset(target.id for target in view.targets if target.scope is Scope.PROJECT)
    nothing: frozenset[str] = frozenset()
    for record in records:
        draft = record.draft
        if draft.state is None:
            continue
        restoring = _restoring(record)
        git_head = _git_head(draft) if draft.project == view.project else ""
        is_own = draft.project == view.project and draft.user_root == view.user_root
        if is_own and draft.restores is not None:
            places = [place for place, state in enumerate(states) if state.seq == draft.restores]
            if places:
                cursor = places[-1]
                found = _as_found(states[cursor], {item.target: item.digest for item in draft.state})
                states[cursor] = replace(found, git_head=git_head or found.git_head, restoring=restoring)
                continue
        of_person = persons if draft.user_root == view.user_root else nothing
        of_project = projects if draft.project == view.project else nothing
        digests = dict(states[cursor].digests) if states else {}
        for item in draft.state:
            if item.target in of_person or item.target in of_project:
                digests[item.target] = item.digest
        if states and digests == states[cursor].digests:
            states[cursor] = replace(states[cursor], git_head=git_head or states[cursor].git_head)
            continue
        if not digests:
            continue
        del states[cursor + 1 :]
        states.append(
            KnownState(
                seq=record.seq,
                timestamp=record.timestamp,
                event_type=draft.event_type,
                version=draft.version,
                project=draft.project,
                digests=digests,
                git_head=git_head or (states[cursor].git_head if states else ""),
                restoring=restoring,
            )
        )
        cursor = len(states) - 1
    return Timeline(states=tuple(states), cursor=cursor)


def _restoring(record: AuditRecord) -> Restoring | None:
    if record.draft.event_type not in RESTORES:
        return None
    return Restoring(seq=record.seq, timestamp=record.timestamp, event_type=record.draft.event_type)


def _git_head(draft: AuditDraft) -> str:
    head = (draft.details or {}).get("git_head")
    return head if isinstance(head, str) else ""


def arrived(known: Timeline, state: KnownState, live: Mapping[str, str]) -> Timeline:
    """The timeline at a state that is live as far as it can be: a step to it would change nothing."""
    place = known.states.index(state)
    states = (*known.states[:place], _as_found(state, live), *known.states[place + 1 :])
    return Timeline(states=states, cursor=place)


def _as_found(state: KnownState, live: Mapping[str, str]) -> KnownState:
    """What no backup holds has to stay and may make a state another one; its place in the sequence stays the same."""
    digests = {target: live.get(target, digest) for target, digest in state.digests.items()}
    return replace(state, digests=digests)


def undo(known: Timeline, live: Mapping[str, str], held: frozenset[tuple[str, str]]) -> Walk:
    """The state that undo brings back: the last known one after an outside edit, else the one before it.

    ``held`` are the (target id, digest) pairs that some intact backup holds. Raises ``nothing_to_undo``.
    """
    here = known.current
    if here is None:
        raise RollbackError(
            Code.NOTHING_TO_UNDO, "no state of this configuration is known yet.", "make a backup with create_backup."
        )
    if not here.equals(live):
        if not _is_held(here, live, held):
            raise RollbackError(
                Code.NOT_FOUND,
                "the last known state is no longer in any backup.",
                "see list_backups and use rollback_to.",
            )
        return Walk(
            state=here,
            taken_back=None,
            next_undo=_next_undo(known, known.cursor, live, held),
            unavailable=(),
        )
    passed: list[str] = []
    for place in range(known.cursor - 1, -1, -1):
        state = known.states[place]
        if state.equals(live):
            continue
        if not _is_held(state, live, held):
            passed.append(state.version or state.timestamp)
            continue
        return Walk(
            state=state,
            taken_back=here,
            next_undo=_next_undo(known, place, live, held),
            unavailable=tuple(passed),
        )
    earliest = known.states[0]
    raise RollbackError(
        Code.NOTHING_TO_UNDO,
        f"nothing further: the earliest known state is of {earliest.timestamp}"
        + (f" ({earliest.version})." if earliest.version else ".")
        + _gone(passed),
        "redo goes forward again; list_backups shows every version for rollback_to.",
    )


def redo(known: Timeline, live: Mapping[str, str], held: frozenset[tuple[str, str]]) -> Walk:
    """The next state along what was undone. Raises ``nothing_to_redo``, also after any change since the undo."""
    here = known.current
    if here is not None and not here.equals(live):
        raise RollbackError(
            Code.NOTHING_TO_REDO,
            "the configuration was changed since the undo, so there is no way forward to redo.",
            "undo takes that change back; list_backups shows every version for rollback_to.",
        )
    passed: list[str] = []
    for place, state in enumerate(known.states):
        if place <= known.cursor or state.equals(live):
            continue
        if not _is_held(state, live, held):
            passed.append(state.version or state.timestamp)
            continue
        return Walk(
            state=state,
            taken_back=here,
            next_undo=_next_undo(known, place, live, held),
            unavailable=tuple(passed),
        )
    raise RollbackError(
        Code.NOTHING_TO_REDO,
        f"nothing was undone that could be redone.{_gone(passed)}",
        "list_backups shows every known version.",
    )


def foreign_changes(
    known: Timeline, wanted: Mapping[str, str], *, since_seq: int, project: str | None
) -> tuple[KnownState, ...]:
    """The states, oldest first, by which another project's session changed what bringing back ``wanted`` takes back.

    ``wanted`` are digests by the ids of the user's targets that change; they were live at record ``since_seq``. What
    has been taken back already, and what was done to other targets, is not meant.
    """
    found: dict[int, KnownState] = {}
    for target, digest in wanted.items():
        for place in range(known.cursor, 0, -1):
            state, before = known.states[place], known.states[place - 1]
            if state.seq <= since_seq or state.digests.get(target) == digest:
                break
            if state.project != project and state.digests.get(target) != before.digests.get(target):
                found[state.seq] = state
    return tuple(found[seq] for seq in sorted(found))


def _next_undo(
    known: Timeline, place: int, live: Mapping[str, str], held: frozenset[tuple[str, str]]
) -> KnownState | None:
    """What an undo would take back once the state at ``place`` is live."""
    state = known.states[place]
    after = {**live, **{target: digest for target, digest in state.digests.items() if digest and live.get(target)}}
    earlier = (one for one in known.states[:place] if not one.equals(after) and _is_held(one, after, held))
    return state if any(earlier) else None


def _gone(passed: Sequence[str]) -> str:
    """What is said of states that no backup holds any more where nothing lies beyond them; the nearest are named."""
    if not passed:
        return ""
    more = f" and {len(passed) - _NAMED} more" if len(passed) > _NAMED else ""
    return f" No backup holds {', '.join(passed[:_NAMED])}{more} any more."


def _is_held(state: KnownState, live: Mapping[str, str], held: frozenset[tuple[str, str]]) -> bool:
    return all((target, state.digests[target]) in held for target in state.drifted(live))
