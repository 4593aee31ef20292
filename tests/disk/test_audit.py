"""The audit log on a real disk: concurrency, tampering, torn lines, failing disks, and the index."""

import base64
import errno
import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.audit_log import Tamper, cut, delete, exchange, insert, insert_garbage

from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.model import (
    Actor,
    Anchor,
    AuditDraft,
    AuditFilter,
    AuditRecord,
    EventStatus,
    EventType,
    TargetDigest,
)
from stravinsky_rollback_mcp.disk import audit as audit_module
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit import AuditLog
from stravinsky_rollback_mcp.disk.audit_rows import instant_key
from stravinsky_rollback_mcp.errors import Code, RollbackError

EVENTS = 20
DRAFT = AuditDraft(
    event_type=EventType.BACKUP_CREATED,
    status=EventStatus.SUCCESS,
    actor=Actor(kind="terminal"),
    user_root="/home/u/.claude",
    project=None,
    version="v1",
)


def moment(number: int) -> str:
    """The time stamp of the number-th record."""
    return f"2026-01-01T00:{number:02d}:00Z"


def new_log(folder: Path) -> AuditLog:
    """A log as another process would see it: nothing remembered."""
    return AuditLog(str(folder), Files())


def add(log: AuditLog, number: int, draft: AuditDraft = DRAFT) -> Anchor:
    """Append one record with predictable names."""
    return log.append(draft, now=moment(number % 60), event_id=f"e{number}")


def filled(folder: Path, events: int = EVENTS) -> AuditLog:
    """A log with that many records."""
    log = new_log(folder)
    for number in range(1, events + 1):
        add(log, number, replace(DRAFT, version=f"v{number}"))
    return log


def everything(log: AuditLog) -> list[AuditRecord]:
    """All records, oldest first, by the way that needs no index."""
    return [chain.decode_line(line) for line in Path(log_path(log)).read_bytes().splitlines()]


def log_path(log: AuditLog) -> str:
    """Where the truth lies."""
    return log._reader.log


def forge(record: AuditRecord, prev: str) -> bytes:
    """A line whose own hash is right."""
    return chain.encode_line(record, prev)


# -- appending ------------------------------------------------------------------------------------------------------


def test_a_record_is_read_back_as_it_was_appended(tmp_path: Path) -> None:
    """The anchor names the record's place, and the record is the draft (design of the store, Audit)."""
    log = new_log(tmp_path / "audit")
    draft = replace(
        DRAFT, paths=("/a/\udcff", "/b"), details={"k": [1, None]}, state=(TargetDigest(target="t", digest="d"),)
    )
    anchor = log.append(draft, now=moment(1), event_id="e1")
    (record,), cursor = log.query(AuditFilter())
    assert record == AuditRecord(seq=1, event_id="e1", timestamp=moment(1), draft=draft)
    assert (anchor.seq, cursor) == (1, None)
    assert log.anchor() == anchor == new_log(tmp_path / "audit").anchor()
    assert chain.decode_head((tmp_path / "audit" / "head.json").read_bytes()) == anchor


def test_an_empty_log_is_intact(tmp_path: Path) -> None:
    """Neither log nor head is a log that has not begun; looking creates nothing."""
    log = new_log(tmp_path / "audit")
    found = log.verify()
    assert (found.intact, found.events, found.head) == (True, 0, chain.GENESIS)
    assert log.anchor() == Anchor(seq=0, head=chain.GENESIS)
    assert (log.history("/home/u/.claude", None), log.backups(), log.operation("o")) == ((), {}, ())
    assert not (tmp_path / "audit").exists()
    assert log.query(AuditFilter()) == ((), None)


