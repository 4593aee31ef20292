"""When the audit cannot be written, or not be believed: what a person at the terminal can still do."""

import errno
import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from shutil import rmtree

import pytest
from support.crash import PERSON, CrashAt, CrashedError, World, change_small, small

from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.model import BackupStatus, EventStatus, EventType
from stravinsky_rollback_mcp.core.outcome import Restored
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit import AuditLog
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent, RollbackService


@pytest.fixture
def world(world: World) -> World:
    """A configuration with two backups and edits after each, in memory where that is possible."""
    small(world)
    world.run(world.service().create_backup(PERSON, version="v1"))
    change_small(world)
    world.run(world.service().create_backup(PERSON, version="v2"))
    return world


def rollback(world: World, version: str, service: RollbackService | None = None) -> Restored:
    """Go back, whatever gets less safe."""
    plan = world.run(world.service().rollback_to(PERSON, version=version, consent=Consent(dry_run=True)))
    consent = Consent(accept=plan.security_changes)
    return world.run((service or world.service()).rollback_to(PERSON, version=version, consent=consent))


def code_of(world: World, version: str) -> str:
    """The code with which going back is refused."""
    with pytest.raises(RollbackError) as caught:
        world.run(world.service().rollback_to(PERSON, version=version, consent=Consent()))
    return caught.value.code


def spoil(world: World, seq: int) -> bytes:
    """Edit one record; the whole log as it then is."""
    path = world.store / "audit" / "operations.log"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[seq - 1] = lines[seq - 1].replace(b'"kind":"terminal"', b'"kind":"somebody"')
    path.write_bytes(b"".join(lines))
    return path.read_bytes()


# -- not to be believed ---------------------------------------------------------------------------------------------


def test_a_broken_log_is_put_aside_and_a_new_one_vouches_from_now_on(world: World) -> None:
    """What came before the break is still vouched for; the rest is believed on its own word, and that is on record."""
    broken = spoil(world, 2)
    assert code_of(world, "v1") == Code.AUDIT_BROKEN
    begun = world.run(world.service().begin_audit_anew(PERSON))
    assert (begun.begun, begun.adopted) == (True, ("v2",))
    assert "No chain vouches" in begun.notices[0]
    assert begun.kept_in is not None
    kept = Path(begun.kept_in.replace("~", str(world.home), 1))
    assert (kept / "operations.log").read_bytes() == broken
    opening, adopted = world.records()
    assert opening.draft.event_type is EventType.LOG_OPENED
    assert opening.draft.details is not None
    assert opening.draft.details["unanchored"] is True
    assert opening.draft.details["first_bad_seq"] == 2
    assert opening.seq > len(broken.splitlines())
    assert adopted.draft.details is not None
    assert adopted.draft.details["unanchored"] is True
    listed = world.run(world.service().list_backups(PERSON)).backups
    assert {backup.version: backup.status for backup in listed} == dict.fromkeys(("v1", "v2"), BackupStatus.INTACT)
    assert rollback(world, "v1").applied
    assert world.run(world.service().undo(PERSON, consent=Consent())).applied
    assert rollback(world, "v1").applied
    assert world.run(world.service().verify_audit(PERSON)).chain.intact


def test_a_lost_audit_is_begun_anew_from_what_the_backups_say(world: World) -> None:
    """With the folder gone nothing is vouched for; what reads back whole can be restored, once a person agreed."""
    rmtree(world.store / "audit")
    assert code_of(world, "v1") == Code.AUDIT_MISSING
    begun = world.run(world.service().begin_audit_anew(PERSON))
    assert begun.adopted == ("v1", "v2")
    done = rollback(world, "v1")
    assert done.applied
    assert any("No chain vouches for what backup v1 held" in warning for warning in done.warnings)
    assert not world.run(world.service().begin_audit_anew(PERSON)).begun


def test_what_contradicts_the_sound_part_or_itself_is_not_taken_over(world: World) -> None:
    """A manifest that the chain knows otherwise is forged; an archive that is not its manifest's is damaged."""
    spoil(world, 2)
    manifest = world.store / "backups" / "v1" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"note": ""', b'"note": "trust me"'))
    archive = next((world.store / "backups" / "v2").glob("*.tar.gz"))
    content = archive.read_bytes()
    archive.unlink()
    archive.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    begun = world.run(world.service().begin_audit_anew(PERSON))
    assert begun.adopted == ()
    assert len(begun.notices) == 2
    with pytest.raises(RollbackError) as caught:
        world.run(world.service().rollback_to(PERSON, version="v1", consent=Consent()))
    assert caught.value.code is Code.MANIFEST_FORGED


