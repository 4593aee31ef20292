"""What a caller means by a version: a backup's name, or a selector that stands for a known state."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.codec import creation as creation_codec
from stravinsky_rollback_mcp.core.model import AuditRecord, EventType, StoredTarget
from stravinsky_rollback_mcp.core.selectors import selector_of
from stravinsky_rollback_mcp.disk.store import Opened
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Desk, Known
from stravinsky_rollback_mcp.service.look import Look, gather
from stravinsky_rollback_mcp.service.stored import (
    backups_of_view,
    matching_version,
    open_authentic,
    recorded_digests,
    source_of,
)
from stravinsky_rollback_mcp.service.walk import stride


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A state that can be brought back: which backup holds each target, and since which record it may be gone.

    ``version`` is the backup that holds the whole state; None when only several together do, and then ``opened`` is
    None too. ``name`` says in a sentence what is meant.
    """

    name: str
    version: str | None
    opened: Opened | None
    targets: Mapping[str, tuple[str, StoredTarget]]
    since_seq: int


def goal_of(desk: Desk, look: Look, text: str) -> Goal:
    """The state that a version or selector names.

    Raises ``invalid_argument`` for a word that is no selector, ``not_found`` where nothing is meant by it, and what
    ``open_authentic`` raises.
    """
    selector = selector_of(text, desk.moment())
    if selector is None:
        return _of_version(desk, look.known, text, text)
    if selector.moment is None:
        return _previous(desk, look, text)
    version = _newest_at(desk, look.known, text, selector.moment)
    return _of_version(desk, look.known, version, f"{version} ({text})")


def last_known(desk: Desk, look: Look) -> Goal:
    """The state at which this program last saw the configuration. Raises ``not_found`` when it never did."""
    state = look.known.timeline.current
    if state is None:
        raise RollbackError(
            Code.NOT_FOUND, "no state of this configuration is known yet.", "make a backup with create_backup."
        )
    version = matching_version(desk, look.known, state.digests)
    if version is not None:
        with suppress(RollbackError):  # a damaged one: each target may be whole in another backup
            return _of_version(desk, look.known, version, version)
    found = {
        target_id: source_of(desk, look.known, target_id, digest)
        for target_id, digest in state.digests.items()
        if digest
    }
    return Goal(
        name=f"the last known state, of {state.timestamp}",
        version=None,
        opened=None,
        targets={target_id: source for target_id, source in found.items() if source is not None},
        since_seq=state.seq,
    )


def version_of(desk: Desk, known: Known, text: str) -> str:
    """The one backup that a version or selector names, for whom only a whole backup will do."""
    selector = selector_of(text, desk.moment())
    if selector is None:
        return text
    if selector.moment is not None:
        return _newest_at(desk, known, text, selector.moment)
    goal = _previous(desk, gather(desk), text)
    if goal.version is None:
        parts = ", ".join(f"{target} is in {version}" for target, (version, _) in goal.targets.items())
        raise RollbackError(
            Code.NOT_FOUND,
            f"no single backup holds {goal.name}: {parts}.",
            "name one of these, or bring the state back with undo or with rollback_to.",
        )
    return goal.version


def _of_version(desk: Desk, known: Known, version: str, name: str) -> Goal:
    opened = open_authentic(desk, known, version)
    return Goal(
        name=name,
        version=version,
        opened=opened,
        targets={stored.id: (version, stored) for stored in opened.manifest.targets},
        since_seq=known.backups[version].seq,
    )


def _previous(desk: Desk, look: Look, text: str) -> Goal:
    """The known state before the live one: what undo would bring back."""
    try:
        found = stride(desk, look, EventType.UNDO)
    except RollbackError as error:
        if error.code is not Code.NOTHING_TO_UNDO:
            raise
        raise RollbackError(
            Code.NOT_FOUND,
            f"{text} means nothing here: no known state lies before the live one.",
            "list_backups shows every version.",
        ) from error
    state = found.walk.state
    targets = {step.target.id: (step.version, step.stored) for step in found.steps}
    for target_id, digest in state.digests.items():
        source = None if target_id in targets or not digest else source_of(desk, look.known, target_id, digest)
        if source is not None:
            targets[target_id] = source
    version = matching_version(desk, look.known, look.with_state(state.digests))
    name = f"the state of {state.timestamp} ({text})" if version is None else f"{version} ({text})"
    return Goal(name=name, version=version, opened=None, targets=targets, since_seq=state.seq)


def _newest_at(desk: Desk, known: Known, text: str, moment: str) -> str:
    """The newest intact backup of this view that was made at or before a moment. Raises ``not_found``."""
    backups = [(version, record) for version, record in backups_of_view(desk, known) if _was_live(known, record)]
    for version, record in backups:
        if _made_at(record) <= moment and _is_intact(desk, known, version):
            return version
    hint = "list_backups shows every version." if backups else "make one with create_backup."
    if backups:
        oldest, record = backups[-1]
        hint = f"the oldest is {oldest}, @{_made_at(record)}; {hint}"
    raise RollbackError(Code.NOT_FOUND, f"{text} means nothing here: no intact backup is that old.", hint)


def _made_at(record: AuditRecord) -> str:
    """When a backup was made, as lists show it: a moment before it was recorded."""
    try:
        return creation_codec.decode(record).created_at
    except ValueError:
        return record.timestamp


def _was_live(known: Known, record: AuditRecord) -> bool:
    """Whether what a backup holds was live once: a result was stored before it was, a rescued tree never whole."""
    if record.draft.state is not None:
        return True
    digests = recorded_digests(record)
    states = known.timeline.states
    return any({target: digest for target, digest in state.digests.items() if digest} == digests for state in states)


def _is_intact(desk: Desk, known: Known, version: str) -> bool:
    try:
        return not desk.store.verify(open_authentic(desk, known, version))
    except RollbackError:
        return False
