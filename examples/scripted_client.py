"""Lose a guard hook and get it back, from a script: any MCP client can do what Claude Code does.

Starts the server over stdio, in a home and a project that it makes for itself and removes again. Run it with the
Python that stravinsky-rollback-mcp is installed in::

    python examples/scripted_client.py
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters

GUARD = """\
#!/usr/bin/env python3
import json, sys
sys.exit(2 if "rm -rf" in json.dumps(json.load(sys.stdin)) else 0)  # 2 denies the tool call
"""
SETTINGS = """\
{"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [
    {"type": "command", "command": "python3 ~/.claude/hooks/guard.py"}]}]}}
"""


class Rollback:
    """The tools as methods: the structured result of a call, or an exception with what the server says to do."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Call a tool and print its one-sentence summary."""
        result = await self._client.call_tool(tool, arguments)
        if result.is_error or result.structured_content is None:
            raise RuntimeError(" ".join(getattr(block, "text", "") for block in result.content))
        print(f"{tool:14} {result.structured_content['summary']}")
        return result.structured_content


def expect(is_so: bool, what: str) -> None:  # noqa: FBT001 - reads like assert, and stays under -O
    """End the script when something is not as it should be."""
    if not is_so:
        raise SystemExit(f"not so: {what}")


async def story(server: StdioServerParameters, hook: Path) -> None:
    """Back up, break, look, preview, roll back, undo, redo, and read who did what."""
    async with Client(server) as client:
        rollback = Rollback(client)
        await rollback.call("create_backup", version="before-the-installer", note="guards as they should be")

        await asyncio.to_thread(hook.write_text, "raise SystemExit(0)  # an installer was here\n", encoding="utf-8")
        listed = await rollback.call("list_backups")
        expect([drift["target"] for drift in listed["current"]["drift"]] == ["user.hooks"], "the change is noticed")

        # A preview changes nothing. Its plan_id makes sure that what was shown is what is done. If it lists
        # security_changes, show them to a person, and repeat them in `accept` once that person agrees.
        preview = await rollback.call("rollback_to", version="before-the-installer", dry_run=True)
        expect(not preview["security_changes"], "nothing gets less safe")
        done = await rollback.call("rollback_to", version="before-the-installer", plan_id=preview["plan_id"])
        expect(await asyncio.to_thread(hook.read_text, encoding="utf-8") == GUARD, "the guard is back")
        print(f"{'':14} what was there before is kept in {done['safety_backup']}")

        await rollback.call("undo")
        expect(await asyncio.to_thread(hook.read_text, encoding="utf-8") != GUARD, "the rollback is taken back")
        await rollback.call("redo")
        expect(await asyncio.to_thread(hook.read_text, encoding="utf-8") == GUARD, "and done again")

        audit = await rollback.call("query_audit", limit=20)
        for event in reversed(audit["events"]):
            print(f"{event['seq']:4} {event['event_type']:16} {event['status']:8} {', '.join(event['paths'][:2])}")
        expect(audit["chain"]["intact"], "no record was tampered with")


def main() -> None:
    """Make a home, a project and a server for the story."""
    with tempfile.TemporaryDirectory() as folder:
        hook = Path(folder, "home", ".claude", "hooks", "guard.py")
        hook.parent.mkdir(parents=True)
        hook.write_text(GUARD, encoding="utf-8")
        hook.parent.with_name("settings.json").write_text(SETTINGS, encoding="utf-8")
        project = Path(folder, "project")
        project.mkdir()
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "stravinsky_rollback_mcp", "--project", str(project)],
            env={"HOME": f"{folder}/home", "STRAVINSKY_BACKUP_ON_SESSION_START": "false"},
        )
        asyncio.run(story(server, hook))


if __name__ == "__main__":
    main()
