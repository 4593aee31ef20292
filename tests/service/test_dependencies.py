"""What hooks lack on a machine is told of what is live, of backups, and at the end of an update."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.config import realistic
from support.crash import PERSON, World
from support.tree import Link, Spec, build

from stravinsky_rollback_mcp.core.model import Finding


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Both scopes as people have them."""
    made = World(tmp_path)
    realistic(made.home, made.project)
    yield made
    made.close()


def told(found: Sequence[Finding]) -> list[str]:
    """What the check says among others, as messages."""
    assert all(item.severity != "error" for item in found if item.check == "dependencies")
    return [item.message for item in found if item.check == "dependencies"]


def lacks(world: World, version: str | None = None) -> list[str]:
    """What it says of what is live, or of a backup."""
    return told(world.run(world.service().check_config(PERSON, version=version)).findings)


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
    expected = [
        f"SessionStart hook: ~/.claude/hooks/dep/x.py imports absent, which Python does not find, {so}",
        f"SessionStart hook: its program was not found, {so}",
    ]
    assert lacks(world) == expected
    world.run(world.service().create_backup(PERSON, version="v1"))
    (world.home / ".claude/hooks/dep/beside.py").unlink()
    assert "imports absent, beside, which" in lacks(world)[0]
    assert lacks(world, "v1") == expected


def test_what_people_have_is_fine(world: World) -> None:
    """No false alarm: interpreters by name and by first line."""
    assert lacks(world) == []


def test_an_update_that_brings_a_hook_without_its_program_is_verified_and_warned_of(world: World) -> None:
    """The program may come later; the update is not taken back for it."""
    world.run(world.service().begin_update(PERSON, version="v2"))
    add_hooks(world, "no-such-program --serve")
    done = world.run(world.service().finish_update(PERSON, success=True))
    assert done.outcome == "verified"
    assert told(done.findings) == ["SessionStart hook: its program was not found, so it cannot do its work."]
