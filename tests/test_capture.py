"""Making a backup, from live files to a published manifest: whole, of one moment, or no trace of it."""

import errno
import json
import os
import resource
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import pytest
from support.config import realistic
from support.tree import Entry as Spec
from support.tree import Fifo, File, Folder, Link, Snapshot, build, snapshot

from stravinsky_rollback_mcp.config import load
from stravinsky_rollback_mcp.core.model import Actor, MadeBy, TargetState
from stravinsky_rollback_mcp.core.outcome import BackupCreated
from stravinsky_rollback_mcp.disk import scan
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import backup
from stravinsky_rollback_mcp.service.desk import Caller, Desk

CALLER = Caller(actor=Actor(kind="terminal"), made_by=MadeBy.TERMINAL)


def desk(
    home: Path, project: Path | None = None, files: Files | None = None, variables: Mapping[str, str] | None = None
) -> Desk:
    """The working place of one process; without a project the person's scope alone."""
    environ = {"HOME": str(home), **(variables or {})}
    config = load(environ, for_terminal=False, project=str(project or home))
    return Desk(config, files or Files(), backup.keep_rescued)


def create(at: Desk, version: str | None = "v1") -> BackupCreated:
    """Make a backup."""
    return backup.create_backup(at, CALLER, version, "")


def stored(home: Path) -> Snapshot:
    """All backups, byte for byte."""
    found = snapshot(home / ".stravinsky/rollback/backups")
    return {path: entry for path, entry in found.items() if path}


def kept(home: Path, version: str, name: str) -> Path:
    """One stored archive."""
    return home / ".stravinsky/rollback/backups" / version / name


def members(path: Path) -> dict[str, bytes]:
    """The files of a stored archive, as Python reads them."""
    found: dict[str, bytes] = {}
    with tarfile.open(path, encoding="utf-8", errors="surrogateescape") as opened:
        for info in opened:
            reader = opened.extractfile(info) if info.isreg() else None
            if reader is not None:
                found[info.name] = reader.read()
    return found


def refusal(body: Callable[[], object]) -> RollbackError:
    """The error that a call ends with."""
    with pytest.raises(RollbackError) as caught:
        body()
    return caught.value


# --- what is captured ----------------------------------------------------------------------------------------------


def test_a_real_configuration_is_captured_whole(home: Path, project: Path) -> None:
    """Both scopes, all oddities, nothing of what is none of our business, and nothing changed (design)."""
    realistic(home, project)
    before = (snapshot(home), snapshot(project))
    at = desk(home, project)
    create(at)
    after = snapshot(home)
    assert {path: entry for path, entry in after.items() if not path.startswith(b".stravinsky")} == before[0]
    assert snapshot(project) == before[1]
    opened = at.store.read("v1")
    assert at.store.verify(opened) == ()
    assert {target.id for target in opened.manifest.targets if target.tree.state is TargetState.PRESENT} == {
        *("user.hooks", "user.commands", "user.agents", "user.memory", "user.settings"),
        *("project.hooks", "project.commands", "project.root_memory", "project.settings", "project.local_settings"),
    }
    everything = b"".join(content for _, _, content in stored(home).values())
    for word in (b"accessToken", b"numStartups", b'"display"'):
        assert any(word in content for _, _, content in before[0].values())
        assert word not in everything
    for scope, root in (("user", home / ".claude"), ("project", project / ".claude")):
        for component in ("hooks", "commands"):
            live = {
                os.fsdecode(path): content
                for path, (kind, _, content) in snapshot(root / component).items()
                if kind == "file"
            }
            assert members(kept(home, "v1", f"{scope}.{component}.tar.gz")) == live
        assert kept(home, "v1", f"{scope}.settings.json").read_bytes() == (root / "settings.json").read_bytes()


def test_a_person_restores_a_backup_with_tar_alone(home: Path, project: Path, tmp_path: Path) -> None:
    """The store can be read without this program; only links stand in the manifest (design)."""
    realistic(home, project)
    create(desk(home, project))
    out = tmp_path / "out"
    out.mkdir()
    archive = kept(home, "v1", "user.hooks.tar.gz")
    subprocess.run(["tar", "-xpzf", archive, "-C", out], check=True, timeout=60, capture_output=True)
    manifest = json.loads(kept(home, "v1", "manifest.json").read_bytes())
    for target in manifest["targets"]:
        if (target["scope"], target["component"]) == ("user", "hooks"):
            for entry in target["entries"]:
                if entry["type"] == "symlink":
                    (out / entry["path"]).symlink_to(entry["link"])
    assert {**snapshot(out), b"": None} == {**snapshot(home / ".claude/hooks"), b"": None}


