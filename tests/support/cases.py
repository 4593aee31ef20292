"""The forty fault cases, and which tests of a run passed for each.

A test says which cases it covers with ``@pytest.mark.case(7, 8)``; the end of a run prints the table.
"""

from collections.abc import Iterable, Mapping

CASES: Mapping[int, str] = {
    1: "killed before any mutating call of a swap",
    2: "killed at any step of the recovery of that",
    3: "power cut at any step, file systems flushed or not",
    4: "power cut right after success was reported",
    5: "one call fails with EIO",
    6: "a call and all later ones fail with EIO",
    7: "disk full while a backup is written",
    8: "disk full while staging or committing",
    9: "no inodes left, bytes free",
    10: "disk full while cleaning up or writing the audit",
    11: "short write, file size limit",
    12: "no file handles left",
    13: "flushing a file fails",
    14: "flushing a folder fails, or is not known there",
    15: "parent folder not writable",
    16: "unreadable file in the source",
    17: "target on a read-only mount, or turned read-only midway",
    18: "immutable target",
    19: "exchange not offered",
    20: "killed in the gap between two renames",
    21: "something foreign appears in that gap",
    22: "target is a mount point",
    23: "target is a lower folder of an overlay",
    24: "project link to another file system",
    25: "link chains, relative and dangling links",
    26: "the project is the home",
    27: "one target inside another",
    28: "a mount below a target",
    29: "another process edits a target before the swap",
    30: "a writer with an open handle after the commit",
    31: "two servers at once, a killed holder, an inherited lock",
    32: "journal cut, changed, or from a newer version",
    33: "archive changed, cut, or another backup's",
    34: "manifest edited to fit its archive",
    35: "audit edited, cut, torn",
    36: "audit index lost, damaged, locked",
    37: "killed while backups are pruned or quarantined",
    38: "clock set back, two operations in one second",
    39: "hostile archive",
    40: "macOS, Windows, NFS: only what can be imitated",
}
MARKER = "case"


def table(passed: Iterable[tuple[str, int]]) -> list[str]:
    """One line a case and its tests; ``passed`` are (id of a test, case)."""
    tests: dict[int, dict[str, int]] = {}
    for node, case in passed:
        name = node.rpartition("::")[2].partition("[")[0]
        counts = tests.setdefault(case, {})
        counts[name] = counts.get(name, 0) + 1
    return [
        f"case {case:2}  {CASES[case]}: {', '.join(_told(name, count) for name, count in sorted(tests[case].items()))}"
        for case in sorted(tests)
    ]


def _told(name: str, count: int) -> str:
    return name if count == 1 else f"{name} ({count} times)"
