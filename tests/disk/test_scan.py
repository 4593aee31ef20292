"""Reading live targets: exactly what is there, nothing that lies behind links, nothing torn, and never for long."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from support.ordinary import as_ordinary_user
from support.tree import Entry as Spec
from support.tree import Fifo, File, Folder, Link, build, snapshot

from stravinsky_rollback_mcp.core.components import view_of
from stravinsky_rollback_mcp.core.model import Entry, EntryType, Kind, Limits, Scope, Target, TargetState
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, copy_content, read_file
from stravinsky_rollback_mcp.disk.place import Place, locate
from stravinsky_rollback_mcp.disk.scan import Scan, scan, still_the_same
from stravinsky_rollback_mcp.errors import Code, RollbackError

LIMITS = Limits(max_file_size_bytes=8 << 20, max_entries=2000, max_depth=64)


class Recorder:
    """A sink that keeps what it is given, and does something when content comes."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.members: list[tuple[str, int, bytes]] = []
        self._then = then

    def folder(self, path: str, mode: int) -> None:
        """A folder."""
        self.members.append((f"{path}/", mode, b""))

    def file(self, path: str, mode: int, size_bytes: int) -> None:
        """A file."""
        assert size_bytes >= 0
        self.members.append((path, mode, b""))

    def content(self, chunk: bytes) -> None:
        """Content of the last file."""
        path, mode, content = self.members[-1]
        self.members[-1] = (path, mode, content + chunk)
        self._then()


def place(path: Path, kind: Kind = Kind.DIRECTORY) -> Place:
    """A target that lies where it says."""
    component = "hooks" if kind is Kind.DIRECTORY else "settings"
    target = Target(scope=Scope.USER, component=component, kind=kind, path=str(path))
    return Place(target=target, resolved=os.path.realpath(path), dangling=False)


def hooks(home: Path, spec: dict[str | bytes, Spec]) -> Path:
    """A folder with these entries."""
    build(home / "hooks", spec)
    return home / "hooks"


def seen_by_scan(found: Scan) -> dict[bytes, tuple[str, int, str]]:
    """A scan as comparable as a snapshot."""
    return {
        entry.path.encode("utf-8", "surrogateescape"): (
            "link" if entry.type is EntryType.SYMLINK else "folder" if entry.type is EntryType.DIRECTORY else "file",
            entry.mode,
            entry.link if entry.type is EntryType.SYMLINK else entry.sha256,
        )
        for entry in found.tree.entries
    }


def seen_by_eye(root: Path) -> dict[bytes, tuple[str, int, str]]:
    """The same, found in the plainest way."""
    return {
        path: (
            kind,
            mode & 0o777,
            os.fsdecode(content) if kind == "link" else sha256(content).hexdigest() if kind == "file" else "",
        )
        for path, (kind, mode, content) in snapshot(root).items()
    }


def refusal(body: Callable[[], object]) -> RollbackError:
    """The error that a call ends with."""
    with pytest.raises(RollbackError) as caught:
        body()
    return caught.value


# --- what is there -------------------------------------------------------------------------------------------------


