"""The subset of the tar format that archives here consist of: regular files and folders, long names the GNU way.

Written by hand because Python's own writer needs four times as long, and because a reader that knows exactly what
was written can refuse everything else. Any ``tar`` reads the result.
Source: GNU tar manual, "Basic Tar Format"; the long-name record is its ``././@LongLink`` of type ``L``.
"""

from dataclasses import dataclass

from stravinsky_rollback_mcp.errors import Code, RollbackError

BLOCK = 512
END = b"\0" * (2 * BLOCK)
MAX_LONG_NAME = 1 << 16
_LONG_NAME = b"././@LongLink"
_FILE, _FOLDER, _LONG = b"0", b"5", b"L"
# Long names, long link names and PAX records: readers take the whole content of these into memory at once.
_SPOKEN_OF_THE_NEXT = (_LONG, b"K", b"x", b"g", b"X")
_NAME_BYTES = 100
# What is the same in every header: owner and group, time, and all after the type.
_OWNERS = b"0000000\0" * 2
_TIME = b"00000000000\0"
_REST = (b"\0" * 100 + b"ustar  \0").ljust(355, b"\0")
_SUM_OF_THE_REST = sum(_OWNERS + _TIME + b" " * 8 + _REST)
_CHECKSUM = slice(148, 156)
# Mode, owner and group, time, and the owner's names: the manifest has what counts of these.
_IGNORED = (slice(100, 124), slice(136, 148), slice(265, 329))


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One parsed header; ``size_bytes`` of content follow it, padded to whole blocks."""

    name: bytes
    type: bytes
    size_bytes: int

    @property
    def is_folder(self) -> bool:
        """Whether the member is a folder; its name then ended in a slash, which is cut off here."""
        return self.type == _FOLDER

    @property
    def is_long_name(self) -> bool:
        """Whether the content is the name of the next member."""
        return self.type == _LONG


def padding(size_bytes: int) -> bytes:
    """The zero bytes that fill the last block of ``size_bytes`` of content."""
    return b"\0" * (-size_bytes % BLOCK)


def header(name: bytes, mode: int, size_bytes: int, *, folder: bool) -> bytes:
    """The header blocks of one member: no owner, no time, so that equal trees give equal bytes."""
    if folder:
        name += b"/"
    blocks = b""
    if len(name) > _NAME_BYTES:
        content = name + b"\0"
        blocks = _block(_LONG_NAME, b"0000000\0", len(content), _LONG) + content + padding(len(content))
    return blocks + _block(name[:_NAME_BYTES], b"%07o\0" % mode, size_bytes, _FOLDER if folder else _FILE)


def header_bytes(name: bytes, *, folder: bool) -> int:
    """How many bytes the header of one member has."""
    long_bytes = len(name) + folder + 1 if len(name) + folder > _NAME_BYTES else 0
    return BLOCK if not long_bytes else 2 * BLOCK + long_bytes + -long_bytes % BLOCK


def _block(name: bytes, mode: bytes, size_bytes: int, kind: bytes) -> bytes:
    # name, mode, uid, gid, size, mtime, checksum (of all, itself taken as spaces), type, link name, magic and version
    size = b"%011o\0" % size_bytes if size_bytes < 1 << 33 else b"\x80\0\0\0" + size_bytes.to_bytes(8, "big")
    total = sum(name) + sum(mode) + sum(size) + kind[0] + _SUM_OF_THE_REST
    return b"%b%b%b%b%b%06o\0 %b%b" % (name.ljust(_NAME_BYTES, b"\0"), mode, _OWNERS, size, _TIME, total, kind, _REST)


def parse(block: bytes) -> Member | None:
    """The member that a header block announces, None for the zero block that ends an archive.

    Mode, owner and time are ignored. Anything else that this package would not have written is ``archive_unsafe``:
    links, devices, sparse files, PAX records, other sizes, odd checksums. A name or record that is too long to be one
    is ``too_large``: it is not read.
    """
    if block == b"\0" * BLOCK:
        return None
    kind = block[156:157]
    name = block[:_NAME_BYTES].rstrip(b"\0")
    size_bytes = _size(block[124:136])
    if kind in _SPOKEN_OF_THE_NEXT and size_bytes > MAX_LONG_NAME:
        raise RollbackError(
            Code.TOO_LARGE, f"the archive holds a name or record of {size_bytes} bytes.", "choose another backup."
        )
    if kind not in (_FILE, _FOLDER, _LONG):
        raise unsafe("a member that is neither a file nor a folder")
    if b"\0" in name or block[157:257].strip(b"\0"):
        raise unsafe("a member with a link name or a broken name")
    if kind == _LONG and (name != _LONG_NAME or not size_bytes):
        raise unsafe("a long name that is none")
    if kind == _FOLDER and size_bytes:
        raise unsafe("a folder with content")
    expected = _block(name, block[100:108], size_bytes, kind)
    if block == expected:
        return Member(name=name, type=kind, size_bytes=size_bytes)
    if block[_CHECKSUM] != b"%06o\0 " % (sum(block[:148]) + 8 * 0x20 + sum(block[156:])):
        raise unsafe("a header with a wrong checksum")
    if _comparable(block) != _comparable(expected):
        raise unsafe("a header with a name prefix or other fields that are not used here")
    return Member(name=name, type=kind, size_bytes=size_bytes)


def _comparable(block: bytes) -> bytes:
    fields = bytearray(block)
    for ignored in (*_IGNORED, _CHECKSUM):
        fields[ignored] = bytes(ignored.stop - ignored.start)
    return bytes(fields)


def _size(field: bytes) -> int:
    return int.from_bytes(field[4:], "big") if field[:4] == b"\x80\0\0\0" else _octal(field)


def _octal(field: bytes) -> int:
    if field[-1:] != b"\0" or not field[:-1].isdigit():
        raise unsafe("a size or mode that is not an octal number")
    try:
        return int(field[:-1], 8)
    except ValueError as error:
        raise unsafe("a size or mode that is not an octal number") from error


def unsafe(what: str) -> RollbackError:
    """The refusal of an archive that holds something no archive of ours holds."""
    return RollbackError(Code.ARCHIVE_UNSAFE, f"the archive holds {what}.", "choose another backup.")
