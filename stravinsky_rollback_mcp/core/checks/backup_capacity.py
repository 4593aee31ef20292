"""``backup_capacity``: there is room for one more backup, by number and by size."""

from stravinsky_rollback_mcp.core.checks.evidence import Evidence
from stravinsky_rollback_mcp.core.model import Finding, Severity

NAME = "backup_capacity"


def check(evidence: Evidence) -> tuple[Finding, ...]:
    """An error where nothing may be removed to make room, else a word that the oldest will go."""
    room = evidence.capacity
    if room is None:
        return ()
    is_over_count = room.named_backups >= room.max_named_backups
    is_over_size = room.stored_bytes >= room.max_stored_bytes
    if not is_over_count and not is_over_size:
        return ()
    what = f"{room.named_backups} backups are kept" if is_over_count else "the store is as large as it may become"
    is_stuck = room.pinned_backups >= room.named_backups
    return (
        Finding(
            check=NAME,
            severity=Severity.ERROR if is_stuck else Severity.INFO,
            scope=None,
            path="",
            line=None,
            message=f"{what}, and {'all of them are pinned.' if is_stuck else 'the next one makes the oldest go.'}",
            fix="unpin or forget one, or raise backup.max_versions or backup.max_total_size_mb." if is_stuck else "",
        ),
    )
