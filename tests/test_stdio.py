"""The real process over standard input and output, spoken to by hand and by the SDK's own client.

What only a process can show: that standard output carries nothing but JSON-RPC, what is done before and after the
first reply, and how it ends.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from mcp import Client, StdioServerParameters
from support.config import realistic
from support.tree import Snapshot, build, snapshot

from stravinsky_rollback_mcp import server

WAIT_SECONDS = 5
START_SECONDS = 20  # the SDK alone is 582 modules, and a fresh checkout has no byte code yet
MODULE = (sys.executable, "-m", "stravinsky_rollback_mcp")
SCRIPT = (str(Path(sys.executable).with_name("stravinsky-rollback-mcp")),)


class Process:
    """A server process and both ends of its pipes. Every line that it writes must be a JSON-RPC message."""

    def __init__(self, command: tuple[str, ...], **environ: str) -> None:
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environ},
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._errors: list[bytes] = []
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._listen)]
        for thread in self._threads:
            thread.start()
        self._id = 0

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _listen(self) -> None:
        assert self._child.stderr is not None
        self._errors.extend(self._child.stderr)

    # -- speaking ---------------------------------------------------------------------------------------------

    def send(self, line: bytes) -> None:
        """Raw bytes on the server's standard input."""
        assert self._child.stdin is not None
        self._child.stdin.write(line)
        self._child.stdin.flush()

    def ask(self, method: str, params: dict[str, Any] | None = None) -> int:
        """Send a request; returns its id."""
        self._id += 1
        message = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params or {}}
        self.send(json.dumps(message).encode() + b"\n")
        return self._id

    def answer(self, to: int, *, within: float = WAIT_SECONDS) -> dict[str, Any]:
        """The reply to one request; what else the server says is read on the way."""
        while True:
            line = self._lines.get(timeout=within)
            assert line is not None, self.errors
            message = json.loads(line)
            assert message["jsonrpc"] == "2.0"
            assert line.endswith(b"}\n")
            if message.get("id") == to:
                return message

    def question(self) -> dict[str, Any]:
        """The next request of the server's own; what else it says is read on the way."""
        while True:
            line = self._lines.get(timeout=WAIT_SECONDS)
            assert line is not None, self.errors
            message = json.loads(line)
            if "method" in message and "id" in message:
                return message

    def shake_hands(self, version: str = "2025-06-18", **capabilities: Any) -> dict[str, Any]:
        """The handshake of the older era, as codex and gemini-cli do it."""
        hello = {
            "protocolVersion": version,
            "capabilities": capabilities,
            "clientInfo": {"name": "raw", "version": "1"},
        }
        reply = self.answer(self.ask("initialize", hello), within=START_SECONDS)
        self.send(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
        return reply["result"]

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured result of a tool that succeeds."""
        reply = self.answer(self.ask("tools/call", {"name": tool, "arguments": arguments}))
        assert "result" in reply, reply
        assert not reply["result"].get("isError"), reply["result"]
        return reply["result"]["structuredContent"]

    # -- ending -----------------------------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        """Send a signal; standard input stays open."""
        self._child.send_signal(number)

    def hang_up(self) -> None:
        """Close the server's standard input, as a client does that ends."""
        assert self._child.stdin is not None
        self._child.stdin.close()

    def end(self) -> int:
        """Wait for the process to end by itself; returns its exit code."""
        code = self._child.wait(WAIT_SECONDS)
        for thread in self._threads:
            thread.join(WAIT_SECONDS)
        return code

    @property
    def errors(self) -> str:
        """What was said on standard error so far."""
        return b"".join(self._errors).decode()

    @property
    def is_running(self) -> bool:
        """Whether the process is still there."""
        return self._child.poll() is None

    def close(self) -> None:
        """Leave nothing behind."""
        self._child.kill()
        self._child.wait(WAIT_SECONDS)
        for thread in self._threads:
            thread.join(WAIT_SECONDS)
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers of the test's home and project; without an automatic backup unless a test asks for it."""
    running: list[Process] = []

    def started(*arguments: str, command: tuple[str, ...] = MODULE, **environ: str) -> Process:
        process = Process((*command, *arguments), **{"STRAVINSKY_BACKUP_ON_SESSION_START": "false", **environ})
        running.append(process)
        return process

    yield started
    for process in running:
        process.close()


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
    process = start(command=command)
    hello = process.shake_hands()
    assert hello["serverInfo"]["name"] == "config-rollback"
    assert "create_backup" in hello["instructions"]
    names = [tool["name"] for tool in process.answer(process.ask("tools/list"))["result"]["tools"]]
    assert {"create_backup", "list_backups", "rollback_to", "undo", "query_audit"} <= set(names)

    good = both(roots)
    around = snapshot(home / ".claude.json")
    process.call("create_backup", version="v1")
    wreck(*roots)
    bad = both(roots)
    preview = process.call("rollback_to", version="v1", dry_run=True)
    assert both(roots) == bad
    done = process.call("rollback_to", version="v1", plan_id=preview["plan_id"], accept=preview["security_changes"])
    assert done["applied"]
    assert both(roots) == good
    process.call("undo", accept=process.call("undo", dry_run=True)["security_changes"])
    assert both(roots) == bad
    process.call("redo", accept=process.call("redo", dry_run=True)["security_changes"])
    assert both(roots) == good
    assert snapshot(home / ".claude.json") == around
    process.hang_up()
    assert process.end() == 0
    assert process.errors == ""


def test_just_the_one_lost_hook_comes_back(start: Start, roots: tuple[Path, Path]) -> None:
    """An installer rewrote the settings: one hook is gone, with its script, and everything else is to stay.

    Whoever wants the old allow rules back as well is asked in the client, while the store is free for others.
    """
    user, _ = roots
    path, guard = user / "settings.json", user / "hooks" / "guard_bash.py"
    before = json.loads(path.read_bytes())
    script = guard.read_bytes()
    process = start()
    process.shake_hands(elicitation={})
    process.call("create_backup", version="before-install")
    settings = json.loads(path.read_bytes())
    lost = settings["hooks"].pop("PreToolUse")
    settings["permissions"]["allow"] = ["Bash(installed:*)"]
    settings["hooks"]["PostToolUse"] = [{"hooks": [{"type": "command", "command": "installed"}]}]
    path.write_text(json.dumps(settings, indent="\t"), encoding="utf-8")
    guard.unlink()

    only = ["~/.claude/settings.json#/hooks/PreToolUse"]
    preview = process.call("rollback_to", version="before-install", only=only, dry_run=True)
    assert preview["security_changes"] == []
    done = process.call("rollback_to", version="before-install", only=only, plan_id=preview["plan_id"])
    assert {change["component"] for change in done["changes"] if change["action"] != "none"} == {"hooks", "settings"}
    settings["hooks"]["PreToolUse"] = lost
    assert json.loads(path.read_bytes()) == settings
    assert guard.read_bytes() == script

    only = ["~/.claude/settings.json#/permissions/allow"]
    call = process.ask("tools/call", {"name": "rollback_to", "arguments": {"version": "before-install", "only": only}})
    question = process.question()
    assert question["method"] == "elicitation/create"
    assert "Bash(git status)" in question["params"]["message"]
    other = start()
    other.shake_hands()
    assert other.call("create_backup", version="meanwhile")["created"]
    answer = {"action": "accept", "content": {"apply": True}}
    process.send(json.dumps({"jsonrpc": "2.0", "id": question["id"], "result": answer}).encode() + b"\n")
    result = process.answer(call)["result"]
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


def calling(number: int, arguments: bytes) -> bytes:
    """A call of create_backup with arguments that no JSON library would write."""
    call = b'{"jsonrpc": "2.0", "id": %d, "method": "tools/call", "params": {"name": "create_backup", "arguments": %s}}'
    return call % (number, arguments)


def test_noise_does_not_end_the_conversation(start: Start, roots: tuple[Path, Path]) -> None:
    """Threat model, rows 80 to 83 and 90: broken, nested, huge, batched and unknown messages change nothing."""
    process = start()
    process.shake_hands()
    process.call("create_backup", version="v1")
    before = both(roots)
    call: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": "x",
        "method": "tools/call",
        "params": {"name": "undo", "arguments": {}},
    }
    for line in (
        b"{",
        b"\xff\xfe\x00",
        b"[" * 200_000,
        json.dumps([call]).encode(),
        b'{"jsonrpc": "2.0", "method": "notifications/unheard-of"}',
        b'{"jsonrpc": "2.0", "id": 9007199254740993, "method": "tools/burn"}',
        b'{"jsonrpc": "1.0", "id": 5, "method": "tools/list"}',
        b'{"jsonrpc": "2.0", "id": 6, "method": "tools/call", "params": {"name": "undo", "arguments": "all"}}',
        b'{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": ["undo"]}',
        calling(8, b'{"version": "\\ud800"}'),
        calling(9, b'{"note": "' + b"n" * (2 << 20) + b'"}'),
        b"",
    ):
        process.send(line + b"\n")
    assert [backup["version"] for backup in process.call("list_backups")["backups"]] == ["v1"]
    assert both(roots) == before
    assert "Traceback" not in process.errors


