"""Processes of this package without its imports: one Python imports everything once and forks the others.

Importing takes a second, a fork some milliseconds, and what runs is a process as any other: its own pipes, signals,
environment and end. What only a fresh interpreter shows (its command line, its variables, its imports) is tested with
one.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NamedTuple

TESTS = str(Path(__file__).resolve().parent.parent)
IMPORTED = tuple(f"stravinsky_rollback_mcp.{name}" for name in ("server", "service", "schema", "cli"))


class Program(NamedTuple):
    """A function to run in a process of its own, and the words that it finds in ``sys.argv``."""

    module: str
    function: str
    words: tuple[str, ...] = ()


SERVER = Program("stravinsky_rollback_mcp.server", "main")


class Forked:
    """A process with these three streams, as ``subprocess.Popen`` shows one."""

    def __init__(self, program: Program, environ: Mapping[str, str], cwd: Path, streams: tuple[int, int, int]) -> None:
        # So that the guard of the real home sees it as it sees other children.
        sys.audit("subprocess.Popen", sys.executable, [sys.executable, *program.words], cwd, environ)
        self._end, lives = os.pipe()
        try:
            asked = {"program": program, "environ": dict(environ), "cwd": str(cwd)}
            self.pid: int = _nursery().ask(asked, (*streams, lives))
        finally:
            os.close(lives)
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        """Send a signal to a process that has not been waited for."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float) -> int:
        """The exit code, a signal's number negative."""
        if self.returncode is None:
            # Nothing is ever written there: it can be read once the other end is gone with the process.
            if not select.select([self._end], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(["forked"], timeout)
            os.close(self._end)
            self.returncode = _nursery().ask({"ended": self.pid})
        return self.returncode


class Child(Forked):
    """A forked process with pipes for its standard streams."""

    def __init__(self, program: Program, environ: Mapping[str, str], cwd: Path) -> None:
        (reads, stdin), (stdout, writes), (stderr, complains) = (os.pipe() for _ in range(3))
        try:
            super().__init__(program, environ, cwd, (reads, writes, complains))
        finally:
            for handle in (reads, writes, complains):
                os.close(handle)
        self.stdin: IO[bytes] = os.fdopen(stdin, "wb")
        self.stdout: IO[bytes] = os.fdopen(stdout, "rb")
        self.stderr: IO[bytes] = os.fdopen(stderr, "rb")


class _Nursery:
    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        environ = {**os.environ, "PYTHONPATH": TESTS, "PYTHONDONTWRITEBYTECODE": "1"}
        code = "import sys; from support.nursery import serve; serve(int(sys.argv[1]))"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code, str(theirs.fileno())],
                env=environ,
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._way = ours
        atexit.register(self.close)

    def ask(self, asked: Mapping[str, Any], handles: Sequence[int] = ()) -> int:
        """The number that is answered."""
        line = json.dumps(asked).encode() + b"\n"
        sent = socket.send_fds(self._way, [line], handles)
        self._way.sendall(line[sent:])
        return json.loads(_line(self._way)[0])

    def close(self) -> None:
        """It ends when nobody can ask any more."""
        self._way.close()
        self._process.wait()


@cache
def _nursery() -> _Nursery:
    return _Nursery()


def _line(way: socket.socket) -> tuple[bytes, list[int]]:
    """The next line and the handles that came with it; an empty one at the end."""
    line, handles, _, _ = socket.recv_fds(way, 1 << 16, 4)
    while line and not line.endswith(b"\n"):
        line += way.recv(1 << 16)
    return line, handles


def serve(handle: int) -> None:
    """Fork a child for each line; single-threaded, so that forking is safe. Returns in none but the last of them."""
    for module in IMPORTED:
        import_module(module)
    with socket.socket(fileno=handle) as way:
        while True:
            line, handles = _line(way)
            if not line:
                return
            asked = json.loads(line)
            if "ended" in asked:
                answer = os.waitstatus_to_exitcode(os.waitpid(asked["ended"], 0)[1])
            else:
                answer = os.fork()
                if answer == 0:
                    break
                for given in handles:
                    os.close(given)
            way.sendall(b"%d\n" % answer)
    _run(Program(*asked["program"]), asked["environ"], asked["cwd"], handles)


def _run(program: Program, environ: Mapping[str, str], cwd: str, handles: Sequence[int]) -> None:
    *streams, _ = handles  # the last stays open for as long as the process lives
    for number, given in enumerate(streams):
        os.dup2(given, number)
        os.close(given)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = [program.module, *program.words]
    getattr(import_module(program.module), program.function)()
