"""``latest.json``: what is written is what is read, and what is not of the form is refused, never half read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.codec import latest
from stravinsky_rollback_mcp.core.codec.latest import Latest
from stravinsky_rollback_mcp.errors import Code, RollbackError

texts = st.text(max_size=12)
names = texts | st.binary(max_size=8).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
views = st.builds(
    Latest,
    user_root=names,
    project=st.none() | names,
    version=st.none() | texts,
    looked_at=texts,
    digests=st.dictionaries(texts, texts, max_size=3),
)
ONE = Latest(
    user_root="/home/u/.claude",
    project="/srv/caf\udce9",
    version="v1",
    looked_at="2026-11-23T09:00:00.000Z",
    digests={"user.hooks": "00"},
)


@given(st.lists(views, max_size=3).map(tuple))
def test_what_is_written_is_what_is_read(written: tuple[Latest, ...]) -> None:
    """Names that are no UTF-8 included; the same views always give the same bytes."""
    content = latest.encode(written)
    assert latest.decode(content) == written
    assert latest.encode(latest.decode(content)) == content


def test_people_and_other_programs_can_read_it() -> None:
    """Design of the store: it says which version the live state is, so it is plain, indented JSON."""
    content = latest.encode((ONE,))
    (view,) = json.loads(content)["views"]
    assert (view["version"], view["user_root"], view["digests"]) == ("v1", "/home/u/.claude", {"user.hooks": "00"})
    assert content.endswith(b"}\n")
    assert content.isascii()


def test_a_newer_form_is_refused_by_its_own_code() -> None:
    """House style 5: each format on disk refuses a newer version."""
    newer = latest.encode((ONE,)).replace(b'"format": 1', b'"format": 2')
    with pytest.raises(RollbackError) as refused:
        latest.decode(newer)
    assert refused.value.code is Code.UNSUPPORTED_VERSION


@given(st.data())
def test_damage_is_a_value_error_or_is_read_in_full(data: st.DataObject) -> None:
    """Any cut and any flipped byte: the store takes ValueError for damage, and anything else would be a crash."""
    content = bytearray(latest.encode((ONE, ONE)))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found: object = ""
    try:
        found = len(latest.decode(bytes(content)))
    except ValueError:
        return
    except RollbackError as error:
        found = error.code
    assert found in {2, Code.UNSUPPORTED_VERSION}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'{"format": true, "views": []}',
        b'{"format": 1}',
        b'{"format": 1, "views": {}}',
        b'{"format": 1, "views": [1]}',
        b'{"format": 1, "views": [], "views": []}',
        b'{"format": 1, "views": [{"user_root": "/u", "version": 1, "looked_at": "", "digests": {}}]}',
        b'{"format": 1, "views": [{"user_root": "/u", "version": null, "looked_at": "", "digests": {"a": 1}}]}',
        b'{"format": 1, "views": [{"user_root_b64": "?", "version": null, "looked_at": "", "digests": {}}]}',
        b'{"format": 1, "views": ' + b"[" * 100_000,
        b'\xff{"format": 1, "views": []}',
    ],
)
def test_other_forms_are_refused(content: bytes) -> None:
    """Wrong types, doubled keys, endless nesting, bytes that are no UTF-8 (threat model, row 27)."""
    with pytest.raises(ValueError, match=r"\w"):
        latest.decode(content)
