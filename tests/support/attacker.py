"""Those who attack: a model that calls every tool, a forger with a hand in the store, a host that speaks raw bytes.

N in the threat model's table means that live configuration and backups are byte for byte as before; A that there is
exactly one record of the refusal, with its code and the digest of the arguments and nothing of what was asked.
"""

import gzip
import hashlib
import json
import os
import queue
import select
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import mcp_types as types
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client
from support.tree import Snapshot, snapshot

from stravinsky_rollback_mcp import config
from stravinsky_rollback_mcp.core.codec import chain, manifest
from stravinsky_rollback_mcp.core.codec.trees import present
from stravinsky_rollback_mcp.core.model import (
    Actor,
    AuditDraft,
    AuditRecord,
    BackupKind,
    Entry,
    EntryType,
    EventStatus,
    EventType,
    Kind,
    MadeBy,
    Manifest,
    Scope,
    StoredTarget,
    TargetState,
)
from stravinsky_rollback_mcp.core.names import archive_name
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit import AuditLog
from stravinsky_rollback_mcp.server import RollbackServer
from stravinsky_rollback_mcp.service import RollbackService

WAIT_SECONDS = 5
START_SECONDS = 20  # the SDK alone is 582 modules, and a fresh checkout has no byte code yet
MODULE = (sys.executable, "-m", "stravinsky_rollback_mcp")
SCRIPT = (str(Path(sys.executable).with_name("stravinsky-rollback-mcp")),)
TERMINAL = (str(Path(sys.executable).with_name("stravinsky-rollback")),)
TESTS = str(Path(__file__).resolve().parent.parent)

Json = dict[str, Any]


# --- what could be damaged -----------------------------------------------------------------------------------------


def everything(home: Path, project: Path) -> Snapshot:
    """The whole home and project, but for the audit and what is only ever written anew.

    A damaged backup that a refusal put aside counts as where it was: it was moved whole, its bytes are what they were.
    """
    store = b".stravinsky/rollback/"
    ours = (store + b"audit", store + b"lock", store + b"recovery", store + b"cache")
    aside, at_home = store + b"quarantine", snapshot(home)
    return {
        **{path: entry for path, entry in at_home.items() if not path.startswith((*ours, aside))},
        **{
            store + b"backups" + path.removeprefix(aside): entry
            for path, entry in at_home.items()
            if path.startswith(aside + b"/") and not path.endswith(b"/problem.json")
        },
        **{b"project/" + path: entry for path, entry in snapshot(project).items()},
    }


def log_of(home: Path) -> list[bytes]:
    """The raw lines of the audit log of the store in a home."""
    path = home / ".stravinsky" / "rollback" / "audit" / "operations.log"
    return path.read_bytes().splitlines() if path.exists() else []


def records_of(home: Path) -> list[AuditRecord]:
    """Every record of the store in a home, oldest first."""
    return [chain.decode_line(line) for line in log_of(home)]


def require_recorded(lines: Sequence[bytes], code: str, operation: str, arguments: Mapping[str, Any]) -> None:
    """A: one refusal among these new lines, with code and digest, and nothing of what was asked."""
    refusals = [line for line in lines if chain.decode_line(line).draft.event_type is EventType.REFUSED]
    assert len(refusals) == 1, [chain.decode_line(line).draft for line in lines]
    draft = chain.decode_line(refusals[0]).draft
    assert (draft.error, draft.status, draft.actor.tool) == (code, EventStatus.REFUSED, operation[:64])
    assert draft.details is not None
    assert draft.details.keys() == {"operation", "arguments_sha256"}
    assert len(str(draft.details["arguments_sha256"])) == 64
    for text in _texts(arguments):
        if len(text) >= 8 and text not in str(draft.user_root) + str(draft.project):
            assert json.dumps(text)[1:-1].encode() not in refusals[0], text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():  # pyright: ignore[reportUnknownVariableType]  # any JSON
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:  # pyright: ignore[reportUnknownVariableType]  # any JSON
            yield from _texts(item)


# --- a model -------------------------------------------------------------------------------------------------------


