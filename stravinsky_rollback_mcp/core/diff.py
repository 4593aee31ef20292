"""What lies between two trees."""

from collections.abc import Iterable
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.codec.trees import sort_key
from stravinsky_rollback_mcp.core.model import Entry, EntryType, Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Relative paths, sorted by raw bytes; the target itself is ``.``."""

    added: tuple[str, ...]
    modified: tuple[str, ...]
    removed: tuple[str, ...]


def difference(before: Tree, after: Tree) -> Difference:
    """Which entries an observer would see added, modified or removed when ``before`` becomes ``after``."""
    old = {entry.path: entry for entry in before.entries}
    new = {entry.path: entry for entry in after.entries}
    return Difference(
        added=_named(path for path in new if path not in old),
        modified=_named(path for path in new if path in old and not _same(old[path], new[path])),
        removed=_named(path for path in old if path not in new),
    )


def _same(old: Entry, new: Entry) -> bool:
    if old.type is not new.type:
        return False
    if old.type is EntryType.SYMLINK:
        return old.link == new.link
    return old.mode == new.mode and old.sha256 == new.sha256


def _named(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(path or "." for path in sorted(paths, key=sort_key))
