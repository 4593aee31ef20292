"""Where programs and Python's modules would be found, told from the file system alone: nothing is started.

An interpreter of the person's, asked where it looks, would run their start-up code. What Python imports from follows
from where its files lie instead (CPython's ``getpath`` and ``site``); where that does not tell, nothing is claimed.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file
from stravinsky_rollback_mcp.disk.syntax import FOLDERS
from stravinsky_rollback_mcp.errors import RollbackError

_VERSIONED = re.compile(r"(?:python|pypy)\d+\.\d+t?")
STANDARD = sys.stdlib_module_names  # some of it is compiled into interpreters and lies nowhere
_MAX_CONFIGURATION_BYTES = 1 << 16
_MAX_NAMES = 20_000  # of one folder


def find_program(name: str, folders: Sequence[str]) -> str | None:
    """The path of the program that a plain name would start; the system's own folders come last."""
    paths = (os.path.join(folder, name) for folder in (*folders, *FOLDERS))
    return next((path for path in paths if is_program(path)), None)


def is_program(path: str) -> bool:
    """Whether a file that may be run stands at this path, links followed."""
    return os.path.isfile(path) and os.access(path, os.X_OK)


def importable(interpreter: str, home: str) -> frozenset[str] | None:
    """The top names that a Python at this path could import besides what lies beside a script.

    None where that cannot be told: a launcher that chooses one, a layout of its own, installs that are code.
    """
    environment = _environment(interpreter)
    base = _base(interpreter) if environment is None else environment[1]
    if base is None or not os.path.isfile(os.path.join(base, "os.py")):
        return None
    version = os.path.basename(base)
    folders = [base, os.path.join(base, "lib-dynload")]
    if environment is None or environment[2]:
        folders += _sites(base, home)
    if environment is not None:
        folders.append(os.path.join(environment[0], "lib", version, "site-packages"))
    names = set(STANDARD)
    for folder in folders:
        more = _installed(folder)
        if more is None:
            return None
        names |= more
    return frozenset(names)


def names_beside(path: str) -> frozenset[str]:
    """The top names that Python finds beside a script, links to it followed."""
    return _names(os.path.dirname(os.path.realpath(path)))


def _environment(interpreter: str) -> tuple[str, str | None, bool] | None:
    """Of a virtual environment its folder, the library of its base, and whether it sees what is installed there."""
    folder = os.path.dirname(os.path.dirname(interpreter))
    try:
        content = read_file(os.path.join(folder, "pyvenv.cfg"), _MAX_CONFIGURATION_BYTES)
    except (RollbackError, ChangedWhileReadError):
        return None
    lines = (line.partition("=") for line in content.decode("utf-8", "replace").splitlines())
    fields = {name.strip().lower(): value.strip() for name, _, value in lines}
    return folder, _base(interpreter), fields.get("include-system-site-packages", "").lower() == "true"


def _base(interpreter: str) -> str | None:
    """The folder of an interpreter's standard library; its file is named after its version."""
    real = os.path.realpath(interpreter)
    version = os.path.basename(real)
    if _VERSIONED.fullmatch(version) is None:
        return None
    return os.path.join(os.path.dirname(os.path.dirname(real)), "lib", version)


def _sites(base: str, home: str) -> Iterator[str]:
    """Where packages for one interpreter are installed: its own folder, Debian's two, the person's."""
    prefix, version = os.path.dirname(os.path.dirname(base)), os.path.basename(base)
    yield os.path.join(base, "site-packages")
    yield os.path.join(base, "dist-packages")
    yield os.path.join(prefix, "lib", "python3", "dist-packages")
    yield os.path.join(prefix, "local", "lib", version, "dist-packages")
    yield os.path.join(home, ".local", "lib", version, "site-packages")


def _installed(folder: str) -> frozenset[str] | None:
    """The names in a folder of packages and in those that its ``.pth`` files add; None where such a file is code.

    The one that every installation of setuptools brings changes nothing of what can be found.
    """
    names = set(_names(folder))
    for name in sorted(_listed(folder)):
        if name.endswith(".pth") and name != "distutils-precedence.pth":
            content = b""
            with suppress(RollbackError, ChangedWhileReadError):
                content = read_file(os.path.join(folder, name), _MAX_CONFIGURATION_BYTES)
            for line in content.decode("utf-8", "replace").splitlines():
                if line.startswith(("import ", "import\t")):
                    if name.startswith("__editable__"):
                        return None
                elif line.strip() and not line.startswith("#"):
                    names |= _names(os.path.join(folder, line.strip()))
    return frozenset(names)


def _names(folder: str) -> frozenset[str]:
    return stems(_listed(folder))


def stems(names: Iterable[str]) -> frozenset[str]:
    """The module names of files and folders: ``a.py``, ``a.cpython-311.so`` and ``a`` are all ``a``."""
    return frozenset(name.partition(".")[0] for name in names)


def _listed(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as found:
            return [entry.name for entry, _ in zip(found, range(_MAX_NAMES), strict=False)]
    except (OSError, ValueError):
        return []
