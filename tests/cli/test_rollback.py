"""``rollback to``, ``undo``, ``redo``: shown, asked, done, and recorded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from support.tree import Snapshot, snapshot

from stravinsky_rollback_mcp import schema

Run = Callable[..., Result]
Type = Callable[..., tuple[int, str]]


@pytest.fixture
def broken(run: Run, configured: tuple[Path, Path]) -> tuple[Snapshot, Snapshot]:
    """Backup v1, then a guard vanishes; the user's root before and after."""
    intact = snapshot(configured[0])
    assert run("backup", "create", "v1").exit_code == 0
    (configured[0] / "hooks" / "guard_bash.py").unlink()
    return intact, snapshot(configured[0])


@pytest.fixture
def loosening(run: Run, configured: tuple[Path, Path]) -> tuple[Snapshot, Snapshot]:
    """Backup v1 of settings without a deny rule that is live now; the user's root as in v1 and now."""
    path = configured[0] / "settings.json"
    strict = path.read_text(encoding="utf-8")
    settings = json.loads(strict)
    settings["permissions"]["deny"].remove("Bash(rm -rf:*)")
    path.write_text(json.dumps(settings), encoding="utf-8")
    loose = snapshot(configured[0])
    assert run("backup", "create", "v1").exit_code == 0
    path.write_text(strict, encoding="utf-8")
    return loose, snapshot(configured[0])


LINE = "~/.claude/settings.json: deny rule removed: Bash(rm -rf:*)"


def _json(result: Result) -> dict[str, Any]:
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert schema.RestoreResult.model_validate(document).model_dump(mode="json") == document
    return document


def _events(run: Run) -> list[tuple[str, str | None, str]]:
    events = json.loads(run("audit", "log", "--json").stdout)["events"]
    return [(event["event_type"], event["error"], event["actor"]["tool"]) for event in events]


def test_dry_run_shows_the_plan_and_changes_nothing(
    run: Run, configured: tuple[Path, Path], broken: tuple[Snapshot, Snapshot]
) -> None:
    """Looking is free, needs no agreement, and says how to go on."""
    result = run("rollback", "to", "v1", "--dry-run")
    assert result.exit_code == 0
    assert "+ guard_bash.py" in result.stdout
    assert "The same command without --dry-run does this." in result.stdout
    assert snapshot(configured[0]) == broken[1]
    document = _json(run("rollback", "to", "v1", "--dry-run", "--json"))
    assert (document["applied"], document["changes"][0]["added"]) == (False, ["guard_bash.py"])


def test_yes_applies_and_undo_and_redo_walk(
    run: Run, configured: tuple[Path, Path], broken: tuple[Snapshot, Snapshot]
) -> None:
    """The whole way of a person in trouble, byte for byte."""
    intact, damaged = broken
    result = run("rollback", "to", "v1", "--yes")
    assert result.exit_code == 0
    assert "takes this back" in " ".join(result.stdout.split())
    assert snapshot(configured[0]) == intact
    assert _json(run("undo", "--yes", "--json"))["undone"]["operation"] == "manual_rollback"
    assert snapshot(configured[0]) == damaged
    assert run("rollback", "redo", "--yes").exit_code == 0
    assert snapshot(configured[0]) == intact


def test_a_state_that_is_already_there_needs_no_agreement(run: Run, configured: tuple[Path, Path]) -> None:
    """Nothing would be done, so there is nothing to ask."""
    run("backup", "create", "v1")
    result = run("rollback", "to", "v1")
    assert result.exit_code == 0
    assert "already" in result.stdout
    assert _json(run("rollback", "to", "v1", "--json"))["already_at_target"] is True


