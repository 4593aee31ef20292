"""Whether there is room: on each file system for what is to be written, and in the store for one more backup."""

from collections.abc import Iterable, Mapping

from stravinsky_rollback_mcp.core.checks import disk_space
from stravinsky_rollback_mcp.core.checks.evidence import Capacity, Evidence, Space
from stravinsky_rollback_mcp.core.model import BackupKind, Finding, MadeBy, Severity, Tree
from stravinsky_rollback_mcp.disk import probe
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Desk, Known
from stravinsky_rollback_mcp.service.look import Look
from stravinsky_rollback_mcp.service.retention import room_for, stored_backups
from stravinsky_rollback_mcp.service.stored import backups_of_view, creation_of

_MEGABYTE = 1 << 20


def spaces(desk: Desk, look: Look, trees: Mapping[str, Tree]) -> tuple[Space, ...]:
    """The store's file system, which takes a backup of all that is live, and those on which ``trees`` are staged."""
    needs = [(desk.store.root, *_need(seen.tree for seen in look.seen.values()))]
    needs += [
        (look.places[target_id].resolved, *_need([tree]))
        for target_id, tree in trees.items()
        if look.places[target_id].refusal is None
    ]
    return _spaces(desk, needs)


def _need(trees: Iterable[Tree]) -> tuple[int, int]:
    """Bytes and entries."""
    needed = tuple(trees)
    return sum(tree.size_bytes for tree in needed), sum(len(tree.entries) for tree in needed)


def _spaces(desk: Desk, needs: Iterable[tuple[str, int, int]]) -> tuple[Space, ...]:
    """Each file system once, with all that is put on it: (path, bytes, entries)."""
    found: dict[int, Space] = {}
    for path, size_bytes, entries in needs:
        room = probe.room(path)
        before = found.get(room.device)
        found[room.device] = Space(
            path=desk.shown(room.path) if before is None else before.path,
            free_bytes=room.free_bytes,
            free_inodes=room.free_inodes,
            needed_bytes=size_bytes + (0 if before is None else before.needed_bytes),
            needed_inodes=entries + (0 if before is None else before.needed_inodes),
            threshold_bytes=desk.config.policy.safety.disk_space_threshold_mb * _MEGABYTE,
        )
    return tuple(found.values())


def require_space_for_backup(desk: Desk, known: Known) -> None:
    """Refuse a backup for which the store's file system has too little room (``no_space``).

    What it needs is told by the newest backup of the view, without a look at the files themselves: the first one, and
    a configuration that has grown a lot since, may still find the disk full, and then leave nothing behind.
    """
    size_bytes = files = 0
    for version, record in backups_of_view(desk, known)[:1]:
        creation = creation_of(desk, version, record)
        if creation is not None:
            size_bytes, files = creation.size_bytes, creation.files
    require_space(disk_space.check(Evidence(spaces=_spaces(desk, [(desk.store.root, size_bytes, files)]))))


def require_space(findings: Iterable[Finding]) -> None:
    """Refuse what findings say there is too little room for (``no_space``)."""
    for finding in findings:
        if finding.check == disk_space.NAME and finding.severity is Severity.ERROR:
            raise RollbackError(Code.NO_SPACE, f"{finding.path}: {finding.message}", finding.fix)


def capacity(desk: Desk, known: Known, kind: BackupKind, made_by: MadeBy) -> Capacity | None:
    """What one more backup of that kind would do to the others; None where a damaged note keeps that from being known.

    The same rules decide it that would remove them.
    """
    try:
        verdict = room_for(desk, known, stored_backups(desk, known), kind, made_by)
    except RollbackError:
        return None  # what is wrong there is told in notices, and refuses the backup itself
    return Capacity(exceeded=tuple(verdict.exceeded), leaving=verdict.removed)
