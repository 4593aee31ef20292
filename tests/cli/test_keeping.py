"""``backup pin``, ``unpin``, ``cleanup``, ``forget``: what a person does to the store, and no tool can."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from support.attacker import everything, records_of
from support.tree import snapshot

from stravinsky_rollback_mcp import schema
from stravinsky_rollback_mcp.core.model import EventType

Run = Callable[..., Result]
Type = Callable[..., tuple[int, str]]


@pytest.fixture
def store(home: Path) -> Path:
    """Where the backups lie."""
    return home / ".stravinsky" / "rollback"


def _json(result: Result, model: type[schema.Spoken]) -> dict[str, Any]:
    """The document on stdout, which is the model and nothing else."""
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert model.model_validate(document).model_dump(mode="json") == document
    return document


def _refused(result: Result) -> str:
    """The code of a refusal with ``--json``."""
    assert result.exit_code == 1
    return json.loads(result.stdout)["error"]["code"]


def _versions(run: Run) -> list[str]:
    return [item["version"] for item in json.loads(run("backup", "list", "--json").stdout)["backups"]]


def _edit(configured: tuple[Path, Path], word: str) -> None:
    (configured[0] / "settings.json").write_text(f'{{"model": "{word}"}}\n', encoding="utf-8")


# --- pins ----------------------------------------------------------------------------------------------------------


def test_a_pinned_backup_says_so_and_outlives_the_limits(run: Run, configured: tuple[Path, Path], store: Path) -> None:
    """Pinned in every list, for whatever process, with the audit's index gone; unpinned it goes like any other."""
    for version in ("v1", "v2", "v3"):
        run("backup", "create", version)
    made = _json(run("backup", "pin", "v1", "--json"), schema.PinResult)
    assert (made["version"], made["pinned"]) == ("v1", True)
    (store / "audit" / "audit.db").unlink(missing_ok=True)
    listed = json.loads(run("backup", "list", "--json").stdout)["backups"]
    assert {item["version"]: item["pinned"] for item in listed} == {"v3": False, "v2": False, "v1": True}
    assert "pinned" in run("backup", "list").stdout
    assert run("backup", "cleanup", "--keep", "1", "--yes").exit_code == 0
    assert _versions(run) == ["v3", "v1"]
    assert "not pinned" in run("backup", "unpin", "v1").stdout
    assert "already" in run("backup", "unpin", "v1").stdout
    run("backup", "cleanup", "--keep", "1", "--yes")
    assert _versions(run) == ["v3"]


def test_pinning_is_recorded_once_and_of_nothing_refused(
    run: Run, configured: tuple[Path, Path], home: Path, project: Path
) -> None:
    """``not_found`` for a name that no backup has; a second time changes nothing."""
    run("backup", "create", "v1")
    run("backup", "pin", "v1")
    before = everything(home, project)
    assert "already pinned" in run("backup", "pin", "v1").stdout
    assert _refused(run("backup", "pin", "nothing", "--json")) == "not_found"
    assert _refused(run("backup", "unpin", "nothing", "--json")) == "not_found"
    assert everything(home, project) == before
    kinds = [record.draft.event_type for record in records_of(home)]
    assert kinds.count(EventType.PINNED) == 1


# --- cleaning up ---------------------------------------------------------------------------------------------------


def test_cleanup_shows_each_backup_with_its_reason_and_a_dry_run_does_nothing(
    run: Run, configured: tuple[Path, Path], store: Path, project: Path
) -> None:
    """What goes, what stays, and why, for people and programs."""
    for version in ("old", "older", "new"):
        run("backup", "create", version)
    run("backup", "pin", "old")
    before = snapshot(store)
    plan = _json(run("backup", "cleanup", "--keep", "1", "--dry-run", "--json"), schema.CleanupResult)
    assert plan["applied"] is False
    assert {(item["version"], item["action"], item["reason"]) for item in plan["backups"]} == {
        ("new", "keep", "newest"),
        ("older", "remove", "backup.max_versions"),
        ("old", "keep", "pinned"),
    }
    assert plan["freed_bytes"] > 0
    shown = run("backup", "cleanup", "--keep", "1", "--dry-run").stdout
    assert "it is the newest of its project" in shown
    assert "it is pinned" in shown
    assert snapshot(store) == before


def test_cleanup_asks_and_then_does_what_was_shown(
    run: Run, at_terminal: Type, configured: tuple[Path, Path], store: Path, project: Path
) -> None:
    """No terminal and no ``--yes``: refused; no: declined; yes: done, one record a backup."""
    for version in ("v1", "v2"):
        run("backup", "create", version)
    refused = run("backup", "cleanup", "--keep", "1", "--json")
    assert _refused(refused) == "confirm_required"
    assert json.loads(refused.stdout)["error"]["lines"] == ["v1"]
    code, shown = at_terminal("backup", "cleanup", "--keep", "1", typed="n\n")
    assert code == 1
    assert "declined" in shown
    assert _versions(run) == ["v2", "v1"]
    code, shown = at_terminal("backup", "cleanup", "--keep", "1", typed="y\n")
    assert code == 0, shown
    assert "1 backup removed" in shown
    assert _versions(run) == ["v2"]
    assert run("backup", "cleanup").exit_code == 0


