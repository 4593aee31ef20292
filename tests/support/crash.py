"""Kill or fail one operation of the service at every point, and judge what recovery makes of it.

A ``World`` is a home, a project and a store that can be put back to the moment before the operation as often as
wanted. A ``Case`` is that world and the operation. ``Files`` lets an observer look at each mutating call before it is
made: ``CrashAt`` stops the process there (and, because ``finally`` blocks still run in a test, refuses everything
after it), ``FailAt`` makes the call fail like a disk does, ``KillAt`` is a real SIGKILL for child processes.
"""

import asyncio
import errno
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from support.tree import Fifo, File, Folder, Link, Spec, build

from stravinsky_rollback_mcp.config import Config, load
from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.model import Actor, AuditRecord, BackupStatus, EventStatus, EventType, MadeBy
from stravinsky_rollback_mcp.core.outcome import BackupCreated, Restored, Resumed
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit import AuditLog
from stravinsky_rollback_mcp.service import Caller, Consent, RollbackService

Result = TypeVar("Result")
Fingerprint = dict[str, tuple[str, int, bytes, int]]
Act = Callable[[RollbackService, Consent], Awaitable[Restored | BackupCreated]]

PERSON = Caller(actor=Actor(kind="terminal", name="tester"), made_by=MadeBy.TERMINAL)


# -- observers ------------------------------------------------------------------------------------------------------


class CrashedError(BaseException):
    """The process is gone. Not an ``Exception``: nothing in it may handle this."""


