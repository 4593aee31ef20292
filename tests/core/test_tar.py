"""The tar subset: what is written any tar reads, and what is read would have been written, but for modes and owners."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tree import snapshot

from stravinsky_rollback_mcp.core import tar
from stravinsky_rollback_mcp.errors import Code, RollbackError

# A name as an archive bears it: relative, no zero byte, no trailing slash.
names = (
    st.lists(st.binary(min_size=1, max_size=255).filter(lambda part: not {0, 47} & set(part)), min_size=1, max_size=6)
    .map(b"/".join)
    .filter(lambda name: not name.endswith(b"/"))
)
MEMBERS: tuple[tuple[bytes, int, bytes | None], ...] = (
    (b"plain.py", 0o644, b"print(1)\n"),
    (b"empty", 0o600, b""),
    (b"-rf", 0o644, b"leading dash"),
    (b"two words", 0o755, b"#!/bin/sh\n"),
    (b"new\nline", 0o644, b"x" * 512),
    (b"caf\xe9.py", 0o644, b"x" * 513),
    ("cafe\u0301".encode(), 0o644, b"NFD"),
    ("caf\u00e9".encode(), 0o644, b"NFC"),
    (b"folder", 0o750, None),
    (b"folder/read-only", 0o500, None),
    (b"folder/" + b"n" * 93, 0o644, b"a name of 100 bytes"),
    (b"folder/" + b"n" * 94, 0o644, b"a name of 101 bytes"),
    (b"folder/" + b"d" * 92, 0o755, None),
    (b"folder/" + b"e" * 93, 0o755, None),
    (b"l" * 255, 0o444, b"longest name"),
    (b"deep", 0o755, None),
    (b"deep/" + b"m" * 255, 0o755, None),
    (b"deep/" + b"m" * 255 + b"/" + b"\xff" * 255, 0o644, b"long and odd"),
)


def archive(members: tuple[tuple[bytes, int, bytes | None], ...] = MEMBERS) -> bytes:
    """An archive made of our blocks; a member without content is a folder."""
    blocks: list[bytes] = []
    for name, mode, content in members:
        size_bytes = len(content or b"")
        blocks += [tar.header(name, mode, size_bytes, folder=content is None), content or b"", tar.padding(size_bytes)]
    return b"".join((*blocks, tar.END))


def announced(blocks: bytes) -> tar.Member:
    """The member that header blocks announce, a long name taken into account."""
    first = tar.parse(blocks[: tar.BLOCK])
    assert first is not None
    if not first.is_long_name:
        assert len(blocks) == tar.BLOCK
        return first
    long_name = blocks[tar.BLOCK : tar.BLOCK + first.size_bytes]
    member = tar.parse(blocks[-tar.BLOCK :])
    assert member is not None
    assert long_name.endswith(b"\0")
    assert long_name.startswith(member.name)
    return tar.Member(name=long_name[:-1], type=member.type, size_bytes=member.size_bytes)


def signed(block: bytes) -> bytes:
    """The block with the checksum that belongs to it: an attacker can add up, too."""
    total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def with_field(offset: int, content: bytes, block: bytes | None = None) -> bytes:
    """A plain file's header with other bytes at one place and a right checksum."""
    block = tar.header(b"a", 0o644, 3, folder=False) if block is None else block
    return signed(block[:offset] + content + block[offset + len(content) :])


def refused(block: bytes, code: Code = Code.ARCHIVE_UNSAFE) -> bool:
    """Whether a header is refused, as unsafe where nothing else is said."""
    try:
        tar.parse(block)
    except RollbackError as error:
        return error.code is code
    return False


def refused_somehow(block: bytes) -> bool:
    """Whether a header is refused, whatever is said of it."""
    return refused(block) or refused(block, Code.TOO_LARGE)


def without_owner(block: bytes) -> bytes:
    """The block with the mode, owner and time that readers here ignore as our writer has them."""
    ours = tar.header(b"a", 0o644, 0, folder=False)
    ignored = (*range(100, 124), *range(136, 148), *range(265, 329))
    return signed(bytes(ours[place] if place in ignored else byte for place, byte in enumerate(block)))


@given(name=names, mode=st.integers(0, 0o777), size_bytes=st.integers(0, (1 << 63) - 1))
def test_every_file_header_is_read_as_it_was_written(name: bytes, mode: int, size_bytes: int) -> None:
    """parse(header(x)) == x for any name bytes and size, 8 GiB and more included (design)."""
    blocks = tar.header(name, mode, size_bytes, folder=False)
    assert len(blocks) % tar.BLOCK == 0
    assert len(blocks) == tar.header_bytes(name, folder=False)
    assert announced(blocks) == tar.Member(name=name, type=b"0", size_bytes=size_bytes)


