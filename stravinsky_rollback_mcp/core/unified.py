"""The lines that differ between two texts, as a unified diff has them, in time that no text can blow up.

The way is that of patience diff: lines that are the same at both ends are set aside, lines that occur once on each
side are the anchors between which the same is done again, and short rests are compared exactly. What is deeper than
``_MAX_DEPTH`` counts as replaced whole: longer than need be, never wrong.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_CONTEXT = 3
_MAX_DEPTH = 12
_MAX_EXACT = 40 * 40  # cells of the exact comparison of two short rests


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a file: what it is compared by, how it is shown, and in which part of the file it stands."""

    content: str
    shown: str
    within: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    """The lines of both sides that are still to be compared."""

    old: int
    old_end: int
    new: int
    new_end: int
    depth: int

    @property
    def is_empty(self) -> bool:
        return self.old == self.old_end or self.new == self.new_end


def unified(old: Sequence[Line], new: Sequence[Line]) -> Iterator[str]:
    """The hunks between two files, without their names; nothing where every line is the same."""
    pairs = _same_lines([line.content for line in old], [line.content for line in new])
    pairs.append((len(old), len(new)))
    for changes in _hunks(pairs):
        yield from _hunk(old, new, changes)


def _hunks(pairs: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int, int, int]]]:
    """Changes (old from, to, new from, to) that are near each other."""
    near: list[tuple[int, int, int, int]] = []
    old = new = 0
    for old_same, new_same in pairs:
        if old_same > old or new_same > new:
            if near and old - near[-1][1] > 2 * _CONTEXT:
                yield near
                near = []
            near.append((old, old_same, new, new_same))
        old, new = old_same + 1, new_same + 1
    if near:
        yield near


def _hunk(old: Sequence[Line], new: Sequence[Line], changes: list[tuple[int, int, int, int]]) -> Iterator[str]:
    before = min(_CONTEXT, changes[0][0])
    old_from, new_from = changes[0][0] - before, changes[0][2] - before
    after = min(_CONTEXT, len(old) - changes[-1][1])
    old_to, new_to = changes[-1][1] + after, changes[-1][3] + after
    first = old[changes[0][0]] if changes[0][0] < changes[0][1] else new[changes[0][2]]
    within = f" {first.within}" if first.within else ""
    yield f"@@ -{_span(old_from, old_to)} +{_span(new_from, new_to)} @@{within}"
    place = old_from
    for old_start, old_end, new_start, new_end in changes:
        yield from (f" {line.shown}" for line in old[place:old_start])
        yield from (f"-{line.shown}" for line in old[old_start:old_end])
        yield from (f"+{line.shown}" for line in new[new_start:new_end])
        place = old_end
    yield from (f" {line.shown}" for line in old[place:old_to])


def _span(start: int, end: int) -> str:
    return f"{start + 1 if end > start else start},{end - start}"


def _same_lines(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of places that hold the same line, rising on both sides."""
    pairs: list[tuple[int, int]] = []
    left = [_Range(old=0, old_end=len(old), new=0, new_end=len(new), depth=0)]
    while left:
        rest = _trimmed(old, new, left.pop(), pairs)
        if rest.is_empty:
            continue
        if (rest.old_end - rest.old) * (rest.new_end - rest.new) <= _MAX_EXACT:
            pairs.extend(_exact(old, new, rest))
        elif rest.depth < _MAX_DEPTH:
            left.extend(_between(rest, _anchors(old, new, rest)))
    return sorted(pairs)


def _trimmed(old: Sequence[str], new: Sequence[str], rest: _Range, pairs: list[tuple[int, int]]) -> _Range:
    """What is left between the same lines at both ends."""
    first, second, end, new_end = rest.old, rest.new, rest.old_end, rest.new_end
    while first < end and second < new_end and old[first] == new[second]:
        pairs.append((first, second))
        first, second = first + 1, second + 1
    while first < end and second < new_end and old[end - 1] == new[new_end - 1]:
        end, new_end = end - 1, new_end - 1
        pairs.append((end, new_end))
    return _Range(old=first, old_end=end, new=second, new_end=new_end, depth=rest.depth)


def _anchors(old: Sequence[str], new: Sequence[str], rest: _Range) -> list[tuple[int, int]]:
    """The longest rising run of lines that occur once on each side."""
    counts = Counter(old[rest.old : rest.old_end])
    new_counts = Counter(new[rest.new : rest.new_end])
    places = {new[at]: at for at in range(rest.new, rest.new_end) if new_counts[new[at]] == 1}
    unique = [
        (at, places[old[at]]) for at in range(rest.old, rest.old_end) if counts[old[at]] == 1 and old[at] in places
    ]
    ends: list[int] = []  # by length of a run: the lowest place of the new side at which one ends
    chosen: list[int] = []
    before: list[int] = [-1] * len(unique)
    for number, (_, place) in enumerate(unique):
        length = bisect_left(ends, place)
        before[number] = chosen[length - 1] if length else -1
        ends[length : length + 1] = [place]
        chosen[length : length + 1] = [number]
    run: list[tuple[int, int]] = []
    number = chosen[-1] if chosen else -1
    while number >= 0:
        run.append(unique[number])
        number = before[number]
    return run[::-1]


def _between(rest: _Range, anchors: Sequence[tuple[int, int]]) -> Iterator[_Range]:
    """The ranges that begin with each anchor; none where there is none."""
    old, new = rest.old, rest.new
    for old_at, new_at in (*anchors, (rest.old_end, rest.new_end)) if anchors else ():
        yield _Range(old=old, old_end=old_at, new=new, new_end=new_at, depth=rest.depth + 1)
        old, new = old_at, new_at


def _exact(old: Sequence[str], new: Sequence[str], rest: _Range) -> Iterator[tuple[int, int]]:
    """A longest common subsequence of two short ranges."""
    width = rest.new_end - rest.new
    lengths = [[0] * (width + 1) for _ in range(rest.old_end - rest.old + 1)]
    for row in range(rest.old_end - rest.old - 1, -1, -1):
        for column in range(width - 1, -1, -1):
            lengths[row][column] = (
                lengths[row + 1][column + 1] + 1
                if old[rest.old + row] == new[rest.new + column]
                else max(lengths[row + 1][column], lengths[row][column + 1])
            )
    row = column = 0
    while lengths[row][column]:
        if old[rest.old + row] == new[rest.new + column]:
            yield rest.old + row, rest.new + column
            row, column = row + 1, column + 1
        elif lengths[row + 1][column] >= lengths[row][column + 1]:
            row += 1
        else:
            column += 1
