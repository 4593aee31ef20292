"""Making backups: capture, read back, anchor in the audit, publish."""

import hashlib
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.codec import creation as creation_codec
from stravinsky_rollback_mcp.core.codec import manifest as manifest_codec
from stravinsky_rollback_mcp.core.codec.creation import Creation
from stravinsky_rollback_mcp.core.codec.journal import Journal, JournalTarget
from stravinsky_rollback_mcp.core.model import (
    AuditDraft,
    BackupKind,
    EventStatus,
    EventType,
    MadeBy,
    Manifest,
    Scope,
    Target,
    TargetState,
)
from stravinsky_rollback_mcp.core.names import capped, leads_out, plural, require_new_version, require_note, shown
from stravinsky_rollback_mcp.core.outcome import Backup, BackupCreated
from stravinsky_rollback_mcp.core.retention import Stored
from stravinsky_rollback_mcp.disk import watch
from stravinsky_rollback_mcp.disk.capture import Reusable
from stravinsky_rollback_mcp.disk.ground import synced_by
from stravinsky_rollback_mcp.disk.place import Place
from stravinsky_rollback_mcp.disk.scan import Scan
from stravinsky_rollback_mcp.disk.store import Opened
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import (
    Caller,
    Desk,
    Known,
    digests_of,
    state_of,
)
from stravinsky_rollback_mcp.service.drift import record_drift
from stravinsky_rollback_mcp.service.latest import write_latest
from stravinsky_rollback_mcp.service.notices import of_what_was_seen
from stravinsky_rollback_mcp.service.program import python_version, system, tool_version
from stravinsky_rollback_mcp.service.quarantine import put_aside, spot_check
from stravinsky_rollback_mcp.service.retention import prune, require_room, stored_backups
from stravinsky_rollback_mcp.service.room import require_space_for_backup
from stravinsky_rollback_mcp.service.stored import (
    as_recorded,
    backups_of_view,
    changed_between,
    describe,
    matching_version,
    open_authentic,
    recorded_digests,
)

