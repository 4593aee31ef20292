"""``stravinsky-rollback status``: everything at a glance."""

import click

from stravinsky_rollback_mcp.cli.terminal import Terminal, example, with_terminal


@click.command(epilog=example("status --json"))
@with_terminal
def status(terminal: Terminal) -> None:
    """Show what is live, stored and unfinished."""
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import StatusResult

    found = terminal.ask(lambda service, caller: service.status(caller))
    terminal.show(StatusResult.model_validate(found), render.overview)
