"""Undo and redo against a reference model (a list and a cursor), and the rules that tell whose change it was.

The driver writes records as ``service/restore.py`` does: what is live is recorded before it is replaced, and an undo
or redo says which record's state it brought back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core import history
from stravinsky_rollback_mcp.core.components import view_of
from stravinsky_rollback_mcp.core.history import Timeline, Walk
from stravinsky_rollback_mcp.core.model import (
    Actor,
    AuditDraft,
    AuditRecord,
    EventStatus,
    EventType,
    TargetDigest,
    View,
)
from stravinsky_rollback_mcp.errors import Code, RollbackError

USER_ROOT = "/home/u/.claude"
Digests = Mapping[str, str]


def view(project: str | None = "/srv/a", user_root: str = USER_ROOT) -> View:
    """One caller's view."""
    return view_of(home="/home/u", user_root=user_root, project=project, git_root=None)


def state(user: str, project: str = "p") -> dict[str, str]:
    """What is live: one digest for the person's hooks, one for the project's."""
    return {"user.hooks": user, "project.hooks": project}


@dataclass
class Store:
    """A store's audit as history sees it, and the digests that its backups hold."""

    records: list[AuditRecord] = field(default_factory=list[AuditRecord])
    held: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    def add(
        self,
        event_type: EventType,
        live: Digests,
        *,
        project: str | None = "/srv/a",
        user_root: str = USER_ROOT,
        restores: int | None = None,
    ) -> None:
        """Record a state; every recorded state is held by some backup."""
        seq = len(self.records) + 1
        draft = AuditDraft(
            event_type=event_type,
            status=EventStatus.SUCCESS,
            actor=Actor(kind="terminal"),
            user_root=user_root,
            project=project,
            version=f"v{seq}",
            state=tuple(TargetDigest(target=target, digest=digest) for target, digest in live.items()),
            restores=restores,
        )
        stamp = f"2026-11-23T09:00:00.{seq:03}Z"
        self.records.append(AuditRecord(seq=seq, event_id=str(seq), timestamp=stamp, draft=draft))
        self.held.update(live.items())

    def timeline(self, of: View | None = None) -> Timeline:
        """Where a view stands."""
        return history.timeline(self.records, of or view())

    def backup(self, live: Digests, project: str | None = "/srv/a") -> None:
        """A backup of what is live."""
        self.add(EventType.BACKUP_CREATED, live, project=project)

    def roll(self, live: Digests, to: Digests, project: str | None = "/srv/a") -> dict[str, str]:
        """A rollback: what is live is kept first."""
        self.backup(live, project)
        self.add(EventType.MANUAL_ROLLBACK, {**live, **to}, project=project)
        return {**live, **to}

    def walk(self, live: Digests, operation: EventType, project: str | None = "/srv/a") -> tuple[Walk, dict[str, str]]:
        """An undo or redo of one project; returns the step and what is live after it."""
        move = history.undo if operation is EventType.UNDO else history.redo
        step = move(self.timeline(view(project)), live, frozenset(self.held))
        self.backup(live, project)
        after = {**live, **step.state.digests}
        self.add(operation, after, project=project, restores=step.state.seq)
        return step, after


# --- the reference model -------------------------------------------------------------------------------------------


@dataclass
class Model:
    """What a person expects of undo and redo: a list of states, a cursor, and what is live now."""

    live: str = "0"
    states: list[str] = field(default_factory=list[str])
    cursor: int = -1

    def know(self) -> None:
        """Something looked at what is live: a new state drops what lay ahead."""
        if not self.states or self.states[self.cursor] != self.live:
            del self.states[self.cursor + 1 :]
            self.states.append(self.live)
            self.cursor = len(self.states) - 1

    def undo(self) -> bool:
        """Take back the unannounced edit, else go one different state back."""
        if not self.states:
            return False
        if self.live != self.states[self.cursor]:
            back = self.cursor
        else:
            places = [place for place in range(self.cursor) if self.states[place] != self.live]
            if not places:
                return False
            back = places[-1]
        self.know()
        self.cursor = back
        self.live = self.states[back]
        return True

    def redo(self) -> bool:
        """Go one different state forward, unless something happened since."""
        if not self.states or self.live != self.states[self.cursor]:
            return False
        places = [place for place in range(self.cursor + 1, len(self.states)) if self.states[place] != self.live]
        if not places:
            return False
        self.cursor = places[0]
        self.live = self.states[self.cursor]
        return True


