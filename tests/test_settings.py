"""Every field of ``config.json`` does something: here is the effect of each, or the place of the test that shows it."""

import ast
import errno
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from support.crash import PERSON, World
from support.tree import build, snapshot

from stravinsky_rollback_mcp.core.codec.opening import Archived, Opening
from stravinsky_rollback_mcp.core.model import EventStatus, EventType
from stravinsky_rollback_mcp.core.outcome import Restored
from stravinsky_rollback_mcp.core.policy import DEFAULTS, AuditPolicy, Value, changed
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit_lines import Prefix
from stravinsky_rollback_mcp.disk.audit_rotation import Rotation
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent, RollbackService

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "stravinsky_rollback_mcp"
YES = Consent(is_given=True)
Test = TypeVar("Test", bound=Callable[..., None])

# Where the effect of the others is shown.
SHOWN_IN: dict[str, str] = {
    "backup.max_versions": "test_retention.py:test_old_named_backups_go_once_undo_does_not_need_them",
    "backup.max_automatic": "test_retention.py:test_automatic_ones_never_push_out_a_named_one",
    "backup.max_total_size_mb": "test_retention.py:test_what_does_not_fit_is_refused_before_anything_is_written",
    "backup.retention_days": "core/test_retention.py:test_age_counts_from_creation_and_never_from_the_future",
    "backup.spot_check_percentage": "test_retention.py:test_creating_puts_damaged_backups_aside_and_goes_on",
    "backup.on_session_start": "test_session_start.py:test_no_backup_is_made_when_the_person_said_so",
    "update.auto_rollback_timeout_seconds": "test_updates.py:test_attempts_end_with_the_time_that_is_configured",
    "audit.enable_audit_logging": ("cli/test_audit.py:test_without_audit_logging_what_history_needs_is_still_recorded"),
    "audit.tamper_detection_enabled": "cli/test_audit.py:test_a_log_that_is_not_checked_says_so",
    "safety.disk_space_threshold_mb": "service/test_room.py:test_without_room_no_backup_begins",
    "safety.lock_timeout_seconds": "test_concurrency.py:test_row_58_the_second_is_busy_within_the_time_allowed",
}


def shows(*keys: str) -> Callable[[Test], Test]:
    """Says of a test that it shows the effect of these fields."""

    def mark(test: Test) -> Test:
        SHOWN_IN.update(dict.fromkeys(keys, f"{Path(__file__).name}:{test.__name__}"))
        return test

    return mark


def configured(
    world: World,
    values: Mapping[str, Value] | None = None,
    *,
    files: Files | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> RollbackService:
    """A process whose ``config.json`` sets these fields."""
    config = world.config()
    policy = config.policy
    for key, value in (values or {}).items():
        policy = changed(policy, key, value, source=key)
    return RollbackService(replace(config, policy=policy), files, wait=wait)


@pytest.fixture
def small(world: World) -> World:
    """A person with one guard, and a project with one command."""
    guard = {"matcher": "Bash", "hooks": [{"type": "command", "command": "python3 ~/.claude/hooks/guard.py"}]}
    settings = json.dumps({"hooks": {"PreToolUse": [guard]}})
    build(world.home, {".claude": {"settings.json": settings, "hooks": {"guard.py": "print(1)\n"}}})
    build(world.project, {".claude": {"commands": {"go.md": "Go.\n"}}})
    return world


def guard(world: World) -> Path:
    """The script that the settings name."""
    return world.home / ".claude" / "hooks" / "guard.py"


def refused(request: Callable[[], object]) -> Code:
    """The code of a refusal."""
    with pytest.raises(RollbackError) as refusal:
        request()
    return refusal.value.code


def go_back(world: World, service: RollbackService) -> Restored:
    """A rollback to v1 of which nobody is asked beforehand."""
    return world.run(service.rollback_to(PERSON, version="v1", consent=Consent()))


# -- backup ---------------------------------------------------------------------------------------------------------


@shows("backup.compression")
def test_there_is_one_way_to_compress_and_it_is_what_is_written(small: World) -> None:
    """``gzip`` alone is taken, so that ``tar`` reads every backup everywhere."""
    assert refused(lambda: configured(small, {"backup.compression": "zstd"})) is Code.INVALID_ARGUMENT
    small.run(configured(small, {"backup.compression": "gzip"}).create_backup(PERSON, version="v1"))
    assert (small.store / "backups" / "v1" / "user.hooks.tar.gz").read_bytes().startswith(b"\x1f\x8b")


@shows("backup.verify_on_creation")
def test_a_disk_that_writes_something_else_is_found_by_reading_back(small: World) -> None:
    """Switched off, the backup is made, and only ``backup verify`` finds it."""
    hits: list[str] = []

    def flip(operation: str, path: str) -> None:
        if operation == "fsync" and path.endswith("user.settings.json"):
            hits.append(path)
            with open(path, "r+b") as file:
                file.write(b"!")

    files = Files(flip)
    assert refused(lambda: small.run(configured(small, files=files).create_backup(PERSON, version="v1"))) in (
        Code.ARCHIVE_MISMATCH,
        Code.ARCHIVE_UNSAFE,
    )
    assert not (small.store / "backups" / "v1").exists()
    hasty = configured(small, {"backup.verify_on_creation": False}, files=files)
    assert small.run(hasty.create_backup(PERSON, version="v1")).created
    assert len(hits) == 2
    assert not small.run(hasty.verify_backups(PERSON)).ok


@shows("backup.max_file_size_mb", "backup.max_entries", "backup.max_depth")
@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("backup.max_file_size_mb", Code.TOO_LARGE),
        ("backup.max_entries", Code.TOO_MANY_FILES),
        ("backup.max_depth", Code.TOO_MANY_FILES),
    ],
)
def test_what_is_larger_than_allowed_is_refused(small: World, key: str, code: Code) -> None:
    """The same tree passes where the bound is the default."""
    build(small.home, {".claude": {"hooks": {"deep": {"deeper": {"big.bin": bytes(1 << 20) + b"x"}}}}})
    assert refused(lambda: small.run(configured(small, {key: 1}).create_backup(PERSON, version="v1"))) is code
    assert small.run(configured(small).create_backup(PERSON, version="v1")).created


