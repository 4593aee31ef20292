"""``backup``: create, list, show, verify."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from support.tree import Spec, build

from stravinsky_rollback_mcp import schema

Run = Callable[..., Result]


def _json(result: Result, model: type[schema.Spoken]) -> dict[str, Any]:
    """The document on stdout, which is the model and nothing else."""
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert model.model_validate(document).model_dump(mode="json") == document
    return document


def test_create_makes_a_backup_that_is_named_and_noted(run: Run, configured: tuple[Path, Path]) -> None:
    """Contract: made by the terminal, kind manual, with the caller's name and words."""
    made = _json(run("backup", "create", "v1", "--note", "why", "--json"), schema.CreateBackupResult)
    backup = made["backup"]
    assert made["created"] is True
    assert (backup["version"], backup["kind"], backup["made_by"], backup["note"]) == ("v1", "manual", "terminal", "why")


def test_create_without_a_name_twice_makes_one_backup(run: Run, configured: tuple[Path, Path]) -> None:
    """Contract: an unnamed call whose state the newest backup holds returns that one."""
    first = _json(run("backup", "create", "--json"), schema.CreateBackupResult)
    second = _json(run("backup", "create", "--json"), schema.CreateBackupResult)
    assert (first["created"], second["created"]) == (True, False)
    assert first["backup"]["version"] == second["backup"]["version"]


def test_create_tells_a_person_how_to_come_back(run: Run, configured: tuple[Path, Path]) -> None:
    """The next step is a command, not a tool."""
    shown = run("backup", "create", "v1").stdout
    assert "Backup v1 holds " in shown
    assert shown.endswith("Next: To come back to this state: stravinsky-rollback rollback to v1\n")


def test_create_refuses_a_name_that_is_taken(run: Run, configured: tuple[Path, Path]) -> None:
    """Contract, refusals: ``already_exists``, exit 1."""
    run("backup", "create", "v1")
    result = run("backup", "create", "V1")
    assert result.exit_code == 1
    assert result.stderr.startswith("already_exists: ")


def test_list_of_nothing_says_what_to_do(run: Run, configured: tuple[Path, Path]) -> None:
    """Contract: an empty store says that nothing can be restored yet."""
    shown = run("backup", "list").stdout
    assert "nothing can be restored" in shown
    assert "`stravinsky-rollback backup create`" in shown


def test_list_shows_backups_and_what_changed_outside(run: Run, configured: tuple[Path, Path]) -> None:
    """The question that brings a person here: what is there, and what is different now?"""
    run("backup", "create", "v1", "--note", "first")
    (configured[0] / "hooks" / "guard_bash.py").unlink()
    shown = run("backup", "list").stdout
    assert "changed outside: ~/.claude/hooks" in " ".join(shown.split())
    assert "v1" in shown
    assert '"first"' in shown
    document = _json(run("backup", "list", "--json"), schema.ListBackupsResult)
    assert [item["target"] for item in document["current"]["drift"]] == ["user.hooks"]


def test_list_goes_on_where_a_page_ended(run: Run, configured: tuple[Path, Path]) -> None:
    """The cursor that a page shows leads to the next."""
    for version in ("v1", "v2", "v3"):
        run("backup", "create", version)
    first = _json(run("backup", "list", "--limit", "2", "--json"), schema.ListBackupsResult)
    second = _json(run("rollback", "list", "--cursor", first["next_cursor"], "--json"), schema.ListBackupsResult)
    assert [item["version"] for item in first["backups"]] == ["v3", "v2"]
    assert [item["version"] for item in second["backups"]] == ["v1"]
    assert f"--cursor {first['next_cursor']}" in run("backup", "list", "--limit", "2").stdout


def test_list_of_a_path_has_the_backups_in_which_it_changed(run: Run, configured: tuple[Path, Path]) -> None:
    """Contract, ``list_backups`` with ``path``."""
    run("backup", "create", "v1")
    (configured[0] / "commands" / "review.md").write_text("new\n", encoding="utf-8")
    run("backup", "create", "v2")
    (configured[0] / "hooks" / "log_tools.py").write_text("new\n", encoding="utf-8")
    run("backup", "create", "v3")
    path = str(configured[0] / "commands" / "review.md")
    document = _json(run("backup", "list", "--path", path, "--json"), schema.ListBackupsResult)
    assert [item["version"] for item in document["backups"]] == ["v2", "v1"]


