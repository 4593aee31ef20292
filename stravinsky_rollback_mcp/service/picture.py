"""A configuration as it is, was, or would be: which files it has, and what they hold, wherever the bytes lie."""

import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from stravinsky_rollback_mcp.core.model import Entry, EntryType, Kind, StoredTarget, Target, TargetState, Tree
from stravinsky_rollback_mcp.core.plan import Step
from stravinsky_rollback_mcp.disk import archive, probe
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file
from stravinsky_rollback_mcp.disk.place import Place
from stravinsky_rollback_mcp.errors import RollbackError
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.look import Look

_MAX_LINKS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One target with its tree; the files in ``from_backup`` lie in the archive of ``stored``, all others are live."""

    place: Place
    tree: Tree
    version: str = ""
    stored: StoredTarget | None = None
    from_backup: frozenset[str] = frozenset()

    @property
    def target(self) -> Target:
        """Whose tree it is."""
        return self.place.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What stands at a path: the entry of a tree, or what the disk has outside all trees; ``content`` where read."""

    is_file: bool
    mode: int
    content: bytes | None


@dataclass(slots=True)
class Picture:
    """The holdings of one view. Archives are read once for all that is asked of them together."""

    desk: Desk
    holdings: Mapping[str, Holding]
    _kept: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])

    def contents(self, target_id: str, paths: Collection[str]) -> dict[str, bytes]:
        """The bytes of files of one target by their paths in it; one that cannot be read now is left out."""
        holding = self.holdings[target_id]
        stored = {path for path in paths if path in holding.from_backup and (target_id, path) not in self._kept}
        if stored and holding.stored is not None:
            source = self.desk.store.archive_path(holding.version, holding.stored)
            for path, content in archive.contents(source, holding.stored, stored).items():
                self._kept[target_id, path] = content
        for path in paths:
            if (target_id, path) not in self._kept and path not in holding.from_backup:
                content = self._live(holding, path)
                if content is not None:
                    self._kept[target_id, path] = content
        return {path: self._kept[target_id, path] for path in paths if (target_id, path) in self._kept}

    def _live(self, holding: Holding, path: str) -> bytes | None:
        is_file = holding.target.kind is Kind.FILE
        place = holding.place.resolved if is_file else posixpath.join(holding.place.resolved, path)
        try:
            return read_file(place, self.desk.config.limits.max_file_size_bytes)
        except (RollbackError, ChangedWhileReadError):
            # Whatever it is, the scan that a backup or a restore makes says it; a check judges what there is.
            return None

    def find(self, path: str) -> tuple[str, Entry] | str | None:
        """Where an absolute path leads: an entry of a target, another absolute path outside all, or nowhere."""
        for _ in range(_MAX_LINKS):
            inside = self._below(path)
            if inside is None:
                return path
            holding, relative = inside
            entries = {entry.path: entry for entry in holding.tree.entries}
            link = next((above for above in _prefixes(relative) if _is_link(entries.get(above))), None)
            if link is None:
                entry = entries.get(relative)
                return None if entry is None else (holding.target.id, entry)
            rest = relative[len(link) :].lstrip("/")
            base = posixpath.join(holding.place.resolved, posixpath.dirname(link))
            path = posixpath.normpath(posixpath.join(base, entries[link].link, rest))
        return None

    def _below(self, path: str) -> tuple[Holding, str] | None:
        for holding in self.holdings.values():
            if holding.tree.state is TargetState.NOT_RECORDED:
                continue
            for top in (holding.place.target.path, *holding.place.also, holding.place.resolved):
                if path == top:
                    return holding, ""
                if path.startswith(f"{top}/") and holding.target.kind is Kind.DIRECTORY:
                    relative = path[len(top) + 1 :]
                    if any(f"{relative}/".startswith(f"{item.path}/") for item in holding.tree.skipped):
                        return None  # what backups leave out is on the disk and nowhere else
                    return holding, relative
        return None

    def look_up(self, paths: Collection[str], limit_bytes: int | None = None) -> dict[str, Found]:
        """What stands at each of these absolute paths; those at which nothing stands are left out.

        Of a larger file outside all targets only that it is there is told; without a limit, the one of backups holds.
        """
        inside: dict[str, tuple[str, Entry]] = {}
        found: dict[str, Found] = {}
        for path in paths:
            where = self.find(path)
            if isinstance(where, str):
                looked = probe.look_at(where, limit_bytes or self.desk.config.limits.max_file_size_bytes)
                if looked is not None:
                    found[path] = Found(is_file=looked.is_file, mode=looked.mode, content=looked.content)
            elif where is not None:
                inside[path] = where
        for target_id in {target_id for target_id, _ in inside.values()}:
            wanted = {entry.path for owner, entry in inside.values() if owner == target_id}
            files = {entry.path for entry in self.holdings[target_id].tree.entries if entry.type is EntryType.FILE}
            contents = self.contents(target_id, wanted & files)
            for path, (owner, entry) in inside.items():
                if owner == target_id:
                    found[path] = Found(
                        is_file=entry.type is EntryType.FILE, mode=entry.mode, content=contents.get(entry.path)
                    )
        return found


def _prefixes(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _is_link(entry: Entry | None) -> bool:
    return entry is not None and entry.type is EntryType.SYMLINK


def live_picture(desk: Desk, look: Look) -> Picture:
    """What is live."""
    holdings = {name: Holding(place=look.places[name], tree=seen.tree) for name, seen in look.seen.items()}
    return Picture(desk=desk, holdings=holdings)


def planned_picture(desk: Desk, look: Look, steps: Iterable[Step]) -> Picture:
    """What steps would leave: their desired trees over what is live."""
    holdings = dict(live_picture(desk, look).holdings)
    changes = [step for step in steps if step.is_change]
    made = {(step.target.id, ""): step.content for step in changes if step.content is not None}
    for step in changes:
        holdings[step.target.id] = Holding(
            place=look.places[step.target.id],
            tree=step.desired,
            version=step.version,
            stored=step.stored,
            from_backup=step.from_backup,
        )
    return Picture(desk=desk, holdings=holdings, _kept=made)


def stored_picture(desk: Desk, look: Look, sources: Mapping[str, tuple[str, StoredTarget]]) -> Picture:
    """What backups hold of each target, at the places of this view; what they did not record is as it is live."""
    holdings = dict(live_picture(desk, look).holdings)
    for target_id, (version, stored) in sources.items():
        if target_id in holdings and stored.tree.state is not TargetState.NOT_RECORDED:
            holdings[target_id] = Holding(
                place=holdings[target_id].place,
                tree=stored.tree,
                version=version,
                stored=stored,
                from_backup=frozenset(entry.path for entry in stored.tree.entries if entry.type is EntryType.FILE),
            )
    return Picture(desk=desk, holdings=holdings)
