"""The real process over standard input and output, spoken to by hand and by the SDK's own client.

What only a process can show: that standard output carries nothing but JSON-RPC, what is done before and after the
first reply, and how it ends.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from mcp import Client, StdioServerParameters
from support.config import realistic
from support.host import MODULE, SCRIPT, WAIT_SECONDS, Process, process
from support.tree import Snapshot, build, snapshot

from stravinsky_rollback_mcp import server

Start = Callable[..., Process]


@pytest.fixture
def start(home: Path, project: Path) -> Iterator[Start]:
    """Starts servers of the test's home and project; without an automatic backup unless a test asks for it."""
    with ExitStack() as stack:

        def started(*words: str, **options: Any) -> Process:
            return stack.enter_context(process(home, project, *words, **options))

        yield started


@pytest.fixture
def roots(home: Path, project: Path) -> tuple[Path, Path]:
    """A configuration as people have it, in both scopes."""
    return realistic(home, project)


def both(roots: tuple[Path, Path]) -> tuple[Snapshot, Snapshot]:
    """Both scopes, byte for byte."""
    return snapshot(roots[0]), snapshot(roots[1])


def wreck(user: Path, project: Path) -> None:
    """What a bad installer leaves: files gone, emptied, replaced, with other modes, links turned into files."""
    shutil.rmtree(user / "hooks" / "lib")
    (user / "hooks" / "current.py").unlink()
    (user / "hooks" / "current.py").write_text("no link", encoding="utf-8")
    (user / "hooks" / "guard_bash.py").chmod(0o644)
    (user / "hooks" / "README.md").unlink()
    (user / "settings.json").write_text("{", encoding="utf-8")
    build(user / "commands", {b"odd\xff\n": "new", "drafts": {"x.md": "x"}})
    shutil.rmtree(project / "hooks")
    (project / "settings.local.json").unlink()


# --- speaking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
def test_a_wrecked_configuration_comes_back_byte_for_byte(
    start: Start, roots: tuple[Path, Path], home: Path, command: tuple[str, ...]
) -> None:
    """Odd names, links, modes, both scopes; standard output carries JSON-RPC only, standard error stays empty."""
    served = start(command=command)
    hello = served.shake_hands()
    assert hello["serverInfo"]["name"] == "config-rollback"
    assert "create_backup" in hello["instructions"]
    names = [tool["name"] for tool in served.answer(served.ask("tools/list"))["result"]["tools"]]
    assert {"create_backup", "list_backups", "rollback_to", "undo", "query_audit"} <= set(names)

    good = both(roots)
    around = snapshot(home / ".claude.json")
    served.call("create_backup", version="v1")
    wreck(*roots)
    bad = both(roots)
    preview = served.call("rollback_to", version="v1", dry_run=True)
    assert both(roots) == bad
    done = served.call("rollback_to", version="v1", plan_id=preview["plan_id"], accept=preview["security_changes"])
    assert done["applied"]
    assert both(roots) == good
    served.call("undo", accept=served.call("undo", dry_run=True)["security_changes"])
    assert both(roots) == bad
    served.call("redo", accept=served.call("redo", dry_run=True)["security_changes"])
    assert both(roots) == good
    assert snapshot(home / ".claude.json") == around
    served.hang_up()
    assert served.end() == 0
    assert served.errors == ""


