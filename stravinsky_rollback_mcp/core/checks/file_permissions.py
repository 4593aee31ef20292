"""``file_permissions``: every file may be read, and everything may be replaced where it lies."""

from stravinsky_rollback_mcp.core.checks.evidence import Evidence
from stravinsky_rollback_mcp.core.model import Finding, Severity

NAME = "file_permissions"


def check(evidence: Evidence) -> tuple[Finding, ...]:
    """One error for each path that was tried in vain."""
    return tuple(
        Finding(
            check=NAME,
            severity=Severity.ERROR,
            scope=denied.scope,
            path=denied.path,
            line=None,
            message=(
                "nothing may be replaced in this folder, so a rollback is refused."
                if denied.is_readable
                else "this may not be read, so no backup can hold it."
            ),
            fix=f"give yourself permission to {'write' if denied.is_readable else 'read'} there.",
        )
        for denied in evidence.denied
    )
