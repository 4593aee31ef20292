"""Moments as text: one form, whose order is the order of time, and what callers may write instead."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.times import DAY_SECONDS, believable_ages, bound, seconds_between, text_of
from stravinsky_rollback_mcp.errors import Code, RollbackError

NOW = datetime(2026, 11, 23, 9, 30, 15, 250_000, tzinfo=UTC)

zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=zones)  # noqa: DTZ001 - zones are added


@given(moments, moments)
def test_the_order_of_texts_is_the_order_of_moments(one: datetime, other: datetime) -> None:
    """The audit compares bounds as texts, so years before 1000 need their zeros too."""
    for early, late in ((one, other), (other, one)):
        assert early > late or text_of(early) <= text_of(late)


@given(moments)
def test_a_text_keeps_the_moment_to_the_millisecond(moment: datetime) -> None:
    """RFC 3339, UTC, Z: any reader of the log understands it."""
    text = text_of(moment)
    assert len(text) == len("2026-11-23T09:30:15.250Z")
    assert text.endswith("Z")
    assert timedelta(0) <= moment - datetime.fromisoformat(text) < timedelta(milliseconds=1)


@given(moments, st.booleans())
def test_what_this_package_writes_it_reads(moment: datetime, is_end: bool) -> None:  # noqa: FBT001 - drawn
    """A caller may hand back any time that a result showed."""
    assert bound(text_of(moment), NOW, is_end=is_end) == text_of(moment)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026-11-23T09:00:00Z", "2026-11-23T09:00:00.000Z", "2026-11-23T09:00:00.999Z"),
        ("2026-11-23t09:00:00z", "2026-11-23T09:00:00.000Z", "2026-11-23T09:00:00.999Z"),
        ("2026-11-23T09:00:00.000Z", "2026-11-23T09:00:00.000Z", "2026-11-23T09:00:00.000Z"),
        ("2026-11-23T10:30:00.5+01:30", "2026-11-23T09:00:00.500Z", "2026-11-23T09:00:00.500Z"),
        ("0999-12-31T00:00:00Z", "0999-12-31T00:00:00.000Z", "0999-12-31T00:00:00.999Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z", "9999-12-31T23:59:59.999Z"),
        ("30m", "2026-11-23T09:00:15.250Z", "2026-11-23T09:00:15.250Z"),
        ("24h", "2026-11-22T09:30:15.250Z", "2026-11-22T09:30:15.250Z"),
        ("7d", "2026-11-16T09:30:15.250Z", "2026-11-16T09:30:15.250Z"),
    ],
)
def test_a_bound_without_fractions_includes_its_whole_second(text: str, start: str, end: str) -> None:
    """The contract's forms of `since` and `until`; RFC 3339 allows a small t and z."""
    assert bound(text, NOW, is_end=False) == start
    assert bound(text, NOW, is_end=True) == end


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "yesterday", "7", "d7", "7 d", "7D", "0d", "-7d", "1.5h", "7w", "\u0667d", "1\u0661d"),
        *("2026-11-23", "2026-11-23T09:00:00", "2026-11-23 09:00:00Z", "2026-13-01T00:00:00Z", "2026-11-23T25:00:00Z"),
        *("999999d", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "10000-01-01T00:00:00Z"),
        *("2026-11-23T09:00:00Z\n", "7d\n", "\ud800", "2026-11-23T09:00:00Z' OR 1=1"),
    ],
)
def test_other_words_are_refused(text: str) -> None:
    """Also what leads out of the calendar: 999999d once ended in an OverflowError."""
    with pytest.raises(RollbackError) as refused:
        bound(text, NOW, is_end=True)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert "24h" in refused.value.hint


@given(st.text(max_size=30), st.booleans())
def test_no_text_whatever_ends_in_another_error(text: str, is_end: bool) -> None:  # noqa: FBT001 - drawn
    """A bound comes from a model, which may write anything."""
    try:
        found = bound(text, NOW, is_end=is_end)
    except RollbackError as error:
        found = error.code
    assert found == Code.INVALID_ARGUMENT or datetime.fromisoformat(found).tzinfo is not None


@given(moments, moments)
def test_durations_are_never_negative(one: datetime, other: datetime) -> None:
    """A clock may go back between the start and the end of an operation (threat model, row 76)."""
    first, last = sorted((text_of(one), text_of(other)))
    assert seconds_between(last, first) == 0.0
    passed = datetime.fromisoformat(last) - datetime.fromisoformat(first)
    assert seconds_between(first, last) == round(passed.total_seconds(), 3)


moments_of_any_clock = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - as above
seconds = st.integers(0, 90 * DAY_SECONDS)
LONGEST = 30.0 * DAY_SECONDS


def written(start: datetime, gaps: list[int]) -> list[str]:
    """Moments with these seconds between them."""
    return [text_of(start + timedelta(seconds=sum(gaps[:count]))) for count in range(len(gaps) + 1)]


@given(st.lists(seconds, min_size=1, max_size=9), st.booleans())
def test_ages_by_a_clock_that_is_right_are_ages(gaps: list[int], is_in_order: bool) -> None:  # noqa: FBT001 - drawn
    """As long as no gap is too long to be believed; behind one that is, everything is that much younger."""
    *made, now = written(NOW, gaps)
    ages = believable_ages(made, now, LONGEST if is_in_order else math.inf)
    for place, age in enumerate(ages):
        believed = sum(min(gap, LONGEST) if is_in_order else gap for gap in gaps[place:])
        assert age == believed


@given(st.lists(seconds, min_size=2, max_size=9), st.data())
def test_one_moment_that_is_wrong_makes_nothing_old(gaps: list[int], data: st.DataObject) -> None:
    """The present one or any before it, by any amount: nothing is older than it was by more than one gap may count."""
    *made, now = written(NOW, gaps)
    honest = believable_ages(made, now, LONGEST)
    moments = [*made, now]
    place = data.draw(st.integers(0, len(made)))
    moments[place] = data.draw(st.just("no moment") | moments_of_any_clock.map(text_of))
    ages = believable_ages(moments[:-1], moments[-1], LONGEST)
    for other, (age, before) in enumerate(zip(ages, honest, strict=True)):
        assert other == place or age <= before + LONGEST
