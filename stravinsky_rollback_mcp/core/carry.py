"""What a rotated log takes over from the one before, so that nobody has to open an archive for daily work."""

from collections.abc import Collection, Iterable, Iterator

from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.model import AuditRecord, EventType

MAX_STATES = 256  # of each view: undo does not reach further back than a rotation carries
MAX_OPERATIONS = 64  # records: whatever recovery may still have to look up is among the newest
_NEWEST_BACKUPS = 3  # one that is being made is recorded before it exists
_CHUNK_BYTES = 1 << 18


def carried(
    backups: Iterable[AuditRecord],
    states: Iterable[AuditRecord],
    operations: Iterable[AuditRecord],
    existing: Collection[str] | None,
) -> tuple[AuditRecord, ...]:
    """The records to take over, oldest first; each argument is in the order of the log, ``existing`` None for all.

    They are the last record of each backup that exists, the newest states of each view, every adoption (whoever reads
    those needs it), and the newest operations.
    """
    by_version = {record.draft.version or "": record for record in backups}
    newest = sorted(by_version, key=lambda version: by_version[version].seq)[-_NEWEST_BACKUPS:]
    kept = {
        record.seq: record
        for version, record in by_version.items()
        if existing is None or version in existing or version in newest
    }
    views: dict[tuple[str, str | None], list[AuditRecord]] = {}
    for record in states:
        if record.draft.event_type is EventType.ADOPTED:
            kept[record.seq] = record
        views.setdefault((record.draft.user_root, record.draft.project), []).append(record)
    for view in views.values():
        kept |= {record.seq: record for record in view[-MAX_STATES:]}
    kept |= {record.seq: record for record in list(operations)[-MAX_OPERATIONS:]}
    return tuple(kept[seq] for seq in sorted(kept))


def chunks(records: Iterable[AuditRecord]) -> Iterator[tuple[AuditRecord, ...]]:
    """The records in parts of which each fits into one record of the log; at least one part, which may be empty."""
    part: list[AuditRecord] = []
    size_bytes = 0
    for record in records:
        length = len(chain.encode_line(record, chain.GENESIS))
        if part and size_bytes + length > _CHUNK_BYTES:
            yield tuple(part)
            part, size_bytes = [], 0
        part.append(record)
        size_bytes += length
    yield tuple(part)
