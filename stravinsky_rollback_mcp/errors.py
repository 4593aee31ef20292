"""The one error of the package, and the one table of its codes.

A refusal is a value with four parts: a stable lower-case code (programs act on it), what happened, what to do
next, and context for the caller. Tools show ``code: message Next: hint``; the terminal exits with the code's
number; the audit records the code alone.
"""

from enum import StrEnum


class Code(StrEnum):
    """Every way in which a request can be refused or fail; the words are fixed, programs match on them."""

    INVALID_NAME = "invalid_name"
    INVALID_ARGUMENT = "invalid_argument"
    UNKNOWN_ARGUMENT = "unknown_argument"
    ALREADY_EXISTS = "already_exists"
    NOT_FOUND = "not_found"
    AMBIGUOUS = "ambiguous"
    SCOPE_MISMATCH = "scope_mismatch"
    CONFIRM_REQUIRED = "confirm_required"
    DECLINED = "declined"
    STATE_CHANGED = "state_changed"
    ARCHIVE_UNSAFE = "archive_unsafe"
    ARCHIVE_MISMATCH = "archive_mismatch"
    MANIFEST_INVALID = "manifest_invalid"
    MANIFEST_FORGED = "manifest_forged"
    UNSUPPORTED_VERSION = "unsupported_version"
    TOO_LARGE = "too_large"
    TOO_MANY_FILES = "too_many_files"
    UNSUPPORTED_FILE_TYPE = "unsupported_file_type"
    UNSUPPORTED_NAME = "unsupported_name"
    UNREADABLE = "unreadable"
    UNSTABLE_SOURCE = "unstable_source"
    UNSAFE_PATH = "unsafe_path"
    CROSS_DEVICE = "cross_device"
    NO_SPACE = "no_space"
    UNWRITABLE = "unwritable"
    BUSY = "busy"
    QUOTA = "quota"
    IN_USE = "in_use"
    VALIDATION_FAILED = "validation_failed"
    NOTHING_TO_UNDO = "nothing_to_undo"
    NOTHING_TO_REDO = "nothing_to_redo"
    NO_UPDATE = "no_update"
    UPDATE_IN_PROGRESS = "update_in_progress"
    AUDIT_BROKEN = "audit_broken"
    AUDIT_MISSING = "audit_missing"
    AUDIT_UNWRITABLE = "audit_unwritable"
    NEEDS_ATTENTION = "needs_attention"
    ENV_UNTRUSTED = "env_untrusted"
    STORE_UNTRUSTED = "store_untrusted"
    INTERNAL = "internal"


EXIT_DONE = 0
EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_PROBLEMS_FOUND = 3
EXIT_NEEDS_ATTENTION = 4

_EXIT_CODES = {Code.NEEDS_ATTENTION: EXIT_NEEDS_ATTENTION}


def exit_code(code: Code) -> int:
    """The terminal's exit status for a refusal: 4 when a person must act, else 1."""
    return _EXIT_CODES.get(code, EXIT_REFUSED)


class RollbackError(Exception):
    """A refusal or failure that is shown to the caller.

    ``message`` says what happened and ``hint`` what to do next, both as sentences without values of settings;
    ``lines`` are the exact lines that a ``confirm_required`` asks the caller to repeat, ``plan_id`` the plan that they
    are about; ``notices`` are what everybody should know whatever was asked.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        hint: str = "",
        *,
        lines: tuple[str, ...] = (),
        plan_id: str = "",
        notices: tuple[str, ...] = (),
    ) -> None:
        super().__init__(code, message, hint, lines, plan_id, notices)
        self.code = code
        self.message = message
        self.hint = hint
        self.lines = lines
        self.plan_id = plan_id
        self.notices = notices

    def __str__(self) -> str:
        text = "\n- ".join((f"{self.code}: {self.message}", *self.lines))
        separator = "\n" if self.lines else " "
        told = f"{text}{separator}Next: {self.hint}" if self.hint else text
        return " ".join((told, *(f"Notice: {notice}" for notice in self.notices)))
