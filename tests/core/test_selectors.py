"""Words that stand for a backup: three forms, everything else refused with the nearest that is right."""

from datetime import UTC, datetime

import pytest

from stravinsky_rollback_mcp.core.selectors import Selector, selector_of
from stravinsky_rollback_mcp.errors import Code, RollbackError

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("@previous", None),
        ("@24h", "2026-11-23T09:00:00.000Z"),
        ("@7d", "2026-11-17T09:00:00.000Z"),
        ("@30m", "2026-11-24T08:30:00.000Z"),
        ("@2026-11-23T09:00:00Z", "2026-11-23T09:00:00.999Z"),
        ("@2026-11-23T10:00:00.250+01:00", "2026-11-23T09:00:00.250Z"),
    ],
)
def test_a_selector_is_a_moment_or_the_state_before(text: str, moment: str | None) -> None:
    """Ages count back from now, a time without fractions means its whole second."""
    assert selector_of(text, NOW) == Selector(moment=moment)


@pytest.mark.parametrize("text", ["v1", "previous", "24h", "", "live"])
def test_a_name_is_no_selector(text: str) -> None:
    """Whatever does not begin with @ is a version."""
    assert selector_of(text, NOW) is None


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("@prev", "@previous"),
        ("@Previous", "@previous"),
        ("@yesterday", "@24h"),
        ("@", "@24h"),
        ("@24", "@7d"),
        ("@0h", "@30m"),
        ("@2026-11-23", "@2026-11-23T09:00:00Z"),
        ("@2026-11-23T09:00:00", "@2026-11-23T09:00:00Z"),
        ("@999999d", "@24h"),
        ("@" + "x" * 500 + "\n", "@24h"),
    ],
)
def test_what_only_begins_like_one_is_refused(text: str, hint: str) -> None:
    """The refusal names the nearest form that is right."""
    with pytest.raises(RollbackError) as refused:
        selector_of(text, NOW)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert hint in refused.value.hint
    assert refused.value.message.isprintable()
