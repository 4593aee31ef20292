"""Key paths of settings that differ: exact, on one line, and never a value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.keypaths import MAX_NAME_CHARACTERS, changed_keys, pointer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=5), JSON, max_size=4)


def _bytes(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"hooks": {"Stop": [1]}, "model": "a"}, {"model": "a"}, ("/hooks",)),
        ({"hooks": {"Stop": [1], "PreToolUse": []}}, {"hooks": {"Stop": [2], "PreToolUse": []}}, ("/hooks/Stop",)),
        ({}, {"env": {"A": "1"}, "model": "x"}, ("/env", "/model")),
        ({"env": {"A": "1"}}, {"env": {"A": "1", "B": "2"}}, ("/env/B",)),
        ({"a": True}, {"a": 1}, ("/a",)),
        ({"a": [False, {"b": 0}]}, {"a": [False, {"b": False}]}, ("/a",)),
        ({"a": 1}, {"a": 1.0}, ()),
        ({"a": {}}, {"a": []}, ("/a",)),
        ({"a/b": 1, "c~d": 1}, {}, ("/a~1b", "/c~0d")),
        ({"": {"": 1}}, {"": {"": 2}}, ("//",)),
        ({"two\nlines\u202e": 1}, {}, ("/two\\nlines\\u202e",)),
    ],
)
def test_what_differs_is_named_as_deep_as_both_have_objects(
    before: object, after: object, expected: tuple[str, ...]
) -> None:
    """A key that appears, vanishes or has another value; formatting and order of keys do not count."""
    assert changed_keys(_bytes(before), _bytes(after)) == expected
    assert changed_keys(_bytes(after), json.dumps(before, indent=4).encode()) == expected


def test_no_file_counts_as_one_without_keys() -> None:
    """A deleted settings file lost each of its keys."""
    assert changed_keys(b'{"hooks": {"Stop": []}, "model": "x"}', None) == ("/hooks", "/model")
    assert changed_keys(None, b"") == ()


@pytest.mark.parametrize("broken", [b"{", b"[]", b"\xff\xfe{", b'{"a":' * 5000 + b"1" + b"}" * 5000])
def test_keys_of_what_does_not_load_are_not_known(broken: bytes) -> None:
    """Whatever the bytes are, nothing is raised and nothing is guessed."""
    assert changed_keys(broken, b'{"a": 1}') == ()
    assert changed_keys(b'{"a": 1}', broken) == ()


def test_a_long_name_is_cut() -> None:
    """A name is for recognition; a file cannot flood a result with it."""
    assert len(pointer("x" * 5000)) == MAX_NAME_CHARACTERS + 1


@given(before=OBJECTS, after=OBJECTS)
def test_no_value_is_ever_in_a_pointer_and_equal_contents_have_none(
    before: dict[str, object], after: dict[str, object]
) -> None:
    """Each pointer is on one line and begins at a top-level key of either side; the order of sides is all the same."""
    found = changed_keys(_bytes(before), _bytes(after))
    assert found == changed_keys(_bytes(after), _bytes(before))
    assert changed_keys(_bytes(before), _bytes(before)) == ()
    tops = {pointer(name) for name in (*before, *after)}
    assert all(path.isprintable() and any(path == top or path.startswith(f"{top}/") for top in tops) for path in found)
