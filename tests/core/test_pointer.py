"""JSON pointers: what they mean, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.pointer import outermost, parse
from stravinsky_rollback_mcp.core.settings import MAX_DEPTH
from stravinsky_rollback_mcp.errors import Code, RollbackError

# RFC 6901, section 5, without the empty pointer: all of a file is named by the file alone.
EXAMPLES = {
    "/foo": ("foo",),
    "/foo/0": ("foo", "0"),
    "/": ("",),
    "/a~1b": ("a/b",),
    "/c%d": ("c%d",),
    "/e^f": ("e^f",),
    "/g|h": ("g|h",),
    "/i\\j": ("i\\j",),
    '/k"l': ('k"l',),
    "/ ": (" ",),
    "/m~0n": ("m~n",),
    "/~01": ("~1",),
}


@pytest.mark.parametrize(("text", "names"), EXAMPLES.items())
def test_the_examples_of_the_standard_mean_what_it_says(text: str, names: tuple[str, ...]) -> None:
    """RFC 6901, section 5."""
    assert parse(text) == names


@given(st.lists(st.text(max_size=5), min_size=1, max_size=9))
def test_any_names_can_be_written(names: list[str]) -> None:
    """Escaping takes nothing away: what was written is what is read."""
    written = "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)
    assert parse(written) == tuple(names)


@pytest.mark.parametrize(
    "text", ["", "hooks", "hooks/PreToolUse", "#/hooks", "/a~", "/a~2b", "/~", "/a" * (MAX_DEPTH + 1), "/" * 5000]
)
def test_what_is_no_pointer_is_refused(text: str) -> None:
    """Nothing is guessed: a key that is meant is written as the standard says."""
    with pytest.raises(RollbackError) as refused:
        parse(text)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert "/hooks/PreToolUse" in refused.value.hint


def test_what_lies_below_another_pointer_is_covered_by_it() -> None:
    """A value comes back whole, so its parts need no mention; elements are in the order of their places."""
    pointers = {parse(text) for text in ("/a", "/a/b", "/b/10", "/b/9", "/ab", "/b/9/x/y")}
    assert outermost(frozenset(pointers)) == (("a",), ("b", "9"), ("b", "10"), ("ab",))
