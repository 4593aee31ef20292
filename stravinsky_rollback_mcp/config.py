"""Where everything lies and what the limits are: the only reader of environment, home and ``config.json``.

Nothing inside a project is ever read as our own configuration. Bad values are refused by the name of their variable
or field, before anything else happens.
"""

import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from stravinsky_rollback_mcp.core.codec.text import from_json
from stravinsky_rollback_mcp.core.components import view_of
from stravinsky_rollback_mcp.core.model import Limits, View
from stravinsky_rollback_mcp.errors import Code, RollbackError

VERSION = "1.0"
_MAX_BYTES = 1 << 20
_LARGEST = 999_999_999  # no clock or counter overflows below it

# section → field → default. The type of the default is the type of the field.
DEFAULTS: Mapping[str, Mapping[str, bool | int]] = {
    "backup": {"on_session_start": True, "max_file_size_mb": 64, "max_entries": 200_000, "max_depth": 64},
    "safety": {"lock_timeout_seconds": 5},
}
# Folders are walked by recursion, one open handle each, and a path must fit into an archive's long name (64 KiB).
_LARGEST_OF = {("backup", "max_depth"): 200}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What one process works with; paths are absolute."""

    view: View
    store: str
    session_id: str
    limits: Limits
    on_session_start: bool
    lock_timeout_seconds: int


def of_process(*, for_terminal: bool, project: str | None = None, store: str | None = None) -> Config:
    """The configuration of this process from its own environment; see ``load``."""
    return load(os.environ, for_terminal=for_terminal, project=project, store=store)


def load(
    environ: Mapping[str, str], *, for_terminal: bool, project: str | None = None, store: str | None = None
) -> Config:
    """The configuration of this process.

    Raises ``env_untrusted`` when home or working directory cannot be relied on, ``invalid_argument`` for a wrong
    value or folder. Source for the roots: Claude Code's own rules (``CLAUDE_CONFIG_DIR``, ``CLAUDE_PROJECT_DIR``).
    """
    if sys.getfilesystemencoding().lower() != "utf-8":
        raise _untrusted(f"file names are read as {sys.getfilesystemencoding()}", "set a UTF-8 locale, or PYTHONUTF8=1")
    home = environ.get("HOME", "")
    if not os.path.isabs(home) or not os.path.isdir(home):
        raise _untrusted("HOME is not the absolute path of a folder", "set HOME")
    home = os.path.normpath(home)
    if os.geteuid() == 0 and os.stat(home).st_uid != 0:
        raise _untrusted("root would work on another person's configuration", "run it as that person, without sudo")
    user_root = environ.get("CLAUDE_CONFIG_DIR") or os.path.join(home, ".claude")
    if not os.path.isabs(user_root):
        raise _untrusted("CLAUDE_CONFIG_DIR is not an absolute path", "set it to an absolute path")
    try:
        cwd = os.getcwd()
    except FileNotFoundError as error:
        raise _untrusted("the working directory was deleted", "change to a folder that exists") from error
    store_path = os.path.normpath(os.path.join(cwd, store) if store else os.path.join(home, ".stravinsky/rollback"))
    values = _values(f"{store_path}/config.json", environ)
    return Config(
        view=_view(home, os.path.normpath(user_root), _project(environ, home, cwd, project, for_terminal=for_terminal)),
        store=store_path,
        session_id=environ.get("CLAUDE_CODE_SESSION_ID", "")[:200],
        limits=Limits(
            max_file_size_bytes=values["backup", "max_file_size_mb"] << 20,
            max_entries=values["backup", "max_entries"],
            max_depth=values["backup", "max_depth"],
        ),
        on_session_start=bool(values["backup", "on_session_start"]),
        lock_timeout_seconds=values["safety", "lock_timeout_seconds"],
    )


def _untrusted(what: str, hint: str) -> RollbackError:
    return RollbackError(Code.ENV_UNTRUSTED, f"{what}.", f"{hint}, then start again.")


def _project(environ: Mapping[str, str], home: str, cwd: str, given: str | None, *, for_terminal: bool) -> str:
    chosen = given or environ.get("CLAUDE_PROJECT_DIR")
    if chosen:
        path = os.path.realpath(os.path.join(cwd, chosen))
        if not os.path.isdir(path):
            raise RollbackError(Code.INVALID_ARGUMENT, "the project folder does not exist.", "check --project.")
        return path
    if not for_terminal:
        return os.path.realpath(cwd)
    folder = cwd
    # The working directory comes without links; the home need not.
    while folder not in (home, os.path.realpath(home), os.path.dirname(folder)):
        if os.path.isdir(f"{folder}/.claude"):
            return os.path.realpath(folder)
        folder = os.path.dirname(folder)
    return os.path.realpath(_git_root(cwd) or cwd)


def _git_root(folder: str) -> str | None:
    while not os.path.lexists(f"{folder}/.git"):
        if folder == os.path.dirname(folder):
            return None
        folder = os.path.dirname(folder)
    return folder


def _view(home: str, user_root: str, project: str) -> View:
    is_one_scope = os.path.realpath(f"{project}/.claude") == os.path.realpath(user_root)
    return view_of(
        home=home,
        user_root=user_root,
        project=None if is_one_scope else project,
        git_root=_git_root(project),
    )


def _values(path: str, environ: Mapping[str, str]) -> dict[tuple[str, str], int]:
    values = {(section, field): value for section, fields in DEFAULTS.items() for field, value in fields.items()}
    for (section, field), value in _stored_values(path).items():
        values[section, field] = _checked(f"{section}.{field} in config.json", value, section, field)
    for section, field in values:
        name = f"STRAVINSKY_{section}_{field}".upper()
        if name in environ:
            values[section, field] = _checked(name, _parsed(environ[name]), section, field)
    return values


def _stored_values(path: str) -> dict[tuple[str, str], object]:
    try:
        # Non-blocking: a FIFO in its place must not hold the start for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RollbackError(Code.STORE_UNTRUSTED, "config.json cannot be read.", "mend its permissions.") from error
    try:
        members = from_json(content)
    except ValueError as error:
        raise RollbackError(
            Code.INVALID_ARGUMENT, f"config.json is not of the agreed form: {error}.", "mend it, or move it away."
        ) from error
    found: dict[tuple[str, str], object] = {}
    if members.pop("version", None) != VERSION:
        raise RollbackError(
            Code.UNSUPPORTED_VERSION, f'config.json does not say "version": "{VERSION}".', "write that into it."
        )
    for section, fields in members.items():
        if section not in DEFAULTS:
            raise _unknown(section, list(DEFAULTS))
        if not isinstance(fields, dict):
            raise RollbackError(
                Code.INVALID_ARGUMENT, f"{section} in config.json is not a JSON object.", "correct it and start again."
            )
        for field, value in cast("dict[str, object]", fields).items():
            if field not in DEFAULTS[section]:
                raise _unknown(f"{section}.{field}", [f"{section}.{known}" for known in DEFAULTS[section]])
            found[section, field] = value
    return found


def _unknown(name: str, known: list[str]) -> RollbackError:
    nearest = difflib.get_close_matches(name, known, n=1) or known
    return RollbackError(
        Code.INVALID_ARGUMENT, f"config.json has no section or field {name!a}.", f"did you mean {', '.join(nearest)}?"
    )


def _parsed(text: str) -> object:
    words: dict[str, object] = {"true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(_LARGEST)) else text


def _checked(name: str, value: object, section: str, field: str) -> int:
    is_truth = isinstance(DEFAULTS[section][field], bool)
    largest = _LARGEST_OF.get((section, field), _LARGEST)
    if not isinstance(value, int) or isinstance(value, bool) != is_truth or not (is_truth or 1 <= value <= largest):
        wanted = "true or false" if is_truth else f"a whole number from 1 to {largest}"
        raise RollbackError(Code.INVALID_ARGUMENT, f"{name} is not {wanted}.", "correct it and start again.")
    return value
