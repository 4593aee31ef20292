"""The commands, run as a person or a program would: in this process, or as one of its own at a terminal."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from click.testing import CliRunner, Result
from support.config import realistic

from stravinsky_rollback_mcp.cli import main

WAIT_SECONDS = 30.0  # a start of Python on a busy machine; nothing waits that long when all is well

Run: TypeAlias = Callable[..., Result]
Type: TypeAlias = Callable[..., tuple[int, str]]


@pytest.fixture
def configured(home: Path, project: Path) -> tuple[Path, Path]:
    """Both scopes as people have them; the user's and the project's root."""
    return realistic(home, project)


@pytest.fixture
def run() -> Run:
    """Run a command without a terminal, eighty columns wide."""

    def run(*arguments: str, **environment: str | None) -> Result:
        return CliRunner().invoke(
            main, arguments, env={"COLUMNS": "80", **environment}, prog_name="stravinsky-rollback"
        )

    return run


@pytest.fixture
def at_terminal() -> Type:
    """Run a command in a process of its own whose streams are a terminal, and type ``typed`` at its first question."""

    def at_terminal(*arguments: str, typed: str = "", **environment: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", "from stravinsky_rollback_mcp.cli import main; main()", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "COLUMNS": "80", "TERM": "xterm-256color", **environment},
            start_new_session=True,
        )
        os.close(theirs)
        try:
            shown = _converse(ours, typed)
            return process.wait(WAIT_SECONDS), shown
        finally:
            process.kill()
            process.wait()
            os.close(ours)

    return at_terminal


def _converse(terminal: int, typed: str) -> str:
    shown = b""
    deadline = time.monotonic() + WAIT_SECONDS
    is_answered = not typed
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], deadline - time.monotonic())
        if not ready:
            break
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other side is closed; macOS returns nothing
            break
        if not piece:
            break
        shown += piece
        if not is_answered and b"[y/N]" in shown:
            os.write(terminal, typed.encode())
            is_answered = True
    return shown.decode()
