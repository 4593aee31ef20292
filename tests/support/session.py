"""A client of the server, in memory: what a host does, from a plain test that reads top to bottom.

The client runs in a thread of its own, so a test may touch files between two calls.
"""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import mcp_types as types
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client

from stravinsky_rollback_mcp import config
from stravinsky_rollback_mcp.server import RollbackServer

ERAS = ("auto", "legacy")  # the protocol of 2026, which asks by its results, and the handshake before it


class Session:
    """Claude Code in one project, as far as these tools see it."""

    def __init__(self, portal: BlockingPortal, client: Client) -> None:
        self.portal = portal
        self.client = client

    def raw(self, tool: str, arguments: Mapping[str, Any]) -> types.CallToolResult:
        """One call, whatever comes of it."""
        return self.portal.call(self.client.call_tool, tool, dict(arguments))

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The result of a call that succeeds."""
        result = self.raw(tool, arguments)
        assert not result.is_error, result.content
        assert result.structured_content is not None
        return result.structured_content

    def refused(self, tool: str, **arguments: Any) -> str:
        """The text of a call that is refused."""
        result = self.raw(tool, arguments)
        assert result.is_error, result.structured_content
        (block,) = result.content
        assert isinstance(block, types.TextContent)
        return block.text

    def code(self, tool: str, **arguments: Any) -> str:
        """The code with which a call is refused."""
        return self.refused(tool, **arguments).partition(":")[0]

    def events(self, **asked: Any) -> list[dict[str, Any]]:
        """The audit's records, newest first."""
        return self.call("query_audit", **asked)["events"]


@contextmanager
def session_in(
    home: Path, project: Path, *, era: str = "auto", answer_seconds: float = 30, **client: Any
) -> Generator[Session]:
    """A session of a person in a project; ``client`` are options of the SDK's client, such as its callbacks."""
    loaded = config.load({"HOME": str(home), "CLAUDE_PROJECT_DIR": str(project)}, for_terminal=False)
    with connected(RollbackServer(loaded, answer_seconds=answer_seconds), mode=era, **client) as (portal, opened):
        yield Session(portal, opened)


@contextmanager
def connected(server: RollbackServer, **client: Any) -> Generator[tuple[BlockingPortal, Client]]:
    """A client of that server and the thread that it runs in. It holds each result against the tool's own schema."""
    with pytest.MonkeyPatch.context() as patch, start_blocking_portal() as portal:
        patch.setattr(jsonschema.Draft202012Validator, "check_schema", _check_schema)
        connection = portal.wrap_async_context_manager(Client(server.protocol, **client))
        opened = connection.__enter__()
        try:
            yield portal, opened
        finally:
            connection.__exit__(None, None, None)  # an error passed in here would come out in groups of groups


def _check_schema(schema: Mapping[str, Any]) -> None:
    """What the SDK does in each session, once for each schema: it takes longer than most tests."""
    _checked(json.dumps(schema))


@cache
def _checked(schema: str, check: Any = jsonschema.Draft202012Validator.check_schema) -> None:
    check(json.loads(schema))
