"""The store: private, written beside what is there, published by one step, and never harmed by what others left."""

import errno
import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.crash import Log
from support.ordinary import as_ordinary_user
from support.tree import Entry as Spec
from support.tree import Fifo, Folder, Link, build, snapshot

from stravinsky_rollback_mcp.core.codec import latest as latest_codec
from stravinsky_rollback_mcp.core.codec import manifest as manifest_codec
from stravinsky_rollback_mcp.core.components import view_of
from stravinsky_rollback_mcp.core.model import BackupKind, Limits, MadeBy, Manifest, TargetState
from stravinsky_rollback_mcp.disk import archive
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.place import Place, locate
from stravinsky_rollback_mcp.disk.store import Opened, Store
from stravinsky_rollback_mcp.errors import Code, RollbackError

LIMITS = Limits(max_file_size_bytes=8 << 20, max_entries=200, max_depth=10)
CONFIGURATION: dict[str | bytes, Spec] = {
    "hooks": {"guard.py": "deny", "lib": {"a": "x"}},
    "commands": {"review.md": "Review."},
    "settings.json": '{"model": "opus"}',
}

Observe = Callable[[str, str], None]


@pytest.fixture
def live(home: Path) -> Path:
    """A small configuration."""
    build(home / ".claude", CONFIGURATION)
    return home / ".claude"


@pytest.fixture
def store(home: Path) -> Store:
    """A store that is open."""
    made = Store(str(home / "store"), Files())
    made.open()
    return made


@contextmanager
def umask(mask: int) -> Generator[None]:
    """Run under another umask."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def observed(store: Store, observe: Observe) -> Store:
    """The same store with somebody watching each operation."""
    return Store(store.root, Files(observe))


def places(live: Path) -> tuple[Place, ...]:
    """Where the targets of the person's scope lie."""
    view = view_of(home=str(live.parent), user_root=str(live), project=None, git_root=None)
    return tuple(locate(view, target) for target in view.targets)


def backed_up(store: Store, live: Path, version: str, earlier: Opened | None = None) -> Opened:
    """A published backup."""
    reusable = None if earlier is None else store.reusable(earlier)
    store.begin(version)
    targets, _ = store.capture(version, places(live), LIMITS, reusable)
    manifest = Manifest(
        version=version,
        sequence=1,
        kind=BackupKind.MANUAL,
        made_by=MadeBy.TERMINAL,
        note="",
        created_at="2026-11-23T06:40:12.000Z",
        tool_version="0",
        python_version="3",
        system="Linux",
        user_root=str(live),
        project=None,
        previous_version=None,
        targets=targets,
    )
    store.publish(version, manifest_codec.encode(manifest))
    return store.read(version)


def inode(store: Store, version: str, name: str) -> int:
    """Which file a stored name leads to."""
    return os.lstat(f"{store.backups}/{version}/{name}").st_ino


def refusal(body: Callable[[], object]) -> Code:
    """The code that a call is refused with."""
    with pytest.raises(RollbackError) as caught:
        body()
    return caught.value.code


# --- private -------------------------------------------------------------------------------------------------------


def test_everything_is_private_under_any_umask(home: Path, live: Path) -> None:
    """Directories 0700 and files 0600, made so by explicit modes (design)."""
    with umask(0):
        store = Store(str(home / "a" / "b" / "store"), Files())
        store.open()
        backed_up(store, live, "v1")
        store.write_latest(())
    found = {path: entry for path, entry in snapshot(home / "a").items() if not path.startswith(b"c")}
    assert len(found) > 10
    assert {mode for kind, mode, _ in found.values() if kind == "folder"} == {0o700}
    assert {mode for kind, mode, _ in found.values() if kind == "file"} == {0o600}


@pytest.mark.parametrize("part", ["", "backups", "recovery", "audit"])
@pytest.mark.parametrize("mode", [0o755, 0o777, 0o770, 0o701])
def test_looser_modes_are_repaired(store: Store, part: str, mode: int) -> None:
    """A store that others could read or write is closed again at the next opening (design)."""
    path = Path(store.root, part)
    path.chmod(mode)
    store.open()
    assert path.stat().st_mode & 0o777 == 0o700


def test_a_store_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """Hostile input: what another user made could be changed by that user at any time."""
    if os.geteuid() == 0:
        path = tmp_path / "theirs"
        path.mkdir()
        os.chown(path, 65534, 65534)
    else:
        path = Path("/usr")
    before = sorted(os.listdir(path))
    assert refusal(Store(str(path), Files()).open) is Code.STORE_UNTRUSTED
    assert sorted(os.listdir(path)) == before