commands = st.lists(
    st.one_of(
        st.tuples(st.just("edit"), st.sampled_from("ABC")),
        st.tuples(st.just("rollback"), st.sampled_from("ABC")),
        st.tuples(st.sampled_from(["backup", "undo", "redo"]), st.just("")),
    ),
    max_size=14,
)


@given(commands)
def test_history_is_a_list_and_a_cursor(script: list[tuple[str, str]]) -> None:
    """Any sequence of edits, backups, rollbacks, undos and redos ends where the reference model ends."""
    store, model = Store(), Model()
    for command, target in script:
        live = state(model.live)
        if command == "edit":
            model.live = target
        elif command == "backup":
            store.backup(live)
            model.know()
        elif command == "rollback":
            store.roll(live, state(target))
            model.know()
            model.live = target
            model.know()
        else:
            operation = EventType.UNDO if command == "undo" else EventType.REDO
            was_live = model.live
            is_possible = model.undo() if command == "undo" else model.redo()
            if is_possible:
                assert store.walk(state(was_live), operation)[1] == state(model.live)
            else:
                nothing = {EventType.UNDO: Code.NOTHING_TO_UNDO, EventType.REDO: Code.NOTHING_TO_REDO}[operation]
                assert refusal(store, state(was_live), operation) is nothing
        found = store.timeline()
        assert [item.digests["user.hooks"] for item in found.states] == model.states
        assert found.cursor == model.cursor


@given(commands)
def test_redo_takes_back_an_undo(script: list[tuple[str, str]]) -> None:
    """Wherever one stands: undo and then redo is where one was, also when it was an edit that nobody knew."""
    store, live = Store(), state("0")
    for command, target in script:
        if command == "edit":
            live = state(target)
        elif command == "backup":
            store.backup(live)
        elif command == "rollback":
            live = store.roll(live, state(target))
        else:
            operation = EventType.UNDO if command == "undo" else EventType.REDO
            if refusal(store, live, operation) is None:
                live = store.walk(live, operation)[1]
    if refusal(store, live, EventType.UNDO) is None:
        _, undone = store.walk(live, EventType.UNDO)
        assert undone != live
        assert store.walk(undone, EventType.REDO)[1] == live


@given(commands)
def test_undoing_to_the_end_comes_to_the_first_state(script: list[tuple[str, str]]) -> None:
    """Undo never walks in a circle: each step is one known state earlier, and the last is the earliest one."""
    store, live = Store(), state("0")
    store.backup(live)
    for command, target in script:
        if command == "edit":
            live = state(target)
        elif command == "rollback":
            live = store.roll(live, state(target))
        else:
            store.backup(live)
    first = live
    for _ in range(len(store.records) + 2):
        if refusal(store, live, EventType.UNDO) is not None:
            break
        live = store.walk(live, EventType.UNDO)[1]
    assert live == state("0")
    for _ in range(len(store.records) + 2):
        if refusal(store, live, EventType.REDO) is not None:
            break
        live = store.walk(live, EventType.REDO)[1]
    assert live == first


