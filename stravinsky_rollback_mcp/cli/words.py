"""How values read to a person: inert text, sizes, times, lists of targets."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

_TOOLS = {
    "create_backup": "`stravinsky-rollback backup create`",
    "list_backups": "`stravinsky-rollback backup list`",
    "rollback_to": "`stravinsky-rollback rollback to`",
    "check_config": "`stravinsky-rollback check`",
    "begin_update": "`stravinsky-rollback update begin`",
    "finish_update": "`stravinsky-rollback update finish`",
    "query_audit": "`stravinsky-rollback audit log`",
    "all_projects": "--all-projects",
    "dry_run": "--dry-run",
}
# A tool's name as a word of a sentence; never a part of a path.
_TOOL = re.compile(rf"(?<![\w./~-])`?({'|'.join(_TOOLS)})`?(?![\w/-]|\.\w)")

_TEN, _THOUSAND = 10, 1000
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def inert(text: str) -> str:
    """The text on one line, with what could move a cursor or hide something shown escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode("ascii")
        for char in text
    )


def for_terminal(sentence: str) -> str:
    """A sentence of the service, which speaks of tools, with the commands that do the same."""
    return _TOOL.sub(lambda found: _TOOLS[found[1]], inert(sentence)).replace("`undo`", "`stravinsky-rollback undo`")


def size(size_bytes: int) -> str:
    """``873 B``, ``41 kB``, ``1.2 MB``."""
    amount, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB"):
        if amount >= _THOUSAND:
            amount, unit = amount / _THOUSAND, larger
    digits = 1 if unit != "B" and amount < _TEN else 0
    return f"{amount:.{digits}f} {unit}"


def count(number: int, noun: str) -> str:
    """``1 backup``, ``3 backups``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def moment(timestamp: str) -> datetime | None:
    """The time stamp as a value, UTC; None when there is none."""
    try:
        return datetime.fromisoformat(timestamp).astimezone(UTC)
    except ValueError:
        return None


def age(timestamp: str, now: str) -> str:
    """``just now``, ``5 min ago``, ``7 h ago``, ``3 d ago``, after a month the date; at most ten characters."""
    then, present = moment(timestamp), moment(now)
    if then is None or present is None:
        return "?"
    seconds = int((present - then).total_seconds())
    if seconds < 0 or seconds >= 30 * _DAY:
        return then.strftime("%Y-%m-%d")
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return "just now"


def targets(ids: Iterable[str]) -> str:
    """``user.hooks user.settings project.hooks`` as ``user hooks, settings; project hooks``."""
    by_scope: dict[str, list[str]] = {}
    for name in ids:
        scope, _, component = name.partition(".")
        by_scope.setdefault(scope, []).append(component.replace("_", " "))
    return "; ".join(f"{scope} {', '.join(components)}" for scope, components in by_scope.items())
