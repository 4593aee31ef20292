"""What one hook's look saw, so that the next hook knows in a moment that nothing has changed since.

It stands before each call of a tool: the look costs one ``lstat`` a path, and this module imports nothing that takes
long. The file is a cache and may be deleted at any time; whatever does not fit only means that everything is read. It
decides nothing but this: what a backup holds is always read.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stravinsky_rollback_mcp.core.model import View
    from stravinsky_rollback_mcp.disk.atomic import Files
    from stravinsky_rollback_mcp.disk.scan import Scan

STORE = ".stravinsky/rollback"  # below the home, unless another place is named
_FORMAT = 1
_MAX_BYTES = 64 << 20
_VARIABLES = frozenset({"HOME", "CLAUDE_CONFIG_DIR"})
# File systems tell time in steps of up to 10 ms: behind a stamp as fresh as this, another change could hide.
FRESH_NS = 50_000_000


def watch_of(environ: Mapping[str, str]) -> str:
    """Where the look of a hook in this environment is kept; empty where the project has to be searched for first."""
    home, project = environ.get("HOME", ""), environ.get("CLAUDE_PROJECT_DIR", "")
    if not os.path.isabs(home) or not os.path.isabs(project):
        return ""
    about = [str(os.geteuid()), os.path.realpath(project)]
    about += [
        f"{name}={value}"
        for name, value in sorted(environ.items())
        if name in _VARIABLES or name.startswith("STRAVINSKY_")
    ]
    digest = hashlib.sha256("\0".join(about).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{os.path.normpath(home)}/{STORE}/cache/hook-{digest[:32]}.json"


def is_as_seen(watch: str) -> bool:
    """Whether every path is as the look kept at ``watch`` saw it. False whenever that cannot be told."""
    try:
        # Non-blocking: a FIFO in its place must not hold a session.
        handle = os.open(watch, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            told = json.loads(file.read(_MAX_BYTES))
        return (
            told["format"] == _FORMAT
            and all(list(_stamp(os.stat(path))) == stamp for path, *stamp in told["tops"])
            and all(list(_stamp(os.lstat(path))) == stamp for path, *stamp in told["entries"])
            and all(os.path.lexists(path) for path in told["there"])
            and not any(os.path.lexists(path) for path in told["absent"])
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """As in a scan's signature: another one after every change."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def remember(watch: str, files: "Files", view: "View", seen: Iterable["Scan"], version: str, began_ns: int) -> None:
    """Keep what a look saw that began at ``began_ns``, once backup ``version`` of the store holds it.

    Nothing is kept of a look that leaves a doubt: a target out of sight, or a change so fresh that another one could
    hide behind the same stamp.
    """
    store = watch.rpartition("/cache/")[0]
    if view.project is None:
        return
    there, absent = _git(view.project)
    there.append(f"{store}/audit/operations.log")
    absent.append(f"{store}/recovery/journal.json")
    tops: list[tuple[str | int, ...]] = []
    entries: list[tuple[str | int, ...]] = []
    try:
        manifest = f"{store}/backups/{version}/manifest.json"
        entries.append((manifest, *_stamp(os.lstat(manifest))))
        config = f"{store}/config.json"
        if os.path.lexists(config):
            entries.append((config, *_stamp(os.lstat(config))))
        else:
            absent.append(config)
    except FileNotFoundError:
        return
    for found in seen:
        path = found.place.target.path
        if not found.signature:
            absent.append(path)
        for below, *stamp in found.signature:
            if max(stamp[-2:]) >= began_ns - FRESH_NS:
                return
            (entries if below else tops).append((f"{path}/{below}" if below else path, *stamp))
    if any(os.path.lexists(path) for path in absent):
        return
    content = {"format": _FORMAT, "tops": tops, "entries": entries, "there": there, "absent": absent}
    files.ensure_folder(os.path.dirname(watch))
    files.write_file(watch, json.dumps(content).encode())


def _git(folder: str) -> tuple[list[str], list[str]]:
    """The ``.git`` that makes a folder above the project's root, if any, and those that would if they were there."""
    absent: list[str] = []
    while True:
        git = os.path.join(folder, ".git")
        if os.path.lexists(git):
            return [git], absent
        absent.append(git)
        if folder == os.path.dirname(folder):
            return [], absent
        folder = os.path.dirname(folder)
