"""The terminal twin: the same service on the same store, for when MCP or the model is locked out.

``terminal`` is the way of every command: configuration, use case, answer, exit status. ``render``, ``tables``,
``timeline`` and ``words`` are for people; programs say ``--json``. The command modules only say which use case is
meant. Whatever is slow to import is imported by the command that needs it, so that ``--help`` and shell completion
answer at once.
"""

import click

from stravinsky_rollback_mcp.cli import (
    adopt,
    audit,
    backup,
    check,
    compare,
    configuration,
    demo,
    hook,
    recovery,
    rollback,
    serve,
    status,
    update,
)

__all__ = ["main"]


_HELP = """Back up, roll back, undo and audit Claude Code's configuration.

\b
Something broke:     stravinsky-rollback undo
See what there is:   stravinsky-rollback backup list
Go back:             stravinsky-rollback rollback to VERSION
"""
_EPILOG = """Each command has its own --help. Shell completion (zsh_source and fish_source for those shells):

\b
  eval "$(_STRAVINSKY_ROLLBACK_COMPLETE=bash_source stravinsky-rollback)"
"""


@click.group(
    name="stravinsky-rollback",
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)
@click.version_option(package_name="stravinsky-rollback-mcp")
def main() -> None:
    """The root of all commands."""


for _command in (
    backup.backup,
    rollback.rollback,
    rollback.undo,
    rollback.redo,
    recovery.recovery,
    recovery.unlock,
    compare.compare,
    update.update,
    audit.audit,
    check.check,
    status.status,
    adopt.adopt,
    configuration.config,
    hook.hook,
    demo.demo,
    serve.serve,
):
    main.add_command(_command)