class CrashAt:
    """The process dies just before its N-th mutating call; whatever its ``finally`` blocks try is refused too."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.fired = False

    def __call__(self, _operation: str, _path: str) -> None:
        """Count, and die when it is time."""
        self.left -= 1
        if self.left <= 0:
            self.fired = True
            raise CrashedError


class FailAt:
    """The N-th mutating call fails with ``number``, once, or it and everything after it."""

    def __init__(self, at: int, number: int, *, persistent: bool = False) -> None:
        self.left = at
        self.fired = False
        self._number = number
        self._persistent = persistent

    def __call__(self, _operation: str, _path: str) -> None:
        """Count, and fail when it is time."""
        self.left -= 1
        if self.left == 0 or (self.left < 0 and self._persistent):
            self.fired = True
            raise OSError(self._number, os.strerror(self._number))


class FailThenCrash:
    """The N-th mutating call fails, and the process dies before the M-th after it."""

    def __init__(self, at: int, number: int, then: int) -> None:
        self._fail = FailAt(at, number)
        self._crash = CrashAt(then)

    @property
    def fired(self) -> bool:
        """Whether the process died."""
        return self._crash.fired

    def __call__(self, operation: str, path: str) -> None:
        """One after the other."""
        if self._fail.fired:
            self._crash(operation, path)
        self._fail(operation, path)


class FullDisk:
    """From the N-th mutating call on nothing grows any more, while removing and renaming still work."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.fired = False

    def __call__(self, operation: str, _path: str) -> None:
        """Count, and refuse what needs space."""
        self.left -= 1
        if self.left <= 0 and operation in ("mkdir", "create", "write", "open_append", "symlink", "link"):
            self.fired = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class KillAt:
    """A real SIGKILL just before the N-th mutating call; for child processes."""

    def __init__(self, number: int) -> None:
        self._left = number

    def __call__(self, _operation: str, _path: str) -> None:
        """Count, and die when it is time."""
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Log:
    """Notes every call and lets it happen."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, operation: str, path: str) -> None:
        """Note it."""
        self.calls.append((operation, path))


class NoExchange(Files):
    """A file system without an atomic exchange; the downgrades are counted."""

    downgrades = 0

    def exchange(self, first: str, second: str) -> bool:  # noqa: ARG002
        """Refused, after the order rule was checked."""
        self._require_prepared(first)
        self.downgrades += 1
        return False


class NoFlags(Files):
    """A file system that knows no flag of renameat2 at all (NFS, FUSE, macOS without a swap)."""

    downgrades = 0

    def _renameat2(self, source: str, destination: str, flag: int) -> bool:  # noqa: ARG002
        self.downgrades += 1
        return False


class Unsynced(Files):
    """Every call is made and counted but those that wait for the disk: nobody pulls the plug here."""

    def fsync(self, handle: int, path: str) -> None:  # noqa: ARG002
        """Counted."""
        self._begin("fsync", path)

    def sync_folder(self, path: str) -> None:
        """Counted."""
        self._begin("fsync", path)

    def sync_file_system(self, path: str) -> None:
        """Counted."""
        self._begin("syncfs", path)


# -- the world ------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """A home and a project, with their store, below one folder; ``reset`` brings back what ``save`` kept."""

    root: Path
    home: Path = field(init=False)
    project: Path = field(init=False)
    store: Path = field(init=False)
    fresh: tuple[str, ...] = ()  # files that an operation makes anew: their time is its own
    _runner: asyncio.Runner = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.home = self.root / "live" / "home"
        self.project = self.root / "live" / "project"
        self.store = self.root / "live" / "home" / ".stravinsky" / "rollback"
        self.home.mkdir(parents=True, exist_ok=True)
        self.project.mkdir(exist_ok=True)
        self._runner = asyncio.Runner()

    def close(self) -> None:
        """Let go of the event loop."""
        self._runner.close()

    def config(self, project: Path | None = None) -> Config:
        """What a terminal in the project would work with."""
        environ = {"HOME": str(self.home), "STRAVINSKY_SAFETY_LOCK_TIMEOUT_SECONDS": "1"}
        return load(environ, for_terminal=True, project=str(project or self.project))

    def service(self, files: Files | None = None, project: Path | None = None) -> RollbackService:
        """The service as a fresh process would have it."""
        return RollbackService(self.config(project), files)

    def run(self, request: Awaitable[Result]) -> Result:
        """The result of one request."""

        async def whole() -> Result:
            return await request

        return self._runner.run(whole())

    def save(self, name: str = "saved") -> None:
        """Keep the present moment for ``reset``."""
        _copy(self.root / "live", self.root / name)

    def reset(self, name: str = "saved") -> None:
        """Everything as it was when it was saved, at the same paths."""
        _copy(self.root / name, self.root / "live")

    def fingerprint(self) -> Fingerprint:
        """Everything below home and project but the store: types, modes, bytes, links and times.

        Times of the folders that hold targets are left out, since a swap changes them, and those of ``fresh`` files.
        """
        found: Fingerprint = {}
        for top in (self.home, self.project):
            _walk(str(top), found, skip=str(self.store.parent))
        parents = {str(self.home), str(self.project), *(os.path.dirname(path) for path in self.places())}
        timeless = parents | set(self.fresh)
        return {
            path: (kind, mode, content, 0 if path in timeless else mtime)
            for path, (kind, mode, content, mtime) in found.items()
        }

    def places(self) -> tuple[str, ...]:
        """Where the targets of the view really lie, links followed, and by which names they are known."""
        paths = [target.path for target in self.config().view.targets]
        return (*paths, *(os.path.realpath(path) for path in paths))

    def resume(self, files: Files | None = None, project: Path | None = None) -> Resumed:
        """Let a fresh process bring to an end what is unfinished."""
        return self.run(self.service(files, project).resume(PERSON))

    def records(self) -> list[AuditRecord]:
        """Every record of the audit, oldest first."""
        path = self.store / "audit" / "operations.log"
        return [chain.decode_line(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@contextmanager
def world_in_memory(otherwise: Path, *, name: str = "") -> Generator[World]:
    """A world on a file system in memory, where there is one: thousands of flushes are a matter of seconds there."""
    memory = "/dev/shm"
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else otherwise, prefix=name) as folder:
        made = World(Path(folder))
        yield made
        made.close()


def _copy(source: Path, destination: Path) -> None:
    if destination.exists():
        for folder, names, _ in os.walk(destination):
            for name in names:
                if not os.path.islink(os.path.join(folder, name)):
                    os.chmod(os.path.join(folder, name), 0o700)
        shutil.rmtree(destination)
    subprocess.run(["cp", "-a", str(source), str(destination)], check=True)


def _walk(path: str, found: Fingerprint, *, skip: str) -> None:
    if path == skip:
        return
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        found[path] = ("folder", mode, b"", status.st_mtime_ns)
        for name in os.listdir(path):
            _walk(f"{path}/{name}", found, skip=skip)
    elif stat.S_ISLNK(status.st_mode):
        found[path] = ("link", 0, os.fsencode(os.readlink(path)), status.st_mtime_ns)
    elif stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            found[path] = ("file", mode, file.read(), status.st_mtime_ns)
    else:
        found[path] = (str(stat.S_IFMT(status.st_mode)), mode, b"", status.st_mtime_ns)


# -- trees ----------------------------------------------------------------------------------------------------------


def guard(word: str) -> File:
    """A hook script that differs by one word."""
    return File(f"#!/usr/bin/env python3\nprint({word!r})\n", 0o755)


SETTINGS_ONE = '{"model": "opus"}\n'
SETTINGS_TWO = '{"model": "sonnet", "cleanupPeriodDays": 7}\n'


def plant(world: World, spec: Spec, *, old: bool = True) -> None:
    """Build ``spec`` with the names ``home`` and ``project`` on top, and give everything a time long ago."""
    build(world.home.parent, spec)
    if old:
        _age(world.home.parent)


def _age(root: Path) -> None:
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        if not path.is_relative_to(root / "home" / ".stravinsky"):
            moment = 1_600_000_000_000_000_000 + number * 1_000_000_007
            os.utime(path, ns=(moment, moment), follow_symlinks=False)


def add_socket(path: Path) -> None:
    """Leave a socket behind, as a daemon does. Its folder is the working directory meanwhile: such paths are short."""
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def rich(world: World) -> None:
    """Two scopes with all kinds of targets and oddities; every kind of change is one rollback away.

    ``~/.claude/settings.json`` and the user's hooks are links into dotfiles; ``commands`` of the project will appear
    and its local settings vanish.
    """
    plant(
        world,
        {
            "home": {
                ".claude.json": File('{"numStartups": 1}\n', 0o600),
                ".claude": {
                    "settings.json": Link("../dotfiles/settings.json"),
                    "hooks": Link("../dotfiles/hooks"),
                    "commands": {"review.md": File("Review.\n", 0o444), "drafts": {}},
                    ".credentials.json": File("{}\n", 0o600),
                },
                "dotfiles": {
                    "settings.json": File(SETTINGS_ONE, 0o600),
                    "hooks": {
                        "guard.py": guard("one"),
                        "lib": {"same.py": "same = 1\n"},
                        "current": Link("guard.py"),
                        "node_modules": Folder({"m": {"index.js": File("m\n", 0o444)}}, 0o755),
                        "pipe": Fifo(),
                    },
                },
            },
            "project": {
                ".git": {"HEAD": "ref: refs/heads/main\n"},
                "README.md": "not ours\n",
                ".claude": {
                    "settings.json": SETTINGS_ONE,
                    "settings.local.json": File("{}\n", 0o600),
                    "hooks": {"fixed": Folder({"rules.txt": File("one\n", 0o444)}, 0o555)},
                },
            },
        },
    )
    add_socket(world.home / "dotfiles" / "hooks" / "lib" / "daemon.sock")
    _age(world.home.parent)


def change_rich(world: World) -> None:
    """The edits after the backup: replaced, added, removed, created and deleted targets."""
    dotfiles, claude = world.home / "dotfiles", world.project / ".claude"
    (dotfiles / "settings.json").write_text(SETTINGS_TWO, encoding="utf-8")
    (dotfiles / "hooks" / "guard.py").write_text("print('two')\n", encoding="utf-8")
    (dotfiles / "hooks" / "new.py").write_text("new = 1\n", encoding="utf-8")
    (world.home / ".claude" / "commands" / "review.md").unlink()
    (claude / "settings.json").write_text(SETTINGS_TWO, encoding="utf-8")
    (claude / "settings.local.json").unlink()
    fixed = claude / "hooks" / "fixed"
    fixed.chmod(0o755)
    (fixed / "rules.txt").unlink()
    (fixed / "rules.txt").write_text("two\n", encoding="utf-8")
    build(claude, {"commands": {"deploy.md": "Deploy.\n"}})


def small(world: World) -> None:
    """The least that has every kind of change: one folder and one file to replace, one to create, one to remove."""
    plant(
        world,
        {
            "home": {
                ".claude": {"hooks": {"guard.py": guard("one"), "same.py": "same\n"}, "CLAUDE.md": "mine\n"},
                "dotfiles": {},
            },
            "project": {".claude": {"settings.json": SETTINGS_ONE, "settings.local.json": "{}\n"}},
        },
    )


def change_small(world: World) -> None:
    """The edits after the backup."""
    (world.home / ".claude" / "hooks" / "guard.py").write_text("print('two')\n", encoding="utf-8")
    (world.project / ".claude" / "settings.json").write_text(SETTINGS_TWO, encoding="utf-8")
    (world.project / ".claude" / "settings.local.json").unlink()
    (world.home / ".claude" / "settings.json").write_text(SETTINGS_TWO, encoding="utf-8")


# -- worlds in which an operation is about to happen ----------------------------------------------------------------


def _backed_up(world: World) -> None:
    world.run(world.service().create_backup(PERSON, version="v1"))


def before_rollback(world: World) -> None:
    """A backup, then edits of every kind."""
    small(world)
    _backed_up(world)
    change_small(world)


def before_rich_rollback(world: World) -> None:
    """The same with all oddities."""
    rich(world)
    _backed_up(world)
    change_rich(world)


def before_undo(world: World) -> None:
    """A rollback was done."""
    before_rollback(world)
    perform(world, "rollback")


def before_redo(world: World) -> None:
    """A rollback was done and taken back."""
    before_undo(world)
    perform(world, "undo")


def before_bringing_back(world: World) -> None:
    """Both configuration folders were deleted with everything in them."""
    plant(
        world,
        {
            "home": {".claude": {"hooks": {"guard.py": guard("one")}, "settings.json": SETTINGS_ONE}},
            "project": {".claude": {"commands": {"a.md": "A\n"}, "settings.json": SETTINGS_ONE}},
        },
    )
    _backed_up(world)
    shutil.rmtree(world.home / ".claude")
    shutil.rmtree(world.project / ".claude")


def before_removal(world: World) -> None:
    """Everything came after the backup, so that going back removes it; what no backup holds has to stay."""
    plant(world, {"home": {".claude": {"CLAUDE.md": "mine\n"}}, "project": {".claude": {}}})
    _backed_up(world)
    claude: Spec = {
        "hooks": {"guard.py": guard("one"), "node_modules": {"m.js": "m\n"}},
        "commands": {"a.md": "A\n"},
        "settings.json": SETTINGS_ONE,
    }
    plant(world, {"home": {".claude": claude}, "project": {".claude": {"settings.local.json": "{}\n"}}})


def hooked(*commands: str) -> str:
    """Settings in which each command guards the use of tools."""
    handlers = [{"type": "command", "command": command} for command in commands]
    return json.dumps({"hooks": {"PreToolUse": [{"matcher": "*", "hooks": handlers}]}})


def before_retirement(world: World) -> None:
    """Guards came after the backup: going back takes away both the scripts and the settings that name them."""
    plant(
        world,
        {
            "home": {".claude": {"hooks": {"common.py": guard("one")}, "settings.json": SETTINGS_ONE}},
            "project": {".claude": {"settings.json": SETTINGS_TWO}},
        },
    )
    _backed_up(world)
    settings = hooked("~/.claude/hooks/guard.py", "python3 ~/.claude/hooks/sub/deep.py", "~/.claude/hooks/common.py")
    plant(
        world,
        {
            "home": {".claude": {"hooks": {"guard.py": guard("two"), "sub": {"deep.py": guard("deep")}}}},
            "project": {".claude": {"hooks": {"only.py": guard("project")}}},
        },
    )
    (world.home / ".claude" / "settings.json").write_text(settings, encoding="utf-8")
    (world.project / ".claude" / "settings.json").write_text(
        hooked('"$CLAUDE_PROJECT_DIR"/.claude/hooks/only.py'), encoding="utf-8"
    )


def before_key(world: World) -> None:
    """An installer took the hooks out of the settings and put keys of its own there; a script went with them."""
    settings = world.home / ".claude" / "settings.json"
    plant(
        world,
        {
            "home": {
                ".claude": {
                    "hooks": {"guard.py": guard("one"), "same.py": "same\n"},
                    "settings.json": File(hooked("~/.claude/hooks/guard.py"), 0o600),
                }
            },
            "project": {".claude": {}},
        },
    )
    _backed_up(world)
    (world.home / ".claude" / "hooks" / "guard.py").unlink()
    (world.home / ".claude" / "hooks" / "new.py").write_text("new\n", encoding="utf-8")
    settings.write_text(SETTINGS_TWO, encoding="utf-8")
    world.fresh = (str(settings),)


SITUATIONS: Mapping[str, tuple[Callable[[World], None], str]] = {
    "rollback": (before_rollback, "rollback"),
    "rich rollback": (before_rich_rollback, "rollback"),
    "partial rollback": (before_rollback, "only"),
    "undo": (before_undo, "undo"),
    "redo": (before_redo, "redo"),
    "rollback that brings all back": (before_bringing_back, "rollback"),
    "rollback that removes": (before_removal, "rollback"),
    "rollback that retires guards": (before_retirement, "rollback"),
    "rollback of one key": (before_key, "key"),
    "backup": (before_rollback, "backup"),
}


# -- cases ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One operation in a saved world: what is live before and after it, and the consent that it needs.

    ``calls`` are its mutating calls in a clean run, ``intents`` how many operations the audit knew before it.
    """

    world: World
    name: str
    consent: Consent
    old: Fingerprint
    new: Fingerprint
    calls: tuple[tuple[str, str], ...]
    intents: int

    def perform(self, files: Files) -> Restored | BackupCreated:
        """Run the operation in a fresh process, so to speak."""
        return self.world.run(ACTS[self.name](self.world.service(files), self.consent))


