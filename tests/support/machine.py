"""The real machine as the source of faults: mounted file systems, other users, power cuts, kills from outside.

Everything here wants root and a kernel that lets it mount; ``require`` skips with the reason where that is missing.
An operation runs in a child that a small server forks: importing the package takes longer than the fault.
"""

import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import pytest
from support.crash import ACTS, Case, World, before_rollback
from support.crash import perform as done

from stravinsky_rollback_mcp.config import Config
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import RollbackError
from stravinsky_rollback_mcp.service import Consent

TESTS = Path(__file__).resolve().parent.parent
# EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one number; 2 is "without flushing the log": what was not synced is gone.
_SHUTDOWN = 0x8004587D
_WITHOUT_LOG = struct.pack("I", 2)


def require(*programs: str) -> None:
    """Skip, saying why, where this machine cannot do what the test is about."""
    if os.geteuid() != 0:
        pytest.skip("wants root")
    for program in programs:
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            pytest.skip(f"wants {program}")


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    return subprocess.run(command, env=environ, check=False, capture_output=True, text=True, timeout=60)


def is_mounted(place: Path) -> bool:
    """Whether something is mounted exactly there; a bind mount of the same file system counts, unlike for `ismount`."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return str(place) in {line.split(" ")[4] for line in lines}


@contextmanager
def mounted(place: Path, *arguments: str | Path) -> Generator[Path]:
    """Mount something at ``place`` for a while; what cannot be mounted here skips the test."""
    done = _run("mount", *arguments, place)
    if done.returncode != 0:
        pytest.skip(f"cannot be mounted here: {done.stderr.strip()}")
    assert is_mounted(place), "a test on the folder beneath would prove nothing"
    try:
        yield place
    finally:
        _run("umount", "-l", place)


def make_image(path: Path, kind: str, size_mb: int) -> None:
    """A file that holds an empty file system."""
    with path.open("wb") as file:
        file.truncate(size_mb << 20)
    options = {"ext4": ["-q", "-F", "-J", "size=4"], "xfs": ["-q", "-f"]}[kind]
    done = _run(f"mkfs.{kind}", *options, path)
    if done.returncode != 0:
        pytest.skip(f"no {kind} can be made here: {done.stderr.strip()}")


def cut_power(place: str) -> None:
    """Whatever the file system mounted at ``place`` has not made durable is lost, and it answers no more."""
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(handle, _SHUTDOWN, _WITHOUT_LOG)
    finally:
        os.close(handle)


def sync(place: str) -> None:
    """Make what was written to one file system durable."""
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(handle)


# -- what happens before the N-th mutating call ---------------------------------------------------------------------


class _Strike:
    """Counts the mutating calls, and strikes before one of them."""

    def __init__(self, number: int, strike: Callable[[], None]) -> None:
        self._left = number
        self._strike = strike

    def __call__(self, _operation: str, _path: str) -> None:
        """Count, and strike when it is time."""
        self._left -= 1
        if self._left == 0:
            self._strike()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _lose_power(flushed: Sequence[str], places: Sequence[str]) -> None:
    for place in flushed:
        sync(place)
    for place in places:
        cut_power(place)
    _die()


def _turn_read_only(place: str) -> None:
    if _run("mount", "-o", "remount,ro", Path(place)).returncode != 0:
        os._exit(BUSY)  # a file is open for writing just now: no system would let anybody do this here


BUSY = 75


def _observer(job: Mapping[str, Any]) -> Callable[[str, str], None] | None:
    strikes: dict[str, Callable[[], None]] = {
        "kill": _die,
        "power": lambda: _lose_power(job["flushed"], job["places"]),
        "read-only": lambda: _turn_read_only(job["places"][0]),
    }
    return _Strike(job["at"], strikes[job["how"]]) if job.get("how") else None


def perform(job: Mapping[str, Any]) -> str:
    """What became of one operation: ``done``, or the code that it was refused with."""
    if "user" in job:
        os.setgroups([])
        os.setresgid(job["user"], job["user"], job["user"])
        os.setresuid(job["user"], job["user"], job["user"])
    world = SmallWorld(Path(job["root"]))
    observe = _observer(job)
    files = Files() if observe is None else Files(observe=observe)
    try:
        world.run(ACTS[job["name"]](world.service(files), Consent(accept=tuple(job["accept"]))))
    except RollbackError as error:
        return f"{error.code}: {error}"
    finally:
        world.close()
    return "done"


# -- children -------------------------------------------------------------------------------------------------------


def serve() -> None:
    """Fork a child for each job on standard input and tell how it ended; single-threaded, so that forking is safe."""
    with TemporaryDirectory() as folder:
        # A child that is another user may not be able to read what would be imported late.
        world = World(Path(folder))
        before_rollback(world)
        done(world, "rollback")
        world.close()
    for line in sys.stdin:
        job = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            status = 1
            try:
                os.write(writing, perform(job).encode("utf-8", "replace")[:4000])
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        told = b""
        while chunk := os.read(reading, 65536):
            told += chunk
        os.close(reading)
        _, ended = os.waitpid(child, 0)
        reply = {"status": os.waitstatus_to_exitcode(ended), "told": told.decode("utf-8", "replace")}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


class Children:
    """The server that forks, and the jobs given to it."""

    def __init__(self, home: Path) -> None:
        environ = {**os.environ, "HOME": str(home), "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
        code = "from support.machine import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)

    def perform(self, case: Case, **job: Any) -> tuple[int, str]:
        """Run the case's operation in a child; its exit code (negative: the signal) and what it said."""
        asked = {"root": str(case.world.root), "name": case.name, "accept": list(case.consent.accept), **job}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        return reply["status"], reply["told"]