class Attacker:
    """A model that may call every tool with any argument, and everything that it could have damaged."""

    def __init__(self, portal: BlockingPortal, client: Client, home: Path, project: Path) -> None:
        self._portal = portal
        self._client = client
        self.home = home
        self.project = project
        self.user = home / ".claude"
        self.backups = home / ".stravinsky" / "rollback" / "backups"
        self.audit = home / ".stravinsky" / "rollback" / "audit"

    def raw(self, tool: str, arguments: Mapping[str, Any]) -> types.CallToolResult:
        """One call, whatever comes of it."""
        return self._portal.call(self._client.call_tool, tool, dict(arguments))

    def call(self, tool: str, **arguments: Any) -> Json:
        """The result of a call that succeeds."""
        result = self.raw(tool, arguments)
        assert not result.is_error, result.content
        assert result.structured_content is not None
        return result.structured_content

    def agreed(self, tool: str, **arguments: Any) -> Json:
        """The same, with a person who agrees to whatever it says would become less safe."""
        preview = self.call(tool, **arguments, dry_run=True)
        return self.call(tool, **arguments, accept=preview["security_changes"])

    def everything(self) -> Snapshot:
        """The whole home and project, but for the audit and what is only ever written anew."""
        return everything(self.home, self.project)

    def refused(self, code: str, tool: str, arguments: Mapping[str, Any]) -> str:
        """Code and A of one call; returns what the caller is told."""
        seen = len(log_of(self.home))
        result = self.raw(tool, arguments)
        assert result.is_error, f"{tool} {arguments!r} was done: {result.structured_content}"
        (block,) = result.content
        assert isinstance(block, types.TextContent)
        assert block.text.startswith(f"{code}: "), block.text
        assert block.text.isprintable(), block.text
        assert len(block.text) < 2000
        require_recorded(log_of(self.home)[seen:], code, tool, arguments)
        return block.text

    def is_refused(self, code: str, tool: str, **arguments: Any) -> str:
        """Code, N and A of one call; returns what the caller is told."""
        before = self.everything()
        text = self.refused(code, tool, arguments)
        assert self.everything() == before
        return text


@contextmanager
def attacker_in(home: Path, project: Path, files: Files | None = None, **environ: str) -> Generator[Attacker]:
    """A model in a session of that home and project; ``files`` lets a test watch or disturb what the server writes."""
    loaded = config.load({"HOME": str(home), "CLAUDE_PROJECT_DIR": str(project), **environ}, for_terminal=False)
    server = RollbackServer(loaded)
    if files is not None:
        server._service = RollbackService(loaded, files)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Client(server.protocol)) as client,
    ):
        yield Attacker(portal, client, home, project)


# --- a forger ------------------------------------------------------------------------------------------------------

BLOCK = 512
END = b"\0" * (2 * BLOCK)
FORGER = Actor(kind="mcp_client", name="nobody suspicious", tool="create_backup")


def header(  # one name a header field
    name: bytes,
    *,
    type: bytes = b"0",  # noqa: A002 - the field's name
    size: bytes = b"00000000000\0",
    mode: bytes = b"0000644\0",
    owner: bytes = b"0000000\0",
    link: bytes = b"",
    magic: bytes = b"ustar  \0",
    checksum: bytes | None = None,
) -> bytes:
    """One header block with any field that an attacker likes, and the right checksum unless one is given."""
    head = name[:100].ljust(100, b"\0") + mode + owner * 2 + size + b"00000000000\0"
    tail = (type + link.ljust(100, b"\0") + magic).ljust(BLOCK - len(head) - 8, b"\0")
    total = sum(head) + sum(tail) + 8 * 0x20
    return head + (checksum or b"%06o\0 " % total) + tail


def member(name: bytes, content: bytes = b"", **fields: bytes) -> bytes:
    """A whole member: header, content, padding."""
    size = fields.pop("size", b"%011o\0" % len(content))
    return header(name, size=size, **fields) + content + b"\0" * (-len(content) % BLOCK)


def packed(tar: bytes) -> bytes:
    """A gzip stream as the store has them, in effect."""
    return gzip.compress(tar, 6, mtime=0)


