"""``serve``: the same server under the name that a person has in mind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def test_serve_speaks_mcp_and_takes_its_options(project: Path) -> None:
    """Contract, section Terminal; ``--read-only`` registers what changes nothing, and create_backup."""
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    messages: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", "from stravinsky_rollback_mcp.cli import main; main()", "serve", "--read-only"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers: list[dict[str, Any]] = []
        for message in messages:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            if "id" in message:
                answers.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.wait(30) == 0
    assert answers[0]["result"]["serverInfo"]["name"] == "config-rollback"
    names = {tool["name"] for tool in answers[1]["result"]["tools"]}
    assert names == {"create_backup", "list_backups", "compare", "check_config", "query_audit"}
