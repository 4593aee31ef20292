"""Use cases that change nothing: listing, showing, verifying, asking the audit. They take no lock."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.codec.journal import Journal
from stravinsky_rollback_mcp.core.model import (
    AuditRecord,
    BackupKind,
    BackupStatus,
    Entry,
    MadeBy,
)
from stravinsky_rollback_mcp.core.names import plural
from stravinsky_rollback_mcp.core.outcome import (
    AuditSize,
    Backup,
    BackupList,
    Current,
    Operation,
    Roots,
    Status,
    StoreSize,
    Update,
    Verified,
)
from stravinsky_rollback_mcp.core.selection import Part, parts_of
from stravinsky_rollback_mcp.disk.store import Proven
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Desk, Known
from stravinsky_rollback_mcp.service.look import target_of
from stravinsky_rollback_mcp.service.notices import current_of, of_a_glance
from stravinsky_rollback_mcp.service.program import tool_version
from stravinsky_rollback_mcp.service.selectors import version_of
from stravinsky_rollback_mcp.service.stored import (
    as_recorded,
    backups_of_view,
    changed_between,
    describe,
    is_of_view,
    not_found,
    open_authentic,
    recorded_digests,
)
from stravinsky_rollback_mcp.service.underway import open_update, operation

_MAX_CURSOR = 18  # characters: more than any sequence number will ever have
_MAX_DETAILED = 20  # backups with their targets on one page: hosts cut results of more than about 50 KB


# -- backups --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One backup's place in the list, and the record of the backup before it in its own view."""

    version: str
    place: int
    record: AuditRecord | None
    before: AuditRecord | None
    is_quarantined: bool = False

    @property
    def changed(self) -> tuple[str, ...]:
        """The targets that differ from the backup before it."""
        return changed_between(
            {} if self.before is None else recorded_digests(self.before), recorded_digests(self.record)
        )


def list_backups(
    desk: Desk, *, limit: int, cursor: str | None, path: str | None, detail: bool, all_projects: bool
) -> BackupList:
    """One page of backups, newest first, and what is live."""
    known, seen = desk.known(), desk.glance()
    current = current_of(desk, known, seen)
    ordered = _ordered(desk, known, all_projects=all_projects)
    if path is not None:
        ordered = _that_changed(desk, known, ordered, path, {name: scan.place.same_as for name, scan in seen.items()})
    before = _sequence(cursor)
    size = min(limit, _MAX_DETAILED) if detail else limit
    page = [item for item in ordered if before is None or item.place < before]
    backups = _all_described(desk, known, page[:size], detail=detail)
    gone = len(page[:size]) - len(backups)
    more = len(page) > size
    return BackupList(
        summary=_list_summary(
            len(ordered) - gone,
            current,
            has_other=not all_projects and len(known.backups) > len(ordered),
            quarantined=sum(item.is_quarantined for item in ordered),
        ),
        next_step="" if ordered else "Call create_backup.",
        notices=of_a_glance(desk, known, seen),
        backups=backups,
        next_cursor=str(page[size - 1].place) if more else None,
        total=len(ordered) - gone,
        current=current,
        user_root=desk.shown(desk.view.user_root),
        project_root=None if desk.view.project_root is None else desk.shown(desk.view.project_root),
        now=desk.now(),
        store=desk.shown(desk.store.root),
        server_version=tool_version(),
    )


def _ordered(desk: Desk, known: Known, *, all_projects: bool) -> list[Listed]:
    """All backups, newest first. Those that the chain does not know come last: shown, and never restored."""
    before: dict[tuple[str, str | None], AuditRecord] = {}
    found: list[Listed] = []
    aside = [(version, record) for version, record in known.quarantined.items() if record is not None]
    for version, record in sorted((*known.backups.items(), *aside), key=lambda item: item[1].seq):
        view = (record.draft.user_root, record.draft.project)
        if all_projects or is_of_view(desk, record):
            is_quarantined = version in known.quarantined
            item = Listed(
                version=version,
                place=record.seq,
                record=record,
                before=before.get(view),
                is_quarantined=is_quarantined,
            )
            found.append(item)
        before[view] = record
    found.reverse()
    strange = [version for version, record in known.quarantined.items() if record is None]
    for place, version in enumerate((*known.unrecorded, *strange)):
        found.append(Listed(version=version, place=-place, record=None, before=None, is_quarantined=version in strange))
    return found


