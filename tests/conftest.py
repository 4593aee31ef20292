"""What every test gets: a home and a project of its own, and two guards that code under test cannot talk its way past.

One refuses any touch of the real home's Claude Code configuration, or of our store there. The other fails any blocking
call on an event loop. Both raise at once and both remember: where something swallows the exception, the test fails at
its end all the same.
"""

import builtins
import contextlib
import fcntl
import io
import os
import pwd
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from blockbuster import BlockBuster, BlockBusterFunction, BlockingError
from hypothesis.configuration import set_hypothesis_home_dir

if TYPE_CHECKING:
    from support.crash import World

# Whatever the surroundings say: children start sooner where they find what this process has compiled.
sys.dont_write_bytecode = False
# What tests share asserts too, and under `python -O` only asserts that pytest rewrote are checked.
pytest.register_assert_rewrite("support")

REPOSITORY = Path(__file__).resolve().parent.parent

# Tests change the working directory; without this Hypothesis would write its folder into their projects.
set_hypothesis_home_dir(REPOSITORY / ".hypothesis")
# A shared or slow machine must not turn a property red; the blob makes a failure repeatable from a log.
hypothesis.settings.register_profile("project", deadline=None, print_blob=True)
hypothesis.settings.load_profile("project")


# --- the real home -------------------------------------------------------------------------------------------------


class RealHomeTouchedError(BaseException):
    """A test reached for the real home. Not an ``Exception``: the code under test must not handle it."""


def _real_homes() -> frozenset[str]:
    homes = {os.environ.get("HOME", "")}
    with contextlib.suppress(KeyError):  # a container may run us under a number without a name
        homes.add(pwd.getpwuid(os.getuid()).pw_dir)
    homes.discard("")
    return frozenset(os.path.normpath(form) for home in homes for form in (home, os.path.realpath(home)))


# All of this is read before any test changes the environment.
_REAL_HOMES = _real_homes()
_FORBIDDEN = tuple(
    sorted(
        {os.path.join(home, name) for home in _REAL_HOMES for name in (".claude", ".claude.json", ".stravinsky")}
        | {os.path.realpath(folder) for folder in [os.environ.get("CLAUDE_CONFIG_DIR")] if folder}
    )
)
# A checkout may itself lie below ~/.claude (a worktree does).
_EXEMPT = (str(REPOSITORY),)

_PATH_EVENTS = frozenset(
    {"open", "sqlite3.connect", "glob.glob"}
    | {f"os.{call}" for call in ("chdir", "chflags", "chmod", "chown", "link", "listdir", "listxattr", "mkdir")}
    | {f"os.{call}" for call in ("getxattr", "remove", "removexattr", "rename", "rmdir", "scandir", "setxattr")}
    | {f"os.{call}" for call in ("symlink", "truncate", "utime", "walk", "fwalk")}
    | {f"shutil.{call}" for call in ("copyfile", "copymode", "copystat", "copytree", "chown", "move", "rmtree")}
)
_getcwd = os.getcwd  # the detector of blocking calls replaces the name in `os`
_touches: list[str] = []


def _is_below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root + "/") for root in roots)


def _reaches_real_home(value: object) -> bool:
    if not isinstance(value, (str, bytes, os.PathLike)):
        return False
    path = os.fsdecode(value)  # pyright: ignore[reportUnknownArgumentType]  # a bare PathLike has no known parameter
    if not path.startswith("/"):
        try:
            path = os.path.join(_getcwd(), path)
        except FileNotFoundError:  # the working directory is gone, so nothing can be reached through it
            return False
    path = os.path.normpath(path)
    return _is_below(path, _FORBIDDEN) and not _is_below(path, _EXEMPT)


def _child_could_reach_real_home(arguments: Any, environment: Mapping[Any, Any] | None) -> bool:
    """Whether a child process would take the real home for its own; the audit hook does not follow it there."""
    given = os.environ if environment is None else environment
    home = {os.fsdecode(name): value for name, value in given.items()}.get("HOME")
    if home is None:  # the child asks the password database; only our own programs are known to care
        words = [arguments] if isinstance(arguments, (str, bytes)) else list(arguments)
        return any("stravinsky" in os.fsdecode(word) for word in words)
    return environment is not None and os.path.normpath(os.fsdecode(home)) in _REAL_HOMES


def _refuse_real_home(event: str, details: tuple[Any, ...]) -> None:
    if event in _PATH_EVENTS:
        reached = any(_reaches_real_home(detail) for detail in details)
    elif event == "subprocess.Popen":
        reached = _child_could_reach_real_home(details[1], details[3])
    else:
        return
    if reached:
        touch = f"{event}{details!r}"
        _touches.append(touch)
        raise RealHomeTouchedError(touch)


sys.addaudithook(_refuse_real_home)


