"""``updates.json``: what is written is what is read; what is damaged or newer asks for a person, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.codec import updates
from stravinsky_rollback_mcp.core.codec.updates import OpenUpdate
from stravinsky_rollback_mcp.errors import Code, RollbackError

texts = st.text(max_size=12)
names = texts | st.binary(max_size=8).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
open_updates = st.builds(
    OpenUpdate,
    operation_id=texts,
    user_root=names,
    project=st.none() | names,
    version=texts,
    backup=texts,
    started_at=texts,
    version_file=st.none() | names,
)
ONE = OpenUpdate(
    operation_id="0011223344556677",
    user_root="/home/u/.claude",
    project="/srv/caf\udce9",
    version="v2",
    backup="20261123T090000Z-3f2a.pre_update",
    started_at="2026-11-23T09:00:00.000Z",
    version_file="/srv/caf\udce9/VERSION",
)


@given(st.lists(open_updates, max_size=3, unique_by=lambda one: (one.user_root, one.project)).map(tuple))
def test_what_is_written_is_what_is_read(written: tuple[OpenUpdate, ...]) -> None:
    """Names that are no UTF-8 included; the same updates always give the same bytes."""
    content = updates.encode(written)
    assert updates.decode(content) == written
    assert updates.encode(updates.decode(content)) == content


@given(st.data())
def test_damage_asks_for_a_person_or_is_read_in_full(data: st.DataObject) -> None:
    """Any cut and any flipped byte; one code, and a way out in its hint."""
    content = bytearray(updates.encode((ONE,)))
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    try:
        found = updates.decode(bytes(content))
    except RollbackError as error:
        refused = error
    else:
        assert len(found) == 1
        return
    assert refused.code is Code.NEEDS_ATTENTION
    assert "UPDATE_START" in refused.hint


def test_a_newer_form_and_two_updates_of_one_view_are_not_obeyed() -> None:
    """What a later program means by its record cannot be guessed."""
    members = json.loads(updates.encode((ONE,)))
    for changed in ({**members, "format": 2}, {**members, "updates": members["updates"] * 2}):
        with pytest.raises(RollbackError) as refused:
            updates.decode(json.dumps(changed).encode())
        assert refused.value.code is Code.NEEDS_ATTENTION
