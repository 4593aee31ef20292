"""The ground that a store stands on: nobody else can exchange it, and nothing carries it away with a project."""

import os
import stat

from stravinsky_rollback_mcp.core.model import View
from stravinsky_rollback_mcp.core.names import is_inside
from stravinsky_rollback_mcp.errors import Code, RollbackError

# How the folders begin that programs for synchronising keep the same on several machines, and the mark of one that
# may have any name. Sources: the documentations of Dropbox, OneDrive, Google Drive, iCloud, Nextcloud, Syncthing.
_SYNCED = ("dropbox", "onedrive", "google drive", "googledrive", "icloud", "mobile documents", "cloudstorage")
_ALSO_SYNCED = ("nextcloud", "owncloud", "pcloud", "syncthing")
_SYNC_MARK = ".stfolder"


def require_safe_way(root: str) -> None:
    """Nobody else may be able to put another folder in the store's place (``store_untrusted``)."""
    for folder in _above(os.path.realpath(root)):
        if not os.path.lexists(folder):
            continue
        status = os.stat(folder)
        is_open = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if is_open or status.st_uid not in (0, os.geteuid()):
            raise RollbackError(
                Code.STORE_UNTRUSTED,
                f"{folder}, in which the store lies, can be changed by others.",
                "choose another place with --store.",
            )


def require_apart(root: str, view: View) -> None:
    """The store lies in no project, repository or target: it would be shipped with that, secrets and all.

    A repository could also bring a store of its own. The home and what is above it may be one: people keep their
    dotfiles so. Raises ``store_untrusted``.
    """
    real = os.path.realpath(root)
    home = os.path.realpath(view.home)
    persons = os.path.realpath(view.user_root)
    inside = next((target.path for target in view.targets if is_inside(real, os.path.realpath(target.path))), None)
    for folder in (real, *_above(real)):
        if inside or is_inside(home, folder):
            break
        is_project = folder == view.project or (os.path.lexists(f"{folder}/.claude") and f"{folder}/.claude" != persons)
        if is_project or os.path.lexists(f"{folder}/.git"):
            inside = folder
    if inside:
        raise RollbackError(
            Code.STORE_UNTRUSTED,
            f"the store {root} lies in {inside}, a project or repository: it would be committed and shipped with it.",
            "move it out and choose that place with --store; without --store it is ~/.stravinsky/rollback.",
        )


def synced_by(root: str) -> str | None:
    """The folder above the store that a program keeps the same on several machines, as far as its name tells."""
    for folder in _above(os.path.realpath(root)):
        name = os.path.basename(folder).casefold()
        if name.startswith((*_SYNCED, *_ALSO_SYNCED)) or os.path.lexists(f"{folder}/{_SYNC_MARK}"):
            return folder
    return None


def _above(path: str) -> list[str]:
    """The folders that a path lies in, nearest first."""
    folders: list[str] = []
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        folders.append(path)
    return folders
