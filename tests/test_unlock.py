"""A hook that cannot do its work denies every tool: the terminal finds it and lets the session go on (row 105)."""

import json
from typing import Any

import pytest
from support.config import realistic
from support.crash import PERSON, World
from support.host import TERMINAL, as_ordinary_user, ended
from support.tree import Snapshot, snapshot

from stravinsky_rollback_mcp.core.model import EventStatus, EventType
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent

LOOK, APPLY = Consent(dry_run=True), Consent(is_given=True)


@pytest.fixture
def world(world: World) -> World:
    """Both scopes as people have them, in backup v1."""
    realistic(world.home, world.project)
    world.run(world.service().create_backup(PERSON, version="v1"))
    return world


def live(world: World) -> tuple[Snapshot, Snapshot]:
    """Both roots, byte for byte."""
    return snapshot(world.home / ".claude"), snapshot(world.project / ".claude")


def locks(world: World) -> list[str]:
    """Where the check finds hooks that deny everything."""
    found = world.run(world.service().check_config(PERSON)).findings
    return [finding.path for finding in found if "which denies" in finding.message]


def add_guard(world: World, command: str, *, before: int = 0) -> dict[str, Any]:
    """Put a hook on every tool into the user's settings; returns what they were."""
    path = world.home / ".claude" / "settings.json"
    settings = json.loads(path.read_bytes())
    was = json.loads(path.read_bytes())
    group = {"matcher": "*", "hooks": [{"type": "command", "command": command}]}
    settings["hooks"]["PreToolUse"].insert(before, group)
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    return was


@pytest.mark.parametrize("content", [None, "if then fi (\n"])
def test_row_105_a_missing_or_broken_script_comes_back_from_the_newest_backup_in_which_it_works(
    world: World, content: str | None
) -> None:
    """Newer backups that hold the broken state are passed over, and nothing else is touched."""
    hooks = world.home / ".claude" / "hooks"
    intact = live(world)
    script = hooks / ("guard_bash.py" if content is None else "notify.sh")
    script.unlink() if content is None else script.write_text(content, encoding="utf-8")
    world.run(world.service().create_backup(PERSON, version="v2"))
    assert locks(world) == ["~/.claude/settings.json"]
    (hooks / "mine.py").write_text("kept\n", encoding="utf-8")
    locked = live(world)
    plan = world.run(world.service().unlock(PERSON, consent=LOOK))
    assert live(world) == locked
    assert plan.notices[0] == f"~/.claude/hooks/{script.name} comes back from v1: it works there."
    assert world.run(world.service().unlock(PERSON, consent=APPLY)).applied
    assert locks(world) == []
    (hooks / "mine.py").unlink()
    assert live(world) == intact
    attempts = [record.draft for record in world.records() if record.draft.event_type is EventType.RECOVERY_ATTEMPT]
    assert attempts[-1].status is EventStatus.SUCCESS


def test_without_a_working_script_that_hook_alone_is_lifted(world: World) -> None:
    """Asked about as any guard that goes; every other byte of the settings stays, and undo brings it again."""
    settings = world.home / ".claude" / "settings.json"
    was = add_guard(world, "python3 ~/.claude/hooks/never_there.py")
    locked = settings.read_bytes()
    plan = world.run(world.service().unlock(PERSON, consent=LOOK))
    assert any("never_there.py" in line for line in plan.security_changes)
    with pytest.raises(RollbackError) as refused:
        world.run(world.service().unlock(PERSON, consent=Consent()))
    assert refused.value.code is Code.CONFIRM_REQUIRED
    world.run(world.service().unlock(PERSON, consent=APPLY))
    assert json.loads(settings.read_bytes()) == was
    assert locks(world) == []
    lines = locked.splitlines()
    assert [line for line in settings.read_bytes().splitlines() if line not in lines] == []
    world.run(world.service().undo(PERSON, consent=APPLY))
    assert settings.read_bytes() == locked


def test_a_hook_beside_others_goes_by_itself(world: World) -> None:
    """Of a group only the handler that denies; a group that would be empty goes whole, or the file would not load."""
    path = world.home / ".claude" / "settings.json"
    settings = json.loads(path.read_bytes())
    broken = {"type": "command", "command": "python3 ~/.claude/hooks/never_there.py"}
    settings["hooks"]["PreToolUse"][0]["hooks"].insert(0, broken)
    settings["hooks"]["PreToolUse"].append({"matcher": "Write", "hooks": [broken, broken]})
    path.write_text(json.dumps(settings), encoding="utf-8")
    world.run(world.service().unlock(PERSON, consent=APPLY))
    left = json.loads(path.read_bytes())["hooks"]["PreToolUse"]
    assert [[hook["command"] for hook in group["hooks"]] for group in left] == [
        ["python3 ~/.claude/hooks/guard_bash.py"],
        ["~/.claude/hooks/guard_secrets.py"],
    ]


