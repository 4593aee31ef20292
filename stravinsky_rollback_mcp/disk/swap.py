"""One target's change: the staged tree goes live in one step, and comes back the same way.

What has happened is read from the slots, never from a progress record, so every step may be repeated by recovery.
"""

import os

from stravinsky_rollback_mcp.core.codec.journal import JournalTarget
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError

EXCHANGE = "exchange"
TWO_RENAMES = "two_renames"


def swap(target: JournalTarget, files: Files) -> str:
    """Make the staged tree live and keep the old one in a slot; returns how atomic that was for readers.

    Where the file system has no exchange, two renames do it: the name is missing for some microseconds between them.
    """
    if target.had_old and target.want_new:
        if files.exchange(target.new_slot, target.resolved):
            return EXCHANGE
        files.move(target.resolved, target.old_slot)
        files.move(target.new_slot, target.resolved)
        return TWO_RENAMES
    if target.want_new:
        files.move(target.new_slot, target.resolved)
    else:
        files.move(target.resolved, target.old_slot)
    return EXCHANGE


def swap_back(target: JournalTarget, files: Files) -> None:
    """Bring the old tree back, if it ever left; the new one ends in its slot again.

    Raises ``needs_attention`` when something foreign stands in the way: then everything stays as it is.
    """
    has_new_slot = os.path.lexists(target.new_slot)
    if os.path.lexists(target.old_slot):
        if os.path.lexists(target.resolved):
            if has_new_slot:
                raise RollbackError(
                    Code.NEEDS_ATTENTION,
                    f"something else appeared at {target.resolved} while it was being replaced; "
                    f"the old tree is {target.old_slot}, the new one {target.new_slot}.",
                    f"keep what you need of {target.resolved}, move the old tree there, then run "
                    "`stravinsky-rollback recovery resume`.",
                )
            files.move(target.resolved, target.new_slot)
        files.move(target.old_slot, target.resolved)
    elif has_new_slot and target.had_old:
        if os.lstat(target.new_slot).st_ino != target.new_inode:
            _exchange_back(target, files)
    elif not has_new_slot and target.want_new and not target.had_old and os.path.lexists(target.resolved):
        files.move(target.resolved, target.new_slot)


def _exchange_back(target: JournalTarget, files: Files) -> None:
    if not files.exchange(target.new_slot, target.resolved):
        raise RollbackError(
            Code.NEEDS_ATTENTION,
            f"{target.new_slot} (the old tree) cannot be exchanged back with {target.resolved}.",
            "rename them by hand, then run `stravinsky-rollback recovery resume`.",
        )