@given(commands)
def test_what_the_next_undo_takes_back_is_known_before(script: list[tuple[str, str]]) -> None:
    """History 5: each step says what a further undo would take back, and that is what it then does."""
    store, live = Store(), state("0")
    for command, target in script:
        if command == "edit":
            live = state(target)
        elif command == "rollback":
            live = store.roll(live, state(target))
        elif command == "backup":
            store.backup(live)
        else:
            operation = EventType.UNDO if command == "undo" else EventType.REDO
            if refusal(store, live, operation) is not None:
                continue
            step, live = store.walk(live, operation)
            if step.next_undo is None:
                assert refusal(store, live, EventType.UNDO) is Code.NOTHING_TO_UNDO
            else:
                further = history.undo(store.timeline(), live, frozenset(store.held))
                assert further.taken_back is not None
                assert further.taken_back.seq == step.next_undo.seq


def test_an_undo_that_had_to_leave_something_in_place_goes_on_all_the_same() -> None:
    """A folder with node_modules stays where it is, so the digest is another; the place in the sequence is not.

    Once, such an undo counted as a new state, and a second undo brought back what the first had taken away.
    """
    store = Store()
    for digest in "ABC":
        store.backup(state(digest))
    store.add(EventType.UNDO, state("B+"), restores=2)
    found = store.timeline()
    assert ([item.digests["user.hooks"] for item in found.states], found.cursor) == (["A", "B+", "C"], 1)
    held = frozenset(store.held)
    assert history.undo(found, state("B+"), held).state.digests == state("A")
    assert history.redo(found, state("B+"), held).state.digests == state("C")


def test_a_state_that_differs_only_in_what_has_to_stay_is_passed_over() -> None:
    """A step to it would change nothing, so undo goes on to the state before it instead of standing still for ever."""
    store = Store()
    for digest in "ABC":
        store.backup(state(digest))
    held = frozenset(store.held)
    first = history.undo(store.timeline(), state("C"), held)
    stands = history.arrived(store.timeline(), first.state, state("C"))
    assert stands.current is not None
    assert (stands.current.seq, stands.current.digests) == (2, state("C"))
    assert history.undo(stands, state("C"), held).state.digests == state("A")


def refusal(store: Store, live: Digests, operation: EventType) -> Code | None:
    """The code with which a step would be refused; the refusal says what to do instead."""
    move = history.undo if operation is EventType.UNDO else history.redo
    try:
        move(store.timeline(), live, frozenset(store.held))
    except RollbackError as error:
        return error.code if error.hint else None
    return None


# --- states that are gone ------------------------------------------------------------------------------------------


def test_states_that_no_backup_holds_are_passed_over_and_named() -> None:
    """History 2: pruned states are skipped and named, in both directions."""
    store = Store()
    for digest in "ABC":
        store.backup(state(digest))
    held = frozenset(store.held - {("user.hooks", "B")})
    back = history.undo(store.timeline(), state("C"), held)
    assert (back.state.digests["user.hooks"], back.unavailable) == ("A", ("v2",))
    store.add(EventType.UNDO, state("A"), restores=1)
    forward = history.redo(store.timeline(), state("A"), held)
    assert (forward.state.digests["user.hooks"], forward.unavailable) == ("C", ("v2",))


def test_an_edit_over_a_state_that_is_gone_is_not_found() -> None:
    """Undo never jumps over the last known state unasked: it says that it is gone."""
    store = Store()
    store.backup(state("A"))
    store.backup(state("B"))
    held = frozenset(store.held - {("user.hooks", "B")})
    with pytest.raises(RollbackError) as refused:
        history.undo(store.timeline(), state("C"), held)
    assert refused.value.code is Code.NOT_FOUND


def test_the_earliest_state_is_named() -> None:
    """History 3: nothing further, and the earliest state is named."""
    store = Store()
    store.backup(state("A"))
    with pytest.raises(RollbackError, match=r"2026-11-23T09:00:00\.001Z \(v1\)"):
        history.undo(store.timeline(), state("A"), frozenset(store.held))


def test_an_empty_store_knows_nothing() -> None:
    """A first session: both refuse, and say which call begins a history."""
    assert refusal(Store(), state("A"), EventType.UNDO) is Code.NOTHING_TO_UNDO
    assert refusal(Store(), state("A"), EventType.REDO) is Code.NOTHING_TO_REDO
    assert Store().timeline().current is None