def test_nothing_behind_a_link_reaches_the_store(home: Path, project: Path, tmp_path: Path) -> None:
    """Hostile input: a repository links a private key into its hooks; an early sketch copied the key."""
    build(tmp_path, {"ssh": {"id_ed25519": "MARKER-PRIVATE-KEY"}})
    build(
        project,
        {
            ".claude": {
                "hooks": {"key": Link(str(tmp_path / "ssh/id_ed25519")), "all": Link(str(tmp_path / "ssh"))},
                "commands": {"up": Link("../../../ssh")},
            }
        },
    )
    made = create(desk(home, project))
    content = b"".join(content for _, _, content in stored(home).values())
    assert b"MARKER" not in content
    assert b"ssh/id_ed25519" in content, "the link itself is recorded"
    for name in ("hooks", "commands"):
        assert members(kept(home, "v1", f"project.{name}.tar.gz")) == {}
    for name in ("hooks/key", "hooks/all", "commands/up"):
        assert any(name in line for line in made.warnings), "what is not covered is said"


def test_what_is_left_out_is_said(home: Path) -> None:
    """Hostile input: FIFOs and downloads are skipped, each with its reason."""
    build(
        home,
        {
            ".claude": {
                "hooks": {"pipe": Fifo(), "node_modules": {"x": "y"}, "new\nline": {"pipe": Fifo()}, "a": "x"},
                "settings.json": Fifo(),
            }
        },
    )
    made = create(desk(home))
    assert sorted(made.warnings) == [
        "~/.claude/hooks/new\\nline/pipe (a FIFO) is not backed up; a rollback carries it over.",
        "~/.claude/hooks/node_modules (excluded folder) is not backed up; a rollback carries it over.",
        "~/.claude/hooks/pipe (a FIFO) is not backed up; a rollback carries it over.",
        "~/.claude/settings.json is not a file but a FIFO: not backed up, and left alone by a rollback.",
    ]
    assert members(kept(home, "v1", "user.hooks.tar.gz")) == {"a": b"x"}


def test_a_deep_and_odd_tree_is_captured(home: Path) -> None:
    """Names of all kinds, 3 MB, empty and read-only things, as deep as is allowed (design)."""
    hooks: dict[str | bytes, Spec] = {
        "new\nline": "1",
        b"\xff" * 255: "2",
        "-rf": "3",
        " ": "4",
        "cafe\u0301": "NFD",
        "caf\u00e9": "NFC",
        "empty": "",
        "nothing": {},
        "read-only": Folder({"locked": File("5", 0o400), "run": File("6", 0o555)}, 0o555),
        "big": os.urandom(3 << 20),
    }
    build(home, {".claude": {"hooks": hooks}})
    handle = os.open(home / ".claude/hooks", os.O_RDONLY)
    os.mkdir("deep", dir_fd=handle)
    for level in range(63):  # by handle: the whole path is longer than a path may be
        inner = os.open("d" * 200 if level else "deep", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
        os.mkdir("d" * 200, dir_fd=handle)
    os.close(handle)
    at = desk(home)
    create(at)
    opened = at.store.read("v1")
    assert at.store.verify(opened) == ()
    found = opened.manifest.target("user.hooks")
    assert found is not None
    assert len(found.tree.entries) == 1 + 10 + 2 + 64
    assert max(len(entry.path) for entry in found.tree.entries) == 4 + 63 * 201


def test_the_same_state_gives_the_same_bytes(home: Path, project: Path) -> None:
    """Archives are reproducible and shared; touching files changes neither (design)."""
    realistic(home, project)
    at = desk(home, project)
    create(at, "v1")
    for path in (home / ".claude/hooks").rglob("*"):
        os.utime(path, ns=(10**18, 10**18), follow_symlinks=False)
    create(at, "v2")
    names = {path.name for path in kept(home, "v1", "").iterdir()} - {"manifest.json"}
    assert len(names) == 10
    for name in names:
        one, two = kept(home, "v1", name), kept(home, "v2", name)
        assert one.read_bytes() == two.read_bytes()
        assert one.samefile(two) == name.endswith(".tar.gz")
    Files().remove_tree(str(kept(home, "v1", "")))
    assert at.store.verify(at.store.read("v2")) == ()


def test_an_unchanged_state_is_not_stored_again(home: Path, project: Path) -> None:
    """Hostile input: a loop of backups must not fill the disk."""
    realistic(home, project)
    at = desk(home, project)
    first = create(at, None)
    before = stored(home)
    again = create(at, None)
    assert (first.created, again.created) == (True, False)
    assert again.backup.version == first.backup.version
    assert stored(home) == before


def test_everything_in_the_store_is_private(home: Path, project: Path) -> None:
    """Under umask 000, and where a looser store was found: folders 0700, files 0600 (design)."""
    realistic(home, project)
    build(home, {".stravinsky": Folder({"rollback": Folder({"backups": Folder({}, 0o777)}, 0o777)}, 0o755)})
    before = os.umask(0)
    try:
        create(desk(home, project))
    finally:
        os.umask(before)
    found = snapshot(home / ".stravinsky/rollback")
    assert len(found) > 12
    assert {oct(mode) for kind, mode, _ in found.values() if kind == "folder"} == {"0o700"}
    assert {oct(mode) for kind, mode, _ in found.values() if kind == "file"} == {"0o600"}


# --- what is refused -----------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Code, dict[str, str], Callable[[Path], object]]] = {
    "too large": (
        Code.TOO_LARGE,
        {"STRAVINSKY_BACKUP_MAX_FILE_SIZE_MB": "1"},
        lambda root: os.truncate(root / "hooks/b", (1 << 20) + 1),
    ),
    "sparse": (Code.TOO_LARGE, {}, lambda root: os.truncate(root / "commands/c", 1 << 40)),
    "too many": (Code.TOO_MANY_FILES, {"STRAVINSKY_BACKUP_MAX_ENTRIES": "2"}, lambda _: None),
    "too deep": (Code.TOO_MANY_FILES, {"STRAVINSKY_BACKUP_MAX_DEPTH": "1"}, lambda _: None),
}