def rollback(*only: str) -> Act:
    """Back to v1, or only those paths."""
    return lambda service, consent: service.rollback_to(PERSON, version="v1", only=only, consent=consent)


# By name, so that a child process can be told which one to run.
ACTS: Mapping[str, Act] = {
    "backup": lambda service, _: service.create_backup(PERSON, version="v9", note="crash me"),
    "rollback": rollback(),
    "only": rollback("~/.claude/hooks/guard.py"),
    "key": rollback("~/.claude/settings.json#/hooks"),
    "undo": lambda service, consent: service.undo(PERSON, consent=consent),
    "redo": lambda service, consent: service.redo(PERSON, consent=consent),
}


def consent_for(world: World, name: str) -> Consent:
    """What a person would have to agree to."""
    if name == "backup":
        return Consent()
    plan = world.run(ACTS[name](world.service(), Consent(dry_run=True)))
    assert isinstance(plan, Restored)
    assert any(change.action != "none" for change in plan.changes)
    return Consent(accept=plan.security_changes)


def perform(world: World, name: str, files: Files | None = None) -> Restored | BackupCreated:
    """Do it, with consent."""
    return world.run(ACTS[name](world.service(files), consent_for(world, name)))


def prepare(world: World, situation: str, files: Callable[[Log], Files] = lambda log: Files(observe=log)) -> Case:
    """Build the situation and save it, and find out by a clean run what the operation makes of it."""
    build_up, name = SITUATIONS[situation]
    build_up(world)
    consent = consent_for(world, name)
    world.save()
    old = world.fingerprint()
    intents = len(_outcomes(world))
    log = Log()
    world.run(ACTS[name](world.service(files(log)), consent))
    new = world.fingerprint()
    calls = tuple(log.calls)
    return Case(world=world, name=name, consent=consent, old=old, new=new, calls=calls, intents=intents)


