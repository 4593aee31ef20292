"""Canonical JSON, and names that are not UTF-8.

JSON has no bytes: a name that is not valid UTF-8 is written with replacement characters for people, beside a twin
key ``<key>_b64`` that holds its exact bytes and alone counts when reading.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import cast

from stravinsky_rollback_mcp.errors import Code, RollbackError

_ON_ONE_LINE = json.JSONEncoder(sort_keys=True, allow_nan=False).encode


def name_bytes(name: str) -> bytes:
    """The exact bytes of a name or link text on disk."""
    return name.encode("utf-8", "surrogateescape")


def name_fields(key: str, name: str) -> dict[str, str]:
    """The JSON members that hold a name under ``key``: one for UTF-8, two otherwise."""
    raw = name_bytes(name)
    try:
        return {key: raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {key: raw.decode("utf-8", "replace"), f"{key}_b64": base64.b64encode(raw).decode("ascii")}


def read_name(members: Mapping[str, object], key: str) -> str:
    """The name that ``name_fields`` wrote. Raises ValueError when the members are not of that form."""
    encoded = members.get(f"{key}_b64")
    if encoded is None:
        name = members.get(key)
        if not isinstance(name, str):
            raise ValueError(f"{key} is not a text")
        # A name that is not UTF-8 stands in its twin alone: escaped surrogates here would be a second spelling.
        name.encode("utf-8")
        return name
    if not isinstance(encoded, str):
        raise ValueError(f"{key}_b64 is not a text")
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", "surrogateescape")
    except binascii.Error as error:
        raise ValueError(f"{key}_b64 is not base64") from error


def to_json(value: object) -> bytes:
    """Canonical bytes: sorted keys, no spaces, ASCII only, no NaN, one line."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def to_readable_json(value: object) -> bytes:
    """Canonical bytes for files that people read: sorted keys, one space of indentation, a final newline.

    What a list holds takes a line each, unless it holds further lists or objects itself.
    """
    return ("".join(_readable(value, "\n")) + "\n").encode("ascii")


def _readable(value: object, end: str) -> Iterator[str]:
    """The pieces of a value, whose closing bracket stands after ``end``: a line feed and its indentation."""
    inner = f"{end} "
    if isinstance(value, dict) and value:
        before = "{"
        for key, member in sorted(cast("dict[str, object]", value).items()):
            yield f"{before}{inner}{_ON_ONE_LINE(key)}: "
            yield from _readable(member, inner)
            before = ","
        yield f"{end}}}"
    elif isinstance(value, list) and value:
        before = "["
        for item in cast("list[object]", value):
            yield f"{before}{inner}"
            # Almost all of a manifest are such lines, and the standard library indents ten times as slowly.
            yield from (_ON_ONE_LINE(item),) if _is_row(item) else _readable(item, inner)
            before = ","
        yield f"{end}]"
    else:
        yield _ON_ONE_LINE(value)


def _is_row(value: object) -> bool:
    """Whether an object holds nothing but texts, numbers and the like."""
    return isinstance(value, dict) and not any(
        isinstance(member, (dict, list)) for member in cast("dict[str, object]", value).values()
    )


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate keys")
    return members


def _refuse_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")


def from_json(content: bytes) -> dict[str, object]:
    """The object that JSON bytes hold, duplicate keys and non-finite numbers refused with ValueError."""
    try:
        value: object = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError("not UTF-8 JSON of sane depth") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return cast("dict[str, object]", value)


def require_format(members: Mapping[str, object], known: int, what: str) -> None:
    """Refuse a record written by a newer version of this program (``unsupported_version``)."""
    found = members.get("format")
    if type(found) is not int or found < 1:
        raise ValueError("format is not a positive number")
    if found > known:
        raise RollbackError(
            Code.UNSUPPORTED_VERSION,
            f"this {what} has format {found}, newer than the {known} that this program knows.",
            "update stravinsky-rollback-mcp and try again.",
        )


class Members:
    """Typed access to the members of one JSON object; every surprise is a ValueError."""

    def __init__(self, raw: Mapping[str, object]) -> None:
        self.raw = raw

    def require_only(self, known: frozenset[str]) -> None:
        """Refuse members that the format does not have: ignoring one could mean ignoring what matters."""
        if not self.raw.keys() <= known:
            raise ValueError("a member that this format does not have")

    def text(self, key: str) -> str:
        """A text."""
        value = self.raw.get(key)
        if not isinstance(value, str):
            raise ValueError(f"{key} is not a text")
        return value

    def optional_text(self, key: str) -> str | None:
        """A text, or None where there is none."""
        return None if self.raw.get(key) is None else self.text(key)

    def integer(self, key: str) -> int:
        """A whole number of at most 64 bits."""
        value = self.raw.get(key)
        if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
            raise ValueError(f"{key} is not a number of sane size")
        return value

    def number(self, key: str) -> int:
        """A whole number that is not negative."""
        value = self.integer(key)
        if value < 0:
            raise ValueError(f"{key} is negative")
        return value

    def objects(self, key: str) -> list[dict[str, object]]:
        """A list of objects."""
        value = self.raw.get(key)
        if not isinstance(value, list):
            raise ValueError(f"{key} is not a list")
        items = cast("list[object]", value)
        if not all(isinstance(item, dict) for item in items):
            raise ValueError(f"{key} holds something that is not an object")
        return cast("list[dict[str, object]]", items)

    def object(self, key: str) -> "Members":
        """An object."""
        value = self.raw.get(key)
        if not isinstance(value, dict):
            raise ValueError(f"{key} is not an object")
        return Members(cast("dict[str, object]", value))

    def truth(self, key: str) -> bool:
        """True or false."""
        value = self.raw.get(key)
        if not isinstance(value, bool):
            raise ValueError(f"{key} is not true or false")
        return value

    def texts(self, key: str) -> dict[str, str]:
        """An object whose members are all texts."""
        value = self.raw.get(key)
        if not isinstance(value, dict) or not all(
            isinstance(item, str) for item in cast("dict[str, object]", value).values()
        ):
            raise ValueError(f"{key} is not an object of texts")
        return cast("dict[str, str]", value)