def test_list_of_all_projects_names_the_others(run: Run, configured: tuple[Path, Path], tmp_path: Path) -> None:
    """One store serves all projects; another's backup is shown as another's."""
    other: Spec = {".claude": {"hooks": {"a.sh": "true\n"}}}
    build(tmp_path / "other", other)
    run("backup", "create", "theirs", "--project", str(tmp_path / "other"))
    run("backup", "create", "ours")
    own = run("backup", "list").stdout
    assert "theirs" not in own
    assert "--all-projects" in own
    shown = run("backup", "list", "--all-projects").stdout
    assert "theirs" in shown
    assert f"of{tmp_path / 'other'}" in "".join(shown.split())


def test_what_a_person_reads_fits_80_columns(run: Run, configured: tuple[Path, Path], home: Path) -> None:
    """The narrowest terminal that people use, with the longest names that we make, and a name of 64 characters."""
    run("backup", "create", "v" * 64, "--note", "long " * 50)
    (configured[0] / "settings.json").write_text("{", encoding="utf-8")
    build(configured[0] / "commands", {f"{number} {'long name ' * 20}.md": "x\n" for number in range(9)})
    outputs = [
        run("rollback", "to", "v" * 64, "--dry-run").stdout,
        run("rollback", "to", "v" * 64, "--yes").stdout,
        run("undo").stderr,
        *(run(*words).stdout for words in (("backup", "list"), ("backup", "show", "v" * 64), ("backup", "verify"))),
        *(run(*words).stdout for words in (("audit", "log"), ("audit", "verify"), ("status",))),
    ]
    assert all(outputs)
    too_wide = [line for output in outputs for line in output.splitlines() if len(line) > 80]
    assert too_wide == []


def test_markup_and_control_characters_are_inert(run: Run, configured: tuple[Path, Path]) -> None:
    """Notes and names come from anybody: ``[red]`` is text, and an escape sequence must not reach the terminal."""
    build(configured[0] / "hooks", {"[bold red]\x1b[31m:smile:.sh": "true\n"})
    run("backup", "create", "v1", "--note", "[link=http://x]click[/link] :tada:")
    assert '"[link=http://x]click[/link] :tada:"' in " ".join(run("backup", "list").stdout.split())
    (configured[0] / "hooks" / "[bold red]\x1b[31m:smile:.sh").unlink()
    shown = run("rollback", "to", "v1", "--dry-run").stdout
    assert "+ [bold red]\\x1b[31m:smile:.sh" in shown
    assert "\x1b" not in shown


def test_show_lists_the_targets_of_a_backup(run: Run, configured: tuple[Path, Path]) -> None:
    """What a person wants to know before going back to it."""
    run("backup", "create", "v1")
    document = _json(run("backup", "show", "v1", "--json"), schema.VerifyResult)
    assert len(document["backups"][0]["targets"]) == 24
    shown = run("backup", "show", "v1").stdout
    assert "~/.claude/commands" in shown
    assert shown.count("present") == sum(item["state"] == "present" for item in document["backups"][0]["targets"])
    assert "more targets did not exist" in shown
    assert "absent" not in shown


def test_show_of_what_is_not_there_is_refused(run: Run) -> None:
    """Contract, refusals: ``not_found``."""
    result = run("rollback", "show", "v1")
    assert result.exit_code == 1
    assert result.stderr.startswith("not_found: ")


@pytest.mark.parametrize("arguments", [(), ("v1",)], ids=["all", "one"])
def test_verify_exits_3_on_a_damaged_backup_and_show_does_not(
    run: Run, configured: tuple[Path, Path], home: Path, arguments: tuple[str, ...]
) -> None:
    """Exit codes of the contract: 3 is a check that found problems; looking at a damaged one is no check."""
    run("backup", "create", "v1")
    run("backup", "create", "v2")
    assert run("backup", "verify", *arguments).exit_code == 0
    archive = home / ".stravinsky/rollback/backups/v1/user.hooks.tar.gz"
    damaged = bytearray(archive.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    archive.chmod(0o600)
    archive.unlink()  # v2 may share it: a damaged copy, not a damaged inode
    archive.write_bytes(damaged)

    result = run("backup", "verify", *arguments)
    assert result.exit_code == 3
    assert "damaged" in result.stdout
    assert run("backup", "verify", *arguments, "--quiet").stdout == result.stdout
    document = json.loads(run("backup", "verify", *arguments, "--json").stdout)
    assert document["ok"] is False
    assert {item["version"]: item["status"] for item in document["backups"]}["v1"] == "damaged"
    assert run("backup", "verify", "v2").exit_code == 0
    assert run("backup", "show", "v1").exit_code == 0
