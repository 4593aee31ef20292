"""Who owns a record once projects have moved."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.adoption import adoptions_in, as_owned, moved
from stravinsky_rollback_mcp.core.codec import adoption as codec
from stravinsky_rollback_mcp.core.model import Actor, AuditDraft, AuditRecord, EventStatus, EventType

PLACES = ("/a", "/b", "/c")
DRAFT = AuditDraft(
    event_type=EventType.BACKUP_CREATED,
    status=EventStatus.SUCCESS,
    actor=Actor(kind="terminal"),
    user_root="/home/u/.claude",
    project=None,
)


def record(seq: int, draft: AuditDraft) -> AuditRecord:
    """One record of a log."""
    return AuditRecord(seq=seq, event_id=f"e{seq}", timestamp="2026-01-01T00:00:00Z", draft=draft)


def adoption(seq: int, old: str, new: str) -> AuditRecord:
    """One that gives what is of ``old`` to ``new``."""
    draft = replace(DRAFT, event_type=EventType.ADOPTED, project=new, details=codec.encode(old), state=())
    return record(seq, draft)


STEPS = st.lists(
    st.one_of(st.sampled_from(PLACES), st.permutations(PLACES).map(lambda places: (places[0], places[1]))), max_size=20
)


@given(STEPS)
def test_an_adoption_gives_all_that_was_there_and_nothing_that_comes(steps: list[str | tuple[str, str]]) -> None:
    """As if at each adoption the older records had been carried from one heap to the other."""
    heaps: dict[str, set[int]] = {place: set() for place in PLACES}
    records: list[AuditRecord] = []
    for seq, step in enumerate(steps, 1):
        if isinstance(step, str):
            records.append(record(seq, replace(DRAFT, project=step)))
            heaps[step].add(seq)
        else:
            old, new = step
            records.append(adoption(seq, old, new))
            heaps[new] |= heaps[old]
            heaps[old] = set()
            heaps[new].add(seq)
    owned = as_owned(records, adoptions_in(records))
    assert {place: {one.seq for one in owned if one.draft.project == place} for place in PLACES} == heaps
    assert [replace(one, draft=replace(one.draft, project=None)) for one in owned] == [
        replace(one, draft=replace(one.draft, project=None)) for one in records
    ]


@given(st.binary(min_size=1))
def test_any_path_comes_back_from_the_log(raw: bytes) -> None:
    """Names are bytes: one that is not UTF-8 too."""
    name = "/" + raw.decode("utf-8", "surrogateescape")
    assert codec.decode(codec.encode(name)) == name


def test_a_record_that_names_no_path_gives_nothing() -> None:
    """Neither does one that says that it failed."""
    good = adoption(1, "/a", "/b")
    assert len(adoptions_in([good])) == 1
    assert adoptions_in([replace(good, draft=replace(good.draft, details=None))]) == ()
    assert adoptions_in([replace(good, draft=replace(good.draft, status=EventStatus.FAILED))]) == ()


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a/b/.claude", "/new/.claude"), ("/a/b", "/new"), ("/a/bc", "/a/bc"), ("/a", "/a"), ("/x/a/b", "/x/a/b")],
)
def test_only_what_lies_below_moves(path: str, expected: str) -> None:
    """A path beside the folder stays, whatever its name begins with."""
    assert moved(path, "/a/b", "/new") == expected
