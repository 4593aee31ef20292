"""What each way of going back says of the change that it is."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.crash import PERSON, World
from support.tree import build

from stravinsky_rollback_mcp.core.plan import Change
from stravinsky_rollback_mcp.service import Consent

OLD: dict[str, object] = {"model": "opus", "hooks": {"Stop": []}, "enabledPlugins": {"a@b": True}}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A home with settings and memory, and a backup of them, v1."""
    made = World(tmp_path)
    build(made.home, {".claude": {"settings.json": json.dumps(OLD), "CLAUDE.md": "one\n"}})
    made.run(made.service().create_backup(PERSON, version="v1"))
    yield made
    made.close()


def edit(world: World, **settings: object) -> None:
    """Somebody writes settings."""
    (world.home / ".claude/settings.json").write_text(json.dumps({**OLD, **settings}), encoding="utf-8")


def effect(changes: tuple[Change, ...], component: str = "settings") -> str:
    """When the change of a target takes effect."""
    return next(change.takes_effect for change in changes if change.component == component)


def test_every_way_back_says_when_settings_take_effect(world: World) -> None:
    """By the slowest of the keys that change: rollback, undo, redo, previewed and done, and both forms of compare."""
    expected = "new_session"
    edit(world, model="x", hooks={})
    service = world.service()
    world.run(service.create_backup(PERSON, version="v2"))
    assert effect(world.run(service.compare(PERSON, version="v1")).changes) == expected
    assert effect(world.run(service.compare(PERSON, version="v2", other="v1")).changes) == expected
    for how in (Consent(dry_run=True), Consent(is_given=True)):
        done = world.run(service.rollback_to(PERSON, version="v1", consent=how))
        assert (effect(done.changes), done.applied) == (expected, not how.dry_run)
    for how in (Consent(dry_run=True), Consent(is_given=True)):
        assert effect(world.run(service.undo(PERSON, consent=how)).changes) == expected
    for how in (Consent(dry_run=True), Consent(is_given=True)):
        assert effect(world.run(service.redo(PERSON, consent=how)).changes) == expected


def test_one_key_that_comes_back_says_when_by_itself(world: World) -> None:
    """The other keys stay as they are live, so they do not count."""
    edit(world, model="x", hooks={})
    only = ("~/.claude/settings.json#/hooks",)
    done = world.run(world.service().rollback_to(PERSON, version="v1", only=only, consent=Consent(is_given=True)))
    assert effect(done.changes) == "now"
    assert done.next_step == "Look at it in Claude Code: /hooks. `undo` takes this back."


def test_an_update_that_is_taken_back_says_when_that_holds(world: World) -> None:
    """The failed update's settings may have been read already."""
    service = world.service()
    world.run(service.begin_update(PERSON, version="v2"))
    edit(world, model="x")
    finished = world.run(service.finish_update(PERSON, success=False, error="it failed"))
    assert finished.rollback is not None
    assert effect(finished.rollback.changes) == "new_session"


def test_what_was_done_names_where_to_look(world: World) -> None:
    """One command for each kind of thing that changed, and none for a preview."""
    edit(world, hooks={}, model="x")
    (world.home / ".claude/CLAUDE.md").write_text("two\n", encoding="utf-8")
    service = world.service()
    preview = world.run(service.undo(PERSON, consent=Consent(dry_run=True)))
    assert "/hooks" not in preview.next_step
    done = world.run(service.undo(PERSON, consent=Consent(is_given=True)))
    assert "/hooks; /memory, /model in a new session" in done.next_step
    assert effect(done.changes, "memory") == "new_session"
