"""Which rows of the threat model's table were tested in a run, read off the names of the tests that passed."""

import re
from collections.abc import Iterable

_ROW = re.compile(r"::test_row_(\d+)_(\w+)")


def table(passed: Iterable[str]) -> list[str]:
    """One line a row: its number, and what its tests found; ``passed`` are the ids of tests."""
    rows: dict[int, dict[str, int]] = {}
    for name in passed:
        found = _ROW.search(name)
        if found:
            outcomes = rows.setdefault(int(found[1]), {})
            outcomes[found[2]] = outcomes.get(found[2], 0) + 1
    return [
        f"row {row:3}  " + "; ".join(_told(outcome, count) for outcome, count in sorted(outcomes.items()))
        for row, outcomes in sorted(rows.items())
    ]


def _told(outcome: str, count: int) -> str:
    words = outcome.replace("_", " ")
    return words if count == 1 else f"{words} ({count} times)"