def _sequence(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.removeprefix("-").isdecimal()) or len(cursor) > _MAX_CURSOR:
        raise RollbackError(
            Code.INVALID_ARGUMENT, "the cursor is not one that list_backups gave.", "leave it out to begin anew."
        )
    return int(cursor)


def _that_changed(
    desk: Desk, known: Known, ordered: list[Listed], path: str, same_as: Mapping[str, str | None]
) -> list[Listed]:
    """Only the backups in which that path differs from the backup before it, by whichever name it is recorded."""
    trees: dict[str, dict[str, tuple[Entry, ...]]] = {}
    for item in ordered:
        try:
            manifest = open_authentic(desk, known, item.version).manifest
        except RollbackError:
            continue
        trees[item.version] = {target.id: target.tree.entries for target in manifest.targets}

    def names(part: Part) -> tuple[Part, ...]:
        other = same_as[part.target.id]
        return (part,) if other is None else (part, replace(part, target=target_of(desk, other)))

    def exists(named: Part) -> bool:
        recorded = [entries.get(part.target.id, ()) for entries in trees.values() for part in names(named)]
        return any(entry.path == named.path for entries in recorded for entry in entries)

    parts = [part for named in parts_of((path,), desk.view, exists) for part in names(named)]
    found: list[Listed] = []
    before: tuple[object, ...] = tuple(() for _ in parts)
    for item in reversed(ordered):
        content = tuple(_below(trees.get(item.version, {}), part) for part in parts)
        if item.version in trees and content != before:
            found.append(item)
            before = content
    found.reverse()
    return found


def _below(trees: Mapping[str, tuple[Entry, ...]], part: Part) -> tuple[Entry, ...]:
    return tuple(
        replace(entry, mtime_ns=0)
        for entry in trees.get(part.target.id, ())
        if not part.path or entry.path == part.path or entry.path.startswith(f"{part.path}/")
    )


def _all_described(
    desk: Desk, known: Known, items: Iterable[Listed], *, detail: bool, proven: Proven | None = None
) -> tuple[Backup, ...]:
    """The backups as callers see them, but for those that another process has removed since they were looked for."""
    found = (_described(desk, known, item, detail=detail, proven=proven) for item in items)
    return tuple(backup for backup in found if backup is not None)


def _described(desk: Desk, known: Known, item: Listed, *, detail: bool, proven: Proven | None = None) -> Backup | None:
    """A backup as callers see it, damaged ones included; where ``proven`` is given, it is read back whole.

    None where it is not there any more: readers hold no lock, and retention may come in between.
    """
    if item.is_quarantined:
        return _unusable(desk, item, BackupStatus.QUARANTINED, desk.quarantine.problems(item.version))
    found = None if detail or proven is not None else as_recorded(desk, item.record, item.version, item.changed)
    if found is not None:
        return found
    try:
        opened = open_authentic(desk, known, item.version)
    except RollbackError as error:
        if error.code is Code.NOT_FOUND:
            if item.version not in desk.quarantine.versions():
                return None
            return _described(desk, known, replace(item, is_quarantined=True), detail=detail)
        is_newer = error.code is Code.UNSUPPORTED_VERSION
        status = BackupStatus.UNSUPPORTED if is_newer else BackupStatus.DAMAGED
        return _unusable(desk, item, status, (f"{error.code}: {error.message}",))
    problems = () if proven is None else desk.store.verify(opened, proven)
    return describe(desk, opened, item.changed, detail=detail, problems=problems)


def _unusable(desk: Desk, item: Listed, status: BackupStatus, problems: tuple[str, ...]) -> Backup:
    """What the chain alone still says of a backup that cannot be relied on."""
    record = item.record
    details: Mapping[str, object] = {} if record is None else record.draft.details or {}
    files, size_bytes = details.get("files"), details.get("size_bytes")
    return Backup(
        version=item.version,
        created_at="" if record is None else str(details.get("created_at", record.timestamp)),
        kind=BackupKind(str(details.get("kind", BackupKind.MANUAL))),
        made_by=MadeBy(str(details.get("made_by", MadeBy.TOOL))),
        note=str(details.get("backup_note", "")),
        project=None if record is None or record.draft.project is None else desk.shown(record.draft.project),
        files=files if isinstance(files, int) else 0,
        size_bytes=size_bytes if isinstance(size_bytes, int) else 0,
        stored_bytes=0,
        status=status,
        problems=problems,
        pinned=desk.store.is_pinned(item.version),
        changed=item.changed,
        targets=None,
    )


