"""The guards of ``conftest.py`` bite. A guard that was never seen to fail is a decoration."""

import importlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import click
import pytest
from blockbuster import BlockingError
from click.testing import CliRunner
from support.cases import CASES

REPOSITORY = Path(__file__).resolve().parent.parent

# Raised by the audit hook before the call happens. Each would fail harmlessly if the hook were missing.
TOUCHES: dict[str, Callable[[Path], object]] = {
    "listdir": os.listdir,
    "listdir by bytes": lambda real: os.listdir(os.fsencode(real)),
    "scandir": os.scandir,
    "open": lambda real: open(real / "settings.json", "rb"),  # noqa: SIM115
    "os.open": lambda real: os.open(real / "no-such-folder" / "x", os.O_RDONLY),
    "mkdir": lambda real: os.mkdir(real / "no-such-folder" / "x"),
    "rename": lambda real: os.rename(real / "no-such-file", "here"),
    "rename into": lambda real: os.rename("no-such-file", real / "x"),
    "remove": lambda real: os.remove(real / "no-such-file"),
    "rmdir": lambda real: os.rmdir(real / "no-such-folder"),
    "symlink": lambda real: os.symlink("x", real / "no-such-folder" / "x"),
    "link": lambda real: os.link(real / "no-such-file", "here"),
    "chmod": lambda real: os.chmod(real / "no-such-file", 0o600),
    "utime": lambda real: os.utime(real / "no-such-file"),
    "sqlite3": lambda real: sqlite3.connect(real / "no-such-folder" / "x.sqlite"),
    "rmtree": lambda real: shutil.rmtree(real / "no-such-folder"),
    "our store": lambda real: os.listdir(real.parent / ".stravinsky" / "rollback"),
    "a detour": lambda real: os.listdir(os.path.join(real, "..", ".", ".claude")),
    "a relative path": lambda real: os.listdir(os.path.relpath(real)),
}


def refusal(action: Callable[[], object]) -> str:
    """The name of what ``action`` raises; the guard's exception lives in ``conftest.py``, which cannot be imported."""
    try:
        action()
    except BaseException as error:  # noqa: BLE001  # by its nature; the name is compared
        return type(error).__name__
    return "nothing"


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES.keys())
def test_touching_the_real_configuration_is_refused(
    touch: Callable[[Path], object], real_claude_folder: Path, real_home_touches: list[str]
) -> None:
    """Whatever the call, it never reaches the disk."""
    assert refusal(lambda: touch(real_claude_folder)) == "RealHomeTouchedError"
    assert len(real_home_touches) == 1
    real_home_touches.clear()


def test_a_child_process_with_the_real_home_is_refused(real_claude_folder: Path, real_home_touches: list[str]) -> None:
    """The audit hook cannot see what a child does, so it must not start with the real home, nor ours without one."""
    ours = [sys.executable, "-m", "stravinsky_rollback_mcp", "--no-such-option"]
    for command, environment in ((["true"], {"HOME": str(real_claude_folder.parent)}), (ours, {"PATH": os.defpath})):
        assert refusal(lambda c=command, e=environment: subprocess.run(c, env=e, check=False)) == "RealHomeTouchedError"
    real_home_touches.clear()
    subprocess.run(["true"], check=True)
    subprocess.run(["true"], env={"PATH": os.defpath}, check=True)


def test_the_rest_of_the_real_home_stays_usable(real_claude_folder: Path) -> None:
    """Interpreters and caches may live there, and names that only begin alike are not ours."""
    for allowed in (real_claude_folder.parent, real_claude_folder.with_name(".claude-is-not-this")):
        assert refusal(lambda path=allowed: os.listdir(path)) != "RealHomeTouchedError"


@pytest.fixture(scope="module")
def _settings_of_the_person() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CLAUDE_CONFIG_DIR", "CLAUDE_PROJECT_DIR", "STRAVINSKY_AUTO_ROLLBACK", "XDG_DATA_HOME"):
            patch.setenv(name, "/nowhere")
        yield


@pytest.mark.usefixtures("_settings_of_the_person")
def test_each_test_has_its_own_home_and_project(home: Path, project: Path) -> None:
    """Home, working directory and environment are the test's own, and both folders are empty."""
    assert Path.home() == home
    assert Path.cwd() == project
    assert list(home.iterdir()) == list(project.iterdir()) == []
    assert [name for name in os.environ if name.startswith(("CLAUDE_", "STRAVINSKY_", "XDG_"))] == []


