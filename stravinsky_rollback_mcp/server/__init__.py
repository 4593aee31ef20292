"""The MCP server over stdio: a table of tools, one way from a call to the service and back, and nothing else.

The SDK's low-level server is used because its handlers see raw arguments (nothing is coerced or dropped on the way) and
because it advertises only what is registered. Our own modules beyond this one are imported when they are first needed,
after the first reply.
"""

import argparse
import os
import signal
import sys
from dataclasses import replace
from importlib.metadata import version as installed_version
from typing import IO, TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from stravinsky_rollback_mcp import config as configuration
from stravinsky_rollback_mcp.errors import Code, RollbackError, exit_code
from stravinsky_rollback_mcp.server import asking
from stravinsky_rollback_mcp.server.tools import TOOLS, Tool
from stravinsky_rollback_mcp.server.wire import CappedLines, FirstReply, complain

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from stravinsky_rollback_mcp import schema
    from stravinsky_rollback_mcp.service import Caller, RollbackService

NAME = "config-rollback"
DISTRIBUTION = "stravinsky-rollback-mcp"
TOOLS_TTL_MS = 3_600_000
SETTLE_SECONDS = 2.0

INSTRUCTIONS = f"""\
Protects Claude Code's own configuration, under the user root (~/.claude) and this project's: hooks, commands, agents,
skills, rules, settings, CLAUDE.md, .mcp.json. It never touches source code: use git or /rewind for that.

- Before you change any of these, or run an installer or updater: call create_backup.
- Something vanished, a hook or a rule stopped working, settings look reset: call list_backups (its `current` says what
  changed outside), then compare, then rollback_to. `only` brings back single paths, or one key.
- A restore was wrong: undo takes back the last thing that happened, also an edit that nobody announced; redo brings it
  again. Every restore keeps a safety backup first.
- A result that says confirm_required lists what would become less safe. Show those lines to the person and ask. Never
  accept on the person's behalf. After declined, do not try again: the person was asked.
- Read notices in each result. query_audit tells who changed or refused what, and when.
- If hooks deny every tool, this server included, tell the person to type in a terminal:
  {configuration.terminal_twin()} unlock
"""