@pytest.mark.parametrize("part", ["", "backups", "recovery", "audit"])
@pytest.mark.parametrize("spec", ["a file", Link("nowhere"), Link("store"), Fifo()], ids=repr)
def test_what_is_no_folder_is_refused(tmp_path: Path, part: str, spec: Spec) -> None:
    """Hostile input: a file, a link to nothing or a FIFO in the place of a folder of the store."""
    if part:
        build(tmp_path, {"store": {part: Link(part) if spec == Link("store") else spec}})
    else:
        build(tmp_path, {"store": spec})
    assert refusal(Store(str(tmp_path / "store"), Files()).open) is Code.STORE_UNTRUSTED


def test_a_linked_store_is_a_store(tmp_path: Path, live: Path) -> None:
    """A person may keep the store elsewhere and link it; it must be that person's folder all the same (design)."""
    build(tmp_path, {"real": Folder({}, 0o755), "store": Link("real")})
    store = Store(str(tmp_path / "store"), Files())
    store.open()
    backed_up(store, live, "v1")
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o700
    assert Store(str(tmp_path / "real"), Files()).versions() == ("v1",)


def test_reading_makes_no_store(home: Path) -> None:
    """Asking what there is must not leave anything behind."""
    store = Store(str(home / "none"), Files())
    assert not store.exists()
    assert store.versions() == ()
    assert store.taken() == frozenset()
    assert store.read_latest() == ()
    assert store.size_bytes() == 0
    assert refusal(lambda: store.read("v1")) is Code.NOT_FOUND
    assert not (home / "none").exists()


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["v1", "V1"])
def test_a_name_can_be_taken_once(store: Store, live: Path, again: str) -> None:
    """Backups are immutable, and two names must not be one on a file system that folds case (design)."""
    backed_up(store, live, "v1")
    before = snapshot(Path(store.root))
    assert refusal(lambda: store.begin(again)) is Code.ALREADY_EXISTS
    assert snapshot(Path(store.root)) == before
    store.begin("v1.1")


def test_names_of_what_was_put_there_by_hand_are_taken(store: Store) -> None:
    """Nothing of a person's is replaced by a backup."""
    Path(store.backups, "Notes").write_text("mine", encoding="utf-8")
    assert refusal(lambda: store.begin("notes")) is Code.ALREADY_EXISTS
    assert Path(store.backups, "Notes").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["../v1", "v1/", "", ".", "..", "v1/../v1", "/", "v1\0", "V1", "v"])
def test_only_the_exact_name_of_a_backup_is_read(store: Store, live: Path, name: str) -> None:
    """Hostile input: no prefix, no other case, no way round through the folder."""
    backed_up(store, live, "v1")
    assert refusal(lambda: store.read(name)) is Code.NOT_FOUND


# --- capturing -----------------------------------------------------------------------------------------------------


def test_a_backup_holds_every_target(store: Store, live: Path) -> None:
    """What was captured is read back as it was, absent targets included (design)."""
    before = snapshot(live)
    opened = backed_up(store, live, "v1")
    states = {target.id: target.tree.state for target in opened.manifest.targets}
    held = [name for name, state in states.items() if state is TargetState.PRESENT]
    assert held == ["user.hooks", "user.commands", "user.settings"]
    assert [states[name] for name in states if name not in held] == [TargetState.ABSENT] * (len(states) - 3)
    assert sorted(os.listdir(f"{store.backups}/v1")) == [
        "manifest.json",
        "user.commands.tar.gz",
        "user.hooks.tar.gz",
        "user.settings.json",
    ]
    assert store.problem(opened) == ""
    assert store.verify(opened) == ()
    assert store.versions() == ("v1",)
    content = Path(store.backups, "v1/manifest.json").read_bytes()
    assert opened.sha256 == hashlib.sha256(content).hexdigest()
    assert snapshot(live) == before


def test_two_captures_give_the_same_bytes(store: Store, live: Path) -> None:
    """Reproducible, without any earlier backup to link to (design)."""
    one, two = backed_up(store, live, "v1"), backed_up(store, live, "v2")
    for first, second in zip(one.manifest.targets, two.manifest.targets, strict=True):
        assert (first.archive_sha256, first.tree.digest) == (second.archive_sha256, second.tree.digest)
    assert inode(store, "v1", "user.hooks.tar.gz") != inode(store, "v2", "user.hooks.tar.gz")


