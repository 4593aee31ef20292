"""What is live beside what is known, and what a caller should be told about it whatever was asked."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import Field, replace
from datetime import UTC, datetime
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from stravinsky_rollback_mcp.core.components import is_settings
from stravinsky_rollback_mcp.core.history import Restoring
from stravinsky_rollback_mcp.core.keypaths import changed_keys
from stravinsky_rollback_mcp.core.model import AuditFilter, EventType, TargetState
from stravinsky_rollback_mcp.core.names import capped
from stravinsky_rollback_mcp.core.outcome import Current, Drift
from stravinsky_rollback_mcp.core.times import text_of
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file
from stravinsky_rollback_mcp.disk.scan import Scan
from stravinsky_rollback_mcp.errors import RollbackError
from stravinsky_rollback_mcp.service.desk import Desk, Known, digests_of
from stravinsky_rollback_mcp.service.stored import known_file, matching_version
from stravinsky_rollback_mcp.service.underway import open_update

Outcome = TypeVar("Outcome")

_NS = 1_000_000_000


@runtime_checkable
class _Spoken(Protocol):
    """An outcome that carries notices, as all do that are told to somebody."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]

    @property
    def notices(self) -> tuple[str, ...]: ...


def current_of(desk: Desk, known: Known, seen: Mapping[str, Scan]) -> Current:
    """What is live: the version that equals it, and which targets differ from the last known state."""
    return Current(version=matching_version(desk, known, digests_of(seen)), drift=_drift(desk, known, seen))


def _drift(desk: Desk, known: Known, seen: Mapping[str, Scan]) -> tuple[Drift, ...]:
    live = digests_of(seen)
    here = known.timeline.current
    drifted = {} if here is None else {name: here.digests[name] for name in here.drifted(live)}
    now = desk.now()
    desk.noticed = noticed = {(name, live[name]): desk.noticed.get((name, live[name]), now) for name in drifted}
    return tuple(
        Drift(
            target=name,
            path=desk.shown_target(seen[name].place.target),
            noticed_at=noticed[name, live[name]],
            keys=capped(_keys(desk, known, seen[name], digest)),
        )
        for name, digest in drifted.items()
    )


def _keys(desk: Desk, known: Known, seen: Scan, digest: str) -> tuple[str, ...]:
    """The key paths by which live settings differ from the known ones; none for other targets, or when not known."""
    if not is_settings(seen.place.target):
        return ()
    try:
        before = known_file(desk, known, seen.place.target.id, digest)
        is_present = seen.tree.state is TargetState.PRESENT
        after = read_file(seen.place.resolved, desk.config.limits.max_file_size_bytes) if is_present else None
    except (RollbackError, ChangedWhileReadError):
        return ()
    return changed_keys(before, after)


def of_the_view(desk: Desk) -> tuple[str, ...]:
    """What everybody should know of what is live, whatever was asked; nothing when it cannot be looked at now."""
    with suppress(RollbackError):
        return of_what_was_seen(desk, desk.known(), desk.glance())
    return ()


def of_a_glance(desk: Desk, known: Known, seen: Mapping[str, Scan]) -> tuple[str, ...]:
    """The same for a use case that looked by itself."""
    with suppress(RollbackError):
        return of_what_was_seen(desk, known, seen)
    return ()


def of_what_was_seen(desk: Desk, known: Known, seen: Mapping[str, Scan]) -> tuple[str, ...]:
    """The same from a look that was taken already, beside what was known before it."""
    return (*_out_of_sight(desk, seen), *_changed_outside(desk, known, seen))


def standing(desk: Desk) -> tuple[str, ...]:
    """Overrides that are not followed; what was begun and not ended: an operation of ours, an update of somebody's."""
    notices = list(desk.config.warnings)
    try:
        journal = desk.journal.read()
        if journal is not None:
            notices.append(
                f"The {journal.outcome.event_type} of {journal.started_at} is unfinished. If nothing else runs, "
                "`stravinsky-rollback recovery resume` brings it to an end."
            )
        notices.extend(desk.needs_a_person(record) for record in desk.journal.parked().values())
        update = open_update(desk)
        if update is not None:
            notices.append(
                f"The update {update.version} that began at {update.started_at} is still open; the state before it "
                f"is in backup {update.backup}. `stravinsky-rollback update finish` checks and ends it, "
                "`stravinsky-rollback update finish --failed interrupted` takes it back."
            )
    except RollbackError as error:
        notices.append(str(error))
    return tuple(notices)


def added(outcome: Outcome, notices: tuple[str, ...]) -> Outcome:
    """What a use case returned, with notices behind its own; each is told once."""
    if not isinstance(outcome, _Spoken):
        return outcome
    return replace(outcome, notices=tuple(dict.fromkeys((*outcome.notices, *notices))))


def _out_of_sight(desk: Desk, seen: Mapping[str, Scan]) -> tuple[str, ...]:
    refusals = [item.place.refusal for item in seen.values() if item.place.refusal is not None]
    if not refusals:
        return ()
    others = f", nor are {len(refusals) - 1} more that cannot be looked at" if len(refusals) > 1 else ""
    return (f"{desk.told(refusals[0].message)} It is neither backed up nor restored{others}.",)


def _changed_outside(desk: Desk, known: Known, seen: Mapping[str, Scan]) -> tuple[str, ...]:
    """Whether what a restore of ours brought back was overwritten again, or a session began with a change."""
    here = known.timeline.current
    drift = _drift(desk, known, seen)
    if not drift:
        return _absorbed(desk, known)
    restoring = None if here is None else here.restoring
    if restoring is None:
        return ()
    what = ", ".join(_drifted(item) for item in drift)
    restored = f"the {restoring.event_type.lower()} of {restoring.timestamp} (audit {restoring.seq})"
    when = _when(desk, restoring, seen, drift)
    return (f"Overwritten again at {when} after {restored}: {what}. `undo` brings back what was restored.",)


def _drifted(item: Drift) -> str:
    return f"{item.path} {', '.join(item.keys)}" if item.keys else item.path


def _when(desk: Desk, restoring: Restoring, seen: Mapping[str, Scan], drift: tuple[Drift, ...]) -> str:
    """When the newest file that drifted was written; when that was noticed where its time stamp does not tell."""
    entries = [entry for item in drift for entry in seen[item.target].tree.entries]
    newest_ns = max((entry.mtime_ns for entry in entries), default=0)
    written = text_of(datetime.fromtimestamp(newest_ns / _NS, tz=UTC))
    return written if restoring.timestamp < written <= desk.now() else min(item.noticed_at for item in drift)


def _absorbed(desk: Desk, known: Known) -> tuple[str, ...]:
    """An outside change that was found, and backed up, when a session began: nobody was told yet."""
    here = known.timeline.current
    record = None if here is None or here.version is None else known.backups.get(here.version)
    if here is None or record is None or record.draft.actor.kind != "server":
        return ()
    found, _ = desk.audit.query(AuditFilter(event_type=EventType.DRIFT_DETECTED, limit=1))
    if not found or found[0].seq < record.seq or found[0].draft.state != record.draft.state:
        return ()
    what = ", ".join(found[0].draft.paths)
    return (f"Changed outside before the session began at {record.timestamp}: {what}. `undo` takes that back.",)
