"""``stravinsky-rollback audit``: the tamper-evident log of everything done, refused and found."""

from collections.abc import Callable

import click

from stravinsky_rollback_mcp.cli.export import export
from stravinsky_rollback_mcp.cli.terminal import Terminal, example, with_terminal
from stravinsky_rollback_mcp.errors import EXIT_DONE, EXIT_PROBLEMS_FOUND


@click.group()
def audit() -> None:
    """Read and check the log of what was done, refused and found."""


def _event_types() -> list[str]:
    from stravinsky_rollback_mcp.service import EventType

    return [str(item) for item in EventType]


def _statuses() -> list[str]:
    from stravinsky_rollback_mcp.service import EventStatus

    return [str(item) for item in EventStatus]


def _one_of(known: Callable[[], list[str]]) -> Callable[..., str | None]:
    """A check that a word is known, in either case; the words are looked up when one is given, not at start-up."""

    def check(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        words = {word.lower(): word for word in known()} if value is not None else {}
        if value is not None and value.lower() not in words:
            raise click.BadParameter(f"{value!a} is not one of {', '.join(words.values())}.", context, parameter)
        return value and words[value.lower()]

    return check


def _completed_from(known: Callable[[], list[str]]) -> Callable[..., list[str]]:
    def complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        return [word for word in known() if word.lower().startswith(incomplete.lower())]

    return complete


@audit.command(epilog=example("audit log --type MANUAL_ROLLBACK --from 7d"))
@click.option(
    "--type",
    "event_type",
    metavar="TYPE",
    callback=_one_of(_event_types),
    shell_complete=_completed_from(_event_types),
    help="Only this type of event.",
)
@click.option("--version", metavar="VERSION", help="Only what concerns this backup.")
@click.option(
    "--status",
    metavar="STATUS",
    callback=_one_of(_statuses),
    shell_complete=_completed_from(_statuses),
    help="Only what ended so, e.g. refused.",
)
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


@audit.command(epilog=example("audit verify --json"))
@with_terminal
def verify(terminal: Terminal) -> int:
    """Check every record of the log from the first on; exit status 3 when the chain is broken."""
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import VerifyAuditResult

    found = terminal.ask(lambda service, caller: service.verify_audit(caller))
    terminal.show(VerifyAuditResult.model_validate(found), render.chain, is_good=found.chain.intact)
    return EXIT_DONE if found.chain.intact else EXIT_PROBLEMS_FOUND


audit.add_command(export)
