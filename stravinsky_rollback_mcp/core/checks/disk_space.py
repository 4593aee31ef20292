"""``disk_space``: each file system involved has room for twice what is needed, and the margin that a person set."""

from stravinsky_rollback_mcp.core.checks.evidence import Evidence, Space
from stravinsky_rollback_mcp.core.model import Finding, Severity

NAME = "disk_space"
_FACTOR = 2  # what is displaced stays beside what is new until all is done
_MEGABYTE = 1 << 20


def check(evidence: Evidence) -> tuple[Finding, ...]:
    """One error for each file system with too few free bytes or inodes."""
    return tuple(finding for space in evidence.spaces if (finding := _judged(space)) is not None)


def _judged(space: Space) -> Finding | None:
    wanted_bytes = _FACTOR * space.needed_bytes + space.threshold_bytes
    wanted_inodes = _FACTOR * space.needed_inodes
    if space.free_bytes < wanted_bytes:
        message = (
            f"{space.free_bytes // _MEGABYTE} MB are free on this file system, "
            f"{-(-wanted_bytes // _MEGABYTE)} MB are wanted."
        )
    elif space.free_inodes is not None and space.free_inodes < wanted_inodes:
        message = f"this file system has room for {space.free_inodes} more files, {wanted_inodes} are wanted."
    else:
        return None
    return Finding(
        check=NAME,
        severity=Severity.ERROR,
        scope=None,
        path=space.path,
        line=None,
        message=message,
        fix="free space there, or lower safety.disk_space_threshold_mb.",
    )