def _list_summary(total: int, current: Current, *, has_other: bool, quarantined: int = 0) -> str:
    other = " Other projects have backups too: all_projects shows them." if has_other else ""
    if not total:
        moved = " If this one was moved, `stravinsky-rollback adopt OLDPATH` takes its own over." if has_other else ""
        return f"There is no backup yet, so nothing can be restored.{other}{moved}"
    live = f"equals {current.version}" if current.version is not None else "equals no backup"
    drift = f"; changed outside: {', '.join(item.path for item in current.drift)}" if current.drift else ""
    aside = f", {quarantined} of them in quarantine" if quarantined else ""
    return f"{plural(total, 'backup')}{aside}; the live configuration {live}{drift}.{other}"


def show_backup(desk: Desk, version: str) -> Verified:
    """One backup with its targets, as its manifest has it; archives are not read."""
    known = desk.known()
    version = version_of(desk, known, version)
    backup = _described(desk, known, _one(desk, known, version), detail=True)
    if backup is None:
        raise not_found(desk, known, version)
    return _verified((backup,), f"Backup {version} is {backup.status}.")


def _one(desk: Desk, known: Known, version: str) -> Listed:
    """The backup of that name. Raises ``not_found``."""
    found = next((item for item in _ordered(desk, known, all_projects=True) if item.version == version), None)
    if found is None:
        raise not_found(desk, known, version)
    return found


def verify_backups(desk: Desk, version: str | None) -> Verified:
    """Read one backup, or every one in the store, back whole. One that is damaged hides no other."""
    known = desk.known()
    if version is None:
        chosen = _ordered(desk, known, all_projects=True)
    else:
        chosen = [_one(desk, known, version_of(desk, known, version))]
    proven: Proven = set()
    backups = _all_described(desk, known, chosen, detail=False, proven=proven)
    if version is not None and not backups:
        raise not_found(desk, known, version)
    aside = sum(1 for backup in backups if backup.status is BackupStatus.QUARANTINED)
    bad = sum(1 for backup in backups if backup.status is not BackupStatus.INTACT) - aside
    found = "all intact" if not bad else f"{bad} damaged"
    summary = f"{plural(len(backups) - aside, 'backup')} read back: {found}"
    return _verified(backups, f"{summary}; {aside} in quarantine." if aside else f"{summary}.")


def _verified(backups: tuple[Backup, ...], summary: str) -> Verified:
    ok = all(backup.status is BackupStatus.INTACT for backup in backups)
    return Verified(
        summary=summary,
        next_step="" if ok else "Use another backup; a damaged one is kept, but never restored.",
        notices=(),
        ok=ok,
        backups=backups,
    )


# -- at a glance ----------------------------------------------------------------------------------------------------


def status(desk: Desk) -> Status:
    """What is live, what is stored, what is unfinished."""
    known, seen = desk.known(), desk.glance()
    current = current_of(desk, known, seen)
    own = backups_of_view(desk, known)
    journal = operation(desk)
    anchor = desk.audit.anchor()
    return Status(
        summary=_list_summary(len(own), current, has_other=len(known.backups) > len(own)),
        next_step="" if own else "Make a first backup: stravinsky-rollback backup create",
        notices=of_a_glance(desk, known, seen),
        current=current,
        roots=Roots(
            user_root=desk.shown(desk.view.user_root),
            project_root=None if desk.view.project_root is None else desk.shown(desk.view.project_root),
        ),
        store=StoreSize(
            path=desk.shown(desk.store.root),
            backups=len(desk.store.versions()),
            stored_bytes=desk.store.size_bytes(),
        ),
        operation=None if journal is None else _operation(desk, journal),
        update=_update(desk),
        audit=AuditSize(events=anchor.seq, head=anchor.head),
    )


def _update(desk: Desk) -> Update | None:
    try:
        update = open_update(desk)
    except RollbackError:
        # Its damage is among the notices.
        return None
    if update is None:
        return None
    return Update(version=update.version, started_at=update.started_at, backup=update.backup)


def _operation(desk: Desk, journal: Journal) -> Operation:
    return Operation(
        operation_id=journal.operation_id,
        event_type=journal.outcome.event_type,
        phase=journal.phase,
        started_at=journal.started_at,
        paths=tuple(desk.shown(target.path) for target in journal.targets),
        needs_attention=bool(journal.problem),
    )
