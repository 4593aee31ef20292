"""All targets or none, with strangers at work: edits in between, late writers, links, nested places, lost folders."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.crash import (
    PERSON,
    SETTINGS_TWO,
    Case,
    CrashAt,
    CrashedError,
    FailAt,
    Fingerprint,
    NoExchange,
    World,
    guard,
    judge,
    perform,
    plant,
    prepare,
)
from support.tree import Link, build, snapshot

from stravinsky_rollback_mcp.core.model import BackupStatus
from stravinsky_rollback_mcp.core.outcome import Restored
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A home and a project with a store."""
    made = World(tmp_path / "w")
    yield made
    made.close()


@pytest.fixture
def case(world: World) -> Case:
    """A rollback that replaces, creates and removes, about to happen."""
    made = prepare(world, "rollback")
    world.reset()
    return made


def guard_of(world: World) -> Path:
    """The file that the strangers of these tests write into."""
    return world.home / ".claude" / "hooks" / "guard.py"


def at_first(operation: str, act: Callable[[], object], path: str = "") -> Callable[[str, str], None]:
    """An observer that acts once, just before the first such call."""
    left = [act]

    def observe(called: str, touched: str) -> None:
        if called == operation and touched.endswith(path) and left:
            left.pop()()

    return observe


def edited(case: Case, path: Path) -> Fingerprint:
    """What was live before, but for one file's content and times."""
    live = case.world.fingerprint()
    key = str(path)
    assert live.keys() == case.old.keys()
    return {**case.old, key: live[key], str(path.parent): live[str(path.parent)]}


# -- strangers ------------------------------------------------------------------------------------------------------


@pytest.mark.case(29)
@pytest.mark.parametrize("disk", [Files, NoExchange])
@pytest.mark.parametrize("how", ["in place", "by rename"])
def test_an_edit_just_before_the_exchange_is_kept(case: Case, disk: type[Files], how: str) -> None:
    """What was displaced is not what was recorded: conflict, all as before, the edit stays."""
    path = guard_of(case.world)

    def edit() -> None:
        if how == "in place":
            with path.open("a", encoding="utf-8") as file:
                file.write("# theirs\n")
        else:
            path.with_name("tmp").write_text("# theirs\n", encoding="utf-8")
            path.with_name("tmp").rename(path)

    with pytest.raises(RollbackError) as caught:
        case.perform(disk(observe=at_first("renameat2", edit)))
    assert caught.value.code is Code.STATE_CHANGED
    assert path.read_text(encoding="utf-8").endswith("# theirs\n")
    assert case.world.fingerprint() == edited(case, path)
    assert os.listdir(case.world.store / "recovery") == []


@pytest.mark.case(29)
def test_an_edit_just_after_the_exchange_is_kept_in_a_backup(case: Case) -> None:
    """Somebody writes into the new tree before it is proven: taken back, and the write is rescued."""
    path = guard_of(case.world)
    parent = str(case.world.home / ".claude")

    def edit() -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write("# theirs\n")

    calls = 0

    def observe(operation: str, touched: str) -> None:
        nonlocal calls
        calls += operation == "renameat2"
        if calls == 4 and operation == "fsync" and touched == parent:
            calls += 1
            edit()

    with pytest.raises(RollbackError) as caught:
        case.perform(Files(observe=observe))
    assert caught.value.code is Code.STATE_CHANGED
    judge(case, "edited after the exchange")
    assert case.world.fingerprint() == case.old
    assert b"# theirs" in rescued(case.world)["guard.py"]


def rescued(world: World) -> dict[str, bytes]:
    """The files of a rescue backup's hooks, unpacked as a person would: with tar.

    A recovery that was itself interrupted may have saved the same tree twice.
    """
    listed = world.run(world.service().list_backups(PERSON, detail=True, all_projects=True)).backups
    backup = next(backup for backup in listed if backup.version.endswith(".rescue"))
    assert backup.status is BackupStatus.INTACT
    folder = world.root / "unpacked"
    folder.mkdir()
    shutil.unpack_archive(str(world.store / "backups" / backup.version / "user.hooks.tar.gz"), folder, filter="data")
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.case(30)
def test_a_late_write_into_the_displaced_tree_is_rescued(case: Case) -> None:
    """A process with an open handle writes after the commit; its bytes land in the old tree."""
    path = guard_of(case.world)
    with path.open("ab", buffering=0) as handle:
        journals = 0

        def observe(operation: str, touched: str) -> None:
            nonlocal journals
            if operation == "rename" and touched.endswith("journal.json"):
                journals += 1
                if journals == 3:  # STAGING, PREPARED, COMMITTED
                    handle.write(b"# too late\n")

        result = case.perform(Files(observe=observe))
    assert isinstance(result, Restored)
    assert result.applied
    assert judge(case, "late write")
    assert rescued(case.world)["guard.py"].endswith(b"# too late\n")


