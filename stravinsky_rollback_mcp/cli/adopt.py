"""``stravinsky-rollback adopt``: a project that moved keeps its backups, its history and its undo."""

import click

from stravinsky_rollback_mcp.cli.terminal import Terminal, example, with_terminal


@click.command(epilog=example("adopt ~/where/this/project/was --dry-run"))
@click.argument("old_path", metavar="OLDPATH")
@click.option("--dry-run", is_flag=True, help="Only show what would be taken over.")
@click.option("--yes", is_flag=True, help="Do not ask, also where OLDPATH still holds a configuration.")
@with_terminal
def adopt(terminal: Terminal, *, old_path: str, dry_run: bool, yes: bool) -> None:
    """Let this project have what is recorded of OLDPATH, the path that it had before it was moved.

    Its backups stay as they are on disk. It asks only where OLDPATH still holds a configuration.
    """
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import AdoptResult

    found = terminal.ask(lambda service, caller: service.adopt(caller, old_path=old_path, dry_run=True))
    plan = AdoptResult.model_validate(found)
    if dry_run:
        terminal.show(plan, render.adopted)
        return
    if plan.warnings and not yes:
        question = "Take its backups over all the same?"
        terminal.require_agreement("adopt", {"old_path": old_path}, (plan, render.adopted), question, plan.warnings)
    done = terminal.ask(lambda service, caller: service.adopt(caller, old_path=old_path, is_agreed=True))
    terminal.show(AdoptResult.model_validate(done), render.adopted)
