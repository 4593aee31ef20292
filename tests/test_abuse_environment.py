"""Hostile and broken surroundings, by rows of the threat model.

Row 54: killed, and recovered by the next start. Rows 96, 98 and 100: what a project or its environment slips in. Rows
101 to 104: home, owners, links, locale and limits. Network and case-folding file systems (103), an interpreter below
its patched level and Windows (104) cannot be had here.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.attacker import Attacker, attacker_in, everything, records_of
from support.config import realistic
from support.crash import Case, World, judge, kill_at, prepare
from support.host import MODULE, SCRIPT, TERMINAL, WAIT_SECONDS, ended, process, typed
from support.nursery import SERVER, Program
from support.tree import build, snapshot

from stravinsky_rollback_mcp import config
from stravinsky_rollback_mcp.core.model import EventStatus, EventType
from stravinsky_rollback_mcp.errors import Code, RollbackError

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
OTHER = 12345  # somebody else's number


# --- killed --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """A rollback of several targets that is about to happen, as often as wanted."""
    world = World(tmp_path_factory.mktemp("killed"))
    yield prepare(world, "rich rollback")
    world.close()


def _number(case: Case, operation: str, part: str, which: int, after: int) -> int:
    """The number of the call ``after`` places behind the ``which``-th one of that kind."""
    found = [at for at, (name, path) in enumerate(case.calls, 1) if name == operation and part in path]
    return found[which] + after


POINTS: dict[str, Callable[[Case], int]] = {
    "while the new trees are built": lambda case: _number(case, "symlink", "", 0, 0),
    "before the first exchange": lambda case: _number(case, "renameat2", "", 0, 0),
    "between two exchanges": lambda case: _number(case, "renameat2", "", 1, 0),
    "after the last exchange": lambda case: _number(case, "renameat2", "", -1, 1),
    "after the commit": lambda case: _number(case, "rename", ".gone", 0, 0),
}


@pytest.mark.parametrize("point", POINTS)
def test_row_54_the_next_start_ends_what_was_killed(case: Case, point: str) -> None:
    """SIGKILL in the middle of a rollback; no tool is called: the server's own start finishes it or takes it back."""
    world = case.world
    world.reset()
    assert kill_at(case, POINTS[point](case)) == -9
    recovery = world.store / "recovery"
    assert os.listdir(recovery) != [], "it was killed in the middle"
    assert world.fingerprint() not in (case.old, case.new), "slots are there"
    with process(world.home, world.project) as server:
        server.shake_hands()
        deadline = time.monotonic() + WAIT_SECONDS
        while os.listdir(recovery):
            assert time.monotonic() < deadline, server.errors
            server.answer(server.ask("ping"))
        told = server.call("list_backups")
        is_new = judge(case, point)
    assert is_new == (point == "after the commit")
    recovered = [record.draft for record in world.records() if record.draft.event_type is EventType.CRASH_RECOVERY]
    assert [(draft.status, draft.actor.kind) for draft in recovered] == [(EventStatus.RECOVERED, "server")]
    assert told["total"] >= 1


# --- what the environment slips in ---------------------------------------------------------------------------------


