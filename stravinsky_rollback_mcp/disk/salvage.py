"""What can still be read of backups for which nothing vouches any more: told to a person, never restored by us."""

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.names import is_version

_READ_BYTES = 1 << 20
_MAX_UNPACKED_BYTES = 1 << 32  # bounds the work on one hostile archive
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """One archive or stored file: ``is_whole`` when it reads to its end, else only its beginning does."""

    version: str
    target_id: str
    path: str
    is_whole: bool
    mtime_ns: int


def remains(*folders: str) -> tuple[Remains, ...]:
    """Everything readable in these folders of backups, newest first; what cannot be read at all is left out."""
    found: list[Remains] = []
    for folder in folders:
        for version in filter(is_version, _names(folder)):
            for name in _names(f"{folder}/{version}"):
                target_id = name.removesuffix(".tar.gz").removesuffix(".json").removesuffix(".txt")
                if target_id.count(".") == 1:
                    found.extend(_remains(version, target_id, f"{folder}/{version}/{name}"))
    return tuple(sorted(found, key=lambda item: item.mtime_ns, reverse=True))


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        # A folder that is not there or cannot be looked into holds nothing that could be offered.
        return []


def _remains(version: str, target_id: str, path: str) -> list[Remains]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            mtime_ns = os.fstat(handle).st_mtime_ns
            size_bytes, is_whole = _read(file.read, is_packed=path.endswith(".gz"))
    except OSError:
        return []
    if not size_bytes:
        return []
    return [Remains(version=version, target_id=target_id, path=path, is_whole=is_whole, mtime_ns=mtime_ns)]


def _read(read: Callable[[int], bytes], *, is_packed: bool) -> tuple[int, bool]:
    """How many bytes come out, and whether they end as they should."""
    unpacker = zlib.decompressobj(_GZIP)
    size_bytes = 0
    while size_bytes < _MAX_UNPACKED_BYTES:
        raw = read(_READ_BYTES)
        if not is_packed:
            size_bytes += len(raw)
            if not raw:
                return size_bytes, True
            continue
        try:
            size_bytes += len(unpacker.decompress(raw, _READ_BYTES))
            while unpacker.unconsumed_tail and size_bytes < _MAX_UNPACKED_BYTES:
                size_bytes += len(unpacker.decompress(unpacker.unconsumed_tail, _READ_BYTES))
        except zlib.error:
            return size_bytes, False
        if unpacker.eof or not raw:
            return size_bytes, unpacker.eof
    return size_bytes, False
