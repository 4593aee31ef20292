"""What lies between two trees is exactly what their digests tell apart, and the lists rebuild one from the other."""

from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.codec.text import name_bytes
from stravinsky_rollback_mcp.core.codec.trees import ABSENT, present
from stravinsky_rollback_mcp.core.diff import difference
from stravinsky_rollback_mcp.core.model import Entry, EntryType, Tree

DIGESTS = ("11" * 32, "22" * 32)

# Few names, so that two drawn trees share some; the bytes of the last two sort apart from their characters.
paths = st.sampled_from(["a", "a/b", "a-b", "b", "b/c", "caf\udce9", "\u00e9", "\U0001f600"])
entries = st.one_of(
    st.builds(
        Entry,
        path=paths,
        type=st.just(EntryType.FILE),
        mode=st.sampled_from([0o644, 0o755]),
        sha256=st.sampled_from(DIGESTS),
        mtime_ns=st.integers(0, 3),
    ),
    st.builds(Entry, path=paths, type=st.just(EntryType.DIRECTORY), mode=st.sampled_from([0o755, 0o700])),
    st.builds(
        Entry,
        path=paths,
        type=st.just(EntryType.SYMLINK),
        mode=st.sampled_from([0o777, 0o755]),
        link=st.sampled_from(["x", "y"]),
    ),
)
TOP = Entry(path="", type=EntryType.DIRECTORY, mode=0o755)
trees = st.just(ABSENT) | st.lists(entries, max_size=6, unique_by=lambda entry: entry.path).map(
    lambda found: present([TOP, *found])
)


@given(trees, trees)
def test_no_difference_means_the_same_digest(before: Tree, after: Tree) -> None:
    """Only digests prove a change, so the shown change and the digest must never disagree."""
    found = difference(before, after)
    assert (before.digest == after.digest) == (not (found.added or found.modified or found.removed))


@given(trees, trees)
def test_the_way_back_is_the_mirror_image(before: Tree, after: Tree) -> None:
    """An undo shows as added what the change showed as removed."""
    there, back = difference(before, after), difference(after, before)
    assert (there.added, there.modified, there.removed) == (back.removed, back.modified, back.added)


@given(trees, trees)
def test_added_removed_and_modified_account_for_every_path(before: Tree, after: Tree) -> None:
    """Against sets: no path is forgotten and none is named twice; the target itself is a dot."""
    found = difference(before, after)
    old, new = ({entry.path or "." for entry in tree.entries} for tree in (before, after))
    assert set(found.added) == new - old
    assert set(found.removed) == old - new
    assert set(found.modified) <= old & new
    for names in (found.added, found.modified, found.removed):
        assert list(names) == sorted(set(names), key=lambda name: name_bytes("" if name == "." else name))


def test_times_and_the_mode_of_a_link_are_no_difference() -> None:
    """What a digest leaves out is no change to anybody."""
    one = Entry(path="a", type=EntryType.SYMLINK, mode=0o777, link="x", mtime_ns=1)
    other = Entry(path="a", type=EntryType.SYMLINK, mode=0o755, link="x", mtime_ns=2)
    assert difference(present([TOP, one]), present([TOP, other])) == difference(ABSENT, ABSENT)
