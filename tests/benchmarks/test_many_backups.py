"""How listing and creating take it when a store holds a thousand backups (speed goals, P7): a table, and no verdict.

Run with `pytest -m benchmark -n0 -s tests/benchmarks/test_many_backups.py`. The backups are made by the code under
test, but without waiting for the disk; what is timed waits for it.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from support.config import realistic
from support.crash import PERSON, Unsynced

from stravinsky_rollback_mcp import config
from stravinsky_rollback_mcp.core.model import BackupKind
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.service import RollbackService, backup

COUNTS = (10, 1_000)
TIMES = 9


class Store:
    """A person with a store that is filled up as needed."""

    def __init__(self, portal: BlockingPortal, folder: Path) -> None:
        self._portal = portal
        self._home, self._project = folder / "home", folder / "project"
        self._user, _ = realistic(self._home, self._project)
        self._edits = 0

    def service(self, files: Files | None = None) -> RollbackService:
        """What a process would have that has just begun."""
        environ = {"HOME": str(self._home), "CLAUDE_PROJECT_DIR": str(self._project)}
        environ |= {"STRAVINSKY_BACKUP_MAX_VERSIONS": "9999", "STRAVINSKY_BACKUP_MAX_AUTOMATIC": "9999"}
        return RollbackService(config.load(environ, for_terminal=True), files)

    def edit(self) -> None:
        """A state that was never there before."""
        self._edits += 1
        (self._user / "hooks" / "notify.sh").write_text(f"echo {self._edits}\n", encoding="utf-8")

    def fill(self, count: int) -> None:
        """As many backups as that, each with one script changed."""
        desk = self.service(Unsynced())._desk
        with desk.writing(PERSON):
            for _ in range(count - len(desk.store.versions())):
                self.edit()
                wish = backup.Wish(version=desk.new_version("auto"), kind=BackupKind.AUTOMATIC)
                backup.make_backup(desk, PERSON, wish, desk.places(), desk.known())

    def ms(self, request: Callable[[], object], before: Callable[[], None] = lambda: None) -> float:
        """The median of a few requests, in milliseconds."""
        taken: list[float] = []
        for _ in range(TIMES):
            before()
            begun = time.perf_counter()
            self._portal.call(request)
            taken.append((time.perf_counter() - begun) * 1000)
        return statistics.median(taken)


@pytest.mark.benchmark
@pytest.mark.long
def test_a_thousand_backups(tmp_path: Path) -> None:
    """P7: a page of a thousand ≤ 20 ms and ≤ 5 times one of ten; a creation beside them."""
    found: dict[str, list[float]] = {}
    with start_blocking_portal() as portal:
        store = Store(portal, tmp_path)
        for count in COUNTS:
            store.fill(count)
            fresh = store.service()
            begun = time.perf_counter()
            portal.call(partial(fresh.list_backups, PERSON))
            found.setdefault("first list_backups", []).append((time.perf_counter() - begun) * 1000)
            listing = partial(fresh.list_backups, PERSON)
            found.setdefault("list_backups", []).append(store.ms(listing))
            creating = partial(fresh.create_backup, PERSON)
            found.setdefault("create_backup", []).append(store.ms(creating, store.edit))
    for name, (few, many) in found.items():
        print(f"{name:20} {few:8.1f} ms with {COUNTS[0]}, {many:8.1f} ms with {COUNTS[1]} = {many / few:.1f}")  # noqa: T201