def test_row_96_no_check_is_an_assert(home: Path, project: Path) -> None:
    """Under PYTHONOPTIMIZE an early sketch verified a tampered file as good: its checks were asserts.

    With 2 neither asserts nor docstrings are there; all tests also run under 1.
    """
    realistic(home, project)
    proof = ended([sys.executable, "-c", "assert False; print('unchecked')"], home, project, PYTHONOPTIMIZE="2")
    assert proof.stdout == "unchecked\n"
    backups = home / ".stravinsky" / "rollback" / "backups"
    with process(home, project, command=MODULE, PYTHONOPTIMIZE="2") as server:
        server.shake_hands()
        for version in ("settings", "archive", "manifest", "good"):
            server.call("create_backup", version=version)
            hook = home / ".claude" / "hooks" / "notify.sh"
            hook.write_text(f"{hook.read_text(encoding='utf-8')}#", encoding="utf-8")
        settings = backups / "settings" / "user.settings.json"
        settings.write_bytes(settings.read_bytes().replace(b"vim", b"sh "))
        archive = backups / "archive" / "user.hooks.tar.gz"
        content = bytearray(archive.read_bytes())
        content[len(content) // 2] ^= 1
        archive.unlink()
        archive.write_bytes(content)
        manifest = backups / "manifest" / "manifest.json"
        manifest.write_bytes(manifest.read_bytes().replace(b'"note": ""', b'"note": "x"'))
        (home / ".claude" / "settings.json").write_text("{}", encoding="utf-8")
        before = everything(home, project)
        lines = server.call("rollback_to", version="good", dry_run=True)["security_changes"]
        for version, codes in (
            ("settings", ("archive_mismatch: ",)),
            ("archive", ("archive_mismatch: ", "archive_unsafe: ", "too_large: ")),
            ("manifest", ("manifest_forged: ",)),
        ):
            refusal = server.refusal("rollback_to", version=version, accept=lines)
            assert refusal.startswith(codes), refusal
            assert everything(home, project) == before
        assert server.call("rollback_to", version="good", accept=lines)["applied"]
    refused = [record.draft.error for record in records_of(home) if record.draft.event_type is EventType.REFUSED]
    assert len(refused) == 3


HOSTILE = 'open({marker!r}, "a").close()\n'
NAMES = (
    *("anyio", "mcp", "mcp_types", "pydantic", "pydantic_core", "click", "rich", "isal", "jsonschema"),
    *("typing_extensions", "json", "argparse", "signal", "sqlite3", "secrets", "hashlib", "asyncio", "logging"),
)
EARLY = ("pkgutil", "runpy", "sitecustomize", "stravinsky_rollback_mcp", "_editable_impl_stravinsky_rollback_mcp")


def infest(project: Path, names: tuple[str, ...]) -> Path:
    """A project that ships modules of these names; whoever imports one leaves a file, which is not there yet."""
    marker = project / "executed"
    for name in names:
        build(project, {f"{name}.py": HOSTILE.format(marker=str(marker))})
    return marker


@pytest.mark.parametrize(("command", "names"), [(MODULE, NAMES), (SCRIPT, (*NAMES, *EARLY))], ids=["module", "script"])
def test_row_98_nothing_of_the_working_directory_is_executed(
    home: Path, project: Path, command: tuple[str, ...], names: tuple[str, ...]
) -> None:
    """`-m` puts a project on the module path: it goes before anything else is imported; a script never has it.

    A project that ships a folder with our own name is imported by `-m` in our place: nothing but `-P`, or the script,
    helps against that.
    """
    realistic(home, project)
    marker = infest(project, names)
    proof = ended([sys.executable, "-c", "import anyio"], home, project)
    assert marker.exists(), proof.stderr
    marker.unlink()
    with process(home, project, command=command) as server:
        server.shake_hands()
        server.call("create_backup", version="v1")
        (home / ".claude" / "hooks" / "notify.sh").unlink()
        server.call("rollback_to", version="v1")
        server.call("query_audit")
    assert not marker.exists()


def test_row_98_nothing_of_it_is_executed_by_the_terminal(home: Path, project: Path) -> None:
    """The terminal twin is a script too."""
    realistic(home, project)
    marker = infest(project, (*NAMES, *EARLY))
    done = ended((*TERMINAL, "status", "--json"), home, project)
    assert done.returncode == 0, done.stderr
    assert not marker.exists()


def _poison(project: Path) -> None:
    """Everything that a repository could hope we read as our own."""
    settings = {
        "backup": {"on_session_start": False, "max_entries": 1, "max_depth": 1, "max_file_size_mb": 1},
        "safety": {"lock_timeout_seconds": 999_999},
        "version": "1.0",
    }
    text = json.dumps(settings)
    ours: dict[str | bytes, Any] = {
        "config.json": text,
        "latest.json": "{}",
        "backups": {"evil": {"manifest.json": "{}"}},
    }
    build(
        project,
        {
            "config.json": text,
            "stravinsky.json": text,
            "pyproject.toml": '[tool.stravinsky-rollback]\nstore = "/tmp/evil"\n',
            ".env": "STRAVINSKY_BACKUP_MAX_ENTRIES=1\n",
            ".stravinsky": {"config.json": text, "rollback": ours},
            "settings.schema.json": '{"$schema": "http://127.0.0.1:9/x", "$ref": "http://127.0.0.1:9/y"}',
        },
    )
    build(
        project / ".claude",
        {
            "config.json": text,
            ".stravinsky": {"config.json": text, "rollback": ours},
            "settings.local.json": json.dumps(
                {
                    "$schema": "http://127.0.0.1:9/schema.json",
                    "env": {"STRAVINSKY_BACKUP_MAX_ENTRIES": "1", "HOME": "/tmp/evil", "CLAUDE_CONFIG_DIR": "/tmp"},
                }
            ),
        },
    )


def test_row_100_a_project_configures_nothing_and_nobody_is_called(home: Path, project: Path) -> None:
    """Store, limits and checks are the person's; no schema is fetched, no name resolved, nothing of theirs run."""
    realistic(home, project)
    _poison(project)
    shipped = {path for path in snapshot(project) if b".stravinsky" in path}
    command = (sys.executable, "-c", "from support.host import serve_alone; serve_alone()")
    with process(home, project, command=command, STRAVINSKY_BACKUP_ON_SESSION_START="true") as server:
        server.shake_hands()
        made = server.call("create_backup", version="v1")
        assert made["backup"]["files"] > 20
        listed = server.call("list_backups", all_projects=True)
        assert listed["store"] == "~/.stravinsky/rollback"
        assert "evil" not in {backup["version"] for backup in listed["backups"]}
        (home / ".claude" / "settings.json").write_text("{}", encoding="utf-8")
        shutil.rmtree(project / ".claude" / "hooks")
        preview = server.call("rollback_to", version="v1", dry_run=True)
        assert server.call("rollback_to", version="v1", accept=preview["security_changes"])["applied"]
        server.call("query_audit")
        server.hang_up()
        assert server.end() == 0
        assert "reached out" not in server.errors
    assert {path for path in snapshot(project) if b".stravinsky" in path} == shipped


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/')",
        "import subprocess; subprocess.run(['true'])",
    ],
)
def test_row_100_the_watch_would_have_noticed(home: Path, project: Path, code: str) -> None:
    """The test above can fail."""
    words = [sys.executable, "-c", f"from support.watch import forbid_reaching_out as f; f(); {code}"]
    done = ended(words, home, project)
    assert done.returncode == 99, done.stderr
    assert "reached out" in done.stderr


