"""``stravinsky-rollback check``: what is wrong with the configuration, live or in a backup."""

import click

from stravinsky_rollback_mcp.cli.terminal import Terminal, example, with_terminal
from stravinsky_rollback_mcp.errors import EXIT_DONE, EXIT_PROBLEMS_FOUND


@click.command(epilog=example("check before-cleanup"))
@click.argument("version", required=False)
@with_terminal
def check(terminal: Terminal, *, version: str | None) -> int:
    """Say what Claude Code would not load, which hooks would lock a session, and which guard nothing.

    Looks at what is live, or at what backup VERSION holds; no hook is run. Exit status 3 when there are errors, not for
    warnings.
    """
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import CheckConfigResult

    found = terminal.ask(lambda service, caller: service.check_config(caller, version=version))
    terminal.show(CheckConfigResult.model_validate(found), render.checked, is_good=found.ok)
    return EXIT_DONE if found.ok else EXIT_PROBLEMS_FOUND
