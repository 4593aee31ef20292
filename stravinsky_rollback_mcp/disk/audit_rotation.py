"""Putting a full or old log away: an archive of what it holds, and a new log that opens with what is still needed.

The archive is durable under its name before the new log takes the old one's place by one rename, so each step can be
the last: what a stop leaves is a file that no log names, which the next rotation replaces or removes. The head is
written last; it may lag behind an opening as it may behind any other record.
"""

import contextlib
import itertools
import os
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core import carry
from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.codec import opening as opening_codec
from stravinsky_rollback_mcp.core.codec.opening import Archived, Opening
from stravinsky_rollback_mcp.core.model import Actor, Anchor, AuditDraft, AuditRecord, EventStatus, EventType
from stravinsky_rollback_mcp.core.policy import AuditPolicy
from stravinsky_rollback_mcp.core.retention import longest_gap_seconds
from stravinsky_rollback_mcp.core.times import DAY_SECONDS, believable_ages, seconds_between
from stravinsky_rollback_mcp.disk import audit_archive
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit_chain import ChainReader
from stravinsky_rollback_mcp.disk.audit_lines import OpenLog, Place, Prefix
from stravinsky_rollback_mcp.errors import RollbackError

_MAX_ARCHIVES = 2_000  # their list has to fit into one record


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """When a log is put away and for how long archives are kept; sizes in bytes, times in days."""

    size_bytes: int
    days: int
    retention_days: int

    @classmethod
    def of(cls, policy: AuditPolicy) -> "Rotation":
        """As the person set it."""
        return cls(
            size_bytes=policy.log_rotation_size_mb << 20,
            days=policy.log_rotation_days,
            retention_days=policy.log_retention_days,
        )

    def is_due(self, prefix: Prefix, opening: Opening, now: str) -> bool:
        """Whether the log is full, old, or has to say that an archive goes. An opening alone is never put away."""
        if prefix.end <= prefix.body:
            return False
        if prefix.end - prefix.body >= self.size_bytes or _is_past(prefix.begun_at, now, self.days):
            return True
        return self.expired([*(item.until for item in opening.archives), prefix.begun_at], now) > 0

    def expired(self, moments: Sequence[str], now: str) -> int:
        """How many archives are too old to be kept, oldest first; ``moments`` are when each of them ends.

        Not what only a clock that was set ahead calls old: an archive that went by mistake is gone.
        """
        gap_seconds = max(longest_gap_seconds(self.retention_days), self.days * DAY_SECONDS)
        ages = believable_ages(moments, now, gap_seconds)
        return sum(1 for _ in itertools.takewhile(lambda age: age >= self.retention_days * DAY_SECONDS, ages))


def _is_past(begun: str, now: str, days: int) -> bool:
    try:
        return seconds_between(begun, now) >= days * DAY_SECONDS
    except (ValueError, TypeError):
        # A time stamp that is none: what it says of age cannot be told.
        return False


def rotate(
    reader: ChainReader, files: Files, rotation: Rotation, existing: Collection[str] | None, about: AuditRecord
) -> None:
    """Put the log away. The audit's lock is held, the log is sound to its last byte, and the head counts it all.

    ``about`` is the record that waits to be appended: the opening has its time and id.
    """
    with reader.open() as log:
        archived = _archive(reader, log, files)
        named = (*reader.opening.archives, archived)
        expired = rotation.expired([item.until for item in named], about.timestamp)
        kept = named[max(expired, len(named) - _MAX_ARCHIVES) :]
        opening = Opening(archives=kept, removed_to=kept[0].first_seq - 1 if kept else archived.last_seq)
        carried = carry.carried(
            reader.backups.records(log),
            reader.states.records(log),
            reader.operations.newest(carry.MAX_OPERATIONS, log),
            existing,
        )
        by_itself = replace(about, draft=replace(about.draft, actor=Actor(kind="server", name="audit")))
        content, head = open_log(opening, carried, by_itself, Anchor(seq=log.prefix.seq, head=log.prefix.hash))
    files.write_file(reader.log, content)
    files.write_file(reader.head, chain.encode_head(head))
    reader.look()
    sweep(reader, files)


def _archive(reader: ChainReader, log: OpenLog, files: Files) -> Archived:
    """The log as an archive, durable under its name."""
    prefix = log.prefix
    folder = reader.archives.folder
    path = os.path.join(folder, audit_archive.name_of(prefix.first_seq, prefix.seq))
    size_bytes = prefix.end - 1 - prefix.last_start
    last = log.require(Place(seq=prefix.seq, offset=prefix.last_start, size_bytes=size_bytes, hash=prefix.hash))
    files.ensure_folder(folder)
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        sha256 = audit_archive.write(log.lines(prefix.first_seq, 0), temporary, files)
        files.publish(temporary, path)
    except RollbackError:
        with contextlib.suppress(RollbackError):  # the first error is the one to tell
            files.remove_file(temporary)
        raise
    return Archived(
        first_seq=prefix.first_seq, last_seq=prefix.seq, prev=prefix.before, until=last.timestamp, sha256=sha256
    )


def open_log(
    opening: Opening, carried: tuple[AuditRecord, ...], about: AuditRecord, before: Anchor
) -> tuple[bytes, Anchor]:
    """The lines that open a log which follows on ``before``, and where they end; the actor is that of ``about``."""
    parts = list(carry.chunks(carried))
    details = opening_codec.encode(replace(opening, records=len(parts)))
    lines: list[bytes] = []
    for place, part in enumerate(parts):
        draft = AuditDraft(
            event_type=EventType.LOG_OPENED,
            status=EventStatus.SUCCESS,
            actor=about.draft.actor,
            user_root=about.draft.user_root,
            project=about.draft.project,
            details=details if place == 0 else {"reason": details["reason"], "part": place + 1},
            carried=part,
        )
        record = AuditRecord(
            seq=before.seq + 1, event_id=f"{about.event_id}-log{place + 1}", timestamp=about.timestamp, draft=draft
        )
        lines.append(chain.encode_line(record, before.head))
        before = Anchor(seq=record.seq, head=chain.line_hash(lines[-1][:-1]))
    return b"".join(lines), before


def sweep(reader: ChainReader, files: Files) -> None:
    """Remove the archives that no sound log names: retention let them go, or a rotation was cut short."""
    look = reader.look()
    if not (look.chain.intact and look.chain.checked):
        return
    named = {reader.archives.path(item) for item in reader.archives.named}
    for _, _, name in reader.archive_names():
        path = os.path.join(reader.archives.folder, name)
        if path not in named:
            files.remove_file(path)
    if os.path.isdir(reader.archives.folder):
        files.sweep_temporaries(reader.archives.folder)
