"""Hostile archives and manifests, one test a row of the threat model's table (rows 14 to 26, and 33).

What lies in a store is a stranger's, also when the audit vouches for it: a process of the same user can forge archive,
manifest and record together. So each hostile backup comes twice here: with its record, where the archive's own checks
have to refuse it, and without, where it is `manifest_forged` before anything of it is read.
"""

import gzip
import io
import os
import shutil
import tarfile
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from support.attacker import (
    BLOCK,
    END,
    Attacker,
    Forger,
    attacker_in,
    commands_target,
    entry,
    header,
    member,
    packed,
    records_of,
)
from support.config import realistic
from support.tree import build, snapshot

from stravinsky_rollback_mcp.core.model import Entry, EventType
from stravinsky_rollback_mcp.disk.atomic import Files

CONTENT = b"print('honest')\n"
LISTED = (entry("a.py", CONTENT),)
# Leaves a reader room for more bytes than the archive has, so that it is what they say that is refused.
ROOMY = (*LISTED, entry("z", bytes(4096)))
GOOD = member(b"a.py", CONTENT)
MAX_FILE_MB = 2
MAX_ENTRIES = 500


@pytest.fixture(scope="module")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    """One session for all of these: none of the calls may change anything, so none disturbs the next."""
    top = tmp_path_factory.mktemp("archives")
    home, project = top / "home", top / "project"
    realistic(home, project)
    limits = {
        "STRAVINSKY_BACKUP_MAX_FILE_SIZE_MB": str(MAX_FILE_MB),
        "STRAVINSKY_BACKUP_MAX_ENTRIES": str(MAX_ENTRIES),
        "STRAVINSKY_BACKUP_MAX_DEPTH": "32",
    }
    with attacker_in(home, project, None, **limits) as made:
        made.call("create_backup", version="v1")
        (made.user / "hooks" / "notify.sh").write_text("changed", encoding="utf-8")
        yield made


@pytest.fixture(scope="module")
def forger(attacker: Attacker) -> Forger:
    """Somebody with a hand in the same store."""
    return Forger(attacker.home, attacker.project)


def refuse(attacker: Attacker, forger: Forger, code: str, archive: bytes, entries: tuple[Entry, ...] = LISTED) -> str:
    """Code, N and A for a backup with this archive; and once more as a stranger to the audit.

    What is live equals no backup, so that a safety backup would be made if the refusal came too late.
    """
    hook = attacker.user / "hooks" / "notify.sh"
    hook.write_text(f"{hook.read_text(encoding='utf-8')}.", encoding="utf-8")
    stranger = forger.commands(entries, archive, is_recorded=False)
    attacker.is_refused("manifest_forged", "rollback_to", version=stranger)
    forger.discard(stranger)
    version = forger.commands(entries, archive)
    text = attacker.is_refused(code, "rollback_to", version=version)
    forger.discard(version)
    return text


def test_row_14_the_forger_can_be_believed(attacker: Attacker, forger: Forger) -> None:
    """What the forger makes is taken where its archive is good, so every refusal below is the archive's."""
    version = forger.commands(LISTED, packed(GOOD + END))
    plan = attacker.call("rollback_to", version=version, dry_run=True)
    assert "a.py" in plan["changes"][0]["added"]
    live = snapshot(attacker.user), snapshot(attacker.project)
    assert attacker.call("rollback_to", version=version)["applied"]
    assert {b"", b"a.py"} == snapshot(attacker.user / "commands").keys()
    assert attacker.call("undo")["applied"]
    assert (snapshot(attacker.user), snapshot(attacker.project)) == live
    forger.discard(version)


