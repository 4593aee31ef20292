"""Targets that links lead to one place are one target: its content is kept once, and no link is ever replaced."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.crash import PERSON, World
from support.tree import Link, build, snapshot

from stravinsky_rollback_mcp.core.model import EventType, Scope, TargetState
from stravinsky_rollback_mcp.core.outcome import Restored
from stravinsky_rollback_mcp.service import Consent

AGREED = Consent(is_given=True)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A project whose two memory files are one, and a person whose hooks are the project's."""
    made = World(tmp_path)
    build(made.home, {".claude": {"hooks": Link("../../project/.claude/hooks")}})
    build(
        made.project,
        {"CLAUDE.md": "one\n", ".claude": {"CLAUDE.md": Link("../CLAUDE.md"), "hooks": {"a.sh": "one\n"}}},
    )
    yield made
    made.close()


def back_up(world: World, version: str) -> None:
    """A named backup."""
    world.run(world.service().create_backup(PERSON, version=version))


def write(world: World, content: str) -> None:
    """Somebody edits both."""
    (world.project / "CLAUDE.md").write_text(content, encoding="utf-8")
    (world.project / ".claude/hooks/a.sh").write_text(content, encoding="utf-8")


def rollback(world: World, *only: str) -> Restored:
    """Back to the first backup."""
    return world.run(world.service().rollback_to(PERSON, version="v1", only=only, consent=AGREED))


def changed(done: Restored) -> list[str]:
    """What was changed."""
    return [f"{change.scope}.{change.component}" for change in done.changes if change.action != "none"]


def live(world: World) -> list[object]:
    """Both roots as they are, links as links."""
    return [snapshot(world.home / ".claude"), snapshot(world.project)]


def test_one_place_is_one_target_through_rollback_undo_and_redo(world: World) -> None:
    """The links stay, nothing is told twice, and what we did ourselves is never drift."""
    one = live(world)
    back_up(world, "v1")
    write(world, "two\n")
    two = live(world)
    done = rollback(world)
    assert changed(done) == ["user.hooks", "project.root_memory"]
    assert (live(world), done.notices, done.warnings) == (one, (), ())
    service = world.service()
    assert changed(world.run(service.undo(PERSON, consent=AGREED))) == ["user.hooks", "project.root_memory"]
    assert live(world) == two
    world.run(service.redo(PERSON, consent=AGREED))
    assert live(world) == one
    status = world.run(service.status(PERSON))
    assert (status.current.version, status.current.drift) == ("v1", ())
    drift = [record for record in world.records() if record.draft.event_type is EventType.DRIFT_DETECTED]
    assert len(drift) == 1  # the edit, once


def test_a_backup_holds_it_once_and_says_nothing_is_missing(world: World) -> None:
    """The other name is not recorded, so that no restore can set one against the other."""
    made = world.run(world.service().create_backup(PERSON, version="v1"))
    assert (made.warnings, made.notices) == ((), ())
    targets = world.run(world.service().show_backup(PERSON, version="v1")).backups[0].targets
    assert targets is not None
    states = {f"{target.scope}.{target.component}": target.state for target in targets}
    assert states["user.hooks"] == states["project.root_memory"] == TargetState.PRESENT
    assert states["project.hooks"] == states["project.memory"] == TargetState.NOT_RECORDED


def test_either_name_means_it(world: World) -> None:
    """Whichever of the two a person types, to look, to list or to bring back."""
    back_up(world, "v1")
    write(world, "two\n")
    service = world.service()
    for path, component in (
        (f"{world.project}/.claude/CLAUDE.md", "root_memory"),
        (f"{world.project}/CLAUDE.md", "root_memory"),
        (f"{world.project}/.claude/hooks/a.sh", "hooks"),
        ("~/.claude/hooks/a.sh", "hooks"),
        (".claude/CLAUDE.md", "root_memory"),
    ):
        compared = world.run(service.compare(PERSON, version="v1", path=path))
        assert [change.component for change in compared.changes] == [component], path
        assert compared.not_compared == ()
        assert [item.version for item in world.run(service.list_backups(PERSON, path=path)).backups] == ["v1"]
        preview = service.rollback_to(PERSON, version="v1", only=(path,), consent=Consent(dry_run=True))
        assert [name.partition(".")[2] for name in changed(world.run(preview))] == [component]
    assert changed(rollback(world, ".claude/CLAUDE.md")) == ["project.root_memory"]


def test_what_is_the_persons_does_not_come_back_with_the_project(world: World) -> None:
    """Other projects use it too; so that nobody wonders, it is said."""
    back_up(world, "v1")
    write(world, "two\n")
    service = world.service()
    done = world.run(service.rollback_to(PERSON, version="v1", scope=Scope.PROJECT, consent=AGREED))
    assert changed(done) == ["project.root_memory"]
    assert [notice for notice in done.notices if "belongs to the user scope" in notice]
    assert (world.project / ".claude/hooks/a.sh").read_text(encoding="utf-8") == "two\n"


def test_a_file_that_became_a_link_stays_one(world: World) -> None:
    """What the backup has of it would go into the other file; that is told instead, and that file comes back."""
    memory = world.project / ".claude/CLAUDE.md"
    memory.unlink()
    memory.write_text("its own\n", encoding="utf-8")
    back_up(world, "v1")
    memory.unlink()
    memory.symlink_to("../CLAUDE.md")
    write(world, "two\n")
    assert rollback(world, "~/.claude/hooks").notices == (), "what is not asked for is not told"
    done = rollback(world)
    assert changed(done) == ["project.root_memory"]
    assert (world.project / "CLAUDE.md").read_text(encoding="utf-8") == "one\n"
    assert memory.is_symlink()
    assert any("its own" not in notice and "does not come back" in notice for notice in done.notices)


def test_a_guard_that_is_named_by_the_other_path_stays_up(world: World) -> None:
    """Settings name the script by the project's path, the target is the person's: it is still known to be a script."""
    back_up(world, "v1")
    (world.project / ".claude/hooks/guard.sh").write_text("exit 0\n", encoding="utf-8")
    hook = '{"type": "command", "command": "bash $CLAUDE_PROJECT_DIR/.claude/hooks/guard.sh"}'
    settings = '{"hooks": {"PreToolUse": [{"hooks": [' + hook + "]}]}}"
    (world.home / ".claude/settings.json").write_text(settings, encoding="utf-8")
    done = rollback(world, "~/.claude/hooks")
    assert any("guard.sh stays" in warning for warning in done.warnings)
    assert (world.project / ".claude/hooks/guard.sh").exists()
    assert world.run(world.service().check_config(PERSON)).findings == ()
