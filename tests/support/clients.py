"""Real MCP clients for the long tests: installed at pinned versions, run in an empty environment, ended in time.

Run as a program, this file is the world of one Claude Code session: a network namespace in which nothing can be
reached but a stub of the Messages API that answers by a script and writes down what it was asked.
"""

import ctypes
import fcntl
import http.server
import json
import os
import platform
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# Kept between runs: Claude Code alone has 360 MB. Read here, before a test clears the environment.
FOLDER = Path(os.environ.get("STRAVINSKY_TEST_CLIENTS") or REPOSITORY / ".cache" / "clients").absolute()
INSTALL_SECONDS = 300
WAIT_SECONDS = 60  # for what hangs, not for what is slow
NODE = (22, 19)

Json = dict[str, Any]


# --- installing ----------------------------------------------------------------------------------------------------


def npm_package(name: str, version: str) -> Path:
    """The ``node_modules`` that holds this package, installed now if it is not there yet; skips where it cannot be."""
    npm = shutil.which("npm") or pytest.skip("npm is not installed")

    def commands(folder: str) -> list[list[str]]:
        # No install scripts: a test needs files, not whatever they do.
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retry-mintimeout=1000"]
        return [[npm, "install", "--prefix", folder, *options, f"{name}@{version}"]]

    return _installed(f"{name}@{version}", commands) / "node_modules"


def python_package(name: str, version: str) -> Path:
    """The interpreter of a virtual environment with this package; skips where it cannot be installed."""

    def commands(folder: str) -> list[list[str]]:
        pip = [f"{folder}/bin/python", "-m", "pip", "install", "--quiet"]
        return [[sys.executable, "-m", "venv", folder], [*pip, f"{name}=={version}"]]

    return _installed(f"{name}=={version}", commands) / "bin" / "python"


def node() -> Path:
    """A node that is new enough for the clients: the one on the path, or one from npm."""
    found = shutil.which("node")
    if found:
        said = _output([found, "--version"]).stdout
        if tuple(int(part) for part in re.findall(r"\d+", said)[:2]) >= NODE:
            return Path(found)
    machine = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return npm_package(f"node-{platform.system().lower()}-{machine}", "22.23.3") / ".bin" / "node"


def claude_code() -> Path:
    """The binary of Claude Code for this machine, at the version that our facts were observed with."""
    installed = npm_package("@anthropic-ai/claude-code", "2.1.330")
    found = sorted(installed.glob("@anthropic-ai/claude-code-*/claude"))
    return found[0] if found else pytest.skip("npm has no Claude Code for this machine")


def _installed(name: str, commands: Callable[[str], list[list[str]]]) -> Path:
    folder = FOLDER / re.sub(r"[^\w.@=-]", "+", name)
    if folder.exists():
        return folder
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="installing-") as made:
        # Only what is whole gets its name.
        inside = os.path.join(made, "it")
        os.mkdir(inside)
        for command in commands(inside):
            done = _output(command)
            if done.returncode:
                pytest.skip(f"{name} could not be installed: {_reason(done.stderr or done.stdout)}")
        if not folder.exists():  # another run may have been faster
            os.rename(inside, folder)
    return folder


def _output(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """An installer runs as the person set it up: proxies, certificates and registries are theirs."""
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", check=False, timeout=INSTALL_SECONDS, cwd="/"
        )
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(error.cmd, 1, "", f"no end after {INSTALL_SECONDS} s")


def _reason(said: str) -> str:
    """The line that says what went wrong: npm's first error, pip's, or whatever came last."""
    lines = said.strip().splitlines() or ["it did not say why"]
    return next((line for line in lines if "error" in line.lower()), lines[-1])


