"""Extended attributes and times come back; what cannot be kept is said in the backup."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from support.crash import PERSON, World, before_rollback, change_small, perform, small

from stravinsky_rollback_mcp.core.codec import manifest as codec
from stravinsky_rollback_mcp.core.codec.text import from_json, to_readable_json
from stravinsky_rollback_mcp.core.outcome import Restored
from stravinsky_rollback_mcp.disk import attributes
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError

pytestmark = pytest.mark.skipif(not hasattr(os, "setxattr"), reason="this system's Python has no extended attributes")

NAME, VALUE = "user.origin", b"dotfiles \x00\xff"


def holds_attributes(folder: Path) -> bool:
    """Whether a file system keeps what a person sets."""
    try:
        os.setxattr(folder, NAME, b"probe")
        os.removexattr(folder, NAME)
    except OSError:
        return False
    return True


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A home and a project with a store, where attributes can be set."""
    if not holds_attributes(tmp_path):
        pytest.skip("the file system of the tests has no extended attributes")
    made = World(tmp_path / "w")
    yield made
    made.close()


def attributed(world: World) -> dict[Path, int]:
    """A backup of a configuration with attributes, then edits that lose them; the times that were."""
    small(world)
    hooks = world.home / ".claude" / "hooks"
    marked = [hooks, hooks / "guard.py", hooks / "same.py", world.project / ".claude" / "settings.json"]
    (hooks / "guard.py").chmod(0o555)
    for path in marked:
        before = path.stat().st_mtime_ns
        os.setxattr(path, NAME, VALUE)
        os.setxattr(path, "user.Ünïcode", b"")
        os.utime(path, ns=(before, before))
    times = {path: path.stat().st_mtime_ns for path in marked}
    world.run(world.service().create_backup(PERSON, version="v1"))
    (hooks / "guard.py").unlink()
    change_small(world)
    os.removexattr(hooks, NAME)
    os.setxattr(hooks / "same.py", NAME, b"another")
    (world.project / ".claude" / "settings.json").unlink()
    return times


def test_attributes_and_times_come_back_to_the_nanosecond(world: World) -> None:
    """Of the target itself, of files that are brought back, and of one whose bytes never changed."""
    times = attributed(world)
    other_name = world.root / "other name"
    os.link(world.home / ".claude" / "hooks" / "same.py", other_name)
    perform(world, "rollback")
    for path, mtime_ns in times.items():
        assert os.getxattr(path, NAME) == VALUE
        assert os.getxattr(path, "user.Ünïcode") == b""
        assert path.stat().st_mtime_ns == mtime_ns
    assert os.getxattr(other_name, NAME) == b"another"  # an inode that others hold is never written to


def test_a_second_backup_is_equal_and_an_attribute_alone_is_no_change(world: World) -> None:
    """The digest knows names, types, modes, links and bytes: a lost attribute asks for no rollback."""
    attributed(world)
    perform(world, "rollback")
    os.removexattr(world.home / ".claude" / "hooks" / "guard.py", NAME)
    assert world.run(world.service().list_backups(PERSON)).current.version == "v1"


def test_a_file_system_without_attributes_is_said_and_stops_nothing(world: World) -> None:
    """What it does not hold is named in the result; bytes and modes are there."""
    attributed(world)

    class Bare(Files):
        def set_attribute(self, handle: int, name: str, value: bytes, path: str) -> bool:  # noqa: ARG002
            """No such thing here."""
            return False

    done = perform(world, "rollback", Bare())
    assert isinstance(done, Restored)
    assert done.applied
    said = [notice for notice in done.notices if "does not hold extended attributes" in notice]
    assert any("hooks/guard.py" in notice for notice in said)
    with pytest.raises(OSError, match="No data available"):
        os.getxattr(world.home / ".claude" / "hooks" / "guard.py", NAME)


def test_an_access_control_list_is_a_warning_in_the_backup(world: World) -> None:
    """No archive of ours holds one: the person hears of it whenever one is asked for, not when it is gone."""
    small(world)
    entries = [(1, 6, 0xFFFFFFFF), (2, 4, 12345), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(world.home / ".claude" / "hooks" / "guard.py", "system.posix_acl_access", packed)
    except OSError:
        pytest.skip("this file system has no access control lists")
    service = world.service()
    made = [world.run(service.create_backup(PERSON, version=version)) for version in ("v1", None, None)]
    assert [one.created for one in made] == [True, False, False]
    for one in made:  # the last of them did not read it again
        assert "~/.claude/hooks/guard.py has an access control list, which no backup keeps." in one.warnings


def test_attributes_without_measure_are_left_out_and_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest must not grow without bound."""
    small(world)
    os.setxattr(world.home / ".claude" / "hooks" / "guard.py", NAME, VALUE)
    monkeypatch.setattr(attributes, "MAX_ATTRIBUTES_BYTES", 8)
    made = world.run(world.service().create_backup(PERSON, version="v1"))
    assert any("guard.py has attributes of more than 8 bytes" in line for line in made.warnings)
    assert b'"attributes"' not in (world.store / "backups" / "v1" / "manifest.json").read_bytes()


BAD = {
    "of the system": [{"name": "security.capability", "value_b64": ""}],
    "twice": [{"name": "user.a", "value_b64": ""}, {"name": "user.a", "value_b64": ""}],
    "out of order": [{"name": "user.b", "value_b64": ""}, {"name": "user.a", "value_b64": ""}],
    "with a zero": [{"name": "user.a\0b", "value_b64": ""}],
    "not base64": [{"name": "user.a", "value_b64": "?"}],
    "too large": [{"name": "user.a", "value_b64": "A" * (100 << 10)}],
    "with more": [{"name": "user.a", "value_b64": "", "more": 1}],
    "no list": {"user.a": ""},
}


def manifest_with(world: World, value: object) -> bytes:
    """A manifest whose first entry has these attributes."""
    content = from_json((world.store / "backups" / "v1" / "manifest.json").read_bytes())
    targets = cast("list[dict[str, list[dict[str, object]]]]", content["targets"])
    next(target["entries"] for target in targets if target["entries"])[0]["attributes"] = value
    return to_readable_json(content)


@pytest.mark.parametrize("value", BAD.values(), ids=BAD.keys())
def test_a_manifest_with_odd_attributes_is_invalid(world: World, value: object) -> None:
    """Whoever edits one cannot make us set what only the system may."""
    before_rollback(world)
    with pytest.raises(RollbackError) as caught:
        codec.decode(manifest_with(world, value))
    assert caught.value.code is Code.MANIFEST_INVALID


def test_manifests_with_and_without_attributes_are_read(world: World) -> None:
    """Those from before there were any stay what they are; the bytes come back as they went in."""
    before_rollback(world)
    plain = (world.store / "backups" / "v1" / "manifest.json").read_bytes()
    assert codec.encode(codec.decode(plain)) == plain
    content = manifest_with(world, [{"name": "user.a", "value_b64": "/wA="}])
    assert codec.encode(codec.decode(content)) == content