def judge(case: Case, where: object) -> bool:
    """After recovery: wholly old or wholly new, nothing left over, nothing lost, history true. Says whether new."""
    world = case.world
    live = world.fingerprint()
    assert live in (case.old, case.new), (where, difference(case, live))
    assert os.listdir(world.store / "recovery") == [], where
    assert AuditLog(str(world.store / "audit"), Files()).verify(complete=True).intact, where
    _judge_history(case, live, where)
    listed = world.run(world.service().verify_backups(PERSON)).backups
    assert [backup.version for backup in listed if backup.status is not BackupStatus.INTACT] == [], where
    assert {backup.version for backup in listed} == set(os.listdir(world.store / "backups")), where
    return live == case.new


def _outcomes(world: World) -> dict[str, list[EventStatus]]:
    """What the audit says of each operation, in order."""
    found: dict[str, list[EventStatus]] = {}
    for record in world.records():
        draft = record.draft
        if draft.operation_id is not None and draft.event_type is not EventType.CRASH_RECOVERY:
            found.setdefault(draft.operation_id, []).append(draft.status)
    return found


def _judge_history(case: Case, live: Fingerprint, where: object) -> None:
    """Each intent has one outcome, and the last one says what is live.

    A process that ended between its intent and its journal leaves the intent alone: it shows as interrupted.
    """
    outcomes = _outcomes(case.world)
    for operation_id, statuses in outcomes.items():
        assert statuses[0] is EventStatus.STARTED, (where, statuses)
        if len(statuses) == 1:
            assert live == case.old, where
            page = case.world.run(case.world.service().query_audit(PERSON, status=EventStatus.STARTED))
            shown = [record.draft.status for record in page.events if record.draft.operation_id == operation_id]
            assert shown == [EventStatus.INTERRUPTED], where
        else:
            assert len(statuses) == 2, (where, statuses)
    if len(outcomes) > case.intents:
        is_new = list(outcomes.values())[-1][-1] is EventStatus.SUCCESS
        assert is_new == (live == case.new), (where, outcomes)


