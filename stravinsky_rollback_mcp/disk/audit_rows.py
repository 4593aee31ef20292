"""What a row of the audit's index says of a record, and the conditions that a filter puts on rows."""

from stravinsky_rollback_mcp.core.model import AuditFilter, AuditRecord


def instant_key(timestamp: str) -> str:
    """A UTC time so written that text order is time order, with or without fractions of a second."""
    plain = timestamp.encode("ascii", "backslashreplace").decode("ascii")  # a forger may write any
    whole, point, fraction = plain.removesuffix("Z").partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}{point}{fraction}" if fraction else whole


def conditions(wanted: AuditFilter) -> tuple[str, tuple[object, ...]]:
    """The columns' conditions and their values; a path and the bounds of ``seq`` are not among them."""
    pairs: list[tuple[str, object | None]] = [
        ("e.event_type = ?", wanted.event_type and wanted.event_type.value),
        ("e.status = ?", wanted.status and wanted.status.value),
        ("e.version = ?", None if wanted.version is None else key_of(wanted.version)),
        ("e.instant >= ?", wanted.since and instant_key(wanted.since)),
        ("e.instant <= ?", wanted.until and instant_key(wanted.until)),
    ]
    given = [(condition, value) for condition, value in pairs if value is not None]
    return "".join(f" AND {condition}" for condition, _ in given), tuple(value for _, value in given)


def driver(wanted: AuditFilter) -> str:
    """The index to walk: without statistics SQLite's own choice may sort a million rows."""
    if wanted.version is not None:
        return "INDEXED BY events_version"
    if wanted.event_type is not None:
        return "INDEXED BY events_type" if wanted.status is None else "INDEXED BY events_type_status"
    return "NOT INDEXED" if wanted.status is None else "INDEXED BY events_status"


def columns(record: AuditRecord) -> tuple[str, str, bytes | None, bytes | None, str, int]:
    """What a row says of a record beside its place."""
    draft = record.draft
    version = None if draft.version is None else key_of(draft.version)
    operation = None if draft.operation_id is None else key_of(draft.operation_id)
    instant = instant_key(record.timestamp)
    return draft.event_type.value, draft.status.value, version, operation, instant, len(set(draft.paths))


def key_of(name: str) -> bytes:
    """A version or an operation's id as the tables hold it: bytes, since it may hold what SQLite's text cannot."""
    return name.encode("utf-8", "surrogatepass")
