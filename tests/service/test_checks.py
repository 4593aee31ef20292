"""What ``check_config`` says of the live configuration and of backups, and what going back asks about locks."""

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.crash import PERSON, World
from support.session import session_in
from support.tree import build, snapshot

from stravinsky_rollback_mcp.core.outcome import Checked
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent

LOCKING = json.dumps(
    {"hooks": {"PreToolUse": [{"hooks": [{"type": "command", "command": "python3 ~/.claude/hooks/gone.py"}]}]}}
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A home in which nothing is wrong, and a backup of it, v1."""
    made = World(tmp_path)
    build(made.home, {".claude": {"settings.json": '{"model": "opus"}', "hooks": {"a.sh": "exit 0\n"}}})
    made.run(made.service().create_backup(PERSON, version="v1"))
    yield made
    made.close()


def check(world: World, version: str | None = None) -> Checked:
    """What a fresh process finds."""
    return world.run(world.service().check_config(PERSON, version=version))


def settings(world: World, content: str) -> None:
    """Somebody writes settings."""
    (world.home / ".claude/settings.json").write_text(content, encoding="utf-8")


def archive(world: World, version: str) -> Path:
    """Where a backup keeps the hooks."""
    return world.store / "backups" / version / "user.hooks.tar.gz"


# --- check_config --------------------------------------------------------------------------------------------------


def test_live_and_each_backup_are_judged_by_themselves(world: World) -> None:
    """A file that Claude Code drops is an error where it lies, and nowhere else."""
    settings(world, "{bad")
    world.run(world.service().create_backup(PERSON, version="v2"))
    before = snapshot(world.root / "live")
    live, first, second = check(world), check(world, "v1"), check(world, "v2")
    assert (first.ok, first.findings, first.summary) == (True, (), "Nothing is wrong with v1.")
    for found in (live, second):
        assert (found.ok, found.integrity) == (False, ())
        assert [(item.check, item.severity, item.path) for item in found.findings] == [
            ("settings_schema", "error", "~/.claude/settings.json")
        ]
    assert "rollback_to" in live.next_step
    assert check(world, "@previous").summary == "Nothing is wrong with v1 (@previous)."
    assert snapshot(world.root / "live") == before, "looking changes nothing"


def test_an_old_state_is_judged_more_gently(world: World) -> None:
    """A hook that Claude Code passes over is an error while somebody writes it, and no news in a backup."""
    settings(world, '{"hooks": {"Stop": [{"hooks": [{"type": "nonsense"}]}]}}')
    world.run(world.service().create_backup(PERSON, version="v2"))
    assert [item.severity for item in check(world).findings] == ["error"]
    assert ([item.severity for item in check(world, "v2").findings], check(world, "v2").ok) == (["warning"], True)


@pytest.mark.parametrize("damage", ["a byte", "cut short", "gone", "manifest"])
def test_what_is_damaged_is_told_and_not_judged(world: World, damage: str) -> None:
    """Contract: ``integrity[]`` says what verification found; a damaged backup is an answer, not a refusal."""
    path = archive(world, "v1") if damage != "manifest" else world.store / "backups/v1/manifest.json"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if damage == "cut short" else content[:-9] + b"!" + content[-8:])
    found = check(world, "v1")
    assert (found.ok, bool(found.integrity), found.findings) == (False, True, ())
    assert found.summary == "v1 is damaged, so what it holds was not judged."
    assert "list_backups" in found.next_step
    live = check(world)
    assert live.ok
    assert [(item.check, item.severity) for item in live.findings] == [("previous_backup", "warning")]


def test_a_backup_that_does_not_exist_is_refused(world: World) -> None:
    """Nothing is known of it, so nothing is said of it."""
    with pytest.raises(RollbackError) as refused:
        check(world, "v9")
    assert refused.value.code is Code.NOT_FOUND


def test_another_projects_backup_is_judged_for_what_can_come_back_here(world: World) -> None:
    """Its user scope; its own files are not judged among this project's."""
    other = world.root / "live" / "other"
    build(other, {".claude": {"settings.json": "{bad"}})
    world.run(world.service(project=other).create_backup(PERSON, version="theirs"))
    assert check(world, "theirs").findings == ()


def test_a_file_that_somebody_holds_is_waited_for_and_told(world: World) -> None:
    """Advisory locks keep nobody out: a warning, after the time that we wait for our own (one second here)."""
    with (world.home / ".claude/hooks/a.sh").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = check(world)
    assert found.ok
    assert [(item.check, item.severity, item.path) for item in found.findings] == [
        ("file_locks", "warning", "~/.claude/hooks/a.sh")
    ]
    assert check(world).findings == ()


# --- consent -------------------------------------------------------------------------------------------------------


def refusal(world: World, consent: Consent) -> RollbackError:
    """What going back to v1 is refused with."""
    with pytest.raises(RollbackError) as refused:
        world.run(world.service().rollback_to(PERSON, version="v1", consent=consent))
    return refused.value


def test_row_56_what_would_lock_the_session_is_asked(world: World) -> None:
    """Contract, Consent: a hook whose failure denies every tool, unless it locks already."""
    settings(world, LOCKING)
    world.run(world.service().create_backup(PERSON, version="locking"))
    settings(world, "{}")
    service = world.service()
    preview = world.run(service.rollback_to(PERSON, version="locking", consent=Consent(dry_run=True)))
    (line,) = [line for line in preview.security_changes if "denies" in line]
    assert line.startswith("~/.claude/settings.json: PreToolUse hook: ~/.claude/hooks/gone.py is not there")
    with pytest.raises(RollbackError) as refused:
        world.run(service.rollback_to(PERSON, version="locking", consent=Consent()))
    assert (refused.value.code, refused.value.lines) == (Code.CONFIRM_REQUIRED, preview.security_changes)
    accepted = Consent(accept=preview.security_changes, plan_id=preview.plan_id)
    assert world.run(service.rollback_to(PERSON, version="locking", consent=accepted)).applied
    (world.home / ".claude/hooks/a.sh").write_text("exit 1\n", encoding="utf-8")
    again = world.run(service.rollback_to(PERSON, version="locking", consent=Consent()))
    assert (again.applied, again.security_changes) == (True, ())


def test_a_person_may_have_every_restore_asked(world: World) -> None:
    """``safety.require_manual_confirmation_for_rollback``: the line is one more to accept, in preview and refusal."""
    (world.store / "config.json").write_text(
        json.dumps({"version": "1.0", "safety": {"require_manual_confirmation_for_rollback": True}}), encoding="utf-8"
    )
    (world.home / ".claude/hooks/a.sh").write_text("exit 1\n", encoding="utf-8")
    refused = refusal(world, Consent())
    assert refused.code is Code.CONFIRM_REQUIRED
    (line,) = refused.lines
    assert "require_manual_confirmation_for_rollback" in line
    with session_in(world.home, world.project) as session:
        assert session.code("undo") == "confirm_required"
        assert session.code("rollback_to", version="v1", accept=["something else"]) == "confirm_required"
        assert session.call("rollback_to", version="v1", accept=[line])["applied"]
        assert session.call("rollback_to", version="v1")["already_at_target"], "nothing to do asks nobody"
