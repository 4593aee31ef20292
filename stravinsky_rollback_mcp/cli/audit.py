"""``stravinsky-rollback audit``: the tamper-evident log of everything done, refused and found."""

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from stravinsky_rollback_mcp.cli.terminal import Terminal, with_terminal
from stravinsky_rollback_mcp.errors import EXIT_DONE, EXIT_PROBLEMS_FOUND


@click.group()
def audit() -> None:
    """Read and check the log of backups, restores, outside changes and refusals."""


def _event_types() -> list[str]:
    from stravinsky_rollback_mcp.service import EventType

    return [str(item) for item in EventType]


def _statuses() -> list[str]:
    from stravinsky_rollback_mcp.service import EventStatus

    return [str(item) for item in EventStatus]


class _Word(click.ParamType):
    """One of a list of words, in either case; the list is looked up when a word is given, not at start-up."""

    name = "word"

    def __init__(self, known: Callable[[], list[str]]) -> None:
        self._known = known

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        known = {word.lower(): word for word in self._known()}
        word = known.get(value.lower())
        if word is None:
            self.fail(f"{value!a} is not one of {', '.join(known.values())}.", param, ctx)
        return word

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del ctx, param  # the words are the same wherever they are asked for
        return [CompletionItem(word) for word in self._known() if word.lower().startswith(incomplete.lower())]


@audit.command(epilog="Example: stravinsky-rollback audit log --type MANUAL_ROLLBACK --from 7d")
@click.option("--type", "event_type", type=_Word(_event_types), metavar="TYPE", help="Only this type of event.")
@click.option("--version", metavar="VERSION", help="Only what concerns this backup.")
@click.option("--status", type=_Word(_statuses), metavar="STATUS", help="Only what ended so, e.g. refused.")
@click.option("--path", metavar="PATH", help="Only what touched this path.")
@click.option("--from", "since", metavar="TIME", help="Not before: 2026-11-23T09:00:00Z, 7d, 24h, 30m.")
@click.option("--to", "until", metavar="TIME", help="Not after.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many on a page.")
@click.option("--cursor", metavar="CURSOR", help="Where the page before ended.")
@with_terminal
def log(
    terminal: Terminal,
    *,
    event_type: str | None,
    version: str | None,
    status: str | None,
    path: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List events, newest first: what happened, when, and who asked."""
    from stravinsky_rollback_mcp.cli import tables
    from stravinsky_rollback_mcp.schema import query_audit_result
    from stravinsky_rollback_mcp.service import EventStatus, EventType

    page = terminal.ask(
        lambda service, caller: service.query_audit(
            caller,
            event_type=None if event_type is None else EventType(event_type),
            version=version,
            status=None if status is None else EventStatus(status),
            path=path,
            since=since,
            until=until,
            limit=limit,
            cursor=cursor,
        )
    )
    terminal.show(query_audit_result(page), tables.events)


@audit.command(epilog="Example: stravinsky-rollback audit verify --json")
@with_terminal
def verify(terminal: Terminal) -> int:
    """Check every record of the log from the first on; exit status 3 when the chain is broken."""
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import VerifyAuditResult

    found = terminal.ask(lambda service, caller: service.verify_audit(caller))
    terminal.show(VerifyAuditResult.model_validate(found), render.chain, is_good=found.chain.intact)
    return EXIT_DONE if found.chain.intact else EXIT_PROBLEMS_FOUND
