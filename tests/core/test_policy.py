"""What may be set: defaults and bounds of the design, one field at a time, refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core import policy
from stravinsky_rollback_mcp.core.codec import configuration as codec
from stravinsky_rollback_mcp.core.policy import DEFAULTS, Policy, Value, changed, items, parsed, policy_of, unknown
from stravinsky_rollback_mcp.errors import Code, RollbackError

DESIGN: dict[str, dict[str, Value]] = {
    "backup": {
        "max_versions": 10,
        "max_automatic": 50,
        "max_total_size_mb": 500,
        "retention_days": 365,
        "compression": "gzip",
        "verify_on_creation": True,
        "spot_check_percentage": 10,
        "on_session_start": True,
        "max_file_size_mb": 64,
        "max_entries": 200_000,
        "max_depth": 64,
    },
    "update": {
        "auto_backup_before_update": True,
        "pre_update_checks_enabled": True,
        "post_update_verification_enabled": True,
        "auto_rollback_on_failure": True,
        "auto_rollback_timeout_seconds": 60,
    },
    "recovery": {"enable_auto_recovery": True, "max_recovery_attempts": 3, "recovery_retry_delay_seconds": 5},
    "audit": {
        "enable_audit_logging": True,
        "log_retention_days": 730,
        "log_rotation_size_mb": 50,
        "log_rotation_days": 90,
        "tamper_detection_enabled": True,
    },
    "safety": {
        "require_manual_confirmation_for_rollback": False,
        "fail_safe_on_backup_error": True,
        "disk_space_threshold_mb": 100,
        "lock_timeout_seconds": 5,
    },
}
KEYS = sorted(DEFAULTS)


def good(key: str) -> st.SearchStrategy[Value]:
    """Values that a field takes."""
    default = DEFAULTS[key]
    if isinstance(default, bool):
        return st.booleans()
    return st.just(default) if isinstance(default, str) else st.integers(1, 100)


settings = st.lists(st.sampled_from(KEYS), unique=True).flatmap(
    lambda keys: st.fixed_dictionaries({key: good(key) for key in keys})
)


def test_the_fields_and_defaults_are_those_of_the_design() -> None:
    """One table, compared whole: a field that appears or goes is seen here."""
    expected = {f"{section}.{field}": value for section, fields in DESIGN.items() for field, value in fields.items()}
    assert expected == DEFAULTS
    assert list(DEFAULTS) == [key for key, _ in items(Policy())]
    assert policy.VERSION == "1.0"


@given(settings)
def test_what_is_set_is_what_counts_and_nothing_else_changes(values: dict[str, Value]) -> None:
    """`items` reads back what `policy_of` was given over the defaults."""
    assert dict(items(policy_of(values))) == {**DEFAULTS, **values}


@given(settings)
def test_a_written_file_reads_back(values: dict[str, Value]) -> None:
    """decode(encode(x)) == x."""
    assert codec.decode(codec.encode(values)) == values


@pytest.mark.parametrize("key", KEYS)
def test_every_field_refuses_what_it_is_not_and_never_repeats_it(key: str) -> None:
    """By the name of the source; neither the value nor a guess."""
    odd: list[object] = [
        None,
        "s3cret",
        1.0,
        -1,
        [],
        {},
        10**12,
        *([True] if type(DEFAULTS[key]) is not bool else [1, 0]),
    ]
    for value in odd:
        with pytest.raises(RollbackError) as refused:
            changed(Policy(), key, value, source="THE_SOURCE")
        assert refused.value.code is Code.INVALID_ARGUMENT
        assert refused.value.message.startswith("THE_SOURCE is not ")
        assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("FALSE", False), ("7", 7), ("007", 7), ("gzip", "gzip"), ("", ""), ("-1", "-1"), ("1.0", "1.0")],
)
def test_a_text_stands_for_one_value(text: str, value: Value) -> None:
    """Words and digits; all else stays a text, which no number field takes."""
    assert parsed(text) == value
    assert type(parsed(text)) is type(value)


@given(st.text())
def test_any_text_is_parsed_without_an_error(text: str) -> None:
    """From the environment and the command line, whatever it is."""
    assert isinstance(parsed(text), bool | int | str)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("backup.max_version", "backup.max_versions"),
        ("bakcup", "backup"),
        ("audit.rotation_days", "audit.log_rotation_days"),
        ("safety.nothing_like_it", "safety.lock_timeout_seconds"),
        ("", "backup"),
        (".", "backup.max_versions"),
    ],
)
def test_an_unknown_name_is_answered_with_known_ones(name: str, nearest: str) -> None:
    """The nearest, else those of the section, else all."""
    error = unknown(name)
    assert error.code is Code.INVALID_ARGUMENT
    assert nearest in error.hint


def test_the_environment_never_switches_off_what_protects() -> None:
    """Exactly these, and only off."""
    guards = {key for key in DEFAULTS if policy.is_ignored_from_environment(key, value=False)}
    assert guards == {
        "backup.verify_on_creation",
        "safety.fail_safe_on_backup_error",
        "update.pre_update_checks_enabled",
        "update.post_update_verification_enabled",
        "update.auto_rollback_on_failure",
        "audit.enable_audit_logging",
        "audit.tamper_detection_enabled",
    }
    assert not any(policy.is_ignored_from_environment(key, value=True) for key in DEFAULTS)