@pytest.mark.case(30)
def test_a_late_write_is_rescued_by_recovery_from_another_project(case: Case) -> None:
    """The process died after its commit; the next one sits in another project and has only the journal to go by."""
    world = case.world
    other = world.root / "other"
    other.mkdir()
    commits = [number for number, (call, path) in enumerate(case.calls, 1) if call == "rename" and "journal" in path]
    path = guard_of(world)
    with path.open("ab", buffering=0) as handle:
        with pytest.raises(CrashedError):
            case.perform(Files(observe=CrashAt(commits[2] + 2)))
        handle.write(b"# too late\n")
    assert world.resume(project=other).recovered
    assert judge(case, "recovered elsewhere")
    assert rescued(world)["guard.py"].endswith(b"# too late\n")


@pytest.mark.case(10)
@pytest.mark.parametrize("at", range(1, 60, 4))
def test_a_full_store_loses_no_late_write(case: Case, at: int) -> None:
    """The rescue fails too: the slot stays until it can be saved."""
    world = case.world
    commits = [number for number, (call, path) in enumerate(case.calls, 1) if call == "rename" and "journal" in path]
    with guard_of(world).open("ab", buffering=0) as handle:
        with pytest.raises(CrashedError):
            case.perform(Files(observe=CrashAt(commits[2] + 2)))
        handle.write(b"# too late\n")
    observer = FailAt(at, 28, persistent=True)
    try:
        world.resume(Files(observe=observer))
        assert at > 20
    except RollbackError:
        world.resume()
    judge(case, at)
    assert rescued(world)["guard.py"].endswith(b"# too late\n")


@pytest.mark.case(21)
def test_a_file_in_the_place_of_a_creation_is_kept(case: Case) -> None:
    """Somebody makes the local settings just before we would."""
    path = case.world.project / ".claude" / "settings.local.json"
    observe = at_first("renameat2", lambda: path.write_text("theirs\n", encoding="utf-8"), "settings.local.json")
    with pytest.raises(RollbackError):
        case.perform(Files(observe=observe))
    live = case.world.fingerprint()
    assert path.read_text(encoding="utf-8") == "theirs\n"
    del live[str(path)]
    assert live == case.old


@pytest.mark.case(21)
def test_something_in_the_two_rename_gap_is_kept(case: Case) -> None:
    """Without exchange the name is free for a moment; both trees and the stranger are kept, and said."""
    world = case.world
    hooks = world.home / ".claude" / "hooks"

    def observe(operation: str, touched: str) -> None:
        if operation == "renameat2" and touched == str(hooks):
            hooks.mkdir()

    files = NoExchange(observe=observe)
    with pytest.raises(RollbackError) as caught:
        case.perform(files)
    assert files.downgrades > 0
    assert caught.value.code is Code.NEEDS_ATTENTION
    assert ".stravinsky-" in caught.value.message
    assert (world.store / "recovery" / "RECOVERY.md").exists()
    hooks.rmdir()
    world.resume(NoExchange())
    assert not judge(case, "gap")


def test_a_link_that_moves_meanwhile_is_noticed(world: World) -> None:
    """The person's dotfile link is set elsewhere between planning and exchange: nothing is written."""
    case = prepare(world, "rich rollback")
    world.reset()
    link = world.home / ".claude" / "settings.json"

    def move() -> None:
        link.unlink()
        build(world.home, {"other": {"settings.json": "{}\n"}})
        link.symlink_to("../other/settings.json")

    with pytest.raises(RollbackError) as caught:
        case.perform(Files(observe=at_first("renameat2", move)))
    assert caught.value.code is Code.STATE_CHANGED
    live = world.fingerprint()
    for path in (str(link), str(world.home / "other"), str(world.home / "other" / "settings.json")):
        live.pop(path)
    assert live == {path: entry for path, entry in case.old.items() if path != str(link)}


# -- links ----------------------------------------------------------------------------------------------------------


@pytest.mark.case(25)
def test_dotfile_links_stay_links(world: World) -> None:
    """File, folder and whole ~/.claude may be links of a dotfile manager; the real places change."""
    plant(
        world,
        {
            "home": {
                ".claude": Link("dotfiles/claude"),
                "dotfiles": {
                    "claude": {"settings.json": Link("../files/s.json"), "hooks": Link("../files/hooks")},
                    "files": {"s.json": "{}\n", "hooks": {"guard.py": guard("one")}},
                },
            }
        },
    )
    before = world.fingerprint()
    world.run(world.service().create_backup(PERSON, version="v1"))
    files = world.home / "dotfiles" / "files"
    (files / "s.json").write_text(SETTINGS_TWO, encoding="utf-8")
    (files / "hooks" / "guard.py").write_text("two\n", encoding="utf-8")
    perform(world, "rollback")
    assert world.fingerprint() == before
    assert (world.home / ".claude").is_symlink()


