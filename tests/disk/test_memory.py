"""What was read and did not change is not read again; anything else is."""

import os
from pathlib import Path

import pytest
from support.tree import build

from stravinsky_rollback_mcp.core.model import Kind, Limits, Scope, Target, Tree
from stravinsky_rollback_mcp.disk import scan as scanning
from stravinsky_rollback_mcp.disk.memory import Memory
from stravinsky_rollback_mcp.disk.place import Place

LIMITS = Limits(max_file_size_bytes=1 << 20, max_entries=100, max_depth=8)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that scans have opened."""
    names: list[str] = []
    honest = scanning.open_regular

    def noted(path: str, name: str, dir_fd: int | None) -> int:
        names.append(name)
        return honest(path, name, dir_fd)

    monkeypatch.setattr(scanning, "open_regular", noted)
    return names


def _look(folder: Path, memory: Memory | None) -> Tree:
    target = Target(scope=Scope.USER, component="hooks", kind=Kind.DIRECTORY, path=str(folder))
    return scanning.scan(Place(target=target, resolved=str(folder), dangling=False), LIMITS, memory=memory).tree


def _age(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (1_600_000_000, 1_600_000_000))


def test_an_unchanged_file_is_read_once(home: Path, opened: list[str]) -> None:
    """The second look opens nothing and sees the same; without a memory everything is read."""
    build(home, {"a.py": "a", "b.py": "b"})
    _age(home)
    memory = Memory()
    first = _look(home, memory)
    assert opened == ["a.py", "b.py"]
    opened.clear()
    assert _look(home, memory) == first
    assert opened == []
    assert _look(home, None) == first
    assert opened == ["a.py", "b.py"]


def test_a_change_behind_the_same_size_and_time_is_seen(home: Path, opened: list[str]) -> None:
    """Whoever sets size and mtime back cannot set ctime back; a file that took another's place has its own inode."""
    build(home, {"a.py": "one", "b.py": "two"})
    _age(home)
    memory = Memory()
    first = _look(home, memory)
    opened.clear()
    (home / "a.py").write_text("eno", encoding="utf-8")
    (home / "new").write_text("owt", encoding="utf-8")
    (home / "new").replace(home / "b.py")
    _age(home)
    second = _look(home, memory)
    assert opened == ["a.py", "b.py"]
    assert [entry.sha256 for entry in first.entries if entry.sha256] != [e.sha256 for e in second.entries if e.sha256]
    assert second == _look(home, None)


def test_what_is_as_new_as_the_look_is_read_again(home: Path, opened: list[str]) -> None:
    """A stamp that is not older than the look may hide a later write: nothing rests on it."""
    build(home, {"a.py": "a"})
    ahead = os.stat(home / "a.py").st_mtime + 3600
    os.utime(home / "a.py", (ahead, ahead))
    memory = Memory()
    _look(home, memory)
    _look(home, memory)
    assert opened == ["a.py", "a.py"]


def test_what_is_gone_is_forgotten(home: Path, opened: list[str]) -> None:
    """The memory holds the last look alone, however long the process lives."""
    build(home, {"a.py": "a"})
    _age(home)
    memory = Memory()
    _look(home, memory)
    (home / "a.py").rename(home.parent / "aside")
    _look(home, memory)
    (home.parent / "aside").rename(home / "a.py")
    opened.clear()
    _look(home, memory)
    assert opened == ["a.py"]
