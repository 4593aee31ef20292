"""What names may look like: versions given by callers, paths inside trees, archives, and how paths are shown."""

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Sequence

from stravinsky_rollback_mcp.core.codec.text import name_bytes
from stravinsky_rollback_mcp.core.model import Kind
from stravinsky_rollback_mcp.errors import Code, RollbackError

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", re.ASCII)
_DRIVE = re.compile(r"[A-Za-z]:", re.ASCII)
_OURS = (".pre_rollback", ".pre_undo", ".pre_redo", ".pre_update", ".rescue")
_RESERVED = frozenset({"latest", "live"})
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}
)
MAX_NAME_BYTES = 255
MAX_NOTE = 500  # characters
MAX_LINES = 50


def is_version(name: str) -> bool:
    """Whether a name has the form of a version, ours included."""
    return _VERSION.fullmatch(name) is not None and not name.endswith(".")


def require_new_version(name: str) -> str:
    """The name, if a caller may give it to a new backup; else ``invalid_name``."""
    folded = name.casefold()
    problem = ""
    if not is_version(name):
        problem = (
            "may hold only letters, digits and . _ + -, begins with a letter or digit and has at most 64 characters"
        )
    elif folded in _RESERVED or folded.endswith(_OURS):
        problem = "is a name that this program keeps for itself"
    elif folded.split(".", maxsplit=1)[0] in _DEVICES:
        problem = "is the name of a Windows device"
    if problem:
        raise RollbackError(
            Code.INVALID_NAME,
            f"the version name {problem}.",
            "choose a name such as v1.2.0 or before-hooks-cleanup, or leave it out.",
        )
    return name


def require_note(note: str) -> None:
    """Refuse a caller's words that are long or could move a cursor."""
    if len(note) > MAX_NOTE or not note.isprintable():
        raise RollbackError(
            Code.INVALID_ARGUMENT,
            f"the note is longer than {MAX_NOTE} characters or holds control characters.",
            "shorten it to one line.",
        )


def path_problem(path: str) -> str:
    """Why a relative path inside a tree is unsafe, or the empty text when it is fine."""
    if not path or path.startswith("/") or "\0" in path:
        return "a path that is empty, absolute or holds a zero byte"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return "a path with an empty part, . or .."
        if len(name_bytes(part)) > MAX_NAME_BYTES:
            return "a name that is too long"
    return ""


def is_inside(path: str, folder: str) -> bool:
    """Whether an absolute path is that folder or lies below it, by its text."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def leads_out(path: str, link: str) -> bool:
    """Whether a link at ``path`` in a tree leads, by its text, out of that tree."""
    place = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return place == ".." or place.startswith(("../", "/"))


def spelling_problem(path: str, known: Iterable[str]) -> str:
    """Why a name that nobody listed is a trap on some system, or the empty text: it reads as another path there."""
    if "\\" in path or _DRIVE.match(path):
        return "a name with a drive letter or backslashes"
    folded = unicodedata.normalize("NFC", path).casefold()
    if any(unicodedata.normalize("NFC", name).casefold() == folded for name in known):
        return "a name that differs from another only by case or normal form"
    return ""


def archive_name(target_id: str, kind: Kind) -> str:
    """The constant file name of a target's archive in a backup's folder.

    Never one that ends in ``.md``: where Claude Code finds such a file, it may take it for its own.
    """
    if kind is Kind.DIRECTORY:
        return f"{target_id}.tar.gz"
    return f"{target_id}.txt" if target_id.endswith("memory") else f"{target_id}.json"


def plural(count: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def capped(lines: Sequence[str]) -> tuple[str, ...]:
    """At most ``MAX_LINES`` lines; the last says how many were left off."""
    if len(lines) <= MAX_LINES:
        return tuple(lines)
    return (*lines[: MAX_LINES - 1], f"… and {len(lines) - MAX_LINES + 1} more like these.")


def shown(path: str, home: str) -> str:
    """A path as people and models see it: the home folder as ``~``, odd bytes and control characters escaped."""
    if home and path == home:
        path = "~"
    elif home and path.startswith(home.rstrip("/") + "/"):
        path = "~" + path[len(home.rstrip("/")) :]
    return path if path.isprintable() else "".join(_shown_character(character) for character in path)


def _shown_character(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
