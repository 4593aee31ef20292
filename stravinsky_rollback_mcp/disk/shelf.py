"""What lies in the folders of backups, by one look into each; a process reads an unchanged manifest once."""

import hashlib
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.codec import manifest as manifest_codec
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, open_regular, read_all, read_file
from stravinsky_rollback_mcp.disk.memory import Stamp, stamp_of
from stravinsky_rollback_mcp.disk.watch import FRESH_NS
from stravinsky_rollback_mcp.errors import RollbackError

MANIFEST = "manifest.json"
PINNED = "pinned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """One backup's files by name, as a look at ``looked_at_ns`` found them."""

    version: str
    files: Mapping[str, os.stat_result]
    looked_at_ns: int

    @property
    def pieces(self) -> dict[tuple[int, int], int]:
        """The bytes of each file by device and inode: two names of one file are one piece."""
        return {(status.st_dev, status.st_ino): status.st_size for status in self.files.values()}

    @property
    def is_pinned(self) -> bool:
        """Whether retention must not remove it."""
        return PINNED in self.files


def look_into(folder: str, version: str) -> Shelved:
    """What lies in the folder of a backup; nothing where that cannot be looked into."""
    began_ns = time.time_ns()
    found: dict[str, os.stat_result] = {}
    # Readers hold no lock: a backup may go, or be closed to us, while it is looked at.
    with suppress(OSError), os.scandir(f"{folder}/{version}") as entries:
        for entry in entries:
            found[entry.name] = entry.stat(follow_symlinks=False)
    return Shelved(version=version, files=found, looked_at_ns=began_ns)


class Shelf:
    """The folder of all backups. Looking may rest on what is remembered; what is restored is always read."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._read: dict[str, tuple[Stamp, str]] = {}

    def look(self, version: str) -> Shelved:
        """The files of one backup."""
        return look_into(self._folder, version)

    def is_as_recorded(self, found: Shelved, manifest_sha256: str, archives: Mapping[str, int]) -> bool:
        """Whether the manifest has that digest, and each archive that size in bytes."""
        for name, size_bytes in archives.items():
            status = found.files.get(name)
            if status is None or not stat.S_ISREG(status.st_mode) or status.st_size != size_bytes:
                return False
        return self._sha256(found) == manifest_sha256

    def has_rotted(self, found: Shelved, manifest_sha256: str, proven: set[tuple[int, int, str]]) -> bool:
        """Whether the bytes of the manifest, or of an archive that it names, are others than when they were written.

        All are read, but for archives in ``proven`` (device, inode, digest): backups share what did not change. What is
        as it was is added.
        """
        folder = f"{self._folder}/{found.version}"
        try:
            content = read_file(f"{folder}/{MANIFEST}", manifest_codec.MAX_BYTES)
            if hashlib.sha256(content).hexdigest() != manifest_sha256:
                return True
            for name, sha256 in manifest_codec.archives_of(content).items():
                status = found.files[name]
                piece = (status.st_dev, status.st_ino, sha256)
                if piece not in proven and _digest_of(f"{folder}/{name}") != sha256:
                    return True
                proven.add(piece)
        except (RollbackError, ChangedWhileReadError, ValueError, KeyError):
            return True
        return False

    def _sha256(self, found: Shelved) -> str:
        """The digest of a manifest, empty where it cannot be read."""
        status = found.files.get(MANIFEST)
        if status is None or not stat.S_ISREG(status.st_mode):
            return ""
        stamp = stamp_of(status)
        known = self._read.get(found.version)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            content = read_file(f"{self._folder}/{found.version}/{MANIFEST}", manifest_codec.MAX_BYTES)
        except (RollbackError, ChangedWhileReadError):
            return ""
        sha256 = hashlib.sha256(content).hexdigest()
        if max(status.st_mtime_ns, status.st_ctime_ns) < found.looked_at_ns - FRESH_NS:
            self._read[found.version] = (stamp, sha256)
        return sha256


def _digest_of(path: str) -> str:
    digest = hashlib.sha256()
    handle = open_regular(path, path, None)
    try:
        read_all(handle, path, os.fstat(handle), digest.update)
    finally:
        os.close(handle)
    return digest.hexdigest()
