"""Damaged backups are put aside, whole and unchanged: found by creating, by a restore that they refuse, by cleanup."""

import secrets
from collections.abc import Iterable, Sequence

from stravinsky_rollback_mcp.core.codec.quarantine import Quarantined
from stravinsky_rollback_mcp.core.model import AuditDraft, EventStatus, EventType
from stravinsky_rollback_mcp.core.retention import Stored
from stravinsky_rollback_mcp.disk.store import Proven
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Caller, Desk, Known
from stravinsky_rollback_mcp.service.latest import let_go
from stravinsky_rollback_mcp.service.stored import open_authentic, recorded

# What is wrong with the bytes of a backup; a newer format, or a file that may not be read, says nothing of them.
DAMAGE = frozenset(
    {Code.MANIFEST_INVALID, Code.MANIFEST_FORGED, Code.ARCHIVE_MISMATCH, Code.ARCHIVE_UNSAFE, Code.TOO_LARGE}
)
_SPOT_CHECK_BYTES = 64 << 20
_CHANCE = secrets.SystemRandom()


def damage_found(
    desk: Desk, known: Known, version: str, *, is_read: bool = True, proven: Proven | None = None
) -> tuple[str, ...]:
    """What reading a backup back whole tells of its damage, as ``code: message``; empty when nothing.

    For ``proven`` see ``Store.verify``.
    """
    try:
        opened = open_authentic(desk, known, version)
    except RollbackError as error:
        return (f"{error.code}: {error.message}",) if error.code in DAMAGE else ()
    problems = desk.store.verify(opened, proven) if is_read else ()
    return tuple(problem for problem in problems if problem.partition(":")[0] in DAMAGE)


def spot_check(desk: Desk, known: Known, backups: Iterable[Stored]) -> dict[str, tuple[str, ...]]:
    """The damage of those that a look found wanting, and of a random share that is read, within bounds, by version.

    An archive was read back whole when it was made; now its bytes are compared with those.
    """
    found: dict[str, tuple[str, ...]] = {}
    sound: dict[str, Stored] = {}
    for item in backups:
        if item.is_intact:
            sound[item.version] = item
        else:
            found[item.version] = damage_found(desk, known, item.version, is_read=False)
    left_bytes = _SPOT_CHECK_BYTES
    proven: set[tuple[int, int, str]] = set()
    for version in sample(list(sound), desk.config.policy.backup.spot_check_percentage):
        left_bytes -= sum(sound[version].pieces.values())
        if left_bytes < 0:
            break
        sha256 = str(recorded(known.backups[version], "manifest_sha256"))
        if desk.store.shelf.has_rotted(desk.store.shelf.look(version), sha256, proven):
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
