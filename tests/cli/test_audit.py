"""``audit``, ``status``, ``recovery``: what a person reads of what was done."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from stravinsky_rollback_mcp import schema

Run = Callable[..., Result]


@pytest.fixture
def eventful(run: Run, configured: tuple[Path, Path]) -> None:
    """A backup, an accident, a rollback, and a refusal."""
    run("backup", "create", "v1")
    (configured[0] / "hooks" / "guard_bash.py").unlink()
    run("rollback", "to", "v1", "--yes")
    run("rollback", "to", "v2", "--yes")


def _log(run: Run, *arguments: str) -> dict[str, Any]:
    result = run("audit", "log", *arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert schema.QueryAuditResult.model_validate(document).model_dump(mode="json") == document
    return document


def test_log_shows_what_happened_and_who_asked(run: Run, eventful: None) -> None:
    """Newest first, by day, the code of a refusal with it."""
    shown = run("audit", "log").stdout
    rows = [line.split() for line in shown.splitlines()]
    events = [row[2] for row in rows if len(row) > 3 and row[0].isdigit() and ":" in row[1]]
    assert events == [
        *("REFUSED", "MANUAL_ROLLBACK", "MANUAL_ROLLBACK", "DRIFT_DETECTED", "BACKUP_CREATED", "BACKUP_CREATED")
    ]
    assert "rollback to · not_found" in shown
    assert "the chain is intact" in shown


def test_log_is_narrowed_by_each_filter(run: Run, eventful: None) -> None:
    """Contract, ``query_audit``: type, status, version, path and time, in either case of the letters."""
    assert {event["event_type"] for event in _log(run, "--type", "backup_created")["events"]} == {"BACKUP_CREATED"}
    assert [event["error"] for event in _log(run, "--status", "REFUSED")["events"]] == ["not_found"]
    assert {event["version"] for event in _log(run, "--version", "v1")["events"]} == {"v1"}
    assert all("~/.claude/hooks" in event["paths"] for event in _log(run, "--path", "~/.claude/hooks")["events"])
    assert _log(run, "--to", "2020-01-01T00:00:00Z")["events"] == []
    assert len(_log(run, "--from", "1h")["events"]) == 6


def test_log_goes_on_where_a_page_ended(run: Run, eventful: None) -> None:
    """The cursor that a page shows leads to the next."""
    first = _log(run, "--limit", "4")
    second = _log(run, "--limit", "4", "--cursor", first["next_cursor"])
    assert [event["seq"] for event in (*first["events"], *second["events"])] == [6, 5, 4, 3, 2, 1]
    assert f"More with --cursor {first['next_cursor']}" in run("audit", "log", "--limit", "4").stdout


def test_log_refuses_a_time_that_is_none(run: Run) -> None:
    """Contract, refusals: ``invalid_argument`` with what may be written."""
    result = run("audit", "log", "--from", "yesterday")
    assert result.exit_code == 1
    assert result.stderr.startswith("invalid_argument: ")


def test_verify_exits_3_when_a_record_was_changed(run: Run, eventful: None, home: Path) -> None:
    """Exit codes of the contract; the log still shows, and says that it cannot be believed."""
    assert run("audit", "verify").exit_code == 0
    log = home / ".stravinsky/rollback/audit/operations.log"
    log.write_bytes(log.read_bytes().replace(b'"MANUAL_ROLLBACK"', b'"AUTO_ROLLBACK"', 1))
    result = run("audit", "verify")
    assert result.exit_code == 3
    assert "The chain is broken at record 4" in result.stdout
    document = json.loads(run("audit", "verify", "--json").stdout)
    assert schema.VerifyAuditResult.model_validate(document).chain.intact is False
    assert "the chain is broken at 4" in " ".join(run("audit", "log").stdout.split())


def test_a_broken_audit_refuses_to_be_written_on(run: Run, eventful: None, home: Path) -> None:
    """Contract, refusals: ``audit_broken``."""
    log = home / ".stravinsky/rollback/audit/operations.log"
    log.write_bytes(log.read_bytes().replace(b'"MANUAL_ROLLBACK"', b'"AUTO_ROLLBACK"', 1))
    result = run("backup", "create", "v9")
    assert result.exit_code == 1
    assert result.stderr.startswith("audit_broken: ")


def test_status_has_what_the_contract_names(run: Run, eventful: None) -> None:
    """Contract, ``status --json``."""
    document = json.loads(run("status", "--json").stdout)
    assert schema.StatusResult.model_validate(document).model_dump(mode="json") == document
    assert document["current"]["version"] == "v1"
    assert document["store"]["backups"] == 2
    assert (document["operation"], document["update"]) == (None, None)
    assert document["audit"]["events"] == 6


def test_status_is_readable_at_a_glance(run: Run, eventful: None) -> None:
    """The first command in trouble."""
    shown = run("status").stdout
    assert "Live           equals v1\n" in shown
    assert "Unfinished     nothing\n" in shown
    assert "Store          ~/.stravinsky/rollback\n" in shown


def test_resume_says_that_nothing_was_unfinished(run: Run, eventful: None) -> None:
    """Safe to type at any time."""
    assert run("recovery", "resume").stdout == "Nothing was unfinished.\n"
    assert json.loads(run("recovery", "resume", "--json").stdout)["recovered"] is False
