"""A configuration that is, was or would be answers alike: what stands at a path, and what it holds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.crash import PERSON, World
from support.tree import Fifo, File, Link, build

from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.service.backup import keep_rescued
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.look import gather
from stravinsky_rollback_mcp.service.parts import steps_to
from stravinsky_rollback_mcp.service.picture import Picture, live_picture, planned_picture, stored_picture
from stravinsky_rollback_mcp.service.selectors import goal_of


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Hooks with links of every kind, and a backup of them, v1."""
    made = World(tmp_path)
    build(
        made.home,
        {
            ".claude": {
                "settings.json": '{"model": "one"}',
                "hooks": {
                    "a.sh": File("one\n", 0o755),
                    "lib": {"b.sh": "one\n"},
                    "link.sh": Link("lib/b.sh"),
                    "there": Link("lib"),
                    "out.sh": Link("../../outside.sh"),
                    "round": Link("round"),
                    "node_modules": {"c.js": "never in a backup\n"},
                },
            },
            "outside.sh": "outside\n",
        },
    )
    made.run(made.service().create_backup(PERSON, version="v1"))
    yield made
    made.close()


@pytest.fixture
def desk(world: World) -> Desk:
    """Where a use case works."""
    return Desk(world.config(), Files(), keep_rescued)


def stored(desk: Desk, version: str) -> Picture:
    """What a backup holds."""
    look = gather(desk)
    return stored_picture(desk, look, goal_of(desk, look, version).targets)


def planned(desk: Desk, version: str, *only: str) -> Picture:
    """What bringing back some of a backup would leave."""
    look = gather(desk)
    return planned_picture(desk, look, steps_to(desk, look, goal_of(desk, look, version), only, None))


def content(world: World, picture: Picture, name: str) -> bytes | None:
    """What stands at a path below the hooks."""
    path = f"{world.home}/.claude/hooks/{name}"
    found = picture.look_up([path]).get(path)
    return None if found is None else found.content


def test_links_lead_where_they_lead(world: World, desk: Desk) -> None:
    """Inside the tree to its entries, out of it to the disk, round and round to nothing."""
    for picture in (live_picture(desk, gather(desk)), stored(desk, "v1")):
        assert content(world, picture, "a.sh") == b"one\n"
        assert content(world, picture, "link.sh") == content(world, picture, "there/b.sh") == b"one\n"
        assert content(world, picture, "out.sh") == b"outside\n"
        assert content(world, picture, "round") is content(world, picture, "nowhere") is None
        assert content(world, picture, "node_modules/c.js") == b"never in a backup\n"  # so it is what is on the disk


def test_each_state_has_its_own_content(world: World, desk: Desk) -> None:
    """A backup's bytes come from its archive whatever is live; a plan's partly from there."""
    hooks = world.home / ".claude/hooks"
    (hooks / "a.sh").write_text("two\n", encoding="utf-8")
    (hooks / "lib/b.sh").unlink()
    (hooks / "new.sh").write_text("new\n", encoding="utf-8")
    live, old = live_picture(desk, gather(desk)), stored(desk, "v1")
    part = planned(desk, "v1", "~/.claude/hooks/lib")
    names = ("a.sh", "link.sh", "new.sh")
    assert [content(world, live, name) for name in names] == [b"two\n", None, b"new\n"]
    assert [content(world, old, name) for name in names] == [b"one\n", b"one\n", None]
    assert [content(world, part, name) for name in names] == [b"two\n", b"one\n", b"new\n"]


def test_one_key_that_comes_back_is_seen_with_the_rest_of_the_file(world: World, desk: Desk) -> None:
    """The file that the plan would write is in no backup and not live either."""
    (world.home / ".claude/settings.json").write_text('{"model": "two", "x": 1}', encoding="utf-8")
    picture = planned(desk, "v1", "~/.claude/settings.json#/model")
    assert picture.contents("user.settings", [""]) == {"": b'{"model": "one", "x": 1}'}


def test_kind_and_mode_are_those_of_the_state(world: World, desk: Desk) -> None:
    """A script that lost its right to be executed has it in the backup; folders are no files; no FIFO is waited for."""
    hooks = world.home / ".claude/hooks"
    (hooks / "a.sh").chmod(0o644)
    build(hooks, {"fifo": Fifo()})
    path, lib, fifo = (f"{hooks}/{name}" for name in ("a.sh", "lib", "fifo"))
    live, old = live_picture(desk, gather(desk)), stored(desk, "v1")
    assert (live.look_up([path])[path].mode, old.look_up([path])[path].mode) == (0o644, 0o755)
    assert not live.look_up([lib])[lib].is_file
    assert not live.look_up([fifo])[fifo].is_file


def test_what_goes_while_it_is_looked_at_is_left_out(world: World, desk: Desk) -> None:
    """A check judges what there is; that a file moved is for the scan to say."""
    picture = live_picture(desk, gather(desk))
    (world.home / ".claude/hooks/a.sh").unlink()
    path = f"{world.home}/.claude/hooks/a.sh"
    assert picture.contents("user.hooks", ["a.sh", "lib/b.sh"]) == {"lib/b.sh": b"one\n"}
    assert picture.look_up([path])[path].content is None
