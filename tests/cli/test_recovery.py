"""``recovery``, and what the other commands do with an operation that a killed process left."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.tree import Snapshot, snapshot

from stravinsky_rollback_mcp import schema

Run = Callable[..., Result]

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
    killed = subprocess.run([sys.executable, "-c", _KILLED], capture_output=True, timeout=30, check=False)
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
