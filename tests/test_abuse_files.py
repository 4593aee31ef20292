"""File-system tricks on the side that is backed up, and what the store itself shows, by rows of the threat model.

Rows 36, 37 and 39 to 47: links, special files, hard links, huge, unreadable, moving and oddly named sources. Rows 63
and 69: modes and traces in the store. Row 45 asks for a refusal on volumes that fold names; there is none here.
"""

import gzip
import os
import shutil
import socket
import stat
import sys
import unicodedata
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from support.attacker import BLOCK, Attacker, attacker_in, everything, log_of, records_of, require_recorded
from support.config import realistic
from support.host import SCRIPT, TERMINAL, as_ordinary_user, ended, process, typed
from support.tree import File, Folder, Link, Snapshot, build, snapshot

from stravinsky_rollback_mcp.core.model import EventType
from stravinsky_rollback_mcp.disk.atomic import Files

SECRET = b"PRIVATE-KEY-MARKER "


@pytest.fixture
def attacker(home: Path, project: Path) -> Iterator[Attacker]:
    """A session with one backup, `v1`, and a live configuration that differs from it."""
    realistic(home, project)
    with attacker_in(home, project) as made:
        made.call("create_backup", version="v1")
        (made.user / "hooks" / "notify.sh").write_text("changed", encoding="utf-8")
        yield made


