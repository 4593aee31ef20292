"""A comparison for people: each target in a line, then the diff in colours that read without them too."""

from rich.console import Console
from rich.text import Text

from stravinsky_rollback_mcp.cli.render import change_heading, finding, line, lines, next_step, notices, paragraph
from stravinsky_rollback_mcp.cli.words import inert
from stravinsky_rollback_mcp.schema import CompareResult

_STYLES = (
    ("--- ", "bold"),
    ("+++ ", "bold"),
    ("@@ ", "cyan"),
    ("-", "red"),
    ("+", "green"),
    (" ", ""),
)


def compared(console: Console, answer: CompareResult) -> None:
    """What differs, file by file; what going back would loosen."""
    notices(console, answer)
    line(console, answer.summary, "bold yellow" if answer.changes else "bold green")
    for change in answer.changes:
        paragraph(console, change_heading(change))
    if answer.diff:
        console.print()
    for text in answer.diff.splitlines():
        _diff_line(console, text)
    if answer.next_cursor is not None:
        line(console, f"More with --cursor {answer.next_cursor}", "dim")
    if answer.not_compared or answer.security_changes or answer.findings:
        console.print()
    lines(console, "Not compared:", answer.not_compared, "yellow")
    lines(console, "Going back makes less safe:", (f"! {item}" for item in answer.security_changes), "red")
    lines(console, "Findings on going back:", map(finding, answer.findings), "yellow")
    if answer.plan_id is not None:
        next_step(console, "To go back: `stravinsky-rollback rollback to`, or `undo`; both show this first and ask.")


def _diff_line(console: Console, text: str) -> None:
    """One line, folded at the width of the terminal so that nothing of it is lost."""
    style = next((style for start, style in _STYLES if text.startswith(start)), "yellow")
    if text.startswith(("--- ", "+++ ")):
        text = text.replace("\t", "  ")
    safe = inert(text)
    for start in range(0, max(len(safe), 1), console.width):
        console.print(Text(safe[start : start + console.width].rstrip(), style=style), soft_wrap=True)
