"""The store's backups: written beside each other, published by one rename, immutable from then on.

``backups/<version>/`` holds one archive a target and ``manifest.json``. A backup exists when its manifest does; a
folder without one is what a killed process left, and is swept by the next writer. An empty file ``pinned`` beside the
manifest says that retention must not remove the backup.
"""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.codec import latest as latest_codec
from stravinsky_rollback_mcp.core.codec import manifest as manifest_codec
from stravinsky_rollback_mcp.core.model import Limits, Manifest, StoredTarget, TargetState, View
from stravinsky_rollback_mcp.core.names import archive_name, is_version
from stravinsky_rollback_mcp.disk import archive
from stravinsky_rollback_mcp.disk.atomic import PRIVATE_FILE, PRIVATE_FOLDER, Files
from stravinsky_rollback_mcp.disk.capture import Capture, Reusable
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file
from stravinsky_rollback_mcp.disk.ground import require_apart, require_safe_way
from stravinsky_rollback_mcp.disk.place import Place
from stravinsky_rollback_mcp.disk.scan import Scan
from stravinsky_rollback_mcp.disk.shelf import MANIFEST, PINNED, Shelf
from stravinsky_rollback_mcp.errors import Code, RollbackError

# The archives that one request has read back whole: device, inode, and the digests that they were found to have.
Proven = set[tuple[int, int, str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A manifest as it lies in the store, with the digest of its bytes that the audit must name too."""

    manifest: Manifest
    sha256: str
    stored_bytes: int


def names_in(folder: str) -> list[str]:
    """What lies in a folder of the store, nothing when it was not made yet. Raises ``store_untrusted``."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RollbackError(
            Code.STORE_UNTRUSTED,
            f"{folder} cannot be listed: {os.strerror(error.errno or 0)}.",
            "give yourself access to it, or choose another place with --store.",
        ) from error


def open_manifest(path: str, version: str) -> Opened:
    """The manifest of a backup at a path. Raises what ``Store.read`` raises, but for ``not_found``."""
    try:
        content = read_file(path, manifest_codec.MAX_BYTES)
    except ChangedWhileReadError as error:
        raise RollbackError(
            Code.MANIFEST_INVALID, f"the manifest of {version} is not a plain file.", "choose another backup."
        ) from error
    except RollbackError as error:
        if error.code is not Code.TOO_LARGE:
            raise
        raise RollbackError(Code.MANIFEST_INVALID, error.message, "choose another backup.") from error
    manifest = manifest_codec.decode(content)
    if manifest.version != version:
        raise RollbackError(
            Code.ARCHIVE_MISMATCH, f"the manifest of {version} is another backup's.", "choose another backup."
        )
    stored_bytes = len(content) + sum(target.archive_size_bytes for target in manifest.targets)
    return Opened(manifest=manifest, sha256=hashlib.sha256(content).hexdigest(), stored_bytes=stored_bytes)


def _identity(path: str, stored: StoredTarget) -> tuple[int, int, str, str] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, stored.archive_sha256, stored.tree.digest)


