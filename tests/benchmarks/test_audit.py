"""How fast the audit is with a million events (speed goals, P6): a table, and no verdict about time.

Run with `pytest -m benchmark -n0 -s tests/benchmarks/test_audit.py`. The log is written directly, in the one form that
appends have; then the code under test takes it over.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.audit_log import DRAFT, log_in

from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.model import (
    Anchor,
    AuditDraft,
    AuditFilter,
    AuditRecord,
    EventStatus,
    EventType,
    TargetDigest,
)
from stravinsky_rollback_mcp.core.times import text_of
from stravinsky_rollback_mcp.disk.audit import AuditLog

EVENTS = 1_000_000
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
STATE = tuple(TargetDigest(target=f"user.target{number}", digest=f"{number:064x}") for number in range(6))
KINDS: tuple[AuditDraft, ...] = (
    *(replace(DRAFT, details={"operation": "rollback_to", "arguments_sha256": "0" * 64}) for _ in range(6)),
    replace(DRAFT, event_type=EventType.BACKUP_CREATED, status=EventStatus.SUCCESS, state=STATE),
    replace(DRAFT, event_type=EventType.MANUAL_ROLLBACK, status=EventStatus.STARTED, operation_id="op"),
    replace(DRAFT, event_type=EventType.MANUAL_ROLLBACK, status=EventStatus.SUCCESS, operation_id="op"),
    replace(DRAFT, event_type=EventType.DRIFT_DETECTED, status=EventStatus.SUCCESS, paths=("~/.claude/hooks",)),
)


def write(log: AuditLog, folder: Path, size_bytes: int) -> None:
    """A log of a million events, as appends would have left it; each ``size_bytes`` of it one append rotates."""
    while (head := log.anchor()).seq < EVENTS:
        written_bytes = 0
        with (folder / "operations.log").open("ab") as file:
            while head.seq < EVENTS and written_bytes < size_bytes:
                record = event(head.seq + 1)
                line = chain.encode_line(record, head.head)
                head = Anchor(seq=record.seq, head=chain.line_hash(line[:-1]))
                written_bytes += file.write(line)
        (folder / "head.json").write_bytes(chain.encode_head(head))
        log.append(DRAFT, now=text_of(BEGUN + timedelta(seconds=6 * head.seq)), event_id="between")


def event(number: int) -> AuditRecord:
    """One of ten kinds, ten a minute."""
    draft = KINDS[number % len(KINDS)]
    if draft.operation_id:
        draft = replace(draft, operation_id=f"op{number // len(KINDS)}")
    moment = text_of(BEGUN + timedelta(seconds=6 * number))
    draft = replace(draft, version=f"v{number % 1000}")
    return AuditRecord(seq=number, event_id=f"{number:016x}", timestamp=moment, draft=draft)


def median_ms(work: Callable[[], object], times: int = 9) -> float:
    """The median of a few runs, in milliseconds."""
    taken: list[float] = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def once_s(work: Callable[[], object]) -> float:
    """One run, in seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def sizes(folder: Path) -> str:
    """The log's size and the archives', in MB."""
    packed = [path.stat().st_size for path in (folder / "archive").glob("*.gz")]
    return f"{(folder / 'operations.log').stat().st_size / 1e6:.1f} MB, {len(packed)} in {sum(packed) / 1e6:.1f} MB"


FILTERS = {
    "newest 50": AuditFilter(),
    "by type": AuditFilter(event_type=EventType.MANUAL_ROLLBACK),
    "by status": AuditFilter(status=EventStatus.STARTED),
    "by version": AuditFilter(version="v7"),
    "by path": AuditFilter(path="~/.claude"),
    "by time": AuditFilter(since="2026-01-02T00:00:00Z", until="2026-01-20T00:00:00Z"),
    "by type, status, version": AuditFilter(
        event_type=EventType.MANUAL_ROLLBACK, status=EventStatus.STARTED, version="v7"
    ),
}


@pytest.mark.benchmark
@pytest.mark.long
def test_a_million_events(tmp_path: Path) -> None:
    """P6: append at a million / at none ≤ 1.2, pages ≤ 5 ms, whole check ≥ 400,000 events a second."""
    rows: list[tuple[str, str]] = []
    size_bytes = 50 << 20  # as it is when nobody sets it otherwise

    def append(log: AuditLog) -> Anchor:
        return log.append(DRAFT, now="2026-11-24T00:00:00.000Z", event_id="timed")

    empty = log_in(tmp_path / "empty", size_bytes=size_bytes)
    append(empty)
    at_none = median_ms(lambda: append(empty), 200)
    folder = tmp_path / "audit"
    log = log_in(folder, size_bytes=size_bytes)
    log.check_writable()
    write(log, folder, size_bytes)
    rows.append(("bytes of the log, of archives", f"{sizes(folder)}"))
    at_million = median_ms(lambda: append(log), 200)
    rows.append(("append at none / at a million", f"{at_none:.3f} / {at_million:.3f} ms = {at_million / at_none:.2f}"))
    rows.append(("first look of a fresh process", f"{once_s(log_in(folder).verify):.2f} s"))
    fresh = log_in(folder, size_bytes=size_bytes)
    whole = once_s(lambda: fresh.verify(complete=True))
    rows.append(("whole check", f"{whole:.2f} s = {EVENTS / whole:,.0f} events/s"))
    rows.append(("check of what is new", f"{median_ms(log.verify):.3f} ms"))
    rows.append(("operation()", f"{median_ms(lambda: log.operation('op99999')):.3f} ms"))
    rows.append(("index built", f"{once_s(lambda: log.query(AuditFilter())):.1f} s"))
    rows.append(("first query of a fresh process", f"{once_s(lambda: fresh.query(AuditFilter())):.2f} s"))
    for name, wanted in FILTERS.items():
        _, cursor = log.query(replace(wanted, limit=49_950))
        deep = replace(wanted, before_seq=cursor)
        newest, far = (median_ms(lambda page=page: log.query(page)) for page in (wanted, deep))
        rows.append((name, f"{newest:.2f} ms, page 1,000 {far:.2f} ms" if cursor else f"{newest:.2f} ms"))
    rows.append(("trace() of an old operation", f"{median_ms(lambda: log.trace('op500')):.3f} ms"))
    for name, value in rows:
        print(f"{name:45} {value}")  # noqa: T201
