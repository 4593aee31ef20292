"""Asking the audit: pages of what happened, and whether the chain can be believed. Nothing is changed."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from stravinsky_rollback_mcp.core.model import AuditFilter, AuditRecord, Chain, EventStatus, EventType
from stravinsky_rollback_mcp.core.names import plural
from stravinsky_rollback_mcp.core.outcome import AuditPage, ChainVerified
from stravinsky_rollback_mcp.core.times import bound
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Desk

_MAX_CURSOR = 18  # characters: more than any sequence number will ever have


def query_audit(
    desk: Desk,
    *,
    event_type: EventType | None,
    version: str | None,
    status: EventStatus | None,
    path: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    cursor: str | None,
) -> AuditPage:
    """One page of the audit, newest first. An intent without an outcome shows as interrupted."""
    if cursor is not None and (not (cursor.isascii() and cursor.isdecimal()) or len(cursor) > _MAX_CURSOR):
        raise RollbackError(
            Code.INVALID_ARGUMENT, "the cursor is not one that query_audit gave.", "leave it out to begin anew."
        )
    moment = desk.moment()
    wanted = AuditFilter(
        event_type=event_type,
        version=version,
        status=status,
        path=None if path is None else desk.shown(_absolute(desk, path)),
        since=None if since is None else bound(since, moment, is_end=False),
        until=None if until is None else bound(until, moment, is_end=True),
        before_seq=None if cursor is None else int(cursor),
        limit=limit,
    )
    chain = desk.audit.verify()
    records, next_seq = desk.audit.query(wanted)
    in_flight = _in_flight(desk)
    events = tuple(_as_it_stands(desk, record, in_flight) for record in records)
    health = "the chain is intact" if chain.intact else f"the chain is {_broken(chain)}"
    if not chain.checked:
        health = f"the chain is {chain.problem}"
    return AuditPage(
        summary=f"{plural(len(events), 'event')} shown; {health}.",
        next_step="" if chain.intact else "Run `stravinsky-rollback audit verify`.",
        notices=(),
        events=events,
        next_cursor=None if next_seq is None else str(next_seq),
        chain=chain,
    )


def _broken(chain: Chain) -> str:
    where = "" if chain.first_bad_seq is None else f" at record {chain.first_bad_seq}"
    return f"broken{where}: {chain.problem}"


def _absolute(desk: Desk, path: str) -> str:
    if path.startswith("~/"):
        return f"{desk.view.home}/{path[2:]}".rstrip("/")
    if path.startswith("/"):
        return path.rstrip("/") or "/"
    return f"{desk.view.project or desk.view.home}/{path}".rstrip("/")


def _in_flight(desk: Desk) -> frozenset[str]:
    """The operations and updates that are under way; what cannot be told is not."""
    found: set[str] = set()
    with suppress(RollbackError):
        found.update(update.operation_id for update in desk.updates.read())
    with suppress(RollbackError):
        journal = desk.journal.read()
        found.update(() if journal is None else (journal.operation_id,))
    return frozenset(found)


def _as_it_stands(desk: Desk, record: AuditRecord, in_flight: frozenset[str]) -> AuditRecord:
    draft = record.draft
    if draft.status is not EventStatus.STARTED or draft.operation_id is None or draft.operation_id in in_flight:
        return record
    ended = any(other.draft.status is not EventStatus.STARTED for other in desk.audit.trace(draft.operation_id))
    return record if ended else replace(record, draft=replace(draft, status=EventStatus.INTERRUPTED))


def verify_audit(desk: Desk) -> ChainVerified:
    """Check every record of the chain from the first on."""
    chain = desk.audit.verify(complete=True)
    summary = (
        f"{chain.events} records, each unchanged and in its place."
        if chain.intact
        else f"The chain is {_broken(chain)}."
    )
    return ChainVerified(
        summary=summary,
        next_step="" if chain.intact else "Compare with the seq and head that earlier results returned.",
        notices=(),
        chain=chain,
    )


def export_audit(desk: Desk, take: Callable[[AuditRecord], None]) -> ChainVerified:
    """Hand on every sound record that is kept, archives included, oldest first, each as it was written."""
    found = verify_audit(desk)
    desk.audit.export(take)
    return found
