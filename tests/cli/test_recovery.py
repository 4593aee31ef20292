"""``recovery``, and what the other commands do with an operation that a killed process left."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from support.tree import Snapshot, snapshot

from stravinsky_rollback_mcp import schema

Run = Callable[..., Result]
Type = Callable[..., tuple[int, str]]

# A rollback in a process that is gone, without a word, before the first exchange of a folder or file.
_KILLED = """
import os
import anyio
from stravinsky_rollback_mcp import config
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.service import Actor, Caller, Consent, MadeBy, RollbackService

def observe(operation, path):
    if operation.startswith("rename") and path.endswith("/.claude/hooks"):
        os._exit(9)

service = RollbackService(config.of_process(for_terminal=True), files=Files(observe))
caller = Caller(actor=Actor(kind="terminal"), made_by=MadeBy.TERMINAL)
anyio.run(lambda: service.rollback_to(caller, version="v1", consent=Consent()))
"""


@pytest.fixture
def interrupted(run: Run, configured: tuple[Path, Path]) -> tuple[Snapshot, Snapshot]:
    """A rollback to v1 that was killed when all was prepared; the user's root in v1 and before the rollback."""
    intact = snapshot(configured[0])
    assert run("backup", "create", "v1").exit_code == 0
    (configured[0] / "hooks" / "guard_bash.py").unlink()
    damaged = snapshot(configured[0])
    killed = subprocess.run([sys.executable, "-c", _KILLED], capture_output=True, timeout=60, check=False)
    assert (killed.returncode, killed.stderr) == (9, b"")
    return intact, damaged


def test_status_and_list_say_what_is_unfinished(run: Run, interrupted: tuple[Snapshot, Snapshot]) -> None:
    """Contract, ``status --json``: the operation in flight; a person is told which command ends it."""
    operation = json.loads(run("status", "--json").stdout)["operation"]
    assert (operation["event_type"], operation["phase"]) == ("MANUAL_ROLLBACK", "PREPARED")
    for words in (("status",), ("backup", "list"), ("audit", "log")):
        assert "`stravinsky-rollback recovery resume`" in " ".join(run(*words).stdout.split())


def test_resume_brings_it_to_an_end_once(
    run: Run, configured: tuple[Path, Path], interrupted: tuple[Snapshot, Snapshot]
) -> None:
    """Promise 2: all or nothing after recovery, and the person hears which."""
    result = run("recovery", "resume", "--json")
    assert schema.ResumeResult.model_validate_json(result.stdout).recovered is True
    assert snapshot(configured[0]) in interrupted
    assert run("recovery", "resume").stdout == "Nothing was unfinished.\n"


def test_resume_says_once_what_it_did(run: Run, interrupted: tuple[Snapshot, Snapshot]) -> None:
    """The notice is the summary; nobody needs it twice."""
    result = run("recovery", "resume")
    assert result.exit_code == 0
    assert result.stdout.count("An interrupted MANUAL_ROLLBACK was ") == 1


@pytest.mark.parametrize("as_json", ["--json", "--no-color"])
def test_a_rollback_ends_it_first_and_says_so(
    run: Run, configured: tuple[Path, Path], interrupted: tuple[Snapshot, Snapshot], as_json: str
) -> None:
    """The next command that changes something does not stumble over what the last one left."""
    result = run("rollback", "to", "v1", "--yes", as_json)
    assert result.exit_code == 0
    assert "An interrupted MANUAL_ROLLBACK was " in result.stdout
    assert snapshot(configured[0]) == interrupted[0]
    assert run("status").stdout.count("Unfinished     nothing") == 1


# --- one file, one directory, one key ------------------------------------------------------------------------------


@pytest.fixture
def versions(run: Run, configured: tuple[Path, Path]) -> Path:
    """Backups v1 (as people have it), v2 (a file and a folder changed) and v3 (equal to live); the user's root."""
    user, _ = configured
    assert run("backup", "create", "v1").exit_code == 0
    (user / "hooks" / "notify.sh").write_text("two\n", encoding="utf-8")
    (user / "commands" / "git" / "new.md").write_text("two\n", encoding="utf-8")
    assert run("backup", "create", "v2").exit_code == 0
    (user / "hooks" / "notify.sh").write_text("three\n", encoding="utf-8")
    (user / "hooks" / "log_tools.py").unlink()
    assert run("backup", "create", "v3").exit_code == 0
    return user


