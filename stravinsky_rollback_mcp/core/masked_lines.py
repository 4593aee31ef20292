"""A file as lines that may be shown: keys of settings without values that could be secret, scripts without credentials.

Settings and other JSON are laid out anew, one key a line, and a value is shown only where a key cannot hold a secret:
the list below is what is allowed, everything else reads ``***``. Any bytes are taken, nothing is raised.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

from stravinsky_rollback_mcp.core import masking
from stravinsky_rollback_mcp.core.components import is_settings
from stravinsky_rollback_mcp.core.keypaths import pointer
from stravinsky_rollback_mcp.core.masking import MASK
from stravinsky_rollback_mcp.core.model import Target
from stravinsky_rollback_mcp.core.names import plural
from stravinsky_rollback_mcp.core.settings import MAX_DEPTH
from stravinsky_rollback_mcp.core.unified import Line

MAX_LINES = 20_000
_ANY = "*"
_HANDLER = ("hooks", _ANY, _ANY, "hooks", _ANY)
# Names, numbers and words of Claude Code's own. `*` stands for any key or place in a list.
_SHOWN = frozenset(
    {
        *((name,) for name in ("model", "effortLevel", "outputStyle", "language", "theme", "editorMode")),
        *((name,) for name in ("cleanupPeriodDays", "autoUpdatesChannel", "forceLoginMethod", "teammateMode")),
        *((name, _ANY) for name in ("enabledMcpjsonServers", "disabledMcpjsonServers", "availableModels")),
        *(("permissions", name) for name in ("defaultMode", "disableBypassPermissionsMode")),
        *(("permissions", name, _ANY) for name in ("allow", "ask", "deny", "additionalDirectories")),
        ("hooks", _ANY, _ANY, "matcher"),
        *((*_HANDLER, name) for name in ("type", "timeout", "shell", "server", "tool")),
        *((name, "type") for name in ("statusLine", "subagentStatusLine", "fileSuggestion")),
        ("statusLine", "padding"),
        ("mcpServers", _ANY, "type"),
        ("mcpServers", _ANY, "timeout"),
    }
)
# Of these the scripts that they name, or their first word.
_COMMANDS = frozenset(
    {
        (*_HANDLER, "command"),
        *((name, "command") for name in ("statusLine", "subagentStatusLine", "fileSuggestion")),
        ("mcpServers", _ANY, "command"),
    }
)
_PROSE = (
    *(
        ".md",
        ".txt",
        ".py",
        ".sh",
        ".bash",
        ".zsh",
        ".fish",
        ".js",
        ".mjs",
        ".cjs",
        ".ts",
        ".mts",
        ".rb",
        ".pl",
        ".php",
    ),
    *(".lua", ".ps1", ".cmd", ".bat", ".css", ".html"),
)
_HARMLESS_JSON = frozenset({"keybindings", "themes"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A file's lines, or why there are none to show."""

    lines: tuple[Line, ...] = ()
    instead: str = ""


class _Number(str):
    """A number as it is written: neither its digits nor its size are limited."""

    __slots__ = ()


def lines_of(content: bytes, target: Target, path: str) -> Shown:
    """A file as it may be shown; ``path`` is its name below the target, empty for the target itself."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return Shown(instead=f"binary, {plural(len(content), 'byte')}")
    is_harmless = target.component in _HARMLESS_JSON
    is_json = is_settings(target) or target.component == "mcp" or path.endswith(".json")
    if is_json and not is_harmless:
        return _json_lines(text, len(content))
    if text.count("\n") > MAX_LINES:
        return Shown(instead=f"too long to be shown, {plural(len(content), 'byte')}")
    keeps_values = is_harmless or not path or path.endswith(_PROSE) or text.startswith("#!")
    return Shown(lines=tuple(_text_lines(text, keeps_values=keeps_values)))


# -- scripts and prose ----------------------------------------------------------------------------------------------


def _text_lines(text: str, *, keeps_values: bool) -> Iterator[Line]:
    pieces = text.split("\n")
    is_ended = pieces[-1] == ""
    if is_ended:
        pieces.pop()
    for piece, is_key in zip(pieces, masking.inside_private_keys(pieces), strict=True):
        yield Line(content=piece, shown=MASK if is_key else masking.masked_line(piece, keeps_values=keeps_values))
    if pieces and not is_ended:
        yield Line(content="\n", shown="\\ no line end at the end of the file")


# -- JSON -----------------------------------------------------------------------------------------------------------


def _json_lines(text: str, size_bytes: int) -> Shown:
    try:
        value: object = json.loads(
            text.removeprefix("\ufeff") or "{}", parse_int=_Number, parse_float=_Number, parse_constant=_Number
        )
        lines = tuple(islice(_value_lines(value, (), None, ""), MAX_LINES + 1))
    except RecursionError:
        return Shown(instead=f"nested too deep to be shown, {plural(size_bytes, 'byte')}")
    except ValueError:
        return Shown(instead=f"no JSON, so that values cannot be told from names, {plural(size_bytes, 'byte')}")
    if len(lines) > MAX_LINES:
        return Shown(instead=f"too long to be shown, {plural(size_bytes, 'byte')}")
    return Shown(lines=lines)


def _value_lines(value: object, path: tuple[str, ...], name: str | None, comma: str) -> Iterator[Line]:
    """The lines of one value, the first of which begins with its name."""
    if len(path) > MAX_DEPTH:
        raise RecursionError
    within = pointer(*path[:-1])
    indent = "  " * len(path)
    label = f"{json.dumps(name, ensure_ascii=False)}: " if name is not None else ""
    told = f'"{masking.shown(name)}": ' if name is not None else ""
    members = _members(value)
    if not members:
        written = json.dumps(value, ensure_ascii=False) if not isinstance(value, _Number) else str(value)
        content, shown = f"{indent}{label}{written}{comma}", f"{indent}{told}{_shown(value, path)}{comma}"
        yield Line(content=content, shown=shown, within=within)
        return
    is_object = isinstance(value, dict)
    opening, closing = "{}" if is_object else "[]"
    yield Line(content=f"{indent}{label}{opening}", shown=f"{indent}{told}{opening}", within=within)
    for number, (key, child) in enumerate(members, 1):
        end = "," if number < len(members) else ""
        yield from _value_lines(child, (*path, key), key if is_object else None, end)
    yield Line(content=f"{indent}{closing}{comma}", shown=f"{indent}{closing}{comma}", within=within)


def _members(value: object) -> Sequence[tuple[str, object]]:
    if isinstance(value, dict):
        return list(cast("dict[str, object]", value).items())
    if isinstance(value, list):
        return [(str(place), child) for place, child in enumerate(cast("list[object]", value))]
    return ()


def _shown(value: object, path: tuple[str, ...]) -> str:
    if value is None or isinstance(value, bool) or value in ({}, []):
        return json.dumps(value)
    if not isinstance(value, str):
        return MASK
    if any(_matches(path, pattern) for pattern in _SHOWN):
        return masking.shown(value) if isinstance(value, _Number) else f'"{masking.shown(value)}"'
    if any(_matches(path, pattern) for pattern in _COMMANDS):
        return f'"{masking.command_shown(value)}" {MASK}'
    return MASK


def _matches(path: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    return len(path) == len(pattern) and all(word in (_ANY, key) for word, key in zip(pattern, path, strict=True))
