"""A host: it starts server processes, speaks to them over their pipes, hangs up, sends signals, and lets them wait."""

import json
import os
import queue
import select
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import anyio
from support.nursery import SERVER, TESTS, Child, Forked, Program
from support.watch import forbid_reaching_out

from stravinsky_rollback_mcp import config, server
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.service import RollbackService

# What does not come within this will never come: a bound for what hangs, not for what is slow.
WAIT_SECONDS = 60
MODULE = (sys.executable, "-m", "stravinsky_rollback_mcp")
SCRIPT = (str(Path(sys.executable).with_name("stravinsky-rollback-mcp")),)
TERMINAL = (str(Path(sys.executable).with_name("stravinsky-rollback")),)

Json = dict[str, Any]


class Process:
    """A server process and both ends of its pipes. Every line that it writes must be a JSON-RPC message."""

    def __init__(self, command: Program | Sequence[str], environ: Mapping[str, str], cwd: Path) -> None:
        self._child: Child | subprocess.Popen[bytes]
        if isinstance(command, Program):
            self._child = Child(command, environ, cwd)
        else:
            pipe = subprocess.PIPE
            self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=dict(environ), cwd=cwd)
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._errors: list[bytes] = []
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._listen)]
        for thread in self._threads:
            thread.start()
        self._id = 0
        self.said: list[Json] = []

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _listen(self) -> None:
        assert self._child.stderr is not None
        self._errors.extend(self._child.stderr)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._child.pid

    @property
    def errors(self) -> str:
        """What was said on standard error so far."""
        return b"".join(self._errors).decode("utf-8", "backslashreplace")

    @property
    def is_running(self) -> bool:
        """Whether the process is still there."""
        return self._child.poll() is None

    # -- speaking ---------------------------------------------------------------------------------------------

    def send(self, *lines: bytes) -> None:
        """Raw lines on the server's standard input."""
        assert self._child.stdin is not None
        for line in lines:
            self._child.stdin.write(line + b"\n")
        self._child.stdin.flush()

    def notify(self, method: str, **params: Any) -> None:
        """Send a notification."""
        self.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode())

    def ask(self, method: str, params: Any = None) -> int:
        """Send a request; returns its id."""
        self._id += 1
        message: Json = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params or {}}
        self.send(json.dumps(message).encode())
        return self._id

    def ask_tool(self, tool: str, **arguments: Any) -> int:
        """Send a call; returns its id."""
        return self.ask("tools/call", {"name": tool, "arguments": arguments})

    def _heard(self) -> Json:
        line = self._lines.get(timeout=WAIT_SECONDS)
        assert line is not None, self.errors
        assert line.endswith(b"}\n")
        message: Json = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        self.said.append(message)
        return message

    def answer(self, to: object) -> Json:
        """The reply to one request; what else the server says is kept in ``said``."""
        while True:
            message = self._heard()
            if message.get("id") == to and ("result" in message or "error" in message):
                return message

    def question(self) -> Json:
        """The next request of the server's own; what else it says is kept in ``said``."""
        while True:
            message = self._heard()
            if "method" in message and "id" in message:
                return message

    def shake_hands(self, version: str = "2025-06-18", **capabilities: Any) -> Json:
        """The handshake of the older era, as codex and gemini-cli do it."""
        client = {"name": "raw", "version": "1"}
        hello = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": client}
        reply = self.answer(self.ask("initialize", hello))
        self.notify("notifications/initialized")
        return reply["result"]

    def result(self, tool: str, **arguments: Any) -> Json:
        """The result of a tool, refused or not."""
        reply = self.answer(self.ask_tool(tool, **arguments))
        assert "result" in reply, reply
        return reply["result"]

    def call(self, tool: str, **arguments: Any) -> Json:
        """The structured result of a tool that succeeds."""
        result = self.result(tool, **arguments)
        assert not result.get("isError"), result
        return result["structuredContent"]

    def refusal(self, tool: str, **arguments: Any) -> str:
        """What the caller of a tool is told that does not succeed."""
        result = self.result(tool, **arguments)
        assert result.get("isError"), result
        return result["content"][0]["text"]

    # -- ending -----------------------------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        """Send a signal; standard input stays open."""
        self._child.send_signal(number)

    def hang_up(self) -> None:
        """Close the server's standard input, as a client does that ends."""
        assert self._child.stdin is not None
        self._child.stdin.close()

    def end(self) -> int:
        """Wait for the process to end by itself; returns its exit code. What it said last is in ``said``."""
        code = self._child.wait(WAIT_SECONDS)
        self._join()
        while (line := self._lines.get(timeout=WAIT_SECONDS)) is not None:
            self.said.append(json.loads(line))
        return code

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(WAIT_SECONDS)

    def close(self) -> None:
        """Leave nothing behind."""
        self._child.kill()
        self._child.wait(WAIT_SECONDS)
        self._join()
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a host hands down: a home, a path, and no automatic backup unless a test asks for it."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "PYTHONPATH": TESTS,
        "PYTHONDONTWRITEBYTECODE": "1",
        "STRAVINSKY_BACKUP_ON_SESSION_START": "false",
        **more,
    }


