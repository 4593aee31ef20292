"""What the first record of a log says of the logs before it, both ways.

A log that was rotated opens with the list of the archives that are kept and the range that retention removed: whoever
believes the log can check every archive, and knows where the chain may begin. A log that was begun anew after a break
opens with what was wrong. Long openings go on in further records of the same type, which only carry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from stravinsky_rollback_mcp.core.codec.text import Members
from stravinsky_rollback_mcp.core.model import AuditDraft, EventType

ROTATED = "rotated"
RESTARTED = "restarted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """One archived log: its records, the hash before the first, when the last was written, and the file's SHA-256."""

    first_seq: int
    last_seq: int
    prev: str
    until: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a log begins with. ``records`` is how many records the opening itself has.

    ``removed_to`` is the last record that retention took away with its archive, 0 when nothing was removed.
    ``broken`` tells, when the log was begun anew, what had been wrong with the one before.
    """

    archives: tuple[Archived, ...] = ()
    removed_to: int = 0
    records: int = 1
    broken: Mapping[str, object] | None = None


def encode(opening: Opening) -> dict[str, object]:
    """The details of the record that opens a log."""
    if opening.broken is not None:
        return {"reason": RESTARTED, "records": opening.records, "unanchored": True, **opening.broken}
    return {
        "reason": ROTATED,
        "records": opening.records,
        "removed_to": opening.removed_to,
        "archives": [
            {
                "from": item.first_seq,
                "to": item.last_seq,
                "prev": item.prev,
                "until": item.until,
                "sha256": item.sha256,
            }
            for item in opening.archives
        ],
    }


def decode(draft: AuditDraft) -> Opening:
    """What a record that opens a log says. Raises ValueError for one that does not."""
    if draft.event_type is not EventType.LOG_OPENED or draft.details is None:
        raise ValueError("the record opens no log")
    details = Members(draft.details)
    if details.text("reason") == RESTARTED:
        return Opening(records=details.number("records"), broken=draft.details)
    archives = tuple(_archived(Members(item)) for item in details.objects("archives"))
    for before, after in pairwise(archives):
        if before.last_seq + 1 != after.first_seq:
            raise ValueError("the archives leave a gap")
    return Opening(archives=archives, removed_to=details.number("removed_to"), records=details.number("records"))


def _archived(item: Members) -> Archived:
    return Archived(
        first_seq=item.number("from"),
        last_seq=item.number("to"),
        prev=item.text("prev"),
        until=item.text("until"),
        sha256=item.text("sha256"),
    )
