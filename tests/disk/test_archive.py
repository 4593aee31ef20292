"""Archives: what goes in comes out, equal trees give equal bytes, and only what the manifest lists is accepted."""

import errno
import io
import os
import random
import subprocess
import tarfile
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.crash import FailAt, Log
from support.tree import Entry as Spec
from support.tree import Fifo, File, Folder, Link, build, snapshot

from stravinsky_rollback_mcp.core import tar
from stravinsky_rollback_mcp.core.codec.trees import present
from stravinsky_rollback_mcp.core.model import Entry, EntryType, Kind, Limits, Scope, StoredTarget, Target
from stravinsky_rollback_mcp.core.names import archive_name
from stravinsky_rollback_mcp.disk import archive
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.place import Place
from stravinsky_rollback_mcp.disk.scan import scan
from stravinsky_rollback_mcp.errors import Code, RollbackError

LIMITS = Limits(max_file_size_bytes=64 << 20, max_entries=5000, max_depth=64)
REFUSALS = {Code.ARCHIVE_UNSAFE, Code.ARCHIVE_MISMATCH, Code.TOO_LARGE}
LONG = "n" * 120


def capture(source: Path, path: Path, files: Files | None = None) -> StoredTarget:
    """Write the archive of a live target to ``path``."""
    kind = Kind.DIRECTORY if source.is_dir() else Kind.FILE
    component = "hooks" if kind is Kind.DIRECTORY else "settings"
    target = Target(scope=Scope.USER, component=component, kind=kind, path=str(source))
    writer = archive.ArchiveWriter(str(path), kind, files or Files())
    try:
        seen = scan(Place(target=target, resolved=str(source), dangling=False), LIMITS, writer)
        written = writer.finish()
    finally:
        writer.close()
    return StoredTarget(
        scope=target.scope,
        component=component,
        kind=kind,
        path=str(source),
        resolved_path=str(source),
        archive=archive_name(target.id, kind),
        archive_sha256=written.sha256,
        archive_size_bytes=written.size_bytes,
        tree=seen.tree,
    )


class Taken:
    """Keeps what is unpacked, and proves that nothing else was asked for."""

    def __init__(self, stored: StoredTarget) -> None:
        self.files: dict[str, bytes] = {}
        self.open = 0
        self._stored = stored

    def place(self, entry: Entry) -> "_OneFile":
        """A place for one entry: only a regular file that the manifest lists, and each of them once."""
        assert entry in self._stored.tree.entries
        assert entry.type is EntryType.FILE
        assert entry.path not in self.files
        self.files[entry.path] = b""
        self.open += 1
        return _OneFile(self, entry)


class _OneFile:
    def __init__(self, taken: Taken, entry: Entry) -> None:
        self._taken = taken
        self._entry = entry

    def write(self, chunk: bytes) -> None:
        content = self._taken.files[self._entry.path] + chunk
        assert len(content) <= self._entry.size_bytes, "never more than the manifest says"
        self._taken.files[self._entry.path] = content

    def close(self) -> None:
        self._taken.open -= 1


def unpacked(path: Path, stored: StoredTarget) -> dict[str, bytes]:
    """The files of an archive that is accepted."""
    taken = Taken(stored)
    archive.unpack(str(path), stored, taken.place)
    return taken.files


def refused(path: Path, stored: StoredTarget) -> Code | None:
    """The code with which both verifying and unpacking refuse; None when they accept the very content recorded."""
    taken = Taken(stored)
    codes: list[Code | None] = []
    for body in (lambda: archive.unpack(str(path), stored, taken.place), lambda: archive.verify(str(path), stored)):
        try:
            body()
        except RollbackError as error:
            codes.append(error.code)
        else:
            codes.append(None)
    assert codes[0] == codes[1]
    assert taken.open == 0
    if codes[0] is None:
        found = {name: sha256(content).hexdigest() for name, content in taken.files.items()}
        assert found == {entry.path: entry.sha256 for entry in stored.tree.entries if entry.type is EntryType.FILE}
    return codes[0]


def packed(content: bytes) -> bytes:
    """Gzip as any program writes it."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()


def member(name: bytes, content: bytes | None) -> bytes:
    """One member; a folder has no content."""
    blocks = tar.header(name, 0o644, len(content or b""), folder=content is None)
    return blocks + (content or b"") + tar.padding(len(content or b""))


def foreign(kind: bytes, name: str = "a", link: str = "", size_bytes: int = 0) -> bytes:
    """A header as Python's own writer makes it."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size_bytes
    return info.tobuf(tarfile.GNU_FORMAT)