# --- home and working directory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("for_terminal", [True, False])
@pytest.mark.parametrize("value", [None, "", "relative", "~", ".", "/nowhere/at/all", "/dev/null"])
def test_row_101_a_home_that_is_none_is_untrusted(home: Path, value: str | None, *, for_terminal: bool) -> None:
    """Unset, empty, relative, missing, no folder: in this process, since no child may guess the real home."""
    environ = {} if value is None else {"HOME": value}
    with pytest.raises(RollbackError) as refused:
        config.load(environ, for_terminal=for_terminal)
    assert refused.value.code is Code.ENV_UNTRUSTED
    assert refused.value.hint
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("command", [MODULE, SCRIPT, (*TERMINAL, "backup", "create")], ids=["-m", "script", "terminal"])
def test_row_101_a_deleted_working_directory_is_untrusted(home: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    """One clean line and 1; nothing is written."""
    gone = tmp_path / "gone"
    gone.mkdir()
    words = ("sh", "-c", f'rmdir "{gone}"; exec "$0" "$@"', *command)
    done = ended(words, home, gone)
    assert not gone.exists()
    assert (done.returncode, done.stdout) == (1, "")
    assert "env_untrusted" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(home.iterdir()) == []


def test_row_101_an_empty_home_is_said_in_one_line(home: Path, project: Path) -> None:
    """What a person finds in the client's log."""
    for value in ("", "relative"):
        done = ended(SCRIPT, home, project, HOME=value)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("stravinsky-rollback-mcp: env_untrusted: ")
        assert "Next: " in line


# --- owners, modes, links ------------------------------------------------------------------------------------------


@only_root
@pytest.mark.parametrize("command", [SERVER, typed("backup", "create")], ids=["server", "terminal"])
def test_row_102_root_leaves_another_persons_home_alone(home: Path, project: Path, command: Program) -> None:
    """`sudo` keeps HOME: files of root's in a person's configuration would lock that person out."""
    realistic(home, project)
    os.chown(home, OTHER, OTHER)
    before = everything(home, project)
    done = ended(command, home, project)
    assert done.returncode == 1
    assert "env_untrusted" in done.stderr
    assert everything(home, project) == before


@pytest.fixture
def stored(home: Path, project: Path) -> Iterator[Attacker]:
    """A session with one backup."""
    realistic(home, project)
    with attacker_in(home, project) as made:
        made.call("create_backup", version="v1")
        yield made


def require_untrusted(attacker: Attacker, live: object) -> None:
    """No tool that writes does anything; what is live stays. The audit lies in that store, so it says nothing."""
    for tool, arguments in (
        ("create_backup", {"version": "v2"}),
        ("rollback_to", {"version": "v1"}),
        ("undo", {}),
    ):
        result = attacker.raw(tool, arguments)
        assert result.is_error, tool
        assert getattr(result.content[0], "text", "").startswith("store_untrusted: "), result.content
    assert (snapshot(attacker.user), snapshot(attacker.project)) == live


@only_root
@pytest.mark.parametrize("part", ["", "backups", "audit", "recovery", ".."])
def test_row_102_a_store_of_somebody_else_is_untrusted(stored: Attacker, part: str) -> None:
    """Or a folder of it, or one above it: that person could put anything there."""
    live = snapshot(stored.user), snapshot(stored.project)
    os.chown(stored.home / ".stravinsky" / "rollback" / part, OTHER, OTHER)
    require_untrusted(stored, live)


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o702 | 0o070])
def test_row_102_a_folder_above_that_all_may_write_to_is_untrusted(
    home: Path, project: Path, tmp_path: Path, mode: int
) -> None:
    """Anybody could exchange the store for another."""
    realistic(home, project)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    command = typed("backup", "create", "v1", "--store", str(shared / "deep" / "store"))
    done = ended(command, home, project)
    assert done.returncode == 1
    assert "store_untrusted" in done.stderr
    assert os.listdir(shared) == []
    shared.chmod(0o1777)  # as /tmp is
    assert ended(command, home, project).returncode == 0
    assert snapshot(shared / "deep")[b"store"][1] == 0o700


