"""``stravinsky-rollback hook``: what Claude Code's own hooks call, so that each change of the configuration is kept.

In Claude Code a hook that exits with 2 denies what it was asked about, and what it prints at a session's start is read
by the model. So nothing here exits with 2, and standard output stays empty.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import click

from stravinsky_rollback_mcp.cli.terminal import Terminal, example, is_terminal, with_terminal

if TYPE_CHECKING:
    from stravinsky_rollback_mcp.service import Caller

_MAX_EVENT_BYTES = 16 << 20  # an event quotes what is about to be written


class _NeverDenies(click.Command):
    """A command whose wrong usage is a failure like any other: exit 2 would deny the call that it stands before."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise click.ClickException(error.format_message()) from error


@click.command(cls=_NeverDenies, epilog=example("hook"))
@with_terminal
def hook(terminal: Terminal) -> None:
    """Back up what no backup holds yet, for a hook of Claude Code.

    Reads the hook's event on standard input, says nothing when all is well, and never denies anything. The audit names
    the session, the tool and the call of the event. The README shows the settings.
    """
    event = _event()
    terminal.ask(lambda service, caller: service.protect(_hook(caller, event)))


def _event() -> Mapping[str, object]:
    """The event that Claude Code tells of; empty where nothing can be understood, for protection needs no event."""
    if sys.stdin is None or is_terminal(sys.stdin):
        return {}
    try:
        event: object = json.loads(sys.stdin.buffer.read(_MAX_EVENT_BYTES))
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", event) if isinstance(event, dict) else {}


def _hook(caller: "Caller", event: Mapping[str, object]) -> "Caller":
    from stravinsky_rollback_mcp.service import MadeBy

    def word(key: str, max_length: int = 100) -> str:
        value = event.get(key)
        return value[:max_length] if isinstance(value, str) else ""

    actor = replace(
        caller.actor,
        kind="hook",
        name=word("hook_event_name"),
        session_id=word("session_id", 200) or caller.actor.session_id,
        tool=word("tool_name", 64),
        tool_use_id=word("tool_use_id"),
    )
    return replace(caller, actor=actor, made_by=MadeBy.HOOK)