def stored(home: Path) -> bytes:
    """Everything that all backups hold, unpacked."""
    found: list[bytes] = []
    for path in sorted((home / ".stravinsky").rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found.extend((content, gzip.decompress(content) if path.name.endswith(".gz") else b""))
    return b"".join(found)


# --- links ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "hooks", "commands", "settings.json"])
def test_row_36_a_persons_own_link_is_written_through(home: Path, project: Path, tmp_path: Path, name: str) -> None:
    """Dotfile managers do this: the link stays, the real file or folder is what is restored."""
    user, _ = realistic(home, project)
    place = user / name
    real = tmp_path / "dotfiles" / (name or "claude")
    real.parent.mkdir()
    shutil.move(place, real)
    place.symlink_to(real)
    with attacker_in(home, project) as attacker:
        attacker.call("create_backup", version="v1")
        good = snapshot(real)
        if name.endswith(".json"):
            real.write_text("{}", encoding="utf-8")
        else:
            shutil.rmtree(real / ("" if name else "hooks"))
            real.mkdir(exist_ok=True)
        done = attacker.agreed("rollback_to", version="v1")
    assert done["applied"]
    assert snapshot(real) == good
    assert os.readlink(place) == str(real)
    assert os.listdir(real.parent) == [real.name]


@pytest.mark.parametrize("name", ["", "hooks", "commands", "settings.json", "settings.local.json"])
def test_row_36_a_projects_link_out_of_it_is_unsafe(attacker: Attacker, tmp_path: Path, name: str) -> None:
    """A repository must not point us at other files: neither read nor written, by no tool."""
    place = attacker.project / ".claude" / name
    target = tmp_path / "others"
    attacker.call("create_backup", version="before")
    shutil.move(place, target)
    place.symlink_to(target)
    before = snapshot(target)
    attacker.is_refused("unsafe_path", "rollback_to", version="v1")
    attacker.is_refused("unsafe_path", "undo")
    assert any("leads outside the project" in line for line in attacker.call("list_backups")["notices"])
    made = attacker.call("create_backup", version="v2")
    assert any("leads outside the project" in line for line in made["warnings"])
    attacker.is_refused("unsafe_path", "rollback_to", version="v1")
    assert snapshot(target) == before


@pytest.mark.parametrize("name", ["", "hooks", "settings.json"])
def test_row_36_a_projects_link_out_of_it_holds_up_nothing_else(attacker: Attacker, tmp_path: Path, name: str) -> None:
    """A hostile repository must not take away backups, undo and redo of the person's own configuration."""
    script = attacker.user / "hooks" / "notify.sh"
    place = attacker.project / ".claude" / name
    target = tmp_path / "others"
    shutil.move(place, target)
    place.symlink_to(target)
    before, changed = snapshot(target), script.read_bytes()
    assert attacker.call("undo")["undone"]["operation"] == "edit"
    good = script.read_bytes()
    assert good != changed
    attacker.call("redo")
    attacker.call("create_backup", version="v2")
    attacker.call("rollback_to", version="v1", scope="user")
    assert script.read_bytes() == good
    attacker.call("undo")
    assert script.read_bytes() == changed
    (change,) = attacker.call("rollback_to", version="@previous", dry_run=True, only=["~/.claude/hooks"])["changes"]
    assert change["modified"] == ["notify.sh"]
    attacker.call("undo")
    assert script.read_bytes() == good
    assert snapshot(target) == before


def test_row_36_a_projects_link_inside_it_is_fine(home: Path, project: Path) -> None:
    """The counterpart: a link that stays in the project is followed."""
    realistic(home, project)
    (project / ".claude" / "hooks").rename(project / "tools")
    (project / ".claude" / "hooks").symlink_to("../tools")
    with attacker_in(home, project) as attacker:
        attacker.call("create_backup", version="v1")
        good = snapshot(project)
        (project / "tools" / "format.py").unlink()
        attacker.call("rollback_to", version="v1")
    assert snapshot(project) == good


@pytest.mark.case(25)
@pytest.mark.parametrize("name", ["hooks", "settings.json"])
def test_row_37_a_loop_is_unsafe(attacker: Attacker, name: str) -> None:
    """Round in circles is no place."""
    place = attacker.user / name
    place.rename(attacker.user / "aside")
    place.symlink_to(name)
    attacker.is_refused("unsafe_path", "create_backup", version="v2")
    attacker.is_refused("unsafe_path", "rollback_to", version="v1")


def test_row_37_links_to_everything_are_not_followed(attacker: Attacker) -> None:
    """A loop, the root, the person's home: recorded as the links they are, in no time."""
    build(
        attacker.user / "hooks",
        {
            "self": Link("self"),
            "up": Link(".."),
            "here": Link("."),
            "root": Link("/"),
            "proc": Link("/proc/self/root"),
            "home": Link(str(attacker.home)),
            "void": Link("/nowhere/at/all"),
            "long": Link("x" * 4000),
        },
    )
    made = attacker.call("create_backup", version="v2")
    assert made["backup"]["files"] < 100
    good = snapshot(attacker.user / "hooks")
    shutil.rmtree(attacker.user / "hooks")
    attacker.call("rollback_to", version="v2")
    assert snapshot(attacker.user / "hooks") == good


# --- things that are no files --------------------------------------------------------------------------------------


def _socket(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # such paths are short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def _device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero: it never ends
    except PermissionError:
        pytest.skip("this user cannot make devices")


def _file(path: Path) -> None:
    path.write_text("no folder", encoding="utf-8")


def _folder(path: Path) -> None:
    build(path, {"inside": "kept\n"})


ODD: tuple[tuple[str, Callable[[Path], None], str], ...] = (
    ("settings.json", _socket, "a socket"),
    ("settings.json", _device, "a character device"),
    ("settings.json", _folder, "a folder"),
    ("hooks", _socket, "a socket"),
    ("hooks", _device, "a character device"),
    ("hooks", _file, "a regular file"),
)


@pytest.mark.parametrize(("name", "make", "what"), ODD, ids=lambda value: str(getattr(value, "__name__", value)))
def test_row_39_a_target_of_another_type_is_left_alone(
    attacker: Attacker, name: str, make: Callable[[Path], None], what: str
) -> None:
    """The others are backed up, with a warning about this one; a rollback over it is refused; nothing waits."""
    place = attacker.user / name
    place.rename(attacker.home / "aside")
    make(place)
    found = snapshot(place)
    made = attacker.call("create_backup", version="v2")
    assert [warning for warning in made["warnings"] if name in warning and what in warning], made["warnings"]
    attacker.is_refused("unsupported_file_type", "rollback_to", version="v1")
    assert attacker.call("rollback_to", version="v1", only=["~/.claude/commands"])["already_at_target"]
    assert attacker.call("list_backups")["total"] == 2
    assert snapshot(place) == found


@pytest.mark.parametrize("make", [_socket, _device])
def test_row_39_a_special_file_below_is_skipped_and_carried(attacker: Attacker, make: Callable[[Path], None]) -> None:
    """With a warning, in the backup and in the rollback."""
    make(attacker.user / "hooks" / "lib" / "odd")
    made = attacker.call("create_backup", version="v2")
    assert any("lib/odd" in warning for warning in made["warnings"])
    done = attacker.call("rollback_to", version="v1")
    assert any("lib/odd" in warning for warning in done["warnings"])
    assert snapshot(attacker.user / "hooks" / "lib")[b"odd"][0] == "special"


def test_row_40_a_hard_link_is_replaced_and_never_written_through(attacker: Attacker) -> None:
    """A hook that is the same file as something of the person's: the other name keeps what it holds."""
    notes = attacker.home / "notes.txt"
    notes.write_text("old notes\n", encoding="utf-8")
    os.link(notes, attacker.user / "hooks" / "linked.txt")
    attacker.call("create_backup", version="v2")
    notes.write_text("new notes\n", encoding="utf-8")
    assert (attacker.user / "hooks" / "linked.txt").read_bytes() == b"new notes\n"
    assert notes.stat().st_nlink > 1
    preview = attacker.call("rollback_to", version="v2", dry_run=True)
    assert any("linked.txt" in warning and "hard link" in warning for warning in preview["warnings"])
    attacker.call("rollback_to", version="v2", plan_id=preview["plan_id"])
    assert (attacker.user / "hooks" / "linked.txt").read_bytes() == b"old notes\n"
    assert notes.read_bytes() == b"new notes\n"


# --- too much ------------------------------------------------------------------------------------------------------


def test_row_41_a_sparse_terabyte_is_too_large(attacker: Attacker) -> None:
    """Refused by its size before a byte is read; what was written of the backup by then is removed."""
    huge = attacker.user / "hooks" / "zzz.img"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    assert huge.stat().st_blocks < 100
    before = os.listdir(attacker.backups)
    text = attacker.refused("too_large", "create_backup", {"version": "v2"})
    assert "zzz.img" in text
    attacker.refused("too_large", "rollback_to", {"version": "v1"})
    assert os.listdir(attacker.backups) == before
    assert not list((attacker.home / ".stravinsky").rglob("*.tmp"))


@pytest.mark.parametrize("kind", ["files", "folders", "links"])
def test_row_41_more_entries_than_allowed_are_too_many(home: Path, project: Path, kind: str) -> None:
    """The limit is made small here so that the test is; a million would be the same."""
    realistic(home, project)
    with attacker_in(home, project, STRAVINSKY_BACKUP_MAX_ENTRIES="60") as attacker:
        attacker.call("create_backup", version="v1")
        for number in range(60):
            path = attacker.user / "commands" / f"many-{number}"
            match kind:
                case "files":
                    path.touch()
                case "folders":
                    path.mkdir()
                case _:
                    path.symlink_to("nothing")
        attacker.is_refused("too_many_files", "create_backup", version="v2")
        attacker.is_refused("too_many_files", "rollback_to", version="v1")
        assert os.listdir(attacker.backups) == ["v1"]


def test_row_41_a_hundred_levels_are_too_many(attacker: Attacker) -> None:
    """Depth is bounded, and the refusal says where."""
    os.makedirs(attacker.user / "hooks" / "/".join(["d"] * 100))
    attacker.is_refused("too_many_files", "create_backup", version="v2")


# --- not readable --------------------------------------------------------------------------------------------------


@pytest.mark.case(16)
@pytest.mark.parametrize("locked", ["hooks/lib/patterns.py", "hooks/lib", "hooks", "settings.json"])
def test_row_42_what_cannot_be_read_is_named_and_no_backup_is_made(home: Path, project: Path, locked: str) -> None:
    """As a user whom permissions concern: the fault takes place, the path is named, nothing is registered."""
    user, _ = realistic(home, project)
    first = ended(typed("backup", "create", "v1", "--json"), home, project)
    assert first.returncode == 0, first.stderr
    place = user / locked
    mode = place.stat().st_mode & 0o777
    place.chmod(0)
    try:
        look = "import os, sys; os.listdir(sys.argv[1]) if os.path.isdir(sys.argv[1]) else open(sys.argv[1])"
        proof = ended(as_ordinary_user(sys.executable, "-c", look, str(place)), home, project)
        if proof.returncode == 77:
            pytest.skip("root cannot become ordinary here")
        assert "PermissionError" in proof.stderr
        before, seen = everything(home, project), len(log_of(home))
        refused = ended(as_ordinary_user(*TERMINAL, "backup", "create", "v2"), home, project)
        assert refused.returncode == 1
        assert "unreadable" in refused.stderr
        assert locked in "".join(refused.stderr.split())
        assert everything(home, project) == before
        require_recorded(log_of(home)[seen:], "unreadable", "backup create", {})
        failed = [record.draft.event_type for record in records_of(home)[seen:]]
        assert failed == [EventType.BACKUP_FAILED, EventType.REFUSED]
    finally:
        place.chmod(mode)


# --- not still -----------------------------------------------------------------------------------------------------


class Scribbler:
    """Changes the configuration whenever a part of an archive is written: in the middle of the read."""

    def __init__(self, change: Callable[[], None], times: int) -> None:
        self.did = 0
        self._change = change
        self._times = times

    def __call__(self, operation: str, path: str) -> None:
        """Look on, and scribble."""
        if operation == "write" and path.endswith("user.hooks.tar.gz") and self.did < self._times:
            self.did += 1
            self._change()


NOISE = bytes(range(256)) * 4  # times a number: large enough that it is written while it is read


def big(size_kb: int = 3000) -> bytes:
    """Content that does not compress away."""
    return b"".join(number.to_bytes(4, "big") + NOISE[number % 256 :][:508] for number in range(size_kb * 2))


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(max(0, path.stat().st_size - 100_000))


def _rewrite(path: Path) -> None:
    """The same size, and the old time stamp put back: only the change time tells."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(os.urandom(4))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace(path: Path) -> None:
    spare = path.with_name("spare")
    spare.write_bytes(path.read_bytes()[:-1] + os.urandom(1))
    spare.replace(path)


def _vanish(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.rename(path.parent.parent / "vanished")


CHANGES = [_append, _cut, _rewrite, _replace]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_row_43_a_source_that_never_holds_still_is_no_backup(
    home: Path, project: Path, change: Callable[[Path], None]
) -> None:
    """27 of 30 backups of an early sketch held an empty file and were called verified. After four tries it gives up."""
    user, _ = realistic(home, project)
    moving = user / "hooks" / "moving.bin"
    moving.write_bytes(big())
    scribbler = Scribbler(lambda: change(moving), 10_000)
    with attacker_in(home, project, Files(observe=scribbler)) as attacker:
        attacker.refused("unstable_source", "create_backup", {"version": "v1"})
        assert scribbler.did >= 4
        assert os.listdir(attacker.backups) == []
        assert attacker.call("list_backups")["total"] == 0


@pytest.mark.parametrize("change", [*CHANGES, _vanish], ids=lambda change: change.__name__.strip("_"))
def test_row_43_a_source_that_moved_once_is_read_again(
    home: Path, project: Path, change: Callable[[Path], None]
) -> None:
    """The backup holds what was there in the end, whole."""
    user, _ = realistic(home, project)
    moving = user / "hooks" / "moving.bin"
    moving.write_bytes(big())
    scribbler = Scribbler(lambda: change(moving), 1)
    with attacker_in(home, project, Files(observe=scribbler)) as attacker:
        attacker.call("create_backup", version="v1")
        assert scribbler.did == 1
        good = snapshot(user / "hooks")
        shutil.rmtree(user / "hooks")
        attacker.call("rollback_to", version="v1")
        assert snapshot(user / "hooks") == good


class Swapper:
    """Puts a link in a folder's place at the last moment: after it was looked at, before it is opened.

    Audit hooks stay for good, so it is armed only while a test runs.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.secret = Path()
        self.did = 0
        self.times = 0
        self.spared = 0

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Strike when exactly that folder is opened as a folder, the first few times apart."""
        if event != "open" or self.folder is None or arguments[0] != self.folder.name or self.did >= self.times:
            return
        flags = arguments[2]
        if isinstance(flags, int) and flags & os.O_DIRECTORY:
            self.spared -= 1
            if self.spared >= 0:
                return
            self.did += 1
            folder, self.folder = self.folder, None  # what is done here must not come back to here
            aside = folder.with_name("aside")
            if folder.is_symlink():
                folder.unlink()
                aside.rename(folder)
            folder.rename(aside)
            folder.symlink_to(self.secret)
            self.folder = folder


_swapper = Swapper()
_hooked: list[bool] = []


@contextmanager
def swapping(folder: Path, secret: Path, times: int, spared: int = 0) -> Generator[Swapper]:
    """The swapper, armed."""
    if not _hooked:
        sys.addaudithook(_swapper)
        _hooked.append(True)
    _swapper.folder, _swapper.secret, _swapper.did, _swapper.times = folder, secret, 0, times
    _swapper.spared = spared
    try:
        yield _swapper
    finally:
        _swapper.folder = None


def test_row_44_a_folder_swapped_for_a_link_is_not_followed(attacker: Attacker, home: Path) -> None:
    """Between look and open, at each opening: refused, or a link is what is found; not one byte behind it is stored."""
    build(home / "private", {"patterns.py": SECRET * 100})
    folder = attacker.user / "hooks" / "lib"
    refusals = 0
    for opened in count():
        with swapping(folder, home / "private", 1, spared=opened) as swapper:
            result = attacker.raw("create_backup", {"version": f"at-{opened}"})
        if not swapper.did:
            break
        assert folder.is_symlink()
        assert SECRET not in stored(home)
        if result.is_error:
            refusals += 1
            assert "unsafe_path" in str(result.content)
            assert not (attacker.backups / f"at-{opened}").exists()
        folder.unlink()
        folder.with_name("aside").rename(folder)
    assert refusals > 0
    folder.rename(attacker.user / "away")
    folder.symlink_to(home / "private")
    attacker.call("create_backup", version="v2")
    assert SECRET not in stored(home), "once it stands still a link is recorded as one"
    folder.unlink()
    attacker.call("rollback_to", version="v2")
    assert os.readlink(folder) == str(home / "private")


def test_row_44_a_slot_is_filled_by_handle(attacker: Attacker, home: Path) -> None:
    """The same trick on the side that writes: a link in place of a staged folder leads nothing astray."""
    shutil.rmtree(attacker.user / "hooks" / "lib" / "deep")
    build(home / "private", {"mine.txt": "mine\n"})
    private = snapshot(home / "private")
    did: list[str] = []

    def strike(operation: str, path: str) -> None:
        if operation == "create" and path == "rules.json" and not did:
            (slot,) = attacker.user.glob(".stravinsky-*.new")
            (slot / "lib" / "deep").rename(slot / "lib" / "aside")
            (slot / "lib" / "deep").symlink_to(home / "private")
            did.append(path)

    with attacker_in(home, attacker.project, Files(observe=strike)) as other:
        live = snapshot(attacker.user)
        result = other.raw("rollback_to", {"version": "v1"})
    assert did
    assert result.is_error
    assert snapshot(home / "private") == private
    assert snapshot(attacker.user) == live


def test_row_48_a_target_swapped_for_a_link_is_put_back_as_the_link(attacker: Attacker, home: Path) -> None:
    """Between the last look and the exchange: nothing behind the link is read or written, and the link stays theirs."""
    (attacker.user / "hooks" / "lib" / "patterns.py").write_text("changed\n", encoding="utf-8")
    build(home / "private", {"mine.txt": "mine\n"})
    private = snapshot(home / "private")
    did: list[str] = []

    def strike(operation: str, path: str) -> None:
        if operation == "renameat2" and Path(path).name == "hooks" and not did:
            did.append(path)
            Path(path).rename(home / "away")
            Path(path).symlink_to(home / "private")

    with attacker_in(home, attacker.project, Files(observe=strike)) as other:
        before = snapshot(attacker.user)
        result = other.raw("rollback_to", {"version": "v1"})
        assert did
        assert "state_changed: ~/.claude/hooks was changed by something else" in str(result.content)
        assert snapshot(home / "private") == private
        assert os.readlink(attacker.user / "hooks") == str(home / "private")
        (attacker.user / "hooks").unlink()
        (home / "away").rename(attacker.user / "hooks")
        assert snapshot(attacker.user) == before


# --- names and bytes -----------------------------------------------------------------------------------------------

ODD_NAMES: tuple[bytes, ...] = (
    b"new\nline",
    b"tab\tand\rreturn",
    b"\x1b[31mred",
    b"latin-\xe9",
    b"\xff\xfe",
    b"\xed\xa0\x80surrogate",
    "caf\u00e9".encode(),
    unicodedata.normalize("NFD", "caf\u00e9").encode(),
    b"Case",
    b"case",
    b"n" * 255,
    b" blanks ",
    b"-rf",
    b"...",
    b"~",
    b"a\\b",
    b"C:",
    b"CON",
    "\u202egnp.py".encode(),
    b"{version}%s$HOME`id`",
    b"x.stravinsky-",
)


@pytest.mark.skipif(sys.platform == "darwin", reason="APFS refuses and folds such names")
def test_row_45_any_name_comes_back_byte_for_byte(home: Path, project: Path) -> None:
    """Also a pair that differs by case or normal form alone, which a volume that folds names could not hold."""
    realistic(home, project)
    (home / ".claude" / "settings.json").unlink()  # it names hooks, and going back to a state without them asks
    build(home / ".claude" / "hooks", {name: File(name) for name in ODD_NAMES})
    build(home / ".claude" / "commands", {name: Folder({name: File(name)}) for name in ODD_NAMES})
    created: list[str] = []

    def watch(operation: str, path: str) -> None:
        if operation in {"create", "mkdir"} and "/" in path:
            created.append(os.path.basename(path))

    with attacker_in(home, project, Files(observe=watch)) as attacker:
        attacker.call("create_backup", version="v1")
        good = snapshot(home / ".claude")
        for name in ("hooks", "commands"):
            shutil.rmtree(home / ".claude" / name)
        attacker.call("rollback_to", version="v1")
        assert snapshot(home / ".claude") == good
        attacker.call("undo")
        assert not (home / ".claude" / "hooks").exists()
        attacker.call("redo")
        assert snapshot(home / ".claude") == good
    # What is made beside a target has a name of its own, so no name there can be too long or be guessed.
    slots = [name for name in created if name.startswith(".stravinsky-")]
    assert len(slots) >= 4
    assert len(set(slots)) == len(slots)
    assert not [name for name in created if os.fsencode(name) in ODD_NAMES]


ODD_SETTINGS: Mapping[str, bytes] = {
    "comments": b'{\n  // mine\n  "model": "opus", /* and */\n}\n',
    "duplicate keys": b'{"model": "opus", "model": "sonnet"}',
    "numbers": b'{"a": 1.10, "b": 1e999, "c": 123456789012345678901234567890, "d": -0.0, "e": 0x1F}',
    "line ends": b'{\r\n\t"model":\r"opus"\r\n}\r\n',
    "byte order mark": b'\xef\xbb\xbf{"model": "opus"}',
    "UTF-16": '{"model": "opus"}'.encode("utf-16"),
    "no UTF-8": b'{"model": "\xff\xfe"}',
    "zero bytes": b'{"model": "\0"}\0\0',
    "empty": b"",
    "blanks": b" \n\t ",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "NaN": b'{"a": NaN, "b": Infinity}',
    "a lone surrogate": b'{"a": "\\ud800"}',
    "trailing comma": b'{"a": [1,],}',
    "no end of line": b'{"a": "' + b"x" * 100_000 + b'"}',
}


def test_row_46_settings_are_bytes(attacker: Attacker) -> None:
    """Stored and restored as they are; parsing is only for checks. An early sketch wrote 1.1 for 1.10 and lost keys."""
    settings = attacker.user / "settings.json"
    for number, (case, content) in enumerate(ODD_SETTINGS.items()):
        settings.write_bytes(content)
        settings.chmod(0o640)
        attacker.call("create_backup", version=f"odd-{number}")
        settings.write_bytes(b'{"other": true}')
        settings.chmod(0o600)
        attacker.agreed("rollback_to", version=f"odd-{number}")
        assert (settings.read_bytes(), settings.stat().st_mode & 0o777) == (content, 0o640), case


def test_row_47_what_is_not_configuration_is_never_captured(home: Path, project: Path) -> None:
    """What is captured is on a list; everything beside it is not, whatever it is called."""
    realistic(home, project)
    secret: Mapping[str | bytes, str] = {"secret.txt": SECRET.decode() * 5}
    build(
        home,
        {
            ".claude.json": SECRET,
            ".ssh": secret,
            ".claude": {
                ".credentials.json": SECRET,
                "settings.local.json": SECRET,
                "settings.json.bak": SECRET,
                "history.jsonl": SECRET,
                "hooks.bak": secret,
                "projects": secret,
                "plugins": secret,
                "todos": secret,
                "statsig": secret,
                "shell-snapshots": secret,
            },
        },
    )
    build(project, {".env": SECRET, ".git": secret, "src": secret, ".claude": {"worktrees": secret}})
    build(project / ".claude" / "hooks", {"node_modules": secret, "__pycache__": secret, ".git": secret})
    with attacker_in(home, project) as attacker:
        attacker.call("create_backup", version="v1")
        assert b"#!/usr/bin/env" in stored(home)
        assert SECRET not in stored(home)
        around = {path: found for path, found in snapshot(home).items() if SECRET in found[2]}
        (home / ".claude" / "hooks" / "notify.sh").unlink()
        attacker.call("rollback_to", version="v1")
        assert {path: found for path, found in snapshot(home).items() if SECRET in found[2]} == around
        assert SECRET not in stored(home)


# --- the store -----------------------------------------------------------------------------------------------------


def loose(tree: Snapshot) -> list[tuple[bytes, str, str]]:
    """What of a store others could read or enter."""
    wanted = {"folder": 0o700, "file": 0o600}
    return [(path, kind, oct(mode)) for path, (kind, mode, _) in tree.items() if mode != wanted[kind]]


@pytest.mark.parametrize("umask", ["000", "022"])
def test_row_63_the_store_is_private_under_any_umask(home: Path, project: Path, umask: str) -> None:
    """Folders 0700, files 0600 by explicit modes: archives, manifests, log, index, lock, notes."""
    user, _ = realistic(home, project)
    command = ("sh", "-c", f'umask {umask}; exec "$0" "$@"', *SCRIPT)
    with process(home, project, command=command) as server:
        server.shake_hands()
        server.call("create_backup", version="v1")
        (user / "hooks" / "log_tools.py").unlink()
        server.call("rollback_to", version="v1")
        server.call("undo")
        server.call("query_audit")
        found = snapshot(home / ".stravinsky")
        assert {b"rollback/audit/operations.log", b"rollback/audit/audit.db", b"rollback/lock"} <= found.keys()
        assert loose(found) == []


def test_row_63_an_opened_store_is_closed_again(attacker: Attacker) -> None:
    """Somebody's chmod -R a+rwX: the folders through which everything is reached are private after the next write."""
    store = attacker.home / ".stravinsky" / "rollback"
    for path in (store, store / "backups", store / "audit", store / "recovery"):
        path.chmod(0o777)
    attacker.call("create_backup", version="v2")
    for path in (store, store / "backups", store / "audit", store / "recovery"):
        assert path.stat().st_mode & 0o777 == 0o700, path


def test_row_69_archives_tell_nothing_of_whom_and_when(home: Path, project: Path, tmp_path: Path) -> None:
    """No owner, no name, no time in tar and gzip: two people with the same hooks have the same bytes."""
    archives: list[bytes] = []
    for number in range(2):
        own, work = tmp_path / f"home{number}", tmp_path / f"project{number}"
        realistic(own, work)
        os.utime(own / ".claude" / "hooks" / "notify.sh", ns=(number * 10**18, number * 10**18))
        if os.geteuid() == 0:
            os.chown(own / ".claude" / "hooks" / "notify.sh", 1000 + number, 1000 + number)
        with attacker_in(own, work) as attacker:
            attacker.call("create_backup", version="v1")
        archives.append((attacker.backups / "v1" / "user.hooks.tar.gz").read_bytes())
    assert archives[0] == archives[1]
    gz = archives[0]
    assert gz[3:8] == bytes(5)  # no name and no comment; the time is zero
    tar = gzip.decompress(gz)
    headers = [tar[at : at + BLOCK] for at in range(0, len(tar), BLOCK) if tar[at + 257 : at + 262] == b"ustar"]
    assert len(headers) > 10
    for block in headers:
        assert block[108:124] == b"0000000\0" * 2  # uid, gid
        assert block[136:148] == b"00000000000\0"  # mtime
        assert not any(block[265:329])  # user and group by name
