"""Retention by itself: what must stay stays under any limits, and every other backup goes for a reason."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.history import KnownState, Timeline
from stravinsky_rollback_mcp.core.model import BackupKind, EventType, MadeBy
from stravinsky_rollback_mcp.core.policy import BackupPolicy
from stravinsky_rollback_mcp.core.retention import Held, Owner, Reason, Stored, Verdict, decide, holds_of, within_undo
from stravinsky_rollback_mcp.core.times import DAY_SECONDS, seconds_between, text_of

NOW = "2026-11-24T09:00:00.000Z"
LONG_AGO = "2020-01-01T00:00:00.000Z"
HERE: Owner = ("/home/p/.claude", "/srv/app")
THERE: Owner = ("/home/p/.claude", "/srv/other")
ROOMY = BackupPolicy(max_versions=999, max_automatic=999, max_total_size_mb=999)
MB = 1 << 20
NOTHING: frozenset[Held] = frozenset()
LIMITS = {Reason.MAX_VERSIONS, Reason.MAX_AUTOMATIC, Reason.MAX_TOTAL_SIZE, Reason.RETENTION_DAYS}


def backup(number: int, owner: Owner = HERE, *, size_mb: int = 0, **more: object) -> Stored:
    """A named backup that a person made just now, with a hooks tree of its own."""
    plain = Stored(
        version=f"v{number}",
        sequence=number,
        kind=BackupKind.MANUAL,
        made_by=MadeBy.TERMINAL,
        owner=owner,
        created_at=NOW,
        holds=holds_of(owner, {"user.hooks": f"digest {number}"}),
        pieces={(0, number): size_mb * MB},
    )
    return replace(plain, **more)


def judged(
    backups: Iterable[Stored],
    policy: BackupPolicy,
    *,
    reach: frozenset[Held] = NOTHING,
    evictor: MadeBy = MadeBy.TERMINAL,
) -> Verdict:
    """The verdict at the present moment."""
    return decide(backups, policy, now=NOW, reach=reach, evictor=evictor)


def reasons(verdict: Verdict) -> dict[str, Reason]:
    """Why each backup stays or goes."""
    return {decision.version: decision.reason for decision in verdict.decisions}


# --- one limit at a time -------------------------------------------------------------------------------------------


def test_the_oldest_named_ones_go_first_and_the_others_are_counted_apart() -> None:
    """Named and automatic backups have limits of their own: neither pushes out the other."""
    automatic = [backup(number, kind=BackupKind.AUTOMATIC) for number in (1, 3, 5)]
    safety = backup(6, kind=BackupKind.SAFETY)
    named = [backup(number) for number in (2, 4, 7)]
    verdict = judged([*automatic, safety, *named], replace(ROOMY, max_versions=2, max_automatic=3))
    assert verdict.removed == ("v2", "v1")
    assert reasons(verdict)["v2"] is Reason.MAX_VERSIONS
    assert reasons(verdict)["v1"] is Reason.MAX_AUTOMATIC
    assert [decision.version for decision in verdict.decisions] == ["v7", "v6", "v5", "v4", "v3", "v2", "v1"]
    assert verdict.exceeded == ()


def test_each_project_has_its_own_count() -> None:
    """Another project's backups do not push out this one's."""
    backups = [*(backup(number) for number in range(3)), *(backup(number, THERE) for number in range(3, 6))]
    assert judged(backups, replace(ROOMY, max_versions=2)).removed == ("v3", "v0")


def test_order_is_the_sequence_and_not_the_clock() -> None:
    """A clock that went back makes no backup older than it is."""
    backups = [backup(1), backup(2, created_at=LONG_AGO), backup(3)]
    assert judged(backups, replace(ROOMY, max_versions=2, retention_days=999_999)).removed == ("v1",)


def test_age_counts_from_creation_and_never_from_the_future() -> None:
    """A day is 86,400 seconds; a creation that lies ahead is not old."""
    backups = [
        backup(1, created_at="2026-11-23T08:59:59.000Z"),
        backup(2, created_at="2026-11-23T09:00:01.000Z"),
        backup(3, created_at="2999-01-01T00:00:00.000Z"),
        backup(4),
    ]
    verdict = judged(backups, replace(ROOMY, retention_days=1))
    assert verdict.removed == ("v1",)
    assert reasons(verdict)["v1"] is Reason.RETENTION_DAYS


@given(st.integers(1, 60), st.integers(0, 2_000_000))
def test_a_clock_that_jumps_makes_no_backup_old(count: int, days: int) -> None:
    """A backup every four days for most of a year: whatever the clock says next, nothing goes for its age."""
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    now = begun + timedelta(days=4 * count + days)
    backups = [backup(day, created_at=text_of(begun + timedelta(days=4 * day))) for day in range(count)]
    verdict = decide(backups, ROOMY, now=text_of(now), reach=NOTHING, evictor=MadeBy.TERMINAL)
    assert verdict.removed == ()
    old = {item.version for item in backups if seconds_between(item.created_at, text_of(now)) > 365 * DAY_SECONDS}
    doubted = {version for version, reason in reasons(verdict).items() if reason is Reason.CLOCK_IN_DOUBT}
    assert doubted == old - {backups[-1].version}


def test_a_file_that_backups_share_counts_once() -> None:
    """Hard links: six times the same 4 MB are 4 MB."""
    shared = [backup(number, pieces={(0, 0): 4 * MB}) for number in range(6)]
    assert judged(shared, replace(ROOMY, max_total_size_mb=4)).removed == ()


def test_by_size_those_without_a_name_go_first_and_none_for_nothing() -> None:
    """The oldest automatic one frees nothing that matters: it comes back once others made the room."""
    backups = [
        backup(1, kind=BackupKind.AUTOMATIC, size_mb=0),
        backup(2, size_mb=3),
        backup(3, kind=BackupKind.AUTOMATIC, size_mb=3),
        backup(4, size_mb=3),
    ]
    verdict = judged(backups, replace(ROOMY, max_total_size_mb=7))
    assert verdict.removed == ("v3",)
    assert reasons(verdict)["v3"] is Reason.MAX_TOTAL_SIZE
    assert reasons(verdict)["v1"] is Reason.WITHIN_LIMITS
    assert judged(backups, replace(ROOMY, max_total_size_mb=4)).removed == ("v3", "v2")


def test_size_that_nothing_can_free_is_said() -> None:
    """The newest alone is too large: it stays, and the limit is exceeded."""
    verdict = judged([backup(1, size_mb=9)], replace(ROOMY, max_total_size_mb=1))
    assert (verdict.removed, verdict.exceeded) == ((), (Reason.MAX_TOTAL_SIZE,))


# --- what protects -------------------------------------------------------------------------------------------------

TIGHT = BackupPolicy(max_versions=1, max_automatic=1, max_total_size_mb=1, retention_days=1)


@pytest.mark.parametrize(
    ("old", "reason"),
    [
        (backup(1, is_pinned=True), Reason.PINNED),
        (backup(1, is_in_use=True), Reason.IN_USE),
        (backup(1, is_intact=False), Reason.DAMAGED),
        (backup(1, THERE), Reason.NEWEST),
    ],
    ids=lambda value: value if isinstance(value, Reason) else "",
)
def test_what_protects_a_backup_is_its_reason(old: Stored, reason: Reason) -> None:
    """Too old, too many and too large at once, and it stays."""
    old = replace(old, created_at=LONG_AGO, pieces={(0, 1): 50 * MB})
    verdict = judged([old, backup(2)], TIGHT)
    assert reasons(verdict) == {"v1": reason, "v2": Reason.NEWEST}
    assert verdict.removed == ()


def test_a_pinned_one_takes_no_place_and_a_damaged_one_is_no_newest() -> None:
    """Pinning three does not cost three of the limit; the newest that counts is the newest intact one."""
    pinned = [backup(number, is_pinned=True) for number in (1, 2, 3)]
    assert judged([*pinned, backup(4), backup(5)], replace(ROOMY, max_versions=2)).removed == ()
    verdict = judged([backup(1), backup(2), backup(3, is_intact=False)], TIGHT)
    assert reasons(verdict) == {"v3": Reason.DAMAGED, "v2": Reason.NEWEST, "v1": Reason.MAX_VERSIONS}


def test_of_two_that_hold_a_needed_tree_one_may_go() -> None:
    """What undo needs is the tree, not a certain backup of it."""
    tree = holds_of(HERE, {"user.hooks": "needed"})
    backups = [backup(1, holds=tree), backup(2, holds=tree), backup(3)]
    verdict = judged(backups, replace(ROOMY, max_versions=1), reach=tree)
    assert verdict.removed == ("v1",)
    assert reasons(verdict)["v2"] is Reason.WITHIN_UNDO
    assert verdict.exceeded == ()


def test_tools_remove_only_what_tools_made_and_are_told_when_that_is_not_enough() -> None:
    """A person would remove the oldest; a tool removes its own, else the limit counts as exceeded."""
    mine = [backup(number) for number in (1, 2)]
    theirs = backup(3, made_by=MadeBy.TOOL)
    new = backup(4, made_by=MadeBy.TOOL)
    verdict = judged([*mine, theirs, new], replace(ROOMY, max_versions=3), evictor=MadeBy.TOOL)
    assert (verdict.removed, verdict.exceeded) == (("v3",), ())
    assert reasons(verdict)["v1"] is Reason.MADE_BY_PERSON
    verdict = judged([*mine, new], replace(ROOMY, max_versions=2), evictor=MadeBy.TOOL)
    assert (verdict.removed, verdict.exceeded) == ((), (Reason.MAX_VERSIONS,))
    assert judged([*mine, new], replace(ROOMY, max_versions=2)).removed == ("v1",)


def test_what_only_undo_protects_refuses_nobody() -> None:
    """A burst of named backups by a tool is over the limit for a while, and blocks nothing."""
    backups = [backup(number, made_by=MadeBy.TOOL) for number in range(4)]
    reach = frozenset(tree for item in backups for tree in item.holds)
    verdict = judged(backups, replace(ROOMY, max_versions=2), reach=reach, evictor=MadeBy.TOOL)
    assert (verdict.removed, verdict.exceeded) == ((), ())


# --- what undo may ask for -----------------------------------------------------------------------------------------


def state(number: int) -> KnownState:
    """A known state with a hooks tree of its own."""
    return KnownState(
        seq=number,
        timestamp=NOW,
        event_type=EventType.BACKUP_CREATED,
        version=f"v{number}",
        project=HERE[1],
        digests={"user.hooks": f"digest {number}", "project.hooks": "same"},
    )


def trees(*numbers: int) -> frozenset[Held]:
    """The trees of these states."""
    return frozenset(tree for number in numbers for tree in holds_of(HERE, state(number).digests))


def test_undo_reaches_so_many_steps_back_and_forth() -> None:
    """The state that the view is at comes on top: undo returns to it after an edit."""
    known = Timeline(states=tuple(state(number) for number in range(9)), cursor=5)
    everything = trees(*range(9))
    assert within_undo(known, HERE, everything, 2) == trees(3, 4, 5, 6, 7)
    assert within_undo(known, HERE, everything, 99) == everything
    assert within_undo(Timeline(states=(), cursor=-1), HERE, everything, 2) == NOTHING


def test_a_state_that_nothing_holds_is_no_step() -> None:
    """Undo passes over it, so the reach goes one further; what is left of it stays needed."""
    known = Timeline(states=tuple(state(number) for number in range(6)), cursor=5)
    held = trees(0, 1, 2, 5)
    assert within_undo(known, HERE, held, 2) == trees(1, 2, 5)
    assert ("/srv/app", "project.hooks", "same") in within_undo(known, HERE, held, 0)


# --- whatever there is ---------------------------------------------------------------------------------------------

owners = st.sampled_from([HERE, THERE, ("/home/q/.claude", None)])
stored = st.builds(
    Stored,
    version=st.just(""),
    sequence=st.just(0),
    kind=st.sampled_from(BackupKind),
    made_by=st.sampled_from(MadeBy),
    owner=owners,
    created_at=st.sampled_from([NOW, LONG_AGO, "2026-11-20T00:00:00.000Z", "2030-01-01T00:00:00.000Z"]),
    holds=st.frozensets(st.tuples(st.just("x"), st.just("user.hooks"), st.sampled_from("abcdef")), max_size=3),
    pieces=st.dictionaries(st.tuples(st.just(0), st.integers(0, 9)), st.just(MB // 2), max_size=4),
    is_intact=st.booleans(),
    is_pinned=st.booleans(),
    is_in_use=st.booleans(),
)
stores = st.lists(stored, max_size=14).map(
    lambda found: [replace(item, version=f"v{place}", sequence=place) for place, item in enumerate(found)]
)
policies = st.builds(
    BackupPolicy,
    max_versions=st.integers(1, 4),
    max_automatic=st.integers(1, 4),
    max_total_size_mb=st.integers(1, 4),
    retention_days=st.integers(1, 9),
)
reaches = st.frozensets(st.tuples(st.just("x"), st.just("user.hooks"), st.sampled_from("abcdef")))


@settings(max_examples=120)
@given(stores, policies, reaches, st.sampled_from(MadeBy))
def test_no_policy_drops_what_must_stay(
    backups: list[Stored], policy: BackupPolicy, reach: frozenset[Held], evictor: MadeBy
) -> None:
    """Pinned, newest intact of its view, in use, within undo, damaged: under any limits, whoever makes a backup."""
    verdict = judged(backups, policy, reach=reach, evictor=evictor)
    by_version = {item.version: item for item in backups}
    removed = [by_version[version] for version in verdict.removed]
    kept = [item for item in backups if item not in removed]
    assert [item for item in removed if item.is_pinned or item.is_in_use or not item.is_intact] == []
    for owner in {item.owner for item in backups if item.is_intact}:
        newest = max((item for item in backups if item.is_intact and item.owner == owner), key=lambda x: x.sequence)
        assert newest in kept
    before = {tree for item in backups if item.is_intact for tree in item.holds}
    after = {tree for item in kept if item.is_intact for tree in item.holds}
    assert before & reach == after & reach
    if evictor is not MadeBy.TERMINAL:
        assert [item for item in removed if item.made_by is MadeBy.TERMINAL] == []
    assert {decision.version for decision in verdict.decisions} == by_version.keys()
    for decision in verdict.decisions:
        assert decision.is_kept == (decision.reason not in LIMITS)


@settings(max_examples=80)
@given(stores, policies, reaches, st.sampled_from(MadeBy))
def test_what_is_over_a_limit_is_protected(
    backups: list[Stored], policy: BackupPolicy, reach: frozenset[Held], evictor: MadeBy
) -> None:
    """Nothing that could go is kept beyond a limit, and deciding again removes nothing more."""
    verdict = judged(backups, policy, reach=reach, evictor=evictor)
    why = reasons(verdict)
    left = [item for item in backups if item.version not in verdict.removed]
    counted = [item for item in left if item.is_intact]
    for owner in {item.owner for item in counted}:
        for is_named, limit in ((True, policy.max_versions), (False, policy.max_automatic)):
            group = [x for x in counted if x.owner == owner and x.is_named is is_named and not x.is_pinned]
            free = [x for x in group if why[x.version] is Reason.WITHIN_LIMITS]
            assert len(group) <= limit or free == []
    total = sum({piece: size for item in counted for piece, size in item.pieces.items()}.values())
    if total > policy.max_total_size_mb * MB:
        assert Reason.MAX_TOTAL_SIZE in verdict.exceeded
        assert Reason.WITHIN_LIMITS not in why.values()
    assert judged(left, policy, reach=reach, evictor=evictor).removed == ()


@settings(max_examples=30)
@given(st.lists(st.sampled_from([BackupKind.MANUAL, BackupKind.AUTOMATIC]), max_size=40), policies, stores)
def test_no_flood_through_tools_removes_what_a_person_made(
    flood: list[BackupKind], policy: BackupPolicy, backups: list[Stored]
) -> None:
    """However many are made, named or not, each as large as the limit."""
    persons = {item.version for item in backups if item.made_by is MadeBy.TERMINAL}
    for number, kind in enumerate(flood, len(backups)):
        backups = [*backups, backup(number, kind=kind, made_by=MadeBy.TOOL, size_mb=policy.max_total_size_mb)]
        removed = judged(backups, policy, evictor=MadeBy.TOOL).removed
        backups = [item for item in backups if item.version not in removed]
    assert persons <= {item.version for item in backups}
