"""An update answers for the faults that it brings, not for those that were there before."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.crash import PERSON, World
from support.tree import build

GUARD = "guard.py"
HOOK = {"type": "command", "command": f"python3 ~/.claude/hooks/{GUARD}"}
SETTINGS = {"hooks": {"PreToolUse": [{"hooks": [HOOK]}]}}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A guard that did not parse before any update began."""
    made = World(tmp_path)
    build(made.home, {".claude": {"settings.json": json.dumps(SETTINGS), "hooks": {GUARD: "def (\n", "other.sh": ""}}})
    yield made
    made.close()


def update(world: World, version: str, name: str, content: str | None) -> tuple[str, bool]:
    """How an update ends that writes one hook, and whether it is told that the guard does not parse."""
    path = world.home / ".claude" / "hooks" / name
    service = world.service()
    world.run(service.begin_update(PERSON, version=version))
    if content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="utf-8")
    finished = world.run(service.finish_update(PERSON, success=True))
    return finished.outcome, any("guard.py does not parse" in finding.message for finding in finished.findings)


def test_a_fault_that_was_there_is_not_the_updates(world: World) -> None:
    """Nor when it moves to another line, or when nothing changes at all; a graver one of the same script is new."""
    assert update(world, "v2", GUARD, "# a line more\n\ndef (\n") == ("verified", True)
    assert update(world, "v3", "other.sh", "") == ("verified", True)
    assert update(world, "v4", GUARD, None) == ("rolled_back", False)  # python3 without its script denies every tool