def answer(result: Result) -> dict[str, Any]:
    """What a command that did its work says as JSON."""
    assert result.exit_code == 0, (result.stdout, result.stderr)
    return json.loads(result.stdout)


def test_a_file_comes_back_from_the_newest_backup_that_has_it_different(run: Run, versions: Path) -> None:
    """contract: without V the newest intact one; v3 is what is live already. Undo takes it back."""
    script = versions / "hooks" / "notify.sh"
    before = snapshot(versions)
    plan = answer(run("recovery", "file", str(script), "--dry-run", "--json"))
    assert (plan["applied"], plan["to_version"]) == (False, "v2")
    assert snapshot(versions) == before
    done = answer(run("recovery", "file", str(script), "--yes", "--json"))
    assert (done["applied"], done["to_version"], done["plan_id"]) == (True, "v2", plan["plan_id"])
    assert script.read_text(encoding="utf-8") == "two\n"
    after = snapshot(versions)
    assert {name for name in before if before[name] != after.get(name)} - {b"hooks"} == {b"hooks/notify.sh"}
    assert schema.RestoreResult.model_validate(done).applied
    assert run("undo", "--yes").exit_code == 0
    assert snapshot(versions) == before


def test_a_recovery_that_takes_one_back_says_so_and_names_the_older_version(run: Run, versions: Path) -> None:
    """Typed again it finds what was live before, as the contract says; who wants an older one is told how."""
    words = ("recovery", "file", "~/.claude/hooks/notify.sh", "--yes", "--json")
    assert answer(run(*words))["notices"] == []
    again = answer(run(*words))
    assert again["to_version"] == "v3"
    (notice,) = again["notices"]
    assert "v3 holds what was live before the recovery of" in notice
    assert "To go further back, name v1." in notice
    assert versions.exists()


def test_the_audit_knows_what_was_recovered_and_how_much(run: Run, versions: Path) -> None:
    """A recovery is an event of its own kind: attempt and outcome, with the level; undo names it."""
    assert run("recovery", "file", "~/.claude/hooks/notify.sh", "--yes").exit_code == 0
    assert run("recovery", "directory", "~/.claude/commands", "v1", "--yes").exit_code == 0
    events = answer(run("audit", "log", "--type", "RECOVERY_ATTEMPT", "--json"))["events"]
    told = [(event["status"], event["version"], event["details"]["level"]) for event in events]
    assert told == [
        ("success", "v1", "directory"),
        ("started", "v1", "directory"),
        ("success", "v2", "file"),
        ("started", "v2", "file"),
    ]
    assert answer(run("undo", "--dry-run", "--json"))["undone"]["operation"] == "recovery_attempt"
    assert versions.exists()


def test_a_damaged_backup_is_passed_over(run: Run, versions: Path, home: Path) -> None:
    """Intact is part of the rule: an older one is better than none."""
    (archive,) = (home / ".stravinsky" / "rollback" / "backups" / "v2").glob("user.hooks*")
    archive.write_bytes(archive.read_bytes()[:-8] + b"garbage!")
    done = answer(run("recovery", "file", "~/.claude/hooks/notify.sh", "--yes", "--json"))
    assert done["to_version"] == "v1"
    assert versions.exists()


def test_a_directory_comes_back_as_it_was(run: Run, versions: Path) -> None:
    """What came since goes, what was lost returns, and the other folders stay as they are."""
    commands = snapshot(versions / "commands")
    done = answer(run("recovery", "directory", "~/.claude/hooks", "v1", "--yes", "--json"))
    assert done["to_version"] == "v1"
    assert (versions / "hooks" / "log_tools.py").exists()
    assert "two" not in (versions / "hooks" / "notify.sh").read_text(encoding="utf-8")
    assert snapshot(versions / "commands") == commands
    shown = run("recovery", "directory", ".claude/../nowhere")
    assert shown.exit_code == 1
    done = run("recovery", "directory", str(versions / "commands" / "git"), "v1", "--yes")
    assert done.exit_code == 0
    assert not (versions / "commands" / "git" / "new.md").exists()


