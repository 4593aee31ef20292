"""Random lives of two projects and one person on a real disk, against a model that only knows paths and contents.

The model is a second description of history: what is live, what each project's view has known in which order, which
backups exist. After every step the disk must hold what the model says, byte for byte; at the end both views must
report the drift and the version that the model expects, and everything in the store must be intact. A step may die at
any of its writing calls: then what is live must be wholly the state before or wholly the one after.

The limits are tiny, so that most backups push out others. Whatever goes by itself, each view's newest, what is pinned,
and what the next steps of undo and redo bring must still be there; what a person forgets is passed over, and named.
"""

import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeAlias, TypeVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from support.crash import PERSON, CrashAt, CrashedError, Unsynced, World

from stravinsky_rollback_mcp.config import load
from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.model import AuditRecord, EventStatus, EventType
from stravinsky_rollback_mcp.core.outcome import BackupCreated, Restored
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent, RollbackService, Scope, retention

Content: TypeAlias = Mapping[str, str]  # of a folder by name; of a file {"": text}, or {} when there is none
State: TypeAlias = Mapping[str, Content]  # by target id
Tree: TypeAlias = tuple[str, str, tuple[tuple[str, str], ...]]  # whose, target id, content
Step: TypeAlias = tuple[int, State, int]  # where undo or redo leads: number, state, and how many it passed over
Result = TypeVar("Result")
VIEWS = ("a", "b")
STEPS = 1  # of undo and of redo that retention keeps possible here
LIMITS = {"STRAVINSKY_BACKUP_MAX_VERSIONS": "1", "STRAVINSKY_BACKUP_MAX_AUTOMATIC": "1"}
KEPT = {"kept.py": "always there\n"}


# -- the model ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """A backup: of which view, what it holds, and whether somebody asked for it."""

    version: str
    view: str
    state: State
    is_named: bool

    def trees(self) -> set[Tree]:
        """What it holds of what: a project's targets are its own."""
        return {
            ("user" if name.startswith("user.") else self.view, name, tuple(sorted(content.items())))
            for name, content in self.state.items()
        }


@dataclass
class Line:
    """What one view has known: states with their numbers, and where it stands."""

    states: list[tuple[int, State]] = field(default_factory=list[tuple[int, State]])
    cursor: int = -1

    @property
    def here(self) -> State:
        """The last known state."""
        return self.states[self.cursor][1] if self.states else {}


def differs(state: State, live: State) -> list[str]:
    """The targets that do not hold what a state says of them."""
    return [target for target, content in state.items() if live[target] != content]


