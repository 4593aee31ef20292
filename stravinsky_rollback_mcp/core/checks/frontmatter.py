"""The fields at the head of a Markdown file, read as tolerantly as Claude Code reads them: nothing is raised.

How Claude Code 2.1.330 does it: a byte order mark may come first; the first line is ``---``; the block ends at the
next ``---``, wherever that stands. Where the block is no YAML, values of plain ``key: value`` lines that hold special
characters are quoted, tabs become blanks, and it is tried once more: ``argument-hint: [a] [b]`` needs that.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from stravinsky_rollback_mcp.core.settings import table

MAX_FRONTMATTER_BYTES = 1 << 16

_FENCE = re.compile(r"---[^\S\n]*\n")
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PLAIN = re.compile(r"([A-Za-z_-]+):\s+(\S.*)", re.DOTALL)
_SPECIAL = re.compile(r"[{}\[\]*&#!|>%@`]|: ")
_QUOTED = re.compile(r"\".*\"|'.*'", re.DOTALL)


class State(StrEnum):
    """What stands at the head of a file; ``UNJUDGED`` is longer, deeper or more entangled than is read here."""

    ABSENT = "absent"
    UNCLOSED = "unclosed"
    BROKEN = "broken"
    NO_TABLE = "no_table"
    UNJUDGED = "unjudged"
    READ = "read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontmatter:
    """The head of one file: its fields when it was read, else none; ``line`` is where it stopped being YAML."""

    state: State
    fields: Mapping[str, object] = field(default_factory=dict[str, object])
    line: int | None = None


def head_of(content: bytes) -> bytes:
    """The part of a file that ``frontmatter`` looks at."""
    if not content.removeprefix(b"\xef\xbb\xbf").startswith(b"---"):
        return b""
    end = content.find(b"---", content.find(b"\n") + 1, MAX_FRONTMATTER_BYTES)
    return content[: MAX_FRONTMATTER_BYTES + 1 if end < 0 else end + 3]


def frontmatter(content: bytes) -> Frontmatter:
    """The frontmatter of a Markdown file that begins with these bytes. Numbers are read as 1: only kinds matter."""
    is_cut = len(content) > MAX_FRONTMATTER_BYTES
    text = content[:MAX_FRONTMATTER_BYTES].decode("utf-8-sig", "replace")
    begin = _FENCE.match(text)
    if begin is None:
        return Frontmatter(state=State.ABSENT)
    end = text.find("---", begin.end())
    if end < 0:
        return Frontmatter(state=State.UNJUDGED if is_cut else State.UNCLOSED)
    return _judged(_UNPRINTABLE.sub("\ufffd", text[begin.end() : end]))


def _judged(block: str) -> Frontmatter:
    # Imported when there is something to read: it takes longer than all else that a hook does.
    from stravinsky_rollback_mcp.core.checks.yaml_text import NotYamlError, TooEntangledError, value_of  # noqa: PLC0415

    line: int | None = None
    for attempt in (block, _mended(block)):
        try:
            value = value_of(attempt)
        except NotYamlError as error:
            line = None if error.line is None else error.line + 2  # the block begins on the second line
        except TooEntangledError:
            return Frontmatter(state=State.UNJUDGED)
        else:
            fields = table(value)
            is_table = value is None or fields is value
            return Frontmatter(state=State.READ if is_table else State.NO_TABLE, fields=fields)
    return Frontmatter(state=State.BROKEN, line=line)


def _mended(block: str) -> str:
    """The block with the values quoted that are no YAML as they stand."""
    return "\n".join(_quoted(line) for line in block.split("\n"))


def _quoted(line: str) -> str:
    blanks = len(line) - len(line.lstrip("\t"))
    line = "  " * blanks + line[blanks:].replace("\t", " ")
    found = _PLAIN.fullmatch(line.rstrip())
    if found is None or _QUOTED.fullmatch(found[2]) or _is_list(found[2]) or not _SPECIAL.search(found[2]):
        return line
    value = found[2].replace("\\", "\\\\").replace('"', '\\"')
    return f'{found[1]}: "{value}"'


def _is_list(value: str) -> bool:
    if not (value.startswith("[") and value.endswith("]")):
        return False
    from stravinsky_rollback_mcp.core.checks.yaml_text import NotYamlError, TooEntangledError, value_of  # noqa: PLC0415

    try:
        return isinstance(value_of(value), list)
    except (NotYamlError, TooEntangledError):
        return False
