"""The rows of history's table at a terminal: what undo takes back, what undo again takes back, what redo brings."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from support.tree import Snapshot, build, snapshot

Run = Callable[..., Result]


class Person:
    """Somebody who edits files and types commands."""

    def __init__(self, run: Run, roots: tuple[Path, Path]) -> None:
        self._run = run
        self.user, self.project = roots

    def state(self) -> tuple[Snapshot, Snapshot]:
        """Everything there is, byte for byte."""
        return snapshot(self.user), snapshot(self.project)

    def edit(self, name: str, content: str) -> tuple[Snapshot, Snapshot]:
        """Change a file of the person's; returns what is there then."""
        (self.user / name).write_text(content, encoding="utf-8")
        return self.state()

    def type(self, *words: str, status: int = 0) -> dict[str, Any]:
        """A command that does what it should, and its answer."""
        result = self._run(*words, "--json")
        assert result.exit_code == status, result.output
        return json.loads(result.stdout)

    def refused(self, *words: str) -> dict[str, Any]:
        """A command that is refused, and why."""
        result = self._run(*words, "--json")
        assert result.exit_code == 1, result.output
        return json.loads(result.stdout)["error"]


@pytest.fixture
def person(run: Run, configured: tuple[Path, Path]) -> Person:
    """A person with a configuration as people have it."""
    return Person(run, configured)


def test_story_1_an_edit_after_a_backup(person: Person) -> None:
    """Backup v1, edit | back to v1 | nothing further | the edit returns."""
    person.type("backup", "create", "v1")
    v1 = person.state()
    edited = person.edit("hooks/guard_bash.py", "edited")
    done = person.type("undo", "--yes")
    assert (person.state(), done["undone"]["operation"], done["to_version"]) == (v1, "edit", "v1")
    assert "Nothing further could be undone then." in done["summary"]
    assert person.refused("undo", "--yes")["code"] == "nothing_to_undo"
    person.type("redo", "--yes")
    assert person.state() == edited


def test_story_2_a_rollback_after_edits_that_were_backed_up(person: Person) -> None:
    """Backup v1, edit, backup v2, edit, rollback to v1 | the second edit | v2 | the second edit again."""
    person.type("backup", "create", "v1")
    v1 = person.state()
    v2 = person.edit("hooks/guard_bash.py", "first edit")
    person.type("backup", "create", "v2")
    second = person.edit("commands/review.md", "second edit")
    person.type("rollback", "to", "v1", "--yes")
    assert person.state() == v1
    done = person.type("undo", "--yes")
    assert (person.state(), done["undone"]["operation"]) == (second, "manual_rollback")
    assert "The next undo would take back the edit of" in done["summary"]
    person.type("undo", "--yes")
    assert person.state() == v2
    person.type("redo", "--yes")
    assert person.state() == second


def test_story_3_an_edit_after_a_rollback(person: Person) -> None:
    """Rollback to v1, then an edit | the edit is taken back | the rollback is taken back | v1."""
    person.type("backup", "create", "v1")
    v1 = person.state()
    before = person.edit("hooks/notify.sh", "before")
    person.type("rollback", "to", "v1", "--yes")
    person.edit("commands/review.md", "after")
    person.type("undo", "--yes")
    assert person.state() == v1
    person.type("undo", "--yes")
    assert person.state() == before
    person.type("redo", "--yes")
    assert person.state() == v1


def test_story_4_an_edit_after_a_rollback_of_one_file(person: Person) -> None:
    """Rollback of one file, then an edit elsewhere | the edit | the file as before | the file as in v1."""
    person.type("backup", "create", "v1")
    person.edit("hooks/notify.sh", "broken")
    before = person.edit("hooks/log_tools.py", "kept")
    person.type("rollback", "to", "v1", "--only", "hooks/notify.sh", "--yes")
    restored = person.state()
    assert restored != before
    person.edit("commands/review.md", "elsewhere")
    person.type("undo", "--yes")
    assert person.state() == restored
    person.type("undo", "--yes")
    assert person.state() == before
    person.type("redo", "--yes")
    assert person.state() == restored


