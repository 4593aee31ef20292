"""``config.json``: what a person has set, by section and field; everything else keeps its default."""

from collections.abc import Mapping
from typing import cast

from stravinsky_rollback_mcp.core.codec.text import from_json, to_readable_json
from stravinsky_rollback_mcp.core.policy import DEFAULTS, VERSION, Policy, Value, changed, unknown
from stravinsky_rollback_mcp.errors import Code, RollbackError


def encode(values: Mapping[str, Value]) -> bytes:
    """The bytes of ``config.json`` that sets these, by ``section.field``."""
    sections: dict[str, dict[str, Value]] = {}
    for key, value in values.items():
        section, _, field = key.partition(".")
        sections.setdefault(section, {})[field] = value
    return to_readable_json({"version": VERSION, **sections})


def decode(content: bytes) -> dict[str, Value]:
    """What the bytes set. Raises ``invalid_argument`` by name, ``unsupported_version`` for another version."""
    try:
        members = from_json(content)
    except ValueError as error:
        raise RollbackError(
            Code.INVALID_ARGUMENT, f"config.json is not of the agreed form: {error}.", "mend it, or move it away."
        ) from error
    if members.pop("version", None) != VERSION:
        raise RollbackError(
            Code.UNSUPPORTED_VERSION, f'config.json does not say "version": "{VERSION}".', "write that into it."
        )
    sections = {key.partition(".")[0] for key in DEFAULTS}
    values: dict[str, Value] = {}
    for section, given in members.items():
        if section not in sections:
            raise unknown(section)
        if not isinstance(given, dict):
            raise RollbackError(
                Code.INVALID_ARGUMENT, f"{section} in config.json is not a JSON object.", "correct it and start again."
            )
        for field, value in cast("dict[str, Value]", given).items():
            key = f"{section}.{field}"
            if key not in DEFAULTS:
                raise unknown(key)
            changed(Policy(), key, value, source=f"{key} in config.json")
            values[key] = value
    return values
