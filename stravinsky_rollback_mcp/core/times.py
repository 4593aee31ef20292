"""Moments as text: UTC, RFC 3339, milliseconds and ``Z``, so that text order is time order."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from stravinsky_rollback_mcp.errors import Code, RollbackError

DAY_SECONDS = 86_400

_AGE = re.compile(r"([1-9][0-9]{0,5})([dhm])", re.ASCII)
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def text_of(moment: datetime) -> str:
    """The one form in which this package writes a moment."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def seconds_between(start: str, end: str) -> float:
    """Seconds from one written moment to a later one; 0 when the clock went back."""
    passed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(0.0, round(passed.total_seconds(), 3))


def believable_ages(moments: Sequence[str], now: str, longest_gap_seconds: float) -> tuple[float, ...]:
    """The seconds since each of these moments, which came in this order; a clock that jumps makes nothing old.

    What lies between two of them, and before ``now``, counts for no more than ``longest_gap_seconds``, and for nothing
    where the clock went back or a text tells no moment. No age is more than the clock itself says.
    """
    ages: list[float] = []
    passed, later = 0.0, now
    for moment in reversed(moments):
        passed += min(_seconds_or_none(moment, later), longest_gap_seconds)
        ages.append(min(passed, _seconds_or_none(moment, now)))
        later = moment
    return tuple(reversed(ages))


def _seconds_or_none(start: str, end: str) -> float:
    try:
        return seconds_between(start, end)
    except (ValueError, TypeError):
        return 0.0


def bound(text: str, now: datetime, *, is_end: bool) -> str:
    """The moment that a caller means by RFC 3339, or by an age such as ``7d``, ``24h``, ``30m``.

    A bound without fractions of a second includes the whole second. Raises ``invalid_argument``.
    """
    age = _AGE.fullmatch(text)
    try:
        if age is not None:
            return text_of(now - timedelta(**{_UNITS[age[2]]: int(age[1])}))
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is not None and "T" in text.upper():
            is_whole_second = "." not in text and "," not in text
            return text_of(moment + timedelta(milliseconds=999) if is_end and is_whole_second else moment)
    except (ValueError, OverflowError):
        # Overflow: an age or a zone that leads out of the years 1 to 9999.
        pass
    raise RollbackError(
        Code.INVALID_ARGUMENT,
        "a time bound is neither RFC 3339 with a zone nor an age.",
        "write 2026-11-23T09:00:00Z, 7d, 24h or 30m.",
    )
