"""``audit``, ``status``, ``recovery``: what a person reads of what was done."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from stravinsky_rollback_mcp import schema
from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.model import Actor, AuditDraft, EventStatus, EventType
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit import AuditLog
from stravinsky_rollback_mcp.disk.audit_rotation import Rotation

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
    assert "the chain is broken at record 4" in " ".join(run("audit", "log").stdout.split())


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


def _rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_export_writes_every_event_in_each_form(run: Run, eventful: None) -> None:
    """Oldest first, the same fields as the tool's; CSV with one column a field (feature M8)."""
    events = [event for event in reversed(_log(run)["events"]) if event["status"] != "interrupted"]
    lines = run("audit", "export", "--format", "jsonl")
    assert (lines.exit_code, lines.stderr) == (0, "")
    assert [json.loads(line) for line in lines.stdout.splitlines()] == events
    assert json.loads(run("audit", "export", "--format", "json").stdout) == events
    rows = _rows_of(run("audit", "export", "--format", "csv").stdout)
    assert [row["event_type"] for row in rows] == [event["event_type"] for event in events]
    assert [json.loads(row["paths"]) for row in rows] == [event["paths"] for event in events]
    assert {row["actor_kind"] for row in rows} == {"terminal", "unknown"}
    assert run("audit", "export").exit_code == 2


def test_export_of_nothing_is_well_formed(run: Run, configured: tuple[Path, Path]) -> None:
    """A header, an empty array, no line."""
    assert len(run("audit", "export", "--format", "csv").stdout.splitlines()) == 1
    assert json.loads(run("audit", "export", "--format", "json").stdout) == []
    assert run("audit", "export", "--format", "jsonl").stdout == ""


def test_export_goes_through_archives(run: Run, eventful: None, home: Path) -> None:
    """What was rotated away is in it too, and nothing twice."""
    before = run("audit", "export", "--format", "jsonl").stdout
    log = AuditLog(str(home / ".stravinsky/rollback/audit"), Files())
    log._rotation = Rotation(size_bytes=1, days=1, retention_days=1000)
    draft = chain.decode_line((home / ".stravinsky/rollback/audit/operations.log").read_bytes().splitlines()[0]).draft
    log.append(replace(draft, state=None), now="2026-11-24T00:00:00Z", event_id="last")
    after = run("audit", "export", "--format", "jsonl").stdout
    assert after.startswith(before)
    assert [json.loads(line)["seq"] for line in after.splitlines()] == list(range(1, 9))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_no_cell_of_an_export_is_a_formula(run: Run, eventful: None, home: Path, start: str) -> None:
    """A client names itself; a spreadsheet that opens the file must not reckon with it (OWASP, CSV injection)."""
    log = AuditLog(str(home / ".stravinsky/rollback/audit"), Files())
    draft = AuditDraft(
        event_type=EventType.REFUSED,
        status=EventStatus.REFUSED,
        actor=Actor(kind="mcp_client", name=f'{start}HYPERLINK("http://x";"y")'),
        user_root="/u",
        project=None,
    )
    log.append(draft, now="2026-11-24T00:00:00Z", event_id="formula")
    row = _rows_of(run("audit", "export", "--format", "csv").stdout)[-1]
    assert row["actor_name"] == f"'{start}" + 'HYPERLINK("http://x";"y")'
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())


def test_export_of_a_broken_chain_ends_before_the_break(run: Run, eventful: None, home: Path) -> None:
    """Exit status 3, the reason beside; what comes after the break is not passed off as true."""
    log = home / ".stravinsky/rollback/audit/operations.log"
    log.write_bytes(log.read_bytes().replace(b'"MANUAL_ROLLBACK"', b'"AUTO_ROLLBACK"', 1))
    result = run("audit", "export", "--format", "jsonl")
    assert result.exit_code == 3
    assert result.stderr.startswith("audit_broken: ")
    assert [json.loads(line)["seq"] for line in result.stdout.splitlines()] == [1, 2, 3]


def test_a_log_that_is_not_checked_says_so(run: Run, eventful: None, home: Path) -> None:
    """`audit.tamper_detection_enabled` off: every page tells, and `audit verify` looks all the same."""
    store = home / ".stravinsky/rollback"
    (store / "config.json").write_text(
        '{"version": "1.0", "audit": {"tamper_detection_enabled": false}}', encoding="utf-8"
    )
    chain_found = _log(run)["chain"]
    assert (chain_found["checked"], chain_found["intact"]) == (False, True)
    assert "tamper_detection_enabled" in chain_found["problem"]
    assert chain_found["verified_from_seq"] == chain_found["events"] + 1
    assert "not checked" in run("audit", "log").stdout
    log = store / "audit" / "operations.log"
    log.write_bytes(log.read_bytes().replace(b'"MANUAL_ROLLBACK"', b'"AUTO_ROLLBACK"', 1))
    assert run("backup", "create", "v9").exit_code == 0
    assert run("audit", "verify").exit_code == 3


def test_without_audit_logging_what_history_needs_is_still_recorded(run: Run, eventful: None, home: Path) -> None:
    """`audit.enable_audit_logging` off: refusals are not recorded; backups, restores and their states are."""
    (home / ".stravinsky/rollback/config.json").write_text(
        '{"version": "1.0", "audit": {"enable_audit_logging": false}}', encoding="utf-8"
    )
    before = _log(run)["chain"]["events"]
    assert run("rollback", "to", "v9", "--yes").exit_code == 1
    assert _log(run)["chain"]["events"] == before
    assert run("undo", "--yes").exit_code == 0
    assert _log(run, "--type", "UNDO")["events"][0]["status"] == "success"