NAMES: Mapping[str, tuple[str, bytes]] = {
    "parent": ("archive_unsafe", member(b"../x", b"x")),
    "parent in the middle": ("archive_unsafe", member(b"a/../../x", b"x")),
    "parent behind": ("archive_unsafe", member(b"a/..", b"x")),
    "absolute": ("archive_unsafe", member(b"/tmp/x", b"x")),
    "empty": ("archive_unsafe", member(b"", b"x")),
    "two slashes": ("archive_unsafe", member(b"a//b", b"x")),
    "a dot": ("archive_unsafe", member(b"a/./b", b"x")),
    "dot first": ("archive_unsafe", member(b"./a.py", CONTENT)),
    "trailing slash": ("archive_unsafe", member(b"a.py/", CONTENT)),
    "a folder with two slashes": ("archive_unsafe", member(b"a//", type=b"5")),
    "zero byte": ("archive_unsafe", member(b"a\0b", b"x")),
    # Of these no name is unsafe on POSIX; no manifest lists them.
    "drive letter": ("archive_unsafe", member(b"C:/x", b"x")),
    "backslashes": ("archive_unsafe", member(b"..\\x", b"x")),
    "long name": (
        "archive_unsafe",
        member(b"././@LongLink", b"../" * 60 + b"x\0", type=b"L", mode=b"0000000\0") + member(b"x", b"x"),
    ),
    "name prefix": ("archive_unsafe", member(b"x", b"x", magic=b"ustar\x0000" + b"\0" * 80 + b"/etc")),
}


@pytest.mark.case(39)
@pytest.mark.parametrize("case", NAMES)
def test_row_14_a_name_that_leads_elsewhere_is_unsafe(attacker: Attacker, forger: Forger, case: str) -> None:
    """An early sketch's verify step alone wrote `~/.bashrc` for one of these."""
    code, hostile = NAMES[case]
    refuse(attacker, forger, code, packed(GOOD + hostile + END), ROOMY)
    refuse(attacker, forger, code, packed(hostile + GOOD + END), ROOMY)


@pytest.mark.parametrize("path", ["../x", "/tmp/x", "a//b", "a/./b", "..", "a.py/", "a\0b", "x" * 256])
def test_row_14_a_manifest_that_lists_such_a_name_is_invalid(attacker: Attacker, forger: Forger, path: str) -> None:
    """An attacker who makes archive and manifest agree gets no further."""
    listed = (*LISTED, entry(path, b"x"))
    archive = packed(GOOD + member(path.encode(), b"x") + END)
    for is_recorded in (False, True):
        version = forger.commands(listed, archive, is_recorded=is_recorded)
        attacker.is_refused("manifest_invalid", "rollback_to", version=version)
        forger.discard(version)


@pytest.mark.case(39)
@pytest.mark.parametrize("type_", [b"1", b"2"], ids=["hard", "symbolic"])
@pytest.mark.parametrize("target", [b"a.py", b"/etc/passwd", b"../../.ssh/id_rsa", b"", b"a.py/../.."])
def test_row_15_a_link_is_no_member(attacker: Attacker, forger: Forger, type_: bytes, target: bytes) -> None:
    """Of any kind, inside-pointing ones too: links stand in manifests alone."""
    hostile = member(b"z.py", type=type_, link=target)
    refuse(attacker, forger, "archive_unsafe", packed(GOOD + hostile + END))
    listed = (*LISTED, entry("z.py", b""))
    refuse(attacker, forger, "archive_unsafe", packed(GOOD + hostile + END), listed)


@pytest.mark.case(39)
@pytest.mark.parametrize("type_", [*b"34567", *b"SVMKNADxgXIa", 0, 0xFF], ids=lambda number: f"{number:02x}")
def test_row_16_only_files_and_folders_are_members(attacker: Attacker, forger: Forger, type_: int) -> None:
    """FIFO, devices, contiguous and sparse files, labels, PAX records, old-style files, flags that nobody knows."""
    hostile = member(b"z", b"" if type_ != ord("5") else b"x", type=bytes((type_,)))
    refuse(attacker, forger, "archive_unsafe", packed(GOOD + hostile + END), (*LISTED, entry("z", b"")))


def by_tarfile(fill: Callable[[tarfile.TarFile], None], format_: int = tarfile.GNU_FORMAT) -> bytes:
    """An archive as Python's own writer makes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format_) as archive:
        fill(archive)
    return packed(stream.getvalue())


def add(archive: tarfile.TarFile, name: str, type_: bytes = tarfile.REGTYPE, link: str = "") -> None:
    """One member."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type_, link
    archive.addfile(info)


