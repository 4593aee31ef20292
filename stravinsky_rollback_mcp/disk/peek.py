"""The bytes of a few files of a tree, live or stored, held to what their entries say."""

import hashlib
from collections.abc import Mapping, Sequence

from stravinsky_rollback_mcp.core.model import Entry, StoredTarget
from stravinsky_rollback_mcp.disk import archive
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file
from stravinsky_rollback_mcp.disk.stage import Folders


def live_files(top: str, entries: Sequence[Entry]) -> Mapping[str, bytes]:
    """The content of regular files of a live target, by path. Raises ``ChangedWhileReadError`` for any other content.

    Folders are entered by handle, as when the target was scanned.
    """
    found: dict[str, bytes] = {}
    with Folders(top) as folders:
        for entry in entries:
            if entry.path:
                handle, name = folders.parent(entry.path)
                content = read_file(name, entry.size_bytes, dir_fd=handle)
            else:
                content = read_file(top, entry.size_bytes)
            if hashlib.sha256(content).hexdigest() != entry.sha256:
                raise ChangedWhileReadError(f"{top}/{entry.path}".rstrip("/"))
            found[entry.path] = content
    return found


def stored_files(path: str, stored: StoredTarget, entries: Sequence[Entry]) -> Mapping[str, bytes]:
    """The content of regular files of a stored target, by path; the whole archive is verified on the way.

    Raises what ``archive.verify`` raises.
    """
    wanted = {entry.path for entry in entries}
    found: dict[str, _Memory] = {}

    def place(entry: Entry) -> _Memory | None:
        return found.setdefault(entry.path, _Memory()) if entry.path in wanted else None

    archive.unpack(path, stored, place)
    return {name: bytes(memory.content) for name, memory in found.items()}


class _Memory:
    """Where the content of one extracted file is kept."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, chunk: bytes) -> None:
        self.content += chunk

    def close(self) -> None:
        """Nothing is left to be done."""