def test_equal_archives_are_one_file(store: Store, live: Path) -> None:
    """An unchanged folder costs nothing; a settings file is kept twice (design)."""
    first = backed_up(store, live, "v1")
    (live / "commands/review.md").write_text("Other.", encoding="utf-8")
    second = backed_up(store, live, "v2", first)
    assert inode(store, "v1", "user.hooks.tar.gz") == inode(store, "v2", "user.hooks.tar.gz")
    assert inode(store, "v1", "user.commands.tar.gz") != inode(store, "v2", "user.commands.tar.gz")
    assert inode(store, "v1", "user.settings.json") != inode(store, "v2", "user.settings.json")
    assert store.verify(second) == ()
    assert sorted(os.listdir(f"{store.backups}/v2")) == sorted(os.listdir(f"{store.backups}/v1"))


def test_an_unchanged_target_is_read_and_not_packed(store: Store, live: Path) -> None:
    """Its archive gets one more name; one whose bytes changed behind the same size and time is packed anew."""
    first = backed_up(store, live, "v1")
    path = live / "hooks" / "guard.py"
    status = path.stat()
    log = Log()
    second = backed_up(observed(store, log), live, "v2", first)
    made = [(call, os.path.basename(name)) for call, name in log.calls if call in ("create", "link")]
    assert {name for call, name in made if call == "link"} == {"user.hooks.tar.gz", "user.commands.tar.gz"}
    assert not any(name.endswith(".gz") for call, name in made if call == "create")
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    third = backed_up(store, live, "v3", second)
    assert store.verify(second) == store.verify(third) == ()
    assert inode(store, "v3", "user.hooks.tar.gz") != inode(store, "v2", "user.hooks.tar.gz")
    assert inode(store, "v3", "user.commands.tar.gz") == inode(store, "v1", "user.commands.tar.gz")


def test_deleting_a_backup_harms_no_other(store: Store, live: Path) -> None:
    """Each backup's folder is complete in itself, whichever goes first (design)."""
    first = backed_up(store, live, "v1")
    second = backed_up(store, live, "v2", first)
    third = backed_up(store, live, "v3", second)
    Files().remove_tree(f"{store.backups}/v1")
    assert store.verify(second) == ()
    Files().remove_tree(f"{store.backups}/v3")
    assert store.verify(second) == ()
    assert store.problem(third) != ""