@pytest.mark.parametrize(("code", "variables", "change"), REFUSED.values(), ids=REFUSED)
def test_a_refused_backup_leaves_no_trace(
    home: Path, code: Code, variables: dict[str, str], change: Callable[[Path], object]
) -> None:
    """Hostile input: too large, too many, too deep: named, and the store as before."""
    build(home, {".claude": {"hooks": {"a": {"x": {}}, "b": "x"}, "commands": {"c": "x"}}})
    create(desk(home), "earlier")
    before = stored(home)
    change(home / ".claude")
    error = refusal(lambda: create(desk(home, variables=variables)))
    assert error.code is code
    assert str(home / ".claude") in error.message
    assert error.hint
    assert stored(home) == before


def test_a_taken_name_leaves_no_trace(home: Path) -> None:
    """Backups are immutable, whatever the case of the name (design)."""
    build(home, {".claude": {"hooks": {"a": "x"}}})
    create(desk(home), "v1")
    before = stored(home)
    for version in ("v1", "V1"):
        assert refusal(lambda: create(desk(home), version)).code is Code.ALREADY_EXISTS  # noqa: B023
    for version in ("../x", "latest", "a/b"):
        assert refusal(lambda: create(desk(home), version)).code is Code.INVALID_NAME  # noqa: B023
    assert stored(home) == before


def test_a_project_that_links_out_is_not_recorded(home: Path, project: Path) -> None:
    """Hostile input: a repository whose hooks are the person's own prevents no backup, and is not in it."""
    build(home, {".claude": {"hooks": {"guard": "secret"}}})
    build(project, {".claude": {"hooks": Link(str(home / ".claude/hooks")), "settings.json": "{}"}})
    made = create(desk(home, project), "v1")
    assert "leads outside the project" in " ".join(made.warnings)
    manifest = desk(home, project).store.read("v1").manifest
    states = {target.id: target.tree.state for target in manifest.targets}
    assert states["project.hooks"] is TargetState.NOT_RECORDED
    assert states["user.hooks"] is states["project.settings"] is TargetState.PRESENT
    again = create(desk(home, project), None)
    assert (again.created, again.warnings) == (False, made.warnings)


UNREADABLE = """
import os, sys
from stravinsky_rollback_mcp.config import load
from stravinsky_rollback_mcp.core.model import Actor, MadeBy
from stravinsky_rollback_mcp.disk import scan
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import RollbackError
from stravinsky_rollback_mcp.service import backup
from stravinsky_rollback_mcp.service.desk import Caller, Desk
from stravinsky_rollback_mcp.service.program import tool_version
tool_version()

home = sys.argv[1]
os.chdir("/")
desk = Desk(load({"HOME": home}, for_terminal=False, project=home), Files(), backup.keep_rescued)
caller = Caller(actor=Actor(kind="terminal"), made_by=MadeBy.TERMINAL)
backup.create_backup(desk, caller, "earlier", "")
os.chmod(f"{home}/.claude/{sys.argv[2]}", 0)
try:
    backup.create_backup(desk, caller, "v1", "")
    print("made")
except RollbackError as error:
    print(error.code, error.message)
print(os.listdir(desk.store.backups))
"""


