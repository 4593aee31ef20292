"""What the checks are given: every script that settings name, as it would be run, and the health of the store."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.crash import PERSON, World
from support.tree import File, Spec, build

from stravinsky_rollback_mcp.core.checks.evidence import Evidence, ScriptState
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.service import evidence
from stravinsky_rollback_mcp.service.backup import keep_rescued
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.look import gather
from stravinsky_rollback_mcp.service.picture import live_picture

HOOKS: Spec = {
    "plain.sh": File("exit 0\n", 0o755),
    "env.py": File("#!/usr/bin/env -S python3 -u\nimport json\n", 0o755),
    "odd": File("#!/opt/strange/lang\n", 0o755),
    "broken.sh": File("#!/bin/bash\nif\n", 0o644),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Settings that name scripts in every way."""
    made = World(tmp_path)
    names = [f"~/.claude/hooks/{name}" for name in map(str, HOOKS)]
    commands = [*names, "python3 ~/.claude/hooks/plain.sh", "~/.claude/hooks", "~/.claude/hooks/gone", "echo 'open"]
    handlers = [{"type": "command", "command": command} for command in commands]
    settings = json.dumps({"hooks": {"Stop": [{"hooks": handlers}]}})
    build(made.home, {".claude": {"hooks": HOOKS, "settings.json": settings}})
    build(made.project, {".claude": {"settings.json": "{bad"}})
    yield made
    made.close()


@pytest.fixture
def desk(world: World) -> Desk:
    """Where a use case works."""
    return Desk(world.config(), Files(), keep_rescued)


def configuration(desk: Desk) -> Evidence:
    """What is live."""
    return evidence.configuration(desk, live_picture(desk, gather(desk)), is_restore=False)


def test_each_script_is_parsed_as_it_would_be_run(world: World, desk: Desk) -> None:
    """By the program that the command names, else by its first line; by both where both are used."""
    found = configuration(desk)
    scripts = {path.removeprefix(f"{world.home}/.claude/"): script for path, script in found.scripts.items()}
    assert {name: script.shebang for name, script in scripts.items() if name.startswith("hooks/")} == {
        "hooks/plain.sh": "",
        "hooks/env.py": "python",
        "hooks/odd": "?",
        "hooks/broken.sh": "bash",
        "hooks/gone": "",
    }
    judged = {name: {key: said.is_good for key, said in script.syntax.items()} for name, script in scripts.items()}
    assert judged["hooks/plain.sh"] == {"sh": True, "python": False}
    assert judged["hooks/env.py"] == {"python": True}
    assert judged["hooks/broken.sh"] == {"bash": False}
    assert judged["hooks/odd"] == {}
    assert scripts["hooks/gone"].state is ScriptState.ABSENT
    assert scripts["hooks"].state is ScriptState.OTHER
    assert (scripts["hooks/broken.sh"].is_readable, scripts["hooks/broken.sh"].is_executable) == (True, False)
    assert [said.is_good for said in found.shell_lines.values()] == [False]


def test_settings_that_are_not_loaded_name_nothing(desk: Desk) -> None:
    """They are there all the same, the person's first, for the check that says why."""
    found = configuration(desk)
    assert [(file.component, file.content) for file in found.settings][-1] == ("settings", b"{bad")
    assert [str(file.scope) for file in found.settings] == ["user", "project"]


def test_a_damaged_newest_backup_is_always_in_the_sample(world: World, desk: Desk) -> None:
    """However small the share is that is read back at random."""
    for version in ("v1", "v2"):
        (world.home / ".claude/hooks/plain.sh").write_text(f"# {version}\n", encoding="utf-8")
        world.run(world.service().create_backup(PERSON, version=version))
    assert [(item.version, item.problems) for item in evidence.sample_of_backups(desk, gather(desk))] == [("v2", ())]
    archive = world.store / "backups/v2/user.hooks.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-1])
    (health,) = evidence.sample_of_backups(desk, gather(desk))
    assert health.version == "v2"
    assert health.problems
