"""``stravinsky-rollback backup``: make, list, show and verify backups."""

import click

from stravinsky_rollback_mcp.cli.terminal import Terminal, example, with_terminal
from stravinsky_rollback_mcp.errors import EXIT_DONE, EXIT_PROBLEMS_FOUND


@click.group()
def backup() -> None:
    """Make, list, show and verify backups."""


@backup.command(epilog=example('backup create before-cleanup --note "tidy the hooks"'))
@click.argument("version", required=False)
@click.option("--note", default="", metavar="TEXT", help="Why, for people; one line.")
@with_terminal
def create(terminal: Terminal, *, version: str | None, note: str) -> None:
    """Back up the configuration as it is now, and read the backup back.

    Without VERSION a name is made up, and a state that the newest backup already holds is not stored again.
    """
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import CreateBackupResult

    made = terminal.ask(lambda service, caller: service.create_backup(caller, version=version, note=note))
    terminal.show(CreateBackupResult.model_validate(made), render.created)


@click.command("list", epilog=example("backup list --path ~/.claude/hooks/guard.py"))
@click.option("--all-projects", is_flag=True, help="Those of other projects too.")
@click.option("--path", metavar="PATH", help="Only backups in which this path changed.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many on a page.")
@click.option("--cursor", metavar="CURSOR", help="Where the page before ended.")
@with_terminal
def list_backups(terminal: Terminal, *, all_projects: bool, path: str | None, limit: int, cursor: str | None) -> None:
    """List backups, newest first, and what changed since the last known state."""
    from stravinsky_rollback_mcp.cli import tables
    from stravinsky_rollback_mcp.schema import ListBackupsResult

    page = terminal.ask(
        lambda service, caller: service.list_backups(
            caller, limit=limit, cursor=cursor, path=path, all_projects=all_projects
        )
    )
    terminal.show(ListBackupsResult.model_validate(page), tables.backups)


@click.command("show", epilog=example("backup show v1"))
@click.argument("version")
@with_terminal
def show_backup(terminal: Terminal, *, version: str) -> None:
    """Show one backup and what it holds of each target."""
    from stravinsky_rollback_mcp.cli import tables
    from stravinsky_rollback_mcp.schema import VerifyResult

    found = terminal.ask(lambda service, caller: service.show_backup(caller, version=version))
    terminal.show(VerifyResult.model_validate(found), tables.backup_in_detail)


@backup.command(epilog=example("backup verify && echo all intact"))
@click.argument("version", required=False)
@with_terminal
def verify(terminal: Terminal, *, version: str | None) -> int:
    """Read one backup, or all, back whole; exit status 3 when one is damaged."""
    from stravinsky_rollback_mcp.cli import tables
    from stravinsky_rollback_mcp.schema import VerifyResult

    found = terminal.ask(lambda service, caller: service.verify_backups(caller, version=version))
    terminal.show(VerifyResult.model_validate(found), tables.verified, is_good=found.ok)
    return EXIT_DONE if found.ok else EXIT_PROBLEMS_FOUND


backup.add_command(list_backups)
backup.add_command(show_backup)