@pytest.mark.parametrize(
    "wrong", ["a record", *(pytest.param(other, marks=pytest.mark.long) for other in ("the log", "the head", "a link"))]
)
def test_beginning_anew_may_stop_anywhere(world: World, wrong: str) -> None:
    """The break can be found until the new log is there, no byte of the old one is lost, and it may be repeated."""
    log = world.store / "audit" / "operations.log"
    old = log.read_bytes()
    if wrong == "a record":
        old = spoil(world, 2)
    elif wrong == "the log":
        log.unlink()
    elif wrong == "the head":
        (world.store / "audit" / "head.json").write_bytes(b"{}")
    else:
        log.rename(world.home / "elsewhere")
        log.symlink_to(world.home / "elsewhere")
    world.save()
    states = 0
    for at in count(1):
        world.reset()
        observer = CrashAt(at)
        with suppress(CrashedError):
            world.run(world.service(Files(observer)).begin_audit_anew(PERSON))
        found = AuditLog(str(world.store / "audit"), Files()).verify(complete=True)
        if not found.intact or not log.exists():
            assert code_of(world, "v1").startswith("audit_"), at
            world.run(world.service().begin_audit_anew(PERSON))
        if wrong in ("a record", "the head"):
            kept = [path.read_bytes() for path in (world.store / "audit").rglob("operations.log")]
            assert old in kept, at
        assert rollback(world, "v1").applied
        assert world.run(world.service().verify_audit(PERSON)).chain.intact
        states += 1
        if not observer.fired:
            break
    assert states > 8


# -- not to be written ----------------------------------------------------------------------------------------------


class UnwritableAudit:
    """A disk that takes no byte below ``audit/``."""

    def __init__(self) -> None:
        self.refused = 0

    def __call__(self, _operation: str, path: str) -> None:
        """Refuse what touches the audit."""
        if "/audit/" in path:
            self.refused += 1
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_person_may_go_on_without_the_audit_and_it_hears_of_it_later(world: World) -> None:
    """Refused at first; then done, undone even, with everything waiting; the next writer hands it all over."""
    disk = UnwritableAudit()
    (world.project / ".claude" / "settings.json").write_text('{"model": "haiku"}\n', encoding="utf-8")
    before = len(world.records())
    with pytest.raises(RollbackError) as caught:
        rollback(world, "v1", world.service(Files(disk)))
    assert caught.value.code is Code.AUDIT_UNWRITABLE
    service = RollbackService(world.config(), Files(disk), without_audit=True)
    done = rollback(world, "v1", service)
    assert done.applied
    assert done.safety_backup is not None
    assert any("unaudited.jsonl" in notice for notice in done.notices)
    assert disk.refused
    assert len(world.records()) == before
    again = RollbackService(world.config(), Files(disk), without_audit=True)
    assert world.run(again.undo(PERSON, consent=Consent(accept=done.security_changes))).applied
    assert (world.project / ".claude" / "settings.json").read_text(encoding="utf-8") == '{"model": "haiku"}\n'
    made = world.run(world.service().create_backup(PERSON, version="v3"))
    assert any("took over" in notice for notice in made.notices)
    assert not (world.store / "recovery" / "unaudited.jsonl").exists()
    taken = world.records()[before:]
    outcomes = [
        (record.draft.event_type, record.draft.status)
        for record in taken
        if record.draft.event_type in (EventType.MANUAL_ROLLBACK, EventType.UNDO)
    ]
    assert outcomes == [
        (event_type, status)
        for event_type in (EventType.MANUAL_ROLLBACK, EventType.UNDO)
        for status in (EventStatus.STARTED, EventStatus.SUCCESS)
    ]
    assert all("unaudited_since" in (record.draft.details or {}) for record in taken[: len(outcomes)])
    assert world.run(world.service().verify_audit(PERSON)).chain.intact
    listed = {one.version: one.status for one in world.run(world.service().list_backups(PERSON)).backups}
    assert listed[done.safety_backup] is BackupStatus.INTACT


def test_a_broken_chain_is_no_reason_to_go_on_without(world: World) -> None:
    """`--without-audit` is for a disk that is full or read-only; who broke the chain may have forged the backups."""
    spoil(world, 2)
    service = RollbackService(world.config(), without_audit=True)
    with pytest.raises(RollbackError) as caught:
        rollback(world, "v1", service)
    assert caught.value.code is Code.AUDIT_BROKEN


def test_what_waits_is_lost_neither_by_a_stop_nor_by_damage(world: World) -> None:
    """Each record is handed over once, or at most one of them twice; a damaged file is shown to a person."""
    rollback(world, "v1", RollbackService(world.config(), Files(UnwritableAudit()), without_audit=True))
    waiting = (world.store / "recovery" / "unaudited.jsonl").read_bytes().splitlines()
    world.save()
    for at in count(1):
        world.reset()
        observer = CrashAt(at)
        with suppress(CrashedError):
            world.run(world.service(Files(observer)).resume(PERSON))
        world.run(world.service().resume(PERSON))
        ids = [record.event_id for record in world.records()]
        wanted = [chain.decode_line(line).event_id for line in waiting]
        assert set(wanted) <= set(ids), at
        assert len(ids) - len(set(ids)) <= 1, at
        assert world.run(world.service().verify_audit(PERSON)).chain.intact
        if not observer.fired:
            break
    world.reset()
    (world.store / "recovery" / "unaudited.jsonl").write_bytes(waiting[0][:-9])
    with pytest.raises(RollbackError) as caught:
        world.run(world.service().create_backup(PERSON, version="v3"))
    assert caught.value.code is Code.NEEDS_ATTENTION
