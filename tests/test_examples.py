"""Every script in `examples/` runs as a person would run it, and touches nothing of that person's."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.config import realistic
from support.tree import snapshot

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


def the_story(said: str) -> None:
    """Each tool of the story says what it did; the audit names them in order."""
    tools = [line.split()[0] for line in said.splitlines() if line[:1].isalpha()]
    story = ["create_backup", "list_backups", "rollback_to", "rollback_to", "undo", "redo", "query_audit"]
    assert tools == story
    events = [line.split()[1] for line in said.splitlines() if line[:4].strip().isdigit() and "success" in line]
    known = [event for event in events if event != "DRIFT_DETECTED"]
    assert known == ["BACKUP_CREATED", "BACKUP_CREATED", "MANUAL_ROLLBACK", "UNDO", "REDO"]


TELLS = {"scripted_client.py": the_story}


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.name)
def test_an_example_runs_in_a_place_of_its_own(script: Path, home: Path, project: Path) -> None:
    """Exit 0, nothing on standard error, what it tells, and the home and project that it ran from are as before."""
    realistic(home, project)
    before = snapshot(home), snapshot(project)
    run = subprocess.run([sys.executable, str(script)], capture_output=True, encoding="utf-8", check=False, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    assert (snapshot(home), snapshot(project)) == before
    TELLS[script.name](run.stdout)