def test_just_the_one_lost_hook_comes_back(start: Start, roots: tuple[Path, Path]) -> None:
    """An installer rewrote the settings: one hook is gone, with its script, and everything else is to stay.

    Whoever wants the old allow rules back as well is asked in the client, while the store is free for others.
    """
    user, _ = roots
    path, guard = user / "settings.json", user / "hooks" / "guard_bash.py"
    before = json.loads(path.read_bytes())
    script = guard.read_bytes()
    served = start()
    served.shake_hands(elicitation={})
    served.call("create_backup", version="before-install")
    settings = json.loads(path.read_bytes())
    lost = settings["hooks"].pop("PreToolUse")
    settings["permissions"]["allow"] = ["Bash(installed:*)"]
    settings["hooks"]["PostToolUse"] = [{"hooks": [{"type": "command", "command": "installed"}]}]
    path.write_text(json.dumps(settings, indent="\t"), encoding="utf-8")
    guard.unlink()

    only = ["~/.claude/settings.json#/hooks/PreToolUse"]
    preview = served.call("rollback_to", version="before-install", only=only, dry_run=True)
    assert preview["security_changes"] == []
    done = served.call("rollback_to", version="before-install", only=only, plan_id=preview["plan_id"])
    assert {change["component"] for change in done["changes"] if change["action"] != "none"} == {"hooks", "settings"}
    settings["hooks"]["PreToolUse"] = lost
    assert json.loads(path.read_bytes()) == settings
    assert guard.read_bytes() == script

    only = ["~/.claude/settings.json#/permissions/allow"]
    call = served.ask("tools/call", {"name": "rollback_to", "arguments": {"version": "before-install", "only": only}})
    question = served.question()
    assert question["method"] == "elicitation/create"
    assert "Bash(git status)" in question["params"]["message"]
    other = start()
    other.shake_hands()
    assert other.call("create_backup", version="meanwhile")["created"]
    answer = {"action": "accept", "content": {"apply": True}}
    served.send(json.dumps({"jsonrpc": "2.0", "id": question["id"], "result": answer}).encode())
    result = served.answer(call)["result"]
    assert result["structuredContent"]["applied"], result
    settings["permissions"]["allow"] = before["permissions"]["allow"]
    assert json.loads(path.read_bytes()) == settings


@pytest.mark.parametrize("era", ["auto", "legacy"])
def test_the_sdks_own_client_can_use_it(roots: tuple[Path, Path], era: str) -> None:
    """The client negotiates the newest protocol by itself, and the older one when told to."""
    environ = {name: value for name, value in os.environ.items() if name in {"HOME", "PATH", "PYTHONPATH"}}
    parameters = StdioServerParameters(command=MODULE[0], args=list(MODULE[1:]), env=environ, cwd=Path.cwd())
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Client(parameters, mode=era)) as client,
    ):
        made = portal.call(client.call_tool, "create_backup", {"version": "v1"})
        listed = portal.call(client.call_tool, "list_backups")
    assert not made.is_error, made.content
    assert listed.structured_content is not None
    assert "v1" in [backup["version"] for backup in listed.structured_content["backups"]]
    assert listed.structured_content["project_root"] == str(roots[1])


def test_read_only_is_a_flag(start: Start, roots: tuple[Path, Path]) -> None:
    """What changes the configuration does not exist then."""
    served = start("--read-only")
    served.shake_hands()
    names = {tool["name"] for tool in served.answer(served.ask("tools/list"))["result"]["tools"]}
    assert {"create_backup", "list_backups", "query_audit"} <= names
    assert not names & {"rollback_to", "undo", "redo", "begin_update", "finish_update"}


def test_project_and_store_are_flags(start: Start, roots: tuple[Path, Path], tmp_path: Path) -> None:
    """The person's server entry decides, not the folder that the host was started in."""
    other = tmp_path / "elsewhere"
    build(other, {".claude": {"hooks": {"a.py": "a"}}})
    served = start("--project", str(other), "--store", str(tmp_path / "store"))
    served.shake_hands()
    assert served.call("list_backups")["project_root"] == str(other / ".claude")
    served.call("create_backup", version="v1")
    assert (tmp_path / "store" / "backups" / "v1" / "manifest.json").exists()


# --- the first reply -----------------------------------------------------------------------------------------------


def test_a_backup_is_made_after_the_first_reply(start: Start, roots: tuple[Path, Path]) -> None:
    """Protection from the first session on; an unchanged second session adds none."""
    for _ in range(2):
        served = start(STRAVINSKY_BACKUP_ON_SESSION_START="true")
        served.shake_hands()
        deadline = time.monotonic() + WAIT_SECONDS
        listed = served.call("list_backups")
        while not listed["total"]:
            assert time.monotonic() < deadline
            listed = served.call("list_backups")
        (backup,) = listed["backups"]
        assert (backup["kind"], backup["made_by"]) == ("automatic", "tool")
        assert listed["current"]["version"] == backup["version"]
        served.hang_up()
        assert served.end() == 0
    served = start()
    served.shake_hands()
    (event,) = served.call("query_audit")["events"]
    assert (event["event_type"], event["actor"]["kind"]) == ("BACKUP_CREATED", "server")


