"""``hook``: what Claude Code's own hooks call. It keeps, it stays silent, and it never denies anything."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.attacker import records_of
from support.config import realistic
from support.tree import snapshot

from stravinsky_rollback_mcp.cli import main
from stravinsky_rollback_mcp.core.model import EventStatus, EventType
from stravinsky_rollback_mcp.errors import EXIT_USAGE

# What Claude Code sends before a tool (2.1.330); there is more in it, and others send less.
EVENT: Mapping[str, object] = {
    "session_id": "0b6c9d52",
    "transcript_path": "/nowhere/t.jsonl",
    "cwd": "/nowhere",
    "hook_event_name": "PreToolUse",
    "tool_name": "Edit",
    "tool_use_id": "toolu_01",
    "tool_input": {"file_path": "/nowhere/a", "new_string": "MARKER"},
}
Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def configured(home: Path, project: Path) -> tuple[Path, Path]:
    """Both scopes as people have them; the user's and the project's root."""
    return realistic(home, project)


@pytest.fixture
def event() -> Run:
    """Have an event told, any bytes or a document."""

    def event(content: bytes | Mapping[str, object] = EVENT, *options: str) -> Result:
        told = content if isinstance(content, bytes) else json.dumps(content).encode()
        return CliRunner().invoke(main, ["hook", *options], input=told, prog_name="stravinsky-rollback")

    return event


def test_a_new_state_is_kept_silently_and_who_changed_it_is_on_record(event: Run, home: Path) -> None:
    """Nothing on standard output, which a model would read; the audit has event, session, tool and call."""
    done = event()
    assert (done.exit_code, done.output) == (0, "")
    (made,) = (record.draft for record in records_of(home))
    assert (made.event_type, made.status) == (EventType.BACKUP_CREATED, EventStatus.SUCCESS)
    assert made.details is not None
    assert (made.details["made_by"], made.details["kind"]) == ("hook", "automatic")
    actor = made.actor
    assert (actor.kind, actor.name, actor.session_id) == ("hook", "PreToolUse", "0b6c9d52")
    assert (actor.tool, actor.tool_use_id, actor.certainty) == ("Edit", "toolu_01", "seen")
    assert b"MARKER" not in (home / ".stravinsky/rollback/audit/operations.log").read_bytes()


def test_a_state_that_a_backup_holds_leaves_no_trace(event: Run, home: Path) -> None:
    """A hook runs hundreds of times a session."""
    event()
    before = snapshot(home / ".stravinsky")
    done = event()
    assert (done.exit_code, done.output) == (0, "")
    assert snapshot(home / ".stravinsky") == before


def test_each_change_between_two_events_can_be_gone_back_to(event: Run, configured: tuple[Path, Path]) -> None:
    """Undo walks through every state that a hook saw."""
    script = configured[0] / "hooks" / "guard_bash.py"
    contents = [script.read_bytes(), b"# first edit\n", b"# second edit\n"]
    for content in contents:
        script.write_bytes(content)
        event()
    for content in reversed(contents[:-1]):
        undone = CliRunner().invoke(main, ["undo", "--yes"])
        assert undone.exit_code == 0, undone.output
        assert script.read_bytes() == content


@pytest.mark.parametrize("name", ["PostToolUse", "PreToolUse"])
def test_a_change_found_behind_a_call_is_inferred_to_be_its_work(
    event: Run, home: Path, configured: tuple[Path, Path], name: str
) -> None:
    """Before a call nothing tells who it was; another session may be at work, so it is never said to be seen."""
    event()
    (configured[0] / "hooks" / "guard_bash.py").write_text("# edited\n", encoding="utf-8")
    event({**EVENT, "hook_event_name": name})
    (drift,) = [item.draft for item in records_of(home) if item.draft.event_type is EventType.DRIFT_DETECTED]
    actor = drift.actor
    found = (actor.kind, actor.session_id, actor.tool, actor.tool_use_id, actor.certainty)
    is_after = name == "PostToolUse"
    assert found == (
        ("session", "0b6c9d52", "Edit", "toolu_01", "inferred") if is_after else ("unknown", "", "", "", "unknown")
    )
    assert drift.details is not None
    assert (drift.details["noticed_by"], drift.details["noticed_in_session"]) == (f"hook {name}", "0b6c9d52")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json \xff",
        b"[1]",
        b"[" * 100_000,
        json.dumps({"hook_event_name": 1, "session_id": ["x"], "tool_name": {"a": 1}, "tool_use_id": None}).encode(),
        json.dumps({"hook_event_name": "\ud800\x1b[2J\n" * 1000, "session_id": "\0" * 10_000}).encode(),
    ],
    ids=["nothing", "no JSON", "a list", "a tower", "other types", "odd text"],
)
def test_whatever_the_event_is_the_state_is_kept(event: Run, home: Path, content: bytes) -> None:
    """Protection does not depend on what another program sends."""
    done = event(content)
    assert (done.exit_code, done.output) == (0, "")
    (made,) = (record.draft for record in records_of(home))
    assert made.event_type is EventType.BACKUP_CREATED
    assert len(made.actor.name) <= 100
    assert len(made.actor.session_id) <= 200


def test_what_cannot_be_kept_is_said_and_denies_nothing(
    event: Run, home: Path, configured: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 1 is shown to the person by Claude Code; only 2 would deny. The refusal is on record."""
    (configured[0] / "hooks" / "large.bin").write_bytes(b"x" * ((1 << 20) + 1))
    monkeypatch.setenv("STRAVINSKY_BACKUP_MAX_FILE_SIZE_MB", "1")
    done = event()
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "too_large" in done.stderr
    (refused,) = (record.draft for record in records_of(home))
    assert (refused.event_type, refused.error) == (EventType.REFUSED, "too_large")


@pytest.mark.parametrize("wrong", [("--bogus",), ("extra",), ("--project",)])
def test_wrong_usage_does_not_deny_either(event: Run, wrong: tuple[str, ...]) -> None:
    """A hook that was written for another version of this program must not lock the session."""
    done = event(EVENT, *wrong)
    assert done.exit_code not in {0, EXIT_USAGE}
    assert done.stdout == ""
    assert done.stderr


def test_it_loads_neither_the_protocol_nor_the_models(home: Path, project: Path) -> None:
    """It stands before each call of a tool, so it must be quick."""
    code = (
        "import sys\n"
        "from stravinsky_rollback_mcp.cli import main\n"
        "main(['hook'], standalone_mode=False)\n"
        "print(sorted({'mcp', 'pydantic', 'rich', 'jsonschema', 'yaml'} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], input=b"{}", capture_output=True, check=True)
    assert (run.stdout.strip(), run.stderr) == (b"[]", b"")