@contextmanager
def process(
    home: Path, project: Path, *words: str, command: Program | Sequence[str] = SERVER, **environ: str
) -> Generator[Process]:
    """A server process of that home, with the project as its working directory."""
    given = command._replace(words=(*command.words, *words)) if isinstance(command, Program) else (*command, *words)
    running = Process(given, environment(home, **environ), project)
    try:
        yield running
    finally:
        running.close()


def ended(command: Program | Sequence[str], home: Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself, with what it said."""
    given = environment(home, **environ)
    with open(os.devnull, "rb") as nothing, TemporaryFile() as out, TemporaryFile() as err:
        if isinstance(command, Program):
            streams = (nothing.fileno(), out.fileno(), err.fileno())
            code = Forked(command, given, cwd, streams).wait(WAIT_SECONDS)
        else:
            code = subprocess.run(
                command, env=given, cwd=cwd, stdin=nothing, stdout=out, stderr=err, check=False, timeout=WAIT_SECONDS
            ).returncode
        out.seek(0)
        err.seek(0)
        said, complained = (file.read().decode("utf-8", "surrogateescape") for file in (out, err))
    return subprocess.CompletedProcess(["…"], code, said, complained)


def typed(*words: str) -> Program:
    """A command as a person types it in a terminal."""
    return Program("stravinsky_rollback_mcp.cli", "main", words)


# Root may read everything. The capabilities that allow it (1 and 2 of capabilities(7)) go for good before the command.
_ORDINARY = """
import ctypes, os, sys
if os.geteuid() == 0:
    library = ctypes.CDLL(None)
    if [number for number in (1, 2) if library.prctl(24, number, 0, 0, 0)]:
        sys.exit(77)
os.execv(sys.argv[1], sys.argv[1:])
"""


def as_ordinary_user(*command: str) -> tuple[str, ...]:
    """The command as one whom permissions concern, whoever runs the tests."""
    return (sys.executable, "-c", _ORDINARY, *command)


# --- a host with a hand on the clock -------------------------------------------------------------------------------


class Gate:
    """A server process that stops before one of its mutating calls until it is let through.

    The two sides meet at two FIFOs: nobody polls, and a test that dies lets the server through.
    """

    def __init__(self, folder: Path) -> None:
        self._ways = (folder / "reached", folder / "go")
        for way in self._ways:
            os.mkfifo(way)
        self._reached = os.open(self._ways[0], os.O_RDONLY | os.O_NONBLOCK)
        self._go = os.open(self._ways[1], os.O_RDWR)

    def command(self, operation: str, part: str, *, project: Path, settle_seconds: float = WAIT_SECONDS) -> Program:
        """The server that stops at the first call of ``operation`` on a path that holds ``part``.

        Told to end, it waits so long for what it has begun.
        """
        reached, go = map(str, self._ways)
        return Program(__name__, "serve_gated", (operation, part, reached, go, str(project), str(settle_seconds)))

    def wait(self) -> None:
        """Return once the server stands at the gate."""
        ready, _, _ = select.select([self._reached], [], [], WAIT_SECONDS)
        assert ready, "the server never came to that call"
        os.read(self._reached, 1)

    def open(self) -> None:
        """Let the server through."""
        os.write(self._go, b"!")

    def close(self) -> None:
        """Give the handles back, which opens the gate for good."""
        os.close(self._reached)
        os.close(self._go)


def serve_noisy() -> None:
    """What a child runs whose dependencies write to standard output: with `print`, and past Python, at every turn."""

    def babble(operation: str, path: str) -> None:
        print("noise", operation, path, flush=True)  # noqa: T201 - that is the fault
        os.write(1, b"raw noise\n")

    loaded = config.of_process(for_terminal=False)
    made = server.RollbackServer(loaded)
    made._service = RollbackService(loaded, Files(observe=babble))
    anyio.run(made.serve)


def serve_gated() -> None:
    """What the child of a ``Gate`` runs: the real server, its files watched."""
    operation, part, reached, go, project, settle_seconds = sys.argv[1:]
    server.SETTLE_SECONDS = float(settle_seconds)
    is_shut = [True]

    def watch(called: str, path: str) -> None:
        if is_shut[0] and called == operation and part in path:
            is_shut[0] = False
            with open(reached, "wb", buffering=0) as way:
                way.write(b"!")
            with open(go, "rb", buffering=0) as way:
                way.read(1)

    loaded = config.of_process(for_terminal=False, project=project)
    made = server.RollbackServer(loaded)
    made._service = RollbackService(loaded, Files(observe=watch))
    anyio.run(made.serve)


def serve_alone() -> None:
    """What a child runs to show that the server needs nobody else."""
    forbid_reaching_out()
    sys.argv = ["stravinsky-rollback-mcp"]
    server.main()