class Model:
    """A person's folder and two projects', and what is known of them."""

    def __init__(self) -> None:
        self.live: dict[str, dict[str, Content]] = {
            scope: {"hooks": dict(KEPT), "settings": {}} for scope in ("user", *VIEWS)
        }
        self.lines = {view: Line() for view in VIEWS}
        self.backups: list[Stored] = []
        self.pinned: set[str] = set()
        self._number = 0

    def seen(self, view: str) -> dict[str, Content]:
        """What is live in a view."""
        user = {f"user.{name}": content for name, content in self.live["user"].items()}
        return user | {f"project.{name}": content for name, content in self.live[view].items()}

    def bring(self, view: str, state: State) -> None:
        """Make a state live."""
        for target, content in state.items():
            scope, _, name = target.partition(".")
            self.live["user" if scope == "user" else view][name] = content

    def own(self, view: str) -> list[Stored]:
        """The backups of a view, oldest first."""
        return [backup for backup in self.backups if backup.view == view]

    def know(self, view: str, state: State, *, only_others: bool = False) -> None:
        """A state was seen by one view; the other sees the person's part of it."""
        self._number += 1
        for other in VIEWS:
            if only_others and other == view:
                continue
            part = {name: content for name, content in state.items() if other == view or name.startswith("user.")}
            line = self.lines[other]
            merged = {**line.here, **part}
            if merged != line.here:
                del line.states[line.cursor + 1 :]
                line.states.append((self._number, merged))
                line.cursor = len(line.states) - 1

    def arrive(self, view: str, number: int, after: State) -> None:
        """An undo or redo brought a known state back: the view stands there again, for the other it is a new one."""
        line = self.lines[view]
        places = [place for place, (found, _) in enumerate(line.states) if found == number]
        if places:
            line.cursor = places[0]
            line.states[places[0]] = (number, {name: after[name] for name in line.here})
        self.know(view, after, only_others=bool(places))

    def is_held(self, view: str, state: State) -> bool:
        """Whether every target of a state is in some backup that the view can use."""
        return all(
            any(
                backup.state.get(name) == content
                for backup in self.backups
                if name.startswith("user.") or backup.view == view
            )
            for name, content in state.items()
        )

    def can_bring(self, view: str, state: State, live: State) -> bool:
        """Whether some backup holds each target of a state that is not live already."""
        held = {tree for backup in self.backups for tree in backup.trees()}
        wanted = Stored("", view, {name: state[name] for name in differs(state, live)}, is_named=False)
        return wanted.trees() <= held

    def is_lost(self, view: str) -> bool:
        """Whether the last known state, which undo would bring back first, is in no backup any more."""
        here, live = self.lines[view].here, self.seen(view)
        return bool(differs(here, live)) and not self.can_bring(view, here, live)

    def undo_goal(self, view: str) -> Step | None:
        """The state that undo brings back."""
        line, live = self.lines[view], self.seen(view)
        if differs(line.here, live):
            return None if self.is_lost(view) else (*line.states[line.cursor], 0)
        return self._first(view, list(reversed(line.states[: max(line.cursor, 0)])), live)

    def redo_goal(self, view: str) -> Step | None:
        """The state that redo brings again."""
        line, live = self.lines[view], self.seen(view)
        return None if differs(line.here, live) else self._first(view, line.states[line.cursor + 1 :], live)

    def _first(self, view: str, states: list[tuple[int, State]], live: State) -> Step | None:
        others = [(number, state) for number, state in states if differs(state, live)]
        for passed, (number, state) in enumerate(others):
            if self.can_bring(view, state, live):
                return number, state, passed
        return None

    def ways(self) -> dict[str, list[State]]:
        """What the next steps of undo, and of redo, bring in each view, one after the other.

        A project of which there is no backup is one that the store does not know of.
        """
        found: dict[str, list[State]] = {}
        for view in filter(self.own, VIEWS):
            for name, goal in (("undo", self.undo_goal), ("redo", self.redo_goal)):
                line, live = self.lines[view], {scope: dict(part) for scope, part in self.live.items()}
                cursor, states = line.cursor, list(line.states)
                way = found.setdefault(f"{name} {view}", [])
                while len(way) < STEPS and (step := goal(view)) is not None:
                    way.append(step[1])
                    self.bring(view, step[1])
                    line.cursor = next(place for place, (found_at, _) in enumerate(states) if found_at == step[0])
                line.cursor, self.live = cursor, live
        return found

    def remove(self, versions: set[str]) -> None:
        """These backups are gone."""
        self.backups = [backup for backup in self.backups if backup.version not in versions]
        self.pinned -= versions


def _pruned(records: list[AuditRecord]) -> set[str]:
    return {
        str(record.draft.version)
        for record in records
        if (record.draft.event_type, record.draft.status) == (EventType.PRUNED, EventStatus.SUCCESS)
    }


# -- the machine ----------------------------------------------------------------------------------------------------

Act: TypeAlias = Callable[[RollbackService, Consent], Awaitable[Restored | BackupCreated]]
names = st.sampled_from(["one.py", "two.py"])
texts = st.sampled_from(["x\n", "y\n", "z\n"])
views = st.sampled_from(VIEWS)
scopes = st.sampled_from(["user", *VIEWS])
picks = st.integers(0, 30)
deaths = st.integers(1, 110)