def test_a_call_before_the_handshake_is_refused(start: Start, roots: tuple[Path, Path], home: Path) -> None:
    """Threat model, row 90: an error of the protocol; nothing is done."""
    process = start()
    reply = process.answer(process.ask("tools/call", {"name": "create_backup", "arguments": {}}), within=START_SECONDS)
    assert reply["error"]["code"] in {-32602, -32600, -32022}
    assert not (home / ".stravinsky" / "rollback" / "backups").exists() or not os.listdir(
        home / ".stravinsky" / "rollback" / "backups"
    )


def test_read_only_is_a_flag(start: Start, roots: tuple[Path, Path]) -> None:
    """What changes the configuration does not exist then."""
    process = start("--read-only")
    process.shake_hands()
    names = {tool["name"] for tool in process.answer(process.ask("tools/list"))["result"]["tools"]}
    assert {"create_backup", "list_backups", "query_audit"} <= names
    assert not names & {"rollback_to", "undo", "redo", "begin_update", "finish_update"}


def test_project_and_store_are_flags(start: Start, roots: tuple[Path, Path], tmp_path: Path) -> None:
    """The person's server entry decides, not the folder that the host was started in."""
    other = tmp_path / "elsewhere"
    build(other, {".claude": {"hooks": {"a.py": "a"}}})
    process = start("--project", str(other), "--store", str(tmp_path / "store"))
    process.shake_hands()
    assert process.call("list_backups")["project_root"] == str(other / ".claude")
    process.call("create_backup", version="v1")
    assert (tmp_path / "store" / "backups" / "v1" / "manifest.json").exists()


