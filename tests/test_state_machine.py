"""Random lives of two projects and one person on a real disk, against a model that only knows paths and contents.

The model is a second description of history: what is live, what each project's view has known in which order, which
backups exist. After every step the disk must hold what the model says, byte for byte; at the end both views must
report the drift and the version that the model expects, and everything in the store must be intact. A step may die at
any of its writing calls: then what is live must be wholly the state before or wholly the one after.
"""

import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeAlias

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from support.crash import PERSON, CrashAt, CrashedError, World

from stravinsky_rollback_mcp.core.model import EventType
from stravinsky_rollback_mcp.core.outcome import BackupCreated, Restored
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent, RollbackService, Scope

Content: TypeAlias = Mapping[str, str]  # of a folder by name; of a file {"": text}, or {} when there is none
State: TypeAlias = Mapping[str, Content]  # by target id
VIEWS = ("a", "b")
KEPT = {"kept.py": "always there\n"}


class Unsynced(Files):
    """Every call is made and counted but those that wait for the disk: nobody pulls the plug here."""

    def fsync(self, handle: int, path: str) -> None:  # noqa: ARG002
        """Counted."""
        self._begin("fsync", path)

    def sync_folder(self, path: str) -> None:
        """Counted."""
        self._begin("fsync", path)

    def sync_file_system(self, path: str) -> None:
        """Counted."""
        self._begin("syncfs", path)


# -- the model ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """A backup: by whom, and what it holds."""

    version: str
    view: str
    state: State


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

    def undo_goal(self, view: str) -> tuple[int, State] | None:
        """The state that undo brings back, with its number."""
        line, live = self.lines[view], self.seen(view)
        if differs(line.here, live):
            return line.states[line.cursor]
        return next((state for state in reversed(line.states[: max(line.cursor, 0)]) if differs(state[1], live)), None)

    def redo_goal(self, view: str) -> tuple[int, State] | None:
        """The state that redo brings again, with its number."""
        line, live = self.lines[view], self.seen(view)
        if differs(line.here, live):
            return None
        return next((state for state in line.states[line.cursor + 1 :] if differs(state[1], live)), None)


# -- the machine ----------------------------------------------------------------------------------------------------

Act: TypeAlias = Callable[[RollbackService, Consent], Awaitable[Restored | BackupCreated]]
names = st.sampled_from(["one.py", "two.py"])
texts = st.sampled_from(["x\n", "y\n", "z\n"])
views = st.sampled_from(VIEWS)
picks = st.integers(0, 30)
deaths = st.integers(1, 110)


