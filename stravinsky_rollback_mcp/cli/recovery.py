"""``stravinsky-rollback recovery``: what to do when something was interrupted."""

import click

from stravinsky_rollback_mcp.cli.terminal import Terminal, example, with_terminal


@click.group()
def recovery() -> None:
    """Bring an interrupted operation to its end."""


@recovery.command(epilog=example("recovery resume"))
@with_terminal
def resume(terminal: Terminal) -> None:
    """Finish what was interrupted, or take it back: nothing stays half done.

    Every command that changes something does this first by itself.
    """
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import ResumeResult

    resumed = terminal.ask(lambda service, caller: service.resume(caller))
    terminal.show(ResumeResult.model_validate(resumed), render.spoken)
