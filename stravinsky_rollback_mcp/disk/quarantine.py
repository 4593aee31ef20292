"""Backups that were put aside: moved whole, their bytes untouched, with the problem beside them."""

import os
from contextlib import suppress

from stravinsky_rollback_mcp.core.codec import quarantine as codec
from stravinsky_rollback_mcp.core.codec.quarantine import Quarantined
from stravinsky_rollback_mcp.core.names import is_version
from stravinsky_rollback_mcp.disk.atomic import PRIVATE_FILE, Files
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file
from stravinsky_rollback_mcp.disk.shelf import MANIFEST, look_into
from stravinsky_rollback_mcp.disk.store import Opened, names_in, open_manifest
from stravinsky_rollback_mcp.errors import RollbackError

PROBLEM = "problem.json"


class Quarantine:
    """``quarantine/`` of one store. Writers hold the store's lock."""

    def __init__(self, folder: str, files: Files) -> None:
        self.folder = folder
        self._files = files

    def versions(self) -> tuple[str, ...]:
        """The names of all backups that were put aside, sorted."""
        return tuple(sorted(name for name in names_in(self.folder) if is_version(name)))

    def read(self, version: str) -> Opened:
        """The manifest of a backup that was put aside, of the right form but not yet authenticated."""
        return open_manifest(f"{self.folder}/{version}/{MANIFEST}", version)

    def take(self, source: str, found: Quarantined) -> None:
        """Move the backup's folder here in one step, durably; then note the problem, which may get lost in a crash."""
        folder = f"{self.folder}/{found.version}"
        self._files.publish(source, folder)
        self._files.sync_folder(os.path.dirname(source))
        path = f"{folder}/{PROBLEM}"
        # A backup that a person mended and put back, and that is damaged again, brings its last problem along.
        self._files.remove_file(path)
        handle = self._files.create(path, PRIVATE_FILE)
        try:
            self._files.write(handle, codec.encode(found), path)
            self._files.fsync(handle, path)
        finally:
            os.close(handle)
        self._files.sync_folder(folder)

    def pieces(self, version: str) -> dict[tuple[int, int], int]:
        """The bytes of each file of a backup, by device and inode."""
        return look_into(self.folder, version).pieces

    def remove(self, version: str) -> None:
        """Remove a backup for good: only a person asks for that."""
        self._files.remove_tree(f"{self.folder}/{version}")
        self._files.sync_folder(self.folder)

    def problems(self, version: str) -> tuple[str, ...]:
        """What was found wrong with a backup, as far as that can still be read."""
        with suppress(RollbackError, ChangedWhileReadError, ValueError):
            return codec.decode(read_file(f"{self.folder}/{version}/{PROBLEM}", codec.MAX_BYTES)).problems
        return ("archive_mismatch: it was damaged; the audit's QUARANTINED record says more.",)