def test_a_damaged_archive_is_not_linked(store: Store, live: Path) -> None:
    """Hostile input: damage must not spread into later backups through a link."""
    first = backed_up(store, live, "v1")
    path = Path(store.backups, "v1/user.hooks.tar.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert len(store.verify(first)) == 1
    second = backed_up(store, live, "v2", first)
    assert store.verify(second) == ()
    assert inode(store, "v1", "user.hooks.tar.gz") != inode(store, "v2", "user.hooks.tar.gz")
    assert inode(store, "v1", "user.commands.tar.gz") == inode(store, "v2", "user.commands.tar.gz")


@pytest.mark.parametrize("is_touched", [False, True])
@pytest.mark.parametrize("number", [errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_without_hard_links_each_backup_keeps_its_own(
    store: Store, live: Path, number: int, *, is_touched: bool
) -> None:
    """Some file systems have no links, ext4 no more than 65000 to one file: that costs space, not the backup."""
    refusals: list[str] = []

    def observe(operation: str, path: str) -> None:
        if operation == "link":
            refusals.append(path)
            raise OSError(number, os.strerror(number))

    first = backed_up(store, live, "v1")
    if is_touched:
        os.utime(live / "hooks" / "guard.py")
    second = backed_up(observed(store, observe), live, "v2", first)
    assert len(refusals) == 2, "linking was tried and refused"
    assert store.verify(second) == ()
    assert sorted(os.listdir(f"{store.backups}/v2")) == sorted(os.listdir(f"{store.backups}/v1"))


def test_sizes_count_a_linked_archive_once(store: Store, live: Path) -> None:
    """Quotas count an inode once (design)."""
    first = backed_up(store, live, "v1")
    alone = store.size_bytes()
    backed_up(store, live, "v2", first)
    own = sum(os.lstat(f"{store.backups}/v2/{name}").st_size for name in ("manifest.json", "user.settings.json"))
    assert store.size_bytes() == alone + own


# --- a source that moves -------------------------------------------------------------------------------------------


def when(operation: str, name: str, act: Callable[[], object], times: int = 1) -> tuple[Observe, list[str]]:
    """An observer that acts the first ``times`` times that something is done to a file of that name."""
    acted: list[str] = []

    def observe(seen: str, path: str) -> None:
        if seen == operation and os.path.basename(path) == name and len(acted) < times:
            acted.append(path)
            act()

    return observe, acted


MOVES: dict[str, Callable[[Path], object]] = {
    "a hook is rewritten": lambda live: (live / "hooks/guard.py").write_text("pass", encoding="utf-8"),
    "a hook appears": lambda live: (live / "hooks/new.py").write_text("new", encoding="utf-8"),
    "a hook goes": lambda live: (live / "hooks/guard.py").unlink(),
    "hooks go": lambda live: (live / "hooks").rename(live / "away"),
    "settings appear": lambda live: (live / "settings.local.json").write_text("{}", encoding="utf-8"),
    "settings go": lambda live: (live / "settings.json").unlink(),
    "settings become a folder": lambda live: ((live / "settings.json").unlink(), (live / "settings.json").mkdir()),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_a_change_in_mid_capture_starts_it_over(store: Store, live: Path, move: Callable[[Path], object]) -> None:
    """The backup holds what is there at the end, of all targets at one moment (design)."""
    observe, acted = when("fsync", "user.settings.json", lambda: move(live))
    opened = backed_up(observed(store, observe), live, "v1")
    assert acted, "the change happened after everything but the local settings had been read"
    assert store.verify(opened) == ()
    again = backed_up(store, live, "v2")
    assert [target.tree for target in opened.manifest.targets] == [target.tree for target in again.manifest.targets]
    assert sorted(os.listdir(f"{store.backups}/v1")) == sorted(os.listdir(f"{store.backups}/v2"))


def test_a_source_that_never_holds_still_is_refused(store: Store, live: Path) -> None:
    """Hostile input: four looks, four times another content, then ``unstable_source``."""
    count = iter(range(100))

    def write() -> None:
        (live / "hooks/guard.py").write_text(f"{next(count)}", encoding="utf-8")

    observe, acted = when("fsync", "user.settings.json", write, times=100)
    store.begin("v1")
    assert refusal(lambda: observed(store, observe).capture("v1", places(live), LIMITS, None)) is Code.UNSTABLE_SOURCE
    assert len(acted) == 4
    assert os.listdir(f"{store.backups}/v1") == []


@pytest.mark.case(7)
@pytest.mark.parametrize("operation", ["create", "write", "fsync", "link", "link at once"])
def test_a_full_disk_leaves_no_trace_after_discarding(store: Store, live: Path, operation: str) -> None:
    """Whatever fails, a backup that was begun can be taken away whole (design)."""
    first = backed_up(store, live, "v1")
    before = snapshot(Path(store.root))
    if operation != "link at once":
        os.utime(live / "hooks" / "guard.py")  # the same bytes, which shows only when they are read

    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    name = "user.hooks.tar.gz.tmp" if operation == "link" else "user.hooks.tar.gz"
    observe, acted = when(operation.partition(" ")[0], name, fail)
    with pytest.raises(RollbackError) as caught:
        backed_up(observed(store, observe), live, "v2", first)
    assert acted
    assert caught.value.code is Code.NO_SPACE
    store.remove("v2")
    assert snapshot(Path(store.root)) == before


@pytest.mark.parametrize("operation", ["create", "write", "fsync", "rename"])
def test_a_manifest_is_there_whole_or_not_at_all(store: Store, live: Path, operation: str) -> None:
    """A backup exists when its manifest does (design)."""
    store.begin("v1")
    store.capture("v1", places(live), LIMITS, None)

    def fail(seen: str, path: str) -> None:
        if seen == operation:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert refusal(lambda: observed(store, fail).publish("v1", b"{}")) is Code.NO_SPACE
    assert store.versions() == ()
    assert not [name for name in os.listdir(f"{store.backups}/v1") if "manifest" in name]
    assert store.sweep() == ("v1",)


# --- what others left ----------------------------------------------------------------------------------------------


def test_leftovers_are_swept_and_nothing_else(store: Store, live: Path) -> None:
    """What a killed writer left goes; backups, and what a person put there, stay (design)."""
    backed_up(store, live, "v1")
    Path(store.backups, "notes.txt").write_text("mine", encoding="utf-8")
    Path(store.backups, "link").symlink_to(live)
    build(Path(store.backups), {".odd name": {"x": "mine"}})
    before = snapshot(Path(store.root))
    store.begin("killed")
    store.capture("killed", places(live), LIMITS, None)
    Path(store.backups, "killed/manifest.json.0123abcd.tmp").write_text("{", encoding="utf-8")
    store.begin("killed-at-once")
    assert store.sweep() == ("killed", "killed-at-once")
    assert snapshot(Path(store.root)) == before
    assert store.sweep() == ()


CLOSED = """
import sys
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.store import Store
from stravinsky_rollback_mcp.errors import RollbackError

store = Store(sys.argv[1], Files())
print(store.sweep(), store.versions())
try:
    store.read("v1")
except RollbackError as error:
    print(error.code)
store.size_bytes()
"""


@pytest.mark.parametrize("mode", [0, 0o600])
def test_a_backup_that_is_closed_to_us_is_no_leftover(store: Store, live: Path, mode: int) -> None:
    """A mistaken `chmod -R 600` must not make the next sweep delete every backup."""
    backed_up(store, live, "v1")
    folder = Path(store.backups, "v1")
    before = snapshot(folder)
    folder.chmod(mode)
    assert as_ordinary_user(CLOSED, Path(store.root), store.root) == "() ('v1',)\nunreadable"
    folder.chmod(0o700)
    assert snapshot(folder) == before


MANIFESTS: dict[str, Callable[[Path], object]] = {
    "no JSON": lambda path: path.write_text("x", encoding="utf-8"),
    "empty": lambda path: path.write_bytes(b""),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a FIFO": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link to the right bytes": lambda path: (path.rename(path.with_name("m")), path.symlink_to("m")),
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "1 GB": lambda path: os.truncate(path, 1 << 30),
    "another backup's": lambda path: path.write_bytes((path.parent.parent / "other/manifest.json").read_bytes()),
}


@pytest.mark.parametrize("damage", MANIFESTS.values(), ids=MANIFESTS)
def test_one_bad_manifest_hides_no_other(store: Store, live: Path, damage: Callable[[Path], object]) -> None:
    """Hostile input: a manifest that is none is refused at once, and every other backup can be used."""
    backed_up(store, live, "other")
    backed_up(store, live, "v1")
    damage(Path(store.backups, "v1/manifest.json"))
    is_genuine = damage is MANIFESTS["another backup's"]
    expected = Code.ARCHIVE_MISMATCH if is_genuine else Code.MANIFEST_INVALID
    assert refusal(lambda: store.read("v1")) is expected
    assert set(store.versions()) == {"other", "v1"}
    assert store.verify(store.read("other")) == ()
    assert store.sweep() == ()


def test_problems_of_archives_are_named(store: Store, live: Path) -> None:
    """A look at names and sizes finds what is missing or cut; reading back finds the rest (design)."""
    opened = backed_up(store, live, "v1")
    path = Path(store.backups, "v1/user.hooks.tar.gz")
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))
    assert store.problem(opened) == ""
    assert [text.split(":")[0] for text in store.verify(opened)] == ["archive_mismatch"]
    path.write_bytes(content[:-1])
    assert "user.hooks.tar.gz" in store.problem(opened)
    path.unlink()
    assert "missing" in store.problem(opened)
    path.symlink_to("user.commands.tar.gz")
    assert store.problem(opened)
    assert len(store.verify(opened)) == 1


def test_archives_are_found_by_constant_names(store: Store, live: Path) -> None:
    """Hostile input: where an archive lies is never read from data."""
    opened = backed_up(store, live, "v1")
    hooks = opened.manifest.target("user.hooks")
    assert hooks is not None
    elsewhere = replace(hooks, archive="../../etc/passwd")
    assert store.archive_path("v1", elsewhere) == f"{store.backups}/v1/user.hooks.tar.gz"
    archive.verify(store.archive_path("v1", elsewhere), elsewhere)


def test_latest_is_a_note_that_may_be_lost(store: Store) -> None:
    """``latest.json`` can be written anew at any time; damaged it says nothing (design)."""
    view = latest_codec.Latest(
        user_root="/home/\udcff", project=None, version="v1", looked_at="2026-11-23T06:40:12.000Z", digests={"a": "b"}
    )
    store.write_latest((view,))
    assert store.read_latest() == (view,)
    path = Path(store.root, "latest.json")
    for damage in (lambda: path.write_bytes(b"\xff"), lambda: os.truncate(path, 1 << 30), path.unlink):
        damage()
        assert store.read_latest() == ()
    os.mkfifo(path)
    assert store.read_latest() == ()
