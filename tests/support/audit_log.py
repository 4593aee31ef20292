"""A log of an audit that is taken apart line by line, across its archives, and put together again."""

import gzip
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.model import Actor, AuditDraft, AuditRecord, EventStatus, EventType, TargetDigest
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit import AuditLog
from stravinsky_rollback_mcp.disk.audit_rotation import Rotation

DRAFT = AuditDraft(
    event_type=EventType.REFUSED,
    status=EventStatus.REFUSED,
    actor=Actor(kind="terminal"),
    user_root="/home/u/.claude",
    project=None,
    paths=("/p/a",),
)
STATE = (TargetDigest(target="user.hooks", digest="d"),)
NEVER = 10**6  # days

Tamper = Callable[[list[bytes], int], list[bytes]]


def log_in(folder: Path, *, size_bytes: int = 4096, days: int = NEVER, files: Files | None = None) -> AuditLog:
    """A log, as another process would see it, that is put away at a few records."""
    log = AuditLog(str(folder), files or Files())
    log._rotation = Rotation(size_bytes=size_bytes, days=days, retention_days=NEVER)
    return log


def moment(number: int) -> str:
    """One moment a minute."""
    return f"2026-01-{1 + number // 1440:02d}T{number // 60 % 24:02d}:{number % 60:02d}:00Z"


def fill(folder: Path, first: int, last: int, *, size_bytes: int = 4096) -> AuditLog:
    """Add records; each third is a backup with a state, each fifth belongs to an operation."""
    log = log_in(folder, size_bytes=size_bytes)
    for number in range(first, last + 1):
        draft = replace(DRAFT, version=f"v{number}")
        if number % 3 == 0:
            draft = replace(draft, event_type=EventType.BACKUP_CREATED, status=EventStatus.SUCCESS, state=STATE)
        if number % 5 == 0:
            draft = replace(draft, operation_id=f"op{number}")
        log.append(draft, now=moment(number), event_id=f"e{number}")
    return log


def archives(folder: Path) -> list[Path]:
    """The archived logs, oldest first."""
    return sorted((folder / "archive").glob("*.gz"), key=lambda path: int(path.name.split(".")[2].split("-")[0]))


def whole(folder: Path) -> list[AuditRecord]:
    """Every record of archives and log, read without the code under test."""
    raw = b"".join(gzip.decompress(path.read_bytes()) for path in archives(folder))
    return [chain.decode_line(line) for line in (raw + (folder / "operations.log").read_bytes()).splitlines()]


# -- tampering ------------------------------------------------------------------------------------------------------


def edit(lines: list[bytes], at: int) -> list[bytes]:
    """Change one word of one record."""
    changed = lines[at].replace(b'"status":"', b'"status":"un', 1)
    return [*lines[:at], changed, *lines[at + 1 :]]


def edit_and_hash(lines: list[bytes], at: int) -> list[bytes]:
    """Change one record and give it the right hash again."""
    _, prev, _ = chain.stated(lines[at])
    record = replace(chain.decode_line(lines[at]), event_id="xx")
    return [*lines[:at], chain.encode_line(record, prev)[:-1], *lines[at + 1 :]]


def delete(lines: list[bytes], at: int) -> list[bytes]:
    """Take one record out."""
    return [*lines[:at], *lines[at + 1 :]]


def insert(lines: list[bytes], at: int) -> list[bytes]:
    """Put a copy of a record behind itself."""
    return [*lines[: at + 1], lines[at], *lines[at + 1 :]]


def insert_forged(lines: list[bytes], at: int) -> list[bytes]:
    """Put a record before one that fits what is before it, number and hash included."""
    seq, prev, _ = chain.stated(lines[at])
    forged = AuditRecord(seq=seq, event_id="forged", timestamp=moment(1), draft=DRAFT)
    return [*lines[:at], chain.encode_line(forged, prev)[:-1], *lines[at:]]


def insert_garbage(lines: list[bytes], at: int) -> list[bytes]:
    """Put a line that is no record before one."""
    return [*lines[:at], b"{}", *lines[at:]]


def exchange(lines: list[bytes], at: int) -> list[bytes]:
    """Exchange a record with the one after it, the last with the first."""
    after = (at + 1) % len(lines)
    changed = list(lines)
    changed[at], changed[after] = lines[after], lines[at]
    return changed


def cut(lines: list[bytes], at: int) -> list[bytes]:
    """Keep the first records alone."""
    return lines[:at]


def first_bad(tamper: Tamper, at: int, first_seq: int, last_seq: int, *, is_tail: bool) -> int:
    """The first record that is wrong when ``at`` (from 0) of a file with those records was tampered with.

    ``is_tail`` says that nothing follows on the file but the head.
    """
    seq = first_seq + at
    if tamper in (edit_and_hash, insert_forged):
        # It fits what is before it, so what follows does not fit; the head alone speaks of the last of all.
        is_last = is_tail and seq == last_seq
        is_no_opening = tamper is insert_forged and is_tail and at == 0 and first_seq > 1
        return seq if is_last or is_no_opening else seq + 1
    if tamper is insert:
        return seq + 1
    if tamper is exchange and seq == last_seq:
        return first_seq
    return seq


TAMPERS: Sequence[Tamper] = (edit, edit_and_hash, delete, insert, insert_forged, insert_garbage, exchange, cut)
