"""`check_config` judges files where they lie: live, behind links, and in a backup; and what is lacking for them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.config import realistic
from support.crash import PERSON, World
from support.tree import Link, Spec, build

BROKEN = "---\ndescription: 'x\n---\n"
SKILL = "---\nname: x\ndescription: d\n---\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Both scopes as people have them."""
    memory = "/dev/shm"
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        made = World(Path(folder))
        realistic(made.home, made.project)
        yield made
        made.close()


def judged(world: World, version: str | None = None) -> dict[str, str]:
    """The severity of what the check says, by path."""
    found = world.run(world.service().check_config(PERSON, version=version)).findings
    return {item.path: str(item.severity) for item in found if item.check == "commands_validity"}


def test_what_people_have_is_fine(world: World) -> None:
    """No false alarm: nested commands, names with spaces, an empty folder, interpreters by name and first line."""
    assert judged(world) == {}
    assert lacks(world) == []


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


def lacks(world: World, version: str | None = None) -> list[str]:
    """What the check says, as messages."""
    found = world.run(world.service().check_config(PERSON, version=version)).findings
    assert all(item.severity != "error" for item in found if item.check == "dependencies")
    return [item.message for item in found if item.check == "dependencies"]


def add_hooks(world: World, *commands: str) -> None:
    """Put hooks into the user's settings."""
    path = world.home / ".claude" / "settings.json"
    settings = json.loads(path.read_bytes())
    handlers = [{"type": "command", "command": command} for command in commands]
    settings["hooks"]["SessionStart"].append({"hooks": handlers})
    path.write_text(json.dumps(settings), encoding="utf-8")


def test_what_a_machine_lacks_is_told(world: World) -> None:
    """Modules beside the script and of the environment are found, in a backup those beside it there."""
    environment: Spec = {
        "pyvenv.cfg": "",
        "bin": {"python": Link("../../base/bin/python3.12")},
        "lib": {"python3.12": {"site-packages": {"rich.py": ""}}},
    }
    base: Spec = {"bin": {"python3.12": "#!/bin/false\n"}, "lib": {"python3.12": {"os.py": ""}}}
    scripts: Spec = {"x.py": "import json, rich, beside, absent\n", "beside.py": ""}
    build(world.home, {"venv": environment, "base": base, ".claude": {"hooks": {"dep": scripts}}})
    (world.home / "base/bin/python3.12").chmod(0o755)
    add_hooks(world, "~/venv/bin/python ~/.claude/hooks/dep/x.py", "no-such-program --serve")
    so = "so it cannot do its work."
    told = [
        f"SessionStart hook: ~/.claude/hooks/dep/x.py imports absent, which Python does not find, {so}",
        f"SessionStart hook: its program was not found, {so}",
    ]
    assert lacks(world) == told
    world.run(world.service().create_backup(PERSON, version="v1"))
    (world.home / ".claude/hooks/dep/beside.py").unlink()
    assert "imports absent, beside, which" in lacks(world)[0]
    assert lacks(world, "v1") == told
