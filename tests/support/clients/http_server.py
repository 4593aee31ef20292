"""Our server's protocol object over HTTP on a free port of loopback; the port is the first line of standard output."""

import socket
import sys

import uvicorn

from stravinsky_rollback_mcp import config
from stravinsky_rollback_mcp.server import RollbackServer

server = RollbackServer(config.of_process(for_terminal=False))
with socket.create_server(("127.0.0.1", 0)) as listening:
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    application = uvicorn.Config(server.protocol.streamable_http_app(), log_level="warning")
    uvicorn.Server(application).run(sockets=[listening])