def test_one_key_comes_back_with_its_scripts(run: Run, versions: Path) -> None:
    """``--pointer``: the key and the scripts that it names; the rest of the file stays byte for byte."""
    path = versions / "settings.json"
    original = path.read_text(encoding="utf-8")
    settings = json.loads(original)
    del settings["hooks"]["PreToolUse"]
    path.write_text(json.dumps(settings | {"model": "haiku"}, indent=2), encoding="utf-8")
    (versions / "hooks" / "guard_bash.py").unlink()
    words = ("recovery", "file", "~/.claude/settings.json", "--pointer", "/hooks/PreToolUse")
    shown = run(*words, "--dry-run")
    assert shown.exit_code == 0
    assert "guard_bash.py" in shown.stdout
    done = answer(run(*words, "--yes", "--json"))
    assert done["to_version"] == "v3"
    assert json.loads(path.read_bytes()) == json.loads(original) | {"model": "haiku"}
    assert (versions / "hooks" / "guard_bash.py").exists()
    (event, _) = answer(run("audit", "log", "--type", "RECOVERY_ATTEMPT", "--json"))["events"]
    assert event["details"]["level"] == "key"
    assert "no intact backup has" in run(*words, "--yes").stderr


NOT_RECOVERED: dict[str, tuple[tuple[str, ...], str]] = {
    "in no backup": (("file", "~/.claude/hooks/never.py"), "not_found"),
    "not in that one": (("file", "~/.claude/commands/git/new.md", "v1"), "not_found"),
    "no such version": (("file", "~/.claude/hooks/notify.sh", "v9"), "not_found"),
    "everywhere the same": (("file", "~/.claude/hooks/guard_bash.py"), "not_found"),
    "a directory": (("file", "~/.claude/hooks"), "invalid_argument"),
    "a whole scope": (("file", "~/.claude"), "invalid_argument"),
    "a file": (("directory", "~/.claude/hooks/notify.sh"), "invalid_argument"),
    "settings are a file": (("directory", "~/.claude/settings.json"), "invalid_argument"),
    "nothing of ours": (("file", "/etc/passwd"), "not_found"),
    "in both scopes": (("directory", "hooks"), "ambiguous"),
    "no path": (("file", "~/.claude/../x"), "invalid_argument"),
    "no pointer": (("file", "~/.claude/settings.json", "--pointer", "hooks"), "invalid_argument"),
    "a key of no JSON file": (("file", "~/.claude/hooks/notify.sh", "--pointer", "/a"), "invalid_argument"),
    "a key that no backup has": (("file", "~/.claude/settings.json", "--pointer", "/never"), "not_found"),
    "a key behind a number sign": (("file", "~/.claude/settings.json#/hooks"), "invalid_argument"),
}


@pytest.mark.parametrize(("words", "code"), NOT_RECOVERED.values(), ids=NOT_RECOVERED.keys())
def test_what_cannot_be_recovered_is_refused(run: Run, versions: Path, words: tuple[str, ...], code: str) -> None:
    """Nothing is guessed and nothing is taken away: exit code 1, the code, and all as before."""
    before = snapshot(versions)
    for more in (("--dry-run",), ("--yes",)):
        result = run("recovery", *words, *more, "--json")
        assert result.exit_code == 1, result.stdout
        assert json.loads(result.stdout)["error"]["code"] == code
    assert snapshot(versions) == before


def test_a_person_is_asked_before_anything_comes_back(at_terminal: Type, run: Run, versions: Path) -> None:
    """At a terminal: the plan, a question, and only then the change; without one and without ``--yes`` nothing."""
    script = versions / "hooks" / "notify.sh"
    words = ("recovery", "file", str(script))
    assert run(*words).exit_code == 1
    status, shown = at_terminal(*words, typed="n\n")
    assert (status, script.read_text(encoding="utf-8")) == (1, "three\n")
    assert "v2" in shown
    status, shown = at_terminal(*words, typed="y\n")
    assert (status, script.read_text(encoding="utf-8")) == (0, "two\n")


def test_what_needs_a_person_is_exit_four_until_it_is_ended(
    run: Run, configured: tuple[Path, Path], interrupted: tuple[Snapshot, Snapshot], home: Path
) -> None:
    """Contract: 4 when an operation can be neither finished nor taken back; here its record cannot be read."""
    recovery = home / ".stravinsky" / "rollback" / "recovery"
    content = (recovery / "journal.json").read_bytes()
    (recovery / "journal.json").write_bytes(content[:100])
    result = run("recovery", "resume")
    assert result.exit_code == 4
    assert "needs_attention" in result.stderr
    assert ".stravinsky-" in result.stderr
    assert run("backup", "create", "v2").exit_code == 4
    assert run("backup", "list").exit_code == 0
    (recovery / "journal.json").write_bytes(content)
    assert run("recovery", "resume").exit_code == 0
    assert snapshot(configured[0]) in interrupted