class Lives(RuleBasedStateMachine):
    """What people, projects and crashes do."""

    folder: ClassVar[Path]
    portal: ClassVar[BlockingPortal]  # one for all: starting a thread takes longer than many a step
    count: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).count += 1
        self.root = self.folder / str(self.count)
        self.world = World(self.root)
        self.roots = {"user": self.world.home, "a": self.world.project, "b": self.root / "live" / "other"}
        self.model = Model()
        for scope, root in self.roots.items():
            for name, text in KEPT.items():
                self._write(scope, f"hooks/{name}", text)
            assert root.is_dir()
        self.services = {view: self._service(view) for view in VIEWS}

    def _service(self, view: str, death: int | None = None) -> RollbackService:
        files = Unsynced() if death is None else Unsynced(observe=CrashAt(death))
        environ = {"HOME": str(self.world.home), **LIMITS}
        return RollbackService(load(environ, for_terminal=True, project=str(self.roots[view])), files)

    def _ask(self, request: Awaitable[Result]) -> Result:
        async def whole() -> Result | CrashedError:
            try:
                return await request
            except CrashedError as error:  # raised in there, it would end the portal too
                return error

        outcome = self.portal.call(whole)
        if isinstance(outcome, CrashedError):
            raise outcome
        return outcome

    def _lines(self) -> list[bytes]:
        """The records of the audit; most need not be understood."""
        path = self.world.store / "audit" / "operations.log"
        return path.read_bytes().splitlines() if path.exists() else []

    def _write(self, scope: str, path: str, text: str | None) -> None:
        place = self.roots[scope] / ".claude" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        if text is not None:
            place.write_text(text, encoding="utf-8")

    def _disk(self) -> dict[str, dict[str, Content]]:
        found: dict[str, dict[str, Content]] = {}
        for scope, root in self.roots.items():
            hooks, file = root / ".claude" / "hooks", root / ".claude" / "settings.json"
            found[scope] = {
                "hooks": {path.name: path.read_text(encoding="utf-8") for path in hooks.iterdir()},
                "settings": {"": file.read_text(encoding="utf-8")} if file.exists() else {},
            }
        return found

    def _operate(
        self,
        view: str,
        act: Act,
        goal: State | None,
        *,
        number: int | None = None,
        passed: int = 0,
        death: int | None = None,
    ) -> None:
        """Do what should bring ``goal`` (None: change nothing), and find the world as the model then has it."""
        model, before = self.model, self.model.seen(view)
        after = before if goal is None else {**before, **goal}
        records = len(self._lines())
        consent = Consent()
        if goal is not None:
            plan = self._ask(act(self.services[view], Consent(dry_run=True)))
            assert isinstance(plan, Restored)
            assert sum("was passed over" in notice for notice in plan.notices) == passed
            assert (self._disk(), len(self._lines())) == (model.live, records)
            consent = Consent(accept=plan.security_changes, plan_id=plan.plan_id)
        has_died = False
        try:
            self._ask(act(self._service(view, death) if death else self.services[view], consent))
        except CrashedError:
            has_died = True
            self.world.resume(Unsynced(), self.roots[view])
        self._take_over(view, records, before, after, has_died=has_died)
        model.bring(view, after)
        is_done = not has_died or self._disk() == model.live
        if not is_done:
            model.bring(view, before)
        assert self._disk() == model.live
        if is_done and goal is not None and after != before:
            if number is None:
                model.know(view, after)
            else:
                model.arrive(view, number, after)

    def _take_over(self, view: str, records: int, before: State, after: State, *, has_died: bool) -> None:
        """What was known and stored on the way: by the model's own rules, or as far as a crash let it come."""
        model = self.model
        new = [chain.decode_line(line) for line in self._lines()[records:]]
        made = [
            (record.draft.version, record.draft.state is not None, (record.draft.details or {})["kind"] == "manual")
            for record in new
            if record.draft.event_type is EventType.BACKUP_CREATED
            and (record.draft.details or {}).get("created") is None
        ]
        saw = any(
            record.draft.state is not None
            and record.draft.event_type in (EventType.BACKUP_CREATED, EventType.DRIFT_DETECTED)
            for record in new
        )
        if not has_died and after != before:
            is_there = any(backup.state == before for backup in model.own(view))
            assert saw == (not is_there or bool(differs(model.lines[view].here, before)))
            assert [is_observed for _, is_observed, _ in made][:1] == ([] if is_there else [True]) or is_there
        if saw:
            model.know(view, before)
        for version, is_observed, is_named in made:
            assert version is not None
            if version in self._published() or version in _pruned(new):
                model.backups.append(Stored(version, view, before if is_observed else after, is_named))
        self._let_go(_pruned(new), has_died=has_died)
        if not has_died and after != before:
            assert model.is_held(view, after)

    def _published(self) -> set[str]:
        return {path.parent.name for path in (self.world.store / "backups").glob("*/manifest.json")}

    def _let_go(self, announced: set[str], *, has_died: bool = False) -> None:
        """Only what is announced has gone, and nothing of it that has to stay; what stays beyond a limit has to."""
        model, published = self.model, self._published()
        gone = {backup.version for backup in model.backups} - published
        assert gone <= announced
        assert has_died or gone == announced
        if not gone:
            return
        newest = {model.own(view)[-1].version for view in VIEWS if model.own(view)}
        assert not gone & (model.pinned | newest)
        before = model.ways()
        model.remove(gone)
        assert model.ways() == before
        for backup in model.backups if not has_died else ():
            group = [item for item in model.own(backup.view) if item.is_named == backup.is_named]
            loose = [item for item in group if item.version not in model.pinned]
            if len(loose) > 1 and backup in loose and backup.version not in newest:
                others = [tree for item in model.backups if item is not backup for tree in item.trees()]
                assert not backup.trees() <= set(others), "nothing kept it but its number"

    # -- rules --------------------------------------------------------------------------------------------------

    @initialize(past=st.lists(st.tuples(views, scopes, texts, st.booleans()), min_size=1, max_size=3))
    def first(self, past: list[tuple[str, str, str, bool]]) -> None:
        """Lives begin with something to go back to, the first of it for good."""
        for view, scope, content, is_named in past:
            self.work(view, scope, content, is_named=is_named)
            if not self.model.pinned:
                self.pin(view, 0)

    @rule(scope=scopes, name=names, text=texts | st.none())
    def edit(self, scope: str, name: str, text: str | None) -> None:
        """Somebody writes or deletes a hook."""
        self._write(scope, f"hooks/{name}", text)
        hooks = {other: content for other, content in self.model.live[scope]["hooks"].items() if other != name}
        self.model.live[scope]["hooks"] = hooks if text is None else {**hooks, name: text}

    @rule(scope=scopes, number=st.integers(1, 2) | st.none())
    def edit_settings(self, scope: str, number: int | None) -> None:
        """Somebody writes or deletes settings; nothing in them is less safe."""
        text = None if number is None else f'{{"cleanupPeriodDays": {number}}}\n'
        self._write(scope, "settings.json", text)
        self.model.live[scope]["settings"] = {} if text is None else {"": text}

    @rule(view=views, is_named=st.booleans(), death=st.none() | deaths)
    def back_up(self, view: str, *, is_named: bool, death: int | None = None) -> None:
        """A backup; an unnamed one of what the newest holds already is none."""
        model = self.model
        version = f"v{len(model.backups)}-{len(self._lines())}" if is_named else None
        own = model.own(view)
        is_new = is_named or not own or own[-1].state != model.seen(view)
        self._operate(view, lambda service, _: service.create_backup(PERSON, version=version), None, death=death)
        assert death or (model.own(view)[-1:] != own[-1:]) == is_new

    @rule(view=views, scope=scopes, content=texts, is_named=st.booleans())
    def work(self, view: str, scope: str, content: str, *, is_named: bool) -> None:
        """An edit that is backed up: what most states come from."""
        self.edit(scope, "one.py", content)
        self.back_up(view, is_named=is_named)

    @precondition(lambda self: self.model.backups)
    @rule(
        view=views,
        pick=picks,
        part=st.sampled_from(["all", "user", "project", "one.py", "two.py", "settings"]),
        death=st.none() | deaths,
    )
    def roll_back(self, view: str, pick: int, part: str, death: int | None = None) -> None:
        """To any backup: all of it, one scope, one hook or the settings of the person."""
        backup = self.model.backups[-1 - pick % len(self.model.backups)]
        only: tuple[str, ...] = ()
        scope = Scope(part) if part in ("user", "project") else None
        if backup.view != view and (scope is not Scope.USER or part == "project"):
            with pytest.raises(RollbackError) as refused:
                self._ask(
                    self.services[view].rollback_to(PERSON, version=backup.version, scope=scope, consent=Consent())
                )
            assert refused.value.code is Code.SCOPE_MISMATCH
            return
        live = self.model.seen(view)
        if part == "settings":
            only, goal = ("~/.claude/settings.json",), {"user.settings": backup.state["user.settings"]}
        elif part.endswith(".py"):
            then, now = backup.state["user.hooks"], live["user.hooks"]
            if part not in then and part not in now:
                return
            only = (f"~/.claude/hooks/{part}",)
            rest = {name: text for name, text in now.items() if name != part}
            goal = {"user.hooks": {**rest, part: then[part]} if part in then else rest}
        else:
            goal = {name: content for name, content in backup.state.items() if part == "all" or name.startswith(part)}
        self._operate(
            view,
            lambda service, consent: service.rollback_to(
                PERSON, version=backup.version, only=only, scope=scope, consent=consent
            ),
            goal,
            death=death,
        )

    @rule(view=views, death=st.none() | deaths)
    def undo(self, view: str, death: int | None = None) -> None:
        """Take back, if there is something."""
        goal = self.model.undo_goal(view)
        code = "not_found" if self.model.is_lost(view) else "nothing_to_undo"
        self._walk(view, lambda service, consent: service.undo(PERSON, consent=consent), goal, death, code)

    @rule(view=views, death=st.none() | deaths)
    def redo(self, view: str, death: int | None = None) -> None:
        """Bring again, if there is something."""
        goal = self.model.redo_goal(view)
        self._walk(view, lambda service, consent: service.redo(PERSON, consent=consent), goal, death, "nothing_to_redo")

    @rule(view=views)
    def there_and_back(self, view: str) -> None:
        """Undo as far as it leads, and redo; each is a step on for the other project, so not for ever."""
        for goal, move in ((self.model.undo_goal, self.undo), (self.model.redo_goal, self.redo)):
            for _ in range(4):
                if goal(view) is not None:
                    move(view)
            if goal(view) is None:
                move(view)

    def _walk(self, view: str, act: Act, goal: Step | None, death: int | None, code: str) -> None:
        if goal is None:
            with pytest.raises(RollbackError) as refused:
                self._ask(act(self.services[view], Consent()))
            assert refused.value.code == code
        else:
            self._operate(view, act, goal[1], number=goal[0], passed=goal[2], death=death)

    @precondition(lambda self: self.model.backups)
    @rule(view=views, pick=picks)
    def pin(self, view: str, pick: int) -> None:
        """Pin a backup, or unpin one that is pinned."""
        version = self.model.backups[-1 - pick % len(self.model.backups)].version
        is_pinned = version in self.model.pinned
        service = self.services[view]
        self._ask((service.unpin if is_pinned else service.pin)(PERSON, version=version))
        self.model.pinned ^= {version}

    @precondition(lambda self: self.model.backups)
    @rule(view=views)
    def clean_up(self, view: str) -> None:
        """What a look announces is what goes."""
        plan = self._ask(self.services[view].cleanup(PERSON))
        announced = {item.version for item in plan.backups if item.action == "remove"}
        assert self._published() == {backup.version for backup in self.model.backups}
        self._ask(self.services[view].cleanup(PERSON, agreed=frozenset(announced)))
        self._let_go(announced)

    @precondition(lambda self: len(self.model.backups) > 2)  # it takes most of them along
    @rule(view=views, pick=picks)
    def forget(self, view: str, pick: int) -> None:
        """A backup, and all that hold an archive of the same content, whatever else needs them."""
        chosen = self.model.backups[-1 - pick % len(self.model.backups)]
        asked = partial(self.services[view].forget, PERSON, version=chosen.version)
        versions = set(self._ask(asked()).versions)
        contents = [content for content in chosen.state.values() if content]
        assert {chosen.version} <= versions <= {backup.version for backup in self.model.backups}
        for backup in self.model.backups:
            same = [name for name, content in backup.state.items() if content and chosen.state.get(name) == content]
            assert backup.version in versions or not same
            assert backup.version not in versions or any(content in backup.state.values() for content in contents)
        self._ask(asked(agreed=frozenset(versions)))
        assert self._published() == {backup.version for backup in self.model.backups} - versions
        self.model.remove(versions)

    @rule(view=views)
    def look(self, view: str) -> None:
        """What a view reports is what the model expects."""
        live = self.model.seen(view)
        current = self._ask(self.services[view].list_backups(PERSON, limit=1)).current
        assert sorted(item.target for item in current.drift) == sorted(differs(self.model.lines[view].here, live))
        matching = {backup.version for backup in self.model.own(view) if backup.state == live}
        assert (current.version in matching) if matching else current.version is None

    @precondition(lambda self: self.model.backups)
    @rule(view=views)
    def previous(self, view: str) -> None:
        """``@previous`` is what undo would bring."""
        goal = self.model.undo_goal(view)
        request = self.services[view].rollback_to(PERSON, version="@previous", consent=Consent(dry_run=True))
        if goal is None:
            with pytest.raises(RollbackError) as refused:
                self._ask(request)
            assert refused.value.code is Code.NOT_FOUND
        else:
            plan = self._ask(request)
            changed = {f"{item.scope}.{item.component}" for item in plan.changes if item.action != "none"}
            assert changed == set(differs(goal[1], self.model.seen(view)))

    def teardown(self) -> None:
        """Everything is as the model has it, and intact."""
        try:
            assert self._disk() == self.model.live
            for view in VIEWS:
                self.look(view)
            verified = self._ask(self.services["a"].verify_backups(PERSON))
            assert verified.ok
            assert {backup.version for backup in verified.backups} == {item.version for item in self.model.backups}
            assert self._ask(self.services["a"].verify_audit(PERSON)).chain.intact
        finally:
            self.world.close()
            shutil.rmtree(self.root)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps of undo are more than these lives have."""
    monkeypatch.setattr(retention, "UNDO_STEPS", STEPS)


def _run(folder: Path, examples: int, steps: int) -> int:
    Lives.folder, Lives.count = folder, 0
    profile = settings(max_examples=examples, stateful_step_count=steps, deadline=None, print_blob=True)
    with start_blocking_portal() as Lives.portal:
        run_state_machine_as_test(Lives, settings=profile)
    return Lives.count


def test_random_lives_of_two_projects_agree_with_the_model(tmp_path: Path) -> None:
    """A few dozen lives a day."""
    assert _run(tmp_path, examples=25, steps=10) >= 25


def test_states_that_were_pruned_are_passed_over_by_their_names(tmp_path: Path) -> None:
    """The first is pinned, the last and the one before it are kept for undo, what lay between has gone."""
    Lives.folder = tmp_path
    with start_blocking_portal() as Lives.portal:
        life = Lives()
        for number in range(5):
            life.work("a", "user", f"{number}\n", is_named=True)
            if not life.model.pinned:
                life.pin("a", 0)
        life.undo("a")
        goal = life.model.undo_goal("a")
        assert goal is not None
        assert goal[2] == 2
        life.there_and_back("a")
        life.teardown()


def test_a_state_that_is_live_already_is_no_step_that_retention_counts(tmp_path: Path) -> None:
    """Found by a random life: the first backup of a project says more, not other things, than what it saw before."""
    Lives.folder = tmp_path
    with start_blocking_portal() as Lives.portal:
        life = Lives()
        life.first([("a", "user", content, False) for content in ("x\n", "y\n", "x\n")])
        life.work("b", "user", "x\n", is_named=False)
        life.work("a", "a", "x\n", is_named=False)
        life.teardown()


@pytest.mark.long
def test_two_thousand_random_lives_agree_with_the_model(tmp_path: Path) -> None:
    """Enough lives for rare orders of events; the count is printed."""
    count = _run(tmp_path, examples=2_000, steps=6)
    sys.stdout.write(f"{count} random lives agreed with the model\n")
    assert count >= 2_000