def test_row_103_a_linked_store_is_resolved(home: Path, project: Path, tmp_path: Path) -> None:
    """People keep it on another disk: what is behind the link is what is checked and used, and the link stays."""
    realistic(home, project)
    (tmp_path / "disk").mkdir(mode=0o755)
    (home / ".stravinsky").mkdir()
    (home / ".stravinsky" / "rollback").symlink_to(tmp_path / "disk")
    good = snapshot(home / ".claude")
    with attacker_in(home, project) as made:
        made.call("create_backup", version="v1")
        (home / ".claude" / "hooks" / "notify.sh").unlink()
        made.call("rollback_to", version="v1")
    assert snapshot(home / ".claude") == good
    assert (home / ".stravinsky" / "rollback").is_symlink()
    assert (tmp_path / "disk" / "backups" / "v1" / "manifest.json").exists()
    assert snapshot(tmp_path / "disk")[b""][1] == 0o700


@pytest.mark.parametrize("kind", ["nothing", "itself", "a file", "a shared folder"])
def test_row_103_a_store_that_leads_nowhere_good_is_untrusted(stored: Attacker, tmp_path: Path, kind: str) -> None:
    """Links to nothing, round in circles, to a file, and into a folder where everybody may write."""
    live = snapshot(stored.user), snapshot(stored.project)
    store = stored.home / ".stravinsky" / "rollback"
    store.rename(store.with_name("aside"))
    shared = tmp_path / "shared"
    build(shared, {"store": {}, "file": "x\n"})
    shared.chmod(0o777)
    places = {"nothing": tmp_path / "nowhere", "itself": store, "a file": shared / "file"}
    store.symlink_to(places.get(kind, shared / "store"))
    require_untrusted(stored, live)
    assert os.listdir(shared / "store") == []
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("part", ["backups", "audit", "recovery"])
def test_row_103_a_part_of_the_store_that_leads_elsewhere_is_made_private(
    stored: Attacker, tmp_path: Path, part: str
) -> None:
    """A link in the store's own folder is the person's, who alone can write there; it may lead to own folders."""
    place = stored.home / ".stravinsky" / "rollback" / part
    shutil.move(place, tmp_path / part)
    place.symlink_to(tmp_path / part)
    (tmp_path / part).chmod(0o755)
    stored.call("create_backup", version="v2")
    assert stored.call("rollback_to", version="v2")["already_at_target"]
    assert snapshot(tmp_path / part)[b""][1] == 0o700
    if os.geteuid() == 0:
        live = snapshot(stored.user), snapshot(stored.project)
        os.chown(tmp_path / part, OTHER, OTHER)
        require_untrusted(stored, live)


