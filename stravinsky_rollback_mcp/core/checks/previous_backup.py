"""``previous_backup``: what is stored can be relied on."""

from stravinsky_rollback_mcp.core.checks.evidence import Evidence
from stravinsky_rollback_mcp.core.model import Finding, Severity

NAME = "previous_backup"


def check(evidence: Evidence) -> tuple[Finding, ...]:
    """One warning for each backup that did not read back whole; others still do."""
    return tuple(
        Finding(
            check=NAME,
            severity=Severity.WARNING,
            scope=None,
            path=backup.version,
            line=None,
            message=f"this backup is damaged: {'; '.join(backup.problems)}",
            fix="use another one; create_backup keeps what is live now.",
        )
        for backup in evidence.backups
        if backup.problems
    )
