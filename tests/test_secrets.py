"""No secret ever leaves: every tool and every command is driven over a configuration that is full of marked ones.

What is searched is every byte that a server or a command writes, results and refusals alike, and everything in the
store but the copies of the configuration themselves.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from support.host import Process, process
from support.tree import File, Spec, build

from stravinsky_rollback_mcp.cli import main
from stravinsky_rollback_mcp.server.tools import TOOLS

MARK = "Zq7MARKERsecret91x"  # is in every secret, and in nothing else


# -- a configuration full of secrets --------------------------------------------------------------------------------


def settings(word: str) -> dict[str, Any]:
    """Every place in which Claude Code's settings hold a secret; ``word`` makes two states differ in all of them."""
    secret = f"{word}{MARK}"
    handler = {"type": "command", "command": f"KEY={secret} python3 ~/.claude/hooks/guard.py --token {secret}"}
    headers = {"Authorization": f"Bearer {secret}", "X-Anything": secret}
    return {
        "env": {
            "ANTHROPIC_API_KEY": secret,
            "ANTHROPIC_BASE_URL": f"https://u:{secret}@proxy.example",
            "PLAIN": secret,
        },
        "apiKeyHelper": f"/bin/echo {secret}",
        "awsAuthRefresh": f"aws sso login --profile {secret}",
        "otelHeadersHelper": f"printf x-key={secret}",
        "statusLine": {"type": "command", "command": f"TOKEN={secret} ~/.claude/line.sh"},
        "permissions": {
            "allow": [f'Bash(curl -H "Authorization: Bearer {secret}" https://x.example)', f"Bash(x token={secret})"],
            "deny": [f"Bash(echo password={secret})", f"Bash(login --password {secret})"],
        },
        "hooks": {
            "PreToolUse": [{"matcher": "Bash", "hooks": [handler]}],
            "Stop": [{"hooks": [{"type": "http", "url": f"https://x.example/{secret}", "headers": headers}]}],
        },
        "pluginConfigs": {"p": {"options": {"anything": secret}}},
        "forceLoginOrgUUID": secret,
        "notAKey": {"deep": [secret]},
    }


def content(word: str) -> Spec:
    """Both scopes; in scripts and prose the secrets stand in lines that look like credentials."""
    secret = f"{word}{MARK}"
    script = f'#!/bin/sh\n# {word}\nexport API_TOKEN="{secret}"\ncurl -H "X-Api-Key: {secret}" https://x.example\n'
    prose = f"---\ndescription: {word}\n---\n{word}\n\nThe password: {secret}\nAuthorization: Bearer {secret}\n"
    server = {
        "command": "npx",
        "args": ["x", f"--api-key={secret}", secret],
        "env": {"A": secret},
        "headers": {"B": secret},
    }
    folders: Spec = {
        "hooks": {
            "guard.py": File(script, 0o755),
            "config.json": json.dumps({"slack": secret}),
            ".env": f"REGION={secret}\n",
        },
        "commands": {"review.md": prose},
        "agents": {"a.md": prose},
        "skills": {"s": {"SKILL.md": prose, "deploy.yaml": f"deploy:\n  region: {secret}\n", "blob": f"\0{secret}"}},
        "rules": {"r.md": prose},
        "CLAUDE.md": prose,
        "settings.json": json.dumps(settings(word), indent=2),
    }
    return {
        "home": {".claude": folders},
        "project": {
            ".claude": {**folders, "settings.local.json": json.dumps(settings(word))},
            "CLAUDE.md": prose,
            "CLAUDE.local.md": prose,
            ".mcp.json": json.dumps({"mcpServers": {"m": server, "w": {"type": "http", "url": f"https://h/{secret}"}}}),
        },
    }


@pytest.fixture
def world(home: Path, project: Path) -> Path:
    """The folder of home and project; the first state is live."""
    assert home.parent == project.parent
    build(home.parent, content("one"))
    return home.parent


def change(world: Path, word: str) -> None:
    """Every secret becomes another one."""
    for path in world.glob("*/.claude/**/*"):
        if path.is_file():
            path.chmod(0o600)
    build(world, content(word))


def break_settings(world: Path) -> None:
    """What no parser takes, with a secret where it stops."""
    (world / "home/.claude/settings.json").write_text(f'{{"env": {{"TOKEN": "{MARK}", oops', encoding="utf-8")
    (world / "project/.claude/settings.local.json").write_text(
        f'{{"env": "{MARK}", "hooks": {MARK}}}', encoding="utf-8"
    )
    (world / "project/.mcp.json").write_text(f'["{MARK}"]', encoding="utf-8")
    (world / "home/.claude/hooks/guard.py").write_text(f"#!/bin/sh\nPASSWORD='{MARK}\nif then\n", encoding="utf-8")


def require_no_secret_in_the_store(world: Path) -> None:
    """Everything in it but the stored copies: audit, index, notes, journal, manifests, whatever comes to lie there."""
    store = world / "home/.stravinsky/rollback"
    looked_at: set[str] = set()
    for path in store.rglob("*"):
        is_copy = path.is_relative_to(store / "backups") and path.name != "manifest.json"
        if path.is_file() and not is_copy:
            looked_at.add(path.name)
            assert MARK.encode() not in path.read_bytes(), path
    assert {"manifest.json", "operations.log", "latest.json"} <= looked_at


def _around_marks(said: str) -> list[str]:
    """What stands before each secret that was told: where it came from, for whoever mends it."""
    return [piece[-300:] for piece in said.split(MARK)[:-1]]


