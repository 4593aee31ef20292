"""What is under way in this view: an operation of ours, an update of somebody else's."""

from stravinsky_rollback_mcp.core.codec.journal import Journal
from stravinsky_rollback_mcp.core.codec.updates import OpenUpdate
from stravinsky_rollback_mcp.core.model import AuditFilter, EventStatus, EventType
from stravinsky_rollback_mcp.errors import RollbackError
from stravinsky_rollback_mcp.service.desk import Desk


def open_update(desk: Desk) -> OpenUpdate | None:
    """The update that was begun in this view and not ended. Raises ``needs_attention`` when that cannot be told.

    The audit has the last word: what ended there, in a process that died before it could say so here, is over.
    """
    own = (desk.view.user_root, desk.view.project)
    update = next((one for one in desk.updates.read() if (one.user_root, one.project) == own), None)
    return None if update is None or _has_ended(desk, update) else update


def _has_ended(desk: Desk, update: OpenUpdate) -> bool:
    records = desk.audit.trace(update.operation_id)
    if any(record.draft.event_type is EventType.UPDATE_SUCCESS for record in records):
        return True
    taken_back = AuditFilter(
        event_type=EventType.AUTO_ROLLBACK, version=update.backup, status=EventStatus.SUCCESS, limit=1
    )
    return bool(desk.audit.query(taken_back)[0])


def operation(desk: Desk) -> Journal | None:
    """The operation in flight, else one that waits for a person; None when there is none or it is damaged."""
    try:
        return desk.journal.read() or next(iter(desk.journal.parked().values()), None)
    except RollbackError:
        return None  # its damage is among the notices
