"""What a restore builds: modes, times, links and oddities as recorded, and everything that no backup holds kept."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.crash import PERSON, World, add_socket, guard, perform, plant
from support.tree import Fifo, File, Folder, Link, build

from stravinsky_rollback_mcp.core.outcome import Restored
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent

ODD = b"caf\xe9 \n.py"


class NoLinks(Files):
    """A file system without hard links; what would have been linked is counted."""

    copied = 0

    def hard_link(self, source: str, path: str, *, source_dir_fd: int | None = None, dir_fd: int | None = None) -> bool:
        """Refused below targets; the store needs its own."""
        if dir_fd is None:
            return super().hard_link(source, path, source_dir_fd=source_dir_fd)
        self.copied += 1
        return False


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A home whose hooks hold every kind of entry that a backup records, and a project."""
    made = World(tmp_path / "w")
    plant(
        made,
        {
            "home": {
                ".claude": {
                    "hooks": Folder(
                        {
                            "guard.py": guard("one"),
                            "read only.py": File("r\n", 0o444),
                            "odd modes.py": File("m\n", 0o751),
                            ODD: "odd\n",
                            "empty": "",
                            "same": {"kept.py": "kept\n"},
                            "locked": Folder({"rules.txt": File("rules\n", 0o400), "sub": Folder({}, 0o500)}, 0o555),
                            "link": Link("guard.py"),
                            "dangling": Link("no/such\udcff".encode("utf-8", "surrogateescape")),
                        },
                        0o750,
                    ),
                    "settings.json": File('{"a": 1}\n', 0o640),
                }
            },
            "project": {".claude": {}},
        },
    )
    made.run(made.service().create_backup(PERSON, version="v1"))
    yield made
    made.close()


def hooks_of(world: World) -> Path:
    """The user's hooks."""
    return world.home / ".claude" / "hooks"


@pytest.mark.parametrize("disk", [Files, NoLinks])
def test_everything_comes_back_as_it_was_recorded(world: World, disk: type[Files]) -> None:
    """Bytes, names that are no UTF-8, modes, times of files, folders and links."""
    before = world.fingerprint()
    hooks = hooks_of(world)
    (hooks / "guard.py").write_text("two\n", encoding="utf-8")
    os.unlink(os.fsencode(hooks) + b"/" + ODD)
    (hooks / "link").unlink()
    (hooks / "read only.py").chmod(0o644)
    (hooks / "locked").chmod(0o755)
    (hooks / "locked" / "rules.txt").unlink()
    (hooks / "new.py").write_text("new\n", encoding="utf-8")
    hooks.chmod(0o700)
    os.utime(hooks / "same")
    settings = world.home / ".claude" / "settings.json"
    settings.write_text("{}\n", encoding="utf-8")
    settings.chmod(0o600)
    files = disk()
    perform(world, "rollback", files)
    assert world.fingerprint() == before
    assert not isinstance(files, NoLinks) or files.copied > 0


def test_everything_comes_back_from_nothing(world: World) -> None:
    """The whole folder is gone: nothing can be linked, all comes from the archive."""
    before = world.fingerprint()
    os.rename(hooks_of(world), world.root / "gone")
    perform(world, "rollback")
    assert world.fingerprint() == before


def test_bytes_made_for_a_plan_are_written_with_the_live_mode(world: World) -> None:
    """One key of a file comes back: what no backup holds is staged from the plan, the file's mode is the live one."""
    path = world.home / ".claude" / "settings.json"
    path.write_text('{"a": 2, "b": 1.10}\n', encoding="utf-8")
    path.chmod(0o604)
    only = ("~/.claude/settings.json#/a",)
    world.run(world.service().rollback_to(PERSON, version="v1", only=only, consent=Consent()))
    assert path.read_text(encoding="utf-8") == '{"a": 1, "b": 1.10}\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_unchanged_files_are_linked_and_never_written(world: World) -> None:
    """The same inode before and after (design of the store, The swap); others are new ones."""
    hooks = hooks_of(world)
    (hooks / "guard.py").write_text("two\n", encoding="utf-8")
    before = {name: (hooks / name).stat() for name in ("same/kept.py", "read only.py", "guard.py")}
    perform(world, "rollback")
    after = {name: (hooks / name).stat() for name in before}
    assert [after[name].st_ino == before[name].st_ino for name in before] == [True, True, False]
    assert [after[name].st_nlink for name in before] == [1, 1, 1]
    assert after["same/kept.py"].st_mtime_ns == before["same/kept.py"].st_mtime_ns