@pytest.mark.parametrize("words", [("rollback", "to", "v1"), ("undo",)], ids=" ".join)
def test_without_terminal_and_yes_it_is_refused_and_recorded(
    run: Run, configured: tuple[Path, Path], broken: tuple[Snapshot, Snapshot], words: tuple[str, ...]
) -> None:
    """Contract: neither --yes nor a terminal exits 1; a script must say that it means it."""
    result = run(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("confirm_required: ")
    assert "--yes" in result.stderr
    assert snapshot(configured[0]) == broken[1]
    assert _events(run)[0] == ("REFUSED", "confirm_required", " ".join(words[:2]))


def test_a_refusal_lists_what_would_get_less_safe(run: Run, loosening: tuple[Snapshot, Snapshot]) -> None:
    """Contract, section Consent: one line each, for programs too."""
    assert LINE in run("rollback", "to", "v1").stderr
    result = run("rollback", "to", "v1", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["lines"] == [LINE]


def test_yes_accepts_what_gets_less_safe(
    run: Run, configured: tuple[Path, Path], loosening: tuple[Snapshot, Snapshot]
) -> None:
    """Contract: in the terminal ``--yes`` accepts."""
    document = _json(run("rollback", "to", "v1", "--yes", "--json"))
    assert (document["applied"], document["security_changes"]) == (True, [LINE])
    assert snapshot(configured[0]) == loosening[0]


def test_every_restore_is_asked_where_a_person_wants_that(
    run: Run, configured: tuple[Path, Path], broken: tuple[Snapshot, Snapshot]
) -> None:
    """``safety.require_manual_confirmation_for_rollback``: what is no less safe is asked too, and ``--yes`` answers."""
    assert run("config", "set", "safety.require_manual_confirmation_for_rollback", "true").exit_code == 0
    result = run("rollback", "to", "v1", "--json")
    (line,) = json.loads(result.stdout)["error"]["lines"]
    assert (result.exit_code, "require_manual_confirmation_for_rollback" in line) == (1, True)
    assert snapshot(configured[0]) == broken[1]
    document = _json(run("rollback", "to", "v1", "--yes", "--json"))
    assert (document["applied"], document["security_changes"]) == (True, [line])


def test_a_person_who_says_yes_gets_what_was_shown(
    at_terminal: Type, configured: tuple[Path, Path], loosening: tuple[Snapshot, Snapshot]
) -> None:
    """Contract: in the terminal a person is asked; the question stands below the plan and the lines."""
    status, shown = at_terminal("rollback", "to", "v1", "--no-color", typed="y\n")
    assert status == 0, shown
    assert shown.index(LINE) < shown.index("[y/N]") < shown.index("Restored user settings to v1.")
    assert snapshot(configured[0]) == loosening[0]


@pytest.mark.parametrize("typed", ["n\n", "\n", "\x04"], ids=["no", "return", "end of input"])
def test_a_person_who_does_not_say_yes_changes_nothing(
    run: Run, at_terminal: Type, configured: tuple[Path, Path], broken: tuple[Snapshot, Snapshot], typed: str
) -> None:
    """Contract, refusals: ``declined``; whoever just hits return has not agreed."""
    status, shown = at_terminal("undo", "--no-color", typed=typed)
    assert status == 1, shown
    assert "declined: nothing was changed." in shown
    assert snapshot(configured[0]) == broken[1]
    assert _events(run)[0] == ("REFUSED", "declined", "undo")


def test_a_quiet_question_still_shows_what_it_is_about(
    at_terminal: Type, configured: tuple[Path, Path], broken: tuple[Snapshot, Snapshot]
) -> None:
    """Nobody can agree to what was not shown."""
    status, shown = at_terminal("undo", "--quiet", "--no-color", typed="y\n")
    assert status == 0, shown
    assert "+ guard_bash.py" in shown
    assert snapshot(configured[0]) == broken[0]


def test_only_brings_back_one_path(run: Run, configured: tuple[Path, Path], broken: tuple[Snapshot, Snapshot]) -> None:
    """Contract, ``only``: everything else stays as it is."""
    review = configured[0] / "commands" / "review.md"
    review.unlink()
    path = str(configured[0] / "hooks" / "guard_bash.py")
    assert run("rollback", "to", "v1", "--only", path, "--yes").exit_code == 0
    assert (configured[0] / "hooks" / "guard_bash.py").exists()
    assert not review.exists()


def test_scope_leaves_the_other_scope_alone(
    run: Run, configured: tuple[Path, Path], broken: tuple[Snapshot, Snapshot]
) -> None:
    """Contract, ``scope``."""
    document = _json(run("rollback", "to", "v1", "--scope", "project", "--json"))
    assert document["already_at_target"] is True
    assert snapshot(configured[0]) == broken[1]


def test_the_audit_knows_who_typed_what(run: Run, broken: tuple[Snapshot, Snapshot]) -> None:
    """Contract, actor: kind terminal, the login name, the command."""
    run("rollback", "to", "v1", "--yes", LOGNAME="ada")
    actor = json.loads(run("audit", "log", "--type", "MANUAL_ROLLBACK", "--json").stdout)["events"][0]["actor"]
    assert (actor["kind"], actor["name"], actor["tool"]) == ("terminal", "ada", "rollback to")


def test_many_paths_are_cut_and_counted(run: Run, configured: tuple[Path, Path]) -> None:
    """A plan must fit on a screen; what is left out is said."""
    many = configured[0] / "commands" / "many"
    many.mkdir()
    for number in range(70):
        (many / f"{number:02}.md").write_text("x\n", encoding="utf-8")
    run("backup", "create", "v1")
    for file in many.iterdir():
        file.unlink()
    shown = run("rollback", "to", "v1", "--dry-run").stdout
    assert "+70" in shown
    assert "+ many/05.md\n" in shown
    assert "+ … and 64 more\n" in shown
    assert "many/06.md" not in shown


def test_one_key_of_a_settings_file_comes_back(run: Run, configured: tuple[Path, Path]) -> None:
    """``--only FILE#/POINTER``: for a person and as JSON; the rest of the file stays byte for byte."""
    path = configured[0] / "settings.json"
    before = path.read_bytes()
    assert run("backup", "create", "v1").exit_code == 0
    settings = json.loads(before)
    del settings["hooks"]["Stop"]
    lost = json.dumps(settings | {"model": "haiku"}, indent=2).encode() + b"\n"
    path.write_bytes(lost)
    words = ("rollback", "to", "v1", "--only", "~/.claude/settings.json#/hooks/Stop")
    shown = run(*words, "--dry-run")
    assert shown.exit_code == 0
    assert "keys of user settings" in shown.stdout
    assert path.read_bytes() == lost
    done = _json(run(*words, "--yes", "--json"))
    assert done["applied"]
    assert path.read_bytes() == before.replace(b'"opus"', b'"haiku"')
    assert run("undo", "--yes").exit_code == 0
    assert path.read_bytes() == lost
    refused = run("rollback", "to", "v1", "--only", "~/.claude/settings.json#/hooks/Never", "--yes")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("not_found: ")
