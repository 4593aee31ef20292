"""``stravinsky-rollback compare``: what differs, as a diff that shows no secret."""

import click

from stravinsky_rollback_mcp.cli.terminal import Terminal, example, with_terminal
from stravinsky_rollback_mcp.errors import EXIT_DONE, EXIT_PROBLEMS_FOUND


@click.command(epilog=example("compare v1 --path ~/.claude/settings.json"))
@click.argument("version", required=False)
@click.argument("other", required=False)
@click.option("--path", metavar="PATH", help="Only what lies at or below this path.")
@click.option("--cursor", metavar="CURSOR", help="Where the page before ended.")
@with_terminal
def compare(terminal: Terminal, *, version: str | None, other: str | None, path: str | None, cursor: str | None) -> int:
    """Show what differs from VERSION to OTHER, secret values masked; exit status 3 when anything does.

    Without OTHER that is what is live, without VERSION it begins at the last known state.
    """
    from stravinsky_rollback_mcp.cli import diff
    from stravinsky_rollback_mcp.schema import CompareResult

    found = terminal.ask(
        lambda service, caller: service.compare(caller, version=version, other=other, path=path, cursor=cursor)
    )
    terminal.show(CompareResult.model_validate(found), diff.compared, is_good=not found.changes)
    return EXIT_PROBLEMS_FOUND if found.changes else EXIT_DONE