# -- update ---------------------------------------------------------------------------------------------------------


@shows("update.auto_backup_before_update")
def test_without_a_backup_of_its_own_an_update_needs_one_that_is_there(small: World) -> None:
    """Off: it begins only where an intact backup holds what is live, and that one is gone back to."""
    service = configured(small, {"update.auto_backup_before_update": False})
    assert refused(lambda: small.run(service.begin_update(PERSON, version="v2"))) is Code.VALIDATION_FAILED
    small.run(service.create_backup(PERSON, version="v1"))
    assert small.run(service.begin_update(PERSON, version="v2")).backup.version == "v1"
    small.run(service.finish_update(PERSON, success=False))
    begun = small.run(configured(small).begin_update(PERSON, version="v3"))
    assert begun.backup.version.endswith(".pre_update")


@shows("update.pre_update_checks_enabled")
def test_checks_before_an_update_can_be_left_out(small: World) -> None:
    """On, a settings file that does not load blocks it: nobody could tell what the update broke."""
    (small.home / ".claude" / "settings.json").write_text("{bad", encoding="utf-8")
    strict = configured(small)
    assert refused(lambda: small.run(strict.begin_update(PERSON, version="v2"))) is Code.VALIDATION_FAILED
    service = configured(small, {"update.pre_update_checks_enabled": False})
    assert small.run(service.begin_update(PERSON, version="v2")).findings == ()


@shows("update.post_update_verification_enabled")
@pytest.mark.parametrize(("is_on", "outcome"), [(True, "rolled_back"), (False, "verified")])
def test_what_an_update_left_is_judged_unless_that_is_off(small: World, outcome: str, *, is_on: bool) -> None:
    """Off, its exit status alone decides."""
    service = configured(small, {"update.post_update_verification_enabled": is_on})
    small.run(service.begin_update(PERSON, version="v2"))
    guard(small).unlink()
    assert small.run(service.finish_update(PERSON, success=True)).outcome == outcome
    assert guard(small).exists() is (outcome == "rolled_back")


@shows("update.auto_rollback_on_failure")
def test_a_failed_update_stays_where_the_person_wants_to_look_first(small: World) -> None:
    """Off: nothing is taken back, and the result says how."""
    service = configured(small, {"update.auto_rollback_on_failure": False})
    small.run(service.begin_update(PERSON, version="v2"))
    guard(small).write_text("print(2)\n", encoding="utf-8")
    finished = small.run(service.finish_update(PERSON, success=False))
    assert (finished.outcome, finished.rollback) == ("needs_attention", None)
    assert guard(small).read_text(encoding="utf-8") == "print(2)\n"
    assert finished.update.backup in finished.next_step


@shows("recovery.enable_auto_recovery", "recovery.max_recovery_attempts", "recovery.recovery_retry_delay_seconds")
@pytest.mark.parametrize(
    ("values", "waits"),
    [
        ({}, [5, 5]),
        ({"recovery.enable_auto_recovery": False}, []),
        ({"recovery.max_recovery_attempts": 4, "recovery.recovery_retry_delay_seconds": 7}, [7, 7, 7]),
    ],
)
def test_a_rollback_that_fails_is_tried_again_as_often_and_late_as_configured(
    small: World, values: dict[str, Value], waits: list[float]
) -> None:
    """Something that cannot be backed up stands where the hooks were, and does not go away."""
    waited: list[float] = []
    service = configured(small, values, wait=waited.append)
    small.run(service.begin_update(PERSON, version="v2"))
    hooks = guard(small).parent
    hooks.rename(small.home / "aside")
    os.mkfifo(hooks)
    assert small.run(service.finish_update(PERSON, success=False)).outcome == "needs_attention"
    assert waited == waits


