"""``stravinsky-rollback demo``: lose a configuration and get it back, through the installed server, and prove it.

A client from outside that happens to be shipped: it makes a home of its own, starts the stdio server as
Claude Code would, and compares bytes by itself.
"""

import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from stravinsky_rollback_mcp.cli import demo_configuration
from stravinsky_rollback_mcp.cli.demo_configuration import Content, File, Folder, Link
from stravinsky_rollback_mcp.cli.terminal import example
from stravinsky_rollback_mcp.errors import EXIT_DONE, EXIT_REFUSED

if TYPE_CHECKING:
    from mcp import Client
    from rich.console import Console

# Path → (type, mode, bytes or link text): everything that a restore must bring back.
Snapshot = Mapping[bytes, tuple[str, int, bytes]]

_PROJECT = b"src/app"
_BELOW_ROOT = (b"hooks", b"commands", b"agents", b"settings.json", b"settings.local.json", b"CLAUDE.md")
_TARGETS = tuple(os.path.join(b".claude", name) for name in _BELOW_ROOT)
_PROTECTED = (
    *_TARGETS,
    *(os.path.join(_PROJECT, target) for target in (*_TARGETS, b"CLAUDE.md", b".mcp.json")),
)
_TIMEOUT_SECONDS = 60.0
_MAX_SHOWN = 5


class _FailedError(Exception):
    """The demonstration did not show what it should; the message says what was seen instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """Where the demonstration plays: a home, and in it a project."""

    home: bytes

    @property
    def project(self) -> bytes:
        """The project's folder."""
        return os.path.join(self.home, _PROJECT)

    def snapshot(self) -> Snapshot:
        """The whole home as it is, without our own store."""
        return {path: _state(os.path.join(self.home, path)) for path in self._paths()}

    def bystanders(self) -> Mapping[bytes, tuple[int, int, int]]:
        """Inode, modification time and size of the files that are none of our business."""
        found: dict[bytes, tuple[int, int, int]] = {}
        for path in self._paths():
            status = os.lstat(os.path.join(self.home, path))
            if stat.S_ISREG(status.st_mode) and not path.startswith(_PROTECTED):
                found[path] = (status.st_ino, status.st_mtime_ns, status.st_size)
        return found

    def protected_files(self) -> int:
        """How many files and links a backup must hold."""
        kinds = [kind for path, (kind, _, _) in self.snapshot().items() if path.startswith(_PROTECTED)]
        return sum(1 for kind in kinds if kind != "folder")

    def _paths(self) -> list[bytes]:
        paths = (os.path.relpath(path, self.home) for path in _walk(self.home))
        return [path for path in paths if not path.startswith(b".stravinsky")]


def _walk(root: bytes) -> list[bytes]:
    found: list[bytes] = []
    for folder, folders, files in os.walk(root):
        found.extend(os.path.join(folder, name) for name in (*folders, *files))
    return sorted(found)


def _state(path: bytes) -> tuple[str, int, bytes]:
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return "link", mode, os.readlink(path)
    if stat.S_ISDIR(status.st_mode):
        return "folder", mode, b""
    with open(path, "rb") as file:
        return "file", mode, file.read()


def _digest(snapshot: Snapshot) -> str:
    whole = hashlib.sha256()
    for path, (kind, mode, content) in sorted(snapshot.items()):
        for part in (path, kind.encode(), b"%o" % mode, content):
            whole.update(b"%d:%b" % (len(part), part))
    return whole.hexdigest()


def _build(root: bytes, content: Content) -> None:
    for name, item in content.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        match item:
            case File(text, mode):
                with open(path, "wb") as file:
                    file.write(text.encode())
                os.chmod(path, mode)
            case Folder(mode):
                os.mkdir(path)
                os.chmod(path, mode)
            case Link(text):
                os.symlink(text.encode(), path)


def _break(stage: _Stage) -> tuple[str, ...]:
    """The accidents of a week in one go; returns what happened, for people."""
    user, project = stage.home + b"/.claude", stage.project + b"/.claude"
    os.remove(user + b"/hooks/guard_bash.py")
    shutil.rmtree(user + b"/commands/git")
    os.mkdir(user + b"/commands/git")
    os.chmod(user + b"/hooks/notify.sh", 0o644)
    with open(stage.project + b"/CLAUDE.md", "wb") as file:
        file.write(b"")
    with open(user + b"/settings.json", "r+b") as file:
        file.truncate(200)
    stale = {key: value for key, value in demo_configuration.PROJECT_SETTINGS.items() if key != "hooks"}
    with open(project + b"/settings.json", "wb") as file:
        file.write(demo_configuration.settings_text(stale).encode())
    return (
        "a clean-up deletes the guard ~/.claude/hooks/guard_bash.py",
        "an installer empties the folder ~/.claude/commands/git",
        "a copy loses the executable bit of ~/.claude/hooks/notify.sh",
        "a full disk cuts ~/.claude/settings.json short: no longer JSON",
        "another session writes ~/src/app/.claude/settings.json without hooks",
        "a careless redirection empties ~/src/app/CLAUDE.md",
    )