@pytest.fixture(scope="session")
def real_claude_folder() -> Path:
    """The real ``~/.claude``, for the tests of the guard."""
    if not _REAL_HOMES:
        pytest.skip("this user has no home")
    return Path(min(_REAL_HOMES), ".claude")


@pytest.fixture
def real_home_touches() -> list[str]:
    """What the guard has refused in this test; a test that provokes it clears the list."""
    return _touches


# --- the test's own home and project -------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The test's home, empty."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The test's project, empty; it is the working directory and does not lie below the home."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def isolated(home: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the person who runs the tests reaches a test, and no test reaches that person's files."""
    for name in list(os.environ):
        if name.startswith(("CLAUDE_", "STRAVINSKY_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(project)
    _touches.clear()
    yield
    touches = list(_touches)
    _touches.clear()
    if touches:
        pytest.fail("the real home was touched, and something hid it: " + "; ".join(touches), pytrace=False)


@pytest.fixture
def world(tmp_path: Path) -> Iterator["World"]:
    """A home, a project and a store that can be put back, in memory where there is memory to have."""
    from support.crash import world_in_memory  # noqa: PLC0415 - few need it, and its asserts are to be rewritten

    with world_in_memory(tmp_path) as made:
        yield made


# --- the event loop ------------------------------------------------------------------------------------------------


# Blocking calls that blockbuster leaves out.
_ALSO_BLOCKING: tuple[tuple[Any, str], ...] = (
    (builtins, "open"),
    (io, "open"),
    *((os, call) for call in ("open", "lstat", "scandir", "chmod", "fchmod", "utime", "truncate", "ftruncate")),
    *((os, call) for call in ("fsync", "fdatasync", "sync", "pread", "pwrite", "mkfifo", "system")),
    (fcntl, "flock"),
    (fcntl, "lockf"),
    (sqlite3, "connect"),
    (subprocess, "run"),
    (subprocess, "call"),
)


def _wraps_a_descriptor(file: object, *_: object, **__: object) -> bool:
    return isinstance(file, int)


@pytest.fixture(scope="session")
def detector() -> BlockBuster:
    """The detector, not yet active: making one is slow, switching it is not.

    Files may be opened on the loop by an import (libraries import late), a traceback, and a child's standard streams.
    """
    made = BlockBuster()
    for module, call in _ALSO_BLOCKING:
        function = BlockBusterFunction(module, call)
        if call == "open" and module is not os:
            function.can_block_predicate = _wraps_a_descriptor
        made.functions[f"{function.full_name}()"] = function
    for function in made.functions.values():
        function.can_block_in("<frozen importlib._bootstrap>", {"_find_and_load"})
        function.can_block_in("linecache.py", {"checkcache", "updatecache"})
        function.can_block_in("subprocess.py", {"_get_devnull"})
    return made


@pytest.fixture(autouse=True)
def blocking_calls(
    detector: BlockBuster, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[list[str]]:
    """The blocking calls that were refused on an event loop; a test that provokes one clears the list.

    It bites wherever a loop runs: in async tests, under ``anyio.run`` in a plain test, in a loop of another thread.
    Code in a worker thread has no running loop and may block.
    """
    calls: list[str] = []
    if request.node.get_closest_marker("benchmark"):
        yield calls
        return

    class RememberedBlockingError(BlockingError):
        def __init__(self, func: str) -> None:
            super().__init__(func)
            calls.append(func)

    monkeypatch.setattr("blockbuster.blockbuster.BlockingError", RememberedBlockingError)
    detector.activate()
    try:
        yield calls
    finally:
        detector.deactivate()
    if calls:
        pytest.fail("blocked the event loop: " + ", ".join(calls), pytrace=False)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio: it is what mcp's stdio server runs on for people."""
    return "asyncio"


# --- the end of a run ----------------------------------------------------------------------------------------------


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each report say which fault cases its test covers; markers stay behind in the worker, properties do not."""
    from support import cases  # noqa: PLC0415 - its asserts are to be rewritten as all others

    for item in items:
        for marker in item.iter_markers(cases.MARKER):
            item.user_properties.extend((cases.MARKER, number) for number in marker.args if cases.CASES[number])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which rows of the threat model's table and which fault cases passed, and how many states were tried."""
    from support import cases, rows  # noqa: PLC0415 - as above

    passed: list[pytest.TestReport] = terminalreporter.stats.get("passed", [])
    tables = {
        "rows of the threat model": rows.table(report.nodeid for report in passed),
        "fault cases": cases.table(
            (report.nodeid, int(str(number)))
            for report in passed
            for name, number in report.user_properties
            if name == cases.MARKER
        ),
    }
    said = (line for report in passed for line in report.capstdout.splitlines())
    tables["states tried"] = sorted(line for line in said if " states, " in line)
    for title, lines in tables.items():
        if lines:
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.write_line(line)