def test_both_ways_out_are_one_step(world: World) -> None:
    """One script from a backup and one hook lifted: all or nothing, and one undo."""
    add_guard(world, "python3 ~/.claude/hooks/never_there.py", before=1)
    (world.home / ".claude" / "hooks" / "guard_bash.py").unlink()
    locked = live(world)
    done = world.run(world.service().unlock(PERSON, consent=APPLY))
    assert {change.path for change in done.changes if change.action != "none"} == {
        "~/.claude/hooks",
        "~/.claude/settings.json",
    }
    assert locks(world) == []
    world.run(world.service().undo(PERSON, consent=APPLY))
    assert live(world) == locked


def test_where_nothing_locks_nothing_is_done(world: World) -> None:
    """A hook that denies on purpose, and one that is merely off, are not for this command."""
    (world.home / ".claude" / "hooks" / "guard_secrets.py").unlink()  # run by itself it ends with 127: off
    before = live(world)
    with pytest.raises(RollbackError) as refused:
        world.run(world.service().unlock(PERSON, consent=APPLY))
    assert refused.value.code is Code.NOT_FOUND
    assert live(world) == before


def test_of_a_command_that_stands_in_many_places_only_what_denies_goes(world: World) -> None:
    """The same broken command does no harm where nothing waits for its verdict; every other byte of the file stays."""
    path = world.home / ".claude" / "settings.json"
    settings = json.loads(path.read_bytes())
    broken = {"type": "command", "command": "python3 ~/.claude/hooks/never_there.py"}
    settings["hooks"]["PostToolUse"] = [{"matcher": "*", "hooks": [broken]}]
    settings["hooks"]["PreToolUse"].insert(1, {"matcher": "*", "hooks": [broken | {"async": True}, broken]})
    path.write_text(json.dumps(settings, indent=1) + "\n\n", encoding="utf-8")
    del settings["hooks"]["PreToolUse"][1]["hooks"][1]
    other = snapshot(world.project)
    world.run(world.service().unlock(PERSON, consent=APPLY))
    assert path.read_text(encoding="utf-8") == json.dumps(settings, indent=1) + "\n\n"
    assert snapshot(world.project) == other


def test_a_wrong_bit_locks_nothing_and_is_left_alone(world: World) -> None:
    """A script that is run by itself and may not be ends with 126, which denies nothing; its guard is merely off."""
    hooks = world.home / ".claude" / "hooks"
    (hooks / "guard_secrets.py").chmod(0o644)
    with pytest.raises(RollbackError) as refused:
        world.run(world.service().unlock(PERSON, consent=APPLY))
    assert refused.value.code is Code.NOT_FOUND
    found = world.run(world.service().check_config(PERSON)).findings
    assert any("guard_secrets.py is not executable" in finding.message for finding in found)
    (hooks / "guard_bash.py").unlink()
    plan = world.run(world.service().unlock(PERSON, consent=LOOK))
    assert [notice for notice in plan.notices if "guard_secrets" in notice] == []
    world.run(world.service().unlock(PERSON, consent=APPLY))
    assert (hooks / "guard_secrets.py").stat().st_mode & 0o777 == 0o644
    assert (hooks / "guard_bash.py").stat().st_mode & 0o777 == 0o755


def test_a_script_that_nobody_may_read_is_no_reason_to_stay_locked(world: World) -> None:
    """As one whom permissions concern: its folder cannot be looked at, so its hook is lifted and nothing else."""
    script = world.home / ".claude" / "hooks" / "guard_bash.py"
    settings = world.home / ".claude" / "settings.json"
    wanted = json.loads(settings.read_bytes())
    del wanted["hooks"]["PreToolUse"][0]
    script.chmod(0)
    locked = live(world)
    told = ended(as_ordinary_user(*TERMINAL, "unlock", "--yes", "--json"), world.home, world.project)
    if told.returncode == 77:
        pytest.skip("root cannot become ordinary here")
    assert told.returncode == 0, told.stdout
    answer = json.loads(told.stdout)
    assert "guard_bash.py cannot be read: Permission denied. Mend that instead to keep it." in answer["notices"][0]
    assert json.loads(settings.read_bytes()) == wanted
    settings.write_bytes(locked[0][b"settings.json"][2])
    assert live(world) == locked
