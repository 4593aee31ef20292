"""A project that moved is taken over: its backups, its history and its undo belong to its new path."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

import pytest
from support.config import realistic
from support.crash import PERSON, CrashAt, CrashedError, World
from support.tree import Snapshot, snapshot

from stravinsky_rollback_mcp.core.model import EventType
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit_rotation import Rotation
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent, RollbackService

YES = Consent(is_given=True)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A project with backups v1 and v2, between which one of its hooks was edited."""
    memory = "/dev/shm"
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        made = World(Path(folder))
        realistic(made.home, made.project)
        made.run(made.service().create_backup(PERSON, version="v1"))
        hook(made.project).write_text("# second\n", encoding="utf-8")
        made.run(made.service().create_backup(PERSON, version="v2"))
        yield made
        made.close()


def hook(project: Path) -> Path:
    """The hook of a project that these tests edit."""
    return project / ".claude" / "hooks" / "format.py"


def move(world: World, name: str) -> Path:
    """Move the project to another name, as a person does; where it is now."""
    new = world.project.parent / name
    world.project.rename(new)
    world.project = new
    return new


def adopt(world: World, old: Path | str, files: Files | None = None, *, yes: bool = False) -> tuple[str, ...]:
    """Take over what is recorded of a path; the versions that were."""
    return world.run(world.service(files).adopt(PERSON, old_path=str(old), is_agreed=yes)).versions


def listed(world: World, project: Path | None = None) -> list[str]:
    """The backups of a project, newest first."""
    return [item.version for item in world.run(world.service(project=project).list_backups(PERSON)).backups]


def stored(world: World) -> Snapshot:
    """All backups, byte for byte."""
    return snapshot(world.store / "backups")


def refused(world: World, old: Path | str) -> RollbackError:
    """The refusal of an adoption that leaves everything as it was, and is recorded."""
    before = world.fingerprint(), stored(world)
    with pytest.raises(RollbackError) as refusal:
        adopt(world, old)
    assert (world.fingerprint(), stored(world)) == before
    assert world.records()[-1].draft.error == refusal.value.code
    return refusal.value


def test_what_was_of_the_old_path_is_of_the_new_one(world: World) -> None:
    """List, show, compare, undo, redo and rollback go on as if the project had always lain there."""
    old, second = world.project, snapshot(world.project)
    backups = stored(world)
    new = move(world, "moved")
    nothing = world.run(world.service().list_backups(PERSON))
    assert (nothing.backups, "`stravinsky-rollback adopt OLDPATH`" in nothing.summary) == ((), True)
    plan = world.run(world.service().adopt(PERSON, old_path=str(old), dry_run=True))
    assert (plan.applied, plan.versions, listed(world)) == (False, ("v2", "v1"), [])
    assert adopt(world, old) == ("v2", "v1")
    assert stored(world) == backups
    service = world.service()
    assert [item.project for item in world.run(service.list_backups(PERSON)).backups] == [str(new)] * 2
    assert world.run(service.status(PERSON)).current.version == "v2"
    shown = world.run(service.show_backup(PERSON, version="v1")).backups[0]
    assert shown.targets is not None
    assert str(old) not in " ".join(target.path for target in shown.targets)
    compared = world.run(service.compare(PERSON, version="v1"))
    assert [change.modified for change in compared.changes] == [("format.py",)]
    undone = world.run(service.undo(PERSON, consent=YES))
    assert "# second" not in hook(new).read_text(encoding="utf-8")
    assert undone.to_version == "v1"
    world.run(service.redo(PERSON, consent=YES))
    assert snapshot(new) == second
    hook(new).unlink()
    world.run(service.rollback_to(PERSON, version="v1", consent=YES))
    world.run(service.undo(PERSON, consent=YES))
    assert not hook(new).exists()
    assert world.run(service.verify_audit(PERSON)).chain.intact
    adopted = [record.draft for record in world.records() if record.draft.event_type is EventType.ADOPTED]
    assert [(draft.project, draft.paths) for draft in adopted] == [(str(new), (str(old),))]


def test_a_session_that_came_first_is_joined_with_what_was_before(world: World) -> None:
    """The automatic backup at the new path is one more known state; undo goes past it."""
    old = world.project
    new = move(world, "moved")
    hook(new).write_text("# third\n", encoding="utf-8")
    assert world.run(world.service().protect(PERSON))
    adopt(world, old)
    service = world.service()
    for expected in ("# second\n", None):
        world.run(service.undo(PERSON, consent=YES))
        assert expected in (None, hook(new).read_text(encoding="utf-8"))
    assert world.run(service.status(PERSON)).current.version == "v1"


