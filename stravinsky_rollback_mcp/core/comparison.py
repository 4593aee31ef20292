"""What differs between two states of the configuration, as people read it, page by page."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.codec.trees import ABSENT, present, sort_key
from stravinsky_rollback_mcp.core.diff import difference
from stravinsky_rollback_mcp.core.masked_lines import Shown, lines_of
from stravinsky_rollback_mcp.core.masking import masked_line
from stravinsky_rollback_mcp.core.model import Entry, EntryType, Target, TargetState, Tree
from stravinsky_rollback_mcp.core.names import plural, shown
from stravinsky_rollback_mcp.core.unified import Line, unified

MAX_BYTES = 1 << 20  # a larger file is named, not shown
_NOWHERE = "/dev/null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """One path that differs: what stood there on each side, None for nothing."""

    target: Target
    path: str
    old: Entry | None
    new: Entry | None

    @property
    def size_bytes(self) -> int:
        """How much there is to read of both."""
        return sum(entry.size_bytes for entry in (self.old, self.new) if entry is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page of a diff begins: so many paths and lines of the next are shown already."""

    path: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some lines of a diff, and where the next ones begin; None at the end."""

    lines: tuple[str, ...]
    next: Place | None


def differing(target: Target, old: Tree, new: Tree) -> tuple[Differing, ...]:
    """Every path at which two trees of a target differ, sorted; folders that came or went say nothing by themselves."""
    before = {entry.path: entry for entry in old.entries}
    after = {entry.path: entry for entry in new.entries}
    found = difference(old, new)
    paths = {path if path != "." else "" for path in (*found.added, *found.modified, *found.removed)}
    whole = (
        Differing(target=target, path=path, old=before.get(path), new=after.get(path))
        for path in sorted(paths, key=sort_key)
    )
    return tuple(item for item in whole if _is_told(item))


def _is_told(item: Differing) -> bool:
    folders = [entry is None or entry.type is EntryType.DIRECTORY for entry in (item.old, item.new)]
    return not all(folders) or (item.old is not None and item.new is not None)


def cut_tree(tree: Tree, path: str) -> Tree:
    """What of a tree lies at or below a path; the whole tree for the empty path."""
    if not path or tree.state is not TargetState.PRESENT:
        return tree
    kept = [entry for entry in tree.entries if entry.path == path or entry.path.startswith(f"{path}/")]
    return present(kept) if kept else ABSENT


def page_of(pages: Iterable[Sequence[str]], start: Place, limit_bytes: int) -> Page:
    """As many lines as fit, of the paths from ``start`` on; of a path that does not fit whole, its first lines."""
    lines: list[str] = []
    left = limit_bytes
    place, skipped = start.path, start.line
    for one in pages:
        for number, line in enumerate(one[skipped:], skipped):
            left -= len(line.encode("utf-8", "backslashreplace")) + 1
            if left < 0 and lines:
                return Page(lines=tuple(lines), next=Place(path=place, line=number))
            lines.append(line)
        place, skipped = place + 1, 0
    return Page(lines=tuple(lines), next=Place(path=place))


def diff_lines(item: Differing, home: str, labels: tuple[str, str], contents: tuple[bytes, bytes]) -> Iterator[str]:
    """The unified diff of one path, masked; ``labels`` name the two sides, the contents of no file are empty."""
    name = shown(f"{item.target.path}/{item.path}" if item.path else item.target.path, home)
    for mark, entry, label in zip(("---", "+++"), (item.old, item.new), labels, strict=True):
        yield f"{mark} {_NOWHERE}" if entry is None else f"{mark} {name}\t{label}"
    old, new = (_lines(item, entry, content) for entry, content in zip((item.old, item.new), contents, strict=True))
    if (
        item.old is not None
        and item.new is not None
        and (item.old.type, item.old.mode) != (item.new.type, item.new.mode)
    ):
        yield f"{_kind(item.old)} becomes {_kind(item.new)}"
    if old.instead or new.instead:
        yield f"not shown: {_instead(old)} → {_instead(new)}"
        return
    hunks = tuple(unified(old.lines, new.lines))
    yield from hunks
    if not hunks and item.old is not None and item.new is not None and item.old.sha256 != item.new.sha256:
        yield "only layout, line ends or the order of bytes differ"


def _lines(item: Differing, entry: Entry | None, content: bytes) -> Shown:
    if entry is None or entry.type is EntryType.DIRECTORY:
        return Shown()
    if entry.size_bytes > MAX_BYTES:
        return Shown(instead=f"too large to be shown, {plural(entry.size_bytes, 'byte')}")
    if entry.type is EntryType.SYMLINK:
        return Shown(lines=(Line(content=entry.link, shown=f"link to {masked_line(entry.link, keeps_values=True)}"),))
    return lines_of(content, item.target, item.path)


def _kind(entry: Entry) -> str:
    return "link" if entry.type is EntryType.SYMLINK else f"{entry.type} {entry.mode:04o}"


def _instead(side: Shown) -> str:
    return side.instead or (f"{len(side.lines)} lines" if side.lines else "nothing")
