"""Damaged backups are put aside, whole and unchanged: found by creating, by a restore that they refuse, by cleanup."""

import secrets
from collections.abc import Iterable, Sequence

from stravinsky_rollback_mcp.core.codec import creation as creation_codec
from stravinsky_rollback_mcp.core.codec.quarantine import Quarantined
from stravinsky_rollback_mcp.core.model import AuditDraft, EventStatus, EventType
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Caller, Desk, Known
from stravinsky_rollback_mcp.service.latest import let_go
from stravinsky_rollback_mcp.service.stored import open_authentic

# What is wrong with the bytes of a backup; a newer format, or a file that may not be read, says nothing of them.
DAMAGE = frozenset(
    {Code.MANIFEST_INVALID, Code.MANIFEST_FORGED, Code.ARCHIVE_MISMATCH, Code.ARCHIVE_UNSAFE, Code.TOO_LARGE}
)
_SPOT_CHECK_BYTES = 64 << 20
_CHANCE = secrets.SystemRandom()


def damage_seen(desk: Desk, known: Known, version: str) -> tuple[str, ...]:
    """What names, sizes and the manifest's digest tell of a backup's damage; empty when nothing."""
    try:
        creation = creation_codec.decode(known.backups[version])
    except ValueError:
        pass
    else:
        if desk.store.is_as_recorded(version, creation.manifest_sha256, creation.archives):
            return ()
    return damage_found(desk, known, version, is_read=False)


def damage_found(desk: Desk, known: Known, version: str, *, is_read: bool = True) -> tuple[str, ...]:
    """What reading a backup back whole tells of its damage, as ``code: message``; empty when nothing."""
    try:
        opened = open_authentic(desk, known, version)
    except RollbackError as error:
        return (f"{error.code}: {error.message}",) if error.code in DAMAGE else ()
    problems = desk.store.verify(opened) if is_read else ()
    return tuple(problem for problem in problems if problem.partition(":")[0] in DAMAGE)


def spot_check(desk: Desk, known: Known) -> dict[str, tuple[str, ...]]:
    """The damage found by a look at every backup and by reading back a random share, within bounds, by version."""
    found = {version: damage_seen(desk, known, version) for version in known.backups}
    left_bytes = _SPOT_CHECK_BYTES
    sound = [version for version, problems in found.items() if not problems]
    for version in sample(sound, desk.config.policy.backup.spot_check_percentage):
        left_bytes -= sum(desk.store.pieces(version).values())
        if left_bytes < 0:
            break
        found[version] = damage_found(desk, known, version)
    return {version: problems for version, problems in found.items() if problems}


def sample(versions: Sequence[str], percentage: int) -> list[str]:
    """A random share of these, in random order: rounded up or down by chance, so that few are checked too."""
    whole, rest = divmod(len(versions) * percentage, 100)
    return _CHANCE.sample(versions, whole + (_CHANCE.randrange(100) < rest))


def put_aside(desk: Desk, caller: Caller, known: Known, version: str, problems: tuple[str, ...]) -> None:
    """Move a backup of which the audit knows into quarantine. Its name stays taken; nothing deletes it by itself."""
    record = known.backups[version]
    desk.record(
        AuditDraft(
            event_type=EventType.QUARANTINED,
            status=EventStatus.SUCCESS,
            actor=caller.actor,
            user_root=record.draft.user_root,
            project=record.draft.project,
            version=version,
            details={"problems": [desk.told(problem) for problem in problems]},
        )
    )
    let_go(desk, version)
    found = Quarantined(version=version, quarantined_at=desk.now(), problems=problems)
    desk.quarantine.take(f"{desk.store.backups}/{version}", found)


def put_aside_damaged(desk: Desk, caller: Caller, known: Known, versions: Iterable[str]) -> tuple[str, ...]:
    """Read these backups back, put those aside that are damaged, and name them."""
    damaged: list[str] = []
    for version in versions:
        problems = damage_found(desk, known, version) if version in known.backups else ()
        if problems:
            put_aside(desk, caller, known, version, problems)
            damaged.append(version)
    return tuple(damaged)
