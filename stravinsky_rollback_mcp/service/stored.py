"""What the chain and the store say of the backups that exist: which, what they hold, whether to trust them."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from stravinsky_rollback_mcp.core.adoption import manifest_of
from stravinsky_rollback_mcp.core.codec import creation as creation_codec
from stravinsky_rollback_mcp.core.codec.creation import Creation
from stravinsky_rollback_mcp.core.codec.text import Members
from stravinsky_rollback_mcp.core.codec.trees import ABSENT
from stravinsky_rollback_mcp.core.model import AuditRecord, BackupKind, BackupStatus, Scope, StoredTarget
from stravinsky_rollback_mcp.core.outcome import Backup, TargetSummary
from stravinsky_rollback_mcp.core.settings import MAX_SETTINGS_BYTES
from stravinsky_rollback_mcp.disk import archive
from stravinsky_rollback_mcp.disk.content import read_file
from stravinsky_rollback_mcp.disk.store import Opened
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Desk, Known


def recorded_digests(record: AuditRecord | None) -> Mapping[str, str]:
    """The tree digests by target id that a backup's record in the chain names; none where there is no record."""
    if record is None:
        return {}
    try:
        return Members(record.draft.details or {}).texts("digests")
    except ValueError:
        return {}


def creation_of(desk: Desk, version: str, record: AuditRecord) -> Creation | None:
    """What the record of a backup's creation says; None where it says less than it should."""
    found = desk.creations.get(version)
    if found is None or found[0] is not record:
        try:
            found = (record, creation_codec.decode(record))
        except ValueError:
            return None
        desk.creations[version] = found
    return found[1]


def is_of_view(desk: Desk, record: AuditRecord) -> bool:
    """Whether a backup was made of the very targets that this process sees."""
    return record.draft.project == desk.view.project and record.draft.user_root == desk.view.user_root


def backups_of_view(desk: Desk, known: Known) -> list[tuple[str, AuditRecord]]:
    """The existing backups of this view, newest first."""
    own = [(version, record) for version, record in known.backups.items() if is_of_view(desk, record)]
    return sorted(own, key=lambda item: item[1].seq, reverse=True)


def matching_version(desk: Desk, known: Known, digests: Mapping[str, str]) -> str | None:
    """The backup of this view that holds exactly this state: the newest that a person named, else the newest."""
    wanted = {target: digest for target, digest in digests.items() if digest}
    return version_holding(known.backups, desk.view.user_root, desk.view.project, wanted)


def version_holding(
    backups: Mapping[str, AuditRecord], user_root: str, project: str | None, digests: Mapping[str, str]
) -> str | None:
    """As ``matching_version``, among these backups and of any view."""
    matching = [
        (recorded(record, "kind") == BackupKind.MANUAL, record.seq, version)
        for version, record in backups.items()
        if recorded(record, "digests") == digests
        and (record.draft.user_root, record.draft.project) == (user_root, project)
    ]
    return max(matching)[2] if matching else None


def recorded(record: AuditRecord | None, key: str) -> object:
    """What the record of a backup says under a name; None where it says nothing, or there is none."""
    return None if record is None else (record.draft.details or {}).get(key)


def holder_of(desk: Desk, known: Known, target_id: str, digest: str) -> list[str]:
    """The existing backups that hold this tree of this target, newest first."""
    is_user = target_id.startswith(f"{Scope.USER}.")
    found = [
        (record.seq, version)
        for version, record in known.backups.items()
        if recorded_digests(record).get(target_id) == digest
        and (record.draft.user_root == desk.view.user_root if is_user else record.draft.project == desk.view.project)
    ]
    return [version for _, version in sorted(found, reverse=True)]


def sources_of(desk: Desk, known: Known, target_id: str, digest: str) -> Iterator[tuple[str, StoredTarget]]:
    """The backups, by version, that still hold this tree of a target, newest first; damaged ones are passed over."""
    for version in holder_of(desk, known, target_id, digest):
        try:
            stored = open_authentic(desk, known, version).manifest.target(target_id)
        except RollbackError:
            continue
        if stored is not None and stored.tree.digest == digest:
            yield version, stored


def source_of(desk: Desk, known: Known, target_id: str, digest: str) -> tuple[str, StoredTarget] | None:
    """A backup that still holds this tree of a target, or None when no intact one does."""
    return next(sources_of(desk, known, target_id, digest), None)


def stored_file(desk: Desk, version: str, stored: StoredTarget) -> bytes:
    """The bytes of a stored settings file, authenticated: what asks the person must be what would be restored."""
    path = desk.store.archive_path(version, stored)
    archive.verify(path, stored)
    return read_file(path, MAX_SETTINGS_BYTES * 2)


def known_file(desk: Desk, known: Known, target_id: str, digest: str) -> bytes | None:
    """The bytes of a settings file in some known state, None when it was absent or no intact backup holds it."""
    for source in sources_of(desk, known, target_id, digest) if digest not in ("", ABSENT.digest) else ():
        with suppress(RollbackError):
            return stored_file(desk, *source)
    return None


def read_authentic(desk: Desk, known: Known, version: str) -> Opened:
    """A backup whose manifest the chain vouches for, whatever became of its archives, as of the project that owns it.

    Raises ``not_found``, ``manifest_invalid``, ``manifest_forged``.
    """
    if version in known.quarantined:
        raise in_quarantine(desk, version)
    try:
        opened = desk.store.read(version)
    except RollbackError as error:
        if error.code is Code.NOT_FOUND:
            raise not_found(desk, known, version) from error
        raise
    return _authenticated(opened, version, known.backups.get(version))


