"""The journal on disk: a record that cannot be obeyed stops everything, and nothing is touched."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.crash import PERSON, Case, CrashAt, CrashedError, World, prepare

from stravinsky_rollback_mcp.core.codec.journal import Phase, Retirement
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.journal import JournalFile
from stravinsky_rollback_mcp.disk.retire import retire
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A home and a project with a store."""
    made = World(tmp_path / "w")
    yield made
    made.close()


def half_done(world: World) -> Case:
    """A rollback of which some targets are exchanged and some are not, when its process died."""
    case = prepare(world, "rollback")
    first = next(number for number, (call, _) in enumerate(case.calls, 1) if call == "renameat2")
    world.reset()
    with pytest.raises(CrashedError):
        case.perform(Files(observe=CrashAt(first + 2)))
    return case


def newer(content: bytes) -> bytes:
    """The same record as a later program would write it."""
    return json.dumps({**json.loads(content), "format": 99}).encode()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "torn": lambda content: content[:-100],
    "empty": lambda _: b"",
    "edited": lambda content: content.replace(b"PREPARED", b"ABORTED "),
    "another phase": lambda content: content.replace(b"PREPARED", b"COMMITTED"),
    "a flipped bit": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "newer": newer,
    "zeros": lambda _: b"\0" * 4096,
    "twice": lambda content: content * 2,
}


@pytest.mark.case(32)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_journal_stops_everything(world: World, damage: Callable[[bytes], bytes]) -> None:
    """Change nothing, refuse every mutation, say where to look; readers go on."""
    half_done(world)
    path = world.store / "recovery" / "journal.json"
    path.write_bytes(damage(path.read_bytes()))
    before, record = world.fingerprint(), path.read_bytes()
    service = world.service()
    for request in (
        lambda: service.resume(PERSON),
        lambda: service.create_backup(PERSON, version="v2"),
        lambda: service.rollback_to(PERSON, version="v1", consent=Consent()),
        lambda: service.undo(PERSON, consent=Consent()),
    ):
        with pytest.raises(RollbackError) as caught:
            world.run(request())
        assert caught.value.code is Code.NEEDS_ATTENTION
    assert (world.fingerprint(), path.read_bytes()) == (before, record)
    assert any(".stravinsky-" in name for name in before)
    world.run(service.verify_backups(PERSON))


@pytest.mark.parametrize("kind", ["folder", "link", "fifo", "huge"])
def test_something_else_in_its_place_stops_everything_too(world: World, kind: str) -> None:
    """What is there and no record of ours may hide one; a FIFO must not make us wait."""
    half_done(world)
    path = world.store / "recovery" / "journal.json"
    content = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        (world.root / "elsewhere.json").write_bytes(content)
        path.symlink_to(world.root / "elsewhere.json")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    before = world.fingerprint()
    with pytest.raises(RollbackError) as caught:
        world.resume()
    assert caught.value.code is Code.NEEDS_ATTENTION
    assert world.fingerprint() == before


def test_the_way_out_that_the_refusal_names_works(world: World) -> None:
    """The record put back as it was, the next recovery ends the operation."""
    case = half_done(world)
    path = world.store / "recovery" / "journal.json"
    content = path.read_bytes()
    path.write_bytes(content[:50])
    with pytest.raises(RollbackError):
        world.resume()
    path.write_bytes(content)
    assert world.resume().recovered
    assert world.fingerprint() == case.old


def test_half_written_records_are_swept(world: World) -> None:
    """A kill before the rename leaves a temporary file, which means nothing (fault cases, 3.1, first row)."""
    prepare(world, "rollback")
    world.reset()
    (world.store / "recovery" / "journal.json.0a0b0c0d.tmp").write_bytes(b"{")
    (world.store / "recovery" / "RECOVERY.md").write_bytes(b"of another time")
    assert not world.resume().recovered
    assert os.listdir(world.store / "recovery") == []


def test_the_record_stays_as_long_as_a_slot_does(world: World) -> None:
    """Out of order: without its record a slot would be nobody's, and never be deleted or brought back."""
    case = half_done(world)
    files = Files()
    journal = JournalFile(str(world.store / "recovery"), files)
    record = journal.read()
    assert record is not None
    with pytest.raises(RollbackError) as caught:
        journal.remove(record)
    assert caught.value.code is Code.INTERNAL
    assert journal.read() == record
    assert world.resume().recovered
    assert world.fingerprint() == case.old


@pytest.mark.parametrize("phase", [None, Phase.STAGING, Phase.PREPARED, Phase.ABORTED])
def test_nothing_retires_before_the_commit(world: World, phase: Phase | None) -> None:
    """Out of order: a script would go while the settings that name it may come back."""
    half_done(world)
    record = JournalFile(str(world.store / "recovery"), Files()).read()
    assert record is not None
    files = Files()
    files.phase = phase
    before = world.fingerprint()
    target = replace(record.targets[0], retired=(Retirement(path="guard.py", sha256="", folder_mtime_ns=None),))
    with pytest.raises(RollbackError) as caught:
        retire(target, files)
    assert caught.value.code is Code.INTERNAL
    assert (world.fingerprint(), files.operations) == (before, 0)


@pytest.mark.case(32)
def test_a_damaged_record_that_waits_for_a_person_stops_everything_too(world: World) -> None:
    """Nobody knows which targets it is about: nothing is changed, and the trees that were found are named."""
    half_done(world)
    recovery = world.store / "recovery"
    (recovery / "journal.json").rename(recovery / "parked-0a0b0c0d.json")
    (recovery / "parked-0a0b0c0d.json").write_bytes(b"{}")
    before = world.fingerprint()
    with pytest.raises(RollbackError) as caught:
        world.run(world.service().create_backup(PERSON, version="v2"))
    assert caught.value.code is Code.NEEDS_ATTENTION
    slots = [path for path in before if os.path.basename(path).startswith(".stravinsky-")]
    assert slots
    assert all(slot.replace(str(world.home), "~") in caught.value.message for slot in slots)
    assert world.fingerprint() == before
    assert world.run(world.service().list_backups(PERSON)).total > 0
