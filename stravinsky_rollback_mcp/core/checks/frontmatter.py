"""The fields at the head of a Markdown file, read as tolerantly as Claude Code reads them: nothing is raised.

How Claude Code 2.1.330 does it: a byte order mark may come first; the first line is ``---``; the block ends at the
next ``---``, wherever that stands. Where the block is no YAML, values of plain ``key: value`` lines that hold special
characters are quoted, tabs become blanks, and it is tried once more: ``argument-hint: [a] [b]`` needs that.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

import yaml

from stravinsky_rollback_mcp.core.settings import table

MAX_FRONTMATTER_BYTES = 1 << 16
_MAX_DEPTH = 50
# libyaml is twenty times faster. Only its events are used: what builds values from them recurses as deep as the text.
_LOADER = cast("type[yaml.SafeLoader]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))

_FENCE = re.compile(r"---[^\S\n]*\n")
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PLAIN = re.compile(r"([A-Za-z_-]+):\s+(\S.*)", re.DOTALL)
_SPECIAL = re.compile(r"[{}\[\]*&#!|>%@`]|: ")
_QUOTED = re.compile(r"\".*\"|'.*'", re.DOTALL)
_WORDS: Mapping[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?|0x[\da-fA-F]+|0o[0-7]+", re.ASCII)


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


class _TooEntangledError(Exception):
    """Deeper than is read here, or with aliases, which make a short text a huge value."""


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
    line: int | None = None
    for attempt in (block, _mended(block)):
        try:
            value = _loaded(attempt)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = None if mark is None else mark.line + 2  # the block begins on the second line
        except _TooEntangledError:
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
    try:
        return isinstance(_loaded(value), list)
    except (yaml.YAMLError, _TooEntangledError):
        return False


def _loaded(text: str) -> object:
    """The one value of a YAML text; the last of fields that stand twice. Raises ``YAMLError``."""
    events = cast("Iterator[yaml.Event]", cast("Any", yaml).parse(text, Loader=_LOADER))
    value: object = None
    documents = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            value = _value(events, next(events), 0)
    return value if documents <= 1 else [value]


def _value(events: Iterator[yaml.Event], event: yaml.Event, depth: int) -> object:
    if depth > _MAX_DEPTH or isinstance(event, yaml.AliasEvent):
        raise _TooEntangledError
    if isinstance(event, yaml.ScalarEvent):
        is_plain = event.implicit[0] and not event.style
        return _scalar(event.value) if is_plain else event.value
    if isinstance(event, yaml.SequenceStartEvent):
        members: list[object] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            members.append(_value(events, event, depth + 1))
        return members
    fields: dict[str, object] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        name = _value(events, event, depth + 1)
        value = _value(events, next(events), depth + 1)
        fields[event.value if isinstance(event, yaml.ScalarEvent) else repr(type(name))] = value
    return fields


def _scalar(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    return 1 if _NUMBER.fullmatch(text) else text
