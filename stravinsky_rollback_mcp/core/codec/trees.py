"""The digest that decides whether two trees are the same."""

import hashlib
from collections.abc import Iterable

from stravinsky_rollback_mcp.core.codec.text import name_bytes
from stravinsky_rollback_mcp.core.model import Entry, EntryType, Skipped, TargetState, Tree

_LETTERS = {EntryType.FILE: b"f", EntryType.DIRECTORY: b"d", EntryType.SYMLINK: b"l"}
_EMPTY = b"\0" * 8


def sort_key(path: str) -> bytes:
    """Entries are ordered by the raw bytes of their paths."""
    return name_bytes(path)


def _field(content: bytes) -> bytes:
    return len(content).to_bytes(8, "big") + content if content else _EMPTY


def tree_digest(entries: Iterable[Entry]) -> str:
    """SHA-256 over a length-prefixed encoding of the entries, in hexadecimal.

    Names, types, permission bits, link texts and file bytes count; times, owners and extended attributes do not: Claude
    Code reads none of them, and a tree must keep its digest on a file system that has none. What a restore brings of
    them is compared on its own. Every field carries its length, so no two different trees share an encoding.
    """
    digest = hashlib.sha256(b"tree 1\n")
    for entry in sorted(entries, key=lambda entry: sort_key(entry.path)):
        mode = 0 if entry.type is EntryType.SYMLINK else entry.mode
        digest.update(
            _LETTERS[entry.type]
            + _field(name_bytes(entry.path))
            + _field(mode.to_bytes(2, "big"))
            + _field(name_bytes(entry.link))
            + _field(bytes.fromhex(entry.sha256))
        )
    return digest.hexdigest()


ABSENT = Tree(state=TargetState.ABSENT, digest=tree_digest(()))


def present(entries: Iterable[Entry], skipped: Iterable[Skipped] = ()) -> Tree:
    """The tree of a target that exists: sorted entries, their digest, and what was left out."""
    ordered = tuple(sorted(entries, key=lambda entry: sort_key(entry.path)))
    left_out = tuple(sorted(skipped, key=lambda item: sort_key(item.path)))
    return Tree(state=TargetState.PRESENT, digest=tree_digest(ordered), entries=ordered, skipped=left_out)


def not_recorded(reason: str) -> Tree:
    """The tree of a target that could not be looked at as what it should be; ``reason`` says why."""
    return Tree(state=TargetState.NOT_RECORDED, digest="", skipped=(Skipped(path="", reason=reason),))
