"""Every check is registered under its fixed name, finds nothing where nobody looked, and judges what it is given."""

import pkgutil
from importlib import import_module

import pytest

from stravinsky_rollback_mcp.core import checks
from stravinsky_rollback_mcp.core.checks import CHECKS, findings, worse
from stravinsky_rollback_mcp.core.checks.evidence import (
    Capacity,
    Denied,
    Evidence,
    Locked,
    Release,
    Space,
    StoredHealth,
)
from stravinsky_rollback_mcp.core.model import Effect, Finding, Scope, Severity


def test_every_check_is_in_the_registry_under_its_own_name() -> None:
    """A file that has a check and no row would never be asked."""
    modules = [import_module(f"{checks.__name__}.{item.name}") for item in pkgutil.iter_modules(checks.__path__)]
    own = {module.NAME: module.check for module in modules if hasattr(module, "check")}
    assert own == CHECKS
    assert all(module.__name__.endswith(f".{module.NAME}") for module in modules if hasattr(module, "check"))


def test_nothing_is_found_where_nobody_looked() -> None:
    """Evidence that is empty is no evidence of a fault."""
    assert findings(Evidence()) == ()


def space(free_bytes: int = 1000, free_inodes: int | None = 100) -> Space:
    """A file system that needs 400 bytes and 40 files, and keeps 100 bytes."""
    return Space(
        path="/disk",
        free_bytes=free_bytes,
        free_inodes=free_inodes,
        needed_bytes=400,
        needed_inodes=40,
        threshold_bytes=100,
    )


def capacity(*, exceeded: tuple[str, ...] = (), leaving: tuple[str, ...] = ()) -> Evidence:
    """What one more backup would do."""
    return Evidence(capacity=Capacity(exceeded=exceeded, leaving=leaving))


def release(declared: str | None, latest: str | None) -> Evidence:
    """What an update to v2 left."""
    return Evidence(release=Release(version="v2", path="~/.claude/VERSION", declared=declared, latest=latest))


JUDGED: dict[str, tuple[Evidence, list[tuple[str, str]]]] = {
    "room enough": (Evidence(spaces=(space(900, 80),)), []),
    "a byte too few": (Evidence(spaces=(space(899),)), [("disk_space", "error")]),
    "an inode too few": (Evidence(spaces=(space(free_inodes=79),)), [("disk_space", "error")]),
    "inodes made as needed": (Evidence(spaces=(space(free_inodes=None),)), []),
    "unreadable": (
        Evidence(denied=(Denied(scope=Scope.USER, path="~/x", is_readable=False),)),
        [("file_permissions", "error")],
    ),
    "unwritable": (
        Evidence(denied=(Denied(scope=Scope.USER, path="~", is_readable=True),)),
        [("file_permissions", "error")],
    ),
    "locked": (Evidence(locked=(Locked(scope=Scope.PROJECT, path="x"),)), [("file_locks", "warning")]),
    "room for more": (capacity(), []),
    "the oldest goes": (capacity(leaving=("v1",)), [("backup_capacity", "info")]),
    "nothing may go": (capacity(exceeded=("backup.max_versions",)), [("backup_capacity", "error")]),
    "not enough may go": (
        capacity(exceeded=("backup.max_total_size_mb",), leaving=("v1",)),
        [("backup_capacity", "error")],
    ),
    "intact": (Evidence(backups=(StoredHealth(version="v1", problems=()),)), []),
    "damaged": (Evidence(backups=(StoredHealth(version="v1", problems=("x",)),)), [("previous_backup", "warning")]),
    "as declared": (release("v2", "v2"), []),
    "not looked at": (release("v2", None), []),
    "another version": (release("v1", "v2"), [("version_consistency", "error")]),
    "no version": (release(None, "v2"), [("version_consistency", "error")]),
    "latest does not follow": (release("v2", "v1"), [("version_consistency", "error")]),
}


@pytest.mark.parametrize(("evidence", "expected"), JUDGED.values(), ids=JUDGED.keys())
def test_each_check_judges_what_it_is_given(evidence: Evidence, expected: list[tuple[str, str]]) -> None:
    """The bounds are where the design has them; a margin is part of what is wanted."""
    assert [(finding.check, finding.severity) for finding in findings(evidence)] == expected


def finding(message: str, effect: Effect = Effect.LOCKS, line: int | None = None) -> Finding:
    """A finding about one file."""
    return Finding(
        check="x", severity=Severity.ERROR, scope=None, path="p", line=line, message=message, fix="", effect=effect
    )


def test_worse_is_what_weighs_and_is_new() -> None:
    """A fault that only moved to another line is no new one; what has no effect is never worse."""
    before = (finding("a", line=1),)
    after = (finding("a", line=9), finding("b"), finding("c", effect=Effect.NONE))
    assert worse(before, after) == (finding("b"),)


def test_a_file_that_is_lost_is_lost_once() -> None:
    """Claude Code loads nothing of it before or after, whichever fault is the reason."""
    before = (finding("a", effect=Effect.DROPPED),)
    assert worse(before, [finding("b", effect=Effect.DROPPED)]) == ()
    assert worse((), before) == before


def test_the_gravest_come_first_and_each_once() -> None:
    """People read from the top."""
    locked = Locked(scope=Scope.USER, path="x")
    found = findings(Evidence(locked=(locked, locked), spaces=(space(0),)))
    assert [item.severity for item in found] == ["error", "warning"]


def test_what_weighs_little_is_told_in_bounds() -> None:
    """A hundred of one check, the gravest first, the last tells of the rest; errors are all told."""
    locked = tuple(Locked(scope=Scope.USER, path=f"{number}") for number in range(150))
    denied = tuple(Denied(scope=Scope.USER, path=f"{number}", is_readable=False) for number in range(150))
    found = findings(Evidence(locked=locked, denied=denied))
    assert [sum(item.severity is severity for item in found) for severity in Severity] == [150, 99, 1]
    assert found[-1].message == "51 more findings of this check are not listed."