def test_story_5_an_update_and_its_automatic_rollback(person: Person) -> None:
    """Update, automatic rollback | the updated state returns | the state before the update | the updated state."""
    v1 = person.state()
    person.type("update", "begin", "v2")
    updated = person.edit("hooks/notify.sh", "by an installer")
    done = person.type("update", "finish", "--failed", "it said so", status=3)
    assert (person.state(), done["outcome"]) == (v1, "rolled_back")
    events = person.type("audit", "log", "--type", "AUTO_ROLLBACK")["events"]
    assert [event["status"] for event in events] == ["success", "started"]
    done = person.type("undo", "--yes")
    assert (person.state(), done["undone"]["operation"]) == (updated, "auto_rollback")
    person.type("undo", "--yes")
    assert person.state() == v1
    person.type("redo", "--yes")
    assert person.state() == updated


def test_an_automatic_rollback_asks_like_any_other(run: Run, person: Person) -> None:
    """A script says --yes; without it and without a terminal nothing is done, and nothing to do is no failure."""
    person.type("backup", "create", "v1")
    assert person.type("rollback", "auto", "v1")["already_at_target"] is True
    edited = person.edit("hooks/notify.sh", "x")
    assert person.refused("rollback", "auto", "v1")["code"] == "confirm_required"
    assert person.type("rollback", "auto", "v1", "--dry-run")["applied"] is False
    assert person.refused("rollback", "auto", "v9", "--yes")["code"] == "not_found"
    assert person.state() == edited
    text = " ".join(run("rollback", "auto", "@previous", "--yes").stdout.split())
    assert "Restored user hooks to v1 (@previous)." in text


def test_selectors_stand_for_versions(person: Person) -> None:
    """Each command that takes a version takes a selector, and says which version it was."""
    assert person.refused("backup", "show", "@24h")["code"] == "not_found"
    person.type("backup", "create", "v1")
    v1 = person.state()
    person.edit("hooks/notify.sh", "x")
    person.type("backup", "create", "v2")
    created = person.type("backup", "list")["backups"][1]["created_at"]
    assert person.type("backup", "show", f"@{created}")["backups"][0]["version"] == "v1"
    assert person.type("backup", "show", "@previous")["backups"][0]["version"] == "v1"
    assert person.type("backup", "verify", "@2999-01-01T00:00:00Z")["backups"][0]["version"] == "v2"
    error = person.refused("rollback", "to", "@24h", "--yes")
    assert error["code"] == "not_found"
    assert f"the oldest is v1, @{created}" in error["next"]
    error = person.refused("backup", "show", "@prevous")
    assert (error["code"], error["next"]) == ("invalid_argument", "did you mean @previous?")
    done = person.type("rollback", "to", "@previous", "--yes")
    assert (person.state(), done["to_version"]) == (v1, "v1")


def test_a_damaged_backup_is_passed_over_by_a_time(home: Path, person: Person) -> None:
    """The newest intact one at or before: damage behind an unchanged size counts too."""
    person.type("backup", "create", "v1")
    person.edit("hooks/notify.sh", "x")
    person.type("backup", "create", "v2")
    archive = home / ".stravinsky" / "rollback" / "backups" / "v2" / "user.hooks.tar.gz"
    content = archive.read_bytes()
    archive.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    assert person.type("rollback", "to", "@2999-01-01T00:00:00Z", "--dry-run")["to_version"] == "v1"


def test_a_previous_state_in_several_backups_is_brought_back(person: Person, tmp_path: Path) -> None:
    """Another project's session changed the user scope: no single backup holds what was here, undo's parts do."""
    other = tmp_path / "other"
    build(other, {".claude": {"hooks": {"theirs.py": "theirs\n"}}})
    person.type("backup", "create", "v1")
    state = person.edit("hooks/notify.sh", "from there")
    person.type("backup", "create", "there", "--project", str(other))
    person.edit("hooks/notify.sh", "again")
    error = person.refused("backup", "show", "@previous")
    assert error["code"] == "not_found"
    assert "user.hooks is in there" in error["message"]
    assert "project.hooks is in v1" in error["message"]
    done = person.type("rollback", "to", "@previous", "--yes")
    assert (person.state(), done["to_version"]) == (state, None)
    assert "(@previous)" in done["summary"]
    assert os.listdir(other / ".claude" / "hooks") == ["theirs.py"]
