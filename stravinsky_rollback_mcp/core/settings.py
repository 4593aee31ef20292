"""Reading settings as Claude Code does, tolerantly: whatever the bytes are, nothing is raised.

How Claude Code 2.1.330 reads a settings file: strict JSON, byte order mark and empty file accepted, more than 2 MiB or
a root that is no object dropped whole. A key of a wrong type counts as absent here.
"""

import json
from collections.abc import Mapping, Sequence
from typing import cast

MAX_SETTINGS_BYTES = 2 * 1024 * 1024
MAX_DEPTH = 100

Settings = Mapping[str, object]
TOO_DEEP: Settings = {}


def load(content: bytes | None) -> Settings | None:
    """The settings that Claude Code takes from a file, ``TOO_DEEP``, or None when it drops the file."""
    content = content or b""
    if len(content) > MAX_SETTINGS_BYTES:
        return None
    text = content.decode("utf-8-sig", "replace")
    if not text.strip():
        return {}
    try:
        # Numbers as JavaScript has them: no limit of digits, 1 and 1.0 the same.
        value: object = json.loads(text, parse_int=float, parse_constant=_refuse_constant)
    except ValueError:
        return None
    except RecursionError:
        return TOO_DEEP
    if not isinstance(value, dict):
        return None
    return cast("Settings", value) if is_shallow(cast("object", value)) else TOO_DEEP


def _refuse_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")


def is_shallow(value: object) -> bool:
    """Whether comparing and encoding the value is safe from the recursion limit."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in (*table(item).values(), *items(item))]
    return not level


def at(settings: Settings, keys: Sequence[str]) -> object:
    """What lies at a path of keys; None where the way ends early."""
    value: object = settings
    for key in keys:
        value = table(value).get(key)
    return value


def table(value: object) -> Settings:
    """The value as an object, empty when it is none."""
    return cast("Settings", value) if isinstance(value, dict) else {}


def items(value: object) -> Sequence[object]:
    """The value as a list, empty when it is none."""
    return cast("list[object]", value) if isinstance(value, list) else ()


def texts(value: object) -> frozenset[str]:
    """The texts in a list; other items do not count."""
    return frozenset(item for item in items(value) if isinstance(item, str))
