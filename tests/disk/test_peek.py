"""The bytes of a live tree are those that its entries promise, or none."""

import hashlib
from pathlib import Path

import pytest

from stravinsky_rollback_mcp.core.model import Entry, EntryType
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError
from stravinsky_rollback_mcp.disk.peek import live_files
from stravinsky_rollback_mcp.errors import Code, RollbackError


def entry(path: str, content: bytes) -> Entry:
    """What a scan said of a file."""
    sha256 = hashlib.sha256(content).hexdigest()
    return Entry(path=path, type=EntryType.FILE, mode=0o644, size_bytes=len(content), sha256=sha256)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A small tree."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/one").write_bytes(b"1")
    (tmp_path / "a/b/two").write_bytes(b"\xff\x00")
    return tmp_path


def test_files_of_a_folder_and_a_file_by_itself(top: Path) -> None:
    """In any order; only what was asked for; the target itself is the empty path."""
    found = live_files(str(top), [entry("a/b/two", b"\xff\x00"), entry("a/one", b"1")])
    assert found == {"a/b/two": b"\xff\x00", "a/one": b"1"}
    assert live_files(str(top / "a/one"), [entry("", b"1")]) == {"": b"1"}


@pytest.mark.parametrize("now", [b"2", b"", b"longer"])
def test_other_content_than_was_seen_is_none(top: Path, now: bytes) -> None:
    """A diff must not show what nobody compared."""
    (top / "a/one").write_bytes(now)
    with pytest.raises((ChangedWhileReadError, RollbackError)):
        live_files(str(top), [entry("a/one", b"1")])


def test_a_link_is_not_followed(top: Path) -> None:
    """Neither in the place of a file nor in that of a folder on the way to it."""
    (top / "a/link").symlink_to("one")
    with pytest.raises(ChangedWhileReadError):
        live_files(str(top), [entry("a/link", b"1")])
    (top / "c").symlink_to("a")
    with pytest.raises(RollbackError) as refused:
        live_files(str(top), [entry("c/one", b"1")])
    assert refused.value.code is Code.UNSTABLE_SOURCE
