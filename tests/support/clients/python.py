"""The Python SDK as a client, 1.x or 2.x: argv[1] is JSON, {server: [command, ...], calls: [[tool, given], ...]}."""

import json
import sys
from typing import Any

import anyio
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


def _plain(model: Any) -> Any:
    """As on the wire: the names of attributes differ between 1.x and 2.x."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def _main() -> None:
    given = json.loads(sys.argv[1])
    command, *args = given["server"]
    async with (
        stdio_client(StdioServerParameters(command=command, args=args)) as (incoming, outgoing),
        ClientSession(incoming, outgoing) as session,
    ):
        begun = _plain(await session.initialize())
        tools = _plain(await session.list_tools())["tools"]
        results = [_plain(await session.call_tool(name, arguments)) for name, arguments in given["calls"]]
    said = {
        "server": begun["serverInfo"],
        "instructions": begun["instructions"],
        "protocol": begun["protocolVersion"],
        "tools": tools,
        "results": results,
    }
    sys.stdout.write(json.dumps(said) + "\n")


anyio.run(_main)
