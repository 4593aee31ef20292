"""The journal's form: what was written is read back, and nothing else is ever obeyed."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.codec import journal as codec
from stravinsky_rollback_mcp.core.codec.journal import FORMAT, Journal, JournalTarget, Phase
from stravinsky_rollback_mcp.core.model import Actor, AuditDraft, EventStatus, EventType, Kind, TargetDigest
from stravinsky_rollback_mcp.errors import Code, RollbackError

# Any bytes but NUL, as names are: kept by surrogateescape.
names = st.binary(max_size=30).map(lambda raw: "/" + raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
targets = st.builds(
    JournalTarget,
    id=st.sampled_from(["user.hooks", "project.settings"]),
    kind=st.sampled_from(Kind),
    path=names,
    resolved=names,
    new_slot=names,
    old_slot=names,
    had_old=st.booleans(),
    want_new=st.booleans(),
    old_digest=digests,
    new_digest=digests,
    new_inode=st.integers(0, 2**64 - 1),
)
OUTCOME = AuditDraft(
    event_type=EventType.MANUAL_ROLLBACK,
    status=EventStatus.SUCCESS,
    actor=Actor(kind="terminal", name="Zo\u00eb"),
    user_root="/home/u/.claude",
    project=None,
    version="v1",
    operation_id="0011",
    paths=("~/.claude/hooks", "\udcff"),
    state=(TargetDigest(target="user.hooks", digest="ab"),),
    restores=3,
    details={"accepted": 0},
)
journals = st.builds(
    Journal,
    operation_id=st.text("0123456789abcdef", min_size=1, max_size=16),
    phase=st.sampled_from(Phase),
    started_at=st.just("2026-11-23T09:00:00.000Z"),
    targets=st.lists(targets, max_size=3).map(tuple),
    made_folders=st.lists(names, max_size=2).map(tuple),
    outcome=st.just(OUTCOME),
)
EXAMPLE = Journal(
    operation_id="0011",
    phase=Phase.PREPARED,
    started_at="2026-11-23T09:00:00.000Z",
    targets=(
        JournalTarget(
            id="user.hooks",
            kind=Kind.DIRECTORY,
            path="/h/.claude/hooks",
            resolved="/h/dotfiles/hooks",
            new_slot="/h/dotfiles/.stravinsky-1-0.new",
            old_slot="/h/dotfiles/.stravinsky-1-0.old",
            had_old=True,
            want_new=True,
            old_digest="a" * 64,
            new_digest="b" * 64,
            new_inode=7,
        ),
    ),
    made_folders=("/h/\udcff",),
    outcome=OUTCOME,
)


def refused(content: bytes) -> RollbackError:
    """The refusal of bytes that are no journal."""
    with pytest.raises(RollbackError) as caught:
        codec.decode(content)
    return caught.value


@given(journal=journals)
def test_a_journal_is_read_back_as_it_was_written(journal: Journal) -> None:
    """Names that are no UTF-8 and huge inode numbers included (house style, rule 5)."""
    assert codec.decode(codec.encode(journal)) == journal


def test_the_bytes_are_canonical() -> None:
    """One value, one text: readable, ASCII, one line end at the end."""
    content = codec.encode(EXAMPLE)
    assert content == codec.encode(replace(EXAMPLE))
    assert content.isascii()
    assert content.endswith(b"}\n")
    assert json.loads(content)["body"]["phase"] == "PREPARED"


@pytest.mark.case(32)
def test_every_flipped_bit_is_noticed() -> None:
    """The journal decides what is deleted: a damaged one is never obeyed."""
    content = codec.encode(EXAMPLE)
    unnoticed = 0
    codes: set[Code] = set()
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            try:
                found = codec.decode(bytes(flipped))
            except RollbackError as error:
                codes.add(error.code)
            else:
                # White space between members, and the case of \u00eb: the checksum is over what the text means.
                assert found == EXAMPLE
                unnoticed += 1
    assert codes == {Code.NEEDS_ATTENTION}
    assert unnoticed < len(content) // 2


@pytest.mark.case(32)
def test_every_torn_journal_is_noticed() -> None:
    """Cut anywhere, but for the last line end."""
    content = codec.encode(EXAMPLE)
    for length in range(len(content) - 1):
        assert refused(content[:length]).code is Code.NEEDS_ATTENTION


@pytest.mark.case(32)
def test_a_newer_journal_is_left_to_its_own_program() -> None:
    """Nothing is guessed about a format that came later."""
    outer = json.loads(codec.encode(EXAMPLE))
    outer["format"] = FORMAT + 1
    error = refused(json.dumps(outer).encode())
    assert error.code is Code.NEEDS_ATTENTION
    assert "newer" in error.message
    assert "update" in error.hint


@given(content=st.binary(max_size=200))
def test_no_bytes_at_all_are_taken_for_a_journal(content: bytes) -> None:
    """Whatever lies there, the answer is the same refusal."""
    assert refused(content).code is Code.NEEDS_ATTENTION


@pytest.mark.parametrize(
    "content", [b"null", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "body": [], "checksum": ""}', b"[" * 100_000]
)
def test_json_of_another_form_is_refused(content: bytes) -> None:
    """Deep nesting included."""
    assert refused(content).code is Code.NEEDS_ATTENTION
