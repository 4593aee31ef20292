"""The quick look of a hook: it may only say that nothing has changed when nothing has."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.config import realistic

from stravinsky_rollback_mcp.cli import main
from stravinsky_rollback_mcp.disk.watch import is_as_seen, watch_of

START = [sys.executable, "-c", "from stravinsky_rollback_mcp.start import main; main()"]


@pytest.fixture(autouse=True)
def _in_a_hook(home: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Claude Code starts one, in a repository."""
    user, _ = realistic(home, project)
    (project / ".git").mkdir()
    (user / "empty").mkdir()
    monkeypatch.setenv("CLAUDE_PROJECT_DIR", str(project))


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> str:
    """What a hook has kept, as if the last change before it were old."""
    monkeypatch.setattr("stravinsky_rollback_mcp.disk.watch.FRESH_NS", -(10**12))
    done = CliRunner().invoke(main, ["hook"], input=b"{}")
    assert (done.exit_code, done.output) == (0, "")
    path = watch_of(os.environ)
    assert is_as_seen(path)
    return path


def _rewrite(path: Path) -> None:
    """Other bytes of the same length, with the time stamp put back: only ctime tells."""
    status = path.stat()
    content = path.read_bytes()
    path.write_bytes(bytes(255 - byte for byte in content))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES: Mapping[str, Callable[[Path, Path], object]] = {
    "a file written": lambda home, _: (home / ".claude/settings.json").write_text("{}"),
    "the same length and time": lambda home, _: _rewrite(home / ".claude/hooks/guard_bash.py"),
    "a mode": lambda home, _: (home / ".claude/hooks/guard_bash.py").chmod(0o600),
    "a file gone": lambda home, _: (home / ".claude/hooks/guard_bash.py").unlink(),
    "a file more": lambda home, _: (home / ".claude/hooks/new.py").touch(),
    "a target more": lambda home, _: (home / ".claude/workflows").mkdir(),
    "a target gone": lambda home, _: shutil.rmtree(home / ".claude/hooks"),
    "the root gone": lambda home, _: shutil.rmtree(home / ".claude"),
    "a target swapped for a link to a copy": lambda home, _: _linked(home / ".claude/hooks"),
    "the root swapped for a link to a copy": lambda home, _: _linked(home / ".claude"),
    "settings of the project": lambda _, project: (project / ".claude/settings.json").write_text("{ }"),
    "local settings more": lambda _, project: (project / ".claude/settings.local.json").write_text("{}"),
    "memory more": lambda _, project: (project / "CLAUDE.local.md").write_text("x"),
    "another git root": lambda _, project: shutil.move(project / ".git", project.parent / ".git"),
    "our configuration": lambda home, _: (home / ".stravinsky/rollback/config.json").write_text('{"version": "1.0"}'),
    "something unfinished": lambda home, _: (home / ".stravinsky/rollback/recovery/journal.json").write_text("{}"),
    "the audit gone": lambda home, _: (home / ".stravinsky/rollback/audit/operations.log").unlink(),
    "the backup gone": lambda home, _: shutil.rmtree(home / ".stravinsky/rollback/backups"),
    "its manifest rewritten": lambda home, _: [
        _rewrite(path) for path in (home / ".stravinsky/rollback/backups").glob("*/manifest.json")
    ],
}


def _linked(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copytree(path, copy, symlinks=True)
    shutil.rmtree(path)
    path.symlink_to(copy)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_is_seen(watch: str, home: Path, project: Path, change: Callable[[Path, Path], object]) -> None:
    """Whatever a backup would hold differently, or that it is not there any more."""
    change(home, project)
    assert not is_as_seen(watch)


def test_what_no_backup_holds_calls_for_none(watch: str, home: Path, project: Path) -> None:
    """Transcripts, credentials and source code change all the time."""
    (home / ".claude" / "history.jsonl").write_text("x", encoding="utf-8")
    (project / "main.py").write_text("x", encoding="utf-8")
    assert is_as_seen(watch)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"format": 2}', b'{"format": 1}', b'{"format": 1, "tops": [[1]]}', b"[" * 100_000],
    ids=["nothing", "torn", "a list", "null", "newer", "half", "another form", "a tower"],
)
def test_a_damaged_look_is_none(watch: str, content: bytes) -> None:
    """It is a cache: a power cut, or anybody, may leave anything in its place."""
    Path(watch).write_bytes(content)
    assert not is_as_seen(watch)


def test_what_is_no_file_is_none(watch: str) -> None:
    """Neither waited for nor followed."""
    path = Path(watch)
    path.rename(path.with_suffix(".kept"))
    assert not is_as_seen(watch)
    os.mkfifo(path)
    assert not is_as_seen(watch)
    path.unlink()
    path.symlink_to(path.with_suffix(".kept"))
    assert not is_as_seen(watch)


def test_a_change_that_is_too_fresh_is_not_kept(home: Path) -> None:
    """Behind a stamp of this very tick another change could hide; a time in the future never gets older than a look."""
    settings = home / ".claude" / "settings.json"
    future_ns = settings.stat().st_ctime_ns + 10**12
    os.utime(settings, ns=(future_ns, future_ns))
    assert CliRunner().invoke(main, ["hook"], input=b"{}").exit_code == 0
    assert not Path(watch_of(os.environ)).exists()


@pytest.mark.parametrize("name", ["CLAUDE_PROJECT_DIR", "CLAUDE_CONFIG_DIR", "HOME", "STRAVINSKY_BACKUP_MAX_ENTRIES"])
def test_another_environment_has_another_look(home: Path, name: str) -> None:
    """Each of these says what is looked at, or how."""
    assert watch_of({**os.environ, name: str(home / "other")}) != watch_of(os.environ)


def test_a_link_to_the_project_is_followed(home: Path, project: Path) -> None:
    """A link that is turned to another project must not answer for that."""
    link = home / "link"
    link.symlink_to(project)
    first = watch_of({**os.environ, "CLAUDE_PROJECT_DIR": str(link)})
    assert first == watch_of(os.environ)
    link.unlink()
    link.symlink_to(home)
    assert watch_of({**os.environ, "CLAUDE_PROJECT_DIR": str(link)}) != first


@pytest.mark.parametrize("environ", [{}, {"HOME": "/h"}, {"HOME": "h", "CLAUDE_PROJECT_DIR": "/p"}], ids=str)
def test_without_knowing_where_there_is_no_look(environ: Mapping[str, str]) -> None:
    """Then everything is read."""
    assert watch_of(environ) == ""
    assert not is_as_seen("")


def test_a_hook_with_nothing_to_do_imports_nothing(watch: str) -> None:
    """The console script, as it is installed: neither click nor any of ours but the look."""
    program = (
        "import sys\n"
        "from stravinsky_rollback_mcp.start import main\n"
        "sys.argv = ['stravinsky-rollback', 'hook']\n"
        "main()\n"
        "print(sorted(name for name in sys.modules if name == 'click' or name.startswith('stravinsky')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input="{}", capture_output=True, text=True, check=True)
    package = "stravinsky_rollback_mcp"
    assert done.stdout == f"['{package}', '{package}.disk', '{package}.disk.watch', '{package}.start']\n"
    assert json.loads(Path(watch).read_bytes())["format"] == 1
    helped = subprocess.run([*START, "hook", "--help"], capture_output=True, text=True, check=True)
    assert "Usage:" in helped.stdout
