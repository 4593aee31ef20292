"""``settings_schema``: what Claude Code does with a settings file, key by key.

A wrong type on a known key makes it drop the whole file, deny rules included, and go on: an error. Unknown keys are
accepted and kept at any depth: a warning, with the nearest known name. No message ever holds a value.
"""

import json
from collections.abc import Iterator

from stravinsky_rollback_mcp.core import keypaths
from stravinsky_rollback_mcp.core.checks.evidence import Evidence, SettingsText
from stravinsky_rollback_mcp.core.checks.faults import Fault, dropped
from stravinsky_rollback_mcp.core.checks.positions import Path, Positions, positions
from stravinsky_rollback_mcp.core.checks.settings_sense import beyond_schema
from stravinsky_rollback_mcp.core.checks.settings_types import of_schema
from stravinsky_rollback_mcp.core.model import Effect, Finding, Severity
from stravinsky_rollback_mcp.core.settings import MAX_SETTINGS_BYTES, TOO_DEEP, load

NAME = "settings_schema"
_MAX_FINDINGS = 100  # of one file


def check(evidence: Evidence) -> tuple[Finding, ...]:
    """The faults of each settings file, by line."""
    return tuple(finding for file in evidence.settings for finding in _judged(file, is_restore=evidence.is_restore))


def is_dropped(content: bytes | None) -> bool:
    """Whether Claude Code loads nothing of a settings file with this content; None is no file."""
    return content is not None and any(fault.effect is Effect.DROPPED for fault in _faults(content, is_restore=True))


def _judged(file: SettingsText, *, is_restore: bool) -> list[Finding]:
    where = positions(_text(file.content))
    found = [
        Finding(
            check=NAME,
            severity=fault.severity,
            scope=file.scope,
            path=file.path,
            line=_line(file.content, where, fault.path),
            message=f"{keypaths.pointer(*fault.path)} {fault.message}".strip(),
            fix=fault.fix,
            effect=fault.effect,
        )
        for fault in dict.fromkeys((*_faults(file.content, is_restore=is_restore), *_named_twice(where)))
    ]
    return sorted(found, key=lambda finding: finding.line or 0)[:_MAX_FINDINGS]


def _faults(content: bytes, *, is_restore: bool) -> Iterator[Fault]:
    settings = load(content)
    if settings is None:
        yield dropped((), _why_unloadable(content))
    elif settings is TOO_DEEP:
        yield Fault(path=(), severity=Severity.WARNING, message="the file is nested too deep to be judged.")
    else:
        yield from of_schema(settings, is_restore=is_restore)
        yield from beyond_schema(settings, is_restore=is_restore)


def _why_unloadable(content: bytes) -> str:
    if len(content) > MAX_SETTINGS_BYTES:
        what = f"the file has more than {MAX_SETTINGS_BYTES >> 20} MB"
    elif _broken_line(content) is None:
        what = "the file holds no JSON object"
    else:
        what = "the file is not strict JSON (no comments, no commas before a closing bracket)"
    return f"{what}, so Claude Code loads nothing of it."


def _named_twice(where: Positions) -> Iterator[Fault]:
    for path in where.twice:
        yield Fault(
            path=path,
            severity=Severity.WARNING,
            message="stands here more than once; only the last one counts.",
            fix="remove the others.",
        )


def _line(content: bytes, where: Positions, path: Path) -> int | None:
    return where.line(path) if path else _broken_line(content) or 1


def _broken_line(content: bytes) -> int | None:
    """The line at which a text stops being JSON; None when it does not."""
    try:
        json.loads(_text(content))
    except json.JSONDecodeError as error:
        return error.lineno
    except (ValueError, RecursionError):
        return 1
    return None


def _text(content: bytes) -> str:
    return content[: MAX_SETTINGS_BYTES + 1].decode("utf-8-sig", "replace")