@given(name=names, mode=st.integers(0, 0o777))
def test_every_folder_header_is_read_as_it_was_written(name: bytes, mode: int) -> None:
    """A folder's name ends in a slash in the archive, as tar has it."""
    blocks = tar.header(name, mode, 0, folder=True)
    member = announced(blocks)
    assert len(blocks) == tar.header_bytes(name, folder=True)
    assert member.is_folder
    assert (member.name, member.size_bytes) == (name + b"/", 0)


@given(name=names, mode=st.integers(0, 0o777), content=st.binary(max_size=1500))
def test_python_reads_every_member(name: bytes, mode: int, content: bytes) -> None:
    """Python's tarfile sees the name's exact bytes, mode, size and content, and no owner or time (design)."""
    whole = archive(((name, mode, content),))
    with tarfile.open(fileobj=io.BytesIO(whole), encoding="utf-8", errors="surrogateescape") as opened:
        (member,) = opened.getmembers()
        reader = opened.extractfile(member)
        assert reader is not None
        assert reader.read() == content
    # tarfile takes a trailing slash away and calls an old-style name with one a folder; ours never end in one.
    assert member.name.encode("utf-8", "surrogateescape") == name
    assert (member.mode, member.size, member.isreg()) == (mode, len(content), True)
    assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)


def test_gnu_tar_extracts_the_same_tree(tmp_path: Path) -> None:
    """A person with only `tar` can restore any backup (design): names, modes and bytes come back."""
    file = tmp_path / "a.tar"
    file.write_bytes(archive())
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-xpf", file, "-C", out], check=True, timeout=60, capture_output=True)
    found = {name: value for name, value in snapshot(out).items() if name}
    assert found == {
        name: ("folder", mode, b"") if content is None else ("file", mode, content) for name, mode, content in MEMBERS
    }
    listed = subprocess.run(["tar", "-tvf", file, "--full-time"], check=True, timeout=60, capture_output=True).stdout
    assert b"1970-01-01" in listed


def test_zero_blocks_end_an_archive() -> None:
    """The end mark is two zero blocks, and one is enough for the parser to stop."""
    assert tar.parse(tar.END[: tar.BLOCK]) is None


def test_every_foreign_type_is_refused() -> None:
    """Hostile input: links, devices, FIFOs, sparse and contiguous files, PAX and unknown flags."""
    known = {*b"05L"}
    flags = [flag for flag in range(256) if flag not in known]
    assert [flag for flag in flags if not refused(with_field(156, bytes([flag])))] == []


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.LNKTYPE,
        tarfile.SYMTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CONTTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_special_members_of_another_writer_are_refused(kind: bytes) -> None:
    """Hostile input: what Python's own writer makes of links and devices."""
    info = tarfile.TarInfo("a")
    info.type, info.linkname = kind, "b"
    assert refused(info.tobuf(tarfile.GNU_FORMAT)[: tar.BLOCK])


def test_pax_headers_are_refused() -> None:
    """Hostile input: an extended header, whose size a reader would have to trust."""
    block = tarfile.TarInfo("é" * 120).tobuf(tarfile.PAX_FORMAT)[: tar.BLOCK]
    assert block[156:157] == b"x"
    assert refused(block)
    assert refused(tarfile.TarInfo.create_pax_global_header({"comment": "x"})[: tar.BLOCK])


def test_owners_modes_and_times_are_ignored(tmp_path: Path) -> None:
    """Hostile input: what GNU tar writes of them, and what is no number at all; the manifest has what counts."""
    (tmp_path / "a").write_text("x", encoding="utf-8")
    made = subprocess.run(["tar", "-cC", tmp_path, "a"], check=True, timeout=60, capture_output=True).stdout
    expected = tar.Member(name=b"a", type=b"0", size_bytes=1)
    assert tar.parse(made[: tar.BLOCK]) == expected
    for offset, content in (
        (100, b"0004755 "),
        (108, b"\xff" * 16),
        (136, b"14000000000\0"),
        (265, b"root"),
        (297, b"x" * 32),
    ):
        assert tar.parse(with_field(offset, content, made[: tar.BLOCK])) == expected


@pytest.mark.parametrize(
    "field",
    [
        b"\xff" * 12,  # -1 in base 256
        b"\xff" * 11 + b"\0",
        b"\x80\0\0\1" + b"\0" * 8,  # 2**64
        b"\x80" + b"\0" * 10 + b"\3",  # 3, but small sizes are octal
        b"-0000000001\0",
        b"0000000000-\0",
        b"+0000000003\0",
        b"00000000003 ",
        b"          3\0",
        b"00000000008\0",
        b"0x000000003\0",
        b"0_000000003\0",
        b"\xd9\xa30000000003"[:11] + b"\0",
        b"\0" * 12,
        b"\0" * 11 + b"3",
    ],
    ids=repr,
)
def test_odd_sizes_are_refused(field: bytes) -> None:
    """Hostile input: negative, overlong and non-octal sizes."""
    assert len(field) == 12
    assert refused(with_field(124, field))


