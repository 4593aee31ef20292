"""One thing that is wrong in a settings file, before it is told: where by keys, how grave, and in which words."""

from dataclasses import dataclass

from stravinsky_rollback_mcp.core.checks.positions import Path
from stravinsky_rollback_mcp.core.model import Effect, Severity

# Where a hook that cannot be loaded makes Claude Code drop the file: it may be what guards the rules beside it.
GUARDED_EVENTS = frozenset({"PreToolUse", "PermissionRequest"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """``message`` goes on from the key's pointer: ``/model must be a text``."""

    path: Path
    severity: Severity
    message: str
    fix: str = ""
    effect: Effect = Effect.NONE


def dropped(path: Path, message: str) -> Fault:
    """What makes Claude Code load nothing of the file."""
    return Fault(path=path, severity=Severity.ERROR, message=message, fix="mend it.", effect=Effect.DROPPED)


def passed_over(path: Path, message: str, *, is_restore: bool) -> Fault:
    """A hook that Claude Code leaves out while the rest of the file applies; in an old state that is no news."""
    severity = Severity.WARNING if is_restore else Severity.ERROR
    return Fault(path=path, severity=severity, message=f"{message}, so Claude Code passes over it.", fix="mend it.")
