"""The demonstration: the shipped client against the installed server, as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from support.tree import build, snapshot

from stravinsky_rollback_mcp.cli import demo

WAIT_SECONDS = 60.0  # two processes that start on a busy machine, and nine steps


def _demo(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from stravinsky_rollback_mcp.cli import main; main()", "demo", *arguments],
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=WAIT_SECONDS,
        check=False,
    )


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where the demonstration makes its home."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_demo_proves_every_step_and_leaves_nothing(scratch: Path, home: Path) -> None:
    """Mission: the main job on real input, readable in a terminal; the own home is not touched."""
    done = _demo(scratch)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("all 10 checks passed ")
    assert sum("✓" in line for line in lines) == 10
    assert sum("✓ as before the accidents: 8" in line for line in lines) == 2
    assert sum("✓ as after the accidents: " in line for line in lines) == 1
    assert "\x1b" not in done.stdout
    assert max(map(len, lines)) <= 80
    assert list(scratch.iterdir()) == []
    assert snapshot(home) == {b"": ("folder", 0o755, b"")}


@pytest.mark.long
def test_demo_keeps_what_it_made_when_asked(scratch: Path) -> None:
    """``--keep`` is for who wants to look."""
    done = _demo(scratch, "--keep")
    assert done.returncode == 0, done.stdout
    (kept,) = scratch.iterdir()
    assert f"Kept: {kept}\n" in done.stdout
    assert (kept / ".stravinsky" / "rollback" / "backups" / "v1" / "manifest.json").is_file()


def test_demo_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A proof that cannot fail proves nothing: bytes, a mode and a name that differ are each found."""
    home = tmp_path / "made-up"
    build(home, {".claude": {"hooks": {"a.sh": "one\n", "b.sh": "two\n", "c.sh": "three\n"}}})
    shown = demo._Demonstration(Console(), str(home))
    before = shown._stage.snapshot()
    shown._check_equal(before, "as it was")
    (home / ".claude/hooks/a.sh").write_text("ONE\n", encoding="utf-8")
    (home / ".claude/hooks/b.sh").chmod(0o755)
    (home / ".claude/hooks/c.sh").rename(home / ".claude/hooks/d.sh")
    with pytest.raises(demo._FailedError) as failure:
        shown._check_equal(before, "as it was")
    names = ", ".join(f".claude/hooks/{letter}.sh" for letter in "abcd")
    assert str(failure.value) == f"as it was: 4 entries differ: {names}"
