"""Bringing back one key of a settings file, told over MCP: what comes, what stays, how it is taken back.

Real-looking files lose what installers, editors and other sessions take from them; nothing else may change.
"""

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.config import LOCAL_SETTINGS, USER_SETTINGS, realistic
from support.session import Session, session_in
from support.tree import snapshot

KEY = "~/.claude/settings.json#"


@pytest.fixture
def user(home: Path, project: Path) -> Path:
    """The user root of a configuration as people have it."""
    return realistic(home, project)[0]


@pytest.fixture
def session(home: Path, project: Path, user: Path) -> Iterator[Session]:
    """A session with a backup, v1, of everything as it was."""
    with session_in(home, project) as opened:
        opened.call("create_backup", version="v1")
        yield opened


def spelt(value: object, style: str = "plain") -> bytes:
    """Settings as different editors leave them."""
    text = json.dumps(value, indent=4 if style == "crlf" else 2, ensure_ascii=False) + "\n"
    if style == "crlf":
        text = "\ufeff" + text.replace("\n", "\r\n")
    return (json.dumps(value, separators=(",", ":")) if style == "dense" else text).encode()


def without(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    """A copy that lacks what a path of names leads to."""
    copy: Any = json.loads(json.dumps(settings))
    holder = copy
    for name in names[:-1]:
        holder = holder[int(name) if isinstance(holder, list) else name]
    del holder[int(names[-1]) if isinstance(holder, list) else names[-1]]
    return copy


def agreed(session: Session, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a call does once the person has agreed to what the preview shows."""
    preview = session.call(tool, **arguments, dry_run=True)
    return session.call(tool, **arguments, accept=preview["security_changes"], plan_id=preview["plan_id"])


LOST = {
    "an event's hooks": (("hooks", "PreToolUse"), "plain"),
    "an event's hooks in lines of another kind": (("hooks", "PreToolUse"), "crlf"),
    "an event's hooks in one line": (("hooks", "PreToolUse"), "dense"),
    "all hooks": (("hooks",), "plain"),
    "the last event": (("hooks", "SessionStart"), "crlf"),
    "the environment": (("env",), "dense"),
    "one variable": (("env", "EXAMPLE_API_TOKEN"), "plain"),
    "the deny rules": (("permissions", "deny"), "crlf"),
    "the status line": (("statusLine",), "dense"),
    "the first key": (("$schema",), "plain"),
}


@pytest.mark.parametrize(("names", "style"), LOST.values(), ids=LOST.keys())
def test_what_was_lost_comes_back_and_no_other_byte_changes(
    session: Session, user: Path, names: tuple[str, ...], style: str
) -> None:
    """Another edit of the same file stays, mode and link stay, and undo and redo walk over it."""
    path = user / "settings.json"
    original = spelt(USER_SETTINGS, style)
    path.write_bytes(original)
    session.call("create_backup", version="whole")
    damaged = without(USER_SETTINGS, *names) | {"model": "sonnet"}
    path.write_bytes(spelt(damaged, style))
    mode = path.stat().st_mode
    only = [f"{KEY}/{'/'.join(names)}"]
    done = agreed(session, "rollback_to", version="whole", only=only)
    assert done["applied"]
    assert [change["component"] for change in done["changes"] if change["action"] != "none"] == ["settings"]
    # Where the file has one style, the lost part comes back to its very place.
    assert path.read_bytes() == original.replace(b"opus", b"sonnet")
    assert path.stat().st_mode == mode
    again = session.call("rollback_to", version="whole", only=only)
    assert (again["already_at_target"], again["applied"]) == (True, False)
    agreed(session, "undo")
    assert path.read_bytes() == spelt(damaged, style)
    agreed(session, "redo")
    assert path.read_bytes() == original.replace(b"opus", b"sonnet")


def test_hooks_come_back_with_their_scripts(session: Session, user: Path) -> None:
    """contract, `only`: `#/hooks` brings the scripts that it names along, and no other script comes or goes."""
    before = snapshot(user)
    settings = without(USER_SETTINGS, "hooks", "PreToolUse")
    (user / "settings.json").write_bytes(spelt(settings))
    for name in ("guard_bash.py", "guard_secrets.py", "notify.sh", "log_tools.py"):
        (user / "hooks" / name).unlink()
    (user / "hooks" / "new.py").write_text("new", encoding="utf-8")
    done = session.call("rollback_to", version="v1", only=[f"{KEY}/hooks/PreToolUse"])
    hooks = next(change for change in done["changes"] if change["component"] == "hooks")
    assert hooks["added"] == ["guard_bash.py", "guard_secrets.py"]
    assert (hooks["modified"], hooks["removed"]) == ([], [])
    now = snapshot(user)
    gone = {b"hooks/notify.sh", b"hooks/log_tools.py"}
    assert {name for name in before if before[name] != now.get(name)} - {b"hooks"} == gone
    assert now.keys() - before.keys() == {b"hooks/new.py"}
    session.call("rollback_to", version="v1", only=[f"{KEY}/hooks"])
    assert (user / "hooks" / "notify.sh").exists()
    assert not (user / "hooks" / "log_tools.py").exists()


def test_a_script_that_was_changed_comes_back_although_the_key_did_not_change(session: Session, user: Path) -> None:
    """What the key names is as it was, not only the key."""
    guard = user / "hooks" / "guard_bash.py"
    good = guard.read_bytes()
    guard.write_bytes(b"import sys\n")
    done = session.call("rollback_to", version="v1", only=[f"{KEY}/hooks/PreToolUse/0/hooks/0/command"])
    assert [change["component"] for change in done["changes"] if change["action"] != "none"] == ["hooks"]
    assert guard.read_bytes() == good


def test_a_link_brings_what_it_leads_to(session: Session, user: Path) -> None:
    """A command may name a link in the folder; alone it would lead to nothing."""
    settings = json.loads(json.dumps(USER_SETTINGS))
    settings["hooks"]["Stop"][0]["hooks"][0]["command"] = "python3 ~/.claude/hooks/current.py"
    (user / "settings.json").write_bytes(spelt(settings))
    session.call("create_backup", version="linked")
    (user / "settings.json").write_bytes(spelt(without(settings, "hooks", "Stop")))
    for name in ("current.py", "guard_bash.py"):
        (user / "hooks" / name).unlink()
    session.call("rollback_to", version="linked", only=[f"{KEY}/hooks/Stop"])
    assert os.readlink(user / "hooks" / "current.py") == "guard_bash.py"
    assert (user / "hooks" / "guard_bash.py").exists()


def test_keys_files_and_folders_are_one_transaction(session: Session, user: Path, project: Path) -> None:
    """One plan: a key of each settings file, a whole folder, and the scripts that staying settings name."""
    local = project / ".claude" / "settings.local.json"
    local.write_bytes(spelt(without(LOCAL_SETTINGS, "outputStyle") | {"new": 1}))
    (user / "settings.json").write_bytes(spelt(without(USER_SETTINGS, "env") | {"statusLine": {
        "type": "command", "command": "~/.claude/hooks/line.sh"}}))  # fmt: skip
    (user / "hooks" / "line.sh").write_text("echo\n", encoding="utf-8")
    (user / "hooks" / "other.sh").write_text("echo\n", encoding="utf-8")
    only = ["~/.claude/hooks", f"{KEY}/env", f"{local}#/outputStyle", f"{KEY}/env/EDITOR"]
    done = agreed(session, "rollback_to", version="v1", only=only)
    assert json.loads(local.read_bytes()) == LOCAL_SETTINGS | {"new": 1}
    assert json.loads((user / "settings.json").read_bytes())["env"] == USER_SETTINGS["env"]
    # The settings that stay name it: it may not go.
    assert (user / "hooks" / "line.sh").exists()
    assert any("line.sh stays" in warning for warning in done["warnings"])
    assert not (user / "hooks" / "other.sh").exists()
    audited = session.events(event_type="MANUAL_ROLLBACK")
    assert [event["status"] for event in audited] == ["success", "started"]


def test_the_whole_file_covers_its_keys(session: Session, user: Path) -> None:
    """Named both ways, it comes back whole."""
    good = (user / "settings.json").read_bytes()
    (user / "settings.json").write_bytes(spelt({"hooks": {}}))
    agreed(session, "rollback_to", version="v1", only=[f"{KEY}/env", "~/.claude/settings.json", f"{KEY}/never"])
    assert (user / "settings.json").read_bytes() == good


def test_a_key_that_the_backup_lacks_goes(session: Session, user: Path) -> None:
    """contract, `only`: a part that the backup does not have becomes absent."""
    good = (user / "settings.json").read_bytes()
    (user / "settings.json").write_bytes(spelt({**USER_SETTINGS, "disableAllHooks": True}))
    session.call("rollback_to", version="v1", only=[f"{KEY}/disableAllHooks"])
    assert (user / "settings.json").read_bytes() == good


def test_what_gets_less_safe_is_judged_by_the_result(session: Session, user: Path) -> None:
    """A loosening key asks, and the rest of the backup does not matter."""
    (user / "settings.json").write_bytes(spelt({"permissions": {"allow": ["Read(~/notes/**)"], "deny": ["Bash"]}}))
    text = session.refused("rollback_to", version="v1", only=[f"{KEY}/permissions/allow"])
    assert text.startswith("confirm_required: ")
    lines = [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]
    assert len(lines) == 2, lines
    assert all("Bash(git" in line for line in lines)
    session.call("rollback_to", version="v1", only=[f"{KEY}/permissions/allow"], accept=lines)
    assert json.loads((user / "settings.json").read_bytes())["permissions"]["deny"] == ["Bash"]


def test_an_edit_after_the_preview_is_noticed(session: Session, user: Path) -> None:
    """plan_id covers the bytes that would result, whoever changed the rest of the file."""
    path = user / "settings.json"
    path.write_bytes(spelt(without(USER_SETTINGS, "hooks", "Stop")))
    only = [f"{KEY}/hooks/Stop"]
    plan_id = session.call("rollback_to", version="v1", only=only, dry_run=True)["plan_id"]
    assert plan_id == session.call("rollback_to", version="v1", only=only, dry_run=True)["plan_id"]
    edited = spelt(without(USER_SETTINGS, "hooks", "Stop") | {"model": "haiku"})
    path.write_bytes(edited)
    assert session.code("rollback_to", version="v1", only=only, plan_id=plan_id) == "state_changed"
    assert path.read_bytes() == edited


REFUSED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "broken file": (lambda path: path.write_bytes(b'{"a": 1,}'), "/hooks", "validation_failed"),
    "a key twice": (lambda path: path.write_bytes(b'{"hooks": {}, "hooks": {}}'), "/hooks/Stop", "validation_failed"),
    "no file": (lambda path: path.unlink(), "/hooks", "not_found"),
    "an empty file": (lambda path: path.write_bytes(b""), "/hooks", "not_found"),
    "no parent": (lambda path: path.write_bytes(b"{}"), "/hooks/Stop", "not_found"),
    "in neither": (lambda path: path.write_bytes(b"{}"), "/never", "not_found"),
    "no pointer": (lambda path: path.write_bytes(b"{}"), "hooks", "invalid_argument"),
}


@pytest.mark.parametrize(("change", "pointer", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_brought_back_alone_is_refused(
    session: Session, user: Path, home: Path, change: Callable[[Path], object], pointer: str, code: str
) -> None:
    """A stable code, everything as it was, the refusal in the audit, and no value of a setting anywhere."""
    change(user / "settings.json")
    before = snapshot(user), snapshot(home / ".stravinsky" / "rollback" / "backups")
    text = session.refused("rollback_to", version="v1", only=[f"{KEY}{pointer}"])
    assert text.partition(":")[0] == code
    assert "Next: " in text
    assert "not-a-real-token" not in text
    assert (snapshot(user), snapshot(home / ".stravinsky" / "rollback" / "backups")) == before
    assert session.events(event_type="REFUSED", limit=1)[0]["error"] == code


def test_one_server_of_a_project_comes_back(session: Session, project: Path) -> None:
    """`.mcp.json` has keys as well; a name in it may hold what a pointer escapes."""
    servers = {"git/hub": {"command": "npx", "args": ["-y", "server"]}, "other": {"command": "other"}}
    path = project / ".mcp.json"
    path.write_bytes(spelt({"mcpServers": servers}))
    session.call("create_backup", version="servers")
    path.write_bytes(spelt({"mcpServers": {"other": {"command": "newer"}}}))
    agreed(session, "rollback_to", version="servers", only=[".mcp.json#/mcpServers/git~1hub"])
    assert path.read_bytes() == spelt({"mcpServers": servers | {"other": {"command": "newer"}}})


@pytest.mark.skipif(sys.platform != "linux", reason="extended attributes are kept on Linux")
def test_the_file_keeps_what_else_belongs_to_it(session: Session, user: Path) -> None:
    """Mode and extended attributes are the live file's own: only bytes come from the backup."""
    path = user / "settings.json"
    path.write_bytes(spelt(without(USER_SETTINGS, "env")))
    path.chmod(0o440)
    try:
        os.setxattr(path, "user.note", b"mine")
    except OSError:
        pytest.skip("no extended attributes here")
    agreed(session, "rollback_to", version="v1", only=[f"{KEY}/env"])
    assert path.read_bytes() == spelt(USER_SETTINGS)
    assert (stat.S_IMODE(path.stat().st_mode), os.getxattr(path, "user.note")) == (0o440, b"mine")


def test_a_settings_file_that_is_a_link_is_written_where_it_lies(session: Session, user: Path, tmp_path: Path) -> None:
    """Dotfile managers link it: the link stays, the file behind it gets the key."""
    real = tmp_path / "dotfiles" / "claude.json"
    real.parent.mkdir()
    real.write_bytes(spelt(without(USER_SETTINGS, "env")))
    (user / "settings.json").unlink()
    (user / "settings.json").symlink_to(real)
    agreed(session, "rollback_to", version="v1", only=[f"{KEY}/env"])
    assert (user / "settings.json").is_symlink()
    assert real.read_bytes() == spelt(USER_SETTINGS)