def _slash_link(archive: tarfile.TarFile) -> None:
    add(archive, "a/", tarfile.SYMTYPE, "..")
    add(archive, "a/x.py")


def _deeper_link(archive: tarfile.TarFile) -> None:
    add(archive, "a/b/link", tarfile.SYMTYPE, "../../inside")
    add(archive, "link", tarfile.LNKTYPE, "a/b/link")


def _long_chain(archive: tarfile.TarFile) -> None:
    step = "d" * 247
    path = ""
    for letter in "abcdefghijklmnop":
        add(archive, os.path.join(path, step), tarfile.DIRTYPE)
        add(archive, os.path.join(path, letter), tarfile.SYMTYPE, step)
        path = os.path.join(path, step)
    short = os.path.join("/".join("abcdefghijklmnop"), "l" * 254)
    add(archive, short, tarfile.SYMTYPE, "../" * 16)
    add(archive, "escape", tarfile.SYMTYPE, f"{short}/outside")
    add(archive, "escape")


@pytest.mark.parametrize(
    ("fill", "format_"),
    [
        (_slash_link, tarfile.GNU_FORMAT),
        (_slash_link, tarfile.USTAR_FORMAT),
        (_deeper_link, tarfile.GNU_FORMAT),
        (_deeper_link, tarfile.PAX_FORMAT),
        (_long_chain, tarfile.GNU_FORMAT),
        (_long_chain, tarfile.PAX_FORMAT),
    ],
    ids=lambda value: str(getattr(value, "__name__", value)),
)
def test_row_17_what_passes_the_data_filter_is_unsafe(
    attacker: Attacker, forger: Forger, fill: Callable[[tarfile.TarFile], None], format_: int
) -> None:
    """CVE-2025-4517 and its kin pass `filter="data"` of current interpreters; no extractor of Python's is used here."""
    hostile = by_tarfile(fill, format_)
    listed = (entry("a"), entry("a/x.py", b""), entry("escape", b""), entry("d" * 247), *ROOMY)
    refuse(attacker, forger, "archive_unsafe", hostile, listed)


NFC, NFD = "caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9")
TWICE: Mapping[str, tuple[str, bytes]] = {
    "the same": ("archive_unsafe", GOOD + GOOD),
    "other bytes": ("archive_unsafe", GOOD + member(b"a.py", CONTENT.upper())),
    "a folder too": ("archive_unsafe", GOOD + member(b"a.py/", type=b"5")),
    "a long name": (
        "archive_unsafe",
        GOOD + member(b"././@LongLink", b"a.py\0", type=b"L", mode=b"0000000\0") + member(b"x", CONTENT),
    ),
    "below a file": ("archive_mismatch", GOOD + member(b"a.py/x", b"x")),
    "another case": ("archive_unsafe", GOOD + member(b"A.py", CONTENT)),
    "another normal form": ("archive_unsafe", GOOD + member(NFC.encode(), b"x") + member(NFD.encode(), b"x")),
}


@pytest.mark.parametrize("case", TWICE)
def test_row_18_no_name_twice(attacker: Attacker, forger: Forger, case: str) -> None:
    """Nor one that is another name here and the same where a volume folds case or normal form."""
    code, tar = TWICE[case]
    listed = (*ROOMY, entry(NFC, b"x")) if "normal form" in case else ROOMY
    refuse(attacker, forger, code, packed(tar + END), listed)


@pytest.mark.parametrize(
    "listed",
    [(*LISTED, *LISTED), (*LISTED, entry("a.py/x", b"x")), (*LISTED, entry("b/c", b"x")), (*LISTED, entry("a.py"))],
    ids=["twice", "below a file", "no folder", "file and folder"],
)
def test_row_18_a_manifest_with_a_name_twice_is_invalid(
    attacker: Attacker, forger: Forger, listed: tuple[Entry, ...]
) -> None:
    """Also a file that is a folder, and a file in a folder that is not there."""
    version = forger.commands(listed, packed(GOOD + END))
    attacker.is_refused("manifest_invalid", "rollback_to", version=version)
    forger.discard(version)


