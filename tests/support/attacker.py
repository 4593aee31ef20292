"""Those who attack: a model that calls every tool, a forger with a hand in the store, a host that speaks raw bytes.

N in the threat model's table means that live configuration and backups are byte for byte as before; A that there is
exactly one record of the refusal, with its code and the digest of the arguments and nothing of what was asked.
"""

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mcp_types as types
from anyio.from_thread import BlockingPortal
from mcp import Client
from support.session import connected
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
    with connected(server) as (portal, client):
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
