"""``problem.json``, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.codec import quarantine as codec
from stravinsky_rollback_mcp.core.codec.quarantine import Quarantined
from stravinsky_rollback_mcp.errors import Code, RollbackError

found = st.builds(
    Quarantined,
    version=st.text(max_size=8),
    quarantined_at=st.text(max_size=8),
    problems=st.lists(st.text(max_size=8), min_size=1, max_size=3).map(tuple),
)


@given(found)
def test_a_problem_is_read_back(problem: Quarantined) -> None:
    """decode(encode(x)) == x, in bytes that a person can read."""
    content = codec.encode(problem)
    assert codec.decode(content) == problem
    assert content.isascii()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "problems": [], "version": "v", "quarantined_at": ""}'],
)
def test_any_other_form_is_refused(content: bytes) -> None:
    """ValueError, so that the reader can say something instead."""
    with pytest.raises(ValueError):  # noqa: PT011 - any; that it is a ValueError is the promise
        codec.decode(content)


def test_a_newer_form_is_refused_by_its_code() -> None:
    """As every format on disk."""
    with pytest.raises(RollbackError) as refused:
        codec.decode(b'{"format": 2}')
    assert refused.value.code is Code.UNSUPPORTED_VERSION
