"""Which rows of the threat model's table were tested in a run, read off the names of the tests that passed."""

import re
from collections.abc import Iterable

_ROWS = re.compile(r"::test_rows?_((?:\d+_)+)(\w+)")


def table(passed: Iterable[str]) -> list[str]:
    """One line a row: its number, and what its tests found; ``passed`` are the ids of tests."""
    rows: dict[int, dict[str, int]] = {}
    for name in passed:
        found = _ROWS.search(name)
        for row in found[1].split("_")[:-1] if found else ():
            outcomes = rows.setdefault(int(row), {})
            outcome = name[found.start(2) : found.end(2)] if found else ""
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return [
        f"row {row:3}  " + "; ".join(_told(outcome, count) for outcome, count in sorted(outcomes.items()))
        for row, outcomes in sorted(rows.items())
    ]


def _told(outcome: str, count: int) -> str:
    words = outcome.replace("_", " ")
    return words if count == 1 else f"{words} ({count} times)"