@pytest.mark.parametrize("name", ["hooks", "settings.json"])
def test_a_project_link_that_leads_outside_is_refused(world: World, name: str) -> None:
    """A repository must not point us at other files: what lies there is neither backed up nor replaced."""
    outside = world.root / "outside"
    build(outside, {"hooks": {"a": "a\n"}, "settings.json": "{}\n"})
    plant(world, {"home": {".claude": {}}, "project": {".claude": {name: Link(str(outside / name))}}})
    before = world.fingerprint(), snapshot(outside)
    made = world.run(world.service().create_backup(PERSON, version="v1"))
    assert any("leads outside the project" in line for line in made.warnings)
    assert not world.run(world.service().rollback_to(PERSON, version="v1", consent=Consent())).applied
    only = (f".claude/{name}",)
    with pytest.raises(RollbackError):
        world.run(world.service().rollback_to(PERSON, version="v1", only=only, consent=Consent()))
    assert (world.fingerprint(), snapshot(outside)) == before


@pytest.mark.case(27)
def test_a_target_that_lies_in_another_is_refused(world: World) -> None:
    """Swapping one would move the other."""
    plant(
        world,
        {
            "home": {
                ".claude": {"hooks": Link("../dotfiles/hooks"), "commands": Link("../dotfiles/hooks/lib")},
                "dotfiles": {"hooks": {"guard.py": guard("one"), "lib": {"x.md": "x\n"}}},
            }
        },
    )
    world.run(world.service().create_backup(PERSON, version="v1"))
    (world.home / "dotfiles" / "hooks" / "lib" / "x.md").write_text("two\n", encoding="utf-8")
    before = world.fingerprint()
    with pytest.raises(RollbackError) as caught:
        perform(world, "rollback")
    assert caught.value.code is Code.UNSAFE_PATH
    assert world.fingerprint() == before


# -- folders that were made, and the state of the file layer ---------------------------------------------------------


def test_a_folder_that_was_made_for_nothing_goes_again(world: World) -> None:
    """The whole .claude was deleted; bringing it back fails at the commit, and no empty folder stays."""
    case = prepare(world, "rollback that brings all back")
    commit = [number for number, (call, path) in enumerate(case.calls, 1) if call == "rename" and "journal" in path][2]
    world.reset()
    with pytest.raises(RollbackError):
        case.perform(Files(observe=FailAt(commit, 5)))
    assert world.fingerprint() == case.old
    assert not (world.home / ".claude").exists()


def test_a_folder_that_was_made_keeps_what_somebody_put_into_it(world: World) -> None:
    """The same, but Claude Code wrote into the new folder meanwhile."""
    case = prepare(world, "rollback that brings all back")
    world.reset()
    theirs = world.home / ".claude" / "history.jsonl"
    act = lambda: theirs.write_text("{}\n", encoding="utf-8")  # noqa: E731
    first = next(number for number, (call, _) in enumerate(case.calls, 1) if call == "renameat2")
    fail, write = FailAt(first + 1, 5), at_first("renameat2", act)

    def observe(operation: str, path: str) -> None:
        write(operation, path)
        fail(operation, path)

    with pytest.raises(RollbackError):
        case.perform(Files(observe=observe))
    assert fail.fired
    assert os.listdir(world.home / ".claude") == ["history.jsonl"]
    assert theirs.read_text(encoding="utf-8") == "{}\n"


def test_the_process_that_failed_can_go_on(case: Case) -> None:
    """After an operation that could not be taken back the same process recovers and works (phases are not stale)."""
    world = case.world
    first = next(number for number, (call, _) in enumerate(case.calls, 1) if call == "renameat2")
    observer = FailAt(first + 1, 5, persistent=True)
    files = Files(observe=observer)
    service = world.service(files)
    request = lambda: service.rollback_to(PERSON, version="v1", consent=case.consent)  # noqa: E731
    with pytest.raises(RollbackError) as caught:
        world.run(request())
    assert caught.value.code is Code.NEEDS_ATTENTION
    assert files.phase == "PREPARED"
    observer.left = 1 << 60  # the disk is healthy again
    assert world.run(request()).applied
    assert files.phase is None
    assert judge(case, "went on")


def test_a_recovery_by_somebody_else_leaves_no_stale_phase(case: Case) -> None:
    """Another process ended it: this one may change nothing live without a new journal."""
    world = case.world
    first = next(number for number, (call, _) in enumerate(case.calls, 1) if call == "renameat2")
    observer = FailAt(first + 1, 5, persistent=True)
    files = Files(observe=observer)
    service = world.service(files)
    with pytest.raises(RollbackError):
        world.run(service.rollback_to(PERSON, version="v1", consent=case.consent))
    world.resume()
    observer.left = 1 << 60
    assert not world.run(service.resume(PERSON)).recovered
    assert files.phase is None


@pytest.mark.case(19)
def test_two_renames_are_reported(case: Case) -> None:
    """Where exchange is not offered the result says so, target by target."""
    files = NoExchange()
    result = case.perform(files)
    assert isinstance(result, Restored)
    assert files.downgrades == 2
    found = {change.path: change.atomicity for change in result.changes if change.action == "replace"}
    assert set(found.values()) == {"two_renames"}
    assert judge(case, "two renames")
    case.world.reset()
    result = case.perform(Files())
    assert isinstance(result, Restored)
    assert {change.atomicity for change in result.changes if change.action != "none"} == {"exchange"}
