"""``stravinsky-rollback config``: what may be set, what counts, and setting it."""

import click

from stravinsky_rollback_mcp.cli.terminal import Terminal, example, with_terminal


@click.group("config")
def config() -> None:
    """Show and set how this program behaves: limits, checks, waiting times."""


@config.command(epilog=example("config show --json"))
@with_terminal
def show(terminal: Terminal) -> None:
    """Show every field, its value, and where the value comes from."""
    from stravinsky_rollback_mcp.cli import tables
    from stravinsky_rollback_mcp.schema import ConfigResult

    found = terminal.ask(lambda service, caller: service.show_config(caller))
    terminal.show(ConfigResult.model_validate(found), tables.fields)


@config.command("set", epilog=example("config set backup.max_versions 20"))
@click.argument("key")
@click.argument("value")
@with_terminal
def set_field(terminal: Terminal, *, key: str, value: str) -> None:
    """Set the field KEY (section.field) to VALUE in the store's config.json."""
    from stravinsky_rollback_mcp.cli import render
    from stravinsky_rollback_mcp.schema import ConfigResult

    done = terminal.ask(lambda service, caller: service.set_config(caller, key=key, value=value))
    terminal.show(ConfigResult.model_validate(done), render.spoken)