def test_the_automatic_backup_can_be_switched_off(start: Start, roots: tuple[Path, Path]) -> None:
    """`backup.on_session_start` false: after many replies there is still nothing."""
    served = start(STRAVINSKY_BACKUP_ON_SESSION_START="false")
    served.shake_hands()
    for _ in range(20):
        assert served.call("list_backups")["total"] == 0
    assert served.call("query_audit")["events"] == []


def test_nothing_is_touched_before_a_client_speaks(start: Start, roots: tuple[Path, Path], home: Path) -> None:
    """A host may start a server and never use it."""
    served = start(STRAVINSKY_BACKUP_ON_SESSION_START="true")
    served.hang_up()
    assert served.end() == 0
    assert not (home / ".stravinsky").exists()


PROBE = """
import json, sys
import anyio
from mcp import Client
from stravinsky_rollback_mcp import config
from stravinsky_rollback_mcp.server import RollbackServer

served = RollbackServer(config.load({"HOME": sys.argv[1]}, for_terminal=False))

async def main():
    async with Client(served.protocol, mode=sys.argv[2]) as client:
        assert client.instructions
        print(json.dumps([name for name in sys.modules if name.startswith("stravinsky_rollback_mcp.")]))

anyio.run(main)
"""


@pytest.mark.parametrize("era", ["auto", "legacy"])
def test_nothing_heavy_of_ours_is_imported_before_the_first_reply(home: Path, era: str) -> None:
    """Speed goals, P8: a host shows a server as failed that answers late; the rest is imported when it is used."""
    command = [sys.executable, "-c", PROBE, str(home), era]
    run = subprocess.run(command, capture_output=True, check=True, timeout=WAIT_SECONDS)
    heavy = ("service", "schema", "disk", "cli", "core.checks", "core.plan", "core.history", "core.outcome")
    loaded = [name.removeprefix("stravinsky_rollback_mcp.") for name in json.loads(run.stdout)]
    light = {"disk", "disk.watch"}  # how the targets looked to the last session
    assert [name for name in loaded if name.startswith(heavy) and name not in light] == []


# --- the end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_the_process_while_the_client_still_listens(
    start: Start, roots: tuple[Path, Path], number: signal.Signals
) -> None:
    """Claude Code sends SIGINT, SIGTERM 100 ms later and SIGKILL at 500 ms, and closes nothing before."""
    served = start()
    served.shake_hands()
    served.call("create_backup", version="v1")
    served.signal(number)
    assert served.end() == 0
    assert served.errors == ""


def test_two_signals_in_a_row_are_one(start: Start, roots: tuple[Path, Path]) -> None:
    """The second must not tear down what the first lets finish."""
    served = start()
    served.shake_hands()
    served.signal(signal.SIGINT)
    served.signal(signal.SIGTERM)
    assert served.end() == 0
    assert "Traceback" not in served.errors


def test_the_end_of_input_ends_the_process(start: Start, roots: tuple[Path, Path]) -> None:
    """The regular way: the client closes the pipe."""
    served = start()
    served.shake_hands()
    served.hang_up()
    assert served.end() == 0
    assert served.errors == ""


# --- an environment that cannot be relied on -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "environ", "code"),
    [
        ((), {"HOME": None}, "env_untrusted"),
        ((), {"HOME": ""}, "env_untrusted"),
        ((), {"HOME": "relative"}, "env_untrusted"),
        ((), {"HOME": "/nowhere/at/all"}, "env_untrusted"),
        ((), {"CLAUDE_CONFIG_DIR": "relative"}, "env_untrusted"),
        ((), {"STRAVINSKY_SAFETY_LOCK_TIMEOUT_SECONDS": "soon"}, "invalid_argument"),
        (("--project", "/nowhere/at/all"), {}, "invalid_argument"),
    ],
)
def test_a_bad_environment_ends_it_with_one_clean_line(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    environ: dict[str, str | None],
    code: str,
) -> None:
    """Threat model, row 101: exit 1 and the reason, before anything is served or written.

    In this process, since no child may be let loose on the real home.
    """
    for name, value in environ.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["stravinsky-rollback-mcp", *words])
    with pytest.raises(SystemExit) as ended:
        server.main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"stravinsky-rollback-mcp: {code}: ")
    assert "Next: " in line
    assert list(home.iterdir()) == []
