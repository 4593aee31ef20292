"""Forgetting backups for good, so that the bytes of an archive are nowhere in the store any more."""

from dataclasses import replace

from stravinsky_rollback_mcp.core.codec.trees import ABSENT
from stravinsky_rollback_mcp.core.model import EventType
from stravinsky_rollback_mcp.core.names import plural
from stravinsky_rollback_mcp.core.outcome_keeping import Forgotten
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Caller, Desk, Known
from stravinsky_rollback_mcp.service.keeping import draft_about
from stravinsky_rollback_mcp.service.latest import let_go
from stravinsky_rollback_mcp.service.retention import in_use, stored_backups, within_undo
from stravinsky_rollback_mcp.service.stored import not_found, recorded, recorded_digests

Mark = tuple[object, ...]


def forget(desk: Desk, caller: Caller, version: str, agreed: frozenset[str] | None) -> Forgotten:
    """Remove a backup, and every other that holds one of its archives, so that their bytes are gone from the store.

    Nothing is done without ``agreed``, which has to name exactly these (``state_changed``). ``in_use`` while an
    unfinished operation or an open update needs one of them.
    """
    if agreed is None:
        known = desk.known()
        return _forgotten(desk, known, _sharing(desk, known, version), (), applied=False)
    with desk.writing(caller) as notices:
        known = desk.known()
        versions = _sharing(desk, known, version)
        if agreed != frozenset(versions):
            raise RollbackError(
                Code.STATE_CHANGED, "other backups share its archives than those that were shown.", "look again."
            )
        outcome = _forgotten(desk, known, versions, notices, applied=True)
        for name in versions:
            record = known.record_of(name)
            sha256 = recorded(record, "manifest_sha256")
            details = {} if sha256 is None else {"manifest_sha256": sha256}
            desk.record(draft_about(desk, caller, record, EventType.FORGOTTEN, name, details))
            let_go(desk, name)
            (desk.quarantine if name in known.quarantined else desk.store).remove(name)
        return replace(outcome, audit=desk.audit.anchor())


def _sharing(desk: Desk, known: Known, version: str) -> tuple[str, ...]:
    """The backup and all that share an archive with it, by name. Raises ``not_found``, ``in_use``."""
    names = {*known.backups, *known.unrecorded, *known.quarantined}
    if version not in names:
        raise not_found(desk, known, version)
    own = _marks(desk, known, version)
    found = tuple(sorted({version} | {name for name in names if own & _marks(desk, known, name)}))
    needed = sorted(in_use(desk) & set(found))
    if needed:
        raise RollbackError(
            Code.IN_USE,
            f"{', '.join(needed)} may still be needed: an operation or an update is not at its end.",
            "end that first: `stravinsky-rollback status` says what it is.",
        )
    return found


def _marks(desk: Desk, known: Known, version: str) -> set[Mark]:
    """What tells that two backups hold the same archive: its digest, the file itself, or the tree that it holds.

    An empty folder's archive is the same everywhere and counts for nothing, where the manifest can be read.
    """
    try:
        if version in known.quarantined:
            raise not_found(desk, known, version)
        manifest = desk.store.read(version).manifest
    except RollbackError:
        record = known.record_of(version)
        trees = recorded_digests(record).items()
        files = {*desk.store.pieces(version), *desk.quarantine.pieces(version)}
        return {*files, *((target, digest) for target, digest in trees if digest != ABSENT.digest)}
    archives = [target for target in manifest.targets if target.archive and target.tree.files]
    sizes = {target.archive_size_bytes for target in archives}
    files = {piece for piece, size in desk.store.pieces(version).items() if size in sizes}
    trees = {(target.id, target.tree.digest) for target in archives}
    return {*files, *trees, *((target.archive_sha256,) for target in archives)}


def _forgotten(
    desk: Desk, known: Known, versions: tuple[str, ...], notices: tuple[str, ...], *, applied: bool
) -> Forgotten:
    together = ", which share archives" if len(versions) > 1 else ""
    done = "forgotten" if applied else "would be forgotten"
    return Forgotten(
        summary=f"{plural(len(versions), 'backup')} {done}: {', '.join(versions)}{together}.",
        next_step="",
        notices=notices,
        applied=applied,
        versions=versions,
        warnings=_losses(desk, known, frozenset(versions)),
        audit=desk.audit.anchor(),
    )


def _losses(desk: Desk, known: Known, versions: frozenset[str]) -> tuple[str, ...]:
    """What goes for good with these backups, one line each."""
    backups = stored_backups(desk, known)
    kept = [item for item in backups if item.version not in versions and item.is_intact]
    held = {tree for item in kept for tree in item.holds}
    reach = within_undo(desk, known, backups)
    lost = sorted(item.version for item in backups if item.version in versions and item.holds & reach - held)
    lines = [f"undo and redo can no longer bring back what {', '.join(lost)} holds"] if lost else []
    bare = {item.owner for item in backups if item.version in versions} - {item.owner for item in kept}
    lines.extend(
        f"no intact backup is left of {desk.shown(project or user_root)}"
        for user_root, project in sorted(bare, key=str)
    )
    lines.extend(
        f"{version} is pinned"
        for version in sorted(versions)
        if version in known.backups and desk.store.is_pinned(version)
    )
    if any(known.record_of(version) for version in versions):
        lines.append("the audit keeps the names and notes of these backups, and the digests of what they held")
    return tuple(lines)