# --- locale and limits ---------------------------------------------------------------------------------------------


def test_row_104_the_c_locale_keeps_names(home: Path, project: Path) -> None:
    """What cron and containers run under; names that are no ASCII, or no UTF-8, come back byte for byte."""
    realistic(home, project)
    with process(home, project, command=MODULE, LC_ALL="C") as server:
        server.shake_hands()
        server.call("create_backup", version="v1")
        good = snapshot(home / ".claude")
        assert [path for path in good if not path.isascii()]
        shutil.rmtree(home / ".claude" / "hooks")
        shutil.rmtree(home / ".claude" / "commands")
        server.call("rollback_to", version="v1")
        assert snapshot(home / ".claude") == good
    done = ended((*TERMINAL, "rollback", "to", "v1", "--yes"), home, project, LC_ALL="C")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [SCRIPT, (*TERMINAL, "backup", "create")], ids=["server", "terminal"])
def test_row_104_an_encoding_that_would_lose_names_is_untrusted(
    home: Path, project: Path, command: tuple[str, ...]
) -> None:
    """Where Python is kept from UTF-8 it says so at the start."""
    realistic(home, project)
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    look = [sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"]
    if ended(look, home, project, **ascii_only).stdout.strip() == "utf-8":
        pytest.skip("file names are UTF-8 here, whatever is asked for")
    before = everything(home, project)
    done = ended(command, home, project, **ascii_only)
    assert done.returncode == 1
    assert "env_untrusted" in done.stderr
    assert everything(home, project) == before


def test_row_104_few_open_files_are_enough_or_said(home: Path, project: Path) -> None:
    """`ulimit -n 64`: a deep tree takes a handle a level; too deep a one is refused, and nothing is half done."""
    realistic(home, project)
    deep = home / ".claude" / "hooks" / "/".join(["d"] * 20)
    deep.mkdir(parents=True)
    (deep / "x.py").write_text("x\n", encoding="utf-8")
    limited = ("sh", "-c", 'ulimit -n 64; exec "$0" "$@"')
    with process(home, project, command=(*limited, *SCRIPT)) as server:
        server.shake_hands()
        server.call("create_backup", version="v1")
        good = snapshot(home / ".claude")
        (deep / "x.py").unlink()
        server.call("rollback_to", version="v1")
        assert snapshot(home / ".claude") == good
        (home / ".claude" / "hooks" / "/".join(["e"] * 62)).mkdir(parents=True)
        before = everything(home, project)
        refusal = server.refusal("create_backup", version="v2")
        assert refusal.startswith("unreadable: "), refusal
        assert "Too many open files" in refusal
        assert server.refusal("rollback_to", version="v1").startswith("unreadable: ")
        assert everything(home, project) == before
        shutil.rmtree(home / ".claude" / "hooks" / "e")
        assert server.call("create_backup", version="v2")["created"]
    # The fault takes place: with the usual limit the same tree is taken.
    (home / ".claude" / "hooks" / "/".join(["e"] * 62)).mkdir(parents=True)
    with attacker_in(home, project) as made:
        assert made.call("create_backup", version="v3")["created"]
