"""``adopt``: what a person is told and asked when a project has moved."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
from click.testing import Result

from stravinsky_rollback_mcp import schema

Run = Callable[..., Result]
Type = Callable[..., tuple[int, str]]


@pytest.fixture
def moved(run: Run, configured: tuple[Path, Path], project: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The path that a project with backup v1 had, and the one to which it was moved, which is where we are."""
    assert run("backup", "create", "v1").exit_code == 0
    new = project.parent / "moved here"
    project.rename(new)
    monkeypatch.chdir(new)
    return project, new


def test_it_takes_over_without_a_question(run: Run, moved: tuple[Path, Path]) -> None:
    """Nothing is lost by it and nothing live is changed; the dry run says the same and does nothing."""
    old, new = moved
    plan = run("adopt", str(old), "--dry-run", "--json")
    document = json.loads(plan.stdout)
    assert schema.AdoptResult.model_validate(document).model_dump(mode="json") == document
    assert (document["applied"], document["versions"], document["project"]) == (False, ["v1"], str(new))
    assert "v1" not in run("backup", "list").stdout
    done = run("adopt", str(old))
    assert (done.exit_code, done.stderr) == (0, "")
    assert "1 backup and the history of" in done.stdout
    assert "v1" in run("backup", "list").stdout
    again = run("adopt", str(old), "--json")
    assert (again.exit_code, json.loads(again.stdout)["error"]["code"]) == (1, "already_exists")


def test_a_copy_is_asked_about(run: Run, at_terminal: Type, moved: tuple[Path, Path]) -> None:
    """Where nobody can be asked ``--yes`` says it; at a terminal the person does, and no is no."""
    old, new = moved
    copytree(new, old, symlinks=True)
    refused = run("adopt", str(old))
    assert refused.exit_code == 1
    assert "confirm_required" in refused.stderr
    status, shown = at_terminal("adopt", str(old), typed="n\n")
    assert (status, "it looks copied, not moved" in shown, "declined" in shown) == (1, True, True)
    assert run("adopt", "--quiet", "--yes", str(old)).output == ""
    assert "v1" in run("backup", "list").stdout


def test_whoever_asks_for_a_backup_of_the_old_path_is_told(run: Run, moved: tuple[Path, Path]) -> None:
    """The refusal names the command, which does it as it is written."""
    old, _ = moved
    refused = run("rollback", "to", "v1", "--yes", "--json")
    hint = json.loads(refused.stdout)["error"]["next"]
    command = f"stravinsky-rollback adopt {old}"
    assert f"`{command}`" in hint
    assert run(*command.split()[1:]).exit_code == 0
    assert run("rollback", "to", "v1", "--yes").exit_code == 0
