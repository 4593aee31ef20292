"""Scripts that old settings named leave the live tree once the new settings are there for good."""

import os
import stat

from stravinsky_rollback_mcp.core.codec.journal import JournalTarget, Phase, Retirement
from stravinsky_rollback_mcp.core.model import EntryType
from stravinsky_rollback_mcp.core.plan import Step
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, copy_content
from stravinsky_rollback_mcp.disk.stage import Folders
from stravinsky_rollback_mcp.errors import Code, RollbackError


def retirements(step: Step) -> tuple[Retirement, ...]:
    """What leaves after the commit, deepest first."""
    folders = {entry.path: entry.mtime_ns for entry in step.desired.entries if entry.type is EntryType.DIRECTORY}
    return tuple(
        Retirement(path=entry.path, sha256=entry.sha256, folder_mtime_ns=folders.get(entry.path.rpartition("/")[0]))
        for entry in sorted(step.retired, key=lambda entry: entry.path, reverse=True)
    )


def retire(target: JournalTarget, files: Files) -> None:
    """Remove what the journal lists for one target, as far as it is still there and still what it was.

    May be repeated. Whatever somebody changed since stays: it is theirs. Folders keep their times.
    """
    if files.phase != Phase.COMMITTED:
        raise RollbackError(Code.INTERNAL, "a script would go while the settings that name it may come back.")
    for item in target.retired:
        if not item.path:
            files.remove_empty_folder(target.resolved)
            continue
        with Folders(target.resolved) as folders:
            _retire_one(item, folders, files)


def _retire_one(item: Retirement, folders: Folders, files: Files) -> None:
    try:
        handle, name = folders.parent(item.path)
    except RollbackError:
        return  # the way to it is gone, or leads elsewhere now
    try:
        status = os.stat(name, dir_fd=handle, follow_symlinks=False)
    except FileNotFoundError:
        status = None
    if status is not None and _is_what_it_was(item, status, handle, name):
        if stat.S_ISDIR(status.st_mode):
            files.remove_empty_folder(name, dir_fd=handle)
        else:
            files.remove_file(name, dir_fd=handle)
    if item.folder_mtime_ns is not None:
        files.set_time_of(handle, item.folder_mtime_ns, item.path)
    files.fsync(handle, item.path)


def _is_what_it_was(item: Retirement, status: os.stat_result, handle: int, name: str) -> bool:
    if not stat.S_ISREG(status.st_mode):
        return not item.sha256
    try:
        return copy_content(item.path, name, handle, lambda _: None) == item.sha256
    except (ChangedWhileReadError, RollbackError):
        return False
