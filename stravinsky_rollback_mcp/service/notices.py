"""What is live beside what is known, and what a caller should be told about it whatever was asked."""

from collections.abc import Mapping
from datetime import UTC, datetime

from stravinsky_rollback_mcp.core.components import is_settings
from stravinsky_rollback_mcp.core.history import KnownState
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

_OPERATIONS = frozenset(
    {
        EventType.MANUAL_ROLLBACK,
        EventType.AUTO_ROLLBACK,
        EventType.RECOVERY_ATTEMPT,
        EventType.UNDO,
        EventType.REDO,
    }
)
_NS = 1_000_000_000


def current_of(desk: Desk, known: Known, seen: Mapping[str, Scan]) -> Current:
    """What is live: the version that equals it, and which targets differ from the last known state."""
    live = digests_of(seen)
    here = known.timeline.current
    version = matching_version(desk, known, live)
    if here is None:
        return Current(version=version, drift=())
    now = desk.now()
    drift = tuple(
        Drift(
            target=name,
            path=desk.shown_target(seen[name].place.target),
            noticed_at=now,
            keys=capped(_keys(desk, known, seen[name], here.digests[name])),
        )
        for name in here.drifted(live)
    )
    return Current(version=version, drift=drift)


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


def notices_of(desk: Desk, known: Known, seen: Mapping[str, Scan], current: Current) -> tuple[str, ...]:
    """What everybody should know who asks for anything, one sentence or two each."""
    notices = list(desk.unfinished())
    notices.extend(
        f"{desk.told(item.place.refusal.message)} It is neither backed up nor restored."
        for item in seen.values()
        if item.place.refusal is not None
    )
    here = known.timeline.current
    if here is not None and current.drift and here.event_type in _OPERATIONS:
        what = ", ".join(_drifted(item) for item in current.drift)
        notices.append(
            f"Overwritten again at {_when(desk, here, seen, current)} after the {here.event_type.lower()} of "
            f"{here.timestamp} (audit {here.seq}): {what}. `undo` brings back what was restored."
        )
    if not current.drift:
        notices.extend(_absorbed(desk, known))
    return tuple(notices)


def _drifted(item: Drift) -> str:
    return f"{item.path} {', '.join(item.keys)}" if item.keys else item.path


def _when(desk: Desk, here: KnownState, seen: Mapping[str, Scan], current: Current) -> str:
    """When the newest file that drifted was written; now where its time stamp does not tell."""
    names = [item.target for item in current.drift]
    newest_ns = max((entry.mtime_ns for name in names for entry in seen[name].tree.entries), default=0)
    written = text_of(datetime.fromtimestamp(newest_ns // _NS, tz=UTC))
    return written if here.timestamp < written <= desk.now() else desk.now()


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