class Lives(RuleBasedStateMachine):
    """What people, projects and crashes do."""

    folder: ClassVar[Path]
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
        return self.world.service(files, self.roots[view])

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
        death: int | None = None,
    ) -> None:
        """Do what should bring ``goal`` (None: change nothing), and find the world as the model then has it."""
        model, before = self.model, self.model.seen(view)
        after = before if goal is None else {**before, **goal}
        records = len(self.world.records())
        consent = Consent()
        if goal is not None:
            plan = self.world.run(act(self.services[view], Consent(dry_run=True)))
            assert isinstance(plan, Restored)
            assert (self._disk(), len(self.world.records())) == (model.live, records)
            consent = Consent(accept=plan.security_changes, plan_id=plan.plan_id)
        has_died = False
        try:
            self.world.run(act(self._service(view, death) if death else self.services[view], consent))
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
        new = self.world.records()[records:]
        published = {path.parent.name for path in (self.world.store / "backups").glob("*/manifest.json")}
        made = [
            (record.draft.version, record.draft.state is not None)
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
            assert [is_observed for _, is_observed in made][:1] == ([] if is_there else [True]) or is_there
        if saw:
            model.know(view, before)
        for version, is_observed in made:
            assert version is not None
            if version in published:
                model.backups.append(Stored(version, view, before if is_observed else after))
        if not has_died and after != before:
            assert model.is_held(view, after)

    # -- rules --------------------------------------------------------------------------------------------------

    @initialize(view=views)
    def first(self, view: str) -> None:
        """Most lives begin with a backup."""
        self.back_up(view, is_named=True)

    @rule(scope=st.sampled_from(["user", *VIEWS]), name=names, text=texts | st.none())
    def edit(self, scope: str, name: str, text: str | None) -> None:
        """Somebody writes or deletes a hook."""
        self._write(scope, f"hooks/{name}", text)
        hooks = {other: content for other, content in self.model.live[scope]["hooks"].items() if other != name}
        self.model.live[scope]["hooks"] = hooks if text is None else {**hooks, name: text}

    @rule(scope=st.sampled_from(["user", *VIEWS]), number=st.integers(1, 2) | st.none())
    def edit_settings(self, scope: str, number: int | None) -> None:
        """Somebody writes or deletes settings; nothing in them is less safe."""
        text = None if number is None else f'{{"cleanupPeriodDays": {number}}}\n'
        self._write(scope, "settings.json", text)
        self.model.live[scope]["settings"] = {} if text is None else {"": text}

    @rule(view=views, is_named=st.booleans(), death=st.none() | deaths)
    def back_up(self, view: str, *, is_named: bool, death: int | None = None) -> None:
        """A backup; an unnamed one of what the newest holds already is none."""
        model = self.model
        version = f"v{len(model.backups)}-{len(self.world.records())}" if is_named else None
        own = model.own(view)
        is_new = is_named or not own or own[-1].state != model.seen(view)
        count = len(model.backups)
        self._operate(view, lambda service, _: service.create_backup(PERSON, version=version), None, death=death)
        assert death or len(model.backups) - count == is_new

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
                self.world.run(
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
        self._walk(view, lambda service, consent: service.undo(PERSON, consent=consent), goal, death, "nothing_to_undo")

    @rule(view=views, death=st.none() | deaths)
    def redo(self, view: str, death: int | None = None) -> None:
        """Bring again, if there is something."""
        goal = self.model.redo_goal(view)
        self._walk(view, lambda service, consent: service.redo(PERSON, consent=consent), goal, death, "nothing_to_redo")

    def _walk(self, view: str, act: Act, goal: tuple[int, State] | None, death: int | None, code: str) -> None:
        if goal is None:
            with pytest.raises(RollbackError) as refused:
                self.world.run(act(self.services[view], Consent()))
            assert refused.value.code == code
        else:
            self._operate(view, act, goal[1], number=goal[0], death=death)

    @rule(view=views)
    def look(self, view: str) -> None:
        """What a view reports is what the model expects."""
        live = self.model.seen(view)
        current = self.world.run(self.services[view].list_backups(PERSON, limit=1)).current
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
                self.world.run(request)
            assert refused.value.code is Code.NOT_FOUND
        else:
            plan = self.world.run(request)
            changed = {f"{item.scope}.{item.component}" for item in plan.changes if item.action != "none"}
            assert changed == set(differs(goal[1], self.model.seen(view)))

    def teardown(self) -> None:
        """Everything is as the model has it, and intact."""
        try:
            assert self._disk() == self.model.live
            for view in VIEWS:
                self.look(view)
            verified = self.world.run(self.services["a"].verify_backups(PERSON))
            assert verified.ok
            assert {backup.version for backup in verified.backups} == {item.version for item in self.model.backups}
            assert self.world.run(self.services["a"].verify_audit(PERSON)).chain.intact
        finally:
            self.world.close()
            shutil.rmtree(self.root)


def _run(folder: Path, examples: int, steps: int) -> int:
    Lives.folder, Lives.count = folder, 0
    profile = settings(max_examples=examples, stateful_step_count=steps, deadline=None, print_blob=True)
    run_state_machine_as_test(Lives, settings=profile)
    return Lives.count


def test_random_lives_of_two_projects_agree_with_the_model(tmp_path: Path) -> None:
    """A few dozen lives a day."""
    assert _run(tmp_path, examples=25, steps=10) >= 25


@pytest.mark.long
def test_two_thousand_random_lives_agree_with_the_model(tmp_path: Path) -> None:
    """Enough lives for rare orders of events; the count is printed."""
    count = _run(tmp_path, examples=2_000, steps=6)
    sys.stdout.write(f"{count} random lives agreed with the model\n")
    assert count >= 2_000