@pytest.mark.parametrize(
    ("offset", "content"),
    [
        pytest.param(157, b"/etc/passwd", id="link name"),
        pytest.param(1, b"\0b", id="zero byte inside the name"),
        pytest.param(257, b"ustar\x0000", id="POSIX magic"),
        pytest.param(329, b"0000001\0", id="device"),
        pytest.param(345, b"../..", id="name prefix, which other readers put before the name"),
        pytest.param(482, b"\1", id="GNU sparse extension"),
        pytest.param(511, b"x", id="last byte"),
    ],
)
def test_fields_that_are_not_used_here_are_refused(offset: int, content: bytes) -> None:
    """Hostile input: another reader may act on a field that ours would pass over."""
    assert refused(with_field(offset, content))


def test_a_folder_with_content_is_refused() -> None:
    """Hostile input: readers disagree on whether a folder's size is followed by content."""
    block = tar.header(b"a", 0o755, 0, folder=True)
    assert refused(with_field(124, b"%011o\0" % 5, block))


@pytest.mark.parametrize("size_bytes", [0, tar.MAX_LONG_NAME + 1, 1 << 30, 1 << 40])
def test_long_names_of_odd_length_are_refused(size_bytes: int) -> None:
    """Hostile input: a long-name record of 1 GiB costs a naive reader 1 GiB of memory."""
    block = tar.header(b"n" * 200, 0o644, 0, folder=False)[: tar.BLOCK]
    field = b"%011o\0" % size_bytes if size_bytes < 1 << 33 else b"\x80\0\0\0" + size_bytes.to_bytes(8, "big")
    code = Code.TOO_LARGE if size_bytes else Code.ARCHIVE_UNSAFE
    assert refused(with_field(124, field, block), code)
    assert tar.parse(with_field(124, b"%011o\0" % 202, block)) is not None


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g", b"X"])
def test_records_about_the_next_member_are_bounded(kind: bytes) -> None:
    """Hostile input: each kind that a naive reader takes into memory whole."""
    block = with_field(156, kind)
    assert refused(with_field(124, b"10000000000\0", block), Code.TOO_LARGE)
    assert refused(with_field(124, b"00000000100\0", block))


def test_a_long_name_record_under_another_name_is_refused() -> None:
    """Hostile input: GNU's record always bears the same name."""
    block = tar.header(b"n" * 200, 0o644, 0, folder=False)[: tar.BLOCK]
    assert refused(with_field(0, b"././@LongLinX", block))


@pytest.mark.parametrize(("name", "folder"), [(b"a", False), (b"b", True), (b"n" * 200, False)])
def test_one_changed_byte_is_refused(name: bytes, folder: bool) -> None:  # noqa: FBT001  # a parameter of the table
    """Every bit of a header counts: any single one flipped, the checksum's own included, is seen."""
    block = tar.header(name, 0o644, 0, folder=folder)[: tar.BLOCK]
    passed = [
        (offset, bit)
        for offset in range(tar.BLOCK)
        for bit in range(8)
        if not refused_somehow(block[:offset] + bytes([block[offset] ^ 1 << bit]) + block[offset + 1 :])
    ]
    assert passed == []


@given(data=st.data())
def test_a_header_is_ours_or_refused(data: st.DataObject) -> None:
    """Hostile input: damaged headers with right checksums parse only if the member is written in the same bytes."""
    block = bytearray(tar.header(data.draw(names), 0o644, data.draw(st.integers(0, 1 << 40)), folder=False))
    del block[tar.BLOCK :]
    for _ in range(data.draw(st.integers(1, 4))):
        offset = data.draw(st.integers(0, tar.BLOCK - 1))
        block[offset] = data.draw(st.integers(0, 255))
    hostile = signed(bytes(block))
    if not refused_somehow(hostile):
        member = tar.parse(hostile)
        assert member is not None
        assert tar._block(member.name, b"0000644\0", member.size_bytes, member.type) == without_owner(hostile)


@given(block=st.binary(min_size=tar.BLOCK, max_size=tar.BLOCK))
def test_noise_is_refused(block: bytes) -> None:
    """Hostile input: random blocks raise the one error and never another."""
    assert refused_somehow(block) or tar.parse(block) is None