# --- running -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a client ended and what it said."""

    status: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Standard output as JSON; what else it is shows in the failure."""
        try:
            return json.loads(self.stdout)
        except ValueError:
            pytest.fail(f"no JSON, status {self.status}: {self.stdout[:2000]!r} {self.stderr[-2000:]!r}", pytrace=False)


def run(
    command: Sequence[str | Path],
    *,
    home: Path,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = 60,
) -> Done:
    """Run a client with nothing in its environment but a home, a path and what is given; out of time, it is ended."""
    with subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**minimal(home), **(environment or {})},
        cwd=cwd,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout_seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return Done(status=process.returncode, stdout=stdout, stderr=stderr)


def minimal(home: Path) -> dict[str, str]:
    """What ``env -i`` leaves, a path and a home."""
    return {"PATH": os.defpath, "HOME": str(home)}


def line_of(stream: IO[bytes] | None) -> bytes:
    """The next line that a process writes, or a failure in bounded time."""
    assert stream is not None
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([stream], [], [], WAIT_SECONDS)
        byte = os.read(stream.fileno(), 1) if ready else b""
        assert byte, f"no whole line: {line!r}"
        line += byte
    return line


def living_in(home: Path) -> dict[int, str]:
    """The commands of all processes whose home this is, by their numbers."""
    found: dict[int, str] = {}
    wanted = b"HOME=" + os.fsencode(home)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = str((process / "cmdline").read_bytes())
        except OSError:  # it is gone, or somebody else's
            continue
    return found


def wait_until_gone(home: Path) -> None:
    """Return once no process has this home, or fail in bounded time."""
    while living := living_in(home):
        for number, command in living.items():
            try:
                handle = os.pidfd_open(number)
            except ProcessLookupError:
                continue
            with open(handle, "rb"):
                assert select.select([handle], [], [], WAIT_SECONDS)[0], f"still there: {command}"


def wait_until_there(path: Path) -> None:
    """Return once something has that name, or fail in bounded time."""
    library = ctypes.CDLL(None, use_errno=True)
    created_or_moved_there = 0x100 | 0x80
    with open(library.inotify_init1(os.O_CLOEXEC), "rb", buffering=0) as events:
        while not path.exists():
            folder = next(parent for parent in path.parents if parent.is_dir())
            library.inotify_add_watch(events.fileno(), os.fsencode(folder), created_or_moved_there)
            if not (folder / path.relative_to(folder).parts[0]).exists():  # else it came before the watch
                assert select.select([events], [], [], WAIT_SECONDS)[0], f"never there: {path}"
                events.read(1 << 16)


# --- a world without a network -------------------------------------------------------------------------------------


def unshared() -> list[str]:
    """The words that give a command a network namespace of its own; skips where that is not permitted."""
    refused = "unshare is not installed"
    for words in (["unshare", "-n"], ["unshare", "-r", "-n"]):
        if shutil.which(words[0]):
            done = _output([*words, "true"])
            if not done.returncode:
                return words
            refused = _reason(done.stderr)
    pytest.skip(f"no network namespace: {refused}")


def offline(
    words: Sequence[str], folder: Path, script: Sequence[Json], command: Sequence[str | Path]
) -> list[str | Path]:
    """The command that runs ``command`` in the world that this file is as a program; see ``requests_in``."""
    (folder / "script.json").write_text(json.dumps(script), encoding="utf-8")
    # -P: this folder holds a `config.py`, which must not become anybody's `config`.
    return [*words, sys.executable, "-P", __file__, folder, *command]


def requests_in(folder: Path) -> list[Json]:
    """What the stub was asked, in order: the bodies of the requests that a model with tools would have got."""
    try:
        lines = (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [body for body in map(json.loads, lines) if body.get("tools")]


def blocks(body: Json, kind: str) -> Iterator[Json]:
    """The content blocks of one kind in a request's messages."""
    for message in body.get("messages", []):
        content: Any = message["content"]
        for block in cast("list[Json]", content if isinstance(content, list) else []):
            if block.get("type") == kind:
                yield block


class _Messages(http.server.BaseHTTPRequestHandler):
    """The Messages API: the n-th answer is the n-th step of the script, n being the tool results seen so far.

    A step is ``{"tool": name, "input": {...}}`` or ``{"text": ...}``. With either: ``{"after": path}``, the answer
    waits until that is there; ``{"write": {path: text}}``, somebody else changes files before the answer comes.
    """

    folder: Path
    script: Sequence[Json]

    def do_POST(self) -> None:
        body: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with (self.folder / "requests.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(body) + "\n")
        step: Json = {"text": "ok"}
        if body.get("tools"):
            step = self.script[min(sum(1 for _ in blocks(body, "tool_result")), len(self.script) - 1)]
        if "after" in step:
            wait_until_there(Path(step["after"]))
        for path, text in cast("Mapping[str, str]", step.get("write", {})).items():
            Path(path).write_text(text, encoding="utf-8")
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for event in _answer(step, str(body.get("model"))):
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Say nothing: standard error is the client's."""


def _answer(step: Json, model: str) -> Iterator[Json]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message: Json = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "usage": usage,
    }
    yield {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None}}
    block: Json
    if "tool" in step:
        block = {"type": "tool_use", "id": f"toolu_{os.urandom(8).hex()}", "name": step["tool"], "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(step["input"])}
    else:
        block = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": step["text"]}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    reason = "tool_use" if "tool" in step else "end_turn"
    yield {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def _loopback_up() -> None:
    """What ``ip link set lo up`` does; a new network namespace has it down."""
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = fcntl.ioctl(any_socket, get_flags, struct.pack("16sh14x", b"lo", 0))
        flags: int = struct.unpack("16sh14x", asked)[1]
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", flags | up))


def main() -> NoReturn:
    """``clients.py FOLDER COMMAND...``: run the command beside the stub, end as it ends."""
    _loopback_up()
    _Messages.folder = Path(sys.argv[1])
    _Messages.script = json.loads((_Messages.folder / "script.json").read_text(encoding="utf-8"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Messages) as stub:
        threading.Thread(target=stub.serve_forever, daemon=True).start()
        os.environ["ANTHROPIC_BASE_URL"] = f"http://127.0.0.1:{stub.server_port}"
        status = subprocess.run(sys.argv[2:], check=False).returncode
        stub.shutdown()
    sys.exit(status)


if __name__ == "__main__":
    main()
