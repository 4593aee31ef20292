"""Rotation of the audit's log: nothing lost, nothing unprovable, and sound whatever cuts it short."""

import errno
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from shutil import copytree, rmtree
from tempfile import TemporaryDirectory

import pytest
from support.audit_log import DRAFT, NEVER, STATE, archives, fill, log_in, moment, whole
from support.crash import CrashAt, CrashedError, FailAt

from stravinsky_rollback_mcp.core.carry import MAX_STATES
from stravinsky_rollback_mcp.core.model import (
    AuditFilter,
    AuditRecord,
    EventStatus,
    EventType,
)
from stravinsky_rollback_mcp.core.policy import AuditPolicy
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit import AuditLog
from stravinsky_rollback_mcp.disk.audit_rotation import Rotation
from stravinsky_rollback_mcp.errors import RollbackError


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system in memory, where there is one: flushes are fast there."""
    shm = "/dev/shm"
    with TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


def test_the_chain_goes_on_through_archives(memory: Path) -> None:
    """Number and hash are carried over; pages and the complete check go back to the very first record."""
    folder = memory / "audit"
    log = fill(folder, 1, 60)
    names = [path.name for path in archives(folder)]
    assert len(names) > 3
    assert names[0].startswith("operations.log.1-")
    records = whole(folder)
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    own = [record for record in records if record.draft.event_type is not EventType.LOG_OPENED]
    assert [record.event_id for record in own] == [f"e{number}" for number in range(1, 61)]
    for reader in (log, log_in(folder)):
        found = reader.verify(complete=True)
        assert (found.intact, found.events, found.verified_from_seq) == (True, len(records), 1)
        paged: list[AuditRecord] = []
        cursor: int | None = None
        while True:
            page, cursor = reader.query(AuditFilter(limit=7, before_seq=cursor))
            paged.extend(page)
            if cursor is None:
                break
        assert paged == records[::-1]
        assert len(reader.query(AuditFilter(event_type=EventType.BACKUP_CREATED, limit=100))[0]) == 20
        assert [record.event_id for record in reader.trace("op5")] == ["e5"]


def test_an_archive_is_plain_gzip_and_the_same_every_time(memory: Path) -> None:
    """No name and no time in it: a person reads it with zcat, and the same log gives the same bytes."""
    for name in ("one", "two"):
        fill(memory / name, 1, 30)
    for one, two in zip(archives(memory / "one"), archives(memory / "two"), strict=True):
        assert one.read_bytes() == two.read_bytes()
        listed = subprocess.run(["gzip", "-dc", str(one)], capture_output=True, check=True).stdout
        assert listed.endswith(b"\n")
        assert one.stat().st_mode & 0o777 == 0o600


def test_daily_work_opens_no_archive(memory: Path) -> None:
    """Backups, history and newest operations are in the log itself; archives may be on another disk by now."""
    folder = memory / "audit"
    fill(folder, 1, 60)
    expected = log_in(folder)
    backups, history, operation = (
        expected.backups(),
        expected.history("/home/u/.claude", None),
        expected.operation("op5"),
    )
    assert [record.seq for record in history] == [
        record.seq for record in whole(folder) if record.draft.state is not None
    ]
    assert sorted(backups) == sorted(f"v{number}" for number in range(3, 61, 3))
    assert [record.event_id for record in operation] == ["e5"]
    rmtree(folder / "archive")
    log = log_in(folder)
    assert log.verify().intact
    assert (log.backups(), log.history("/home/u/.claude", None), log.operation("op5")) == (backups, history, operation)
    log.append(DRAFT, now=moment(99), event_id="on we go")


def test_only_what_is_needed_is_carried_over(memory: Path) -> None:
    """Backups that exist and the newest states of each view, so that the opening stays small for ever."""
    folder = memory / "audit"
    existing: set[str] = set()
    log = AuditLog(str(folder), Files(), AuditPolicy(), lambda: existing)
    log._rotation = Rotation(size_bytes=1, days=NEVER, retention_days=NEVER)
    created = replace(DRAFT, event_type=EventType.BACKUP_CREATED, status=EventStatus.SUCCESS)
    for number in range(1, 9):
        log.append(replace(created, version=f"v{number}"), now=moment(number), event_id=f"e{number}")
        existing |= {"v1", "v3"}
    assert sorted(log.backups()) == ["v1", "v3", "v5", "v6", "v7", "v8"]  # the newest may be in the making
    log._rotation = Rotation(size_bytes=1 << 30, days=NEVER, retention_days=NEVER)
    for number in range(MAX_STATES + 9):
        log.append(replace(DRAFT, state=STATE), now=moment(9), event_id=f"s{number}")
    log._rotation = Rotation(size_bytes=1, days=NEVER, retention_days=NEVER)
    log.append(DRAFT, now=moment(9), event_id="last")
    states = log.history("/home/u/.claude", None)
    assert [record.event_id for record in states] == [f"s{number}" for number in range(9, MAX_STATES + 9)]
    assert log_in(folder).history("/home/u/.claude", None) == states


def test_an_old_log_is_put_away_whatever_its_size(memory: Path) -> None:
    """By the time of its first record."""
    folder = memory / "audit"
    log = log_in(folder, size_bytes=1 << 30, days=90)
    for day in ("01-01", "03-31", "04-02"):
        log.append(DRAFT, now=f"2026-{day}T00:00:00Z", event_id=day)
    assert [path.name for path in archives(folder)] == ["operations.log.1-2.gz"]
    assert log.verify(complete=True).intact


def test_old_archives_go_and_the_log_says_so(memory: Path) -> None:
    """What retention removed is on record with the place where the chain goes on; more missing than that is found."""
    folder = memory / "audit"
    fill(folder, 1, 60)
    total = len(whole(folder))
    kept = archives(folder)
    assert log_in(folder).query(AuditFilter(limit=500))[0][-1].seq == 1
    log = log_in(folder)
    log._rotation = Rotation(size_bytes=4096, days=NEVER, retention_days=30)
    log.append(DRAFT, now="2026-01-31T00:30:00Z", event_id="gone")
    assert log.verify(complete=True).intact
    gone = [path for path in kept if not path.exists()]
    assert gone
    assert gone == kept[: len(gone)]
    first_kept = int(gone[-1].name.split("-")[1].split(".")[0]) + 1
    for reader in (log, log_in(folder)):
        found = reader.verify(complete=True)
        assert (found.intact, found.verified_from_seq) == (True, first_kept)
        assert found.events > total
        assert reader.query(AuditFilter(limit=500))[0][-1].seq == first_kept
    archives(folder)[0].unlink()
    assert log_in(folder).verify(complete=True).first_bad_seq == first_kept


def test_a_clock_that_was_set_ahead_removes_no_archive(memory: Path) -> None:
    """The log is put away for its age, and that is all; the same records with the right clock later are as ever."""
    folder = memory / "audit"
    fill(folder, 1, 60)
    kept = archives(folder)
    log = log_in(folder)
    log._rotation = Rotation(size_bytes=1 << 30, days=90, retention_days=730)
    for now in ("2099-01-01T00:00:00Z", "2099-01-01T00:00:01Z", "2026-02-01T00:00:00Z"):
        log.append(DRAFT, now=now, event_id=now)
    assert archives(folder)[: len(kept)] == kept
    assert len(archives(folder)) == len(kept) + 1
    assert log_in(folder).verify(complete=True).intact


def judge(folder: Path, begun: int, where: object) -> None:
    """Sound, each of the first records there once, and appending goes on."""
    fresh = log_in(folder)
    assert fresh.verify(complete=True).intact, where
    ids = [record.event_id for record in whole_named(folder, fresh)]
    wanted = [f"e{number}" for number in range(1, begun + 1)]
    assert [name for name in ids if not name.startswith(("late", "wanted"))] == wanted, where
    assert ids.count("wanted") <= 1
    assert len(fresh.backups()) == begun // 3
    fresh.append(DRAFT, now=moment(99), event_id="late")
    fresh.check_writable()
    assert log_in(folder).verify(complete=True).intact, where
    assert list(folder.rglob("*.tmp")) == [], where
    named = {f"operations.log.{item.first_seq}-{item.last_seq}.gz" for item in fresh._reader.opening.archives}
    assert {path.name for path in archives(folder)} == named, where


def whole_named(folder: Path, log: AuditLog) -> list[AuditRecord]:
    """Every record but openings, through the archives that the log names."""
    page, _ = log.query(AuditFilter(limit=500))
    return [record for record in reversed(page) if record.draft.event_type is not EventType.LOG_OPENED]


def enumerated(memory: Path, observer: Callable[[int], CrashAt | FailAt]) -> Counter[str]:
    """A log that is about to rotate, and to drop an archive, stopped at every call; how many states were tried."""
    kept = memory / "kept"
    begun = 30
    fill(kept, 1, begun)
    states: Counter[str] = Counter()
    for at in count(1):
        folder = memory / "audit"
        rmtree(folder, ignore_errors=True)
        copytree(kept, folder)
        watch = observer(at)
        log = log_in(folder, size_bytes=1, files=Files(observe=watch))
        with suppress(CrashedError, RollbackError):
            log.append(DRAFT, now=moment(98), event_id="wanted")
        if not watch.fired:
            assert len(archives(folder)) == len(archives(kept)) + 1
            break
        opening = log_in(folder).query(AuditFilter(event_type=EventType.LOG_OPENED, limit=1))[0][0]
        judge(folder, begun, at)
        states["rotated" if opening.timestamp == moment(98) else "as before"] += 1
    return states


def test_a_rotation_that_dies_anywhere_leaves_a_sound_log(memory: Path) -> None:
    """Before each call of the disk; nothing is lost, and nothing stays that no log names."""
    states = enumerated(memory, CrashAt)
    assert states.keys() == {"rotated", "as before"}
    assert sum(states.values()) > 15


@pytest.mark.parametrize("persistent", [False, True], ids=["once", "from_then_on"])
def test_a_rotation_that_fails_anywhere_waits_for_another_day(memory: Path, *, persistent: bool) -> None:
    """ENOSPC at each call of the disk; a record is still appended wherever that itself is possible."""
    states = enumerated(memory, lambda at: FailAt(at, errno.ENOSPC, persistent=persistent))
    assert sum(states.values()) > 15