class RollbackServer:
    """One server process: its configuration, its tools, and the service once something needs it."""

    def __init__(
        self,
        config: configuration.Config,
        *,
        read_only: bool = False,
        every_tool: bool = False,
        answer_seconds: float = asking.ANSWER_SECONDS,
    ) -> None:
        self._config = config
        self._answer_seconds = answer_seconds
        self._tools = {
            tool.name: tool
            for tool in TOOLS
            if (tool.is_default or every_tool) and (not read_only or tool.read_only or tool.name == "create_backup")
        }
        self._service: RollbackService | None = None
        self.protocol: Server[Any] = Server(
            NAME,
            version=installed_version(DISTRIBUTION),
            title="Configuration rollback",
            instructions=INSTRUCTIONS,
            # The tools of a process never change.
            cache_hints={"tools/list": CacheHint(ttl_ms=TOOLS_TTL_MS, scope="private")},
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )

    @property
    def service(self) -> "RollbackService":
        """The service, made on first use; on the event loop only, so that there is one."""
        if self._service is None:
            self._service = _import_service()(self._config)
        return self._service

    async def begin_session(self) -> None:
        """What is done once a client is there: end what was interrupted, and back up a state that is new."""
        await anyio.to_thread.run_sync(_import_service)
        caller = self._caller("server", "session start", "create_backup")
        try:
            await self.service.resume(caller)
            if self._config.policy.backup.on_session_start:
                await self.service.protect(caller)
        except RollbackError as error:
            # It is in the audit; the next call meets the same trouble and tells the model.
            complain(str(error))
        except Exception as error:
            # Unforeseen, and no reason to end the conversation; what it says may quote anything.
            complain(f"{type(error).__name__} when the session began")

    async def _list_tools(self, _context: object, _page: object) -> types.ListToolsResult:
        return await anyio.to_thread.run_sync(self._described_tools)

    def _described_tools(self) -> types.ListToolsResult:
        from stravinsky_rollback_mcp import schema

        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=tool.name,
                    title=tool.title,
                    description=tool.description,
                    input_schema=schema.lean_schema(getattr(schema, tool.arguments), for_input=True),
                    output_schema=schema.lean_schema(getattr(schema, tool.result), for_input=False),
                    annotations=types.ToolAnnotations(
                        read_only_hint=tool.read_only,
                        destructive_hint=tool.destructive,
                        idempotent_hint=tool.idempotent,
                        open_world_hint=False,
                    ),
                )
                for tool in self._tools.values()
            ]
        )

    async def _call_tool(
        self, context: "ServerRequestContext[Any, Any]", params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        from stravinsky_rollback_mcp import schema

        raw = params.arguments or {}
        info = context.session.client_params
        name = "" if info is None else info.client_info.name
        caller = self._caller("mcp_client", name, params.name, _tool_use_id(params))
        tool = self._tools.get(params.name)
        try:
            if tool is None:
                raise self._unknown_tool(params.name)
            given = schema.arguments_of(getattr(schema, tool.arguments), raw)
        except RollbackError as error:
            return await self._refuse(caller, params.name[:64], raw, error)
        try:
            outcome = await self._do(tool, caller, given, context, params)
            if isinstance(outcome, types.CallToolResult | types.InputRequiredResult):
                return outcome
            result = getattr(schema, tool.result).model_validate(outcome)
            return types.CallToolResult(
                content=[types.TextContent(type="text", text=result.model_dump_json())],
                structured_content=result.model_dump(mode="json"),
            )
        except RollbackError as error:
            return _refusal(error)
        except Exception as error:
            # Unforeseen: what it says may quote anything, so the caller gets its kind and stderr the rest.
            incident = self.service.new_incident()
            complain(f"{type(error).__name__} in {tool.name}, incident {incident}")
            failure = RollbackError(
                Code.INTERNAL,
                f"an unforeseen {type(error).__name__}, incident {incident} in the audit and in this server's log.",
                "call list_backups to see how things stand.",
            )
            return await self._refuse(caller, tool.name, raw, failure, incident=incident)

    async def _do(
        self,
        tool: Tool,
        caller: "Caller",
        given: "schema.Arguments",
        context: "ServerRequestContext[Any, Any]",
        params: types.CallToolRequestParams,
    ) -> object:
        """What a tool does. Where the client can ask the person, nobody accepts on their behalf: they are asked."""
        if "accept" not in type(given).model_fields or not asking.can_ask(context):
            return await tool.call(self.service, caller, given)
        asked = asking.answered(params) if asking.asks_by_result(context) else None
        if asked is None:
            try:
                return await tool.call(self.service, caller, given.model_copy(update={"accept": []}))
            except RollbackError as error:
                if error.code is not Code.CONFIRM_REQUIRED:
                    raise
                question = error
            if asking.asks_by_result(context):
                return asking.question_of(tool.name, question)
            asked = await asking.ask(context, tool.name, question, self._answer_seconds)
        try:
            asking.require_agreement(tool.name, asked)
        except RollbackError as declined:
            return await self._refuse(caller, tool.name, params.arguments or {}, declined)
        agreed = given.model_copy(update={"accept": list(asked.lines), "plan_id": asked.plan_id})
        return await tool.call(self.service, replace(caller, is_agreed=True), agreed)

    async def _refuse(
        self, caller: "Caller", operation: str, raw: dict[str, Any], error: RollbackError, *, incident: str = ""
    ) -> types.CallToolResult:
        """The refusal, once the audit has it; what keeps the audit from having it must not leave with its text."""
        try:
            error = await self.service.refuse(caller, operation, raw, error, incident=incident)
        except Exception as unforeseen:
            complain(f"{type(unforeseen).__name__} while a refusal was recorded")
        return _refusal(error)

    def _unknown_tool(self, name: str) -> RollbackError:
        return RollbackError(
            Code.NOT_FOUND, f"there is no tool {name[:64]!a}.", f"the tools are {', '.join(self._tools)}."
        )

    def _caller(self, kind: str, name: str, tool: str, tool_use_id: str = "") -> "Caller":
        from stravinsky_rollback_mcp.service import Actor, Caller, MadeBy

        actor = Actor(
            kind=kind,
            name=name[:100],
            session_id=self._config.session_id,
            tool=tool[:64],
            tool_use_id=tool_use_id[:100],
        )
        return Caller(actor=actor, made_by=MadeBy.TOOL)

    # -- the process ------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Serve standard input and output until the client closes them, or a signal asks to stop."""
        lines = CappedLines(sys.stdin.buffer)
        source = anyio.wrap_file(cast("IO[str]", lines))
        async with stdio_server(stdin=source) as (incoming, outgoing), anyio.create_task_group() as tasks:
            first_reply = FirstReply(outgoing)
            tasks.start_soon(self._after, first_reply.sent)
            tasks.start_soon(self._stop_on_signal)
            tasks.start_soon(self._stop_soon_after, lines.ended)
            await self.protocol.run(incoming, first_reply, self.protocol.create_initialization_options())
            if self._service is not None:
                await self._service.end()
            tasks.cancel_scope.cancel()

    async def _after(self, first_reply: anyio.Event) -> None:
        await first_reply.wait()
        await self.begin_session()

    async def _stop_on_signal(self) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                await self._leave()

    async def _leave(self) -> None:
        """End the process once nothing is under way, but soon: what takes longer has its journal.

        The thread that reads standard input cannot be interrupted: leaving by the front door would wait for the client
        to close it, until the client kills us.
        """
        with anyio.move_on_after(SETTLE_SECONDS):
            if self._service is not None:
                await self._service.end()
        os._exit(0)

    async def _stop_soon_after(self, ended: anyio.Event) -> None:
        """At the end of input answers are still sent and the front door is open; it must not take for ever."""
        await ended.wait()
        await anyio.sleep(SETTLE_SECONDS)
        os._exit(0)


def _import_service() -> type["RollbackService"]:
    """Take the time that the import needs off the event loop, which has a first reply to deliver."""
    from stravinsky_rollback_mcp.service import RollbackService

    return RollbackService


def _tool_use_id(params: types.CallToolRequestParams) -> str:
    """What Claude Code calls this very call in its transcript; whatever else a client sends there is left alone."""
    given = cast("dict[str, object]", params.meta or {}).get("claudecode/toolUseId")
    return given if isinstance(given, str) else ""


def _refusal(error: RollbackError) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=str(error))], is_error=True)


