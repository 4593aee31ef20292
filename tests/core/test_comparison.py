"""What differs between two trees: each path once, in order, on pages that lose no line."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.codec.trees import ABSENT, present
from stravinsky_rollback_mcp.core.comparison import (
    MAX_BYTES,
    Differing,
    Place,
    cut_tree,
    diff_lines,
    differing,
    page_of,
)
from stravinsky_rollback_mcp.core.model import Entry, EntryType, Kind, Scope, Target, Tree

HOOKS = Target(scope=Scope.USER, component="hooks", kind=Kind.DIRECTORY, path="/h/.claude/hooks")
TOP = Entry(path="", type=EntryType.DIRECTORY, mode=0o755)
LABELS = ("v1", "live")


def file(path: str, content: bytes = b"", *, mode: int = 0o644, size_bytes: int | None = None) -> Entry:
    """A regular file."""
    size = len(content) if size_bytes is None else size_bytes
    sha256 = hashlib.sha256(content).hexdigest()
    return Entry(path=path, type=EntryType.FILE, mode=mode, size_bytes=size, sha256=sha256)


def link(path: str, text: str) -> Entry:
    """A link."""
    return Entry(path=path, type=EntryType.SYMLINK, mode=0o777, link=text)


def tree(*entries: Entry) -> Tree:
    """A folder with these entries."""
    return present([TOP, *entries])


def told(old: Entry | None, new: Entry | None, contents: tuple[bytes, bytes] = (b"", b"")) -> list[str]:
    """The lines of the diff of one path."""
    return list(diff_lines(Differing(target=HOOKS, path="a", old=old, new=new), "/h", LABELS, contents))


def test_each_path_that_differs_is_named_once_and_in_order() -> None:
    """A folder that came or went says nothing by itself; one whose mode changed does."""
    sub = Entry(path="d", type=EntryType.DIRECTORY, mode=0o755)
    old = tree(file("same", b"1"), file("gone", b"1"), file("x", b"1"))
    new = tree(file("same", b"1"), sub, file("d/new", b"1"), file("x", b"2"))
    assert [item.path for item in differing(HOOKS, old, new)] == ["d/new", "gone", "x"]
    assert [item.path for item in differing(HOOKS, new, ABSENT)] == ["d/new", "same", "x"]
    closed = Entry(path="", type=EntryType.DIRECTORY, mode=0o700)
    assert [item.path for item in differing(HOOKS, tree(), present([closed]))] == [""]
    assert differing(HOOKS, old, old) == ()


def test_a_tree_is_cut_to_a_path() -> None:
    """What lies at or below it, and not what merely begins with the same letters."""
    sub = Entry(path="a", type=EntryType.DIRECTORY, mode=0o755)
    whole = tree(sub, file("a/x"), file("a.py"), file("ab"))
    assert [entry.path for entry in cut_tree(whole, "a").entries] == ["a", "a/x"]
    assert cut_tree(whole, "nowhere") == ABSENT
    assert cut_tree(whole, "") == whole
    assert cut_tree(ABSENT, "a") == ABSENT


@given(st.lists(st.lists(st.text("ab€", max_size=4), min_size=1, max_size=6), max_size=6), st.integers(1, 20))
def test_all_pages_together_are_all_lines(pages: list[list[str]], limit_bytes: int) -> None:
    """Whatever fits on one; a line that is too long for any page has one of its own, so that each moves on."""
    lines: list[str] = []
    place: Place | None = Place()
    while place is not None and place.path < len(pages):
        page = page_of(pages[place.path :], place, limit_bytes)
        size = sum(len(line.encode()) + 1 for line in page.lines)
        assert page.lines
        assert size <= limit_bytes or len(page.lines) == 1
        lines.extend(page.lines)
        place = page.next
    assert lines == [line for page in pages for line in page]


@pytest.mark.parametrize(
    ("old", "new", "contents", "expected"),
    [
        (
            None,
            file("a", b"x\n"),
            (b"", b"x\n"),
            ["--- /dev/null", "+++ ~/.claude/hooks/a\tlive", "@@ -0,0 +1,1 @@", "+x"],
        ),
        (file("a", b"1", mode=0o755), file("a", b"1"), (b"1", b"1"), ["file 0755 becomes file 0644"]),
        (file("a", b"1"), link("a", "b"), (b"1", b""), ["file 0644 becomes link", "-1", "+link to b"]),
        (file("a", b"\0\1"), file("a", b"x\n"), (b"\0\1", b"x\n"), ["not shown: "]),
        (file("a", size_bytes=MAX_BYTES + 1), None, (b"", b""), ["not shown: too large to be shown, 1048577 bytes"]),
    ],
)
def test_one_path_reads_like_a_diff(
    old: Entry | None, new: Entry | None, contents: tuple[bytes, bytes], expected: list[str]
) -> None:
    """Kinds, modes and what cannot be shown are said in words."""
    found = told(old, new, contents)
    assert found[0].startswith("--- ")
    assert found[1].startswith("+++ ")
    for line in expected:
        assert any(shown.startswith(line) for shown in found), found
