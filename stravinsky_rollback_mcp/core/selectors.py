"""Words that stand for a backup: ``@previous``, ``@24h`` and its like, ``@2026-11-23T09:00:00Z``."""

import difflib
from dataclasses import dataclass
from datetime import datetime

from stravinsky_rollback_mcp.core.times import bound
from stravinsky_rollback_mcp.errors import Code, RollbackError

MARK = "@"
PREVIOUS = "@previous"
_FORMS = "@previous, @24h, @7d, @30m or @2026-11-23T09:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """``moment`` (RFC 3339, UTC) asks for the newest intact backup at or before; None for the state before live."""

    moment: str | None


def selector_of(text: str, now: datetime) -> Selector | None:
    """What a caller means by a word in place of a version; None when it is a version's name.

    Raises ``invalid_argument`` for a word that begins like a selector and is none.
    """
    if not text.startswith(MARK):
        return None
    if text == PREVIOUS:
        return Selector(moment=None)
    try:
        return Selector(moment=bound(text.removeprefix(MARK), now, is_end=True))
    except RollbackError as error:
        is_near = difflib.get_close_matches(text[:64].casefold(), [PREVIOUS], n=1)
        hint = f"did you mean {PREVIOUS}?" if is_near else f"write {_FORMS}, or a version from list_backups."
        raise RollbackError(Code.INVALID_ARGUMENT, f"{text[:64]!a} is no selector of a backup.", hint) from error
