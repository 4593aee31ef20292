"""The audit log's line: what is written is what is read, and the hash is over the bytes as they lie on disk."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.model import (
    Actor,
    Anchor,
    AuditDraft,
    AuditRecord,
    Certainty,
    EventStatus,
    EventType,
    TargetDigest,
)
from stravinsky_rollback_mcp.errors import Code, RollbackError

DRAFT = AuditDraft(
    event_type=EventType.BACKUP_CREATED,
    status=EventStatus.SUCCESS,
    actor=Actor(kind="terminal"),
    user_root="/home/u/.claude",
    project=None,
)
RECORD = AuditRecord(seq=1, event_id="e1", timestamp="2026-01-01T00:00:00Z", draft=DRAFT)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.one_of(texts, st.binary(max_size=8).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
drafts = st.builds(
    AuditDraft,
    event_type=st.sampled_from(EventType),
    status=st.sampled_from(EventStatus),
    actor=st.builds(Actor, kind=texts, name=texts, session_id=texts, tool=texts, certainty=st.sampled_from(Certainty)),
    user_root=names,
    project=st.none() | names,
    version=st.none() | texts,
    previous_version=st.none() | texts,
    operation_id=st.none() | texts,
    duration_seconds=st.none() | st.floats(min_value=0, allow_nan=False, allow_infinity=False),
    paths=st.lists(names, max_size=3).map(tuple),
    error=st.none() | texts,
    state=st.none() | st.lists(st.builds(TargetDigest, target=texts, digest=texts), max_size=3).map(tuple),
    restores=st.none() | st.integers(min_value=0),
    details=st.none() | st.dictionaries(texts, values, max_size=3),
)
records = st.builds(AuditRecord, seq=st.integers(min_value=1), event_id=texts, timestamp=texts, draft=drafts)
hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(record=records, prev=hashes)
def test_every_record_is_read_as_it_was_written(record: AuditRecord, prev: str) -> None:
    """decode(encode(x)) == x, one ASCII line, followed by the checker (house style, rule 5)."""
    line = chain.encode_line(record, prev)
    assert chain.decode_line(line) == record
    assert line.isascii()
    assert line.index(b"\n") == len(line) - 1
    assert chain.check_line(line[:-1], prev, record.seq) == chain.line_hash(line[:-1])
    assert chain.place_line(line[:-1], prev, record.seq) == chain.line_hash(line[:-1])
    assert chain.stated(line) == (record.seq, prev, chain.line_hash(line[:-1]))
    operation = record.draft.operation_id
    if operation is not None and json.dumps(operation) == f'"{operation}"':
        assert chain.operation_of(line) == operation


@given(record=records, prev=hashes, data=st.data())
def test_one_changed_byte_is_found(record: AuditRecord, prev: str, data: st.DataObject) -> None:
    """No byte of a line, its own hash included, can be changed unseen (threat model, row 70)."""
    line = bytearray(chain.encode_line(record, prev)[:-1])
    position = data.draw(st.integers(0, len(line) - 1))
    line[position] ^= data.draw(st.integers(1, 255))
    assert chain.check_line(bytes(line), prev, record.seq) is None
    assert chain.line_problem(bytes(line), prev, record.seq)
    with pytest.raises(ValueError, match=r"\w"):
        chain.decode_line(bytes(line))


@given(head=st.builds(Anchor, seq=st.integers(min_value=0), head=hashes))
def test_every_head_is_read_as_it_was_written(head: Anchor) -> None:
    """decode(encode(x)) == x for head.json."""
    assert chain.decode_head(chain.encode_head(head)) == head


def test_a_line_begins_with_its_place_in_the_chain() -> None:
    """The layout that lets a verifier slice instead of parse (speed goals, P6), checked without our code."""
    line = chain.encode_line(RECORD, chain.GENESIS)
    members = json.loads(line)
    assert list(members)[:3] == ["hash", "prev", "seq"]
    assert list(members)[3:] == sorted(list(members)[3:])
    assert line.startswith(b'{"hash":"%s","prev":"%s","seq":1,' % (members["hash"].encode(), b"0" * 64))
    assert members["hash"] == sha256(b"{" + line[line.index(b'"prev"') : -1]).hexdigest()
    assert None not in members.values()


def test_the_problem_says_what_kind_it_is() -> None:
    """A person reads whether a record was changed, moved, or is none (threat model, row 70)."""
    line = chain.encode_line(RECORD, chain.GENESIS)[:-1]
    assert "not a record" in chain.line_problem(b"hello", chain.GENESIS, 1)
    assert "was changed" in chain.line_problem(line.replace(b"terminal", b"ferminal"), chain.GENESIS, 1)
    assert "does not follow" in chain.line_problem(line, "1" * 64, 1)
    assert "another number" in chain.line_problem(line, chain.GENESIS, 2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"format":1', b'"format":0'),
        (b'"format":1', b'"format":1.0'),
        (b'"seq":1', b'"seq":"1"'),
        (b'"seq":1', b'"seq":true'),
        (b'"status":"success"', b'"status":"fine"'),
        (b'"status":"success"', b'"status":"success","status":"success"'),
        (b'"status":"success"', b'"statue":"success"'),
        (b'"status":"success"', b'"status":"success","unheard":1'),
        (b'"status":"success"', b'"status":"success","state":[{"target":"t"}]'),
        (b'"status":"success"', b'"status":"success","state":null'),
        (b'"status":"success"', b'"status":"success","paths":[1]'),
        (b'"status":"success"', b'"status":"success","paths":[{"name":"x"}]'),
        (b'"status":"success"', b'"status":"success","duration_seconds":true'),
        (b'"status":"success"', b'"status":"success","duration_seconds":NaN'),
        (b'"status":"success"', b'"status":"success","details":[]'),
        (b'"tool":""', b'"tool":1'),
        (b',"tool":""', b""),
        (b'"user_root":"/home', b'"user_root_b64":"!","user_root":"/home'),
    ],
)
def test_a_foreign_line_with_a_right_hash_is_refused(old: bytes, new: bytes) -> None:
    """Reading is strict: what the encoder never writes is no record, even when someone computed its hash."""
    line = chain.encode_line(RECORD, chain.GENESIS)[:-1]
    assert old in line
    body = line[75:].replace(old, new)
    forged = b'{"hash":"' + sha256(b"{" + body).hexdigest().encode() + b'",' + body
    with pytest.raises(ValueError, match=r"\w"):
        chain.decode_line(forged)


def test_a_newer_format_is_refused_by_name() -> None:
    """A record of a later program is not guessed at (house style, rule 5)."""
    line = chain.encode_line(RECORD, chain.GENESIS)[:-1]
    body = line[75:].replace(b'"format":1', b'"format":2')
    with pytest.raises(RollbackError) as caught:
        chain.decode_line(b'{"hash":"' + sha256(b"{" + body).hexdigest().encode() + b'",' + body)
    assert caught.value.code is Code.UNSUPPORTED_VERSION


def test_a_record_above_the_cap_is_refused() -> None:
    """Verification holds one line in memory, so a line has a bound (threat model, row 77)."""
    huge = replace(RECORD, draft=replace(DRAFT, error="x" * chain.MAX_LINE_BYTES))
    with pytest.raises(RollbackError) as caught:
        chain.encode_line(huge, chain.GENESIS)
    assert caught.value.code is Code.TOO_LARGE


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"events":1,"format":1,"hash":"a"}', b"\x00" * 90])
def test_a_damaged_head_is_refused(content: bytes) -> None:
    """Only the exact bytes of the encoder are a head."""
    with pytest.raises(ValueError, match=r"\w"):
        chain.decode_head(content)
