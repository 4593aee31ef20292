"""The value of a YAML text from somebody else: nothing of it is made but tables, lists, texts, flags and numbers.

It is a module of its own because PyYAML takes long to import: whoever reads frontmatter imports it when there is some.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import yaml

_MAX_DEPTH = 50
# libyaml is twenty times faster. Only its events are used: what builds values from them recurses as deep as the text.
_LOADER = cast("type[yaml.SafeLoader]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
_WORDS: Mapping[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?|0x[\da-fA-F]+|0o[0-7]+", re.ASCII)


class NotYamlError(Exception):
    """The text is no YAML; ``line`` counts from 0 to where that showed, where it is known."""

    def __init__(self, line: int | None) -> None:
        super().__init__("no YAML")
        self.line = line


class TooEntangledError(Exception):
    """Deeper than is read here, or with aliases, which make a short text a huge value."""


def value_of(text: str) -> object:
    """The one value of a YAML text; the last of fields that stand twice, and 1 for any number: only kinds matter.

    Raises ``NotYamlError`` and ``TooEntangledError``.
    """
    try:
        return _loaded(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise NotYamlError(None if mark is None else mark.line) from error


def _loaded(text: str) -> object:
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
        raise TooEntangledError
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
