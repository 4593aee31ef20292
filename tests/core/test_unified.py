"""A diff is right when it rebuilds one side from the other, and fit for hostile input when its time is bounded."""

import difflib
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.unified import Line, unified

texts = st.lists(st.sampled_from(["a", "b", "c", "", "{", "}"]), max_size=60)


def lines(words: Sequence[str]) -> list[Line]:
    """Lines that are shown as they are."""
    return [Line(content=word, shown=word) for word in words]


def rebuilt(old: Sequence[str], diff: Sequence[str]) -> list[str]:
    """What a person who follows the hunks to the letter makes of the old side; positions are checked on the way."""
    result: list[str] = []
    place = 0
    for text in diff:
        if text.startswith("@@ "):
            start, count = text.split(" ")[1][1:].split(",")
            begin = int(start) - 1 if int(count) else int(start)
            result.extend(old[place:begin])
            place = begin
            new_start, new_count = text.split(" ")[2][1:].split(",")
            assert len(result) == (int(new_start) - 1 if int(new_count) else int(new_start))
        elif text.startswith("+"):
            result.append(text[1:])
        else:
            assert old[place] == text[1:]
            result.extend([] if text.startswith("-") else [old[place]])
            place += 1
    return [*result, *old[place:]]


@given(old=texts, new=texts)
def test_the_hunks_lead_from_one_side_to_the_other(old: list[str], new: list[str]) -> None:
    """For all texts, with many equal lines among them."""
    diff = list(unified(lines(old), lines(new)))
    assert rebuilt(old, diff) == new
    assert bool(diff) == (old != new)


@given(
    old=st.lists(st.integers(0, 400).map(str), max_size=300),
    edits=st.lists(st.tuples(st.integers(0, 299), st.text(max_size=2)), max_size=8),
)
@settings(max_examples=60)
def test_long_files_with_few_edits_give_few_lines(old: list[str], edits: list[tuple[int, str]]) -> None:
    """Long ranges go by anchors; what did not change is not repeated."""
    new = list(old)
    for place, word in edits:
        new[place:place] = [f"new {word}"]
    diff = list(unified(lines(old), lines(new)))
    assert rebuilt(old, diff) == new
    assert sum(text.startswith("+") for text in diff) >= len(edits)
    assert len(diff) <= len(edits) * 8 + len(old)


@given(old=st.lists(st.sampled_from("abc"), max_size=12), new=st.lists(st.sampled_from("abc"), max_size=12))
def test_short_texts_are_compared_exactly(old: list[str], new: list[str]) -> None:
    """No diff of a short text is longer than the one that Python makes."""
    ours = [text for text in unified(lines(old), lines(new)) if text[0] in "+-"]
    theirs = [text for text in difflib.ndiff(old, new) if text[0] in "+-"]
    assert len(ours) <= len(theirs)


def test_a_hunk_has_context_and_says_where_it_is() -> None:
    """As ``git diff`` has it: three lines around, and the place in the file behind the numbers."""
    old = [Line(content=str(number), shown=str(number), within="/hooks") for number in range(20)]
    new = [*old[:9], Line(content="x", shown="X"), *old[10:]]
    assert list(unified(old, new)) == ["@@ -7,7 +7,7 @@ /hooks", " 6", " 7", " 8", "-9", "+X", " 10", " 11", " 12"]


def test_lines_that_differ_only_in_what_is_masked_are_both_shown() -> None:
    """Compared is what is there, shown is what may be seen."""
    old, new = Line(content="token=one", shown="token=***"), Line(content="token=two", shown="token=***")
    assert list(unified([old], [new])) == ["@@ -1,1 +1,1 @@", "-token=***", "+token=***"]


def test_one_side_may_be_empty() -> None:
    """A file that came or went is one hunk."""
    assert list(unified([], lines(["a", "b"]))) == ["@@ -0,0 +1,2 @@", "+a", "+b"]
    assert list(unified(lines(["a"]), [])) == ["@@ -1,1 +0,0 @@", "-a"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["a"] * 20_000, ["b"] * 20_000),
        (["a", "b"] * 10_000, ["b", "a"] * 10_000),
        ([str(n) for n in range(20_000)], [str(n) for n in range(20_000, 0, -1)]),
        ([str(n // 2) for n in range(20_000)], [str(n // 3) for n in range(20_000)]),
        ([str(n) for n in range(20_000)], [str(n) for n in range(0, 40_000, 2)]),
        ([f"{n}" if n % 2 else "x" for n in range(20_000)], [f"{n}" if n % 3 else "y" for n in range(20_000)]),
    ],
    ids=["disjoint", "turned", "backwards", "repeated", "every other", "mixed"],
)
def test_no_text_takes_long(old: list[str], new: list[str]) -> None:
    """Hostile input: on such texts the usual algorithms take minutes."""
    started = time.process_time()
    diff = list(unified(lines(old), lines(new)))
    assert time.process_time() - started < 3
    assert rebuilt(old, diff) == new
