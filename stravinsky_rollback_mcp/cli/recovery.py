"""``stravinsky-rollback recovery``: what to do when something was interrupted."""

from typing import TYPE_CHECKING

import click

from stravinsky_rollback_mcp.cli.terminal import WITHOUT_AUDIT, Terminal, example, with_terminal
from stravinsky_rollback_mcp.errors import Code, RollbackError

if TYPE_CHECKING:
    from stravinsky_rollback_mcp.schema import VerifyAuditResult


@click.group()
def recovery() -> None:
    """Bring an interrupted operation to its end."""


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