# -- tools ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(world: Path) -> Iterator[Process]:
    """A session in the project, with every tool."""
    with process(world / "home", world / "project", "--tools", "all") as made:
        made.shake_hands()
        made.answer(made.ask("tools/list"))
        yield made


def ask(server: Process, tool: str, **arguments: object) -> dict[str, Any]:
    """The structured part of an answer, empty for a refusal."""
    return server.answer(server.ask_tool(tool, **arguments)).get("result", {}).get("structuredContent") or {}


def drive(server: Process, tool: str) -> None:
    """A tool as it is asked for rightly and wrongly; what would change something as a preview, refused, and done."""
    for arguments in ({}, {"version": "v1"}, {"version": "v2", "detail": True}, {"limit": "x"}, {"success": True}):
        ask(server, tool, **arguments)
    if tool == "compare":
        for given in ({"version": "v1", "other": "v2"}, {"version": "v2", "other": "v1"}, {"version": "@previous"}):
            _read_all_pages(server, given)
        ask(server, tool, version="v1", path="~/.claude/settings.json")
    if tool in ("undo", "redo"):
        _restore(server, tool)
    if tool == "rollback_to":
        _restore(server, tool, version="v1")
        for only in ("~/.claude/settings.json#/env", "~/.claude/settings.json#/hooks", "settings.json#/nothing"):
            _restore(server, tool, version="v2", only=[only])


def _read_all_pages(server: Process, given: Mapping[str, object]) -> None:
    cursor: str | None = None
    while (page := ask(server, "compare", **given, cursor=cursor)).get("next_cursor"):
        cursor = page["next_cursor"]


def _restore(server: Process, tool: str, **given: object) -> None:
    plan = ask(server, tool, **given, dry_run=True)
    ask(server, tool, **given)
    ask(server, tool, **given, plan_id=plan.get("plan_id"), accept=plan.get("security_changes", []))


def test_no_tool_tells_a_secret(world: Path, server: Process) -> None:
    """Contract and threat model, rows 64 to 66, 87: whatever is asked, and whatever state the configuration is in."""
    ask(server, "create_backup", version="v1", note="first")
    ask(server, "create_backup", note=f"a note with a line end\n{MARK}")
    ask(server, "create_backup", version=f"not a name {MARK}")
    change(world, "two")
    ask(server, "list_backups", detail=True)
    ask(server, "create_backup", version="v2")
    for tool in TOOLS:
        drive(server, tool.name)
        change(world, f"after-{tool.name}-")
    break_settings(world)
    for tool in TOOLS:
        drive(server, tool.name)
        break_settings(world)
    server.hang_up()
    assert server.end() == 0
    said = json.dumps(server.said) + server.errors
    assert _around_marks(said) == []
    for tool in TOOLS:  # each did answer, and not only with refusals
        assert f'"{tool.name}"' in said
    assert said.count('"isError": false') > len(TOOLS)
    assert "***" in said
    require_no_secret_in_the_store(world)


# -- commands -------------------------------------------------------------------------------------------------------

# What would wait for the end of input, plays on a stage of its own, or is told of by the other test.
NOT_HERE = frozenset({"serve", "demo"})


def commands(group: click.Group, *above: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)
        else:
            yield (*above, name), command


def calls(words: tuple[str, ...], command: click.Command) -> Iterator[list[str]]:
    """The ways to call a command: as little as it takes, with a version, and whatever else it offers to show or do."""
    required = [item for item in command.params if isinstance(item, click.Argument) and item.required]
    optional = [item for item in command.params if isinstance(item, click.Argument) and not item.required]
    offered = {option for item in command.params for option in item.opts}
    values = {"path": "~/.claude/settings.json", "key": "backup.max_versions", "value": "3", "oldpath": "/nowhere"}
    given = [values.get(item.name or "", "v1") for item in required]
    yield [*words, *given, *(["--yes"] if "--yes" in offered else [])]
    yield [*words, *given, "--json", *(["--dry-run"] if "--dry-run" in offered else [])]
    if optional:
        yield [*words, *given, *(["v1", "v2"][: len(optional)])]


def test_no_command_tells_a_secret(world: Path) -> None:
    """The terminal twin: both streams of every command, for people and as JSON, refusals too."""
    said: list[str] = []
    done: set[int] = set()

    def run(*arguments: str) -> None:
        result = CliRunner().invoke(main, arguments, env={"COLUMNS": "80"})
        said.append(f"$ {' '.join(arguments)}\n{result.stdout}{result.stderr}")
        done.add(result.exit_code)

    run("backup", "create", "v1")
    change(world, "two")
    run("backup", "create", "v2")
    change(world, "three")
    run("compare", "v1", "v2")
    run("rollback", "to", "v1", "--only", "~/.claude/settings.json#/env", "--yes")
    run("audit", "export", "--format", "json")
    run("audit", "log", "--limit", "500")
    run("rollback", "to", "v1", f"--{MARK[:3]}")
    for words, command in commands(main):
        if words[0] not in NOT_HERE:
            change(world, "-".join(words))
            for arguments in calls(words, command):
                run(*arguments)
            break_settings(world)
            run(*next(calls(words, command)))
    assert [text for text in said if MARK in text] == []
    assert {0, 1, 2, 3} <= done
    assert any('+      "PLAIN": ***' in text or '"PLAIN": ***' in text for text in said)
    require_no_secret_in_the_store(world)
