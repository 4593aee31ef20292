"""What a person may set, with its defaults and bounds: the sections and fields of ``config.json``.

A field is declared once, here: its default gives its type, ``_BOUNDS`` its bounds where they are not the usual ones.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

from stravinsky_rollback_mcp.errors import Code, RollbackError

VERSION = "1.0"
_LARGEST = 999_999_999  # no clock or counter overflows below it
_BOUNDS: Mapping[str, tuple[int, int]] = {
    # Folders are walked by recursion, one open handle each, and a path must fit into an archive's long name (64 KiB).
    "backup.max_depth": (1, 200),
    "backup.spot_check_percentage": (0, 100),
    "recovery.recovery_retry_delay_seconds": (0, _LARGEST),
    "safety.disk_space_threshold_mb": (0, _LARGEST),
}
_WORDS: Mapping[str, tuple[str, ...]] = {"backup.compression": ("gzip",)}
# A project's settings can set the environment of a session: nothing there may switch off what protects the person.
_NEVER_OFF_BY_ENVIRONMENT = frozenset(
    {
        "backup.verify_on_creation",
        "update.pre_update_checks_enabled",
        "update.post_update_verification_enabled",
        "update.auto_rollback_on_failure",
        "audit.enable_audit_logging",
        "audit.tamper_detection_enabled",
        "safety.fail_safe_on_backup_error",
    }
)
Value = bool | int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPolicy:
    """How backups are made and how many are kept; ``max_versions`` counts those that a person named."""

    max_versions: int = 10
    max_automatic: int = 50
    max_total_size_mb: int = 500
    retention_days: int = 365
    compression: str = "gzip"
    verify_on_creation: bool = True
    spot_check_percentage: int = 10
    on_session_start: bool = True
    max_file_size_mb: int = 64
    max_entries: int = 200_000
    max_depth: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePolicy:
    """What an update transaction checks and does."""

    auto_backup_before_update: bool = True
    pre_update_checks_enabled: bool = True
    post_update_verification_enabled: bool = True
    auto_rollback_on_failure: bool = True
    auto_rollback_timeout_seconds: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryPolicy:
    """How often an automatic rollback that fails is tried again, and after how long."""

    enable_auto_recovery: bool = True
    max_recovery_attempts: int = 3
    recovery_retry_delay_seconds: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPolicy:
    """How long the audit is kept and when its log is rotated."""

    enable_audit_logging: bool = True
    log_retention_days: int = 730
    log_rotation_size_mb: int = 50
    log_rotation_days: int = 90
    tamper_detection_enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyPolicy:
    """When to ask, when to refuse, how long to wait."""

    require_manual_confirmation_for_rollback: bool = False
    fail_safe_on_backup_error: bool = True
    disk_space_threshold_mb: int = 100
    lock_timeout_seconds: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that a person may set."""

    backup: BackupPolicy = field(default_factory=BackupPolicy)
    update: UpdatePolicy = field(default_factory=UpdatePolicy)
    recovery: RecoveryPolicy = field(default_factory=RecoveryPolicy)
    audit: AuditPolicy = field(default_factory=AuditPolicy)
    safety: SafetyPolicy = field(default_factory=SafetyPolicy)


def items(policy: Policy) -> Iterator[tuple[str, Value]]:
    """Every ``section.field`` with its value, in the order of the sections."""
    for section in fields(policy):
        for item in fields(getattr(policy, section.name)):
            yield f"{section.name}.{item.name}", getattr(getattr(policy, section.name), item.name)


DEFAULTS: Mapping[str, Value] = dict(items(Policy()))


def changed(policy: Policy, key: str, value: object, *, source: str) -> Policy:
    """The policy with one field set. Raises ``invalid_argument``, which names ``source`` and never the value."""
    problem = _problem(key, value)
    if problem:
        raise RollbackError(Code.INVALID_ARGUMENT, f"{source} is not {problem}.", "correct it and start again.")
    section, _, name = key.partition(".")
    return replace(policy, **{section: replace(getattr(policy, section), **{name: value})})


def policy_of(values: Mapping[str, Value]) -> Policy:
    """The policy in which these fields are set, by ``section.field``. Raises ``invalid_argument``."""
    policy = Policy()
    for key, value in values.items():
        policy = changed(policy, key, value, source=key)
    return policy


def _problem(key: str, value: object) -> str:
    """What the value ought to be; empty when it is that."""
    default = DEFAULTS[key]
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, str):
        return "" if value in _WORDS[key] else f"one of {', '.join(_WORDS[key])}"
    smallest, largest = _BOUNDS.get(key, (1, _LARGEST))
    is_number = isinstance(value, int) and not isinstance(value, bool) and smallest <= value <= largest
    return "" if is_number else f"a whole number from {smallest} to {largest}"


def parsed(text: str) -> Value:
    """The value that a text from the environment or a command line stands for."""
    words: Mapping[str, bool] = {"true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(_LARGEST)) else text


def is_ignored_from_environment(key: str, value: Value) -> bool:
    """Whether an override would switch off what only ``config.json`` may switch off."""
    return key in _NEVER_OFF_BY_ENVIRONMENT and value is False


def unknown(name: str) -> RollbackError:
    """The refusal of a section or field that does not exist, with the nearest one that does."""
    sections = list(dict.fromkeys(key.partition(".")[0] for key in DEFAULTS))
    known = list(DEFAULTS) if "." in name else sections
    own = [key for key in known if key.startswith(f"{name.partition('.')[0]}.")]
    nearest = difflib.get_close_matches(name, known, n=1) or own or known
    return RollbackError(
        Code.INVALID_ARGUMENT, f"there is no section or field {name!a}.", f"did you mean {', '.join(nearest)}?"
    )
