"""Which keys of two settings files differ, as JSON pointers (RFC 6901) and never with a value."""

from collections.abc import Iterator, Mapping
from typing import cast

from stravinsky_rollback_mcp.core.names import shown
from stravinsky_rollback_mcp.core.settings import TOO_DEEP, load

MAX_NAME_CHARACTERS = 100


def changed_keys(before: bytes | None, after: bytes | None) -> tuple[str, ...]:
    """The pointers to what differs between two contents of a settings file, sorted; None stands for no file.

    A pointer leads as deep as both contents have objects: a key that one of them lacks, and a list, is named as a
    whole. Empty when the contents mean the same, and when Claude Code could not load one of them: then no key can be
    told apart. Any bytes are taken, nothing is raised.
    """
    old, new = load(before), load(after)
    if old is None or new is None or old is TOO_DEEP or new is TOO_DEEP:
        return ()
    return tuple(sorted(_changed("", old, new)))


def pointer(*names: str) -> str:
    """The pointer to a path of keys, on one line whatever the names hold; a long name is cut."""
    return "".join(f"/{_escaped(name)}" for name in names)


def _escaped(name: str) -> str:
    cut = name if len(name) <= MAX_NAME_CHARACTERS else f"{name[: MAX_NAME_CHARACTERS - 1]}…"
    return shown(cut, "").replace("~", "~0").replace("/", "~1")


def _changed(above: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    for name in old.keys() | new.keys():
        here = f"{above}{pointer(name)}"
        if name not in old or name not in new:
            yield here
        elif isinstance(old[name], dict) and isinstance(new[name], dict):
            yield from _changed(here, cast("Mapping[str, object]", old[name]), cast("Mapping[str, object]", new[name]))
        elif not is_same(old[name], new[name]):
            yield here


def is_same(one: object, other: object) -> bool:
    """Whether two JSON values are the same; Python alone would say that true is 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        old, new = cast("dict[str, object]", one), cast("dict[str, object]", other)
        return old.keys() == new.keys() and all(is_same(value, new[name]) for name, value in old.items())
    if isinstance(one, list) and isinstance(other, list):
        first, second = cast("list[object]", one), cast("list[object]", other)
        return len(first) == len(second) and all(map(is_same, first, second))
    return isinstance(one, bool) == isinstance(other, bool) and one == other
