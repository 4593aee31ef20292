"""Commands, agents and skills are judged where they lie: live, behind links, and in a backup."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.config import realistic
from support.crash import PERSON, World
from support.tree import Link, build

BROKEN = "---\ndescription: 'x\n---\n"
SKILL = "---\nname: x\ndescription: d\n---\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Both scopes as people have them."""
    made = World(tmp_path)
    realistic(made.home, made.project)
    yield made
    made.close()


def judged(world: World, version: str | None = None) -> dict[str, str]:
    """The severity of what the check says, by path."""
    found = world.run(world.service().check_config(PERSON, version=version)).findings
    return {item.path: str(item.severity) for item in found if item.check == "commands_validity"}


def test_what_people_have_is_fine(world: World) -> None:
    """No false alarm: nested commands, names with spaces, an empty folder."""
    assert judged(world) == {}


def test_live_and_stored_are_judged_alike(world: World) -> None:
    """What a backup holds is judged as it would be live; mended since or not."""
    build(
        world.home / ".claude",
        {
            "commands": {"broken.md": BROKEN, "huge.md": "x" * ((1 << 20) + 1)},
            "agents": {"nameless.md": "---\ndescription: d\n---\n"},
            "skills": {"good": {"SKILL.md": SKILL}, "bad": {"skill.md": SKILL}},
        },
    )
    expected = {
        "~/.claude/agents/nameless.md": "warning",
        "~/.claude/commands/broken.md": "warning",
        "~/.claude/commands/huge.md": "info",
        "~/.claude/skills/bad/skill.md": "warning",
    }
    assert judged(world) == expected
    world.run(world.service().create_backup(PERSON, version="v1"))
    for path in ("commands/broken.md", "commands/huge.md", "agents/nameless.md", "skills/bad/skill.md"):
        (world.home / ".claude" / path).unlink()
    assert judged(world) == {}
    assert judged(world, "v1") == expected


def test_links_are_followed_to_the_file_that_matters(world: World) -> None:
    """Dotfile managers link single skills and commands from elsewhere."""
    build(world.home / "dotfiles", {"good": {"SKILL.md": SKILL}, "bad": {"notes.md": ""}, "broken.md": BROKEN})
    build(
        world.home / ".claude",
        {
            "skills": {name: Link(f"../../dotfiles/{name}") for name in ("good", "bad")},
            "commands": {"linked.md": Link("../../dotfiles/broken.md"), "gone.md": Link("nowhere")},
        },
    )
    assert judged(world) == {
        "~/.claude/commands/gone.md": "warning",
        "~/.claude/commands/linked.md": "warning",
        "~/.claude/skills/bad": "warning",
    }