IGNORED: Mapping[str, bytes] = {
    "user": member(b"a.py", CONTENT, owner=b"0001750\0"),
    "no number": member(b"a.py", CONTENT, owner=b"nobody\0\0"),
    "world-writable": member(b"a.py", CONTENT, mode=b"0000777\0"),
    "setuid": member(b"a.py", CONTENT, mode=b"0006755\0"),
    "no mode": member(b"a.py", CONTENT, mode=b"\0" * 8),
}


@pytest.mark.parametrize("case", IGNORED)
def test_row_19_owners_and_modes_of_headers_are_ignored(attacker: Attacker, forger: Forger, case: str) -> None:
    """What is restored is the person's own, with the mode that the manifest says."""
    version = forger.commands((entry("a.py", CONTENT, 0o640), *LISTED[1:]), packed(IGNORED[case] + END))
    attacker.call("rollback_to", version=version)
    status = (attacker.user / "commands" / "a.py").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (os.geteuid(), os.getegid(), 0o640)


ODD_FIELDS: Mapping[str, bytes] = {
    "time stamp in the size": member(b"a.py", CONTENT, size=b"       %04o\0" % len(CONTENT)),
    "extended attributes": member(b"p", b"30 SCHILY.xattr.user.x=1\n", type=b"x") + GOOD,
    "checksum": header(b"a.py", size=b"%011o\0" % len(CONTENT), checksum=b"000000\0 ") + GOOD[BLOCK:],
}


@pytest.mark.parametrize("case", ODD_FIELDS)
def test_row_19_what_could_say_more_than_a_header_is_unsafe(attacker: Attacker, forger: Forger, case: str) -> None:
    """Extended attributes ride in records that could rename the next member too: those are never read."""
    refuse(attacker, forger, "archive_unsafe", packed(ODD_FIELDS[case] + END))


def test_row_19_setuid_comes_neither_from_archive_nor_manifest(home: Path, project: Path) -> None:
    """`mode & 0777` of the manifest is what is restored; setuid, setgid and sticky never, owners never."""
    realistic(home, project)
    with attacker_in(home, project) as attacker:
        attacker.call("create_backup", version="v1")
        forger = Forger(home, project)
        listed = (entry("a.py", CONTENT, 0o755), entry("open", b"", 0o777), entry("b"))
        tar = member(b"a.py", CONTENT, mode=b"0007777\0") + member(b"b/", type=b"5", mode=b"0007777\0")
        version = forger.commands(listed, packed(tar + member(b"open", mode=b"0006777\0") + END))
        attacker.call("rollback_to", version=version)
        found = {path: mode for path, (_, mode, _) in snapshot(attacker.user / "commands").items()}
        assert found == {b"": 0o755, b"a.py": 0o755, b"b": 0o755, b"open": 0o777}
        status = (attacker.user / "commands" / "a.py").stat()
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())

        target = commands_target(listed, packed(tar + END), str(attacker.user / "commands"))
        version = forger.plant(
            forger.forged([target]), {}, edit=lambda content: content.replace(b'"0755"', b'"4755"', 1)
        )
        attacker.is_refused("manifest_invalid", "rollback_to", version=version)


def test_row_19_a_setuid_hook_is_backed_up_without_it(home: Path, project: Path) -> None:
    """What the person's own configuration has of it is not brought back either."""
    realistic(home, project)
    hook = home / ".claude" / "hooks" / "notify.sh"
    hook.chmod(0o6755)
    with attacker_in(home, project) as attacker:
        attacker.call("create_backup", version="v1")
        hook.unlink()
        attacker.call("rollback_to", version="v1")
    assert hook.stat().st_mode & 0o7777 == 0o755