class Store:
    """The folders under one root. Writers hold the store's lock; readers need none.

    With a ``view``, the store must lie apart from what that sees.
    """

    def __init__(self, root: str, files: Files, view: View | None = None) -> None:
        self.root = root
        self._view = view
        self.backups = f"{root}/backups"
        self.recovery = f"{root}/recovery"
        self.audit = f"{root}/audit"
        self.quarantine = f"{root}/quarantine"
        self.shelf = Shelf(self.backups)
        self._files = files

    def open(self) -> None:
        """Make the folders that are missing; refuse a store that others can get at or carry off (see ``ground``)."""
        require_safe_way(self.root)
        if self._view is not None:
            require_apart(self.root, self._view)
        missing: list[str] = []
        folder = self.root
        while not os.path.lexists(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            self._files.ensure_folder(path)
        for path in (self.root, self.backups, self.recovery, self.audit, self.quarantine):
            if not os.path.lexists(path):
                self._files.ensure_folder(path)
            self._require_private(path)

    def exists(self) -> bool:
        """Whether there is a store at all; reading one that is not there must not create it."""
        return os.path.isdir(self.root)

    def _require_private(self, path: str) -> None:
        try:
            status = os.stat(path)
        except OSError:  # a link to nothing, or round in circles
            status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise RollbackError(
                Code.STORE_UNTRUSTED,
                f"{path} is not a folder of yours.",
                "move it away, or choose another place with --store.",
            )
        if status.st_mode & 0o077:
            self._files.set_mode(path, PRIVATE_FOLDER)

    def versions(self) -> tuple[str, ...]:
        """The names of all published backups, unordered."""
        return tuple(name for name in names_in(self.backups) if is_version(name) and self._is_published(name))

    def taken(self) -> frozenset[str]:
        """Every name that a new backup may not have, case-folded."""
        return frozenset(name.casefold() for folder in (self.backups, self.quarantine) for name in names_in(folder))

    def _is_published(self, name: str) -> bool:
        """Whether a folder has a manifest. One that cannot be looked into may have one, and is no leftover."""
        try:
            os.lstat(f"{self.backups}/{name}/{MANIFEST}")
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def read(self, version: str) -> Opened:
        """The manifest of a backup, of the right form but not yet authenticated.

        Raises ``not_found``, ``manifest_invalid``, ``unsupported_version`` or ``unreadable``.
        """
        if not is_version(version) or not self._is_published(version):
            raise RollbackError(
                Code.NOT_FOUND, f"there is no backup {version[:64]!a}.", "list_backups shows every version."
            )
        return open_manifest(f"{self.backups}/{version}/{MANIFEST}", version)

    def reusable(self, opened: Opened) -> Reusable:
        """A backup whose archives a new one may share."""
        return Reusable(folder=f"{self.backups}/{opened.manifest.version}", manifest=opened.manifest)

    def archive_path(self, version: str, stored: StoredTarget) -> str:
        """Where the archive of a target lies: in the backup's folder, or in quarantine when that was put aside."""
        is_aside = not os.path.lexists(f"{self.backups}/{version}")
        folder = self.quarantine if is_aside else self.backups
        return f"{folder}/{version}/{archive_name(stored.id, stored.kind)}"

    def problem(self, opened: Opened) -> str:
        """What a look at names and sizes finds wrong with a backup's archives; empty when nothing."""
        for stored in opened.manifest.targets:
            if stored.tree.state is not TargetState.PRESENT:
                continue
            try:
                status = os.lstat(self.archive_path(opened.manifest.version, stored))
            except OSError:
                return f"{stored.archive} is missing"
            if not stat.S_ISREG(status.st_mode) or status.st_size != stored.archive_size_bytes:
                return f"{stored.archive} has another size than recorded"
        return ""

    def sweep(self) -> tuple[str, ...]:
        """Remove what killed writers left: temporary files, and in ``backups/`` folders without a manifest.

        Returns the names of the latter. Anything else that lies there was put there by somebody, and stays.
        """
        self._files.sweep_temporaries(self.root)
        left = tuple(
            name
            for name in sorted(names_in(self.backups))
            if is_version(name)
            and not self._is_published(name)
            and stat.S_ISDIR(os.lstat(f"{self.backups}/{name}").st_mode)
        )
        for name in left:
            self._files.remove_tree(f"{self.backups}/{name}")
        return left

    def begin(self, version: str) -> None:
        """Take a name for a new backup. Raises ``already_exists``, also when only the case differs."""
        if version.casefold() in self.taken():
            raise RollbackError(
                Code.ALREADY_EXISTS,
                f"there is already a backup {version} (names differ by more than case).",
                "choose another name; backups are never overwritten.",
            )
        self._files.make_folder(f"{self.backups}/{version}", PRIVATE_FOLDER)

    def remove(self, version: str) -> None:
        """Remove a backup, or what there is of one: durably its manifest first, so that half of it is never listed."""
        folder = f"{self.backups}/{version}"
        self._files.remove_file(f"{folder}/{MANIFEST}")
        self._files.sync_folder(folder)
        self._files.remove_tree(folder)
        self._files.sync_folder(self.backups)

    def pin(self, version: str) -> None:
        """Mark a backup as one that retention must not remove; again is fine."""
        path = f"{self.backups}/{version}/{PINNED}"
        if not self.is_pinned(version):
            os.close(self._files.create(path, PRIVATE_FILE))
            self._files.sync_folder(f"{self.backups}/{version}")

    def unpin(self, version: str) -> None:
        """Take the mark away; a backup without one is fine."""
        self._files.remove_file(f"{self.backups}/{version}/{PINNED}")
        self._files.sync_folder(f"{self.backups}/{version}")

    def is_pinned(self, version: str) -> bool:
        """Whether retention must not remove a backup."""
        return os.path.lexists(f"{self.backups}/{version}/{PINNED}")

    def capture(
        self,
        version: str,
        places: Sequence[Place],
        limits: Limits,
        reusable: Reusable | None,
        *,
        is_read_back: bool = True,
    ) -> tuple[tuple[StoredTarget, ...], tuple[Scan, ...]]:
        """Read all targets at one moment into archives of a backup that was begun, and make these durable.

        Raises what ``Capture.run`` raises.
        """
        folder = f"{self.backups}/{version}"
        captured = Capture(folder, self._files, limits, reusable, is_read_back=is_read_back).run(places)
        self._files.sync_folder(folder)
        self._files.sync_folder(self.backups)
        return captured

    def publish(self, version: str, content: bytes) -> None:
        """Make a captured backup exist: its manifest appears in one step and is durable."""
        self._files.write_file(f"{self.backups}/{version}/{MANIFEST}", content)

    def verify(self, opened: Opened, proven: Proven | None = None) -> tuple[str, ...]:
        """Read a backup's archives back whole; the problems found, empty when it is intact.

        An archive in ``proven`` is not read again: backups share what did not change. What reads back well is added.
        """
        proven = set() if proven is None else proven
        problems: list[str] = []
        for stored in opened.manifest.targets:
            if stored.tree.state is not TargetState.PRESENT:
                continue
            path = self.archive_path(opened.manifest.version, stored)
            found = _identity(path, stored)
            if found in proven:
                continue
            try:
                archive.verify(path, stored)
            except RollbackError as error:
                problems.append(f"{error.code}: {error.message}")
            else:
                proven.update(() if found is None else (found,))
        return tuple(problems)

    def size_bytes(self) -> int:
        """What all backups take on disk; an archive that several of them link counts once."""
        sizes: dict[tuple[int, int], int] = {}
        for version in self.versions():
            sizes.update(self.pieces(version))
        return sum(sizes.values())

    def pieces(self, version: str) -> dict[tuple[int, int], int]:
        """The bytes of each file of a backup, by device and inode: two names of one file are one piece."""
        return self.shelf.look(version).pieces

    def read_latest(self) -> tuple[latest_codec.Latest, ...]:
        """What ``latest.json`` says; nothing when it is missing or damaged: it can be written anew at any time."""
        try:
            return latest_codec.decode(read_file(f"{self.root}/latest.json", latest_codec.MAX_BYTES))
        except (RollbackError, ChangedWhileReadError, ValueError):
            return ()

    def write_latest(self, views: tuple[latest_codec.Latest, ...]) -> None:
        """Replace ``latest.json``."""
        self._files.write_file(f"{self.root}/latest.json", latest_codec.encode(views))

    def write_config(self, content: bytes) -> None:
        """Replace ``config.json``, which only ``config.py`` reads."""
        self._files.write_file(f"{self.root}/config.json", content)