@click.command(epilog=example("demo --keep"))
@click.option("--keep", is_flag=True, help="Keep the made-up home, and say where it is.")
@click.option("--no-color", is_flag=True, help="Plain text, also on a terminal.")
@click.pass_context
def demo(context: click.Context, *, keep: bool, no_color: bool) -> None:
    """Lose a made-up configuration and get it back.

    Through the MCP server, with proofs. Plays in a temporary folder; your own configuration is not looked at.
    """
    import anyio
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False, no_color=no_color or None)
    if console.no_color:
        console = Console(markup=False, emoji=False, highlight=False, color_system=None)
    folder = os.path.realpath(tempfile.mkdtemp(prefix="stravinsky-demo-"))
    try:
        status = anyio.run(_Demonstration(console, folder).run)
    finally:
        if keep:
            click.echo(f"Kept: {folder}")
        else:
            shutil.rmtree(folder)
    context.exit(status)


class _Demonstration:
    """The steps, told to a person as they happen."""

    def __init__(self, console: "Console", folder: str) -> None:
        self._console = console
        self._stage = _Stage(home=os.fsencode(folder))
        self._folder = folder
        self._steps = 0
        self._checks = 0
        self._took = ""

    async def run(self) -> int:
        """Perform everything; returns the exit status."""
        started = time.monotonic()
        for root, content in (
            (self._stage.home, demo_configuration.home_content()),
            (self._stage.project, demo_configuration.project_content()),
        ):
            _build(root, content)
        from mcp import Client, StdioServerParameters
        from mcp_types import Implementation

        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "stravinsky_rollback_mcp"],
            # Its own backup at the start of a session is switched off: each backup here is one that is shown.
            env={"HOME": self._folder, "STRAVINSKY_BACKUP_ON_SESSION_START": "false"},
            cwd=os.fsdecode(self._stage.project),
        )
        self._tell(f"A made-up home in {self._folder}, with a project in ~/src/app", "bold")
        self._tell("Compared each time: names, types, modes, link texts and bytes of all of it.")
        failure = ""
        try:
            info = Implementation(name="demo", version="1")
            async with Client(server, read_timeout_seconds=_TIMEOUT_SECONDS, client_info=info) as client:
                seconds = time.monotonic() - started
                self._tell(f"Server: python -m stravinsky_rollback_mcp, over stdio, ready after {seconds:.2f} s")
                try:
                    await self._perform(client)
                except _FailedError as error:
                    # Kept until the server has ended: out of the client it would come wrapped in a group.
                    failure = str(error)
        except Exception as error:
            failure = f"the server could not be used ({type(error).__name__})"
        if failure:
            self._tell(f"\nFAILED: {failure}", "bold red", indent=0)
            return EXIT_REFUSED
        self._tell(f"\nall {self._checks} checks passed ({time.monotonic() - started:.1f} s)", "bold green", indent=0)
        return EXIT_DONE

    async def _perform(self, client: "Client") -> None:
        intact, bystanders = self._stage.snapshot(), self._stage.bystanders()

        self._step("create_backup version=v1")
        made = await self._call(client, "create_backup", version="v1", note="before the accidents")
        self._tell(f"{made['summary']} ({self._took})")
        files = self._stage.protected_files()
        self._check(made["backup"]["files"] == files, f"the backup holds the {files} files that there are")

        self._step("Accidents happen")
        for accident in _break(self._stage):
            self._tell(f"· {accident}", "yellow")
        broken = self._stage.snapshot()

        self._step("list_backups: what changed?")
        listed = await self._call(client, "list_backups")
        self._tell(f"{listed['summary']} ({self._took})")
        drifted = {item["target"] for item in listed["current"]["drift"]}
        wanted = {"user.hooks", "user.commands", "user.settings", "project.settings", "project.root_memory"}
        self._check(drifted == wanted, "exactly the five broken targets are named")

        self._step("rollback_to version=v1 dry_run=true: what would change?")
        planned = await self._call(client, "rollback_to", version="v1", dry_run=True)
        self._show_changes(planned)
        self._check_equal(broken, "looking changed nothing")

        self._step("rollback_to version=v1")
        restored = await self._call(
            client, "rollback_to", version="v1", plan_id=planned["plan_id"], accept=planned["security_changes"]
        )
        self._show_result(restored)
        self._check_equal(intact, "as before the accidents")

        await self._undo_and_redo(client, intact, broken)
        await self._audit(client)
        self._check(self._stage.bystanders() == bystanders, f"{len(bystanders)} bystanders were never touched")

    async def _undo_and_redo(self, client: "Client", intact: Snapshot, broken: Snapshot) -> None:
        self._step("undo: this brings the broken state back, so the server asks first")
        refused = await client.call_tool("undo", {})
        text = getattr(refused.content[0], "text", "")
        self._check(refused.is_error is True and text.startswith("confirm_required: "), "refused with confirm_required")
        self._check_equal(intact, "the refusal changed nothing")
        planned = await self._call(client, "undo", dry_run=True)
        for change in planned["security_changes"]:
            self._tell(f"! {change}", "red")

        self._step("undo with accept=[these lines]: here a person would be asked")
        undone = await self._call(client, "undo", plan_id=planned["plan_id"], accept=planned["security_changes"])
        self._show_result(undone)
        self._check_equal(broken, "as after the accidents")

        self._step("redo")
        planned = await self._call(client, "redo", dry_run=True)
        self._tell("Accepted, as above (settings that do not load count as empty ones):")
        for change in planned["security_changes"]:
            self._tell(f"! {change}", "red")
        redone = await self._call(client, "redo", plan_id=planned["plan_id"], accept=planned["security_changes"])
        self._show_result(redone)
        self._check_equal(intact, "as before the accidents")

    async def _audit(self, client: "Client") -> None:
        from stravinsky_rollback_mcp.cli import tables
        from stravinsky_rollback_mcp.schema import QueryAuditResult

        self._step("query_audit: what happened, and who asked?")
        found = await self._call(client, "query_audit")
        tables.events(self._console, QueryAuditResult.model_validate(found))
        self._check(found["chain"]["intact"] is True, "the audit chain is intact")

    # -- calling and telling ----------------------------------------------------------------------------------

    async def _call(self, client: "Client", tool: str, **arguments: object) -> dict[str, Any]:
        started = time.monotonic()
        result = await client.call_tool(tool, arguments)
        self._took = f"{(time.monotonic() - started) * 1000:.0f} ms"
        if result.is_error or result.structured_content is None:
            raise _FailedError(f"{tool} was refused: {getattr(result.content[0], 'text', '')}")
        return result.structured_content

    def _step(self, title: str) -> None:
        self._steps += 1
        self._console.print()
        self._tell(f"{self._steps}. {title}", "bold cyan", indent=0)

    def _tell(self, text: str, style: str = "", *, indent: int = 3) -> None:
        from stravinsky_rollback_mcp.cli import render

        for piece in text.split("\n"):
            render.line(self._console, piece, style, indent=indent if self._steps else 0)

    def _show_changes(self, planned: Mapping[str, Any]) -> None:
        self._tell(f"{planned['summary']} ({self._took})")
        for change in planned["changes"]:
            if change["action"] == "none":
                continue
            self._tell(f"{change['path']}: {change['action']}")
            for sign, name in (("+", "added"), ("~", "modified"), ("-", "removed")):
                paths = [path for path in change[name] if path != "."]
                for path in paths[:_MAX_SHOWN]:
                    self._tell(f"{sign} {path}", "green", indent=5)
                if paths[_MAX_SHOWN:]:
                    self._tell(f"{sign} … and {len(paths) - _MAX_SHOWN} more", "green", indent=5)

    def _show_result(self, result: Mapping[str, Any]) -> None:
        self._tell(f"{result['summary']} ({self._took})")
        self._tell(f"What was live before is in backup {result['safety_backup']}.")

    def _check(self, holds: bool, what: str) -> None:  # noqa: FBT001 - reads as the sentence that it is
        if not holds:
            raise _FailedError(f"not so: {what}")
        self._checks += 1
        self._tell(f"✓ {what}", "green")

    def _check_equal(self, wanted: Snapshot, what: str) -> None:
        """Names, types, modes, link texts and bytes of the whole home, bystanders included."""
        found = self._stage.snapshot()
        differing = sorted(path for path in {*wanted, *found} if wanted.get(path) != found.get(path))
        if differing:
            shown = ", ".join(path.decode("utf-8", "backslashreplace") for path in differing[:20])
            raise _FailedError(f"{what}: {len(differing)} entries differ: {shown}")
        self._check(
            _digest(wanted) == _digest(found),
            f"{what}: {len(wanted)} == {len(found)} entries, sha256 {_digest(wanted)[:8]} == {_digest(found)[:8]}",
        )