def trusted(path: Path, stored: StoredTarget, content: bytes) -> StoredTarget:
    """Put other bytes in the archive's place, with a manifest whose digest vouches for them: the worst case."""
    path.write_bytes(content)
    return replace(stored, archive_sha256=sha256(content).hexdigest(), archive_size_bytes=len(content))


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, StoredTarget]:
    """A small archive: two files, a folder, a long name, a link (which it does not hold)."""
    spec: dict[str | bytes, Spec] = {"a": "alpha", "dir": {LONG: "long"}, "link": Link("a"), "empty": ""}
    build(tmp_path / "hooks", spec)
    return tmp_path / "small.tar.gz", capture(tmp_path / "hooks", tmp_path / "small.tar.gz")


SMALL = (
    member(b"a", b"alpha"),
    member(b"dir", None),
    member(b"dir/" + LONG.encode(), b"long"),
    member(b"empty", b""),
)


# --- what goes in comes out ----------------------------------------------------------------------------------------

ODD_TREE: dict[str | bytes, Spec] = {
    "new\nline": "1",
    b"caf\xe9": "2",
    b"\xff" * 255: "3",
    "-rf": "4",
    " two  words ": "5",
    "cafe\u0301": "NFD",
    "caf\u00e9": "NFC",
    "empty": "",
    "nothing": {},
    "read-only": Folder({"locked": File("6", 0o400)}, 0o555),
    "exec": File("#!/bin/sh\n", 0o755),
    "block": b"x" * 512,
    "blocks": b"x" * (512 * 7 + 1),
    "big": os.urandom(3 << 20),
    "flat": bytes((3 << 20) + 1),
    LONG: {LONG: {LONG: "deep"}},
}


