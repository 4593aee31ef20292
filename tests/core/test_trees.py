"""The tree digest: equal exactly when an observer could not tell two trees apart."""

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.codec.trees import ABSENT, not_recorded, present, tree_digest
from stravinsky_rollback_mcp.core.model import Entry, EntryType, Skipped, TargetState


def file(path: str, content: bytes = b"", mode: int = 0o644) -> Entry:
    """A file's entry with the digest of its content."""
    return Entry(path=path, type=EntryType.FILE, mode=mode, size_bytes=len(content), sha256=sha256(content).hexdigest())


TREE = (
    Entry(path="", type=EntryType.DIRECTORY, mode=0o755, mtime_ns=1),
    file("a", b"xy"),
    file("b", b"z"),
    Entry(path="empty", type=EntryType.DIRECTORY, mode=0o700),
    Entry(path="link", type=EntryType.SYMLINK, mode=0o777, link="a"),
)

names = st.binary(min_size=1, max_size=6).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
entries = st.builds(
    Entry,
    path=names,
    type=st.sampled_from(EntryType),
    mode=st.integers(0, 0o777),
    sha256=st.sampled_from(["", sha256(b"1").hexdigest(), sha256(b"2").hexdigest()]),
    link=names,
    mtime_ns=st.integers(-(1 << 62), 1 << 62),
)
trees = st.lists(entries, max_size=4, unique_by=lambda entry: entry.path)


VISIBLE: dict[str, tuple[Entry, ...]] = {
    "boundary": (*TREE[:1], file("a", b"x"), file("b", b"yz"), *TREE[3:]),
    "name": (*TREE[:1], file("c", b"xy"), *TREE[2:]),
    "executable bit": (*TREE[:1], file("a", b"xy", 0o755), *TREE[2:]),
    "mode of the folder itself": (replace(TREE[0], mode=0o700), *TREE[1:]),
    "empty folder gone": (*TREE[:3], *TREE[4:]),
    "type": (*TREE[:3], file("empty", b"", 0o700), TREE[4]),
    "link text": (*TREE[:4], replace(TREE[4], link="b")),
    "link made a file": (*TREE[:4], file("link", b"a", 0o777)),
    "link gone": TREE[:4],
}


@pytest.mark.parametrize("changed", VISIBLE.values(), ids=VISIBLE)
def test_every_change_an_observer_sees_changes_the_digest(changed: tuple[Entry, ...]) -> None:
    """Names, types, modes, link texts and boundaries count (design; a naive hash saw none)."""
    assert tree_digest(changed) != tree_digest(TREE)


def test_times_order_and_the_mode_of_links_do_not_count() -> None:
    """A touched file is the same file, and systems disagree on what mode a link has (design)."""
    same = [replace(entry, mtime_ns=9) for entry in reversed(TREE)]
    same = [replace(entry, mode=0o755) if entry.type is EntryType.SYMLINK else entry for entry in same]
    assert tree_digest(same) == tree_digest(TREE)


def test_the_encoding_is_fixed() -> None:
    """Stored digests are compared with new ones: a change of the encoding needs a new format, not a new constant."""
    assert tree_digest(TREE) == "ff97bcbb1c0baeaae02e7b35f07b0c85d12891b9dd44973d2c59172cf223fac8"
    assert ABSENT.digest == tree_digest(()) == sha256(b"tree 1\n").hexdigest()


@given(one=trees, other=trees)
def test_two_trees_have_one_digest_only_if_they_are_the_same(one: list[Entry], other: list[Entry]) -> None:
    """The encoding is injective: what differs in anything but times has another digest."""

    def essence(tree: list[Entry]) -> set[tuple[object, ...]]:
        return {
            (item.path, item.type, item.type is EntryType.SYMLINK or item.mode, item.sha256, item.link) for item in tree
        }

    assert (tree_digest(one) == tree_digest(other)) == (essence(one) == essence(other))


@given(tree=trees)
def test_entries_are_sorted_by_raw_bytes(tree: list[Entry]) -> None:
    """Order is that of the bytes on disk, not of the text (design)."""
    skipped = [Skipped(path=entry.path, reason="r") for entry in tree]
    made = present(tree, skipped)
    raw = [entry.path.encode("utf-8", "surrogateescape") for entry in made.entries]
    assert raw == sorted(raw)
    assert [item.path for item in made.skipped] == [entry.path for entry in made.entries]
    assert made.state is TargetState.PRESENT


def test_an_empty_folder_is_not_an_absent_one() -> None:
    """Absence is a state of its own, and so is not having been able to look."""
    empty = present(TREE[:1])
    assert empty.digest != ABSENT.digest
    assert ABSENT.state is TargetState.ABSENT
    unknown = not_recorded("a FIFO")
    assert (unknown.digest, unknown.entries, unknown.skipped) == ("", (), (Skipped(path="", reason="a FIFO"),))


def test_a_tree_counts_files_and_bytes() -> None:
    """Links count as files, folders do not."""
    made = present(TREE)
    assert (made.files, made.size_bytes) == (3, 3)
