"""Where a project's git repository stands, read from its files; git itself is never run, for it would run filters.

Source for the layout: gitrepository-layout(5), sections HEAD, refs, packed-refs, gitdir and commondir.
"""

import hashlib
import os

from stravinsky_rollback_mcp.core.names import path_problem
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file
from stravinsky_rollback_mcp.errors import RollbackError

_MAX_BYTES = 4096
_MAX_PACKED_BYTES = 8 << 20
_POINTER = "gitdir: "
_REF = "ref: "


def head_digest(project: str) -> str:
    """SHA-256 over the branch and commit that HEAD names; empty without a repository, or when it cannot be read.

    It is another one after every checkout and commit, and says nothing of either.
    """
    folder = _git_folder(project)
    head = "" if folder is None else _text(f"{folder}/HEAD")
    if folder is None or not head:
        return ""
    commit = _commit(folder, head.removeprefix(_REF)) if head.startswith(_REF) else ""
    return hashlib.sha256(f"{head}\n{commit}".encode("utf-8", "surrogateescape")).hexdigest()


def _git_folder(project: str) -> str | None:
    """The repository's folder: ``.git`` in the project or above it, or where that file points (a worktree)."""
    above = project
    while not os.path.lexists(f"{above}/.git"):
        if above == os.path.dirname(above):
            return None
        above = os.path.dirname(above)
    if os.path.isdir(f"{above}/.git"):
        return f"{above}/.git"
    text = _text(f"{above}/.git")
    return os.path.join(above, text.removeprefix(_POINTER)) if text.startswith(_POINTER) else None


def _commit(folder: str, ref: str) -> str:
    """The commit of a ref, loose or packed; a worktree shares the refs of its main repository."""
    if path_problem(ref) or not ref.startswith("refs/"):
        return ""
    shared = _text(f"{folder}/commondir")
    folders = [folder, os.path.join(folder, shared)] if shared else [folder]
    for place in folders:
        commit = _text(f"{place}/{ref}")
        if commit:
            return commit
    packed = _text(f"{folders[-1]}/packed-refs", _MAX_PACKED_BYTES)
    return next((line.partition(" ")[0] for line in packed.splitlines() if line.endswith(f" {ref}")), "")


def _text(path: str, limit_bytes: int = _MAX_BYTES) -> str:
    """A small file's text without the end of its last line; empty when there is none that can be read."""
    try:
        return os.fsdecode(read_file(path, limit_bytes)).rstrip("\n")
    except (RollbackError, ChangedWhileReadError):
        return ""
