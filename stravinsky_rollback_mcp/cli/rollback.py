"""``stravinsky-rollback rollback``, ``undo`` and ``redo``: look first, ask, then do exactly what was shown."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import click

from stravinsky_rollback_mcp.cli.backup import list_backups, show_backup
from stravinsky_rollback_mcp.cli.terminal import WITHOUT_AUDIT, Decorated, Terminal, example, with_terminal

if TYPE_CHECKING:
    from stravinsky_rollback_mcp.schema import RestoreResult
    from stravinsky_rollback_mcp.service import Caller, Consent, RollbackService


def with_consent(function: Decorated) -> Decorated:
    """The options of everything that changes the configuration."""
    for option in (
        click.option("--yes", is_flag=True, help="Do not ask; what gets less safe is accepted too."),
        click.option("--dry-run", is_flag=True, help="Only show what would change."),
        WITHOUT_AUDIT,
    ):
        function = option(function)
    return function


@click.group()
def rollback() -> None:
    """Go back to a backup, or a step back and forth."""


@rollback.command(epilog=example("rollback to v1 --only ~/.claude/hooks --dry-run"))
@click.argument("version")
@click.option("--only", multiple=True, metavar="PATH", help="Bring back this path alone; may be repeated.")
@click.option("--scope", type=click.Choice(["user", "project"]), help="Bring back one scope alone.")
@with_consent
@with_terminal
def to(terminal: Terminal, *, version: str, only: tuple[str, ...], scope: str | None, dry_run: bool, yes: bool) -> None:
    """Bring the configuration back to what backup VERSION holds.

    Instead of a name: @previous, an age such as @24h, or @2026-11-23T09:00:00Z.
    All of it or nothing. What is replaced is backed up first; `undo` takes the rollback back.
    """

    def perform(service: "RollbackService", caller: "Caller", consent: "Consent") -> "Awaitable[object]":
        from stravinsky_rollback_mcp.service import Scope

        wanted = None if scope is None else Scope(scope)
        return service.rollback_to(caller, version=version, only=only, scope=wanted, consent=consent)

    asked = {"version": version, "only": list(only), "scope": scope}
    restore(terminal, "rollback_to", asked, perform, dry_run=dry_run, yes=yes)


@rollback.command(epilog=example("rollback auto v1 --yes"))
@click.argument("version")
@with_consent
@with_terminal
def auto(terminal: Terminal, *, version: str, dry_run: bool, yes: bool) -> None:
    """Bring everything back to backup VERSION from a script, and record it as an automatic rollback."""
    restore(
        terminal,
        "roll_back_automatically",
        {"version": version},
        lambda service, caller, consent: service.roll_back_automatically(caller, version=version, consent=consent),
        dry_run=dry_run,
        yes=yes,
    )


@click.command(epilog=example("undo --dry-run"))
@with_consent
@with_terminal
def undo(terminal: Terminal, *, dry_run: bool, yes: bool) -> None:
    """Take back the last thing that happened to the configuration.

    That is an edit by anyone since the last known state, else the last rollback or change. Again goes further back.
    """
    restore(
        terminal,
        "undo",
        {},
        lambda service, caller, consent: service.undo(caller, consent=consent),
        dry_run=dry_run,
        yes=yes,
    )


@click.command(epilog=example("redo --yes"))
@with_consent
@with_terminal
def redo(terminal: Terminal, *, dry_run: bool, yes: bool) -> None:
    """Bring again what the last undo took back."""
    restore(
        terminal,
        "redo",
        {},
        lambda service, caller, consent: service.redo(caller, consent=consent),
        dry_run=dry_run,
        yes=yes,
    )


for _command in (list_backups, show_backup, undo, redo):
    rollback.add_command(_command)


def restore(
    terminal: Terminal,
    operation: str,
    asked: Mapping[str, object],
    perform: "Callable[[RollbackService, Caller, Consent], Awaitable[object]]",
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Show what would change, ask unless that is settled, and then do exactly what was shown."""
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import RestoreResult
    from stravinsky_rollback_mcp.service import Consent

    notices: tuple[str, ...] = ()
    if not dry_run:
        # What was interrupted is ended first: else the plan would be of a state that the next writer changes.
        resumed = terminal.ask(lambda service, caller: service.resume(caller))
        notices = resumed.notices if resumed.recovered else ()
    outcome = terminal.ask(lambda service, caller: perform(service, caller, Consent(dry_run=True)))
    plan = _with_notices(RestoreResult.model_validate(outcome), notices)
    if dry_run or plan.already_at_target:
        terminal.show(plan, render.plan)
        return
    if not yes:
        question = "Apply this, less safe settings included?" if plan.security_changes else "Apply this?"
        terminal.require_agreement(operation, asked, (plan, render.plan_to_agree_to), question, plan.security_changes)
    consent = Consent(accept=tuple(plan.security_changes), plan_id=plan.plan_id)
    done = terminal.ask(lambda service, caller: perform(service, caller, consent))
    answer = _with_notices(RestoreResult.model_validate(done), notices)
    # Who was asked has just seen the changes.
    terminal.show(answer, render.restored if yes else render.restored_in_short)


def _with_notices(answer: "RestoreResult", notices: tuple[str, ...]) -> "RestoreResult":
    return answer.model_copy(update={"notices": list(dict.fromkeys([*notices, *answer.notices]))})
