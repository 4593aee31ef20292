"""``stravinsky-rollback audit export``: the whole audit as a stream that other programs read."""

import csv
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from stravinsky_rollback_mcp.cli.terminal import Terminal, example, with_terminal
from stravinsky_rollback_mcp.errors import EXIT_DONE, EXIT_PROBLEMS_FOUND, Code, RollbackError

if TYPE_CHECKING:
    from stravinsky_rollback_mcp.schema import Event

# What makes a spreadsheet take a cell for a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@click.command(epilog=example("audit export --format csv > audit.csv"))
@click.option(
    "--format", "form", type=click.Choice(["csv", "json", "jsonl"]), required=True, help="One of these, UTF-8."
)
@with_terminal
def export(terminal: Terminal, *, form: str) -> int:
    """Write every event that is kept to standard output, oldest first, archives included, each as it was recorded.

    Exit status 3 when the chain is broken: then what lies before the first bad record is written.
    """
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import event_of

    writer = {"csv": _Csv, "json": _Json, "jsonl": _JsonLines}[form]()
    found = terminal.ask(
        lambda service, caller: service.export_audit(caller, lambda record: writer.write(event_of(record)))
    )
    writer.end()
    if found.chain.intact:
        return EXIT_DONE
    error = RollbackError(Code.AUDIT_BROKEN, found.summary, "compare with a seq and head that you noted elsewhere.")
    render.refusal(terminal.console_for_trouble(), error)
    return EXIT_PROBLEMS_FOUND


class _JsonLines:
    """One JSON object a line."""

    def write(self, event: "Event") -> None:
        sys.stdout.write(event.model_dump_json() + "\n")

    def end(self) -> None:
        pass


class _Json:
    """One JSON array."""

    def __init__(self) -> None:
        self._opening = "["

    def write(self, event: "Event") -> None:
        sys.stdout.write(f"{self._opening}\n{event.model_dump_json()}")
        self._opening = ","

    def end(self) -> None:
        sys.stdout.write("[]\n" if self._opening == "[" else "\n]\n")


class _Csv:
    """A header and one row an event; lists and objects as JSON in their cell; no cell is a formula."""

    def __init__(self) -> None:
        self._rows: Callable[[list[str]], object] = csv.writer(sys.stdout, lineterminator="\r\n").writerow
        self._is_begun = False

    def write(self, event: "Event") -> None:
        cells = event.model_dump(mode="json")
        cells = {**{f"actor_{name}": value for name, value in cells.pop("actor").items()}, **cells}
        cells = {name: cells[name] for name in self._columns()}
        self._begin()
        self._rows([_cell(value) for value in cells.values()])

    def end(self) -> None:
        self._begin()

    def _begin(self) -> None:
        if not self._is_begun:
            self._rows(self._columns())
            self._is_begun = True

    @staticmethod
    def _columns() -> list[str]:
        from stravinsky_rollback_mcp.schema import ActorResult, Event

        names = [name for name in Event.model_fields if name != "actor"]
        return [*names, *(f"actor_{name}" for name in ActorResult.model_fields)]


def _cell(value: object) -> str:
    """The text of a cell; a quote in front keeps a spreadsheet from reckoning with it."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) else text