UNLIKE: Mapping[str, bytes] = {
    "surplus": GOOD + member(b"b.py", b"x"),
    "surplus folder": GOOD + member(b"b/", type=b"5"),
    "missing": b"",
    "shorter": member(b"a.py", CONTENT[:-1]),
    "longer": member(b"a.py", CONTENT + b"x"),
    "other bytes": member(b"a.py", CONTENT.upper()),
    "a folder": member(b"a.py/", type=b"5"),
    "a long name and no more": GOOD + member(b"././@LongLink", b"b.py\0", type=b"L", mode=b"0000000\0"),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_row_20_archive_and_manifest_list_the_same(attacker: Attacker, forger: Forger, case: str) -> None:
    """In both directions, by name, type, size and bytes."""
    refuse(attacker, forger, "archive_mismatch", packed(UNLIKE[case] + END), ROOMY if "long" in case else LISTED)


@pytest.mark.parametrize("claim", ["archive_sha256", "archive_size_bytes"])
def test_row_20_the_stored_bytes_are_those_of_the_manifest(attacker: Attacker, forger: Forger, claim: str) -> None:
    """A good archive that is not the one which the manifest names, though it holds the same files."""
    target = commands_target(LISTED, packed(GOOD + END), str(attacker.user / "commands"))
    other = gzip.compress(GOOD + END, 6 if claim == "archive_sha256" else 0, mtime=1)
    assert (len(other) == target.archive_size_bytes) == (claim == "archive_sha256")
    version = forger.plant(forger.forged([target]), {target.archive: other})
    attacker.is_refused("archive_mismatch", "rollback_to", version=version)
    forger.discard(version)


def bomb(before: bytes, size_mb: int) -> bytes:
    """A gzip stream of ``before`` and that many MiB of zeros, made without compressing them all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    chunk = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + first + chunk * (size_mb // 16) + packer.flush()


def peak_mb() -> int:
    """The largest resident size of this process since the last call."""
    with open("/proc/self/status", encoding="ascii") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    return peak >> 10


ONE_GIB = 1 << 30
BOMBS: Mapping[str, tuple[str, bytes, tuple[Entry, ...]]] = {
    "behind the end": ("too_large", GOOD + END, LISTED),
    "a file that the manifest has small": ("archive_mismatch", header(b"a.py", size=b"10000000000\0"), LISTED),
    "a file that the manifest admits": (
        "too_large",
        header(b"a.py", size=b"10000000000\0"),
        (Entry(path="a.py", type=entry("x", b"").type, mode=0o644, size_bytes=ONE_GIB, sha256="0" * 64),),
    ),
    "a long name": (
        "too_large",
        header(b"././@LongLink", type=b"L", size=b"10000000000\0", mode=b"0000000\0"),
        LISTED,
    ),
    "a PAX record": ("too_large", header(b"p", type=b"x", size=b"10000000000\0"), LISTED),
    "a global PAX record": ("too_large", header(b"p", type=b"g", size=b"10000000000\0"), LISTED),
}


@pytest.mark.case(39)
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="only Linux tells the peak")
@pytest.mark.parametrize("case", BOMBS)
def test_row_21_a_bomb_is_refused_before_it_goes_off(attacker: Attacker, forger: Forger, case: str) -> None:
    """1 MB that unpacks to 1 GiB; Python's tarfile took 1.05 GB merely to open the one with the long header."""
    code, before, listed = BOMBS[case]
    archive = bomb(before, 1024)
    assert len(archive) < 2 << 20
    start = peak_mb()
    refuse(attacker, forger, code, archive, listed)
    assert peak_mb() - start < 48


def test_row_21_a_bomb_is_one(tmp_path: Path) -> None:
    """The fault takes place: another reader unpacks all of it."""
    unpacker = zlib.decompressobj(31)
    assert len(unpacker.decompress(bomb(GOOD + END, 64), 1 << 30)) == len(GOOD + END) + (64 << 20)


SIZES = (
    b"\xff" * 12,
    b"\xff" * 11 + b"\0",
    b"-0000000001\0",
    b"00000000-20\0",
    b"\x80" + b"\xff" * 11,
    b"\x80\0\0\0" + b"\xff" * 8,
    b"00000000008\0",
    b"0x000000010\0",
    b"           \0",
    b"\0" * 12,
    b"0_000000020\0",
)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.hex())
def test_row_22_a_negative_or_odd_size_is_unsafe(attacker: Attacker, forger: Forger, size: bytes) -> None:
    """CVE-2025-8194: a negative size made Python's reader loop for ever."""
    hostile = header(b"a.py", size=size) + CONTENT.ljust(BLOCK, b"\0")
    is_number = size == b"\x80\0\0\0" + b"\xff" * 8
    refuse(attacker, forger, "archive_mismatch" if is_number else "archive_unsafe", packed(hostile + END))


