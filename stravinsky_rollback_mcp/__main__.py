"""``python -m stravinsky_rollback_mcp`` serves MCP, as ``stravinsky-rollback-mcp`` does."""

from stravinsky_rollback_mcp.server import main

if __name__ == "__main__":
    main()