def read_authentic_aside(desk: Desk, known: Known, version: str) -> Opened:
    """As ``read_authentic``, of a backup in quarantine: only an emergency asks for what is still whole of it."""
    return _authenticated(desk.quarantine.read(version), version, known.quarantined.get(version))


def _authenticated(opened: Opened, version: str, record: AuditRecord | None) -> Opened:
    if record is None or recorded(record, "manifest_sha256") != opened.sha256:
        raise RollbackError(
            Code.MANIFEST_FORGED,
            f"the manifest of {version} is not the one that the audit recorded; it is never restored.",
            "choose another backup with list_backups.",
        )
    return replace(opened, manifest=manifest_of(opened.manifest, record.draft.project))


def open_authentic(desk: Desk, known: Known, version: str) -> Opened:
    """A backup whose manifest the chain vouches for, all archives in place.

    Raises what ``read_authentic`` raises, and ``archive_mismatch``.
    """
    opened = read_authentic(desk, known, version)
    problem = desk.store.problem(opened)
    if problem:
        raise RollbackError(
            Code.ARCHIVE_MISMATCH, f"backup {version} is damaged: {problem}.", "choose another with list_backups."
        )
    return opened


def in_quarantine(desk: Desk, version: str) -> RollbackError:
    """The refusal of a backup that was put aside, by the code of what was first found wrong with it."""
    problem = desk.quarantine.problems(version)[0]
    code = problem.partition(":")[0]
    return RollbackError(
        Code(code) if code in Code.__members__.values() else Code.ARCHIVE_MISMATCH,
        f"backup {version} is in quarantine and never restored: {problem}",
        "choose another with list_backups.",
    )


def not_found(desk: Desk, known: Known, version: str) -> RollbackError:
    """The refusal of a version that does not exist, with the nearest that do."""
    names = [name for name, _ in backups_of_view(desk, known)]
    near = difflib.get_close_matches(version[:64], names, n=3)
    if near:
        hint = f"did you mean {', '.join(near)}? list_backups shows all."
    else:
        hint = f"newest first: {', '.join(names[:3])}; list_backups shows all." if names else "make one first."
    return RollbackError(Code.NOT_FOUND, f"there is no backup {version[:64]!a}.", hint)


def as_recorded(desk: Desk, record: AuditRecord | None, version: str, changed: tuple[str, ...]) -> Backup | None:
    """A backup as its record in the chain has it, without its targets and without decoding its manifest.

    None when a look at its files finds anything else, or there is no record that says enough.
    """
    creation = None if record is None else creation_of(desk, version, record)
    if record is None or creation is None:
        return None
    found = desk.store.shelf.look(version)
    if not desk.store.shelf.is_as_recorded(found, creation.manifest_sha256, creation.archives):
        return None
    return Backup(
        version=version,
        created_at=creation.created_at,
        kind=creation.kind,
        made_by=creation.made_by,
        note=creation.note,
        project=None if record.draft.project is None else desk.shown(record.draft.project),
        files=creation.files,
        size_bytes=creation.size_bytes,
        stored_bytes=creation.stored_bytes,
        status=BackupStatus.INTACT,
        problems=(),
        pinned=found.is_pinned,
        changed=changed,
        targets=None,
    )


def describe(desk: Desk, opened: Opened, changed: tuple[str, ...], *, detail: bool, problems: Sequence[str]) -> Backup:
    """A backup as callers see it."""
    manifest = opened.manifest
    targets = tuple(
        TargetSummary(
            scope=target.scope,
            component=target.component,
            path=desk.shown(target.path),
            state=target.tree.state,
            files=target.tree.files,
            size_bytes=target.tree.size_bytes,
            digest=target.tree.digest,
        )
        for target in manifest.targets
    )
    return Backup(
        version=manifest.version,
        created_at=manifest.created_at,
        kind=manifest.kind,
        made_by=manifest.made_by,
        note=manifest.note,
        project=None if manifest.project is None else desk.shown(manifest.project),
        files=sum(target.files for target in targets),
        size_bytes=sum(target.size_bytes for target in targets),
        stored_bytes=opened.stored_bytes,
        status=BackupStatus.DAMAGED if problems else BackupStatus.INTACT,
        problems=tuple(problems),
        pinned=desk.store.is_pinned(manifest.version),
        changed=changed,
        targets=targets if detail else None,
    )


def changed_between(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """The ids of the targets whose digests differ; before the first backup, everything was absent."""
    differ = (target for target, digest in after.items() if digest and before.get(target, ABSENT.digest) != digest)
    return tuple(sorted(differ))


def held_pairs(desk: Desk, known: Known) -> frozenset[tuple[str, str]]:
    """The (target id, digest) pairs that some existing backup holds of what this view sees."""
    pairs: set[tuple[str, str]] = set()
    for record in known.backups.values():
        for target_id, digest in recorded_digests(record).items():
            is_user = target_id.startswith(f"{Scope.USER}.")
            own = desk.view.user_root if is_user else desk.view.project
            if own == (record.draft.user_root if is_user else record.draft.project):
                pairs.add((target_id, digest))
    return frozenset(pairs)
