"""``stravinsky-rollback backup``: make, list, show and verify backups, and keep the store small."""

import click

from stravinsky_rollback_mcp.cli.terminal import Terminal, example, with_terminal
from stravinsky_rollback_mcp.errors import EXIT_DONE, EXIT_PROBLEMS_FOUND


@click.group()
def backup() -> None:
    """Make, list, show and verify backups, and keep the store small."""


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


@backup.command(epilog=example("backup pin v1"))
@click.argument("version")
@with_terminal
def pin(terminal: Terminal, *, version: str) -> None:
    """Keep backup VERSION whatever the limits say."""
    _show_pin(terminal, terminal.ask(lambda service, caller: service.pin(caller, version=version)))


@backup.command(epilog=example("backup unpin v1"))
@click.argument("version")
@with_terminal
def unpin(terminal: Terminal, *, version: str) -> None:
    """Let the limits hold for backup VERSION again."""
    _show_pin(terminal, terminal.ask(lambda service, caller: service.unpin(caller, version=version)))


def _show_pin(terminal: Terminal, outcome: object) -> None:
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import PinResult

    terminal.show(PinResult.model_validate(outcome), render.spoken)


@backup.command(epilog=example("backup cleanup --keep 3 --dry-run"))
@click.option(
    "--keep", type=click.IntRange(1), metavar="N", help="This once, keep N named and N other backups of each project."
)
@click.option("--dry-run", is_flag=True, help="Only show what would go and what stays, and why.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_terminal
def cleanup(terminal: Terminal, *, keep: int | None, dry_run: bool, yes: bool) -> None:
    """Remove what the limits call for, and put damaged backups into quarantine.

    Pinned backups, the newest of each project and what undo may ask for always stay.
    """
    from stravinsky_rollback_mcp.cli import tables
    from stravinsky_rollback_mcp.schema import CleanupResult

    plan = CleanupResult.model_validate(terminal.ask(lambda service, caller: service.cleanup(caller, keep=keep)))
    going = frozenset(item.version for item in plan.backups if item.action == "remove")
    is_idle = all(item.action == "keep" for item in plan.backups)
    if dry_run or is_idle:
        terminal.show(plan, tables.fates)
        return
    if not yes:
        terminal.require_agreement("cleanup", {"keep": keep}, (plan, tables.fates), "Do this?", sorted(going))
    done = terminal.ask(lambda service, caller: service.cleanup(caller, keep=keep, agreed=going))
    terminal.show(CleanupResult.model_validate(done), tables.fates)


@backup.command(epilog=example("backup forget v1 --dry-run"))
@click.argument("version")
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_terminal
def forget(terminal: Terminal, *, version: str, dry_run: bool, yes: bool) -> None:
    """Remove backup VERSION, and every other that shares an archive with it.

    For what must not stay stored, such as a key in old settings: no copy of those archives is left. The limits of
    the store never do that; this cannot be undone.
    """
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import ForgetResult

    plan = ForgetResult.model_validate(terminal.ask(lambda service, caller: service.forget(caller, version=version)))
    if dry_run:
        terminal.show(plan, render.forgotten)
        return
    if not yes:
        lines = [*plan.versions, *plan.warnings]
        question = "Forget this for good?"
        terminal.require_agreement("forget", {"version": version}, (plan, render.forgotten), question, lines)
    agreed = frozenset(plan.versions)
    done = terminal.ask(lambda service, caller: service.forget(caller, version=version, agreed=agreed))
    terminal.show(ForgetResult.model_validate(done), render.forgotten)


backup.add_command(list_backups)
backup.add_command(show_backup)