# -- worlds on file systems of their own ----------------------------------------------------------------------------


class SmallWorld(World):
    """A world on file systems that are smaller than what is kept free everywhere else."""

    def config(self, project: Path | None = None) -> Config:
        """As a person with small disks would set it."""
        config = super().config(project)
        safety = replace(config.policy.safety, disk_space_threshold_mb=0)
        return replace(config, policy=replace(config.policy, safety=safety))


class MountedWorld(SmallWorld):
    """A world of which some folders are mount points: they stay, and what lies in them is put back."""

    def reset(self, name: str = "saved") -> None:
        """Everything as it was when it was saved."""
        for top in (self.home, self.project):
            for child in top.iterdir():
                if child.is_dir() and not child.is_symlink():
                    shutil.rmtree(child)
                else:
                    child.unlink()
            subprocess.run(["cp", "-a", f"{self.root / name / top.name}/.", str(top)], check=True)


class ImageWorld(SmallWorld):
    """A world whose home and project are two file systems, which are kept and put back as images.

    Each mount is of a fresh copy: another process's mount namespace may still hold the one before.
    """

    def __init__(self, root: Path, kinds: tuple[str, str]) -> None:
        self.mounts = (root / "live" / "home", root / "live" / "project")
        self._copies = 0
        images: list[Path] = []
        for place, kind in zip(self.mounts, kinds, strict=True):
            place.mkdir(parents=True)
            images.append(root / f"{place.name}.empty")
            make_image(images[-1], kind, 320 if kind == "xfs" else 16)  # xfs makes no smaller ones
        self._images = tuple(images)
        self._mount(self._images, may_skip=True)
        super().__init__(root)

    def _mount(self, images: Sequence[Path], *, may_skip: bool = False) -> None:
        self._copies += 1
        made = tuple(image.with_suffix(f".{self._copies}") for image in images)
        for image, copy, place in zip(images, made, self.mounts, strict=True):
            subprocess.run(["cp", "--sparse=always", str(image), str(copy)], check=True)
            done = _run("mount", "-o", "loop", copy, place)
            if done.returncode != 0 and may_skip:
                self.unmount()
                pytest.skip(f"no image can be mounted here: {done.stderr.strip()}")
            assert is_mounted(place), done.stderr
        for image in self._images if self._copies > 1 else ():
            image.unlink()
        self._images = made

    def unmount(self) -> None:
        """Let go of both file systems."""
        for place in self.mounts:
            if is_mounted(place):
                done = _run("umount", "-l", place)
                assert done.returncode == 0, done.stderr

    def restart(self) -> None:
        """What a machine does after a power cut: mount again, and let the file systems mend themselves."""
        self.unmount()
        self._mount(self._images)

    def save(self, name: str = "saved") -> None:
        """Keep both images."""
        for image, place in zip(self._images, self.mounts, strict=True):
            sync(str(place))
            subprocess.run(["cp", "--sparse=always", str(image), str(self.root / f"{place.name}.{name}")], check=True)

    def reset(self, name: str = "saved") -> None:
        """Both file systems as they were when they were saved."""
        self.unmount()
        self._mount([self.root / f"{place.name}.{name}" for place in self.mounts])

    def close(self) -> None:
        """Let go of everything."""
        super().close()
        self.unmount()


# -- kills and errors from outside ----------------------------------------------------------------------------------

# What changes a disk, but for the writes themselves, which the event loop's own thread makes too.
TRACED = (
    *("mkdir", "mkdirat", "rename", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("rmdir", "fsync", "fdatasync", "syncfs", "chmod", "fchmod", "fchmodat", "utimensat", "ftruncate"),
)
_CALL = re.compile(r"^\d+ +(\w+)\((.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """One system call that changed the world: its name and how many of that name its thread had made by then."""

    name: str
    number: int
    line: str


def _traced(case: Case, log: Path, *options: str) -> tuple[int, str]:
    job = {"root": str(case.world.root), "name": case.name, "accept": list(case.consent.accept)}
    code = "import json, sys; from support.machine import perform; print(perform(json.loads(sys.argv[1])))"
    environ = {**os.environ, "HOME": str(case.world.home), "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
    # The real interpreter: a version manager's shim would be traced too.
    python = os.path.realpath(sys.executable)
    environ["PYTHONPATH"] += os.pathsep + os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    environ["PYTHONPATH"] += os.pathsep + str(TESTS.parent)
    done = subprocess.run(
        ["strace", "-f", "-y", "-qq", "-o", str(log), *options, python, "-c", code, json.dumps(job)],
        env=environ,
        cwd=case.world.project,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def profile(case: Case, log: Path) -> list[Traced]:
    """Every call of a clean run that changed something in the world, but for the audit's index, which SQLite writes."""
    status, told = _traced(case, log, "-e", f"trace={','.join(TRACED)}")
    assert (status, told.strip()) == (0, "done"), told
    counts: dict[tuple[str, str], int] = {}
    found: list[Traced] = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        call = _CALL.match(line)
        if call is None:
            continue
        key = (line.split(" ", 1)[0], call[1])
        counts[key] = counts.get(key, 0) + 1
        if str(case.world.root / "live") in line and "audit.db" not in line and "EEXIST" not in line:
            found.append(Traced(name=call[1], number=counts[key], line=line))
    return found


def inject(case: Case, log: Path, name: str, fault: str, when: str) -> tuple[int, str, bool]:
    """Run the operation with a fault at one call: exit code, what it said, and whether the fault took place."""
    status, told = _traced(case, log, "-e", f"trace={name}", "-e", f"inject={name}:{fault}:when={when}")
    text = log.read_text(encoding="utf-8", errors="replace")
    return status, told, "(INJECTED)" in text or "killed by SIGKILL" in text
