"""``config show`` and ``config set``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from support.attacker import everything, records_of

from stravinsky_rollback_mcp import schema
from stravinsky_rollback_mcp.core.model import EventStatus, EventType
from stravinsky_rollback_mcp.core.policy import DEFAULTS

Run = Callable[..., Result]


@pytest.fixture
def stored(home: Path) -> Path:
    """The file that is written."""
    return home / ".stravinsky" / "rollback" / "config.json"


def _fields(result: Result) -> dict[str, dict[str, Any]]:
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert schema.ConfigResult.model_validate(document).model_dump(mode="json") == document
    return {item.pop("key"): item for item in document["fields"]}


def test_show_tells_every_field_and_where_it_comes_from(run: Run, stored: Path) -> None:
    """Default, the file, a variable: in that order, and nothing is written by looking."""
    fields = _fields(run("config", "show", "--json"))
    assert {key: item["value"] for key, item in fields.items()} == DEFAULTS
    assert {item["source"] for item in fields.values()} == {"default"}
    assert not stored.parent.exists()
    assert run("config", "set", "backup.max_versions", "20").exit_code == 0
    fields = _fields(run("config", "show", "--json", STRAVINSKY_BACKUP_MAX_ENTRIES="7"))
    assert fields["backup.max_versions"] == {"value": 20, "default": 10, "source": "config.json"}
    assert fields["backup.max_entries"]["source"] == "STRAVINSKY_BACKUP_MAX_ENTRIES"
    fields = _fields(run("config", "show", "--json", STRAVINSKY_BACKUP_MAX_VERSIONS="7"))
    assert (fields["backup.max_versions"]["value"], fields["backup.max_versions"]["source"]) == (
        7,
        "STRAVINSKY_BACKUP_MAX_VERSIONS",
    )
    shown = run("config", "show").stdout
    assert "backup.max_versions" in shown
    assert "config.json, else 10" in shown


def test_set_writes_one_field_keeps_the_others_and_is_recorded(run: Run, stored: Path, home: Path) -> None:
    """Both ways: the file is what a person would write by hand, and the next command follows it."""
    run("config", "set", "backup.max_versions", "20")
    done = run("config", "set", "backup.verify_on_creation", "FALSE", "--json")
    assert _fields(done)["backup.verify_on_creation"]["value"] is False
    assert json.loads(stored.read_text(encoding="utf-8")) == {
        "version": "1.0",
        "backup": {"max_versions": 20, "verify_on_creation": False},
    }
    assert stored.stat().st_mode & 0o777 == 0o600
    made = json.loads(run("backup", "create", "v1", "--json").stdout)
    assert "not read back" in made["summary"]
    (first, second) = [
        record.draft for record in records_of(home) if record.draft.event_type is EventType.CONFIG_CHANGED
    ]
    assert first.details == {"field": "backup.max_versions", "was": 10, "is": 20}
    assert second.status is EventStatus.SUCCESS
    assert "it was 20" in run("config", "set", "backup.max_versions", "9").stdout


def test_set_says_when_a_variable_stands_above_it(run: Run, stored: Path) -> None:
    """Else a person would wonder why nothing changed."""
    shown = run("config", "set", "backup.max_versions", "20", STRAVINSKY_BACKUP_MAX_VERSIONS="7").stdout
    assert "STRAVINSKY_BACKUP_MAX_VERSIONS is set here" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("backup.max_version", "1", "backup.max_versions"),
        ("max_versions", "1", "backup"),
        ("bakcup.max_versions", "1", "backup.max_versions"),
        ("backup.max_versions", "0", "a whole number from 1"),
        ("backup.max_versions", "many", "a whole number from 1"),
        ("backup.max_versions", "", "a whole number from 1"),
        ("backup.spot_check_percentage", "101", "from 0 to 100"),
        ("backup.verify_on_creation", "1", "true or false"),
        ("backup.compression", "zstd", "gzip"),
        ("version", "2.0", "backup"),
    ],
)
def test_set_refuses_by_name_and_changes_nothing(
    run: Run, home: Path, project: Path, key: str, value: str, named: str
) -> None:
    """`invalid_argument`, the nearest field or the bounds, the refusal on record, no byte written."""
    run("config", "set", "safety.lock_timeout_seconds", "1")
    before = everything(home, project)
    result = run("config", "set", key, value, "--json")
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert error["code"] == "invalid_argument"
    assert named in error["message"] + error["next"]
    assert everything(home, project) == before
    assert records_of(home)[-1].draft.error == "invalid_argument"


def test_an_override_that_is_not_followed_is_said_by_every_command(run: Run) -> None:
    """Verification is not switched off from outside, and nobody is left to believe it was."""
    variable = {"STRAVINSKY_BACKUP_VERIFY_ON_CREATION": "false"}
    for words in (("status",), ("backup", "list"), ("config", "show"), ("backup", "create", "v1")):
        document = json.loads(run(*words, "--json", **variable).stdout)
        assert any("STRAVINSKY_BACKUP_VERIFY_ON_CREATION is ignored" in notice for notice in document["notices"]), words