# --- the first reply -----------------------------------------------------------------------------------------------


def test_a_backup_is_made_after_the_first_reply(start: Start, roots: tuple[Path, Path]) -> None:
    """Protection from the first session on; an unchanged second session adds none."""
    for _ in range(2):
        process = start(STRAVINSKY_BACKUP_ON_SESSION_START="true")
        process.shake_hands()
        deadline = time.monotonic() + WAIT_SECONDS
        listed = process.call("list_backups")
        while not listed["total"]:
            assert time.monotonic() < deadline
            listed = process.call("list_backups")
        (backup,) = listed["backups"]
        assert (backup["kind"], backup["made_by"]) == ("automatic", "tool")
        assert listed["current"]["version"] == backup["version"]
        process.hang_up()
        assert process.end() == 0
    process = start()
    process.shake_hands()
    (event,) = process.call("query_audit")["events"]
    assert (event["event_type"], event["actor"]["kind"]) == ("BACKUP_CREATED", "server")


def test_the_automatic_backup_can_be_switched_off(start: Start, roots: tuple[Path, Path]) -> None:
    """`backup.on_session_start` false: after many replies there is still nothing."""
    process = start(STRAVINSKY_BACKUP_ON_SESSION_START="false")
    process.shake_hands()
    for _ in range(20):
        assert process.call("list_backups")["total"] == 0
    assert process.call("query_audit")["events"] == []


def test_nothing_is_touched_before_a_client_speaks(start: Start, roots: tuple[Path, Path], home: Path) -> None:
    """A host may start a server and never use it."""
    process = start(STRAVINSKY_BACKUP_ON_SESSION_START="true")
    process.hang_up()
    process._child.wait(START_SECONDS)
    assert process.end() == 0
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
    run = subprocess.run(command, capture_output=True, check=True, timeout=START_SECONDS)
    heavy = ("service", "schema", "disk", "cli", "core.checks", "core.plan", "core.history", "core.outcome")
    loaded = [name.removeprefix("stravinsky_rollback_mcp.") for name in json.loads(run.stdout)]
    assert [name for name in loaded if name.startswith(heavy)] == []