def test_everything_is_private(tmp_path: Path) -> None:
    """Folder 0700 and files 0600 whatever the umask (design of the store, Store)."""
    before = os.umask(0)
    try:
        log = filled(tmp_path / "audit", 2)
        log.query(AuditFilter())
    finally:
        os.umask(before)
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o700
    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in (tmp_path / "audit").iterdir()}
    assert {"operations.log", "head.json", "lock", "audit.db"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_threads_share_one_object(tmp_path: Path) -> None:
    """A server's calls run in worker threads; the index's connection crosses between them."""
    log = new_log(tmp_path / "audit")
    troubles: list[BaseException] = []

    def work(who: int) -> None:
        try:
            for number in range(10):
                add(log, who * 10 + number)
                log.query(AuditFilter(limit=3))
        except BaseException as error:
            troubles.append(error)
            raise

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert log.verify(complete=True).events == 40


def test_a_held_lock_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An append waits for a bounded time and then refuses; reading goes on (design of the store, Audit)."""
    log = filled(tmp_path / "audit", 1)
    monkeypatch.setattr(audit_module, "LOCK_WAIT_SECONDS", 0.05)
    handle = os.open(tmp_path / "audit" / "lock", os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(RollbackError) as caught:
            add(log, 2)
        assert caught.value.code is Code.BUSY
        assert len(log.query(AuditFilter())[0]) == 1
    finally:
        os.close(handle)
    assert add(log, 2).seq == 2


# -- tampering ------------------------------------------------------------------------------------------------------


def edit(lines: list[bytes], at: int) -> list[bytes]:
    """Change one word of one record."""
    return [*lines[:at], lines[at].replace(b"terminal", b"ferminal"), *lines[at + 1 :]]


def edit_and_hash(lines: list[bytes], at: int) -> list[bytes]:
    """Change one record and give it the right hash again."""
    record = chain.decode_line(lines[at])
    prev = chain.line_hash(lines[at - 1]) if at else chain.GENESIS
    return [*lines[:at], forge(replace(record, event_id="xx"), prev)[:-1], *lines[at + 1 :]]


def rewrite_from(lines: list[bytes], at: int) -> list[bytes]:
    """Change one record and rewrite all that follow, so that the chain alone looks right."""
    prev = chain.line_hash(lines[at - 1]) if at else chain.GENESIS
    rewritten: list[bytes] = []
    for line in lines[at:]:
        rewritten.append(forge(replace(chain.decode_line(line), event_id="x"), prev)[:-1])
        prev = chain.line_hash(rewritten[-1])
    return [*lines[:at], *rewritten]


FIRST_BAD: dict[Tamper, Callable[[int], int]] = {
    edit: lambda at: at + 1,
    edit_and_hash: lambda at: min(at + 2, EVENTS),  # its successor no longer follows; the last differs from the head
    rewrite_from: lambda _: EVENTS,  # only the head tells
    delete: lambda at: at + 1,
    insert: lambda at: at + 2,
    insert_garbage: lambda at: at + 1,
    exchange: lambda at: at + 1 if at < EVENTS - 1 else 1,
    cut: lambda at: at + 1,
}


@pytest.mark.case(35)
@pytest.mark.parametrize("tamper", FIRST_BAD, ids=lambda tamper: tamper.__name__)
def test_tampering_is_found_at_every_position(tmp_path: Path, tamper: Tamper) -> None:
    """Edited, deleted, inserted, reordered or cut records: the first bad one is named (threat model, rows 70, 71)."""
    filled(tmp_path / "audit")
    path = tmp_path / "audit" / "operations.log"
    original = path.read_bytes()
    for at in range(EVENTS):
        seen = new_log(tmp_path / "audit")
        assert seen.verify().intact
        tampered = b"".join(line + b"\n" for line in tamper(original.splitlines(), at))
        path.write_bytes(tampered)
        for log in (new_log(tmp_path / "audit"), seen):
            found = log.verify(complete=True)
            assert (found.intact, found.first_bad_seq) == (False, FIRST_BAD[tamper](at)), (at, found)
            assert found.problem
            assert found.events == FIRST_BAD[tamper](at) - 1
            for act in (log.check_writable, lambda log=log: add(log, 99)):
                with pytest.raises(RollbackError) as caught:
                    act()
                assert caught.value.code is Code.AUDIT_BROKEN
                assert f"record {found.first_bad_seq} " in caught.value.message
            assert path.read_bytes() == tampered
        path.write_bytes(original)
        assert seen.verify().intact


def test_an_older_copy_of_the_log_is_found(tmp_path: Path) -> None:
    """The log alone is put back, by rename, as it was after each record (threat model, row 73)."""
    folder = tmp_path / "audit"
    path = folder / "operations.log"
    log = new_log(folder)
    copies: list[bytes] = []
    for number in range(1, EVENTS + 1):
        copies.append(path.read_bytes() if number > 1 else b"")
        add(log, number)
    newest = path.read_bytes()
    for number, copy in enumerate(copies):
        (tmp_path / "copy").write_bytes(copy)
        (tmp_path / "copy").rename(path)
        for reader in (log, new_log(folder)):
            found = reader.verify()
            assert (found.intact, found.first_bad_seq, found.events) == (False, number + 1, number)
        path.write_bytes(newest)
        assert log.verify().intact


def test_log_and_head_put_back_together_are_found_by_a_process_that_knew_more(tmp_path: Path) -> None:
    """Only who saw the newer records can tell (threat model, row 72); a fresh process cannot, and does not claim to."""
    folder = tmp_path / "audit"
    log = filled(folder, 5)
    kept = {name: (folder / name).read_bytes() for name in ("operations.log", "head.json")}
    add(log, 6)
    assert log.verify().events == 6
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    found = log.verify()
    assert (found.intact, found.first_bad_seq) == (False, 6)
    assert new_log(folder).verify().intact


def test_a_missing_log_is_never_made_anew(tmp_path: Path) -> None:
    """head.json without a log, or the reverse, is audit_missing, and stays so (threat model, row 73)."""
    for gone in ("operations.log", "head.json"):
        folder = tmp_path / gone
        filled(folder, 3)
        (folder / gone).unlink()
        log = new_log(folder)
        found = log.verify()
        assert not found.intact
        assert found.problem is not None
        assert gone in found.problem
        with pytest.raises(RollbackError) as caught:
            add(log, 4)
        assert caught.value.code is Code.AUDIT_MISSING
        assert not (folder / gone).exists()


def test_a_folder_that_vanishes_is_missed_by_the_process_that_knew_it(tmp_path: Path) -> None:
    """Deleting both files does not give a running server a clean slate (threat model, row 73)."""
    log = filled(tmp_path / "audit", 3)
    assert log.verify().intact
    (tmp_path / "audit").rename(tmp_path / "elsewhere")
    with pytest.raises(RollbackError) as caught:
        add(log, 4)
    assert caught.value.code is Code.AUDIT_MISSING
    assert add(new_log(tmp_path / "audit"), 1).seq == 1


@pytest.mark.parametrize("content", [b"", b"{}", b'{"events":3}', b"\xff" * 5000])
def test_a_damaged_head_is_found(tmp_path: Path, content: bytes) -> None:
    """A head that is none proves nothing, so nothing is written on top."""
    filled(tmp_path / "audit", 3)
    (tmp_path / "audit" / "head.json").write_bytes(content)
    log = new_log(tmp_path / "audit")
    found = log.verify()
    assert (found.intact, found.first_bad_seq, found.events) == (False, None, 3)
    with pytest.raises(RollbackError) as caught:
        add(log, 4)
    assert caught.value.code is Code.AUDIT_BROKEN


@pytest.mark.parametrize("name", ["operations.log", "head.json"])
@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_a_file_that_is_no_file_is_found(tmp_path: Path, name: str, kind: str) -> None:
    """A link, a FIFO (which must not hang us) or a folder in the place of a file of the log is a break."""
    folder = tmp_path / "audit"
    filled(folder, 3)
    (folder / name).rename(tmp_path / name)
    if kind == "link":
        (folder / name).symlink_to(tmp_path / name)
    elif kind == "fifo":
        os.mkfifo(folder / name)
    else:
        (folder / name).mkdir()
    log = new_log(folder)
    assert not log.verify().intact
    with pytest.raises(RollbackError) as caught:
        add(log, 4)
    assert caught.value.code is Code.AUDIT_BROKEN


def test_an_edit_behind_the_back_of_a_running_process_is_found(tmp_path: Path) -> None:
    """The last known line is checked at each look, all of them when asked (design of the store, Audit)."""
    log = filled(tmp_path / "audit")
    assert log.verify().verified_from_seq == EVENTS  # the reader had seen all but what it wrote itself
    path = tmp_path / "audit" / "operations.log"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join(edit(lines, EVENTS - 1)) + b"\n")
    assert log.verify().first_bad_seq == EVENTS
    path.write_bytes(b"\n".join(edit(lines, 3)) + b"\n")
    assert log.verify(complete=True).first_bad_seq == 4


def test_an_edited_backup_record_is_never_handed_out(tmp_path: Path) -> None:
    """Which manifests are genuine is read from lines whose hashes were checked in the chain (manifest_forged)."""
    log = filled(tmp_path / "audit", 5)
    assert log.verify().intact
    path = tmp_path / "audit" / "operations.log"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join(edit_and_hash(lines, 1)) + b"\n")
    with pytest.raises(RollbackError) as caught:
        log.backups()
    assert caught.value.code is Code.AUDIT_BROKEN
    assert sorted(new_log(tmp_path / "audit").backups()) == ["v1", "v2"]  # the part before the first bad record


def test_a_newer_process_is_read_on_from_where_we_were(tmp_path: Path) -> None:
    """The check of a call is proportional to what is new (speed goals, P6)."""
    log = filled(tmp_path / "audit", 3)
    assert log.verify(complete=True).verified_from_seq == 1
    add(new_log(tmp_path / "audit"), 4)
    found = log.verify()
    assert (found.intact, found.events, found.verified_from_seq) == (True, 4, 4)


# -- crashes and failing disks --------------------------------------------------------------------------------------


@pytest.mark.case(35)
def test_a_torn_last_line_is_sealed(tmp_path: Path) -> None:
    """Every length of the last line that a power cut can leave (threat model, row 75)."""
    folder = tmp_path / "audit"
    filled(folder, 3)
    path = folder / "operations.log"
    kept = {name: (folder / name).read_bytes() for name in ("operations.log", "head.json")}
    line = chain.encode_line(
        AuditRecord(seq=4, event_id="lost", timestamp=moment(4), draft=DRAFT), new_log(folder).anchor().head
    )
    for size in range(1, len(line), 7):
        for name, content in kept.items():
            (folder / name).write_bytes(content)
        torn = line[:size]
        path.write_bytes(kept["operations.log"] + torn)
        log = new_log(folder)
        assert log.verify().intact  # for a reader it may be an append under way
        assert len(log.query(AuditFilter())[0]) == 3
        log.check_writable()
        assert path.read_bytes().endswith(torn)
        assert add(log, 5).seq == 5
        found = new_log(folder).verify()
        assert (found.intact, found.events) == (True, 5)
        seal, record = everything(log)[3:]
        assert (seal.draft.event_type, seal.draft.status) == (EventType.CRASH_RECOVERY, EventStatus.RECOVERED)
        assert seal.draft.details == {
            "torn": {
                "size_bytes": size,
                "sha256": sha256(torn).hexdigest(),
                "base64": base64.b64encode(torn).decode("ascii"),
            }
        }
        assert record.event_id == "e5"


def test_a_huge_torn_line_is_kept_in_part(tmp_path: Path) -> None:
    """4 KiB of what was torn are enough; more than any record is no torn append but tampering."""
    filled(tmp_path / "audit", 1)
    path = tmp_path / "audit" / "operations.log"
    sound = path.read_bytes()
    path.write_bytes(sound + b"\0" * 100_000)
    log = new_log(tmp_path / "audit")
    assert add(log, 2).seq == 3
    details = everything(log)[1].draft.details
    assert details is not None
    assert base64.b64decode(json.loads(json.dumps(details))["torn"]["base64"]) == b"\0" * 4096
    path.write_bytes(path.read_bytes() + b"\0" * chain.MAX_LINE_BYTES)
    assert new_log(tmp_path / "audit").verify().first_bad_seq == 4


@pytest.mark.case(35)
def test_a_torn_line_that_the_head_counts_is_tampering(tmp_path: Path) -> None:
    """Part of the last record cut off cannot come from a crash: the head is written after the line is durable."""
    filled(tmp_path / "audit", 3)
    path = tmp_path / "audit" / "operations.log"
    path.write_bytes(path.read_bytes()[:-1])
    assert new_log(tmp_path / "audit").verify().first_bad_seq == 3


def test_a_head_that_is_behind_is_brought_up_first(tmp_path: Path) -> None:
    """A crash between the line and the head leaves an intact record that the head does not count yet."""
    folder = tmp_path / "audit"
    log = filled(folder, 3)
    behind = (folder / "head.json").read_bytes()
    add(log, 4)
    (folder / "head.json").write_bytes(behind)
    fresh = new_log(folder)
    assert fresh.verify().events == 4
    assert add(fresh, 5).seq == 5
    assert new_log(folder).verify().events == 5


class FullDisk:
    """An observer that fails the N-th file operation, and all later ones when the disk stays full."""

    def __init__(self, *, failing: int, stays_full: bool, partly_bytes: int) -> None:
        self.failing = failing
        self.stays_full = stays_full
        self.partly_bytes = partly_bytes
        self.operations = 0

    def __call__(self, operation: str, path: str) -> None:
        """Count, and fail when it is time."""
        self.operations += 1
        if self.operations == self.failing and operation == "write" and path.endswith("operations.log"):
            with Path(path).open("ab") as log_file:
                log_file.write(b"{" * self.partly_bytes)
        if self.operations == self.failing or (self.stays_full and self.operations > self.failing):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def begin(folder: Path, begun: str) -> None:
    """A folder without a log, with one of three records, or with one whose last line is torn besides."""
    if begun != "fresh":
        filled(folder, 3)
    if begun == "torn":
        with (folder / "operations.log").open("ab") as log_file:
            log_file.write(b'{"hash":')


@pytest.mark.parametrize("begun", ["fresh", "filled", "torn"])
@pytest.mark.parametrize("partly_bytes", [0, 100], ids=["nothing_written", "partly_written"])
@pytest.mark.parametrize("stays_full", [False, True], ids=["once", "from_then_on"])
def test_any_failing_operation_leaves_a_sound_log(
    tmp_path: Path, begun: str, partly_bytes: int, *, stays_full: bool
) -> None:
    """ENOSPC at the N-th file operation, for every N (SQLite's way; house style, rule 12)."""
    for failing in count(1):
        folder = tmp_path / str(failing)
        begin(folder, begun)
        disk = FullDisk(failing=failing, stays_full=stays_full, partly_bytes=partly_bytes)
        code: Code | None = None
        try:
            AuditLog(str(folder), Files(observe=disk)).append(DRAFT, now=moment(9), event_id="wanted")
        except RollbackError as error:
            code = error.code
        if disk.operations < failing:
            assert code is None
            break
        assert code is Code.AUDIT_UNWRITABLE
        fresh = new_log(folder)
        assert fresh.verify().intact, failing
        assert [record.event_id for record in everything_complete(folder)].count("wanted") <= 1
        add(fresh, 10)
        assert new_log(folder).verify().intact
        ids = [record.event_id for record in everything(fresh)]
        assert ids[-1] == "e10"
        assert ids[:3] == ["e1", "e2", "e3"] or begun == "fresh"
    assert len(list(tmp_path.iterdir())) > 8


def everything_complete(folder: Path) -> list[AuditRecord]:
    """The records of the complete lines; a log that was never begun has none."""
    path = folder / "operations.log"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [chain.decode_line(line) for line in lines]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the process runs afterwards."""


class KillAt:
    """An observer that lets nothing happen from the N-th file operation on."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, _operation: str, _path: str) -> None:
        """Count, and die when it is time."""
        self.left -= 1
        if self.left <= 0:
            raise Killed


@pytest.mark.parametrize("begun", ["fresh", "filled", "torn"])
def test_a_process_killed_anywhere_leaves_a_sound_log(tmp_path: Path, begun: str) -> None:
    """Killed before the N-th file operation, for every N: the record is there wholly or not at all."""
    for killed_at in count(1):
        folder = tmp_path / str(killed_at)
        begin(folder, begun)
        try:
            AuditLog(str(folder), Files(observe=KillAt(killed_at))).append(DRAFT, now=moment(9), event_id="wanted")
            break
        except Killed:
            pass
        assert new_log(folder).verify().intact, killed_at
        assert [record.event_id for record in everything_complete(folder)].count("wanted") <= 1
        add(new_log(folder), 10)
        assert new_log(folder).verify().intact
    assert len(list(tmp_path.iterdir())) > 8


def test_an_unwritable_place_is_refused_before_anything_begins(tmp_path: Path) -> None:
    """A mutation asks first; what it cannot record it does not do (threat model, row 78)."""
    (tmp_path / "file").write_text("", encoding="ascii")
    for folder in (tmp_path / "no" / "audit", tmp_path / "file" / "audit"):
        log = new_log(folder)
        for act in (log.check_writable, lambda log=log: add(log, 1)):
            with pytest.raises(RollbackError) as caught:
                act()
            assert caught.value.code is Code.AUDIT_UNWRITABLE
    log = new_log(tmp_path / "audit")
    log.check_writable()
    assert log.verify().events == 0
    assert add(log, 1).seq == 1


def test_a_record_that_is_too_large_writes_nothing(tmp_path: Path) -> None:
    """The cap of a line refuses the record and leaves the log as it was (threat model, row 77)."""
    log = filled(tmp_path / "audit", 1)
    with pytest.raises(RollbackError) as caught:
        add(log, 2, replace(DRAFT, error="x" * chain.MAX_LINE_BYTES))
    assert caught.value.code is Code.TOO_LARGE
    assert len(everything(log)) == 1


# -- reading --------------------------------------------------------------------------------------------------------

VARIED = [
    replace(
        DRAFT,
        event_type=event_type,
        status=status,
        version=version,
        paths=paths,
    )
    for event_type in (EventType.BACKUP_CREATED, EventType.UNDO, EventType.REFUSED)
    for status in (EventStatus.SUCCESS, EventStatus.FAILED)
    for version in (None, "v1", "v2")
    for paths in ((), ("/p/a", "/p/a/x"), ("/p/ab", "/q"), ("/p/\udcff/z",))
]
# The clock goes back twice (threat model, row 76): order is by seq, and the bounds still hold.
MINUTES = [(7 * number) % 60 if number in (20, 50) else number * 59 // len(VARIED) for number in range(len(VARIED))]

filters = st.builds(
    AuditFilter,
    event_type=st.none() | st.sampled_from([EventType.BACKUP_CREATED, EventType.UNDO, EventType.PRUNED]),
    version=st.none() | st.sampled_from(["v1", "v2", "v3"]),
    status=st.none() | st.sampled_from([EventStatus.SUCCESS, EventStatus.FAILED, EventStatus.STARTED]),
    path=st.none() | st.sampled_from(["/p", "/p/", "/p/a", "/p/ab", "/", "/q", "/p/\udcff", "/p/a/x", "/z"]),
    since=st.none() | st.integers(0, 59).map(moment),
    until=st.none() | st.integers(0, 59).map(moment),
    limit=st.integers(1, 80),
)


def matches(record: AuditRecord, wanted: AuditFilter) -> bool:
    """The filter in one breath, for comparison."""
    draft = record.draft
    base = (wanted.path or "").rstrip("/")
    return (
        wanted.event_type in (None, draft.event_type)
        and wanted.version in (None, draft.version)
        and wanted.status in (None, draft.status)
        and (wanted.path is None or any(path == base or path.startswith(base + "/") for path in draft.paths))
        and (wanted.since is None or record.timestamp >= wanted.since)
        and (wanted.until is None or record.timestamp <= wanted.until)
    )


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> AuditLog:
    """A log with every combination of the filters' fields."""
    log = new_log(tmp_path_factory.mktemp("varied") / "audit")
    for number, (draft, minute) in enumerate(zip(VARIED, MINUTES, strict=True)):
        log.append(draft, now=moment(minute), event_id=f"e{number}")
    return log


@given(wanted=filters)
def test_every_combination_of_filters_pages_completely(varied: AuditLog, wanted: AuditFilter) -> None:
    """All pages together are what a plain loop finds, newest first, none twice (speed goals, P6)."""
    expected = [record for record in reversed(everything(varied)) if matches(record, wanted)]
    found: list[AuditRecord] = []
    cursor: int | None = None
    for _ in range(len(VARIED) + 1):
        page, cursor = varied.query(replace(wanted, before_seq=cursor))
        assert len(page) <= wanted.limit
        found.extend(page)
        if cursor is None:
            break
        assert cursor == page[-1].seq
    assert found == expected


def test_pages_stay_true_while_records_are_added(tmp_path: Path) -> None:
    """A cursor is a place in the chain: what comes later is on no older page."""
    log = filled(tmp_path / "audit", 7)
    first, cursor = log.query(AuditFilter(limit=3))
    add(log, 8)
    second, _ = log.query(AuditFilter(limit=10, before_seq=cursor))
    assert [record.seq for record in first + second] == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("before", [-5, 0, 1, 10**30])
def test_a_cursor_from_anywhere_is_harmless(tmp_path: Path, before: int) -> None:
    """A caller may send any number."""
    log = filled(tmp_path / "audit", 2)
    assert len(log.query(AuditFilter(before_seq=before))[0]) == (2 if before > 2 else 0)


def test_instants_order_like_times() -> None:
    """With and without fractions of a second, text order is time order."""
    times = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.05Z", "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:01.0Z"]
    assert sorted(times, key=instant_key) == times
    assert instant_key("2026-01-01T00:00:01.500Z") == instant_key("2026-01-01T00:00:01.5Z")


def test_history_holds_what_a_person_sees_here(tmp_path: Path) -> None:
    """Records with a state of this user root or this project, oldest first (design of the store, History)."""
    log = new_log(tmp_path / "audit")
    state = (TargetDigest(target="user.hooks", digest="d"),)
    drafts = [
        replace(DRAFT, state=state),
        replace(DRAFT, state=None, details={"state": ["not one"]}),
        replace(DRAFT, user_root="/other", project="/p", state=()),
        replace(DRAFT, user_root="/other", project="/q", state=state),
        replace(DRAFT, user_root="/other", project=None, state=state),
    ]
    for number, draft in enumerate(drafts, 1):
        add(log, number, draft)
    for reader in (log, new_log(tmp_path / "audit")):
        assert [record.seq for record in reader.history("/home/u/.claude", "/p")] == [1, 3]
        assert [record.seq for record in reader.history("/home/u/.claude", None)] == [1]
        assert [record.seq for record in reader.history("/nobody", None)] == []
    add(new_log(tmp_path / "audit"), 6, drafts[0])
    assert [record.seq for record in log.history("/home/u/.claude", "/p")] == [1, 3, 6]


def test_backups_are_the_successful_creations(tmp_path: Path) -> None:
    """The last record of a version wins; failures and other events do not count."""
    log = new_log(tmp_path / "audit")
    add(log, 1, replace(DRAFT, version="v1"))
    add(log, 2, replace(DRAFT, version="v2", status=EventStatus.FAILED))
    add(log, 3, replace(DRAFT, version="v3", event_type=EventType.PRUNED, error="BACKUP_CREATED"))
    assert {version: record.seq for version, record in log.backups().items()} == {"v1": 1}
    add(log, 4, replace(DRAFT, version="v1"))
    assert {version: record.seq for version, record in log.backups().items()} == {"v1": 4}


def test_an_operation_is_found_by_its_id(tmp_path: Path) -> None:
    """Intent and outcome, oldest first, and not a record that only mentions the id."""
    log = new_log(tmp_path / "audit")
    add(log, 1, replace(DRAFT, operation_id="op", status=EventStatus.STARTED))
    add(log, 2, replace(DRAFT, operation_id="other", details={"operation_id": "op"}))
    add(log, 3, replace(DRAFT, operation_id="op"))
    assert [record.seq for record in log.operation("op")] == [1, 3]
    assert log.operation('"') == ()


# -- the index ------------------------------------------------------------------------------------------------------


def run_sql(folder: Path, *statements: str) -> None:
    """Change the index by SQL, as a person with `sqlite3` would."""
    connection = sqlite3.connect(folder / "audit.db", isolation_level=None)
    try:
        for statement in statements:
            connection.execute(statement)
    finally:
        connection.close()


@pytest.mark.case(36)
@pytest.mark.parametrize(
    "statements",
    [
        ("DELETE FROM events WHERE seq = 3",),
        ("DELETE FROM events WHERE seq > 3",),
        ("DELETE FROM events",),
        ("DELETE FROM paths WHERE seq = 4",),
        ("UPDATE events SET seq = 1000 WHERE seq = 3",),
        ("INSERT INTO events SELECT 7, 0, 9, '', event_type, status, '', '', '', 0, 0 FROM events WHERE seq = 1",),
        ("UPDATE events SET offset = 1 WHERE seq = 3",),
        ("UPDATE events SET offset = -1, size_bytes = 99999999999 WHERE seq = 3",),
        ("UPDATE events SET offset = 'x', hash = 7 WHERE seq = 3",),
        ("UPDATE events SET status = 'failed' WHERE seq = 3",),
        ("UPDATE events SET hash = 'x' WHERE seq = 6",),
        ("CREATE VIEW planted AS SELECT 1",),
        ("CREATE TRIGGER planted AFTER INSERT ON events BEGIN DELETE FROM events; END",),
        ("DROP TABLE paths",),
        ("DROP TABLE events", "CREATE TABLE events (seq)"),
        ("DROP INDEX events_type",),
    ],
    ids=lambda statements: statements[0][:60],
)
@pytest.mark.parametrize("is_running", [True, False])
def test_a_tampered_index_is_built_again(tmp_path: Path, statements: tuple[str, ...], is_running: bool) -> None:  # noqa: FBT001
    """The log is the truth; what the index says wrongly is not believed (threat model, row 74)."""
    folder = tmp_path / "audit"
    log = filled(folder, 5)
    add(log, 6, replace(DRAFT, paths=("/p",)))
    expected = log.query(AuditFilter())
    assert len(expected[0]) == 6
    if not is_running:
        log.close()
        log = new_log(folder)
    run_sql(folder, *statements)
    if is_running and any(word in statements[0] for word in ("VIEW", "TRIGGER", "INDEX events_type")):
        log.close()  # a schema is read when the file is opened
    assert log.query(AuditFilter()) == expected
    assert len(log.query(AuditFilter(event_type=EventType.BACKUP_CREATED))[0]) == 6
    assert len(log.query(AuditFilter(path="/p"))[0]) == 1
    add(log, 7)
    assert len(log.query(AuditFilter())[0]) == 7
    log.close()
    assert new_log(folder).query(AuditFilter(limit=1))[0][0].seq == 7


@pytest.mark.case(36)
@pytest.mark.parametrize("content", [None, b"", b"not a database", b"SQLite format 3\0" + b"\xff" * 5000])
@pytest.mark.parametrize("is_running", [True, False])
def test_a_lost_or_damaged_index_is_built_again(tmp_path: Path, content: bytes | None, is_running: bool) -> None:  # noqa: FBT001
    """audit.db can be deleted at any time (design of the store, Audit)."""
    folder = tmp_path / "audit"
    log = filled(folder, 5)
    expected = log.query(AuditFilter())
    if not is_running:
        log.close()
        log = new_log(folder)
    (folder / "audit.db").unlink()
    if content is not None:
        (folder / "audit.db").write_bytes(content)
    assert log.query(AuditFilter()) == expected
    log.close()
    with sqlite3.connect(folder / "audit.db") as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (5,)
    connection.close()


@pytest.mark.case(36)
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_an_index_that_cannot_be_written_lives_in_memory(tmp_path: Path, kind: str) -> None:
    """Queries work on a read-only or occupied place too; a link is never followed."""
    folder = tmp_path / "audit"
    log = filled(folder, 5)
    if kind == "folder":
        (folder / "audit.db").mkdir()
    else:
        (tmp_path / "victim").write_bytes(b"precious")
        (folder / "audit.db").symlink_to(tmp_path / "victim")
    assert len(log.query(AuditFilter())[0]) == 5
    add(log, 6)
    assert len(log.query(AuditFilter())[0]) == 6
    if kind == "link":
        assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_failing_disk_fails_no_query(tmp_path: Path) -> None:
    """No space for the index is no reason to refuse an answer."""

    def fail(operation: str, path: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    filled(tmp_path / "audit", 5)
    log = AuditLog(str(tmp_path / "audit"), Files(observe=fail))
    assert [record.seq for record in log.query(AuditFilter())[0]] == [5, 4, 3, 2, 1]


def test_two_processes_share_the_index(tmp_path: Path) -> None:
    """One object's rows are another's, and neither throws away what the other added."""
    first = filled(tmp_path / "audit", 3)
    second = new_log(tmp_path / "audit")
    assert first.query(AuditFilter())[0] == second.query(AuditFilter())[0]
    inode = (tmp_path / "audit" / "audit.db").stat().st_ino
    for number in range(4, 10):
        add(first, number)
        assert len(second.query(AuditFilter())[0]) == number
        assert len(first.query(AuditFilter())[0]) == number
    assert (tmp_path / "audit" / "audit.db").stat().st_ino == inode


def test_a_query_of_a_broken_log_shows_its_sound_part(tmp_path: Path) -> None:
    """What cannot be trusted is not shown: pages end before the first bad record."""
    log = filled(tmp_path / "audit", 6)
    assert len(log.query(AuditFilter())[0]) == 6
    path = tmp_path / "audit" / "operations.log"
    path.write_bytes(b"\n".join(delete(path.read_bytes().splitlines(), 3)) + b"\n")
    for reader in (log, new_log(tmp_path / "audit")):
        assert [record.seq for record in reader.query(AuditFilter())[0]] == [3, 2, 1]
        assert sorted(reader.backups()) == ["v1", "v2", "v3"]