def difference(case: Case, live: Fingerprint) -> dict[str, object]:
    """Which paths are not as they were, and which are not as they were meant to be."""
    return {
        "not as before": sorted(path for path in case.old.keys() | live.keys() if case.old.get(path) != live.get(path)),
        "not as meant": sorted(path for path in case.new.keys() | live.keys() if case.new.get(path) != live.get(path)),
    }


# -- real deaths ----------------------------------------------------------------------------------------------------


def die(root: str, name: str, number: int, accept: str) -> None:
    """Perform an operation in this process and be killed before its N-th mutating call; for child processes."""
    world = World(Path(root))
    consent = Consent(accept=tuple(json.loads(accept)))
    world.run(ACTS[name](world.service(Files(observe=KillAt(number))), consent))


def kill_at(case: Case, number: int) -> int:
    """Perform the case in a child process that is killed before its N-th mutating call; the child's return code."""
    code = "import json, sys; from support.crash import die; die(*json.loads(sys.argv[1]))"
    arguments = json.dumps([str(case.world.root), case.name, number, json.dumps(case.consent.accept)])
    tests = str(Path(__file__).resolve().parent.parent)
    environ = {**os.environ, "HOME": str(case.world.home), "PYTHONPATH": tests, "PYTHONDONTWRITEBYTECODE": "1"}
    child = subprocess.run(
        [sys.executable, "-c", code, arguments], env=environ, cwd=case.world.project, check=False, timeout=60
    )
    return child.returncode
