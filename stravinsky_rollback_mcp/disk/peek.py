"""The bytes of a few files of a live tree, held to what their entries say."""

import hashlib
from collections.abc import Mapping, Sequence

from stravinsky_rollback_mcp.core.model import Entry
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
