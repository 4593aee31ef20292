"""JSON pointers (RFC 6901): one member or element of a JSON document."""

import re

from stravinsky_rollback_mcp.core.settings import MAX_DEPTH
from stravinsky_rollback_mcp.errors import Code, RollbackError

MAX_POINTER = 4096  # characters
_BAD_ESCAPE = re.compile(r"~(?![01])")

Pointer = tuple[str, ...]


def parse(text: str) -> Pointer:
    """The names on the way to a value; ``/a~1b/0`` is ``("a/b", "0")``.

    Percent signs stand for themselves, also behind the ``#`` of a path. Raises ``invalid_argument`` for what is no
    pointer or leads deeper than settings may, and for the empty pointer, which is the whole document.
    """
    if not text.startswith("/") or len(text) > MAX_POINTER or _BAD_ESCAPE.search(text) or text.count("/") > MAX_DEPTH:
        raise RollbackError(
            Code.INVALID_ARGUMENT,
            "the key is not given as a JSON pointer.",
            "write it like settings.json#/hooks/PreToolUse, / in a name as ~1 and ~ as ~0; name the file alone for "
            "all of it.",
        )
    return tuple(name.replace("~1", "/").replace("~0", "~") for name in text[1:].split("/"))


def outermost(pointers: frozenset[Pointer]) -> tuple[Pointer, ...]:
    """The pointers that do not lead below another one; the places of a list in their order."""
    kept = [
        pointer for pointer in pointers if not any(pointer[:length] in pointers for length in range(1, len(pointer)))
    ]
    # Shorter first: of numbers without leading zeros that is the order of their values.
    return tuple(sorted(kept, key=lambda pointer: [(len(name), name) for name in pointer]))