@pytest.mark.case(16)
@pytest.mark.parametrize("locked", ["hooks/sub/secret", "hooks/sub", "settings.json"])
def test_an_unreadable_file_is_named_and_leaves_no_trace(home: Path, locked: str) -> None:
    """No backup is better than one with a hole in it (design)."""
    build(home, {".claude": {"hooks": {"sub": {"secret": "x"}}, "settings.json": "{}"}})
    drop = ""
    if os.geteuid() == 0:  # permissions do not concern root
        for top, _, files in os.walk(home):
            for path in (top, *(os.path.join(top, name) for name in files)):
                os.chown(path, 65534, 65534)
        for parent in home.parents:  # pytest keeps its folders to itself
            if parent.stat().st_mode & 0o001 == 0:
                parent.chmod(parent.stat().st_mode | 0o011)
        drop = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    imports, body = UNREADABLE.split("\n\n", 1)
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}\n{drop}{body}", home, locked],
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )
    (home / ".claude" / locked).chmod(0o700)
    assert done.stdout.splitlines() == [
        f"unreadable {home}/.claude/{locked} cannot be read: Permission denied.",
        "['earlier']",
    ], done.stderr


@pytest.mark.case(7)
def test_a_full_disk_leaves_no_trace(home: Path) -> None:
    """A real limit on the size of files ends the capture of 3 MB; the store is as before (design)."""
    build(home, {".claude": {"hooks": {"a": "x"}}})
    at = desk(home)
    create(at, "earlier")
    before = stored(home)
    build(home, {".claude": {"hooks": {"big": os.urandom(3 << 20)}}})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        error = refusal(lambda: create(at))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.code is Code.NO_SPACE
    assert stored(home) == before
    create(at)


def test_whichever_step_fails_no_trace_is_left(home: Path) -> None:
    """For every N, the N-th operation on backups fails: the store is as before, without a sweep (design)."""
    same: Spec = {"a": "x"}
    build(home, {".claude": {"hooks": same, "commands": same, "agents": same, "settings.json": "{}"}})
    create(desk(home), "earlier")
    os.utime(home / ".claude/hooks/a")  # the same bytes, which shows only when they are read
    (home / ".claude/commands/a").write_text("changed", encoding="utf-8")
    before = stored(home)
    seen: list[str] = []
    create(desk(home, files=Files(lambda operation, path: seen.append(f"{operation} {path}"))), "counted")
    Files().remove_tree(str(kept(home, "counted", "")))
    inside = [number for number, line in enumerate(seen) if "/backups" in line]
    assert len(inside) > 20
    for number in inside:
        left = [number]

        def fail(operation: str, path: str) -> None:
            left[0] -= 1  # noqa: B023
            if left[0] == -1:  # noqa: B023
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

        try:
            create(desk(home, files=Files(fail)), f"v{number}")
        except RollbackError as error:
            assert error.code is Code.NO_SPACE  # noqa: PT017
            assert stored(home) == before
        else:
            pytest.fail(f"{seen[number]} failed unnoticed")
        assert left[0] < 0, "the operation did take place"


# --- a source that moves -------------------------------------------------------------------------------------------


class Writing:
    """A thread that changes files from the moment on that a capture begins, until told to stop."""

    def __init__(self, write: Callable[[int], object], limit: int) -> None:
        self.first = threading.Event()
        self._write = write
        self._limit = limit
        self._begun = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self._begun.wait()
        for number in range(self._limit):
            if self._stop.is_set():
                break
            self._write(number)
            self.first.set()

    def observe(self, operation: str, path: str) -> None:
        """Let the writer go when the backup's folder is made, and the capture go on when it has written once."""
        if operation == "mkdir" and "/backups/" in path and not self._begun.is_set():
            self._begun.set()
            self.first.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._begun.set()
        self._stop.set()
        self._thread.join()


def captured_while(home: Path, write: Callable[[int], object], attempts: int, limit: int) -> list[str]:
    """Back up again and again while a thread writes; the versions that were made."""
    made: list[str] = []
    for number in range(attempts):
        before = stored(home)
        with Writing(write, limit) as writing:
            try:
                create(desk(home, files=Files(writing.observe)), f"v{number}")
                made.append(f"v{number}")
            except RollbackError as error:
                assert error.code is Code.UNSTABLE_SOURCE  # noqa: PT017
                assert stored(home) == before
            assert writing.first.is_set(), "it was written while the backup was made"
    return made