def test_a_project_may_move_twice_and_back(world: World) -> None:
    """Adoptions chain; each old path says who has its backups, and a move back needs no more than another one."""
    first = world.project
    second = move(world, "second")
    adopt(world, first)
    third = move(world, "third")
    gone = refused(world, first)
    assert gone.code is Code.ALREADY_EXISTS
    assert f"adopt {second}" in gone.hint
    assert adopt(world, second) == ("v2", "v1")
    assert refused(world, second).code is Code.ALREADY_EXISTS
    move(world, first.name)
    assert adopt(world, third) == ("v2", "v1")
    world.run(world.service().undo(PERSON, consent=YES))
    assert world.run(world.service().status(PERSON)).current.version == "v1"


def test_a_copy_asks_and_each_goes_its_own_way_from_then_on(world: World) -> None:
    """``confirm_required`` while the old place is a project; what is recorded of it afterwards is its own."""
    old = world.project
    world.project = old.parent / "copy"
    copytree(old, world.project, symlinks=True)
    assert refused(world, old).code is Code.CONFIRM_REQUIRED
    assert adopt(world, old, yes=True) == ("v2", "v1")
    hook(old).write_text("# of the old one\n", encoding="utf-8")
    world.run(world.service(project=old).create_backup(PERSON, version="v3"))
    assert (listed(world), listed(world, old)) == (["v2", "v1"], ["v3"])
    world.run(world.service().undo(PERSON, consent=YES))
    assert hook(old).read_text(encoding="utf-8") == "# of the old one\n"
    assert hook(world.project).read_text(encoding="utf-8") != "# second\n"


def test_a_link_left_at_the_old_path_does_not_ask(world: World) -> None:
    """It leads to this very project."""
    old = world.project
    new = move(world, "moved")
    old.symlink_to(new)
    assert adopt(world, old) == ("v2", "v1")


def test_wrong_paths_are_refused_with_what_there_is(world: World) -> None:
    """Unknown, misspelt, the project's own; and a view without a project."""
    old = world.project
    assert refused(world, "/no/such/place").code is Code.NOT_FOUND
    assert refused(world, f"{old}/.").code is Code.INVALID_ARGUMENT
    move(world, "moved")
    misspelt = refused(world, f"{old}t")
    assert (misspelt.code, str(old) in misspelt.hint) == (Code.NOT_FOUND, True)
    elsewhere = refused(world, f"/elsewhere/{old.name}")
    assert str(old) in elsewhere.hint
    with pytest.raises(RollbackError) as mismatch:
        world.run(world.service().rollback_to(PERSON, version="v1", consent=YES))
    assert mismatch.value.code is Code.SCOPE_MISMATCH
    assert f"`stravinsky-rollback adopt {old}`" in mismatch.value.hint
    world.project = world.home
    assert refused(world, old).code is Code.INVALID_ARGUMENT


def test_rotation_carries_adoptions(world: World) -> None:
    """A log that was put away takes the knowledge along, twice, and the chain stays whole."""
    old = world.project
    move(world, "moved")
    adopt(world, old)
    for _ in range(2):
        service = world.service()
        service._desk.audit._rotation = Rotation(size_bytes=1, days=10**6, retention_days=10**6)
        assert not world.run(service.create_backup(PERSON, note="once more")).created
    assert len(list((world.store / "audit" / "archive").iterdir())) >= 2
    assert listed(world) == ["v2", "v1"]
    world.run(world.service().undo(PERSON, consent=YES))
    assert world.run(world.service().status(PERSON)).current.version == "v1"
    assert world.run(world.service().verify_audit(PERSON)).chain.intact


def test_an_update_that_was_open_moves_along(world: World) -> None:
    """It is ended at the new path, against the backup that was made at the old one."""
    old, before = world.project, snapshot(world.project)
    world.run(world.service().begin_update(PERSON, version="v3", version_file="VERSION"))
    hook(old).write_text("# installed\n", encoding="utf-8")
    new = move(world, "moved")
    adopt(world, old)
    assert any("The update v3" in notice for notice in world.run(world.service().status(PERSON)).notices)
    ended = world.run(world.service().finish_update(PERSON, success=False, error="moved away"))
    assert ended.outcome == "rolled_back"
    assert snapshot(new) == before


@pytest.mark.parametrize(
    "stride", [pytest.param(1, marks=pytest.mark.long, id="everywhere"), pytest.param(4, id="every fourth call")]
)
def test_wherever_it_is_killed_it_can_be_repeated(world: World, stride: int) -> None:
    """A stop before its writes: afterwards it is done, or doing it again does it."""
    old = world.project
    world.run(world.service().begin_update(PERSON, version="v3"))
    move(world, "moved")
    world.save()
    tried = 0
    while True:
        world.reset()
        crash = CrashAt(1 + tried * stride)
        service: RollbackService = world.service(Files(crash))
        try:
            world.run(service.adopt(PERSON, old_path=str(old)))
        except CrashedError:
            tried += 1
            with suppress(RollbackError):  # it was done
                adopt(world, old)
            service = world.service()
            assert world.run(service.list_backups(PERSON)).backups[-1].version == "v1"
            update = world.run(service.status(PERSON)).update
            assert update is not None
            assert update.version == "v3"
            continue
        break
    assert tried > 20 // stride
