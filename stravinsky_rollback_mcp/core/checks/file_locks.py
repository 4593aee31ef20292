"""``file_locks``: no other program says that it is at work on a file."""

from stravinsky_rollback_mcp.core.checks.evidence import Evidence
from stravinsky_rollback_mcp.core.model import Finding, Severity

NAME = "file_locks"


def check(evidence: Evidence) -> tuple[Finding, ...]:
    """One warning for each file that somebody holds; advisory locks keep nobody out, us neither."""
    return tuple(
        Finding(
            check=NAME,
            severity=Severity.WARNING,
            scope=locked.scope,
            path=locked.path,
            line=None,
            message="another program holds a lock on this file and may write it again.",
            fix="let that program end first.",
        )
        for locked in evidence.locked
    )