@pytest.mark.parametrize("limit", [60, 200_000], ids=["a burst", "all the time"])
def test_a_file_rewritten_in_place_is_never_torn(home: Path, limit: int) -> None:
    """Hostile input: a writer in a loop; 27 of 30 backups of an early sketch "verified" a torn or empty file."""
    path = home / ".claude/hooks/data"
    size_bytes = 600_000
    build(home, {".claude": {"hooks": {"data": b"A" * size_bytes}}})

    def write(number: int) -> None:
        with open(path, "r+b") as file:
            file.write(bytes([65 + number % 26]) * size_bytes)

    made = captured_while(home, write, 6, limit)
    for version in made:
        content = members(kept(home, version, "user.hooks.tar.gz"))["data"]
        assert len(content) == size_bytes
        assert len(set(content)) == 1, "one generation, whole"


def test_a_file_cut_and_written_anew_is_never_torn(home: Path) -> None:
    """Hostile input: editors cut a file to nothing before they write it; both states are its own, a mixture is not."""
    path = home / ".claude/settings.json"
    build(home, {".claude": {"settings.json": "{}"}})

    def write(number: int) -> None:
        path.write_text(json.dumps({"n": [number] * 5000}), encoding="utf-8")

    made = captured_while(home, write, 6, 60)
    for version in made:
        content = kept(home, version, "user.settings.json").read_bytes()
        # Python writes such a text in one call: what lies between is the empty file alone.
        assert not content or len(set(json.loads(content).get("n", [0]))) == 1


def test_two_files_are_of_one_moment(home: Path) -> None:
    """Hostile input: hooks are replaced before the settings that need them; no backup has only one of both."""
    root = home / ".claude"
    build(home, {".claude": {"hooks": {"guard": "0"}, "settings.json": "0"}})

    def write(number: int) -> None:
        for path in (root / "hooks/guard", root / "settings.json"):
            spare = root / f"spare-{path.name}"
            spare.write_text(str(number), encoding="utf-8")
            spare.replace(path)

    made = captured_while(home, write, 8, 40)
    for version in made:
        guard = int(members(kept(home, version, "user.hooks.tar.gz"))["guard"])
        settings = int(kept(home, version, "user.settings.json").read_bytes())
        assert settings in {guard, guard - 1}, "a state that there was"


def test_a_writer_that_stops_does_not_spoil_the_backup(home: Path) -> None:
    """Retries are for this: the first look fails, a later one finds the end of the burst (design)."""
    path = home / ".claude/hooks/data"
    build(home, {".claude": {"hooks": {"data": "0"}}})
    acted: list[int] = []

    def observe(operation: str, name: str) -> None:
        if operation == "fsync" and name.endswith("user.hooks.tar.gz") and len(acted) < 3:
            acted.append(1)
            path.write_text(str(len(acted)), encoding="utf-8")

    create(desk(home, files=Files(observe)))
    assert len(acted) == 3
    assert members(kept(home, "v1", "user.hooks.tar.gz")) == {"data": b"3"}


def test_settings_that_vanish_in_mid_capture_are_recorded_as_absent(home: Path) -> None:
    """A file deleted between being read and being checked again is a change like any other (design)."""
    build(home, {".claude": {"hooks": {"a": "x"}, "settings.json": "{}"}})
    acted: list[str] = []

    def observe(operation: str, name: str) -> None:
        if operation == "fsync" and name.endswith("user.settings.json") and not acted:
            acted.append(name)
            (home / ".claude/settings.json").unlink()

    at = desk(home, files=Files(observe))
    create(at)
    assert acted
    settings = at.store.read("v1").manifest.target("user.settings")
    assert settings is not None
    assert settings.tree.state is TargetState.ABSENT
    assert sorted(os.listdir(kept(home, "v1", ""))) == ["manifest.json", "user.hooks.tar.gz"]


def test_an_unchanged_state_is_found_without_reading_it_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed goal P2: unchanged costs a walk; a process that has looked once opens no file of it again."""
    realistic(home, home)
    at = desk(home)
    old = create(at)
    opened: list[str] = []
    honest = scan.open_regular

    def noted(path: str, name: str, folder: int | None) -> int:
        opened.append(name)
        return honest(path, name, folder)

    monkeypatch.setattr(scan, "open_regular", noted)
    create(at, None)
    opened.clear()
    again = create(at, None)
    assert (again.created, again.backup.version, opened) == (False, old.backup.version, [])
    (home / ".claude/hooks/notify.sh").write_text("changed\n", encoding="utf-8")
    assert create(at, None).created
    assert "notify.sh" in opened
