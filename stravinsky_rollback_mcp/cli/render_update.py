"""What people read about updates."""

from rich.console import Console

from stravinsky_rollback_mcp.cli import render
from stravinsky_rollback_mcp.cli.words import for_terminal
from stravinsky_rollback_mcp.schema import BeginUpdateResult, FinishUpdateResult, RunUpdateResult

_STYLES = {"verified": "bold green", "rolled_back": "bold yellow", "needs_attention": "bold red"}


def begun(console: Console, answer: BeginUpdateResult) -> None:
    """An update is open."""
    render.notices(console, answer)
    render.lines(console, "Findings:", map(render.finding, answer.findings), "yellow")
    render.line(console, answer.summary, "bold")
    render.next_step(console, answer.next_step)


def finished(console: Console, answer: FinishUpdateResult) -> None:
    """How an update ended, and what it did to the person's own files."""
    render.notices(console, answer)
    render.lines(console, "Findings:", map(render.finding, answer.findings), "yellow")
    if answer.rollback is not None:
        render.changes(console, answer.rollback)
    render.line(console, for_terminal(answer.summary), _STYLES[answer.outcome])
    for lost in answer.lost:
        render.line(console, f"{lost.path} was {lost.action}; your own comes back with:", "yellow", indent=2)
        render.line(console, lost.bring_back, indent=4)
    render.next_step(console, answer.next_step)


def ran(console: Console, answer: RunUpdateResult) -> None:
    """The same, below the output of the command itself."""
    command = answer.command
    how = f"exited with {command.exit_code}" if command.signal is None else f"was killed by {command.signal}"
    more = " after its time was up" if command.timed_out else ""
    interrupted = "" if command.interrupted_by is None else f" (interrupted by {command.interrupted_by})"
    never = command.exit_code is None and command.signal is None
    render.line(console, "The command was not run." if never else f"The command {how}{more}{interrupted}.", "dim")
    finished(console, answer)
