"""The folders of backups: one look into each, a manifest read once while it does not change, and bytes that rotted."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from stravinsky_rollback_mcp.core.codec.text import to_readable_json
from stravinsky_rollback_mcp.disk import shelf
from stravinsky_rollback_mcp.disk.shelf import Shelf

ARCHIVE = b"bytes of an archive"
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
MANIFEST = to_readable_json({"targets": [{"archive": "a.tar.gz", "archive_sha256": SHA256}, {"archive": ""}]})
DIGEST = hashlib.sha256(MANIFEST).hexdigest()
SIZES = {"a.tar.gz": len(ARCHIVE)}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The manifests that are read."""
    found: list[str] = []
    honest = shelf.read_file

    def noted(path: str, limit_bytes: int) -> bytes:
        found.append(path)
        return honest(path, limit_bytes)

    monkeypatch.setattr(shelf, "read_file", noted)
    return found


def put(folder: Path, *, age_seconds: int) -> Shelf:
    """One backup whose files were last touched some time ago, as far as ``mtime`` tells; and a look from later on."""
    (folder / "v1").mkdir()
    (folder / "v1" / "manifest.json").write_bytes(MANIFEST)
    (folder / "v1" / "a.tar.gz").write_bytes(ARCHIVE)
    stamp_ns = time.time_ns() - age_seconds * 1_000_000_000
    os.utime(folder / "v1" / "manifest.json", ns=(stamp_ns, stamp_ns))
    return Shelf(str(folder))


def test_an_unchanged_manifest_is_read_once(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one is read again; so is one whose change could hide behind a stamp that is too fresh."""
    made = put(tmp_path, age_seconds=60)
    assert made.is_as_recorded(made.look("v1"), DIGEST, SIZES)
    assert made.is_as_recorded(made.look("v1"), DIGEST, SIZES)
    assert len(reads) == 2, "it had just been made"
    monkeypatch.setattr(shelf, "FRESH_NS", -3_600_000_000_000)
    for _ in range(3):
        assert made.is_as_recorded(made.look("v1"), DIGEST, SIZES)
    assert len(reads) == 3
    (tmp_path / "v1" / "manifest.json").write_bytes(MANIFEST.replace(b"a.tar.gz", b"b.tar.gz"))
    assert not made.is_as_recorded(made.look("v1"), DIGEST, SIZES)
    assert len(reads) == 4


@pytest.mark.parametrize("damage", ["missing", "longer", "a folder", "a link", "no manifest", "nothing"])
def test_a_backup_that_is_not_as_recorded_is_found_by_a_look(tmp_path: Path, damage: str) -> None:
    """Names, kinds and sizes; and a folder that is not there is no error."""
    made = put(tmp_path, age_seconds=0)
    path = tmp_path / "v1" / ("manifest.json" if damage == "no manifest" else "a.tar.gz")
    path.unlink()
    if damage == "longer":
        path.write_bytes(ARCHIVE + b"!")
    elif damage == "a folder":
        path.mkdir()
    elif damage == "a link":
        (tmp_path / "honest").write_bytes(ARCHIVE)
        path.symlink_to(tmp_path / "honest")
    version = "v2" if damage == "nothing" else "v1"
    assert not made.is_as_recorded(made.look(version), DIGEST, SIZES)


def test_what_rotted_behind_an_unchanged_size_is_found_by_reading(tmp_path: Path) -> None:
    """One bit; what two backups share is read once, and counts for both."""
    made = put(tmp_path, age_seconds=0)
    proven: set[tuple[int, int, str]] = set()
    assert not made.has_rotted(made.look("v1"), DIGEST, proven)
    assert len(proven) == 1
    path = tmp_path / "v1" / "a.tar.gz"
    path.write_bytes(bytes([ARCHIVE[0] ^ 1]) + ARCHIVE[1:])
    assert not made.has_rotted(made.look("v1"), DIGEST, proven), "not read again"
    assert made.has_rotted(made.look("v1"), DIGEST, set())
    assert made.has_rotted(made.look("v1"), "0" * 64, proven)
    path.unlink()
    assert made.has_rotted(made.look("v1"), DIGEST, proven)