def main() -> None:
    """Serve the configuration rollback tools over MCP on standard input and output."""
    parser = argparse.ArgumentParser(prog="stravinsky-rollback-mcp", description=main.__doc__)
    parser.add_argument("--project", metavar="DIR", help="the project; else CLAUDE_PROJECT_DIR, else where you are")
    parser.add_argument("--store", metavar="DIR", help="where backups lie; else ~/.stravinsky/rollback")
    parser.add_argument("--read-only", action="store_true", help="only tools that change nothing, and create_backup")
    parser.add_argument("--tools", choices=("default", "all"), default="default", help="which tools to offer")
    parser.add_argument("--version", action="version", version=installed_version(DISTRIBUTION))
    given = parser.parse_args()
    run(project=given.project, store=given.store, read_only=given.read_only, every_tool=given.tools == "all")


def run(*, project: str | None, store: str | None, read_only: bool, every_tool: bool = False) -> None:
    """Read the environment, then serve; a wrong environment ends the process before anything is served."""
    try:
        config = configuration.of_process(for_terminal=False, project=project, store=store)
    except RollbackError as error:
        complain(str(error))
        sys.exit(exit_code(error.code))
    for warning in config.warnings:
        complain(warning)
    anyio.run(RollbackServer(config, read_only=read_only, every_tool=every_tool).serve)
