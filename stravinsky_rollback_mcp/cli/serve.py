"""``stravinsky-rollback serve``: the MCP server, for who has only this program in mind."""

import click


@click.command(epilog="\b\nExample:\n  claude mcp add --scope user config-rollback -- stravinsky-rollback serve")
@click.option("--project", metavar="DIR", help="The project; else CLAUDE_PROJECT_DIR, else where you are.")
@click.option("--store", metavar="DIR", help="Where backups lie; else ~/.stravinsky/rollback.")
@click.option("--read-only", is_flag=True, help="Only tools that change nothing, and create_backup.")
def serve(*, project: str | None, store: str | None, read_only: bool) -> None:
    """Serve MCP on standard input and output.

    The same as stravinsky-rollback-mcp.
    """
    from stravinsky_rollback_mcp import server

    server.run(project=project, store=store, read_only=read_only)
