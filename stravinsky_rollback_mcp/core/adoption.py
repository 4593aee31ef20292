"""A project that moved: what was recorded of its old path belongs to its new one, from the record of that on.

The log stays as it was written; who owns a record is worked out when it is read. Only what came before the adoption
changes hands, so a new project at the old path begins a history of its own.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.codec import adoption as codec
from stravinsky_rollback_mcp.core.model import AuditRecord, EventStatus, EventType, Manifest, Scope, StoredTarget
from stravinsky_rollback_mcp.core.names import is_inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """Record ``seq`` gave to the project at path ``new`` what was recorded of path ``old`` until then."""

    seq: int
    timestamp: str
    old: str
    new: str


def adoptions_in(records: Iterable[AuditRecord]) -> tuple[Adoption, ...]:
    """The adoptions among these records, oldest first as they are; one that says nothing sensible gives nothing."""
    found: list[Adoption] = []
    for record in records:
        draft = record.draft
        if (draft.event_type, draft.status) == (EventType.ADOPTED, EventStatus.SUCCESS) and draft.project is not None:
            with suppress(ValueError):
                old = codec.decode(draft.details or {})
                found.append(Adoption(seq=record.seq, timestamp=record.timestamp, old=old, new=draft.project))
    return tuple(found)


def owner(project: str | None, seq: int, adoptions: Iterable[Adoption]) -> str | None:
    """The project that owns by now what record ``seq`` tells of ``project``."""
    for adoption in adoptions:
        if adoption.seq > seq and adoption.old == project:
            project = adoption.new
    return project


def as_owned(records: Sequence[AuditRecord], adoptions: Sequence[Adoption]) -> Sequence[AuditRecord]:
    """The records, each with the project that owns it by now."""
    if not adoptions:
        return records
    return [_as_owned(record, owner(record.draft.project, record.seq, adoptions)) for record in records]


def _as_owned(record: AuditRecord, project: str | None) -> AuditRecord:
    if project == record.draft.project:
        return record
    return replace(record, draft=replace(record.draft, project=project))


def manifest_of(manifest: Manifest, project: str | None) -> Manifest:
    """The manifest as if the backup had been made in the project that owns it by now."""
    old = manifest.project
    if old is None or project is None or old == project:
        return manifest

    def at_home(target: StoredTarget) -> StoredTarget:
        if target.scope is not Scope.PROJECT:
            return target
        return replace(
            target, path=moved(target.path, old, project), resolved_path=moved(target.resolved_path, old, project)
        )

    return replace(manifest, project=project, targets=tuple(at_home(target) for target in manifest.targets))


def moved(path: str, old: str, new: str) -> str:
    """Where a path lies when a folder above it was moved; elsewhere it stays."""
    return f"{new}{path[len(old) :]}" if is_inside(path, old) else path