def test_cleanup_puts_every_damaged_backup_aside(run: Run, configured: tuple[Path, Path], store: Path) -> None:
    """It reads all of them back, whole; `verify` only told."""
    run("backup", "create", "v1")
    _edit(configured, "one")
    run("backup", "create", "v2")
    damaged = store / "backups" / "v1" / "user.settings.json"
    damaged.write_bytes(bytes(reversed(damaged.read_bytes())))
    assert run("backup", "verify").exit_code == 3
    assert _versions(run) == ["v2", "v1"]
    done = _json(run("backup", "cleanup", "--yes", "--json"), schema.CleanupResult)
    fates = {item["version"]: item for item in done["backups"]}
    assert (fates["v1"]["action"], fates["v2"]["action"]) == ("quarantine", "keep")
    assert fates["v1"]["reason"].startswith("archive_mismatch")
    assert (store / "quarantine" / "v1" / "manifest.json").exists()
    statuses = [item["status"] for item in json.loads(run("backup", "list", "--json").stdout)["backups"]]
    assert statuses == ["intact", "quarantined"]
    assert "in quarantine" in run("backup", "list").stdout
    again = _json(run("backup", "cleanup", "--dry-run", "--json"), schema.CleanupResult)
    assert {item["reason"] for item in again["backups"]} == {"newest", "quarantined"}


# --- forgetting ----------------------------------------------------------------------------------------------------


def _put_a_secret(run: Run, configured: tuple[Path, Path], secret: str) -> None:
    """Two backups with a secret in the settings, one before it and one after it; hooks differ from one to the next."""
    for number, word in enumerate(("before", secret, secret, "after")):
        _edit(configured, word)
        for folder in ("hooks", "commands"):
            for root in configured:
                (root / folder / "mark.md").write_text(f"{number}\n", encoding="utf-8")
        for path in (configured[1] / "settings.json", configured[1] / "settings.local.json"):
            path.write_text(f'{{"cleanupPeriodDays": {number}}}\n', encoding="utf-8")
        for name in ("CLAUDE.md", "agents/reviewer.md"):
            (configured[0] / name).write_text(f"{number}\n", encoding="utf-8")
        (configured[1].parent / "CLAUDE.md").write_text(f"{number}\n", encoding="utf-8")
        run("backup", "create", f"v{number}")


def test_forgetting_leaves_no_copy_of_an_archive(
    run: Run, configured: tuple[Path, Path], store: Path, project: Path, home: Path
) -> None:
    """Threat model, row 67: both that hold the secret go, nothing else does; the audit keeps name and hash alone."""
    secret = "sk-not-a-real-key-0123456789"
    _put_a_secret(run, configured, secret)
    plan = _json(run("backup", "forget", "v1", "--dry-run", "--json"), schema.ForgetResult)
    assert (plan["applied"], plan["versions"]) == (False, ["v1", "v2"])
    assert any("undo" in warning for warning in plan["warnings"])
    assert _refused(run("backup", "forget", "v1", "--json")) == "confirm_required"
    before = {name: snapshot(store / "backups" / name) for name in ("v0", "v3")}
    done = _json(run("backup", "forget", "v1", "--yes", "--json"), schema.ForgetResult)
    assert (done["applied"], done["versions"]) == (True, ["v1", "v2"])
    assert {name: snapshot(store / "backups" / name) for name in ("v0", "v3")} == before
    assert _versions(run) == ["v3", "v0"]
    assert [path for path in store.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()] == []
    records = [record.draft for record in records_of(home) if record.draft.event_type is EventType.FORGOTTEN]
    assert [draft.version for draft in records] == ["v1", "v2"]
    for draft in records:
        assert draft.details is not None
        assert draft.details.keys() == {"manifest_sha256"}
        assert draft.paths == ()


def test_forgetting_asks_with_everything_that_goes(run: Run, at_terminal: Type, configured: tuple[Path, Path]) -> None:
    """A hard link or an equal file makes them one; no is no."""
    for version in ("v1", "v2"):
        run("backup", "create", version)
    code, shown = at_terminal("backup", "forget", "v1", typed="n\n")
    assert code == 1
    assert "v1, v2" in shown
    assert "no intact backup is left" in " ".join(shown.split())
    assert _versions(run) == ["v2", "v1"]
    code, shown = at_terminal("backup", "forget", "v1", typed="y\n")
    assert code == 0, shown
    assert _versions(run) == []


def test_a_backup_in_quarantine_can_be_forgotten_which_frees_its_name(
    run: Run, configured: tuple[Path, Path], store: Path
) -> None:
    """Nothing else removes one."""
    run("backup", "create", "bad")
    (store / "backups" / "bad" / "manifest.json").write_bytes(b"{")
    assert run("backup", "cleanup", "--yes").exit_code == 0
    assert run("backup", "create", "bad").exit_code == 1
    assert run("backup", "forget", "bad", "--yes").exit_code == 0
    assert list((store / "quarantine").iterdir()) == []
    assert run("backup", "create", "bad").exit_code == 0


def test_forgetting_what_is_not_there_is_refused(run: Run) -> None:
    """``not_found``, before any store is made."""
    assert _refused(run("backup", "forget", "v1", "--yes", "--json")) == "not_found"