def test_odd_trees_are_seen_as_they_are(home: Path) -> None:
    """Names are bytes, kept exactly; empty and read-only things count (design)."""
    top = hooks(
        home,
        {
            "new\nline": "1",
            b"caf\xe9": "2",
            b"\xff" * 255: "3",
            "-rf": "4",
            " two  words ": "5",
            "cafe\u0301": "NFD",
            "caf\u00e9": "NFC",
            "Case": "6",
            "case": "7",
            "empty": "",
            "nothing": {},
            "read-only": Folder({"locked": File("8", 0o400), "run": File("#!/bin/sh\n", 0o555)}, 0o555),
            "exec": File("#!/bin/sh\n", 0o755),
            "setuid": File("9", 0o4755),
            "shared": Folder({}, 0o1777),
            "link": Link("exec"),
            b"odd link": Link(b"/nowhere/\xff"),
        },
    )
    sink = Recorder()
    found = scan(place(top), LIMITS, sink)
    assert found.tree.state is TargetState.PRESENT
    assert seen_by_scan(found) == seen_by_eye(top)
    assert len(found.tree.entries) == 20
    assert found.tree.skipped == ()
    assert found.tree.entries[0].mtime_ns == top.stat().st_mtime_ns
    # What was streamed is what was recorded, links apart, in the order of the walk.
    files = {entry.path: entry for entry in found.tree.entries if entry.type is EntryType.FILE}
    streamed = {path: (mode, sha256(content).hexdigest()) for path, mode, content in sink.members if path[-1] != "/"}
    assert streamed == {path: (entry.mode, entry.sha256) for path, entry in files.items()}
    assert {path for path, _, _ in sink.members if path[-1] == "/"} == {"nothing/", "read-only/", "shared/"}


def test_a_file_target_is_one_entry(home: Path) -> None:
    """Settings are bytes: comments, CRLF, BOM and duplicate keys are none of a backup's business (design)."""
    content = b'\xef\xbb\xbf{"a": 1.10, // x\r\n"a": 1}\r\n'
    (home / "settings.json").write_bytes(content)
    found = scan(place(home / "settings.json", Kind.FILE), LIMITS)
    (entry,) = found.tree.entries
    assert (entry.path, entry.type, entry.size_bytes) == ("", EntryType.FILE, len(content))
    assert entry.sha256 == sha256(content).hexdigest()


def test_links_are_never_followed(home: Path, tmp_path: Path) -> None:
    """Hostile input: a link to a private key is kept as text; its bytes are never read."""
    build(tmp_path / "secret", {"key": "MARKER-PRIVATE-KEY"})
    top = hooks(
        home,
        {
            "key": Link(str(tmp_path / "secret/key")),
            "folder": Link(str(tmp_path / "secret")),
            "root": Link("/"),
            "loop": Link("loop"),
            "up": Link(".."),
            "gone": Link("nowhere"),
        },
    )
    sink = Recorder()
    found = scan(place(top), LIMITS, sink)
    assert sink.members == []
    assert {entry.path: entry.link for entry in found.tree.entries if entry.link} == {
        name: os.readlink(top / name) for name in os.listdir(top)
    }
    assert len(found.tree.entries) == 7


def test_special_files_are_skipped_at_once(home: Path) -> None:
    """Hostile input: a FIFO hung an early sketch for ever; it is skipped, and said so."""
    top = hooks(home, {"pipe": Fifo(), "guard.py": "x", "deep": {"pipe": Fifo()}})
    (top / "s").parent.mkdir(exist_ok=True)
    bound = socket.socket(socket.AF_UNIX)
    os.chdir(top)  # a socket's path has at most 107 bytes
    bound.bind("s")
    try:
        found = scan(place(top), LIMITS)
    finally:
        bound.close()
    assert stat.S_ISSOCK(os.lstat(top / "s").st_mode)
    assert {(item.path, item.reason) for item in found.tree.skipped} == {
        ("pipe", "a FIFO"),
        ("deep/pipe", "a FIFO"),
        ("s", "a socket"),
    }
    assert [entry.path for entry in found.tree.entries] == ["", "deep", "guard.py"]