BLOCKING: dict[str, Callable[[], object]] = {
    "listdir": lambda: os.listdir("."),
    "scandir": lambda: os.scandir("."),
    "stat": lambda: os.stat("."),
    "lstat": lambda: os.lstat("."),
    "exists": lambda: Path("x").exists(),
    "open": lambda: open("x", "wb"),  # noqa: SIM115
    "Path.read_bytes": lambda: Path("x").read_bytes(),
    "os.open": lambda: os.open(".", os.O_RDONLY),
    "rename": lambda: os.rename("x", "y"),
    "mkdir": lambda: os.mkdir("x"),
    "fsync": lambda: os.fsync(0),
    "sqlite3": lambda: sqlite3.connect(":memory:"),
    "sleep": lambda: time.sleep(0),
    "subprocess": lambda: subprocess.run(["true"], check=True),
}


@pytest.mark.parametrize("call", BLOCKING.values(), ids=BLOCKING.keys())
async def test_a_blocking_call_in_a_coroutine_is_refused(call: Callable[[], object], blocking_calls: list[str]) -> None:
    """In an async test the loop runs in the test's own thread."""
    with pytest.raises(BlockingError):
        call()
    assert blocking_calls
    blocking_calls.clear()


def test_a_blocking_call_under_anyio_run_is_refused(blocking_calls: list[str]) -> None:
    """A command of the terminal starts its own loop; it is watched as well."""

    async def main() -> None:
        await anyio.lowlevel.checkpoint()
        os.listdir(".")

    @click.command()
    def command() -> None:
        anyio.run(main)

    result = CliRunner().invoke(command, catch_exceptions=True)
    assert isinstance(result.exception, BlockingError)
    assert blocking_calls == ["os.listdir"]
    blocking_calls.clear()


async def test_a_worker_thread_may_block(project: Path) -> None:
    """The thread hop of the service is what the guard wants to see; imports and child processes are no offence."""

    def work() -> str:
        (project / "x").write_bytes(b"content")
        time.sleep(0)
        return ",".join(os.listdir(project))

    assert await anyio.to_thread.run_sync(work) == "x"
    assert (await anyio.run_process(["true"], stdin=subprocess.DEVNULL)).returncode == 0
    sys.modules.pop("colorsys", None)
    importlib.import_module("colorsys")


def test_a_plain_thread_may_block() -> None:
    """Threads without a loop are left alone."""
    thread = threading.Thread(target=os.listdir, args=(".",))
    thread.start()
    thread.join(5)
    assert not thread.is_alive()


OFFENDERS = """
import os, time

async def test_blocks():
    time.sleep(0)

async def test_swallows_the_blocking_error():
    try:
        os.listdir(".")
    except Exception:
        pass

def test_swallows_the_refusal():
    try:
        os.listdir("REAL_HOME/.claude")
    except BaseException:
        pass

def test_is_innocent():
    os.listdir(".")
"""


def test_swallowing_a_refusal_does_not_help(tmp_path: Path, home: Path) -> None:
    """A server turns every exception into an answer; the test must be red all the same."""
    folder = tmp_path / "checkout" / "tests"
    folder.mkdir(parents=True)
    shutil.copy(REPOSITORY / "tests" / "conftest.py", folder)
    (folder / "test_offenders.py").write_text(OFFENDERS.replace("REAL_HOME", str(home)), encoding="utf-8")
    settings = ["-n0", f"--rootdir={folder}", f"-c{REPOSITORY / 'pyproject.toml'}", "-pno:cacheprovider"]
    settings.append(f"--basetemp={tmp_path / 'nested'}")  # else it would close the folder of all runs to other users
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=no", *settings, str(folder)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert "1 failed, 3 passed, 3 errors" in run.stdout, run.stdout


# --- the fault cases -----------------------------------------------------------------------------------------------


def test_every_fault_case_has_a_test() -> None:
    """A case that nothing is marked with would silently be no promise any more."""
    marks = re.compile(r"pytest\.mark\.case\(([0-9, ]+)\)")
    texts = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py")]
    found = {int(number) for text in texts for mark in marks.findall(text) for number in mark.split(",")}
    assert found == set(CASES)
