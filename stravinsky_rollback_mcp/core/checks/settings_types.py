"""What the schema of settings says of a file: wrong types, unknown names, each with what Claude Code does about it."""

import difflib
import functools
import json
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from stravinsky_rollback_mcp.core.checks.faults import GUARDED_EVENTS, Fault, dropped, passed_over
from stravinsky_rollback_mcp.core.checks.positions import Path
from stravinsky_rollback_mcp.core.model import Effect, Severity
from stravinsky_rollback_mcp.core.settings import Settings, at, items, table

if TYPE_CHECKING:
    from jsonschema import ValidationError

_KINDS: Mapping[str, str] = {
    "string": "a text",
    "boolean": "true or false",
    "number": "a number",
    "integer": "a whole number",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_BOUNDS: Mapping[str, str] = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most"}


@functools.cache
def schema() -> Settings:
    """The schema beside this module: what version 2.1.330 was seen to do with each key."""
    content = pkgutil.get_data(__package__ or "", "settings.schema.json")
    return cast("Settings", json.loads(content or b""))


def of_schema(settings: Settings, *, is_restore: bool) -> Iterator[Fault]:
    """The faults that the schema finds; only names of keys and words of the schema are told."""
    # Imported when it is first needed: it takes longer than all else that a short command of ours does.
    from jsonschema import Draft202012Validator  # noqa: PLC0415

    validator: Any = Draft202012Validator(schema())
    for error in cast("Iterator[ValidationError]", validator.iter_errors(settings)):
        path = tuple(str(step) for step in error.absolute_path)
        if error.validator == "additionalProperties":
            yield from _unknown(path, table(table(error.schema).get("properties")), table(error.instance))
        elif path[:1] == ("hooks",):
            yield _of_hooks(path, error, is_restore=is_restore)
        elif _is_accepted(error):
            name = (str(error.instance),) if "propertyNames" in error.schema_path else ()
            message = f"{_told(error)}, so it has no effect."
            yield Fault(path=(*path, *name), severity=Severity.WARNING, message=message, fix="mend it.")
        else:
            message = f"{_told(error)}, so Claude Code drops the whole file, permission rules included."
            yield dropped(path, message)


def _of_hooks(path: Path, error: "ValidationError", *, is_restore: bool) -> Fault:
    """What cannot be loaded below ``hooks`` counts by its event."""
    told = _told(error)
    event = path[1] if len(path) > 1 else ""
    if not event or (event in GUARDED_EVENTS and error.instance is None and len(path) == len(("hooks", event))):
        return Fault(
            path=path,
            severity=Severity.ERROR,
            message=f"{told}, so Claude Code passes over it and no guard in it runs.",
            fix="mend it.",
            effect=Effect.GUARD_OFF,
        )
    if event in GUARDED_EVENTS:
        return dropped(path, f"{told}; it may be a guard, so Claude Code drops the whole file.")
    return passed_over(path, told, is_restore=is_restore)


def _told(error: "ValidationError") -> str:
    """What is wrong, without the value that is."""
    wanted = error.validator_value
    match error.validator:
        case "type":
            kinds = items(cast("object", wanted)) or (wanted,)
            return f"must be {' or '.join(_KINDS[str(kind)] for kind in kinds)}"
        case "enum":
            words = [str(word) for word in items(cast("object", wanted)) if word is not None]
            return f"must be {'one of ' if len(words) > 1 else ''}{', '.join(words)}"
        case "required":
            given = table(cast("object", error.instance))
            return f"lacks {', '.join(str(name) for name in items(cast('object', wanted)) if name not in given)}"
        case "minimum" | "exclusiveMinimum" | "maximum":
            return f"must be {_BOUNDS[str(error.validator)]} {wanted}"
        case _ if "propertyNames" in error.schema_path:
            return "is not in upper case, as programs look for it"
        case _:
            return "is not of the right form"


def _is_accepted(error: "ValidationError") -> bool:
    """Whether the schema says, here or above, that a wrong value is passed over by itself."""
    node: object = schema()
    for step in error.absolute_schema_path:
        while "$ref" in table(node):  # the library leaves this step out of the path
            node = at(schema(), str(table(node)["$ref"]).removeprefix("#/").split("/"))
        if table(node).get("effect") == "accepted":
            return True
        node = cast("Sequence[object]", node)[step] if isinstance(step, int) else table(node).get(step)
    return False


def _unknown(path: Path, known: Settings, given: Settings) -> Iterator[Fault]:
    what = "is no event of Claude Code" if path == ("hooks",) else "is not a key that Claude Code knows"
    for name in given:
        if name not in known and (path or name not in ELSEWHERE):
            near = difflib.get_close_matches(name, known, n=1)
            yield Fault(
                path=(*path, name),
                severity=Severity.WARNING,
                message=f"{what}, so it has no effect.",
                fix=f"did you mean {near[0]}?"
                if near
                else "see whether it is spelt right and stands where it belongs.",
            )


# Keys that people write into settings although they belong elsewhere, or did once.
ELSEWHERE: Mapping[str, str] = {
    "mcpServers": "register servers in .mcp.json in the project root, or with `claude mcp add --scope user`.",
    "allowedTools": "rules belong in permissions.allow.",
    "ignorePatterns": "Read(...) rules in permissions.deny do this now.",
    "autoUpdates": "the variable DISABLE_AUTOUPDATER does this now.",
}
