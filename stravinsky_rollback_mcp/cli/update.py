"""``stravinsky-rollback update``: another program changes the configuration, and where that goes wrong it is undone."""

import click

from stravinsky_rollback_mcp.cli.terminal import Terminal, example, with_terminal
from stravinsky_rollback_mcp.errors import EXIT_DONE, EXIT_NEEDS_ATTENTION, EXIT_PROBLEMS_FOUND

_EXIT_CODES = {"verified": EXIT_DONE, "rolled_back": EXIT_PROBLEMS_FOUND, "needs_attention": EXIT_NEEDS_ATTENTION}
_VERSION_FILE = click.option(
    "--version-file", metavar="PATH", help="The file that the update writes VERSION into; compared afterwards."
)
_NOTE = click.option("--note", default="", help="Why, for people.")


@click.group()
def update() -> None:
    """Let another program change the configuration, and take it back where that goes wrong."""


@update.command(epilog=example("update begin v2"))
@click.argument("version")
@_NOTE
@_VERSION_FILE
@with_terminal
def begin(terminal: Terminal, *, version: str, note: str, version_file: str | None) -> None:
    """Check and back up what is there before an update to VERSION; `update finish` ends it."""
    from stravinsky_rollback_mcp.cli import render_update
    from stravinsky_rollback_mcp.schema import BeginUpdateResult

    begun = terminal.ask(
        lambda service, caller: service.begin_update(caller, version=version, note=note, version_file=version_file)
    )
    terminal.show(BeginUpdateResult.model_validate(begun), render_update.begun)


@update.command(epilog=example('update finish --failed "the installer crashed"'))
@click.option("--failed", metavar="TEXT", help="The update went wrong: take it back.")
@with_terminal
def finish(terminal: Terminal, *, failed: str | None) -> int:
    """Check what the open update did, and take it back where it lost something.

    Exit status: 0 verified, 3 taken back, 4 could not be taken back.
    """
    from stravinsky_rollback_mcp.cli import render_update
    from stravinsky_rollback_mcp.schema import FinishUpdateResult

    finished = terminal.ask(
        lambda service, caller: service.finish_update(caller, success=failed is None, error=failed or "")
    )
    answer = FinishUpdateResult.model_validate(finished)
    terminal.show(answer, render_update.finished, is_good=answer.outcome == "verified")
    return _EXIT_CODES[answer.outcome]


@update.command(epilog=example("update run v2 -- npx some-installer --yes"))
@click.argument("version")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), help="Stop it after this.")
@click.option("--keep-on-failure", is_flag=True, help="Do not take back what a failed update did.")
@_NOTE
@_VERSION_FILE
@with_terminal
def run(
    terminal: Terminal,
    *,
    version: str,
    command: tuple[str, ...],
    timeout: float | None,
    keep_on_failure: bool,
    note: str,
    version_file: str | None,
) -> int:
    """Run COMMAND as an update to VERSION. Where it fails, everything is as before.

    Input, output, signals and the terminal are the command's; with --json its output goes to standard error. It failed
    when it exits with a status other than 0, is killed or interrupted, takes longer than --timeout, or leaves a
    configuration that lost guards, rules or settings.

    Exit status: 0 done and verified; 1 refused, nothing was run; 3 failed and taken back; 4 failed and not taken back.
    How the command ended is told on standard error, and with --json in `command`.
    """
    from stravinsky_rollback_mcp.cli import child, render_update
    from stravinsky_rollback_mcp.schema import CommandEnd, FinishUpdateResult, RunUpdateResult

    with child.listening() as signals:
        terminal.ask(
            lambda service, caller: service.begin_update(caller, version=version, note=note, version_file=version_file)
        )
        ended = child.run(command, signals, timeout_seconds=timeout, stdout_to_stderr=terminal.options.as_json)
        finished = terminal.ask(
            lambda service, caller: service.finish_update(
                caller, success=not ended.problem, error=ended.problem, keeps=keep_on_failure
            )
        )
    answer = RunUpdateResult(
        **FinishUpdateResult.model_validate(finished).model_dump(), command=CommandEnd.model_validate(ended)
    )
    terminal.show(answer, render_update.ran, is_good=answer.outcome == "verified", is_aside=True)
    return _EXIT_CODES[answer.outcome]