# -- audit ----------------------------------------------------------------------------------------------------------


@shows("audit.log_rotation_size_mb", "audit.log_rotation_days", "audit.log_retention_days")
def test_the_log_is_put_away_when_it_is_as_large_or_old_as_configured() -> None:
    """A log that begins on January 1, then one behind ten archives; just below each bound nothing happens."""
    rotation = Rotation.of(AuditPolicy(log_rotation_size_mb=2, log_rotation_days=10, log_retention_days=100))
    log = Prefix(begun_at="2026-01-01T00:00:00Z", body=100, end=100 + (2 << 20) - 1)
    assert not rotation.is_due(log, Opening(), "2026-01-10T23:59:59Z")
    assert rotation.is_due(replace(log, end=log.end + 1), Opening(), "2026-01-01T00:00:01Z")
    assert rotation.is_due(log, Opening(), "2026-01-11T00:00:00Z")
    ends = [
        f"{datetime(2025, 12, 31, tzinfo=UTC) + timedelta(days=10 * number):%Y-%m-%dT%H:%M:%SZ}" for number in range(10)
    ]
    opening = Opening(archives=tuple(Archived(first_seq=1, last_seq=2, prev="", until=end, sha256="") for end in ends))
    late = replace(log, begun_at="2026-04-09T00:00:00Z")
    assert not rotation.is_due(late, opening, "2026-04-09T23:59:59Z")
    assert rotation.is_due(late, opening, "2026-04-10T00:00:00Z")


# -- safety ---------------------------------------------------------------------------------------------------------


@shows("safety.require_manual_confirmation_for_rollback")
def test_a_person_may_want_to_be_asked_always(small: World) -> None:
    """Off, a restore that makes nothing less safe applies at once."""
    service = configured(small, {"safety.require_manual_confirmation_for_rollback": True})
    small.run(service.create_backup(PERSON, version="v1"))
    guard(small).write_text("print(2)\n", encoding="utf-8")
    assert refused(lambda: go_back(small, service)) is Code.CONFIRM_REQUIRED
    assert go_back(small, configured(small)).applied


@shows("safety.fail_safe_on_backup_error")
def test_without_room_for_a_safety_backup_a_person_may_still_go_back(small: World) -> None:
    """Off: it goes on, says what that means, and so does the audit; on, nothing is changed."""
    small.run(configured(small).create_backup(PERSON, version="v1"))
    before = snapshot(small.home / ".claude")
    guard(small).write_text("print(2)\n", encoding="utf-8")
    edited = snapshot(small.home / ".claude")
    refusals: list[str] = []

    def full(operation: str, path: str) -> None:
        if operation in ("mkdir", "create") and path.startswith(f"{small.store}/backups/"):
            refusals.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert refused(lambda: go_back(small, configured(small, files=Files(full)))) is Code.NO_SPACE
    assert snapshot(small.home / ".claude") == edited
    service = configured(small, {"safety.fail_safe_on_backup_error": False}, files=Files(full))
    done = go_back(small, service)
    assert (done.applied, done.safety_backup, done.undo, len(refusals)) == (True, None, "", 2)
    assert any("cannot be undone" in notice for notice in done.notices)
    assert "undo" not in done.next_step
    assert snapshot(small.home / ".claude") == before
    draft = small.records()[-1].draft
    assert (draft.event_type, draft.status) == (EventType.MANUAL_ROLLBACK, EventStatus.SUCCESS)
    assert (draft.details or {})["safety_backup"] is None
    assert refused(lambda: small.run(service.undo(PERSON, consent=YES))) is Code.NOTHING_TO_UNDO


# -- all of them ----------------------------------------------------------------------------------------------------


def test_every_field_has_a_test_that_shows_what_it_does() -> None:
    """A field that nobody can see the effect of is one that may do nothing."""
    assert SHOWN_IN.keys() == DEFAULTS.keys()
    for key, place in SHOWN_IN.items():
        file, _, name = place.partition(":")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, key


def test_every_field_is_asked_for_somewhere() -> None:
    """Its name is read off a policy by some module other than the one that declares it."""
    asked: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path != PACKAGE / "core" / "policy.py":
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            asked |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and _is_policy(node.value)}
    unused = {key for key in DEFAULTS if key.partition(".")[2] not in asked}
    assert unused == {"backup.compression"}, "it has one word, which is what every archive is"


def _is_policy(node: ast.expr) -> bool:
    """Whether an expression is a policy, or a section of one, by the name that it goes by."""
    names = {"policy", *(key.partition(".")[0] for key in DEFAULTS)}
    return (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")) in names