# --- the end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_the_process_while_the_client_still_listens(
    start: Start, roots: tuple[Path, Path], number: signal.Signals
) -> None:
    """Claude Code sends SIGINT, SIGTERM 100 ms later and SIGKILL at 500 ms, and closes nothing before."""
    process = start()
    process.shake_hands()
    process.call("create_backup", version="v1")
    process.signal(number)
    assert process.end() == 0
    assert process.errors == ""


def test_two_signals_in_a_row_are_one(start: Start, roots: tuple[Path, Path]) -> None:
    """The second must not tear down what the first lets finish."""
    process = start()
    process.shake_hands()
    process.signal(signal.SIGINT)
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert "Traceback" not in process.errors


def test_the_end_of_input_ends_the_process(start: Start, roots: tuple[Path, Path]) -> None:
    """The regular way: the client closes the pipe."""
    process = start()
    process.shake_hands()
    process.hang_up()
    assert process.end() == 0
    assert process.errors == ""


def ends_by(process: Process, how: str) -> None:
    """One of the ways in which a host ends a server."""
    if how == "EOF":
        process.hang_up()
    else:
        process.signal(getattr(signal, how))


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "EOF"])
def test_an_end_during_a_rollback_leaves_the_old_state_or_the_new(
    start: Start, roots: tuple[Path, Path], home: Path, how: str
) -> None:
    """Threat model, row 86: what is critical ends, or the journal lets the next start end it; exit 0 all the same."""
    many: dict[str | bytes, Any] = {f"{number:04}.py": f"print({number})\n" * 20 for number in range(800)}
    build(roots[0] / "hooks", {"many": many})
    process = start()
    process.shake_hands()
    process.call("create_backup", version="v1")
    new = both(roots)
    for number in range(0, 800, 2):
        (roots[0] / "hooks" / "many" / f"{number:04}.py").write_text("broken\n", encoding="utf-8")
    old = both(roots)
    journal = home / ".stravinsky" / "rollback" / "recovery" / "journal.json"
    process.ask("tools/call", {"name": "rollback_to", "arguments": {"version": "v1"}})
    deadline = time.monotonic() + WAIT_SECONDS
    while not journal.exists() and both_or_missing(roots) != new:
        assert time.monotonic() < deadline
    ends_by(process, how)
    assert process.end() == 0

    later = start()
    later.shake_hands()
    later.call("create_backup", version="after")
    assert both(roots) in (old, new)
    assert not list(home.rglob(".stravinsky-*"))
    assert not journal.exists()
    assert later.call("query_audit")["chain"]["intact"]


def both_or_missing(roots: tuple[Path, Path]) -> tuple[Snapshot, Snapshot] | None:
    """Both scopes, or None when something was exchanged while it was looked at."""
    try:
        return both(roots)
    except OSError:
        return None


# --- an environment that cannot be relied on -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environ", "code"),
    [
        ((), {"HOME": ""}, "env_untrusted"),
        ((), {"HOME": "relative"}, "env_untrusted"),
        ((), {"HOME": "/nowhere/at/all"}, "env_untrusted"),
        ((), {"CLAUDE_CONFIG_DIR": "relative"}, "env_untrusted"),
        ((), {"STRAVINSKY_SAFETY_LOCK_TIMEOUT_SECONDS": "soon"}, "invalid_argument"),
        (("--project", "/nowhere/at/all"), {}, "invalid_argument"),
    ],
)
def test_a_bad_environment_ends_it_with_one_clean_line(
    home: Path, arguments: tuple[str, ...], environ: dict[str, str], code: str
) -> None:
    """Threat model, row 101: exit 1 and the reason, before anything is served or written."""
    run = subprocess.run(
        [*MODULE, *arguments],
        env={**os.environ, **environ},
        input=b"",
        capture_output=True,
        check=False,
        timeout=START_SECONDS,
    )
    assert (run.returncode, run.stdout) == (1, b"")
    (line,) = run.stderr.decode().splitlines()
    assert line.startswith(f"stravinsky-rollback-mcp: {code}: ")
    assert "Next: " in line
    assert list(home.iterdir()) == []


def test_without_a_home_nothing_is_guessed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """HOME unset: in this process, since no child may be let loose on the real home."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(sys, "argv", ["stravinsky-rollback-mcp"])
    with pytest.raises(SystemExit) as ended:
        server.main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("stravinsky-rollback-mcp: env_untrusted: ")
    assert len(said.err.splitlines()) == 1