# --- several projects ----------------------------------------------------------------------------------------------


def test_another_projects_change_of_the_user_scope_is_a_state_here_too() -> None:
    """History 4: undo names whose change it takes back; the other project's own files are not seen."""
    store = Store()
    store.backup(state("A", "mine"))
    store.roll(state("A", "theirs"), {"user.hooks": "B"}, project="/srv/b")
    here = store.timeline().current
    assert here is not None
    assert (here.project, dict(here.digests)) == ("/srv/b", state("B", "mine"))
    step = history.undo(store.timeline(), state("B", "mine"), frozenset(store.held))
    assert dict(step.state.digests) == state("A", "mine")
    assert foreign(store, {"user.hooks": "A"}, step.state.seq) == ["/srv/b"]


def test_a_change_of_ones_own_is_not_foreign() -> None:
    """Nothing is asked for what this project did itself."""
    store = Store()
    store.backup(state("A"), "/srv/b")
    store.backup(state("A"))
    live = store.roll(state("A"), {"user.hooks": "B"})
    assert live == state("B")
    assert foreign(store, {"user.hooks": "A"}, 2) == []


def test_what_was_taken_back_already_is_not_taken_back_again() -> None:
    """Once undone, or rolled back over, another project's change is no longer live: nobody is asked about it."""
    for is_undone in (True, False):
        store = Store()
        store.backup(state("A"))
        store.roll(state("A"), {"user.hooks": "B"}, project="/srv/b")
        assert foreign(store, {"user.hooks": "A"}, 1) == ["/srv/b"]
        if is_undone:
            store.walk(state("B"), EventType.UNDO)
        else:
            store.roll(state("B"), {"user.hooks": "A"})
        assert foreign(store, {"user.hooks": "A"}, 1) == []
        store.roll(state("C"), {"user.hooks": "A"})
        assert foreign(store, {"user.hooks": "A"}, 1) == []


def test_a_change_of_another_target_is_not_taken_back() -> None:
    """What the other project did to the settings stays when only the hooks come back."""
    store = Store()
    store.backup({"user.hooks": "A", "user.settings": "S"})
    store.add(EventType.MANUAL_ROLLBACK, {"user.hooks": "A", "user.settings": "T"}, project="/srv/b")
    store.backup({"user.hooks": "B", "user.settings": "T"})
    assert foreign(store, {"user.hooks": "A"}, 1) == []
    assert foreign(store, {"user.hooks": "A", "user.settings": "S"}, 1) == ["/srv/b"]


def foreign(store: Store, wanted: Digests, since_seq: int) -> list[str | None]:
    """The other projects whose changes bringing back ``wanted`` takes back."""
    found = history.foreign_changes(store.timeline(), wanted, since_seq=since_seq, project="/srv/a")
    return [state.project for state in found]


def test_another_projects_undo_moves_no_cursor_here() -> None:
    """An undo over there is a change of the user scope over here; this project's own redo is gone then."""
    store = Store()
    store.backup(state("A"))
    store.backup(state("B"))
    _, live = store.walk(state("B"), EventType.UNDO)
    theirs = {"user.hooks": "C", "project.hooks": "q"}
    store.backup(theirs, "/srv/b")
    store.add(EventType.UNDO, {"user.hooks": "B", "project.hooks": "q"}, project="/srv/b", restores=2)
    assert live == state("A")
    found = store.timeline()
    assert [item.digests["user.hooks"] for item in found.states] == ["A", "C", "B"]
    assert refusal(store, state("B"), EventType.REDO) is Code.NOTHING_TO_REDO


