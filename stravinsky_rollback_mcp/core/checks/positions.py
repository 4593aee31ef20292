"""Where in a JSON text each value stands: one walk over its pieces, for line numbers and for names that stand twice."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Path = tuple[str, ...]

_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_MAX_DEPTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """The line of each value by its path (places in lists as numbers in text), and the members named before."""

    lines: Mapping[Path, int]
    twice: tuple[Path, ...]

    def line(self, path: Path) -> int | None:
        """The line of a value, or of the nearest one above that is there."""
        return next((self.lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.lines), None)


@dataclass(slots=True)
class _Open:
    """An object or list whose end has not been met."""

    path: Path
    is_object: bool
    count: int = 0
    name: str | None = None
    names: set[str] = field(default_factory=set[str])


def positions(text: str) -> Positions:
    """The positions in a text that is JSON; of any other text those up to where it stops being it."""
    lines: dict[Path, int] = {}
    twice: list[Path] = []
    above: list[_Open] = []
    for piece, line in _pieces(text):
        here = above[-1] if above else None
        if piece in "}]":
            if above:
                above.pop()
            continue
        if piece in ",:":
            continue
        if here is not None and here.is_object and here.name is None:
            here.name = _decoded(piece)
            path = (*here.path, here.name)
            lines[path] = line
            if here.name in here.names:
                twice.append(path)
            here.names.add(here.name)
            continue
        path = _path(here)
        lines.setdefault(path, line)
        if piece in "{[":
            if len(above) == _MAX_DEPTH:
                break
            above.append(_Open(path=path, is_object=piece == "{"))
    return Positions(lines=lines, twice=tuple(twice))


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    line, end = 1, 0
    for found in _PIECE.finditer(text):
        line += text.count("\n", end, found.start())
        end = found.start()
        yield found[0], line


def _path(here: _Open | None) -> Path:
    """The path of the value that stands next in ``here``."""
    if here is None:
        return ()
    if here.is_object:
        name, here.name = here.name or "", None
        return (*here.path, name)
    here.count += 1
    return (*here.path, str(here.count - 1))


def _decoded(piece: str) -> str:
    try:
        return str(json.loads(piece))
    except ValueError:
        return piece
