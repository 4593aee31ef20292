"""Comparing, told by the use case: two states side by side, page by page, and the very plan of going back."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.crash import PERSON, World
from support.tree import File, Link, Spec, build

from stravinsky_rollback_mcp.core.outcome import Compared
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A home and a project with a small configuration."""
    made = World(tmp_path)
    build(made.home, {".claude": {"hooks": {"a.py": "one\n", "b.py": "one\n"}, "settings.json": '{"model": "opus"}\n'}})
    build(made.project, {"CLAUDE.md": "# one\n"})
    yield made
    made.close()


def back_up(world: World, version: str) -> None:
    """A named backup."""
    world.run(world.service().create_backup(PERSON, version=version))


def compare(
    world: World,
    version: str | None = None,
    other: str | None = None,
    *,
    path: str | None = None,
    cursor: str | None = None,
) -> Compared:
    """A comparison, in a fresh process so to speak."""
    return world.run(world.service().compare(PERSON, version=version, other=other, path=path, cursor=cursor))


def code(world: World, version: str | None, other: str | None = None, **limits: str) -> Code:
    """The code with which a comparison is refused; each refusal says what to do next."""
    with pytest.raises(RollbackError) as refused:
        compare(world, version, other, **limits)
    assert refused.value.hint
    return refused.value.code


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("path", [None, "~/.claude/hooks", "~/.claude/hooks/a.py"])
def test_the_plan_of_going_back_is_the_one_that_rollback_takes(world: World, named: bool, path: str | None) -> None:  # noqa: FBT001 - a parameter
    """Contract, compare: its ``plan_id`` and ``security_changes`` are what ``rollback_to`` accepts."""
    back_up(world, "v1")
    (world.home / ".claude/hooks/a.py").write_text("two\n", encoding="utf-8")
    (world.home / ".claude/settings.json").write_text('{"permissions": {"deny": ["Read(x)"]}}\n', encoding="utf-8")
    found = compare(world, "v1" if named else None, path=path)
    assert (found.version, found.other) == ("v1", "live")
    assert bool(found.security_changes) == (path is None)
    consent = Consent(plan_id=found.plan_id, accept=found.security_changes)
    only = () if path is None else (path,)
    done = world.run(world.service().rollback_to(PERSON, version="v1", only=only, consent=consent))
    assert done.applied
    assert compare(world, "v1", path=path).changes == ()


def test_two_backups_are_read_in_both_directions(world: World) -> None:
    """Reads like ``git diff version other``; nothing is said of going back."""
    back_up(world, "v1")
    (world.home / ".claude/hooks/a.py").unlink()
    (world.home / ".claude/hooks/b.py").chmod(0o755)
    build(world.home, {".claude": {"hooks": {"new": Link("b.py")}}})
    back_up(world, "v2")
    forth, back = compare(world, "v1", "v2"), compare(world, "v2", "v1")
    (change,) = forth.changes
    assert (change.added, change.modified, change.removed) == (("new",), ("b.py",), ("a.py",))
    (change,) = back.changes
    assert (change.added, change.modified, change.removed) == (("a.py",), ("b.py",), ("new",))
    assert forth.diff.splitlines() == [
        "--- ~/.claude/hooks/a.py\tv1",
        "+++ /dev/null",
        "@@ -1,1 +0,0 @@",
        "-one",
        "--- ~/.claude/hooks/b.py\tv1",
        "+++ ~/.claude/hooks/b.py\tv2",
        "file 0644 becomes file 0755",
        "--- /dev/null",
        "+++ ~/.claude/hooks/new\tv2",
        "@@ -0,0 +1,1 @@",
        "+link to b.py",
    ]
    assert (forth.plan_id, forth.security_changes, forth.findings) == (None, (), ())


def test_what_is_the_same_has_no_diff(world: World) -> None:
    """Nor a plan: there is nothing to go back to."""
    back_up(world, "v1")
    for version in (None, "v1", "live"):
        found = compare(world, version)
        assert (found.changes, found.diff, found.plan_id, found.next_step) == ((), "", None, "")


def test_all_pages_together_are_the_whole_diff(world: World) -> None:
    """No line is lost or told twice, and a page is small enough for any host."""
    back_up(world, "v1")
    long = "".join(f"line {number}\n" for number in range(4000))
    build(
        world.home,
        {
            ".claude": {
                "hooks": {f"{number}.py": f"new {number}\n" for number in range(120)},
                "commands": {"long.md": long},
            }
        },
    )
    text, cursor, pages = "", None, 0
    while True:
        page = compare(world, "v1", cursor=cursor)
        assert len(page.diff.encode()) <= 20_000
        text, cursor, pages = text + page.diff, page.next_cursor, pages + 1
        if cursor is None:
            break
    lines = text.splitlines()
    assert pages > 3
    assert [line for line in lines if line.startswith("+line")] == [f"+line {number}" for number in range(4000)]
    assert sorted(line for line in lines if line.startswith("+new")) == sorted(f"+new {n}" for n in range(120))
    assert sum(line.startswith("+++ ") for line in lines) == 121


def test_a_cursor_of_something_else_is_refused(world: World) -> None:
    """Pages of two different states must not be read as one diff."""
    back_up(world, "v1")
    build(world.home, {".claude": {"hooks": {f"{number}.py": "x\n" for number in range(60)}}})
    cursor = compare(world, "v1").next_cursor
    assert cursor is not None
    (world.home / ".claude/hooks/0.py").write_text("y\n", encoding="utf-8")
    assert code(world, "v1", cursor=cursor) is Code.STATE_CHANGED
    assert code(world, "v1", cursor="1") is Code.INVALID_ARGUMENT


def test_what_cannot_be_compared_is_refused_or_said(world: World) -> None:
    """No such version, no such path, nothing known yet; a target that one side did not look at is named."""
    assert code(world, None) is Code.NOT_FOUND
    back_up(world, "v1")
    assert code(world, "v9") is Code.NOT_FOUND
    assert code(world, "v1", "v9") is Code.NOT_FOUND
    assert code(world, "v1", path="~/.claude/hooks/never.py") is Code.NOT_FOUND
    assert code(world, "v1", path="/etc/passwd") is Code.NOT_FOUND
    (world.project / ".claude").mkdir()
    (world.project / ".claude/CLAUDE.md").symlink_to("nowhere")
    found = compare(world, "v1")
    assert found.changes == ()
    assert [line.partition(": ")[2] for line in found.not_compared] == ["not recorded in live."]


@pytest.mark.long
def test_ten_thousand_files_are_compared_in_no_time(world: World) -> None:
    """Hostile input: a page reads only the files that it shows, and what names take is bounded too."""
    back_up(world, "v1")
    names: Spec = {f"{'n' * 200}{number}.py": File("x = 1\n" * 50) for number in range(10_000)}
    build(world.home, {".claude": {"hooks": names}})
    started = time.process_time()
    found = compare(world, "v1")
    assert time.process_time() - started < 5
    assert found.changes[0].added_total == 10_000
    assert sum(len(path) for change in found.changes for path in change.added) <= 10_000
    assert len(found.diff) <= 20_000
    assert found.next_cursor is not None
