"""``version_consistency``: after an update, what was installed says that it is what was asked for."""

from stravinsky_rollback_mcp.core.checks.evidence import Evidence
from stravinsky_rollback_mcp.core.model import Finding, Severity

NAME = "version_consistency"


def check(evidence: Evidence) -> tuple[Finding, ...]:
    """An error where the declared version is another one, or where ``latest.json`` does not follow."""
    release = evidence.release
    if release is None:
        return ()
    messages: list[str] = []
    if release.declared is None:
        messages.append("the file that the update declares names no version.")
    elif release.declared != release.version:
        messages.append(f"the update was to bring {release.version}, and this file says another version.")
    if release.latest is not None and release.latest != release.version:
        messages.append(f"latest.json does not name {release.version}.")
    return tuple(
        Finding(
            check=NAME,
            severity=Severity.ERROR,
            scope=None,
            path=release.path,
            line=None,
            message=message,
            fix="see whether the update ran to its end.",
        )
        for message in messages
    )