@pytest.mark.parametrize("disk", [Files, NoLinks])
def test_what_no_backup_holds_moves_over_untouched(world: World, disk: type[Files]) -> None:
    """node_modules and its links, modes and times; a FIFO and a socket where links exist (contract of warnings)."""
    hooks = hooks_of(world)
    modules = Folder({"m": {"i.js": File("i\n", 0o444), "l": Link("i.js")}, ".bin": Folder({}, 0o555)}, 0o711)
    build(hooks / "same", {"node_modules": modules, "__pycache__": {"x.pyc": b"\0"}})
    if disk is Files:
        build(hooks / "same", {"pipe": Fifo(0o620)})
        add_socket(hooks / "same" / "daemon.sock")
    carried = {path: entry for path, entry in world.fingerprint().items() if "/same/" in path and "kept" not in path}
    assert len(carried) >= (9 if disk is Files else 7)
    (hooks / "guard.py").write_text("two\n", encoding="utf-8")
    result = perform(world, "rollback", disk())
    assert isinstance(result, Restored)
    after = world.fingerprint()
    assert {path: after[path] for path in carried} == carried
    assert any("node_modules" in line for line in result.warnings)
    assert "one" in (hooks / "guard.py").read_text(encoding="utf-8")


def test_a_special_file_that_cannot_be_linked_is_not_lost(world: World) -> None:
    """Refused before anything changes, where a FIFO can be neither linked nor copied."""
    build(hooks_of(world), {"pipe": Fifo()})
    (hooks_of(world) / "guard.py").write_text("two\n", encoding="utf-8")
    before = world.fingerprint()
    with pytest.raises(RollbackError) as caught:
        perform(world, "rollback", NoLinks())
    assert caught.value.code is Code.UNSUPPORTED_FILE_TYPE
    assert world.fingerprint() == before


def test_a_folder_that_only_holds_what_no_backup_holds_stays_for_it(world: World) -> None:
    """The backup has no commands; node_modules below the live ones keeps its folder."""
    commands = world.home / ".claude" / "commands"
    build(commands, {"a.md": "A\n", "node_modules": {"m.js": "m\n"}})
    perform(world, "rollback")
    assert sorted(os.listdir(commands)) == ["node_modules"]
    assert (commands / "node_modules" / "m.js").read_text(encoding="utf-8") == "m\n"


def test_something_unsaved_in_the_way_is_refused(world: World) -> None:
    """A FIFO stands where a recorded file must go: overwriting it would lose it."""
    (hooks_of(world) / "guard.py").unlink()
    build(hooks_of(world), {"guard.py": Fifo()})
    before = world.fingerprint()
    with pytest.raises(RollbackError) as caught:
        perform(world, "rollback")
    assert caught.value.code is Code.UNSUPPORTED_FILE_TYPE
    assert world.fingerprint() == before


def test_what_is_carried_over_may_vanish_meanwhile(world: World) -> None:
    """An installer that removes node_modules while the new tree is built: an error, all as before, no slot."""
    build(hooks_of(world), {"node_modules": {"m.js": "m\n"}})
    (hooks_of(world) / "guard.py").write_text("two\n", encoding="utf-8")
    before = world.fingerprint()

    def remove(operation: str, path: str) -> None:
        module = hooks_of(world) / "node_modules"
        if operation == "mkdir" and path == "same" and module.exists():
            os.rename(module, world.root / "moved")

    with pytest.raises(RollbackError) as caught:
        perform(world, "rollback", Files(observe=remove))
    assert caught.value.code in (Code.UNSTABLE_SOURCE, Code.INTERNAL)
    os.rename(world.root / "moved", hooks_of(world) / "node_modules")
    before[str(hooks_of(world))] = world.fingerprint()[str(hooks_of(world))]
    assert world.fingerprint() == before
    assert os.listdir(world.store / "recovery") == []


@pytest.mark.case(33)
def test_a_damaged_archive_builds_nothing(world: World) -> None:
    """The archive is read back whole before the first byte is written."""
    archive = world.store / "backups" / "v1" / "user.hooks.tar.gz"
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    (hooks_of(world) / "guard.py").write_text("two\n", encoding="utf-8")
    before = world.fingerprint()
    with pytest.raises(RollbackError):
        world.run(world.service().rollback_to(PERSON, version="v1", consent=Consent()))
    assert world.fingerprint() == before
    assert [path.read_bytes() for path in world.store.rglob(archive.name)] == [bytes(content)]  # kept, as it is