def test_devices_are_skipped(home: Path) -> None:
    """Hostile input: reading a device could wait or never end."""
    top = hooks(home, {})
    try:
        os.mknod(top / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")
    assert [(item.path, item.reason) for item in scan(place(top), LIMITS).tree.skipped] == [
        ("zero", "a character device")
    ]


@pytest.mark.parametrize(
    ("kind", "spec", "reason"),
    [
        (Kind.FILE, {}, "not a file but a folder"),
        (Kind.FILE, Fifo(), "not a file but a FIFO"),
        (Kind.DIRECTORY, "x", "not a directory but a regular file"),
        (Kind.DIRECTORY, Fifo(), "not a directory but a FIFO"),
    ],
    ids=["folder for a file", "FIFO for a file", "file for a folder", "FIFO for a folder"],
)
def test_targets_of_another_kind_are_not_recorded(home: Path, kind: Kind, spec: Spec, reason: str) -> None:
    """Hostile input: a folder named settings.json, a file named hooks, a FIFO for either."""
    build(home, {"target": spec})
    found = scan(place(home / "target", kind), LIMITS)
    assert found.tree.state is TargetState.NOT_RECORDED
    assert found.tree.skipped[0].reason == reason
    assert still_the_same(found, LIMITS)


def test_missing_targets_are_absent(home: Path) -> None:
    """Absence is a state, also where a folder on the way is a file (design)."""
    (home / "file").write_text("x", encoding="utf-8")
    for path in (home / "hooks", home / "gone" / "hooks", home / "file" / "hooks"):
        found = scan(replace(place(home), resolved=str(path)), LIMITS)
        assert (found.tree.state, found.tree.entries) == (TargetState.ABSENT, ())
        assert still_the_same(found, LIMITS)


def test_excluded_folders_are_skipped_and_reported(home: Path) -> None:
    """Hostile input: what is downloaded may be huge; a file or link of that name is kept."""
    top = hooks(
        home,
        {
            "node_modules": {"huge": "x"},
            "lib": {"__pycache__": {"a.pyc": "x"}, ".git": "gitdir: elsewhere\n"},
            ".git": {"config": "x"},
            "sub": {"node_modules": Link("../node_modules")},
        },
    )
    sink = Recorder()
    found = scan(place(top), LIMITS, sink)
    assert [(item.path, item.reason) for item in found.tree.skipped] == [
        (path, "excluded folder") for path in (".git", "lib/__pycache__", "node_modules")
    ]
    assert [entry.path for entry in found.tree.entries] == ["", "lib", "lib/.git", "sub", "sub/node_modules"]
    assert [path for path, _, _ in sink.members] == ["lib/", "lib/.git", "sub/"]


def test_hard_links_are_files_of_their_own(home: Path, tmp_path: Path) -> None:
    """A second name of one file is recorded with its content (design)."""
    (tmp_path / "elsewhere").write_text("shared", encoding="utf-8")
    top = hooks(home, {})
    os.link(tmp_path / "elsewhere", top / "one")
    os.link(tmp_path / "elsewhere", top / "two")
    found = scan(place(top), LIMITS)
    assert {entry.sha256 for entry in found.tree.entries[1:]} == {sha256(b"shared").hexdigest()}


def test_equal_trees_have_equal_scans_whatever_their_times(home: Path) -> None:
    """Times are recorded, and no digest depends on them (design)."""
    top = hooks(home, {"a": "1", "b": {"c": "2"}})
    before = scan(place(top), LIMITS)
    for path in (top / "a", top / "b", top):
        os.utime(path, ns=(5, 5))
    after = scan(place(top), LIMITS)
    assert after.tree.digest == before.tree.digest
    assert {entry.mtime_ns for entry in after.tree.entries} == {5, (top / "b/c").stat().st_mtime_ns}
    assert not still_the_same(before, LIMITS)
    assert still_the_same(after, LIMITS)


# --- limits --------------------------------------------------------------------------------------------------------


def nested(depth: int) -> dict[str | bytes, Spec]:
    """A folder in a folder in a folder."""
    spec: dict[str | bytes, Spec] = {"leaf": "x"}
    for _ in range(depth):
        spec = {"d": spec}
    return spec


def test_nesting_is_read_up_to_the_limit(home: Path) -> None:
    """64 folders deep is read, one more is refused by its path (design)."""
    top = hooks(home, nested(LIMITS.max_depth))
    found = scan(place(top), LIMITS)
    assert found.tree.entries[-1].path == "d/" * LIMITS.max_depth + "leaf"
    top = hooks(home, {"more": nested(LIMITS.max_depth)})
    error = refusal(lambda: scan(place(top), LIMITS))
    assert error.code is Code.TOO_MANY_FILES
    assert f"{top}/more/d/d" in error.message


def test_long_names_may_nest_past_the_longest_path(home: Path) -> None:
    """Folders are walked by handle: 64 names of 255 bytes are four times what one path may have (design)."""
    top = hooks(home, {})
    os.chdir(top)
    for _ in range(LIMITS.max_depth):
        os.mkdir("n" * 255)
        os.chdir("n" * 255)
    Path("leaf").write_text("x", encoding="utf-8")
    os.chdir(home)
    found = scan(place(top), LIMITS)
    assert len(found.tree.entries) == LIMITS.max_depth + 2
    assert len(found.tree.entries[-1].path) > 4096 * 3
    assert still_the_same(found, LIMITS)


def test_too_many_entries_are_refused(home: Path) -> None:
    """Hostile input: entries are counted, skipped special files too, before any more is read."""
    top = hooks(home, {**{f"f{number}": "x" for number in range(10)}, "pipe": Fifo()})
    assert len(scan(place(top), replace(LIMITS, max_entries=12)).tree.entries) == 11
    error = refusal(lambda: scan(place(top), replace(LIMITS, max_entries=11)))
    assert error.code is Code.TOO_MANY_FILES
    assert "backup.max_entries" in error.hint


@pytest.mark.parametrize("kind", Kind)
def test_too_large_files_are_refused_unread(home: Path, kind: Kind) -> None:
    """Hostile input: a sparse file of 1 TB costs nothing to make and minutes to read; its size alone refuses it."""
    path = home / "hooks" / "huge"
    build(home / "hooks", {"huge": "x"})
    os.truncate(path, 1 << 40)
    error = refusal(lambda: scan(place(path if kind is Kind.FILE else path.parent, kind), LIMITS))
    assert error.code is Code.TOO_LARGE
    assert str(path) in error.message
    assert "max_file_size_mb" in error.hint


# --- change --------------------------------------------------------------------------------------------------------

BIG = 3 << 20  # three reads


def overwrite(path: Path, offset: int = 2 << 20) -> Callable[[], None]:
    """Rewrites the end of a file in place, the length unchanged, the first time it is called."""

    def body() -> None:
        if not done:
            done.append(True)
            handle = os.open(path, os.O_WRONLY)
            os.pwrite(handle, b"B" * 100, offset)
            os.close(handle)

    done: list[bool] = []
    return body


WHILE_READ: dict[str, Callable[[Path], Callable[[], object]]] = {
    "rewritten": overwrite,
    "cut": lambda path: lambda: os.truncate(path, BIG // 2),
    "grown": lambda path: lambda: os.truncate(path, BIG + 1),
    "mode": lambda path: lambda: os.chmod(path, 0o700),
}


@pytest.mark.parametrize("change", WHILE_READ.values(), ids=WHILE_READ)
@pytest.mark.parametrize("kind", Kind)
def test_a_file_that_changes_while_it_is_read_is_noticed(
    home: Path, kind: Kind, change: Callable[[Path], Callable[[], object]]
) -> None:
    """Hostile input: 27 of 30 backups of an early sketch "verified" a torn file; the stat tells."""
    path = hooks(home, {"big": b"A" * BIG}) / "big"
    sink = Recorder(change(path))
    with pytest.raises(ChangedWhileReadError):
        scan(place(path if kind is Kind.FILE else path.parent, kind), LIMITS, sink)
    assert sink.members, "the change happened while content was streamed"


COARSE = """
import json, os, sys
from stravinsky_rollback_mcp.core.model import Kind, Limits, Scope, Target
from stravinsky_rollback_mcp.disk.place import Place
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError
from stravinsky_rollback_mcp.disk.scan import scan

path = sys.argv[1]
limits = Limits(max_file_size_bytes=8 << 20, max_entries=10, max_depth=1)
target = Target(scope=Scope.USER, component="settings", kind=Kind.FILE, path=path)
place = Place(target=target, resolved=path, dangling=False)
result = {"rounds": 0, "torn": 0, "noticed": 0, "shared": 0}

class Sink:
    def folder(self, path, mode): pass
    def file(self, path, mode, size_bytes): self.chunks = 0
    def content(self, chunk):
        self.chunks += 1
        if self.chunks == 1:
            with open(path, "r+b") as file:
                file.seek(1 << 20)
                file.write(b"B" * (1 << 20))

for _ in range(60):
    result["rounds"] += 1
    with open(path, "wb") as file:
        file.write(b"A" * (2 << 20))
    before = os.stat(path).st_mtime_ns
    with open(path, "r+b") as file:
        file.write(b"A")
    result["shared"] += os.stat(path).st_mtime_ns == before
    sink = Sink()
    try:
        scan(place, limits, sink)
        result["torn"] += 1
    except ChangedWhileReadError:
        result["noticed"] += 1
    assert sink.chunks, "the scan read, and the file was rewritten meanwhile"
print(json.dumps(result))
"""


def test_a_write_within_one_tick_of_the_clock_is_noticed(tmp_path: Path) -> None:
    """Hostile input: two writes in one tick share a time stamp on kernels before 6.13, here on ramfs."""
    (tmp_path / "ram").mkdir()
    script = 'mount -t ramfs none "$1" || exit 77; exec "$2" -c "$3" "$1/settings.json"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    try:
        done = subprocess.run(
            [*command, tmp_path / "ram", sys.executable, COARSE], capture_output=True, timeout=60, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no `unshare` here")
    if done.returncode and not done.stdout:
        pytest.skip(f"no file system with coarse time stamps can be mounted here: {done.stderr.decode()[:200]}")
    result = json.loads(done.stdout)
    if not result["shared"]:
        pytest.skip("this kernel's ramfs has fine time stamps")
    assert (result["torn"], result["noticed"]) == (0, result["rounds"])


HOLDER = """
import os, sys

with open(sys.argv[1], "r+b") as file:
    while sys.stdin.readline():
        file.write(b"B")
        file.flush()
        print("written", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open")
def test_a_file_that_is_being_written_is_waited_for(home: Path) -> None:
    """Hostile input: a long write gets its time stamp when it begins, and no later stat shows it."""
    path = hooks(home, {"log": "AAAA"}) / "log"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        for content in (b"BAAA", b"BBAA"):
            holder.stdin.write("go\n")
            holder.stdin.flush()
            assert holder.stdout.readline() == "written\n"
            changed_ns = path.stat().st_ctime_ns
            found = scan(place(path.parent), LIMITS)
            assert time.time_ns() - changed_ns > 100_000_000, "as long as a write may take"
            assert found.tree.entries[1].sha256 == sha256(content).hexdigest()
        holder.stdin.close()
        assert holder.wait(5) == 0
    for _ in range(100):  # the machine may be busy now and then
        path.write_text("quick", encoding="utf-8")
        begun_ns = time.monotonic_ns()
        assert scan(place(path.parent), LIMITS).tree.entries[1].sha256 == sha256(b"quick").hexdigest()
        if time.monotonic_ns() - begun_ns < 100_000_000:
            break
    else:
        pytest.fail("nobody has it open: no wait")


AFTER_SCAN: dict[str, Callable[[Path], object]] = {
    "rewritten": lambda top: (top / "b").write_text("2", encoding="utf-8"),
    "added": lambda top: (top / "c").write_text("new", encoding="utf-8"),
    "removed": lambda top: (top / "b").unlink(),
    "mode": lambda top: (top / "b").chmod(0o600),
    "renamed": lambda top: (top / "b").rename(top / "d"),
    "folder removed": lambda top: (top / "empty").rmdir(),
    "added below": lambda top: (top / "empty/x").write_text("", encoding="utf-8"),
    "touched": lambda top: os.utime(top / "b", ns=(1, 1)),
    "swapped whole": lambda top: (top.rename(top.parent / "away"), build(top, {"b": "1"})),
    "gone": lambda top: top.rename(top.parent / "away"),
    "now a link": lambda top: (top.rename(top.parent / "away"), top.symlink_to("away")),
    "now a file": lambda top: (top.rename(top.parent / "away"), top.touch()),
}


@pytest.mark.parametrize("change", AFTER_SCAN.values(), ids=AFTER_SCAN)
def test_change_after_a_scan_is_noticed(home: Path, change: Callable[[Path], object]) -> None:
    """The set is one moment: whatever differs at the end, everything is read again (design)."""
    top = hooks(home, {"a": "1", "b": "1", "empty": {}})
    found = scan(place(top), LIMITS)
    assert still_the_same(found, LIMITS)
    change(top)
    assert not still_the_same(found, LIMITS)


AFTER_SCAN_OF_A_FILE: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "now a folder": lambda path: (path.unlink(), path.mkdir()),
    "now a FIFO": lambda path: (path.unlink(), os.mkfifo(path)),
    "now a link": lambda path: (path.rename(path.parent / "x"), path.symlink_to("x")),
    "replaced": lambda path: (path.unlink(), path.write_text("{}", encoding="utf-8")),
}


@pytest.mark.parametrize("change", AFTER_SCAN_OF_A_FILE.values(), ids=AFTER_SCAN_OF_A_FILE)
def test_change_of_a_file_target_after_its_scan_is_noticed(home: Path, change: Callable[[Path], object]) -> None:
    """A settings file that vanishes in mid-capture starts it over, and is no error of its own (design)."""
    path = home / "settings.json"
    path.write_text("{}", encoding="utf-8")
    found = scan(place(path, Kind.FILE), LIMITS)
    change(path)
    assert not still_the_same(found, LIMITS)


@pytest.mark.parametrize("kind", Kind)
def test_a_target_that_appears_after_its_scan_is_noticed(home: Path, kind: Kind) -> None:
    """Absent at first, there at the end: the moment was not one."""
    found = scan(place(home / "target", kind), LIMITS)
    build(home, {"target": {} if kind is Kind.DIRECTORY else "x"})
    assert found.tree.state is TargetState.ABSENT
    assert not still_the_same(found, LIMITS)


def test_a_folder_swapped_for_a_link_is_no_way_out(home: Path, tmp_path: Path) -> None:
    """Hostile input: while ``a`` is read, ``b`` becomes a link to somewhere else; it is not walked into."""
    build(tmp_path / "secret", {"key": "MARKER"})
    top = hooks(home, {"a": {"file": "x"}, "b": {"key": "harmless"}})

    def swap() -> None:
        if not (top / "b").is_symlink():
            (top / "b").rename(home / "away")
            (top / "b").symlink_to(tmp_path / "secret")

    sink = Recorder(swap)
    found = scan(place(top), LIMITS, sink)
    assert (top / "b").is_symlink()
    assert b"MARKER" not in b"".join(content for _, _, content in sink.members)
    assert [entry for entry in found.tree.entries if entry.path.startswith("b")] == [
        Entry(
            path="b",
            type=EntryType.SYMLINK,
            mode=0o777,
            link=str(tmp_path / "secret"),
            mtime_ns=os.lstat(top / "b").st_mtime_ns,
        )
    ]


def test_a_folder_that_a_thread_keeps_swapping_is_never_a_way_out(home: Path, tmp_path: Path) -> None:
    """Hostile input: folder and link change places all the time; each scan sees one, the other, or refuses."""
    build(tmp_path / "secret", {"key": "MARKER"})
    top = hooks(home, {"b": {"key": "harmless"}})
    (home / "link").symlink_to(tmp_path / "secret")
    stop = threading.Event()
    swaps: list[int] = []

    def swap() -> None:
        while not stop.is_set() and len(swaps) < 1_000_000:
            (top / "b").rename(home / "away")
            (home / "link").rename(top / "b")
            (top / "b").rename(home / "link")
            (home / "away").rename(top / "b")
            swaps.append(1)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        scans = 0
        while scans < 300 or (len(swaps) < 300 and thread.is_alive()):
            scans += 1
            sink = Recorder()
            code = None
            try:
                scan(place(top), LIMITS, sink)
            except ChangedWhileReadError:
                continue
            except RollbackError as refused:
                code = refused.code
            assert code in (None, Code.UNSAFE_PATH)
            assert b"MARKER" not in b"".join(content for _, _, content in sink.members)
    finally:
        stop.set()
        thread.join()
    assert len(swaps) >= 300, "it really was swapped meanwhile"


# --- what may not be read ------------------------------------------------------------------------------------------

UNREADABLE = """
import sys
from stravinsky_rollback_mcp.core.components import view_of
from stravinsky_rollback_mcp.core.model import Kind, Limits
from stravinsky_rollback_mcp.disk.place import locate
from stravinsky_rollback_mcp.disk.content import read_file
from stravinsky_rollback_mcp.disk.scan import scan
from stravinsky_rollback_mcp.errors import RollbackError

root, component = sys.argv[1:]
view = view_of(home="/nowhere", user_root=root, project=None, git_root=None)
target = next(target for target in view.targets if target.component == component)
try:
    scan(locate(view, target), Limits(max_file_size_bytes=1 << 20, max_entries=100, max_depth=9))
    print("read")
except RollbackError as error:
    print(error.code, error.message)
"""


@pytest.mark.case(16)
@pytest.mark.parametrize(
    ("component", "locked"),
    [
        ("hooks", "hooks/sub/secret"),
        ("hooks", "hooks/sub"),
        ("hooks", "hooks"),
        ("settings", "settings.json"),
    ],
)
def test_what_may_not_be_read_is_named(home: Path, component: str, locked: str) -> None:
    """An unreadable file or folder means no backup, and the refusal names it (design)."""
    root = home / "claude"
    build(root, {"hooks": {"sub": {"secret": "x"}}, "settings.json": "{}"})
    assert as_ordinary_user(UNREADABLE, root, str(root), component) == "read"
    (root / locked).chmod(0)
    try:
        printed = as_ordinary_user(UNREADABLE, root, str(root), component)
    finally:
        (root / locked).chmod(0o700)
    assert printed == f"unreadable {root}/{locked} cannot be read: Permission denied."


def test_a_root_that_may_not_be_entered_is_unreadable(home: Path) -> None:
    """A configuration folder that is closed to its owner is not an unsafe path but an unreadable one (design)."""
    root = home / "claude"
    build(root, {"hooks": {"a": "x"}})
    root.chmod(0)
    try:
        printed = as_ordinary_user(UNREADABLE, root, str(root), "hooks")
    finally:
        root.chmod(0o700)
    assert printed == f"unreadable {root}/hooks cannot be read: Permission denied."


# --- where targets lie ---------------------------------------------------------------------------------------------


def located(home: Path, project: Path | None, target_id: str) -> Place:
    """Where one target of a view lies."""
    view = view_of(
        home=str(home),
        user_root=str(home / ".claude"),
        project=None if project is None else str(project),
        git_root=None if project is None else str(project),
    )
    return locate(view, next(target for target in view.targets if target.id == target_id))


@pytest.mark.case(25)
@pytest.mark.parametrize("level", [".claude", ".claude/hooks"])
def test_the_persons_own_links_are_followed(home: Path, tmp_path: Path, level: str) -> None:
    """Dotfile managers link the root or a part of it; what is meant is the real place (design)."""
    build(tmp_path / "dotfiles", {"hooks": {"a.py": "x"}})
    if level == ".claude":
        (home / ".claude").symlink_to(tmp_path / "dotfiles")
    else:
        build(home, {".claude": {"hooks": Link(str(tmp_path / "dotfiles/hooks"))}})
    found = located(home, None, "user.hooks")
    assert found.resolved == str(tmp_path / "dotfiles/hooks")
    assert found.target.path == str(home / ".claude/hooks")
    assert [entry.path for entry in scan(found, LIMITS).tree.entries] == ["", "a.py"]


@pytest.mark.case(25)
def test_a_link_to_nothing_is_not_recorded(home: Path) -> None:
    """A dangling link can be seen, not backed up, and no restore writes through it."""
    build(home, {".claude": {"settings.json": Link("../gone.json")}})
    found = located(home, None, "user.settings")
    assert found.dangling
    assert found.resolved == str(home / "gone.json")
    assert scan(found, LIMITS).tree.state is TargetState.NOT_RECORDED


@pytest.mark.parametrize("level", [".claude", ".claude/hooks"])
@pytest.mark.parametrize("exists", [True, False], ids=["there", "dangling"])
def test_a_projects_links_may_not_leave_it(home: Path, project: Path, level: str, *, exists: bool) -> None:
    """Hostile input: a repository points its hooks at the person's; nothing is read there."""
    elsewhere = home / "elsewhere"
    if exists:
        build(elsewhere, {"hooks": {"a": "x"}})
    (project / level).parent.mkdir(exist_ok=True)
    (project / level).symlink_to(elsewhere if level == ".claude" else elsewhere / "hooks")
    error = refusal(lambda: located(home, project, "project.hooks"))
    assert error.code is Code.UNSAFE_PATH
    assert str(project / ".claude/hooks") in error.message


def test_a_name_that_begins_like_the_project_is_outside(home: Path, project: Path) -> None:
    """Hostile input: /srv/app-evil is not below /srv/app, though the text begins alike (CVE-2025-53110's fault)."""
    evil = project.with_name(project.name + "-evil")
    build(evil, {"hooks": {"a": "x"}})
    build(project, {".claude": {"hooks": Link(str(evil / "hooks"))}})
    assert refusal(lambda: located(home, project, "project.hooks")).code is Code.UNSAFE_PATH


def test_a_projects_links_may_stay_in_it(home: Path, project: Path) -> None:
    """A link within the project is followed."""
    build(project, {"tools": {"hooks": {"a": "x"}}, ".claude": {"hooks": Link("../tools/hooks")}})
    assert located(home, project, "project.hooks").resolved == str(project / "tools/hooks")


def test_a_loop_of_links_is_refused(home: Path) -> None:
    """Hostile input: two links that name each other."""
    build(home, {".claude": {"hooks": Link("other"), "other": Link("hooks")}})
    error = refusal(lambda: located(home, None, "user.hooks"))
    assert error.code is Code.UNSAFE_PATH


# --- single files --------------------------------------------------------------------------------------------------


def test_single_files_are_read_whole_or_refused(home: Path, tmp_path: Path) -> None:
    """Links and special files are never opened for their content, and size is bounded (design)."""
    build(home, {"a": b"x" * 10, "link": Link("a"), "pipe": Fifo(), "folder": {}})
    assert read_file(str(home / "a"), 10) == b"x" * 10
    assert refusal(lambda: read_file(str(home / "a"), 9)).code is Code.TOO_LARGE
    for name in ("link", "pipe", "folder", "gone"):
        with pytest.raises(ChangedWhileReadError):
            read_file(str(home / name), 10)
    handle = os.open(home, os.O_RDONLY)
    taken: list[bytes] = []
    try:
        assert copy_content(str(home / "a"), "a", handle, taken.append) == sha256(b"x" * 10).hexdigest()
    finally:
        os.close(handle)
    assert taken == [b"x" * 10]
