"""``python -m stravinsky_rollback_mcp`` serves MCP, as ``stravinsky-rollback-mcp`` does.

``-m`` puts the working directory, which is a project and may be hostile, in front of the module path. It is taken out
again before anything but this package's own (empty) ``__init__`` was imported.
"""

import sys

if not sys.flags.safe_path and sys.path:
    del sys.path[0]

from stravinsky_rollback_mcp.server import main

if __name__ == "__main__":
    main()
