"""``update run`` as `timeout` would: streams, terminal and signals are the command's, the exit status is ours."""

import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from click.testing import Result
from support.host import ended, typed
from support.session import session_in
from support.tree import Snapshot, snapshot

from stravinsky_rollback_mcp.cli import child

Run = Callable[..., Result]

WAIT_SECONDS = 30.0
PROGRAM = [sys.executable, "-c", "from stravinsky_rollback_mcp.cli import main; main()"]
# Takes the terminal on its standard input for its own, as a login shell does, and becomes the program.
AT_ITS_OWN_TERMINAL = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
EDIT = "echo new > ~/.claude/hooks/new.py"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was killed may stay a zombie for long where nobody collects orphans; it is not waited for in full."""
    monkeypatch.setattr(child, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(child, "_LEFTOVERS_SECONDS", 0.2)


@pytest.fixture
def fifo(project: Path) -> Path:
    """A pipe by name; a shell that reads from it, opened ``<>``, waits without a child of its own."""
    os.mkfifo(project / "fifo")
    return project / "fifo"


@pytest.fixture
def before(configured: tuple[Path, Path]) -> Snapshot:
    """The user's root before any update."""
    return snapshot(configured[0])


def hooks(home: Path) -> set[str]:
    """The names of the user's hooks."""
    return set(os.listdir(home / ".claude" / "hooks"))


@pytest.fixture
def given() -> Iterator[Callable[[bytes], None]]:
    """Lets the process's standard input, which commands inherit, hold some bytes and end."""
    kept = os.dup(0)

    def given(content: bytes) -> None:
        reading, writing = os.pipe()
        os.write(writing, content)
        os.close(writing)
        os.dup2(reading, 0)
        os.close(reading)

    yield given
    os.dup2(kept, 0)
    os.close(kept)


# -- streams --------------------------------------------------------------------------------------------------------