HONEST = packed(GOOD + END)
BROKEN: Mapping[str, bytes] = {
    "no byte": b"",
    "only a header": HONEST[:10],
    "truncated": HONEST[:-9],
    "without its checksum": HONEST[:-8],
    "trailing garbage": HONEST + b"garbage",
    "trailing zeros": HONEST + bytes(512),
    "second stream": HONEST + HONEST,
    "empty second stream": HONEST + packed(b""),
    "wrong checksum": HONEST[:-8] + bytes((HONEST[-8] ^ 1,)) + HONEST[-7:],
    "wrong length": HONEST[:-1] + bytes((HONEST[-1] ^ 1,)),
    "no gzip": GOOD + END,
    "zlib, not gzip": zlib.compress(GOOD + END),
    "without an end": packed(GOOD),
    "half an end": packed(GOOD + END[:BLOCK]),
    "half a header": packed(GOOD + GOOD[:100]),
    "half a content": packed(GOOD[: BLOCK + 3]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_row_23_a_broken_stream_is_a_mismatch(attacker: Attacker, forger: Forger, case: str) -> None:
    """Truncated, continued, no gzip at all; digest and size in the manifest are right, so the reader itself sees it."""
    refuse(attacker, forger, "archive_mismatch", BROKEN[case])


@pytest.mark.parametrize("tar", [GOOD + END[:BLOCK] + GOOD, GOOD[: BLOCK + len(CONTENT)] + b"x" * 496 + END])
def test_row_23_what_hides_in_the_padding_is_unsafe(attacker: Attacker, forger: Forger, tar: bytes) -> None:
    """Bytes where only zeros belong: a second reader might see them otherwise."""
    refuse(attacker, forger, "archive_unsafe", packed(tar))


def test_row_24_a_million_members_are_a_mismatch_at_the_first(attacker: Attacker, forger: Forger) -> None:
    """A member that is not listed ends it, however many follow."""
    block = b"".join(member(b"m%d" % number) for number in range(2000))
    assert len(block) == 2000 * BLOCK
    refuse(attacker, forger, "archive_mismatch", gzip.compress(GOOD + block * 20, 1))


def test_row_24_more_members_than_allowed_are_too_many(attacker: Attacker, forger: Forger) -> None:
    """A manifest that lists them all does not help: the limits of a capture hold for a restore."""
    names = [f"m{number}" for number in range(MAX_ENTRIES)]
    tar = b"".join(member(name.encode()) for name in sorted(names))
    refuse(attacker, forger, "too_many_files", packed(tar + END), tuple(entry(name, b"") for name in names))


def test_row_24_a_thousand_levels_are_too_many(attacker: Attacker, forger: Forger) -> None:
    """Depth is bounded too, before anything is made; one name of 255 bytes is fine, one of 256 is not (row 14)."""
    paths = ["/".join(["d"] * depth) for depth in range(1, 1000)]
    tar = b""
    for path in paths:
        name = path.encode() + b"/"
        if len(name) > 100:
            tar += member(b"././@LongLink", name + b"\0", type=b"L", mode=b"0000000\0")
        tar += member(name[:100], type=b"5")
    refuse(attacker, forger, "too_many_files", packed(tar + END), tuple(entry(path) for path in paths))


def test_row_24_the_longest_names_come_back(home: Path, project: Path) -> None:
    """255 bytes in one name, and a path longer than a tar header holds."""
    realistic(home, project)
    name = "n" * 255
    build(home / ".claude" / "hooks", {name: {name: {name: "deep\n"}}})
    with attacker_in(home, project) as attacker:
        attacker.call("create_backup", version="v1")
        good = snapshot(home / ".claude" / "hooks")
        shutil.rmtree(home / ".claude" / "hooks")
        attacker.call("rollback_to", version="v1")
        assert snapshot(home / ".claude" / "hooks") == good


class Vandal:
    """Replaces an archive the moment the first file is created beside the target: after it was verified."""

    def __init__(self, archive: Path, hostile: bytes) -> None:
        self.did = 0
        self._archive = archive
        self._hostile = hostile

    def __call__(self, operation: str, path: str) -> None:
        """Look on, and strike once."""
        if operation == "mkdir" and ".stravinsky-" in path and not self.did:
            self.did += 1
            self._archive.write_bytes(self._hostile)


HALF = tuple(entry(f"m{number}", b"x" * 700) for number in range(10))
HALF_TAR = [member(item.path.encode(), b"x" * 700) for item in HALF]


@pytest.mark.parametrize(
    ("code", "hostile"),
    [
        ("archive_mismatch", b"".join(HALF_TAR[:5])),
        ("archive_mismatch", b"".join(HALF_TAR[:5]) + member(b"m5", b"y" * 700)),
        ("archive_unsafe", b"".join(HALF_TAR[:5]) + member(b"m5", type=b"2", link=b"/etc")),
        ("archive_unsafe", b"".join(HALF_TAR[:5]) + member(b"../../evil", b"x")),
    ],
    ids=["ends", "lies", "links", "climbs"],
)
def test_row_25_half_an_archive_leaves_nothing(home: Path, project: Path, code: str, hostile: bytes) -> None:
    """The archive is swapped between its verification and its use; what was unpacked by then is removed."""
    realistic(home, project)
    archive = home / ".stravinsky" / "rollback" / "backups" / "forged-1" / "user.commands.tar.gz"
    vandal = Vandal(archive, packed(hostile + END))
    with attacker_in(home, project, Files(observe=vandal)) as attacker:
        attacker.call("create_backup", version="v1")
        (home / ".claude" / "hooks" / "notify.sh").write_text("changed", encoding="utf-8")
        forger = Forger(home, project)
        honest = packed(b"".join(HALF_TAR) + END)
        version = forger.commands(HALF, honest)
        live = snapshot(home / ".claude"), snapshot(project)
        attacker.refused(code, "rollback_to", {"version": version})
        assert vandal.did == 1
        assert (snapshot(home / ".claude"), snapshot(project)) == live
        assert not list(home.rglob("evil"))
        assert os.listdir(home / ".stravinsky" / "rollback" / "recovery") == []
        archive.write_bytes(honest)
        assert attacker.call("rollback_to", version=version)["applied"]


class FullAt:
    """The disk is full from the N-th file on that is created in a slot, until told otherwise."""

    def __init__(self) -> None:
        self.left = 0
        self.fired = 0

    def __call__(self, operation: str, path: str) -> None:
        """Count files, then refuse."""
        if operation == "create" and path.startswith("m") and self.left:
            self.left -= 1
            if not self.left:
                self.fired += 1
                raise OSError(28, os.strerror(28))


def test_row_25_a_full_disk_half_way_leaves_nothing(home: Path, project: Path) -> None:
    """An early sketch's staging had a fixed name and stayed, to be installed by the next rollback."""
    realistic(home, project)
    disk = FullAt()
    with attacker_in(home, project, Files(observe=disk)) as attacker:
        attacker.call("create_backup", version="v1")
        version = Forger(home, project).commands(HALF, packed(b"".join(HALF_TAR) + END))
        for left in (1, 5, 10):
            disk.left = left
            attacker.is_refused("no_space", "rollback_to", version=version)
        assert disk.fired == 3
        assert attacker.call("rollback_to", version=version)["applied"]


@pytest.mark.case(33)
def test_row_26_another_backups_archive_is_a_mismatch(home: Path, project: Path) -> None:
    """A valid archive under another backup's name, with the same and with another size; and a renamed backup."""
    realistic(home, project)
    hook = home / ".claude" / "hooks" / "notify.sh"
    with attacker_in(home, project) as attacker:
        attacker.call("create_backup", version="v1")
        hook.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        attacker.call("create_backup", version="v2")
        settings = attacker.user / "settings.json"
        settings.write_bytes(settings.read_bytes().replace(b"opus", b"opal"))
        attacker.call("create_backup", version="v3")
        hook.write_text("changed", encoding="utf-8")
        for name in ("user.hooks.tar.gz", "user.settings.json"):
            mine, other = attacker.backups / "v2" / name, attacker.backups / "v3" / name
            if name == "user.hooks.tar.gz":
                other = attacker.backups / "v1" / name
            kept = mine.read_bytes()
            assert other.read_bytes() != kept
            mine.unlink()  # it may be linked from another backup
            mine.write_bytes(other.read_bytes())
            attacker.is_refused("archive_mismatch", "rollback_to", version="v2")
            Forger(home, project).put_back("v2")
            mine.write_bytes(kept)
        (attacker.backups / "v2").rename(attacker.backups / "v9")
        attacker.is_refused("archive_mismatch", "rollback_to", version="v9")
        attacker.is_refused("not_found", "rollback_to", version="v2")


def test_row_33_a_manifest_of_another_project_is_a_mismatch(attacker: Attacker, forger: Forger) -> None:
    """Identity is what the manifest says of its project, whatever the record beside it says."""
    project_hooks = forger.honest("v1").target("project.hooks")
    assert project_hooks is not None
    archive = (attacker.backups / "v1" / project_hooks.archive).read_bytes()
    elsewhere = forger.forged([project_hooks], project="/somewhere/else")
    version = forger.plant(elsewhere, {project_hooks.archive: archive})
    attacker.is_refused("scope_mismatch", "rollback_to", version=version)
    attacker.is_refused("scope_mismatch", "rollback_to", version=version, scope="project")
    forger.discard(version)


def test_row_33_where_a_manifest_says_it_lay_is_never_written_to(
    attacker: Attacker, forger: Forger, tmp_path: Path
) -> None:
    """Targets come from the view of the session: a path in a manifest is read by people alone, `.git` or not."""
    git = attacker.project / ".git" / "hooks"
    git.mkdir(parents=True)
    trap = tmp_path / "trap"
    trap.mkdir()
    for path in (git, trap):
        target = commands_target(LISTED, packed(GOOD + END), str(path))
        version = forger.plant(forger.forged([target]), {target.archive: packed(GOOD + END)})
        attacker.call("rollback_to", version=version)
        assert os.listdir(path) == []
        assert os.listdir(attacker.user / "commands") == ["a.py"]
        attacker.call("undo")
        forger.discard(version)
    shutil.rmtree(attacker.project / ".git")


def test_row_33_a_links_way_into_git_is_unsafe(home: Path, project: Path) -> None:
    """A repository can ship hooks first and a link into `.git/hooks` later: a rollback must not put the one there."""
    realistic(home, project)
    build(project / ".git", {"HEAD": "ref: refs/heads/main\n", "hooks": {"pre-commit.sample": "no\n"}})
    with attacker_in(home, project) as attacker:
        build(project / ".claude" / "hooks", {"post-commit": "#!/bin/sh\necho evil\n"})
        attacker.call("create_backup", version="v1")
        shutil.rmtree(project / ".claude" / "hooks")
        (project / ".claude" / "hooks").symlink_to("../.git/hooks")
        attacker.is_refused("unsafe_path", "rollback_to", version="v1")
        made = attacker.call("create_backup", version="v2")
        assert any("leads into .git" in line for line in made["warnings"])
        attacker.is_refused("unsafe_path", "undo")
        assert os.listdir(project / ".git" / "hooks") == ["pre-commit.sample"]
        kinds = {record.draft.event_type for record in records_of(home)}
        assert EventType.MANUAL_ROLLBACK not in kinds
