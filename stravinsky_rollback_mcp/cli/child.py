"""Running somebody else's program, the one thing of `update run`: streams, terminal and signals pass through.

The program gets a process group of its own, so that it can be stopped with everything that it started, and the terminal
while it runs, as from a shell: Ctrl-C and Ctrl-Z are for it. What is sent to us instead is passed on.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from types import FrameType

# A program that was asked to stop gets this long to do so, and what it left behind when it ended badly this long.
GRACE_SECONDS = 10.0
_LEFTOVERS_SECONDS = 2.0
_PAUSE_SECONDS = 0.02
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_NOT_FOUND = 127  # as shells, `env` and `timeout` have it
_NOT_STARTED = 126
_WANTS_TERMINAL = (signal.SIGTTIN, signal.SIGTTOU)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended: with a status of its own, or by a signal; and what we had to do with it."""

    exit_code: int | None
    signal: str | None
    timed_out: bool
    interrupted_by: str | None

    @property
    def problem(self) -> str:
        """Why its work does not count; empty when it does."""
        if self.timed_out:
            return "the command took too long and was stopped"
        if self.interrupted_by is not None:
            return f"it was interrupted by {self.interrupted_by}"
        if self.signal is not None:
            return f"the command was killed by {self.signal}"
        if self.exit_code == _NOT_FOUND:
            return "the command was not found (127)"
        return f"the command exited with {self.exit_code}" if self.exit_code else ""


class Signals:
    """What was sent to us since we began to listen; it goes on to the program that runs, else it is only noted."""

    def __init__(self) -> None:
        self.first: str | None = None
        self.timed_out = False
        self._group: int | None = None
        self._is_killing = False

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Pass a signal on. Whoever does not stop within the grace is killed."""
        self.first = self.first or signal.Signals(number).name
        if self._group is not None:
            self._stop(self._group, number)

    def expire(self, _number: int, _frame: FrameType | None) -> None:
        """The time is up: first a word, then force."""
        if self._group is None:
            return
        if self._is_killing:
            _send(self._group, signal.SIGKILL)
        else:
            self.timed_out = True
            self._stop(self._group, signal.SIGTERM)

    def watch(self, group: int, timeout_seconds: float | None) -> None:
        """From now on signals are for this group, whose time is limited."""
        self._group = group
        if self.first is not None:
            self._stop(group, signal.SIGTERM)
        elif timeout_seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, timeout_seconds)

    def unwatch(self) -> None:
        """The program has ended."""
        self._group = None
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _stop(self, group: int, number: int) -> None:
        self._is_killing = True
        _send(group, number)
        _send(group, signal.SIGCONT)
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS, GRACE_SECONDS)


@contextlib.contextmanager
def listening() -> Generator[Signals]:
    """Until the end of this block no signal that asks to stop ends us half way; it is noted and passed on."""
    signals = Signals()
    before = {number: signal.signal(number, signals.receive) for number in _FORWARDED}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, signals.expire)
    try:
        yield signals
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def run(command: Sequence[str], signals: Signals, *, timeout_seconds: float | None, stdout_to_stderr: bool) -> Ended:
    """Run a command to its end, with all that it started where it did not end well."""
    if signals.first is not None:
        return Ended(exit_code=None, signal=None, timed_out=False, interrupted_by=signals.first)
    try:
        process = subprocess.Popen(command, stdout=2 if stdout_to_stderr else None, process_group=0)
    except FileNotFoundError:
        return Ended(exit_code=_NOT_FOUND, signal=None, timed_out=False, interrupted_by=None)
    except OSError:
        return Ended(exit_code=_NOT_STARTED, signal=None, timed_out=False, interrupted_by=None)
    with _controlling_terminal() as terminal:
        signals.watch(process.pid, timeout_seconds)
        terminal.lend(process.pid)
        process.returncode = _wait(process.pid, terminal)
        terminal.take_back()
    ended = Ended(
        exit_code=process.returncode if process.returncode >= 0 else None,
        signal=None if process.returncode >= 0 else _name(-process.returncode),
        timed_out=signals.timed_out,
        interrupted_by=None if signals.timed_out else signals.first,
    )
    if ended.problem:
        _end_group(process.pid)
    signals.unwatch()
    return ended


def _wait(group: int, terminal: "_Terminal") -> int:
    """The status as `subprocess` has it. Who suspends the program (Ctrl-Z) suspends us, and `fg` is for both."""
    while True:
        _, status = os.waitpid(group, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        if not terminal.exists:
            continue  # whoever stopped it lets it go on
        if os.WSTOPSIG(status) not in _WANTS_TERMINAL or not terminal.is_lent:
            terminal.take_back()
            os.kill(os.getpid(), signal.SIGSTOP)
        terminal.lend(group)


def _end_group(group: int) -> None:
    """Stop what an ended program left running: it must not write into what is about to be taken back."""
    _send(group, signal.SIGTERM)
    _send(group, signal.SIGCONT)
    deadline = time.monotonic() + _LEFTOVERS_SECONDS
    while _send(group, 0):
        if time.monotonic() > deadline:
            _send(group, signal.SIGKILL)
            return
        time.sleep(_PAUSE_SECONDS)


class _Terminal:
    """The controlling terminal, where there is one. It is lent only while it is ours to lend."""

    def __init__(self, handle: int | None) -> None:
        self._handle = handle
        self.is_lent = False

    @property
    def exists(self) -> bool:
        """Whether this process has a terminal at all."""
        return self._handle is not None

    def lend(self, group: int) -> None:
        """Let a group read from it and get its Ctrl-C; whoever was stopped for wanting to read goes on."""
        with contextlib.suppress(OSError):  # the terminal may be gone
            if self._handle is not None and os.tcgetpgrp(self._handle) == os.getpgrp():
                self._give(group)
                self.is_lent = True
        if self.exists:
            _send(group, signal.SIGCONT)

    def take_back(self) -> None:
        """It is ours again."""
        if self.is_lent:
            self.is_lent = False
            with contextlib.suppress(OSError):
                self._give(os.getpgrp())

    def _give(self, group: int) -> None:
        if self._handle is not None:
            # Whoever is in the background would be stopped for this.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
            try:
                os.tcsetpgrp(self._handle, group)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _controlling_terminal() -> Generator[_Terminal]:
    try:
        handle = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield _Terminal(None)
        return
    terminal = _Terminal(handle)
    try:
        yield terminal
    finally:
        terminal.take_back()
        os.close(handle)


def _send(group: int, number: int) -> bool:
    """Whether there was still somebody to send it to."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