def entry(path: str, content: bytes | None = None, mode: int = 0o644) -> Entry:
    """What a manifest says of a file, or of a folder where there is no content."""
    if content is None:
        return Entry(path=path, type=EntryType.DIRECTORY, mode=0o755)
    sha256 = hashlib.sha256(content).hexdigest()
    return Entry(path=path, type=EntryType.FILE, mode=mode, size_bytes=len(content), sha256=sha256)


def commands_target(entries: Sequence[Entry], archive: bytes, path: str) -> StoredTarget:
    """The user's commands as a forged manifest has them, consistent with the bytes of the archive.

    Not the hooks: scripts that live settings name stay, whatever a backup holds.
    """
    return StoredTarget(
        scope=Scope.USER,
        component="commands",
        kind=Kind.DIRECTORY,
        path=path,
        resolved_path=path,
        archive=archive_name("user.commands", Kind.DIRECTORY),
        archive_sha256=hashlib.sha256(archive).hexdigest(),
        archive_size_bytes=len(archive),
        tree=present((entry(""), *entries)),
    )


class Forger:
    """A process of the same user that writes whole backups into the store, the audit record included."""

    def __init__(self, home: Path, project: Path) -> None:
        self.home = home
        self.project = project
        self._root = home / ".stravinsky" / "rollback"
        self._audit = AuditLog(str(self._root / "audit"), Files())
        self._count = 0

    def honest(self, version: str) -> Manifest:
        """The manifest of a backup in the store."""
        return manifest.decode((self._root / "backups" / version / "manifest.json").read_bytes())

    def forged(self, targets: Sequence[StoredTarget], *, project: str | None = None) -> Manifest:
        """A new manifest, for the session's own project unless another is named."""
        self._count += 1
        return replace(
            self.honest("v1"), version=f"forged-{self._count}", targets=tuple(targets), project=project or self._here
        )

    @property
    def _here(self) -> str:
        return str(self.project)

    def plant(
        self,
        forged: Manifest,
        archives: Mapping[str, bytes],
        *,
        is_recorded: bool = True,
        edit: Callable[[bytes], bytes] = lambda content: content,
    ) -> str:
        """Put a backup into the store; ``edit`` has the last word about the manifest's bytes. Returns the version."""
        folder = self._root / "backups" / forged.version
        folder.mkdir(mode=0o700)
        for name, content in archives.items():
            (folder / name).write_bytes(content)
        content = edit(manifest.encode(forged))
        (folder / "manifest.json").write_bytes(content)
        if is_recorded:
            self.record(forged, content)
        return forged.version

    def discard(self, version: str) -> None:
        """Take a backup away again, wherever a refusal has put it."""
        for folder in ("backups", "quarantine"):
            shutil.rmtree(self._root / folder / version, ignore_errors=True)

    def put_back(self, version: str) -> None:
        """Undo a quarantine by hand, as a person does who has mended the backup."""
        (self._root / "quarantine" / version / "problem.json").unlink()
        (self._root / "quarantine" / version).rename(self._root / "backups" / version)

    def record(self, forged: Manifest, content: bytes) -> None:
        """Write the record that vouches for it, as an honest server would have done."""
        draft = AuditDraft(
            event_type=EventType.BACKUP_CREATED,
            status=EventStatus.SUCCESS,
            actor=FORGER,
            user_root=forged.user_root,
            project=forged.project,
            version=forged.version,
            details={
                "manifest_sha256": hashlib.sha256(content).hexdigest(),
                "sequence": forged.sequence,
                "kind": BackupKind.MANUAL,
                "made_by": MadeBy.TOOL,
                "digests": {
                    target.id: target.tree.digest
                    for target in forged.targets
                    if target.tree.state is not TargetState.NOT_RECORDED
                },
                "files": 1,
                "size_bytes": 1,
            },
        )
        self._audit.append(draft, now="2026-11-23T09:00:00Z", event_id=os.urandom(8).hex())

    def commands(self, entries: Sequence[Entry], archive: bytes, *, is_recorded: bool = True) -> str:
        """A backup of the user's commands alone: these entries, this archive."""
        target = commands_target(entries, archive, str(self.home / ".claude" / "commands"))
        return self.plant(self.forged([target]), {target.archive: archive}, is_recorded=is_recorded)


