"""``backup_capacity``: there is room for one more backup, by number, size and age."""

from stravinsky_rollback_mcp.core.checks.evidence import Evidence
from stravinsky_rollback_mcp.core.model import Finding, Severity
from stravinsky_rollback_mcp.core.names import plural

NAME = "backup_capacity"


def check(evidence: Evidence) -> tuple[Finding, ...]:
    """An error where nothing more may be removed to make room, else a word that some will go."""
    room = evidence.capacity
    if room is None:
        return ()
    if room.exceeded:
        limits = " and ".join(room.exceeded)
        message = f"{limits} is reached, and nothing more may be removed for another backup."
        return (_finding(Severity.ERROR, message, f"unpin or forget some, or raise {limits}."),)
    if room.leaving:
        return (_finding(Severity.INFO, f"the next backup makes {plural(len(room.leaving), 'older one')} go.", ""),)
    return ()


def _finding(severity: Severity, message: str, fix: str) -> Finding:
    return Finding(check=NAME, severity=severity, scope=None, path="", line=None, message=message, fix=fix)
