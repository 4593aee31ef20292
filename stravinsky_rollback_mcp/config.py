"""Where everything lies and what the limits are: the only reader of environment, home and ``config.json``.

Nothing inside a project is ever read as our own configuration. Bad values are refused by the name of their variable
or field, before anything else happens.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.codec import configuration as codec
from stravinsky_rollback_mcp.core.components import view_of
from stravinsky_rollback_mcp.core.model import Limits, View
from stravinsky_rollback_mcp.core.policy import (
    DEFAULTS,
    Policy,
    Value,
    changed,
    is_ignored_from_environment,
    parsed,
    policy_of,
)
from stravinsky_rollback_mcp.disk.watch import STORE, watch_of
from stravinsky_rollback_mcp.errors import Code, RollbackError

FILE = "config.json"
_MAX_BYTES = 1 << 20
# Two fields that are set so often that they have a short name beside ``STRAVINSKY_<SECTION>_<FIELD>``.
_SHORT_NAMES: Mapping[str, str] = {
    "STRAVINSKY_AUTO_ROLLBACK": "update.auto_rollback_on_failure",
    "STRAVINSKY_AUDIT_RETENTION_DAYS": "audit.log_retention_days",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What one process works with; paths are absolute.

    ``search_path`` are the folders in which hooks find their programs; ``watch`` is where a hook's look is kept, empty
    where none is. ``sources`` says where a field that is not at its default comes from: ``config.json``, or a
    variable's name; ``warnings`` tell of overrides that were not followed.
    """

    view: View
    store: str
    session_id: str
    search_path: tuple[str, ...]
    watch: str
    policy: Policy
    sources: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def limits(self) -> Limits:
        """The bounds of one capture or extraction."""
        backup = self.policy.backup
        return Limits(
            max_file_size_bytes=backup.max_file_size_mb << 20,
            max_entries=backup.max_entries,
            max_depth=backup.max_depth,
        )


def terminal_twin() -> str:
    """The absolute path of the terminal command installed beside this program; its bare name where it is not there."""
    path = os.path.join(os.path.dirname(sys.executable), "stravinsky-rollback")
    return path if os.path.exists(path) else "stravinsky-rollback"


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
    store_path = os.path.normpath(os.path.join(cwd, store) if store else os.path.join(home, STORE))
    stored = stored_values(store_path)
    overrides, warnings = _overrides(environ)
    values = {**stored, **{key: value for key, (_, value) in overrides.items()}}
    return Config(
        view=_view(home, os.path.normpath(user_root), _project(environ, home, cwd, project, for_terminal=for_terminal)),
        store=store_path,
        session_id=environ.get("CLAUDE_CODE_SESSION_ID", "")[:200],
        watch="" if store or project else watch_of(environ),
        search_path=tuple(folder for folder in environ.get("PATH", "").split(os.pathsep) if os.path.isabs(folder)),
        policy=policy_of(values),
        sources={**dict.fromkeys(stored, FILE), **{key: name for key, (name, _) in overrides.items()}},
        warnings=warnings,
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
        # By the name that people use for their home, so that it is shown as ~.
        folder=home if project == os.path.realpath(home) else project,
    )


def stored_values(store: str) -> dict[str, Value]:
    """What ``config.json`` of a store sets, by ``section.field``; refused by name where it is wrong."""
    try:
        # Non-blocking: a FIFO in its place must not hold the start for ever.
        handle = os.open(f"{store}/{FILE}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RollbackError(Code.STORE_UNTRUSTED, "config.json cannot be read.", "mend its permissions.") from error
    return codec.decode(content)


def _overrides(environ: Mapping[str, str]) -> tuple[dict[str, tuple[str, Value]], tuple[str, ...]]:
    """What variables set, by ``section.field`` with the variable's name, and what of it is not followed."""
    names = {f"STRAVINSKY_{key.replace('.', '_')}".upper(): key for key in DEFAULTS}
    found: dict[str, tuple[str, Value]] = {}
    warnings: list[str] = []
    for name, key in (*names.items(), *_SHORT_NAMES.items()):
        if name in environ:
            value = parsed(environ[name])
            changed(Policy(), key, value, source=name)
            if is_ignored_from_environment(key, value):
                warnings.append(f"{name} is ignored: only {FILE} can switch off {key}.")
            else:
                found[key] = (name, value)
    return found, tuple(warnings)