# --- a host --------------------------------------------------------------------------------------------------------


class Process:
    """A server process and both ends of its pipes. Every line that it writes must be a JSON-RPC message."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], cwd: Path) -> None:
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environ),
            cwd=cwd,
        )
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

    def answer(self, to: object, *, within: float = WAIT_SECONDS) -> Json:
        """The reply to one request; what else the server says is kept in ``said``."""
        while True:
            line = self._lines.get(timeout=within)
            assert line is not None, self.errors
            message: Json = json.loads(line)
            assert message["jsonrpc"] == "2.0"
            self.said.append(message)
            if message.get("id") == to and ("result" in message or "error" in message):
                return message

    def shake_hands(self, version: str = "2025-06-18") -> Json:
        """The handshake of the older era, as codex and gemini-cli do it."""
        hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
        reply = self.answer(self.ask("initialize", hello), within=START_SECONDS)
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
    home: Path, project: Path, *words: str, command: Sequence[str] = MODULE, **environ: str
) -> Generator[Process]:
    """A server process of that home, with the project as its working directory."""
    running = Process((*command, *words), environment(home, **environ), project)
    try:
        yield running
    finally:
        running.close()


def ended(command: Sequence[str], home: Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself, with what it said."""
    return subprocess.run(
        command,
        env=environment(home, **environ),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
        timeout=START_SECONDS,
    )


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

    def command(self, operation: str, part: str, *, project: Path) -> tuple[str, ...]:
        """The server that stops at the first call of ``operation`` on a path that holds ``part``."""
        code = "import sys; from support.attacker import serve_gated; serve_gated(*sys.argv[1:])"
        return (sys.executable, "-c", code, operation, part, str(self._ways[0]), str(self._ways[1]), str(project))

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
    import anyio  # noqa: PLC0415 - only the child needs it here

    def babble(operation: str, path: str) -> None:
        print("noise", operation, path, flush=True)  # noqa: T201 - that is the fault
        os.write(1, b"raw noise\n")

    loaded = config.of_process(for_terminal=False)
    server = RollbackServer(loaded)
    server._service = RollbackService(loaded, Files(observe=babble))
    anyio.run(server.serve)


def serve_gated(operation: str, part: str, reached: str, go: str, project: str) -> None:
    """What the child of a ``Gate`` runs: the real server, its files watched."""
    import anyio  # noqa: PLC0415 - only the child needs it here

    is_shut = [True]

    def watch(called: str, path: str) -> None:
        if is_shut[0] and called == operation and part in path:
            is_shut[0] = False
            with open(reached, "wb", buffering=0) as way:
                way.write(b"!")
            with open(go, "rb", buffering=0) as way:
                way.read(1)

    loaded = config.of_process(for_terminal=False, project=project)
    server = RollbackServer(loaded)
    server._service = RollbackService(loaded, Files(observe=watch))
    anyio.run(server.serve)


# --- a host that watches -------------------------------------------------------------------------------------------

_REACHES_OUT = frozenset(
    {"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}
    | {"urllib.Request", "http.client.connect", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"}
)


def _only_parses(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether this starts an interpreter that reads a script from standard input, runs nothing and knows nobody."""
    if event != "subprocess.Popen":
        return False
    _, command, folder, environment = arguments
    is_parser = command[1:4] == ["-I", "-S", "-B"] or command[1:2] == ["-n"] or command[-2:] == ["--check", "-"]
    return is_parser and folder == "/" and environment["HOME"] == "/nonexistent"


def forbid_reaching_out() -> None:
    """End this process with 99 as soon as it asks the network for anything, or starts what is more than a parser."""

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in _REACHES_OUT and not _only_parses(event, arguments):
            sys.stderr.write(f"reached out: {event} {arguments!r}\n")
            sys.stderr.flush()
            os._exit(99)

    sys.addaudithook(watch)


def serve_alone() -> None:
    """What a child runs to show that the server needs nobody else."""
    from stravinsky_rollback_mcp import server  # noqa: PLC0415 - only the child needs it here

    forbid_reaching_out()
    sys.argv = ["stravinsky-rollback-mcp"]
    server.main()
