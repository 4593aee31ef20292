"""``audit.db``: finds records by their fields; the log alone says what they are.

A row holds where a line lies, the line's hash and the columns that filters use. Every record is read back from the
log and compared with its row, and the table must hold exactly the records of the checked chain; when anything
disagrees the file is thrown away and built again, and when that is not possible the same tables live in memory.
Rows alone cannot show that a column was changed so that a filter misses a record; what must be authentic (backups,
history, operations) is therefore found in the log and never here.
"""

import heapq
import os
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, suppress
from itertools import islice
from typing import TYPE_CHECKING, TypeVar
from weakref import finalize

from stravinsky_rollback_mcp.core.codec import chain, text
from stravinsky_rollback_mcp.core.model import AuditFilter, AuditRecord
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit_archive import DamagedArchiveError
from stravinsky_rollback_mcp.disk.audit_chain import ChainReader
from stravinsky_rollback_mcp.disk.audit_lines import OpenLog, Place
from stravinsky_rollback_mcp.disk.audit_rows import columns, conditions, driver, instant_key, key_of
from stravinsky_rollback_mcp.errors import Code, RollbackError

if TYPE_CHECKING:
    import sqlite3

INDEX = "audit.db"

_BATCH = 5_000
_LOOKS = 5
_SCHEMA = (
    """CREATE TABLE events (
    seq INTEGER PRIMARY KEY, offset INTEGER NOT NULL, size_bytes INTEGER NOT NULL, hash TEXT NOT NULL,
    event_type TEXT NOT NULL, status TEXT NOT NULL, version BLOB, operation BLOB, instant TEXT NOT NULL,
    late INTEGER NOT NULL, paths INTEGER NOT NULL)""",
    "CREATE INDEX events_type_status ON events (event_type, status, seq)",
    "CREATE INDEX events_type ON events (event_type, seq)",
    "CREATE INDEX events_status ON events (status, seq)",
    "CREATE INDEX events_version ON events (version, seq) WHERE version IS NOT NULL",
    "CREATE INDEX events_operation ON events (operation, seq) WHERE operation IS NOT NULL",
    "CREATE INDEX events_instant ON events (late, instant, seq)",
    "CREATE TABLE names (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE)",
    "CREATE TABLE paths (name INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (name, seq)) WITHOUT ROWID",
)
_INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_COLUMNS = "e.seq, e.offset, e.size_bytes, e.hash, e.event_type, e.status, e.version, e.operation, e.instant, e.paths"
_NAMES = "SELECT id FROM names WHERE name = ? OR (name >= ? AND name < ?)"

Row = tuple[int, int, int, str, str, str, bytes | None, bytes | None, str, int]


Answer = TypeVar("Answer")


class _UntrueError(Exception):
    """The index disagrees with the log."""