def test_another_user_root_is_another_user_scope() -> None:
    """CLAUDE_CONFIG_DIR: the project is shared between the roots, the person's folder is not."""
    store = Store()
    store.backup(state("A", "p"))
    store.add(EventType.BACKUP_CREATED, state("X", "q"), user_root="/home/u/.other")
    here = store.timeline().current
    assert here is not None
    assert dict(here.digests) == state("A", "q")


def test_without_a_project_only_the_user_scope_is_seen() -> None:
    """A session in the home folder: projects' targets of other records do not exist for it."""
    store = Store()
    store.backup(state("A", "p"))
    here = store.timeline(view(None)).current
    assert here is not None
    assert dict(here.digests) == {"user.hooks": "A"}


# --- what counts as a change ---------------------------------------------------------------------------------------


def test_records_without_a_state_and_repeated_states_change_nothing() -> None:
    """Refusals, intents and backups of what is known already leave the way forward open."""
    store = Store()
    for digest in "AB":
        store.backup(state(digest))
    _, live = store.walk(state("B"), EventType.UNDO)
    store.backup(live)
    store.records.append(
        AuditRecord(
            seq=99,
            event_id="99",
            timestamp="2026-11-23T09:00:01.000Z",
            draft=AuditDraft(
                event_type=EventType.REFUSED,
                status=EventStatus.REFUSED,
                actor=Actor(kind="terminal"),
                user_root=USER_ROOT,
                project="/srv/a",
            ),
        )
    )
    assert history.redo(store.timeline(), live, frozenset(store.held)).state.digests == state("B")


def test_what_cannot_be_looked_at_is_not_an_edit() -> None:
    """A target that was not recorded, now or then, neither differs nor is brought back."""
    store = Store()
    store.backup({"user.hooks": "A", "user.settings": "S"})
    here = store.timeline().current
    assert here is not None
    assert here.drifted({"user.hooks": "A", "user.settings": "", "user.commands": "new"}) == ()
    assert here.drifted({"user.hooks": "B", "user.settings": "T"}) == ("user.hooks", "user.settings")


def test_a_target_that_went_out_of_sight_is_a_state_and_is_left_alone() -> None:
    """Once a backup has seen that a target cannot be looked at, undo walks on without it."""
    store = Store()
    store.backup(state("A", "p"))
    gone = state("B", "")
    here = store.timeline().current
    assert here is not None
    assert (here.drifted(gone), here.out_of_sight(gone)) == (("user.hooks",), ("project.hooks",))
    store.backup(gone)
    here = store.timeline().current
    assert here is not None
    assert (here.drifted(gone), here.out_of_sight(gone)) == ((), ())
    held = frozenset(store.held)
    step = history.undo(store.timeline(), gone, held)
    assert (step.state.seq, step.state.drifted(gone), step.next_undo) == (1, ("user.hooks",), None)
    store.add(EventType.UNDO, state("A", ""), restores=1)
    assert refusal(store, state("A", ""), EventType.UNDO) is Code.NOTHING_TO_UNDO
    assert history.redo(store.timeline(), state("A", ""), held).state.drifted(state("A", "")) == ("user.hooks",)


def test_the_last_place_of_git_is_remembered_with_a_state() -> None:
    """A backup of what is known already still tells where git stood when that state was last seen."""
    store = Store()
    store.backup(state("A"))
    for head in ("one", "two"):
        store.backup(state("A"))
        record = store.records[-1]
        store.records[-1] = replace(record, draft=replace(record.draft, details={"git_head": head}))
        assert [item.git_head for item in store.timeline().states] == [head]
    store.backup(state("B"))
    assert [item.git_head for item in store.timeline().states] == ["two", "two"]


def test_an_undo_whose_state_is_gone_from_the_timeline_is_a_state_of_its_own() -> None:
    """A rotated or foreign record may name a state that this view never had."""
    store = Store()
    store.backup(state("A"))
    store.add(EventType.UNDO, state("B"), restores=77)
    found = store.timeline()
    assert [item.digests["user.hooks"] for item in found.states] == ["A", "B"]
    assert found.cursor == 1
