"""The record of a creation, both ways."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.codec import creation as codec
from stravinsky_rollback_mcp.core.codec.creation import Creation
from stravinsky_rollback_mcp.core.model import Actor, AuditDraft, AuditRecord, EventStatus, EventType

sizes = st.integers(0, 1 << 62)
names = st.text(max_size=8)
creations = st.builds(
    Creation,
    sequence=sizes,
    files=sizes,
    size_bytes=sizes,
    stored_bytes=sizes,
    digests=st.dictionaries(names, names, max_size=3),
    archives=st.dictionaries(names, sizes, max_size=3),
)
DRAFT = AuditDraft(
    event_type=EventType.BACKUP_CREATED,
    status=EventStatus.SUCCESS,
    actor=Actor(kind="terminal"),
    user_root="/home/p/.claude",
    project=None,
)


def record(details: dict[str, object] | None) -> AuditRecord:
    """A record with these details."""
    return AuditRecord(seq=1, event_id="", timestamp="", draft=replace(DRAFT, details=details))


@given(creations)
def test_what_was_recorded_is_read_back(creation: Creation) -> None:
    """decode(encode(x)) == x, and the key of later notes stays free."""
    details = codec.encode(creation)
    assert codec.decode(record(details)) == creation
    assert codec.decode(record({**details, "created": False, "note": "later"})) == creation


@given(creations, st.data())
def test_a_record_of_another_form_is_refused(creation: Creation, data: st.DataObject) -> None:
    """A forged or older record says too little: the manifest is asked instead."""
    details = codec.encode(creation)
    key = data.draw(st.sampled_from(sorted(details)))
    wrong_values: tuple[object, ...] = (None, [], -1.5, {"a": None})
    for wrong in wrong_values:
        with pytest.raises(ValueError):  # noqa: PT011 - any; that it is a ValueError is the promise
            codec.decode(record({**details, key: wrong}))
    del details[key]
    with pytest.raises(ValueError):  # noqa: PT011 - as above
        codec.decode(record(details))
