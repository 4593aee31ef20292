"""Reading all targets at one moment into the archives of a backup that was begun.

A target whose tree an earlier backup holds shares that one's archive: a hard link, and nothing is packed for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.model import Kind, Limits, Manifest, StoredTarget, TargetState
from stravinsky_rollback_mcp.core.names import archive_name
from stravinsky_rollback_mcp.disk import archive
from stravinsky_rollback_mcp.disk.archive import Written
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError
from stravinsky_rollback_mcp.disk.place import Place
from stravinsky_rollback_mcp.disk.scan import Scan, looks_like, scan, still_the_same
from stravinsky_rollback_mcp.errors import Code, RollbackError

_ATTEMPTS = 4  # one, and at most three more


@dataclass(frozen=True, slots=True, kw_only=True)
class Reusable:
    """An earlier backup, in ``folder``, whose archives may be linked where a target's tree is the same."""

    folder: str
    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Captured:
    """One target as it will be recorded.

    ``is_shared`` when its archive is an earlier one, read back already; ``is_own`` when it cannot be.
    """

    stored: StoredTarget
    seen: Scan
    is_shared: bool = False
    is_own: bool = False


class Capture:
    """One backup under way, in ``folder``."""

    def __init__(
        self, folder: str, files: Files, limits: Limits, reusable: Reusable | None, *, is_read_back: bool
    ) -> None:
        self._folder = folder
        self._files = files
        self._limits = limits
        self._reusable = reusable
        self._is_read_back = is_read_back

    def run(self, places: Sequence[Place]) -> tuple[tuple[StoredTarget, ...], tuple[Scan, ...]]:
        """Read every target into its archive, and read the archives back; their names are not durable yet.

        The set is one moment: when any stat differs at the end, everything is read again, at most three times, then
        ``unstable_source``.
        """
        changed = ""
        for _ in range(_ATTEMPTS):
            try:
                captured = [self._capture(place) for place in places]
                for item in captured:
                    self._settle(item)
            except ChangedWhileReadError as error:
                changed = str(error)
            else:
                moved = next((item.seen for item in captured if not still_the_same(item.seen, self._limits)), None)
                if moved is None:
                    return tuple(item.stored for item in captured), tuple(item.seen for item in captured)
                changed = moved.place.resolved
            for place in places:
                self._files.remove_file(self._path(place))
        raise RollbackError(
            Code.UNSTABLE_SOURCE,
            f"{changed} changed each time it was read.",
            "wait until whatever writes there is done, then try again.",
        )

    def _path(self, place: Place) -> str:
        return f"{self._folder}/{archive_name(place.target.id, place.target.kind)}"

    def _capture(self, place: Place) -> _Captured:
        earlier = self._earlier(place.target.id, place.target.kind)
        if earlier is None or not looks_like(place, earlier.tree, self._limits):
            return self._pack(place)
        seen = scan(place, self._limits)
        if seen.tree.digest == earlier.tree.digest:
            written = Written(sha256=earlier.archive_sha256, size_bytes=earlier.archive_size_bytes)
            stored = _stored(place, seen, written)
            if self._link(stored, self._path(place)):
                return _Captured(stored=stored, seen=seen, is_shared=True)
        return replace(self._pack(place), is_own=True)

    def _pack(self, place: Place) -> _Captured:
        writer = archive.ArchiveWriter(self._path(place), place.target.kind, self._files)
        try:
            seen = scan(place, self._limits, writer)
            is_present = seen.tree.state is TargetState.PRESENT
            written = writer.finish() if is_present else Written(sha256="", size_bytes=0)
        finally:
            writer.close()
        return _Captured(stored=_stored(place, seen, written), seen=seen)

    def _settle(self, item: _Captured) -> None:
        """Share a packed archive with the earlier backup if they are the same after all, else read it back."""
        if item.is_shared or item.stored.tree.state is not TargetState.PRESENT:
            return
        path, spare = self._path(item.seen.place), f"{self._path(item.seen.place)}.tmp"
        if not item.is_own and self._link(item.stored, spare):
            self._files.publish(spare, path)
        elif self._is_read_back:
            archive.verify(path, item.stored)

    def _earlier(self, target_id: str, kind: Kind) -> StoredTarget | None:
        """The target in the backup whose archives may be linked.

        Files are kept twice: somebody who edits one in place must not change two backups.
        """
        earlier = None if self._reusable is None else self._reusable.manifest.target(target_id)
        is_archive = kind is Kind.DIRECTORY and earlier is not None and earlier.kind is kind
        return earlier if is_archive else None

    def _link(self, stored: StoredTarget, name: str) -> bool:
        """Give an earlier archive with the very bytes of a target one more name, read back to be sure."""
        earlier = self._earlier(stored.id, stored.kind)
        if self._reusable is None or earlier is None or earlier.archive_sha256 != stored.archive_sha256:
            return False
        source = f"{self._reusable.folder}/{earlier.archive}"
        try:
            archive.verify(source, stored)
        except RollbackError:
            # The earlier archive is damaged: that is for `backup verify` to report; this backup keeps its own.
            return False
        # False where there are no hard links, or no more of them to this file: this backup keeps its own.
        return self._files.hard_link(source, name)


def _stored(place: Place, seen: Scan, written: Written) -> StoredTarget:
    target = place.target
    is_present = seen.tree.state is TargetState.PRESENT
    return StoredTarget(
        scope=target.scope,
        component=target.component,
        kind=target.kind,
        path=target.path,
        resolved_path=place.resolved,
        archive=archive_name(target.id, target.kind) if is_present else "",
        archive_sha256=written.sha256,
        archive_size_bytes=written.size_bytes,
        tree=seen.tree,
    )
