"""Room is looked for before anything is begun, and what one more backup would push out is told beforehand."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.crash import PERSON, World
from support.tree import build, snapshot

from stravinsky_rollback_mcp.config import load
from stravinsky_rollback_mcp.core.model import Actor, EventType, MadeBy
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Caller, Consent, RollbackService

TOOL = Caller(actor=Actor(kind="mcp_client", name="test"), made_by=MadeBy.TOOL)
NO_DISK = {"STRAVINSKY_SAFETY_DISK_SPACE_THRESHOLD_MB": "999999999"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A home with one hook."""
    made = World(tmp_path)
    build(made.home, {".claude": {"hooks": {"a.sh": "1\n"}}})
    yield made
    made.close()


def service(world: World, **variables: str) -> RollbackService:
    """The service as a process with these variables has it."""
    return RollbackService(load({"HOME": str(world.home), **variables}, for_terminal=True, project=str(world.project)))


def edit(world: World, content: str) -> None:
    """A new state."""
    (world.home / ".claude/hooks/a.sh").write_text(content, encoding="utf-8")


def test_without_room_no_backup_begins(world: World) -> None:
    """Design, ``disk_space`` blocks backup and rollback: refused before a byte is written or a record says so."""
    world.run(service(world).create_backup(PERSON, version="v1"))
    edit(world, "2\n")
    before = snapshot(world.store / "backups")
    full = service(world, **NO_DISK)
    calls: tuple[Callable[[], object], ...] = (
        lambda: world.run(full.create_backup(TOOL)),
        lambda: world.run(full.create_backup(PERSON, version="v2")),
        lambda: world.run(full.rollback_to(PERSON, version="v1", consent=Consent(is_given=True))),
    )
    for call in calls:
        with pytest.raises(RollbackError) as refused:
            call()
        assert refused.value.code is Code.NO_SPACE
        assert "disk_space_threshold_mb" in refused.value.hint
    assert snapshot(world.store / "backups") == before
    kinds = [record.draft.event_type for record in world.records()]
    assert kinds == [EventType.BACKUP_CREATED, *[EventType.REFUSED] * 3]


def test_what_the_newest_backup_held_counts_twice(world: World) -> None:
    """Beside the margin of 999999999 MB, twice the three that it held are wanted."""
    (world.home / ".claude/hooks/large.bin").write_bytes(bytes((3 << 20) - 2))  # two bytes are in a.sh
    world.run(service(world).create_backup(PERSON, version="v1"))
    with pytest.raises(RollbackError) as refused:
        world.run(service(world, **NO_DISK).create_backup(PERSON, version="v2"))
    assert " 1000000005 MB are wanted" in refused.value.message


def capacity(world: World, caller: Caller = PERSON, **variables: str) -> list[tuple[str, str]]:
    """What ``check_config`` says of the room in the store."""
    found = world.run(service(world, **variables).check_config(caller)).findings
    return [(str(item.severity), item.message) for item in found if item.check == "backup_capacity"]


def test_what_one_more_backup_would_push_out_is_told_as_it_would_happen(world: World) -> None:
    """Pinned ones are beside the limit, what undo may ask for stays, and tools push out nothing that a person made."""
    two = "2"
    for version in ("v1", "v2", "v3"):
        world.run(service(world).create_backup(PERSON, version=version))
    assert capacity(world) == []
    ((severity, message),) = capacity(world, STRAVINSKY_BACKUP_MAX_VERSIONS=two)
    assert (severity, message) == ("info", "the next backup makes 2 older ones go.")
    ((severity, message),) = capacity(world, TOOL, STRAVINSKY_BACKUP_MAX_VERSIONS=two)
    assert (severity, "backup.max_versions is reached" in message) == ("error", True)
    for version in ("v1", "v2", "v3"):
        world.run(service(world).pin(PERSON, version=version))
    assert capacity(world, TOOL, STRAVINSKY_BACKUP_MAX_VERSIONS=two) == []
    for version in ("v1", "v2", "v3"):
        world.run(service(world).unpin(PERSON, version=version))
    for number in range(3):
        edit(world, f"state {number}\n")
        world.run(service(world).create_backup(PERSON, version=f"state-{number}"))
    assert capacity(world, STRAVINSKY_BACKUP_MAX_VERSIONS=two) == [("info", "the next backup makes 2 older ones go.")]