class AuditIndex:
    """The index of one log, for one thread at a time. ``lock`` is the log's own, taken to replace the file."""

    def __init__(
        self, folder: str, reader: ChainReader, files: Files, lock: Callable[[], AbstractContextManager[object]]
    ) -> None:
        self._path = os.path.join(folder, INDEX)
        self._reader = reader
        self._files = files
        self._lock = lock
        self._connection: sqlite3.Connection | None = None
        self._finalizer: finalize[..., AuditIndex] | None = None
        self._identity: tuple[int, int] | None = None  # of the open file; None for the one in memory
        self._counted: int | None = None  # the data version at which the rows were last counted

    def page(self, wanted: AuditFilter) -> tuple[tuple[AuditRecord, ...], int | None]:
        """The newest matching records of the checked part, and the cursor of the next page."""
        return self._asked(lambda log: self._page(wanted, log))

    def operation(self, operation_id: str) -> tuple[AuditRecord, ...]:
        """The records of one operation, oldest first."""

        def ask(log: OpenLog) -> tuple[AuditRecord, ...]:
            rows = self._open().execute(
                f"SELECT {_COLUMNS} FROM events e WHERE e.operation = ? ORDER BY e.seq",  # noqa: S608 - constants only
                (key_of(operation_id),),
            )
            return tuple(_record_of(row, log) for row in rows)

        return self._asked(ask)

    def _asked(self, question: Callable[[OpenLog], Answer]) -> Answer:
        """What the tables answer once they hold the log: those in the file, built again if need be, or in memory."""
        import sqlite3  # noqa: PLC0415 - 5 ms that only a query needs

        for ready in (self._open_file, self._rebuild_file, self._open_memory):
            try:
                ready()
                with self._opened() as log:
                    self._bring_up_to(log)
                    return question(log)
            except (sqlite3.Error, _UntrueError, DamagedArchiveError, OverflowError):
                self.close()
            except RollbackError as error:
                # The index could not be written (or is being replaced by another process): memory will do.
                if error.code in (Code.UNREADABLE, Code.UNSUPPORTED_VERSION):
                    raise
                self.close()
        raise RollbackError(Code.AUDIT_BROKEN, "the audit log changed while it was read.", "run `audit verify`.")

    def close(self) -> None:
        """Let go of the database."""
        if self._finalizer is not None:
            self._finalizer()
        self._finalizer = self._connection = self._identity = self._counted = None

    # -- opening --------------------------------------------------------------------------------------------------

    def _open_file(self) -> None:
        if self._connection is not None:
            if self._identity is None or self._identity == self._file_identity():
                return
            self.close()
        if self._file_identity() is None:
            os.close(self._files.open_append(self._path))  # private from its first moment
        self._identity = self._file_identity()
        if self._identity is None:
            raise _UntrueError(f"{INDEX} is not a regular file")
        self._connect(self._path)

    def _rebuild_file(self) -> None:
        with self._lock():
            for suffix in ("-wal", "-shm", ""):
                self._files.remove_file(self._path + suffix)
            self._open_file()

    def _open_memory(self) -> None:
        self._identity = None
        self._connect(":memory:")

    def _file_identity(self) -> tuple[int, int] | None:
        try:
            status = os.lstat(self._path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _UntrueError(INDEX) from error
        if not stat.S_ISREG(status.st_mode):
            raise _UntrueError(f"{INDEX} is not a regular file")
        return status.st_dev, status.st_ino

    def _connect(self, path: str) -> None:
        import sqlite3  # noqa: PLC0415 - see page()

        # Calls come from several threads, one at a time: AuditLog holds its own lock around each.
        connection = sqlite3.connect(path, timeout=2, isolation_level=None, check_same_thread=False)
        self._finalizer = finalize(self, connection.close)
        self._connection = connection
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # a lost index is built again
        connection.execute("BEGIN IMMEDIATE")
        found = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")]
        if not found:
            for statement in _SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")
        if found and sorted(found) != sorted(_SCHEMA):
            raise _UntrueError("the schema is not ours")

    def _open(self) -> "sqlite3.Connection":
        if self._connection is None:
            raise _UntrueError("the index is closed")
        return self._connection

    # -- keeping it true ------------------------------------------------------------------------------------------

    def _opened(self) -> OpenLog:
        """The log, not older than the rows: another process may have appended, and indexed, since our last look."""
        for _ in range(_LOOKS):
            log = self._reader.open()
            if self._last_seq() <= log.prefix.seq:
                return log
            log.close()
        raise _UntrueError("more rows than records")

    def _bring_up_to(self, log: OpenLog) -> None:
        """Add the rows that are missing at the end, and make sure that none is missing or too many elsewhere."""
        (version,) = self._open().execute("PRAGMA data_version").fetchone()
        self._begin_at(log)
        last = self._last_seq()
        is_anchored = self._counted == version
        while last < log.prefix.seq or not is_anchored:
            is_anchored, before = True, last
            last = self._add_batch(log)
            if last == before < log.prefix.seq:
                raise _UntrueError("the log is shorter than it was")
        if self._counted != version:
            self._count()
            self._counted = version

    def _begin_at(self, log: OpenLog) -> None:
        """Drop the rows of archives that are gone. Rows may begin later only where an archive cannot be read."""
        connection = self._open()
        (first,) = connection.execute("SELECT min(seq) FROM events").fetchone()
        if first is not None and first < log.first_seq:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM events WHERE seq < ?", (log.first_seq,))
            connection.execute("DELETE FROM paths WHERE seq < ?", (log.first_seq,))
            connection.execute("COMMIT")
        elif first is not None and first > log.first_seq and first != log.first_readable:
            raise _UntrueError("rows are missing at the beginning")

    def _last_seq(self) -> int:
        (last,) = self._open().execute("SELECT max(seq) FROM events").fetchone()
        return last or 0

    def _count(self) -> None:
        connection = self._open()
        connection.execute("BEGIN")  # one snapshot: other processes add rows meanwhile
        events, first, last, named = connection.execute(
            "SELECT count(*), min(seq), max(seq), total(paths) FROM events"
        ).fetchone()
        (paths,) = connection.execute("SELECT count(*) FROM paths").fetchone()
        connection.execute("COMMIT")
        if (events and events != last - first + 1) or named != paths:
            raise _UntrueError("rows are missing, or too many")

    def _add_batch(self, log: OpenLog) -> int:
        """Add up to ``_BATCH`` lines that follow the last row, in one transaction; the new last ``seq``."""
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            last = connection.execute(
                f"SELECT {_COLUMNS} FROM events e ORDER BY e.seq DESC LIMIT 1"  # noqa: S608 - constants only
            ).fetchone()
            if last is None:
                seq, offset = log.first_readable - 1, 0
            else:
                _record_of(last, log)  # a chain with this hash has exactly these lines before it
                is_end = last[0] == log.ends_at(last[0]) < log.prefix.seq
                seq, offset = last[0], 0 if is_end else last[1] + last[2] + 1
            (latest,) = connection.execute("SELECT max(instant) FROM events WHERE late = 0").fetchone()
            if seq < log.prefix.seq:
                self._insert(connection, log, (seq, offset), latest or "")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return self._last_seq()

    def _insert(self, connection: "sqlite3.Connection", log: OpenLog, after: tuple[int, int], latest: str) -> None:
        seq, offset = after
        rows: list[tuple[object, ...]] = []
        paths: list[tuple[bytes, int]] = []
        for raw in islice(log.lines(seq + 1, offset), _BATCH):
            seq += 1
            try:
                record = chain.decode_line(raw)
            except ValueError as error:
                raise _UntrueError(f"line {seq} is not a record") from error
            if record.seq != seq:
                raise _UntrueError("the rows end in the middle of another log")
            instant = instant_key(record.timestamp)
            names = {text.name_bytes(path) for path in record.draft.paths}
            place = (seq, offset, len(raw), chain.line_hash(raw))
            rows.append((*place, *columns(record)[:-1], int(instant < latest), len(names)))
            paths.extend((name, seq) for name in names)
            latest = max(latest, instant)
            offset += len(raw) + 1
        connection.executemany(_INSERT, rows)
        connection.executemany("INSERT OR IGNORE INTO names (name) VALUES (?)", {(name,) for name, _ in paths})
        connection.executemany("INSERT INTO paths SELECT id, ? FROM names WHERE name = ?", ((s, n) for n, s in paths))

    # -- reading --------------------------------------------------------------------------------------------------

    def _page(self, wanted: AuditFilter, log: OpenLog) -> tuple[tuple[AuditRecord, ...], int | None]:
        if wanted.limit < 1 or (bounds := self._bounds(wanted, log)) is None:
            return (), None
        with closing(self._rows(wanted, bounds)) as found:
            rows = list(islice(found, wanted.limit + 1))
        records = tuple(_record_of(row, log) for row in rows[: wanted.limit])
        for record in records:
            if wanted.path is not None and not any(_lies_below(path, wanted.path) for path in record.draft.paths):
                raise _UntrueError("a row leads to a record without that path")
        more = len(rows) > wanted.limit
        return records, records[-1].seq if more else None

    def _bounds(self, wanted: AuditFilter, log: OpenLog) -> tuple[int, int] | None:
        """The smallest and largest ``seq`` that can match; clocks may have gone back, such rows are ``late``."""
        connection = self._open()
        low, high = 1, log.prefix.seq
        if wanted.before_seq is not None:
            high = min(high, wanted.before_seq - 1)
        if wanted.since is not None:
            first = connection.execute(
                "SELECT seq FROM events WHERE late = 0 AND instant >= ? ORDER BY instant, seq LIMIT 1",
                (instant_key(wanted.since),),
            ).fetchone()
            if first is None:
                return None
            low = first[0]
        if wanted.until is not None:
            last = [
                connection.execute(
                    f"SELECT seq FROM events WHERE late = {late} AND instant <= ?"  # noqa: S608 - constants only
                    f" ORDER BY {order} LIMIT 1",
                    (instant_key(wanted.until),),
                ).fetchone()
                for late, order in ((0, "instant DESC, seq DESC"), (1, "seq DESC"))
            ]
            high = min(high, max((row[0] for row in last if row is not None), default=0))
        return (low, high) if low <= high else None

    def _rows(self, wanted: AuditFilter, bounds: tuple[int, int]) -> Generator[Row, None, None]:
        """Matching rows, newest first, found by the most telling filter that is set."""
        connection = self._open()
        where, values = conditions(wanted)
        if wanted.path is None:
            sql = f"SELECT {_COLUMNS} FROM events e {driver(wanted)} WHERE e.seq BETWEEN ? AND ?{where}"  # noqa: S608
            yield from connection.execute(f"{sql} ORDER BY e.seq DESC", (*bounds, *values))
            return
        base = text.name_bytes(wanted.path.rstrip("/"))
        span = (base or b"/", base + b"/", base + b"0")  # "0" is the character after "/"
        if wanted.version is not None:
            sql = (
                f"SELECT {_COLUMNS} FROM events e {driver(wanted)} WHERE e.seq BETWEEN ? AND ?{where}"  # noqa: S608
                f" AND EXISTS (SELECT 1 FROM paths p WHERE p.seq = e.seq AND p.name IN ({_NAMES}))"
            )
            yield from connection.execute(f"{sql} ORDER BY e.seq DESC", (*bounds, *values, *span))
            return
        sql = (
            f"SELECT {_COLUMNS} FROM paths p CROSS JOIN events e ON e.seq = p.seq"  # noqa: S608
            f" WHERE p.name = ? AND p.seq BETWEEN ? AND ?{where} ORDER BY p.seq DESC"
        )
        names: list[tuple[int]] = connection.execute(_NAMES, span).fetchall()
        found: list[Iterator[Row]] = [connection.execute(sql, (name, *bounds, *values)) for (name,) in names]
        seen: int | None = None
        for row in heapq.merge(*found, key=lambda row: -row[0]):
            if row[0] != seen:
                seen = row[0]
                yield row


def _record_of(row: Row, log: OpenLog) -> AuditRecord:
    """The record that a row leads to, which must be the one that the row speaks of."""
    seq, offset, size_bytes, found = row[:4]
    record: AuditRecord | None = None
    with suppress(TypeError, ValueError, AttributeError):  # columns of a tampered row may be of any type and size
        record = log.record(Place(seq=seq, offset=offset, size_bytes=size_bytes, hash=found))
    if record is None or columns(record) != row[4:]:
        raise _UntrueError(f"row {seq} does not fit its line")
    return record


def _lies_below(path: str, wanted: str) -> bool:
    base = wanted.rstrip("/")
    return path == (base or "/") or path.startswith(base + "/")
