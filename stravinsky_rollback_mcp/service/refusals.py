"""Refusals on their way into the audit: each one at first, and counted together when they come by the dozen.

A flood of refused calls must neither bury what matters nor fill the disk, and must not go unnoticed either: what is
not recorded one by one is recorded as a number, at the latest with the first refusal after the minute is over, or when
the process ends in order.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from stravinsky_rollback_mcp.core.model import AuditDraft

WINDOW_SECONDS = 60.0
MAX_SAME = 10  # a window: with the same code, operation and arguments
MAX_ALIKE = 300  # a window: with the same code; no name that a caller chooses opens another window


@dataclass(slots=True)
class _Window:
    """What was refused alike in the minute that began at ``since_seconds``."""

    since_seconds: float
    recorded: int = 0
    same: dict[tuple[object, object], int] = field(default_factory=dict[tuple[object, object], int])
    withheld: int = 0
    last: AuditDraft | None = None


class Refusals:
    """The refusals of one process. Threads may share it."""

    def __init__(self, record: Callable[[AuditDraft], None], clock: Callable[[], float]) -> None:
        self._record = record
        self._clock = clock
        self._guard = threading.Lock()
        self._windows: dict[str | None, _Window] = {}

    def add(self, draft: AuditDraft) -> None:
        """Record one now, or count it. Raises what recording raises."""
        details = draft.details or {}
        call = (details.get("operation"), details.get("arguments_sha256"))
        with self._guard:
            now = self._clock()
            over = [code for code, window in self._windows.items() if now - window.since_seconds >= WINDOW_SECONDS]
            ended = [self._windows.pop(code) for code in over]
            window = self._windows.setdefault(draft.error, _Window(since_seconds=now))
            same = window.same.get(call, 0)
            # A caller was told that an incident is in the audit, so each of them is.
            is_recorded = "incident" in details or (window.recorded < MAX_ALIKE and same < MAX_SAME)
            if is_recorded:
                window.recorded += 1
                window.same[call] = same + 1
            else:
                window.withheld += 1
                window.last = draft
        self._tell(ended)
        if is_recorded:
            self._record(draft)

    def end(self) -> None:
        """Record every count that is still open."""
        with self._guard:
            ended = list(self._windows.values())
            self._windows.clear()
        self._tell(ended)

    def _tell(self, ended: list[_Window]) -> None:
        for window in ended:
            if window.last is not None:
                self._record(replace(window.last, details={**(window.last.details or {}), "repeated": window.withheld}))