def test_odd_trees_come_out_as_they_went_in(tmp_path: Path) -> None:
    """Every name and byte, files of 3 MB included, in one pass and private (design)."""
    build(tmp_path / "hooks", ODD_TREE)
    path = tmp_path / "a.tar.gz"
    stored = capture(tmp_path / "hooks", path)
    before = snapshot(tmp_path / "hooks")
    files = {os.fsencode(name): content for name, content in unpacked(path, stored).items()}
    assert files == {name: content for name, (kind, _, content) in before.items() if kind == "file"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert (path.stat().st_size, sha256(path.read_bytes()).hexdigest()) == (
        stored.archive_size_bytes,
        stored.archive_sha256,
    )
    assert snapshot(tmp_path / "hooks") == before


def test_any_tar_restores_an_archive(tmp_path: Path) -> None:
    """A person with only `tar` gets the same tree back, modes included; Python lists it (design)."""
    build(tmp_path / "hooks", ODD_TREE)
    path = tmp_path / "a.tar.gz"
    capture(tmp_path / "hooks", path)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xpzf", path, "-C", tmp_path / "out"], check=True, timeout=60, capture_output=True)
    assert {**snapshot(tmp_path / "out"), b"": None} == {**snapshot(tmp_path / "hooks"), b"": None}
    with tarfile.open(path, encoding="utf-8", errors="surrogateescape") as opened:
        names = {os.fsencode(name) for name in opened.getnames()}
    assert names == set(snapshot(tmp_path / "out")) - {b""}


def test_links_stand_in_the_manifest_alone(tmp_path: Path) -> None:
    """Hostile input: what a link leads to is neither in the archive nor read; the link is no member."""
    build(tmp_path, {"secret": "MARKER-PRIVATE-KEY", "hooks": {"key": Link("../secret"), "guard": "x"}})
    path = tmp_path / "a.tar.gz"
    stored = capture(tmp_path / "hooks", path)
    assert {entry.path: entry.link for entry in stored.tree.entries if entry.link} == {"key": "../secret"}
    content = zlib.decompress(path.read_bytes(), 31)
    assert b"MARKER" not in content
    assert b"key" not in content
    assert unpacked(path, stored) == {"guard": b"x"}


def test_a_settings_file_is_stored_byte_for_byte(tmp_path: Path) -> None:
    """File targets are never parsed or packed: a text editor can restore them (design)."""
    content = b'\xef\xbb\xbf{"a": 1.10, // x\r\n"a": 1}\r\n' * 30_000
    (tmp_path / "settings.json").write_bytes(content)
    stored = capture(tmp_path / "settings.json", tmp_path / "kept.json")
    assert (tmp_path / "kept.json").read_bytes() == content
    assert unpacked(tmp_path / "kept.json", stored) == {"": content}


@pytest.mark.parametrize(
    "size_bytes", [(1 << 18) - 1024 + step for step in (-1, 0, 1, 511, 512, 513)] + [0, 1, 1 << 20]
)
@pytest.mark.parametrize("fill", [b"\0", b"", b"ab"], ids=["flat", "random", "regular"])
def test_buffer_boundaries_lose_nothing(tmp_path: Path, size_bytes: int, fill: bytes) -> None:
    """Sizes around the internal buffers, for content that packs well, badly and in runs."""
    content = (fill * size_bytes)[:size_bytes] if fill else os.urandom(size_bytes)
    build(tmp_path / "hooks", {"a": content, "b": content})
    stored = capture(tmp_path / "hooks", tmp_path / "a.tar.gz")
    assert unpacked(tmp_path / "a.tar.gz", stored) == {"a": content, "b": content}


def test_a_large_archive_whose_writing_fails_anywhere_is_an_error(tmp_path: Path) -> None:
    """Each call that writes it fails once, most of them in the thread that packs; nothing of that thread stays."""
    noise = random.Random(1).randbytes(2 << 20)  # does not pack: all of it is written
    build(tmp_path / "hooks", {f"{number}.bin": noise[number << 17 : (number + 1) << 17] for number in range(16)})
    threads = threading.active_count()
    log = Log()
    whole = tmp_path / "whole.tar.gz"
    stored = capture(tmp_path / "hooks", whole, Files(observe=log))
    assert [call for call, _ in log.calls].count("write") > 6
    for number in range(1, len(log.calls) + 1):
        fail = FailAt(number, errno.ENOSPC)
        with pytest.raises(RollbackError) as caught:
            capture(tmp_path / "hooks", tmp_path / f"{number}.tar.gz", Files(observe=fail))
        assert (fail.fired, caught.value.code, threading.active_count()) == (True, Code.NO_SPACE, threads)
    files = unpacked(whole, stored)
    assert b"".join(files[f"{number}.bin"] for number in range(16)) == noise
    for cut_bytes in range(1, stored.archive_size_bytes, 1 << 18):
        os.truncate(whole, stored.archive_size_bytes - cut_bytes)
        assert refused(whole, stored) is Code.ARCHIVE_MISMATCH
    assert threading.active_count() == threads


def test_equal_trees_give_equal_bytes(tmp_path: Path) -> None:
    """Reproducible: same tree, other place, other times, other order of making, same archive (design)."""
    spec = {name: entry for name, entry in ODD_TREE.items() if name != "big"}
    build(tmp_path / "one", spec)
    build(tmp_path / "two", dict(reversed(spec.items())))
    first = capture(tmp_path / "one", tmp_path / "1")
    second = capture(tmp_path / "one", tmp_path / "2")
    for path in (tmp_path / "two").rglob("*"):
        os.utime(path, ns=(10**18, 10**18))
    third = capture(tmp_path / "two", tmp_path / "3")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes() == (tmp_path / "3").read_bytes()
    assert first.archive_sha256 == second.archive_sha256 == third.archive_sha256


def test_archives_tell_nothing_of_who_made_them(small: tuple[Path, StoredTarget]) -> None:
    """No owner, group, user name, file name or time in tar or gzip headers (design)."""
    content = small[0].read_bytes()
    assert content[:4] == b"\x1f\x8b\x08\0", "no flags: no name, no comment"
    assert content[4:8] == b"\0\0\0\0", "no time"
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        for info in opened:
            assert (info.uid, info.gid, info.uname, info.gname, info.mtime) == (0, 0, "", "", 0)


def test_other_programs_archives_of_the_same_members_are_read(small: tuple[Path, StoredTarget]) -> None:
    """Which deflate was used does not matter; what the members are does."""
    path, stored = small
    stored = trusted(path, stored, packed(b"".join(SMALL) + tar.END))
    assert unpacked(path, stored) == {"a": b"alpha", f"dir/{LONG}": b"long", "empty": b""}
    # The order of members is free as well: `tar` does not care either.
    stored = trusted(path, stored, packed(b"".join(reversed(SMALL)) + tar.END))
    assert refused(path, stored) is None


# --- damaged archives ----------------------------------------------------------------------------------------------


def _flip(content: bytes, offset: int) -> bytes:
    return content[:offset] + bytes([content[offset] ^ 0xFF]) + content[offset + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "not gzip": lambda content: b"PK\3\4" + content,
    "plain tar": lambda content: zlib.decompress(content, 31),
    "zlib, not gzip": lambda content: zlib.compress(zlib.decompress(content, 31)),
    "cut by one": lambda content: content[:-1],
    "cut in half": lambda content: content[: len(content) // 2],
    "cut to the header": lambda content: content[:10],
    "without trailer": lambda content: content[:-8],
    "trailing byte": lambda content: content + b"\0",
    "trailing zeros": lambda content: content + bytes(1 << 19),
    "second stream": lambda content: content + content,
    "empty second stream": lambda content: content + packed(b""),
    "split in two streams": lambda content: (
        packed(zlib.decompress(content, 31)[:512]) + packed(zlib.decompress(content, 31)[512:])
    ),
    "bad CRC": lambda content: _flip(content, len(content) - 8),
    "bad length": lambda content: _flip(content, len(content) - 1),
    "without end mark": lambda content: packed(zlib.decompress(content, 31)[: -2 * tar.BLOCK]),
    "half an end mark": lambda content: packed(zlib.decompress(content, 31)[: -tar.BLOCK]),
    "nothing packed": lambda _: packed(b""),
    "no members": lambda _: packed(tar.END),
}


@pytest.mark.case(33)
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_archives_do_not_match(small: tuple[Path, StoredTarget], damage: Callable[[bytes], bytes]) -> None:
    """Hostile input: truncated, trailing, doubled, not gzip, bad sums, even where the digest is theirs."""
    path, stored = small
    content = damage(path.read_bytes())
    path.write_bytes(content)
    assert refused(path, stored) in REFUSALS
    assert refused(path, trusted(path, stored, content)) is Code.ARCHIVE_MISMATCH


@pytest.mark.case(33)
def test_every_truncation_does_not_match(small: tuple[Path, StoredTarget]) -> None:
    """Hostile input: an archive cut at any byte."""
    path, stored = small
    content = path.read_bytes()
    wrong: list[int] = []
    for length in range(len(content)):
        path.write_bytes(content[:length])
        if refused(path, stored) is not Code.ARCHIVE_MISMATCH:
            wrong.append(length)
    assert wrong == []


@pytest.mark.case(33)
@pytest.mark.parametrize("mask", [0x01, 0x10, 0x80, 0xFF])
def test_every_flipped_byte_is_refused(small: tuple[Path, StoredTarget], mask: int) -> None:
    """Hostile input: no byte of an archive can be changed unseen, and no change raises any other error."""
    path, stored = small
    content = path.read_bytes()
    accepted: list[int] = []
    for offset in range(len(content)):
        hostile = content[:offset] + bytes([content[offset] ^ mask]) + content[offset + 1 :]
        path.write_bytes(hostile)
        if refused(path, stored) not in REFUSALS:
            accepted.append(offset)
        # Where the digest vouches for the change, `refused` still insists on the recorded content.
        assert refused(path, trusted(path, stored, hostile)) in {*REFUSALS, None}
    assert accepted == []


@given(data=st.data())
def test_fuzzed_tars_hold_the_recorded_content_or_are_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Hostile input: damage below the compression, with fitting sums, never yields other content or another error."""
    folder = tmp_path_factory.mktemp("fuzz")
    build(folder / "hooks", {"a": "alpha", "dir": {LONG: "long"}, "empty": ""})
    stored = capture(folder / "hooks", folder / "a")
    content = bytearray(zlib.decompress((folder / "a").read_bytes(), 31))
    for _ in range(data.draw(st.integers(1, 3))):
        offset = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["byte", "cut", "insert", "repeat"])):
            case "byte":
                content[offset] = data.draw(st.integers(0, 255))
            case "cut":
                del content[offset // 512 * 512 : offset // 512 * 512 + 512]
            case "insert":
                content[offset // 512 * 512 : offset // 512 * 512] = bytes(512)
            case _:
                block = content[offset // 512 * 512 : offset // 512 * 512 + 512]
                content[offset // 512 * 512 : offset // 512 * 512] = block
        if len(content) < 512:
            break
    assert refused(folder / "a", trusted(folder / "a", stored, packed(bytes(content)))) in {*REFUSALS, None}


SETTINGS_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda content: content[:-1],
    "longer": lambda content: content + b" ",
    "other bytes": lambda content: content.replace(b"deny", b"dene"),
    "much longer": lambda content: content + bytes(10 << 20),
}


@pytest.mark.parametrize("damage", SETTINGS_DAMAGE.values(), ids=SETTINGS_DAMAGE)
def test_damaged_settings_do_not_match(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """Hostile input: a stored settings file that is not the one recorded."""
    (tmp_path / "settings.json").write_text('{"permissions": {"deny": ["Read(.env)"]}}', encoding="utf-8")
    path = tmp_path / "kept.json"
    stored = capture(tmp_path / "settings.json", path)
    content = damage(path.read_bytes())
    path.write_bytes(content)
    assert refused(path, stored) is Code.ARCHIVE_MISMATCH
    assert refused(path, trusted(path, stored, content)) is Code.ARCHIVE_MISMATCH


def test_what_is_no_file_does_not_match(small: tuple[Path, StoredTarget]) -> None:
    """Hostile input: missing, a folder, a link (even to the right bytes), a FIFO, which nothing waits for."""
    path, stored = small
    path.rename(path.with_name("away"))
    assert refused(path, stored) is Code.ARCHIVE_MISMATCH
    specs: tuple[Spec, ...] = ({}, Link("away"), Fifo())
    for spec in specs:
        build(path.parent, {path.name: spec})
        assert refused(path, stored) is Code.ARCHIVE_MISMATCH
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


# --- members that the manifest does not list -----------------------------------------------------------------------

HOSTILE: dict[str, tuple[Code, bytes]] = {
    # code, the members of an archive with digest and compression as they should be
    "member missing": (Code.ARCHIVE_MISMATCH, b"".join(SMALL[1:])),
    "folder missing": (Code.ARCHIVE_MISMATCH, b"".join((SMALL[0], *SMALL[2:]))),
    "member surplus": (Code.ARCHIVE_MISMATCH, b"".join((*SMALL, member(b"more", b"x")))),
    "folder surplus": (Code.ARCHIVE_MISMATCH, b"".join((*SMALL, member(b"more", None)))),
    "member renamed": (Code.ARCHIVE_MISMATCH, b"".join((member(b"b", b"alpha"), *SMALL[1:]))),
    "name in another case": (Code.ARCHIVE_UNSAFE, b"".join((member(b"A", b"alpha"), *SMALL[1:]))),
    "the link as a file": (Code.ARCHIVE_MISMATCH, b"".join((*SMALL, member(b"link", b"a")))),
    "member shorter": (Code.ARCHIVE_MISMATCH, b"".join((member(b"a", b"alph"), *SMALL[1:]))),
    "member longer": (Code.ARCHIVE_MISMATCH, b"".join((member(b"a", b"alphas"), *SMALL[1:]))),
    "other bytes": (Code.ARCHIVE_MISMATCH, b"".join((member(b"a", b"ALPHA"), *SMALL[1:]))),
    "file for a folder": (Code.ARCHIVE_MISMATCH, b"".join((SMALL[0], member(b"dir", b""), *SMALL[2:]))),
    "folder for a file": (Code.ARCHIVE_MISMATCH, b"".join((*SMALL[:3], member(b"empty", None)))),
    "member twice": (Code.ARCHIVE_UNSAFE, b"".join((*SMALL, SMALL[0]))),
    "folder twice": (Code.ARCHIVE_UNSAFE, b"".join((*SMALL, SMALL[1]))),
    "parent": (Code.ARCHIVE_UNSAFE, b"".join((member(b"../a", b"alpha"), *SMALL[1:]))),
    "parent inside": (Code.ARCHIVE_UNSAFE, b"".join((member(b"dir/../a", b"alpha"), *SMALL[1:]))),
    "absolute": (Code.ARCHIVE_UNSAFE, b"".join((member(b"/a", b"alpha"), *SMALL[1:]))),
    "dot": (Code.ARCHIVE_UNSAFE, b"".join((member(b"./a", b"alpha"), *SMALL[1:]))),
    "double slash": (Code.ARCHIVE_UNSAFE, b"".join((SMALL[0], SMALL[1], member(b"dir//x", b"long"), SMALL[3]))),
    "trailing slash": (Code.ARCHIVE_UNSAFE, b"".join((member(b"a/", b"alpha"), *SMALL[1:]))),
    "empty name": (Code.ARCHIVE_UNSAFE, b"".join((member(b"", b"alpha"), *SMALL[1:]))),
    "the folder itself": (Code.ARCHIVE_UNSAFE, member(b"", None) + b"".join(SMALL)),
    "too long a name": (Code.ARCHIVE_UNSAFE, b"".join((member(b"n" * 256, b"alpha"), *SMALL[1:]))),
    "symbolic link": (Code.ARCHIVE_UNSAFE, foreign(tarfile.SYMTYPE, "link", "a") + b"".join(SMALL)),
    "link out": (Code.ARCHIVE_UNSAFE, foreign(tarfile.SYMTYPE, "a", "../../.bashrc") + b"".join(SMALL)),
    "link, then file": (Code.ARCHIVE_UNSAFE, foreign(tarfile.SYMTYPE, "dir/", "..") + b"".join(SMALL)),
    "hard link": (Code.ARCHIVE_UNSAFE, foreign(tarfile.LNKTYPE, "a", "dir") + b"".join(SMALL[1:])),
    "FIFO": (Code.ARCHIVE_UNSAFE, foreign(tarfile.FIFOTYPE) + b"".join(SMALL[1:])),
    "device": (Code.ARCHIVE_UNSAFE, foreign(tarfile.CHRTYPE) + b"".join(SMALL[1:])),
    "sparse file": (Code.ARCHIVE_UNSAFE, foreign(tarfile.GNUTYPE_SPARSE, size_bytes=5) + b"".join(SMALL[1:])),
    "contiguous file": (Code.ARCHIVE_UNSAFE, foreign(tarfile.CONTTYPE, size_bytes=5) + b"alpha"),
    "PAX header of 1 GiB": (Code.TOO_LARGE, foreign(tarfile.XHDTYPE, size_bytes=1 << 30) + bytes(4096)),
    "PAX global header": (Code.ARCHIVE_UNSAFE, tarfile.TarInfo.create_pax_global_header({"a": "b"}) + b"".join(SMALL)),
    "long name of 1 GiB": (
        Code.TOO_LARGE,
        foreign(b"L", "././@LongLink", size_bytes=1 << 30) + bytes(4096),
    ),
    "long link name": (Code.ARCHIVE_UNSAFE, foreign(b"K", "././@LongLink", size_bytes=200) + bytes(512)),
    "two long names": (Code.ARCHIVE_UNSAFE, tar.header(LONG.encode(), 0o644, 0, folder=False)[:-512] * 2),
    "long name at the end": (
        Code.TOO_LARGE,
        b"".join(SMALL) + tar.header(LONG.encode(), 0o644, 0, folder=False)[:-512],
    ),
    "dirty padding": (Code.ARCHIVE_UNSAFE, SMALL[0][:-1] + b"x" + b"".join(SMALL[1:])),
    "junk before the members": (Code.ARCHIVE_UNSAFE, b"junk".ljust(512) + b"".join(SMALL)),
}


@pytest.mark.parametrize(("code", "members"), HOSTILE.values(), ids=HOSTILE)
def test_only_what_the_manifest_lists_is_accepted(small: tuple[Path, StoredTarget], code: Code, members: bytes) -> None:
    """Hostile input: names that lead out, links, devices, duplicates, surplus and missing members."""
    path, stored = small
    stored = trusted(path, stored, packed(members + tar.END))
    assert refused(path, stored) is code


def test_an_end_mark_that_is_none_is_refused(small: tuple[Path, StoredTarget]) -> None:
    """Hostile input: one zero block with something after it, which another reader might go on to read."""
    path, stored = small
    stored = trusted(path, stored, packed(b"".join(SMALL) + bytes(512) + b"x" * 512))
    assert refused(path, stored) is Code.ARCHIVE_UNSAFE


@pytest.mark.case(33)
def test_another_backups_archive_does_not_match(tmp_path: Path) -> None:
    """Hostile input: a valid archive of another backup, moved here, whether names or only bytes differ."""
    path = tmp_path / "a"
    build(tmp_path / "one", {"guard.py": "deny"})
    stored = capture(tmp_path / "one", path)
    others: tuple[dict[str | bytes, Spec], ...] = (
        {"guard.py": "pass"},
        {"other.py": "deny"},
        {},
        {"guard.py": File("deny", 0o755)},
    )
    for number, spec in enumerate(others):
        build(tmp_path / f"other{number}", spec)
        capture(tmp_path / f"other{number}", tmp_path / f"o{number}")
        (tmp_path / f"o{number}").replace(path)
        assert refused(path, stored) is Code.ARCHIVE_MISMATCH
    capture(tmp_path / "one", tmp_path / "again")
    (tmp_path / "again").replace(path)
    assert refused(path, stored) is None


def test_modes_in_headers_are_ignored(tmp_path: Path) -> None:
    """Hostile input: only the manifest says what a mode is; a header that says setuid changes nothing."""
    build(tmp_path / "hooks", {"a": "alpha"})
    stored = capture(tmp_path / "hooks", tmp_path / "a")
    header = tar.header(b"a", 0o4777, 5, folder=False)
    stored = trusted(tmp_path / "a", stored, packed(header + b"alpha" + tar.padding(5) + tar.END))
    assert refused(tmp_path / "a", stored) is None


# --- bombs ---------------------------------------------------------------------------------------------------------

BOMB = 64 << 20
BOMBS: dict[str, tuple[Code, list[bytes]]] = {
    # code, what comes before 64 MiB of zeros
    "after the end": (Code.TOO_LARGE, [*SMALL, tar.END]),
    "nothing but zeros": (Code.ARCHIVE_MISMATCH, []),
    "in the last member": (
        Code.ARCHIVE_MISMATCH,
        [*SMALL[:3], tar.header(b"empty", 0o644, BOMB, folder=False)],
    ),
    "in a surplus member": (Code.ARCHIVE_MISMATCH, [*SMALL, tar.header(b"more", 0o644, BOMB, folder=False)]),
    "in a long name": (Code.TOO_LARGE, [foreign(b"L", "././@LongLink", size_bytes=BOMB)]),
    "in a PAX header": (Code.TOO_LARGE, [foreign(tarfile.XHDTYPE, "x", size_bytes=BOMB)]),
}


@pytest.mark.parametrize(("code", "start"), BOMBS.values(), ids=BOMBS)
def test_bombs_cost_neither_memory_nor_time(small: tuple[Path, StoredTarget], code: Code, start: list[bytes]) -> None:
    """Hostile input: a small archive that unpacks to 64 MiB is refused long before."""
    path, stored = small
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    content = b"".join(packer.compress(chunk) for chunk in (*start, *[bytes(1 << 20)] * (BOMB >> 20))) + packer.flush()
    assert len(content) < 1 << 20
    stored = trusted(path, stored, content)
    begun = time.process_time()  # not what others take meanwhile
    tracemalloc.start()
    try:
        assert refused(path, stored) is code
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 << 20
    assert time.process_time() - begun < 5


def test_more_than_the_manifest_accounts_for_is_too_large(tmp_path: Path) -> None:
    """Hostile input: records that unpack to nothing useful count all the same."""
    build(tmp_path / "hooks", {"a": "alpha"})
    stored = capture(tmp_path / "hooks", tmp_path / "a")
    long_name = b"a".ljust(tar.MAX_LONG_NAME, b"\0")
    record = foreign(b"L", "././@LongLink", size_bytes=len(long_name))
    assert len(record) == tar.BLOCK
    stored = trusted(tmp_path / "a", stored, packed(signed_as_ours(record) + long_name + SMALL[0] + tar.END))
    assert refused(tmp_path / "a", stored) is Code.TOO_LARGE


def signed_as_ours(record: bytes) -> bytes:
    """A long-name record in the form that we write, with the size of ``record``."""
    ours = tar.header(LONG.encode(), 0o644, 0, folder=False)[: tar.BLOCK]
    block = ours[:124] + record[124:136] + ours[136:]
    total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def test_a_tree_of_links_alone_has_an_empty_archive(tmp_path: Path) -> None:
    """Nothing to pack is no special case."""
    build(tmp_path / "hooks", {"one": Link("two"), "two": Link("one")})
    stored = capture(tmp_path / "hooks", tmp_path / "a")
    assert unpacked(tmp_path / "a", stored) == {}
    assert zlib.decompress((tmp_path / "a").read_bytes(), 31) == tar.END
    assert present(stored.tree.entries).digest == stored.tree.digest
