"""Every script in `examples/` runs as a person would run it, and touches nothing of that person's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.config import realistic
from support.tree import snapshot

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.name)
def test_an_example_runs_in_a_place_of_its_own(script: Path, home: Path, project: Path) -> None:
    """Exit 0, nothing on standard error, and the home and project that it was started from are as before."""
    realistic(home, project)
    before = snapshot(home), snapshot(project)
    run = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
        env={**os.environ},
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert (snapshot(home), snapshot(project)) == before


def test_the_scripted_client_tells_the_whole_story(home: Path) -> None:
    """Each tool of the story says what it did; the audit names them in order."""
    (script,) = [script for script in EXAMPLES if script.name == "scripted_client.py"]
    run = subprocess.run([sys.executable, str(script)], capture_output=True, encoding="utf-8", check=True, timeout=60)
    tools = [line.split()[0] for line in run.stdout.splitlines() if line[:1].isalpha()]
    story = ["create_backup", "list_backups", "rollback_to", "rollback_to", "undo", "redo", "query_audit"]
    assert tools == story
    events = [line.split()[1] for line in run.stdout.splitlines() if line[:4].strip().isdigit() and "success" in line]
    known = [event for event in events if event != "DRIFT_DETECTED"]
    assert known == ["BACKUP_CREATED", "BACKUP_CREATED", "MANUAL_ROLLBACK", "UNDO", "REDO"]
