"""One target's change: the staged tree goes live in one step, and comes back the same way.

What has happened is read from the slots, never from a progress record, so every step may be repeated by recovery.
"""

import os
import re
from collections.abc import Callable

from stravinsky_rollback_mcp.core.codec.journal import JournalTarget
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError

EXCHANGE = "exchange"
TWO_RENAMES = "two_renames"
_ESCAPED = re.compile(rb"\\([0-7]{3})")  # how mountinfo writes blanks, line ends and backslashes


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


def swap_back(target: JournalTarget, files: Files, digest_of: Callable[[str], str]) -> None:
    """Bring the old tree back, if it ever left; the new one ends in its slot again.

    ``digest_of`` gives the tree digest of what lies at a path, empty when that cannot be told.
    Raises ``needs_attention`` when something foreign stands in the way: then everything stays as it is.
    """
    _finish_moves(target, files)
    has_new_slot = os.path.lexists(target.new_slot)
    if os.path.lexists(target.old_slot):
        if os.path.lexists(target.resolved):
            if has_new_slot:
                raise RollbackError(
                    Code.NEEDS_ATTENTION,
                    f"something else appeared at {target.resolved} while it was being replaced; "
                    f"the old tree is {target.old_slot}, the new one {target.new_slot}.",
                    f"keep what you need of {target.resolved}, move it away, then run "
                    "`stravinsky-rollback recovery resume`.",
                )
            files.move(target.resolved, target.new_slot)
        files.move(target.old_slot, target.resolved)
    elif has_new_slot and target.had_old:
        if was_exchanged(target, digest_of(target.new_slot)):
            _bring_back(target, files)
    elif not has_new_slot and target.want_new and not target.had_old and os.path.lexists(target.resolved):
        files.move(target.resolved, target.new_slot)


def _finish_moves(target: JournalTarget, files: Files) -> None:
    """A file was moved by link and unlink, and the process ended in between: take one of its two names away."""
    if _is_one_file(target.old_slot, target.resolved):
        files.remove_file(target.old_slot)  # the old file is where it belongs
    elif _is_one_file(target.new_slot, target.resolved):
        files.remove_file(target.resolved)  # the new file goes back to its slot


def _is_one_file(first: str, second: str) -> bool:
    try:
        return os.path.samestat(os.lstat(first), os.lstat(second))
    except FileNotFoundError:
        return False


def was_exchanged(target: JournalTarget, found: str) -> bool:
    """Whether the slot holds the old tree, by its content; where somebody wrote into it, by its inode number.

    The number alone would do for a process that fails, but not every file system keeps it over a restart (FUSE), and
    no copy of a home does.
    """
    if found in (target.old_digest, target.new_digest):
        return found == target.old_digest
    return os.lstat(target.new_slot).st_ino != target.new_inode


def _bring_back(target: JournalTarget, files: Files) -> None:
    """The old tree is in the new one's slot: exchange them, or just move it when the new one was removed."""
    if not os.path.lexists(target.resolved):
        files.move(target.new_slot, target.resolved)
    elif not files.exchange(target.new_slot, target.resolved):
        raise RollbackError(
            Code.NEEDS_ATTENTION,
            f"{target.new_slot} (the old tree) cannot be exchanged back with {target.resolved}.",
            "rename them by hand, then run `stravinsky-rollback recovery resume`.",
        )


def require_no_mount(path: str) -> None:
    """Refuse a target that is or holds a mount point (``cross_device``).

    The mount would travel away with the displaced tree, and deleting that tree would empty what is mounted there.
    Source: proc(5), mountinfo. ``ismount`` alone misses mounts of the same file system.
    """
    for mount in _mounts():
        if mount == path or mount.startswith(f"{path}/"):
            raise RollbackError(
                Code.CROSS_DEVICE,
                f"{mount} is a mount point and cannot be exchanged in one step.",
                "unmount it, or copy the files of the backup into it by hand.",
            )
    if os.path.lexists(path) and os.path.ismount(path):
        raise RollbackError(
            Code.CROSS_DEVICE,
            f"{path} is a mount point and cannot be exchanged in one step.",
            "unmount it, or copy the files of the backup into it by hand.",
        )


def _mounts() -> tuple[str, ...]:
    """Every mount point that this process sees; none where the system does not tell."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            fields = [line.split(b" ")[4] for line in file]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(os.fsdecode(_ESCAPED.sub(lambda found: bytes((int(found[1], 8),)), field)) for field in fields)
