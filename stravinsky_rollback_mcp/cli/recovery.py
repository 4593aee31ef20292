"""``stravinsky-rollback recovery``: bring back what was lost, and what to do when something was interrupted."""

from typing import TYPE_CHECKING

import click

from stravinsky_rollback_mcp.cli.rollback import restore, with_consent
from stravinsky_rollback_mcp.cli.terminal import WITHOUT_AUDIT, Terminal, example, with_terminal
from stravinsky_rollback_mcp.errors import Code, RollbackError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from stravinsky_rollback_mcp.schema import VerifyAuditResult
    from stravinsky_rollback_mcp.service import Caller, Consent, RollbackService


@click.group()
def recovery() -> None:
    """Bring back what was lost, or an interrupted operation to its end."""


@recovery.command(epilog=example("recovery file ~/.claude/settings.json --pointer /env"))
@click.argument("path")
@click.argument("version", required=False)
@click.option("--pointer", metavar="POINTER", help="Bring back this key of a JSON file alone, as in /hooks/PreToolUse.")
@with_consent
@with_terminal
def file(terminal: Terminal, *, path: str, version: str | None, pointer: str | None, dry_run: bool, yes: bool) -> None:
    """Bring back one file, and nothing else, from backup VERSION.

    Without VERSION from the newest intact backup that has the file different from what is live. A key brings the hook
    scripts that it names along. `undo` takes it back.
    """
    _recover(terminal, "file", path, version, pointer, dry_run=dry_run, yes=yes)


@recovery.command(epilog=example("recovery directory ~/.claude/hooks --dry-run"))
@click.argument("path")
@click.argument("version", required=False)
@with_consent
@with_terminal
def directory(terminal: Terminal, *, path: str, version: str | None, dry_run: bool, yes: bool) -> None:
    """Bring back one directory as backup VERSION has it: what came since goes, what is in no backup stays.

    Without VERSION from the newest intact backup that has it different from what is live. `undo` takes it back.
    """
    _recover(terminal, "directory", path, version, None, dry_run=dry_run, yes=yes)


def _recover(
    terminal: Terminal,
    kind: str,
    path: str,
    version: str | None,
    pointer: str | None,
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    def perform(service: "RollbackService", caller: "Caller", consent: "Consent") -> "Awaitable[object]":
        from stravinsky_rollback_mcp.service import Kind, Lost

        lost = Lost(path=path, kind=Kind(kind), pointer=pointer)
        return service.recover(caller, lost=lost, version=version, consent=consent)

    if not dry_run:
        mend_audit(terminal, yes=yes)
    asked = {"path": path, "kind": kind, "pointer": pointer, "version": version}
    restore(terminal, "recover", asked, perform, dry_run=dry_run, yes=yes)


@recovery.command(epilog=example("recovery version v1 --dry-run"))
@click.argument("version")
@with_consent
@with_terminal
def version(terminal: Terminal, *, version: str, dry_run: bool, yes: bool) -> None:
    """Bring everything back to what backup VERSION holds."""
    if not dry_run:
        mend_audit(terminal, yes=yes)
    restore(
        terminal,
        "recover_version",
        {"version": version},
        lambda service, caller, consent: service.recover_version(caller, version=version, consent=consent),
        dry_run=dry_run,
        yes=yes,
    )


@recovery.command(epilog=example("recovery emergency --dry-run"))
@with_consent
@with_terminal
def emergency(terminal: Terminal, *, dry_run: bool, yes: bool) -> None:
    """Bring back the best that is left, when you do not know which backup is good.

    That is the newest backup which reads back whole and differs from what is there; else each folder and file from the
    newest backup in which that one is intact. Where nothing is intact, recovery/RECOVERY.md says what can be done by
    hand, and the exit status is 4.
    """
    if not dry_run:
        mend_audit(terminal, yes=yes)
    restore(
        terminal,
        "emergency",
        {},
        lambda service, caller, consent: service.emergency(caller, consent=consent),
        dry_run=dry_run,
        yes=yes,
    )


@click.command(epilog=example("unlock --dry-run"))
@with_consent
@with_terminal
def unlock(terminal: Terminal, *, dry_run: bool, yes: bool) -> None:
    """Bring a session back in which a broken hook denies every tool.

    A hook whose script is gone or does not parse can deny everything. Its script comes back from the newest backup that
    has a working one; where none has, that hook alone is taken out of the settings. Everything else stays.
    """
    if not dry_run:
        mend_audit(terminal, yes=yes)
    restore(
        terminal,
        "unlock",
        {},
        lambda service, caller, consent: service.unlock(caller, consent=consent),
        dry_run=dry_run,
        yes=yes,
    )


@recovery.command(epilog=example("recovery resume"))
@click.option("--yes", is_flag=True, help="Do not ask before an audit that is broken is begun anew.")
@WITHOUT_AUDIT
@with_terminal
def resume(terminal: Terminal, *, yes: bool) -> None:
    """Finish what was interrupted, or take it back: nothing stays half done.

    Every command that changes something does this first by itself.
    """
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import ResumeResult

    mend_audit(terminal, yes=yes)
    resumed = terminal.ask(lambda service, caller: service.resume(caller))
    terminal.show(ResumeResult.model_validate(resumed), render.spoken)


def mend_audit(terminal: Terminal, *, yes: bool) -> None:
    """Begin the audit anew when it is broken or gone, once the person agrees.

    Every recovery does this first: nothing is ever written on top of a broken chain. Raises ``confirm_required`` and
    ``declined``.
    """
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import BeginAuditResult, VerifyAuditResult

    found = terminal.ask(lambda service, caller: service.verify_audit(caller))
    if found.chain.intact:
        return
    if not yes:
        _require_agreement(terminal, VerifyAuditResult.model_validate(found))
    begun = terminal.ask(lambda service, caller: service.begin_audit_anew(caller))
    terminal.show_before_question(BeginAuditResult.model_validate(begun), render.spoken)


def _require_agreement(terminal: Terminal, found: "VerifyAuditResult") -> None:
    from stravinsky_rollback_mcp.cli import render

    if not terminal.can_ask:
        error = RollbackError(
            Code.CONFIRM_REQUIRED,
            f"the audit cannot be believed ({found.chain.problem}), and there is no terminal to ask at.",
            "look with `audit verify`; with --yes the old log is put aside and a new one begun.",
        )
        raise terminal.refusal("begin_audit_anew", {}, error)
    terminal.show_before_question(found, render.chain)
    question = "Put the old log aside, begin a new one, and believe the backups that are whole by their own manifests?"
    if not terminal.confirms(question):
        error = RollbackError(Code.DECLINED, "nothing was changed.", "call again when you want it.")
        raise terminal.refusal("begin_audit_anew", {}, error)
