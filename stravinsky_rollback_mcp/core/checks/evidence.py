"""What the checks judge: a configuration as it is, was, or would be, and the machine that it lies on.

``disk/probe.py`` gathers it, the checks only read it. A part that nobody looked at is empty, and then nothing is found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from stravinsky_rollback_mcp.core.model import Scope
from stravinsky_rollback_mcp.core.names import shown
from stravinsky_rollback_mcp.core.scripts import Roots


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsText:
    """One settings file that is there; ``path`` is shown as people see it, here as everywhere."""

    scope: Scope
    component: str
    path: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """One folder of commands, agents, skills, styles or rules.

    ``files`` are relative paths, those of links to files among them; ``links`` lead to a folder, ``dangling`` to
    nothing. ``texts`` has the head of each file that matters; one that could not be read is not in it.
    """

    scope: Scope
    component: str
    path: str
    files: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    dangling: tuple[str, ...] = ()
    texts: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def shown(self, path: str) -> str:
        """A path in it as people see it."""
        return f"{self.path}/{shown(path, '')}"


class ScriptState(StrEnum):
    """What stands at the path that a command names."""

    ABSENT = "absent"
    FILE = "file"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Syntax:
    """What the parser of one language says of a script; ``line`` is where it stopped.

    ``imports`` are the top modules that a Python script cannot do without; ``moves_path`` says that it changes where
    they are looked for.
    """

    is_good: bool
    line: int | None = None
    imports: tuple[str, ...] = ()
    moves_path: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One path that a command names, as it is or would be.

    ``shebang`` is the plain name of the interpreter in its first line, empty without one, and ``?`` for one that is
    not known here; ``interpreter`` is the word itself, a name or a path. ``syntax`` holds what was parsed, by
    language; what no parser could judge is not in it.
    """

    path: str
    state: ScriptState
    is_readable: bool = False
    is_executable: bool = False
    shebang: str = ""
    interpreter: str = ""
    syntax: Mapping[str, Syntax] = field(default_factory=dict[str, Syntax])


@dataclass(frozen=True, slots=True, kw_only=True)
class Imports:
    """The modules that one Python does not find for one script; without ``is_known`` it may find them after all."""

    missing: tuple[str, ...]
    is_known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """One file system and what an operation would put on it; ``free_inodes`` is None where it does not count them."""

    path: str
    free_bytes: int
    free_inodes: int | None
    needed_bytes: int
    needed_inodes: int
    threshold_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A path that was tried and may not be read, or a folder in which nothing may be replaced."""

    scope: Scope
    path: str
    is_readable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """A file on which another program holds an advisory lock."""

    scope: Scope
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What one more backup would do: the limits that it would exceed all the same, and the backups that would go."""

    exceeded: tuple[str, ...]
    leaving: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHealth:
    """What reading one stored backup back found; no problems mean that it is intact."""

    version: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What an update says it brought: the version that was asked for, and the one that its own file declares.

    ``latest`` is the version that ``latest.json`` names afterwards.
    """

    version: str
    path: str
    declared: str | None
    latest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the checks look at.

    ``is_restore`` is set for what a backup would bring back: what Claude Code merely passes over is then no error.
    ``scripts`` are keyed by absolute path, ``shell_lines`` by the command as it stands in settings. ``sh_is_dash``
    tells how this machine's ``sh`` ends when its script is missing: dash with 2, bash with 127. ``absent_programs`` are
    words of commands and first lines; ``imports`` is keyed by the word that names the Python, and the script.
    """

    is_restore: bool = False
    roots: Roots = Roots(home="", project="")  # noqa: RUF009 - a frozen value
    settings: tuple[SettingsText, ...] = ()
    folders: tuple[Folder, ...] = ()
    scripts: Mapping[str, Script] = field(default_factory=dict[str, Script])
    shell_lines: Mapping[str, Syntax] = field(default_factory=dict[str, Syntax])
    sh_is_dash: bool = False
    absent_programs: frozenset[str] = frozenset()
    imports: Mapping[tuple[str, str], Imports] = field(default_factory=dict[tuple[str, str], Imports])
    spaces: tuple[Space, ...] = ()
    denied: tuple[Denied, ...] = ()
    locked: tuple[Locked, ...] = ()
    capacity: Capacity | None = None
    backups: tuple[StoredHealth, ...] = ()
    release: Release | None = None