_SYNCED = (
    "The store {store} lies in {folder}, which looks like a folder that is kept the same on several machines: it can "
    "be damaged there, and secrets in settings leave this machine. Move it, and choose that place with --store."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What kind of backup is to be made.

    ``observed`` is false when what it holds is not live (yet). ``owner`` (user root, project) is set when the backup
    is not of this process's own view.
    """

    version: str
    kind: BackupKind
    note: str = ""
    observed: bool = True
    owner: tuple[str, str | None] | None = None


def create_backup(desk: Desk, caller: Caller, version: str | None, note: str) -> BackupCreated:
    """Back up everything in view. Without a name, a state that the newest backup already holds is not stored again."""
    if version is not None:
        require_new_version(version)
    require_note(note)
    with desk.writing(caller) as notices:
        known = desk.known()
        if version is not None:
            require_free(desk, known, version)
        else:
            seen = desk.glance()
            _require_whole(item.place for item in seen.values())
            existing = _newest_that_holds(desk, known, digests_of(seen))
            if existing is not None:
                told = (*notices, *of_what_was_seen(desk, known, seen))
                return replace(_already_held(desk, caller, existing, note, told), warnings=warnings_of(desk, seen))
        is_person = caller.made_by is MadeBy.TERMINAL
        kind = BackupKind.MANUAL if version is not None or is_person else BackupKind.AUTOMATIC
        known, others, found = _set_in_order(desk, caller, known, kind)
        wish = Wish(version=version or desk.new_version("manual" if is_person else "auto"), kind=kind, note=note)
        places = desk.places()
        _require_whole(places)
        opened, seen = make_backup(desk, caller, wish, places, known)
        backup = describe(desk, opened, _changed(desk, known, digests_of(seen)), detail=False, problems=())
        pruned = prune(desk, caller, wish.version, others)
        size = f"{plural(backup.files, 'file')} ({plural(backup.size_bytes, 'byte')})"
        is_read_back = desk.config.policy.backup.verify_on_creation
        return BackupCreated(
            summary=f"Backup {backup.version} holds {size}, {'' if is_read_back else 'not '}read back whole.",
            next_step=f"To come back to this state: rollback_to with version {backup.version}.",
            notices=(*notices, *found, *pruned.warnings, *of_what_was_seen(desk, known, seen)),
            backup=backup,
            created=True,
            pruned=pruned.versions,
            warnings=warnings_of(desk, seen),
            audit=desk.audit.anchor(),
        )


def protect(desk: Desk, caller: Caller) -> bool:
    """Back up a state that no intact backup of this view holds; returns whether that was needed."""
    with desk.writing(caller):
        known = desk.known()
        places = desk.places()
        began_ns = time.time_ns()
        seen = desk.look(places)
        _require_whole(item.place for item in seen.values())
        version = matching_version(desk, known, digests_of(seen))
        if version is not None and _reusable(desk, known, version) is not None:
            _remember(desk, caller, seen, version, began_ns)
            return False
        known, others, _ = _set_in_order(desk, caller, known, BackupKind.AUTOMATIC)
        wish = Wish(version=desk.new_version("auto"), kind=BackupKind.AUTOMATIC)
        make_backup(desk, caller, wish, places, known)
        prune(desk, caller, wish.version, others)
        _remember(desk, caller, seen, wish.version, began_ns)
        return True


def _remember(desk: Desk, caller: Caller, seen: Mapping[str, Scan], version: str, began_ns: int) -> None:
    """Let the next hook know at once when nothing has changed."""
    if caller.made_by is MadeBy.HOOK and desk.config.watch:
        with suppress(RollbackError):  # without it the next hook reads everything, and that is all
            watch.remember(desk.config.watch, desk.files, desk.view, seen.values(), version, began_ns)


def _set_in_order(
    desk: Desk, caller: Caller, known: Known, kind: BackupKind
) -> tuple[Known, list[Stored], tuple[str, ...]]:
    """Put aside what is damaged and make sure of room (``quota``, ``no_space``).

    Returns what is known then, the backups that there are, and notices.
    """
    backups = stored_backups(desk, known)
    damaged = spot_check(desk, known, backups)
    for version, problems in damaged.items():
        put_aside(desk, caller, known, version, problems)
    if damaged:
        known = desk.known()
        backups = [backup for backup in backups if backup.version not in damaged]
    require_room(desk, known, backups, kind, caller.made_by)
    require_space_for_backup(desk, known)
    notices = tuple(f"Backup {version} is damaged and was put into quarantine." for version in damaged)
    return known, backups, notices


def _require_whole(places: Iterable[Place]) -> None:
    """Refuse a backup with a hole in it.

    But neither a project that ships a link leading outside nor an operation that waits for a person may prevent one.
    """
    for place in places:
        if place.refusal is not None:
            is_foreign = place.target.scope is Scope.PROJECT and place.refusal.code is Code.UNSAFE_PATH
            if not is_foreign and place.refusal.code is not Code.NEEDS_ATTENTION:
                raise place.refusal


def require_free(desk: Desk, known: Known, version: str) -> None:
    """Refuse a name that a backup of any project has; whatever else has taken the folder's name, the store refuses."""
    for taken, record in known.backups.items():
        if taken.casefold() == version.casefold():
            where = "no project" if record.draft.project is None else desk.shown(record.draft.project)
            raise RollbackError(
                Code.ALREADY_EXISTS,
                f"there is already a backup {taken}, made in {where}; names differ by more than case.",
                "choose another name; backups are never overwritten.",
            )


def _newest_that_holds(desk: Desk, known: Known, digests: Mapping[str, str]) -> Backup | None:
    own = backups_of_view(desk, known)
    held = [recorded_digests(record) for _, record in own[:2]]
    if not own or held[0] != {target: digest for target, digest in digests.items() if digest}:
        return None
    # A damaged newest backup holds nothing: a new one is made, and `backup verify` tells about the old one.
    version, record = own[0]
    return as_recorded(desk, record, version, changed_between(held[1] if len(held) > 1 else {}, held[0]))


def _already_held(desk: Desk, caller: Caller, backup: Backup, note: str, notices: tuple[str, ...]) -> BackupCreated:
    if note:
        record = desk.audit.backups()[backup.version]
        desk.record(
            AuditDraft(
                event_type=EventType.BACKUP_CREATED,
                status=EventStatus.SUCCESS,
                actor=caller.actor,
                user_root=desk.view.user_root,
                project=desk.view.project,
                version=backup.version,
                details={**(record.draft.details or {}), "created": False, "note": note},
            )
        )
    return BackupCreated(
        summary=f"Nothing changed since backup {backup.version}, which already holds this state.",
        next_step=f"To come back to this state: rollback_to with version {backup.version}.",
        notices=notices,
        backup=backup,
        created=False,
        pruned=(),
        warnings=(),
        audit=desk.audit.anchor(),
    )


def make_backup(
    desk: Desk, caller: Caller, wish: Wish, places: tuple[Place, ...], known: Known
) -> tuple[Opened, dict[str, Scan]]:
    """Capture, read back, anchor in the audit, publish. On any failure no trace is left but the audit's record."""
    desk.store.begin(wish.version)
    try:
        newest = next(iter(backups_of_view(desk, known)), None)
        reusable = _reusable(desk, known, newest[0]) if newest is not None else None
        is_read_back = desk.config.policy.backup.verify_on_creation
        stored, scans = desk.store.capture(
            wish.version, places, desk.config.limits, reusable, is_read_back=is_read_back
        )
        seen = {item.place.target.id: item for item in scans}
        user_root, project = wish.owner or (desk.view.user_root, desk.view.project)
        manifest = Manifest(
            version=wish.version,
            sequence=desk.audit.anchor().seq + 1,
            kind=wish.kind,
            made_by=caller.made_by,
            note=wish.note,
            created_at=desk.now(),
            tool_version=tool_version(),
            python_version=python_version(),
            system=system(),
            user_root=user_root,
            project=project,
            previous_version=newest[0] if newest is not None else None,
            targets=stored,
        )
        content = manifest_codec.encode(manifest)
        digests = digests_of(seen)
        size_bytes = len(content) + sum(target.archive_size_bytes for target in stored)
        opened = Opened(manifest=manifest, sha256=hashlib.sha256(content).hexdigest(), stored_bytes=size_bytes)
        desk.record(creation_draft(desk, caller, opened, observed=digests if wish.observed else None))
        desk.store.publish(wish.version, content)
    except RollbackError as error:
        with suppress(RollbackError):
            # What stays is no backup and is swept by the next writer; the first error is the one to tell.
            desk.store.remove(wish.version)
        desk.record(_failure(desk, caller, wish, error))
        raise
    if wish.observed:
        record_drift(desk, caller, known, digests)
        write_latest(desk, wish.version, digests)
    return opened, seen


def _reusable(desk: Desk, known: Known, version: str) -> Reusable | None:
    try:
        return desk.store.reusable(open_authentic(desk, known, version))
    except RollbackError:
        # Damaged or forged: nothing of it is reused.
        return None


def creation_draft(
    desk: Desk, caller: Caller, opened: Opened, *, observed: Mapping[str, str] | None = None, unanchored: bool = False
) -> AuditDraft:
    """The record by which the chain vouches for a backup; ``observed`` are the digests that were live with it.

    ``unanchored`` is said of one that was believed later, on the word of its own manifest.
    """
    manifest = opened.manifest
    present = [target for target in manifest.targets if target.tree.state is not TargetState.NOT_RECORDED]
    creation = Creation(
        manifest_sha256=opened.sha256,
        sequence=manifest.sequence,
        created_at=manifest.created_at,
        kind=manifest.kind,
        made_by=manifest.made_by,
        note=manifest.note,
        digests={target.id: target.tree.digest for target in present},
        archives={target.archive: target.archive_size_bytes for target in manifest.targets if target.archive},
        files=sum(target.tree.files for target in manifest.targets),
        size_bytes=sum(target.tree.size_bytes for target in manifest.targets),
        stored_bytes=opened.stored_bytes,
    )
    details = {**creation_codec.encode(creation), **({"unanchored": True} if unanchored else {})}
    return AuditDraft(
        event_type=EventType.BACKUP_CREATED,
        status=EventStatus.SUCCESS,
        actor=caller.actor,
        user_root=manifest.user_root,
        project=manifest.project,
        version=manifest.version,
        previous_version=manifest.previous_version,
        paths=tuple(desk.shown(target.path) for target in present),
        state=None if observed is None else state_of(observed),
        details=details if observed is None else desk.with_head(details),
    )


def _failure(desk: Desk, caller: Caller, wish: Wish, error: RollbackError) -> AuditDraft:
    return AuditDraft(
        event_type=EventType.BACKUP_FAILED,
        status=EventStatus.FAILED,
        actor=caller.actor,
        user_root=desk.view.user_root,
        project=desk.view.project,
        version=wish.version,
        error=error.code,
    )


def _changed(desk: Desk, known: Known, digests: Mapping[str, str]) -> tuple[str, ...]:
    newest = next(iter(backups_of_view(desk, known)), None)
    return changed_between(recorded_digests(None if newest is None else newest[1]), digests)


def warnings_of(desk: Desk, seen: Mapping[str, Scan]) -> tuple[str, ...]:
    """What a backup of these scans leaves out, and what is wrong with its place, one line each."""
    synced = synced_by(desk.store.root)
    lines = [] if synced is None else [_SYNCED.format(store=desk.shown(desk.store.root), folder=desk.shown(synced))]
    for item in seen.values():
        path = desk.shown_target(item.place.target)
        if item.place.same_as is not None:
            continue  # what it is one with is backed up
        if item.place.refusal is not None:
            lines.append(f"{desk.told(item.place.refusal.message)} It is not backed up, and left alone by a rollback.")
            continue
        if item.tree.state is TargetState.NOT_RECORDED:
            lines.append(f"{path} is {item.tree.skipped[0].reason}: not backed up, and left alone by a rollback.")
            continue
        lines.extend(
            f"{path}/{shown(left_out.path, '')} ({left_out.reason}) is not backed up; a rollback carries it over."
            for left_out in item.tree.skipped
        )
        lines.extend(
            f"{path}/{shown(entry.path, '')} is kept as a link; what it leads to outside is not backed up."
            for entry in item.tree.entries
            if entry.link and leads_out(entry.path, entry.link)
        )
        lines.extend(f"{path}/{shown(name, '')} has {what}, which no backup keeps." for name, what in item.unkept)
    return capped(lines)


def keep_rescued(desk: Desk, caller: Caller, journal: Journal, target: JournalTarget, slot: str) -> None:
    """Store a displaced tree into which somebody wrote late, before its slot goes."""
    scope, _, component = target.id.partition(".")
    place = Place(
        target=Target(scope=Scope(scope), component=component, kind=target.kind, path=target.path),
        resolved=slot,
        dangling=False,
    )
    wish = Wish(
        version=desk.new_version(".rescue"),
        kind=BackupKind.SAFETY,
        note=f"written into {component} while it was being replaced",
        observed=False,
        owner=(journal.outcome.user_root, journal.outcome.project),
    )
    make_backup(desk, caller, wish, (place,), desk.known())
