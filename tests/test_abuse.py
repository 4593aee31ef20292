"""Abuse and bad input over MCP, one test a row of the threat model's table: the code, nothing changed, one record.

N in that table: live configuration and backups are byte for byte as before. A: the refusal is in the audit, with code
and digest and without what was asked.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.attacker import Attacker, attacker_in
from support.config import realistic
from support.tree import Fifo, Link, build, snapshot


@pytest.fixture
def attacker(home: Path, project: Path) -> Iterator[Attacker]:
    """An attacker in a session with one backup, `v1`, and a live configuration that differs from it."""
    user, _ = realistic(home, project)
    with attacker_in(home, project) as made:
        made.call("create_backup", version="v1")
        (user / "hooks" / "notify.sh").write_text("changed", encoding="utf-8")
        yield made


# --- names ---------------------------------------------------------------------------------------------------------

TRAVERSALS = ("../../../.claude/hooks", "..", ".", "", "/etc", "/", "~/.claude", "./v1", "v1/", "v1/../v1", "../v1")


def test_row_01_a_path_is_no_version(attacker: Attacker) -> None:
    """An early sketch wrote four files into live hooks for the first of these; looking one up finds nothing."""
    for version in TRAVERSALS:
        attacker.is_refused("invalid_name", "create_backup", version=version)
        attacker.is_refused("not_found", "rollback_to", version=version)


def test_row_02_a_name_cannot_erase_the_configuration(attacker: Attacker) -> None:
    """One call with this name erased `~/.claude` in an early sketch."""
    attacker.is_refused("invalid_name", "create_backup", version="x/../../../../../.claude")
    attacker.is_refused("not_found", "rollback_to", version="x/../../../../../.claude")


ODD_NAMES = (
    *("a/b", "a\\b", "a\0b"),
    *("a\n", "a\r", "\x07", "a\x7f"),
    *("\x1b[31mred", "v\u202e1", "v\ud800", "v\u200b1", "-rf"),
    *(".hidden", " v1", "v 1", "v1.", "v1 "),
    *("CON", "nul.txt", "com1", "LPT9.tar.gz"),
    *("v" * 65, "v" * 100_000, "\uff561"),
    *("v\u0661", "caf\u00e9", "\U0001f600", "%2e%2e"),
    *("C:v1", "*", "$HOME", "{version}"),
)


def test_row_03_an_odd_name_is_refused(attacker: Attacker) -> None:
    """Whole-match ASCII; the `$` form of the same expression would accept the trailing newline."""
    for version in ODD_NAMES:
        attacker.is_refused("invalid_name", "create_backup", version=version)
        attacker.is_refused("not_found", "rollback_to", version=version)


def test_row_03_the_longest_and_the_oddest_honest_names_are_taken(attacker: Attacker) -> None:
    """What the rule allows works: 64 characters, and each sign that it names."""
    for version in ("v" * 64, "0", "v1.2.3-rc.1+build_7", "console", "com10"):
        assert attacker.call("create_backup", version=version)["backup"]["version"] == version


@pytest.mark.parametrize("version", ["v1", "V1"])
def test_row_04_backups_are_immutable(attacker: Attacker, version: str) -> None:
    """Also when only the case differs; an early sketch stored other bytes under the same name."""
    attacker.is_refused("already_exists", "create_backup", version=version)


OURS = (
    *("latest", "LATEST", "live", "Live"),
    *("v1.pre_rollback", "V1.PRE_ROLLBACK", "v1.pre_undo", "v1.pre_redo", "v1.pre_update", "v1.rescue"),
)


def test_row_05_names_of_ours_are_not_for_callers(attacker: Attacker) -> None:
    """A safety backup can be trusted to be one."""
    for version in OURS:
        attacker.is_refused("invalid_name", "create_backup", version=version)


def test_row_06_a_version_is_found_by_its_exact_name_alone(attacker: Attacker) -> None:
    """No prefix, no index, no pattern, no other case: with several matches any of them would be wrong."""
    attacker.call("create_backup", version="v10")
    for version in ("v", "V1", "1", "0", "-1", "latest", "first", "v1*", "v?", "v1.0"):
        text = attacker.is_refused("not_found", "rollback_to", version=version)
        assert "v1" in text


# --- what lies in the configuration --------------------------------------------------------------------------------


def test_row_35_a_link_to_a_private_key_is_a_link(attacker: Attacker, home: Path, tmp_path: Path) -> None:
    """An early sketch copied the key into the archive. Not one byte of it is in the store, packed or not."""
    build(home, {".ssh": {"id_rsa": "PRIVATE-KEY-MARKER " * 40}})
    build(home / ".claude" / "hooks", {"key": Link(str(home / ".ssh" / "id_rsa")), "dir": Link(str(home / ".ssh"))})
    made = attacker.call("create_backup", version="v2")
    assert any("hooks" in warning and "link" in warning for warning in made["warnings"])
    store = home / ".stravinsky" / "rollback" / "backups" / "v2"
    with os.scandir(store) as entries:
        for entry in entries:
            content = Path(entry.path).read_bytes()
            assert b"PRIVATE-KEY-MARKER" not in content
    manifest = json.loads((store / "manifest.json").read_bytes())
    (hooks,) = [target for target in manifest["targets"] if (target["scope"], target["component"]) == ("user", "hooks")]
    recorded = {entry["path"]: entry for entry in hooks["entries"]}
    assert recorded["key"]["type"] == recorded["dir"]["type"] == "symlink"
    assert not [path for path in recorded if path.startswith("dir/")]
    (home / ".claude" / "hooks" / "key").unlink()
    attacker.call("undo")
    assert os.readlink(home / ".claude" / "hooks" / "key") == str(home / ".ssh" / "id_rsa")
    assert (home / ".ssh" / "id_rsa").read_text(encoding="utf-8").startswith("PRIVATE")


def test_row_38_a_fifo_neither_hangs_nor_gets_lost(attacker: Attacker, home: Path) -> None:
    """An early sketch waited for ever. A FIFO among hooks is skipped with a warning, and carried over by a rollback."""
    build(home / ".claude" / "hooks", {"pipe": Fifo()})
    made = attacker.call("create_backup", version="v2")
    assert any("pipe" in warning and "FIFO" in warning for warning in made["warnings"])
    done = attacker.call("rollback_to", version="v1")
    assert any("pipe" in warning for warning in done["warnings"])
    assert snapshot(home / ".claude" / "hooks")[b"pipe"][0] == "fifo"


def test_row_38_a_fifo_in_place_of_settings_is_left_alone(attacker: Attacker, home: Path) -> None:
    """It can neither be recorded nor replaced: the other targets are backed up, a rollback over it is refused."""
    settings = home / ".claude" / "settings.json"
    settings.unlink()
    os.mkfifo(settings)
    made = attacker.call("create_backup", version="v2")
    assert any("settings.json" in warning and "FIFO" in warning for warning in made["warnings"])
    attacker.is_refused("unsupported_file_type", "rollback_to", version="v1")
    assert attacker.call("rollback_to", version="v1", only=["~/.claude/hooks"])["applied"]
    assert snapshot(settings)[b""][0] == "fifo"


# --- scopes --------------------------------------------------------------------------------------------------------


def test_row_99_a_project_is_never_promoted_to_the_user_scope(attacker: Attacker, home: Path, project: Path) -> None:
    """An early sketch restored project hooks into `~/.claude/hooks`: scope is part of target, archive and id."""
    build(project / ".claude" / "hooks", {"evil.py": "print('from the project')\n"})
    attacker.call("create_backup", version="evil")
    (project / ".claude" / "hooks" / "evil.py").unlink()
    attacker.is_refused(
        "scope_mismatch", "rollback_to", version="evil", scope="user", only=[f"{project}/.claude/hooks/evil.py"]
    )
    attacker.call("rollback_to", version="evil", scope="user")
    assert not list(home.rglob("evil.py"))
    attacker.call("rollback_to", version="evil")
    assert (project / ".claude" / "hooks" / "evil.py").exists()
    assert not list((home / ".claude").rglob("evil.py"))


def test_row_99_a_backup_of_one_project_is_not_restored_into_another(
    attacker: Attacker, home: Path, project: Path, tmp_path: Path
) -> None:
    """Identity is the real path: not a copy of the folder, nor a link that bears the old name."""
    moved = tmp_path / "moved"
    project.rename(moved)
    build(project, {".claude": {"hooks": {"mine.py": "mine\n"}}})
    attacker.call("create_backup", version="impostor")
    before = attacker.everything(), snapshot(moved)
    with attacker_in(home, moved) as there:
        there.is_refused("scope_mismatch", "rollback_to", version="v1")
        there.is_refused("scope_mismatch", "rollback_to", version="v1", scope="project")
    assert (attacker.everything(), snapshot(moved)) == before