def test_input_output_and_errors_are_the_commands(
    run: Run, configured: tuple[Path, Path], given: Callable[[bytes], None], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Standard output holds not a byte of ours, so the command keeps its place in a pipe."""
    given(b"\xff\x00 raw\n")
    done = run("update", "run", "v2", "--", "sh", "-c", "cat; echo oops >&2")
    assert capfdbinary.readouterr() == (b"\xff\x00 raw\n", b"oops\n")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "The update v2 is verified" in done.stderr


def test_with_json_standard_output_is_one_document(
    run: Run, configured: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """What the command prints goes to standard error then; how it ended is in ``command``."""
    done = run("update", "run", "--json", "v2", "--", "sh", "-c", "echo said; exit 41")
    answer = json.loads(done.stdout)
    assert done.exit_code == 3
    assert answer["command"] == {"exit_code": 41, "signal": None, "timed_out": False, "interrupted_by": None}
    assert "41" in answer["summary"]
    assert capfd.readouterr() == ("", "said\n")


def test_a_good_update_keeps_its_mouth_shut_when_asked_to(run: Run, configured: tuple[Path, Path]) -> None:
    """``--quiet`` silences us, and only when all went well."""
    assert run("update", "run", "--quiet", "v2", "--", "true").output == ""
    assert "failed" in run("update", "run", "--quiet", "v3", "--", "false").stderr


# -- exit statuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("v2", "--", "true"), 0, "exited with 0"),
        (("v2", "--", "sh", "-c", "exit 1"), 3, "exited with 1"),
        (("v2", "--", "sh", "-c", "exit 4"), 3, "exited with 4"),
        (("v2", "--", "no-such-program"), 3, "exited with 127"),
        (("v2", "--", "/dev/null"), 3, "exited with 126"),
        (("--keep-on-failure", "v2", "--", "false"), 4, "was kept"),
        (("../v2", "--", "true"), 1, "invalid_name"),
        (("v2",), 2, "Usage"),
    ],
)
def test_the_status_is_ours_and_the_commands_is_told(
    run: Run, configured: tuple[Path, Path], words: tuple[str, ...], status: int, told: str
) -> None:
    """README: 0 verified, 1 refused and nothing was run, 2 wrong usage, 3 taken back, 4 not taken back."""
    done = run("update", "run", *words)
    assert done.exit_code == status, done.output
    assert told in done.output


def test_what_failed_is_kept_on_demand(run: Run, configured: tuple[Path, Path], home: Path, before: Snapshot) -> None:
    """``--keep-on-failure``: nothing is taken back, the update is over, and one command takes it back later."""
    done = run("update", "run", "--json", "--keep-on-failure", "v2", "--", "sh", "-c", f"{EDIT}; exit 1")
    answer = json.loads(done.stdout)
    assert "new.py" in hooks(home)
    assert json.loads(run("status", "--json").stdout)["update"] is None
    assert run("rollback", "to", answer["update"]["backup"], "--yes").exit_code == 0
    assert snapshot(configured[0]) == before


# -- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT"])
def test_a_signal_to_us_goes_on_to_the_command_and_the_update_is_taken_back(
    run: Run, configured: tuple[Path, Path], before: Snapshot, fifo: Path, name: str
) -> None:
    """Even where the command takes it for a reason to end well: nobody waited for its work to be done."""
    program = f"trap 'exit 0' {name}; {EDIT}; kill -{name} $PPID; read never <> {fifo.name}"
    done = run("update", "run", "--json", "v2", "--", "sh", "-c", program)
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["command"]["interrupted_by"]) == (3, f"SIG{name}")
    assert snapshot(configured[0]) == before


def test_whoever_does_not_stop_is_killed_with_everything_it_started(
    run: Run, configured: tuple[Path, Path], tmp_path: Path, fifo: Path
) -> None:
    """``--timeout`` ends the whole group, the deaf included, within the grace."""
    pids = tmp_path / "pids"
    deaf = f"trap '' TERM; echo $$ >> {pids}; read never <> {fifo.name}"
    done = run(
        "update", "run", "--timeout", "1", "--json", "v2", "--", "sh", "-c", f"sh -c {shlex.quote(deaf)} & {deaf}"
    )
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["command"]["timed_out"], answer["command"]["signal"]) == (3, True, "SIGKILL")
    assert_gone(pids, 2)


def test_what_a_failed_command_left_running_does_not_write_into_what_comes_back(
    run: Run, configured: tuple[Path, Path], before: Snapshot, tmp_path: Path, fifo: Path
) -> None:
    """An installer's child in the background is stopped before the rollback begins."""
    pids = tmp_path / "pids"
    busy = f"echo $$ >> {pids}; {EDIT}; echo begun > {fifo.name}; while :; do {EDIT}; done"
    program = f"sh -c {shlex.quote(busy)} & read begun < {fifo.name}; exit 5"
    assert run("update", "run", "v2", "--", "sh", "-c", program).exit_code == 3
    assert_gone(pids, 1)
    assert snapshot(configured[0]) == before


def assert_gone(pids: Path, expected: int) -> None:
    """No process of those that noted their number is alive (a zombie that nobody collects is not)."""
    numbers = pids.read_text(encoding="utf-8").split()
    assert len(set(numbers)) == len(numbers) == expected
    for number in numbers:
        status = Path("/proc", number, "stat")
        assert not status.exists() or status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "ZX"


def test_an_update_whose_process_was_killed_is_told_by_the_next_server(
    run: Run, configured: tuple[Path, Path], home: Path, project: Path, before: Snapshot
) -> None:
    """Nobody could finish it: each answer of a new session says so, and the command that it names takes it back."""
    killed = ended(typed("update", "run", "v2", "--", "sh", "-c", f"{EDIT}; kill -9 $PPID"), home, project)
    assert (killed.returncode, "new.py" in hooks(home)) == (-9, True)
    with session_in(home, project) as session:
        (notice,) = [one for one in session.call("list_backups")["notices"] if "update v2" in one]
    command = "stravinsky-rollback update finish --failed interrupted"
    assert f"`{command}`" in notice
    assert run(*command.split()[1:]).exit_code == 3
    assert snapshot(configured[0]) == before


# -- a terminal -----------------------------------------------------------------------------------------------------


class AtTerminal:
    """One run of ours at a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.screen, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", AT_ITS_OWN_TERMINAL, *PROGRAM[1:], *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(theirs)
        self.shown = ""

    def until(self, text: str) -> None:
        """Wait until the screen shows a text."""
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in self.shown:
            ready, _, _ = select.select([self.screen], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.shown
            self.shown += os.read(self.screen, 65536).decode()

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.screen, text.encode())

    def status(self) -> int:
        """The exit status; what is still shown on the way is read."""
        while True:
            try:
                piece = os.read(self.screen, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            self.shown += piece.decode()
        return self.process.wait(WAIT_SECONDS)


@pytest.fixture
def at_its_own_terminal(configured: tuple[Path, Path]) -> Iterator[Callable[..., AtTerminal]]:
    """Starts commands at terminals, and ends them all."""
    started: list[AtTerminal] = []

    def start(*words: str) -> AtTerminal:
        started.append(AtTerminal(*words))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        os.close(one.screen)


def test_the_command_has_the_terminal(
    at_its_own_terminal: Callable[..., AtTerminal], configured: tuple[Path, Path], home: Path
) -> None:
    """An installer that asks questions can ask them, and we have the terminal back afterwards."""
    program = f'test -t 0 && test -t 1 && printf "which? " && read name < /dev/tty && {EDIT} && echo "took $name"'
    terminal = at_its_own_terminal("update", "run", "v2", "--", "sh", "-c", program)
    terminal.until("which? ")
    terminal.type("the second\n")
    assert terminal.status() == 0, terminal.shown
    assert "took the second" in terminal.shown
    assert "is verified" in terminal.shown
    assert "new.py" in hooks(home)


def wait_until_stopped(pid: int) -> None:
    """Wait for what a shell waits for when Ctrl-Z is pressed."""
    found: list[int] = []
    waiting = Thread(target=lambda: found.append(os.waitpid(pid, os.WUNTRACED)[1]), daemon=True)
    waiting.start()
    waiting.join(WAIT_SECONDS)
    assert [os.WIFSTOPPED(status) for status in found] == [True], "it was not suspended"


def test_ctrl_z_and_ctrl_c_are_for_the_command(
    at_its_own_terminal: Callable[..., AtTerminal], configured: tuple[Path, Path], before: Snapshot
) -> None:
    """Suspended, the whole is suspended, so that a shell notices; continued, all goes on; interrupted, it is undone."""
    program = f'{EDIT}; read line; echo "started $line"; read line; echo "read $line"; read line'
    terminal = at_its_own_terminal("update", "run", "v2", "--", "sh", "-c", program)
    terminal.type("now\n")
    terminal.until("started now")  # who has read from a terminal has it
    terminal.type("\x1a")
    wait_until_stopped(terminal.process.pid)
    os.kill(terminal.process.pid, signal.SIGCONT)
    terminal.type("on\n")
    terminal.until("read on")
    terminal.type("\x03")
    assert terminal.status() == 3, terminal.shown
    assert "killed by SIGINT" in terminal.shown
    assert snapshot(configured[0]) == before
