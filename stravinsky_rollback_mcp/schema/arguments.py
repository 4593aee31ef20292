"""What callers send: strict models that refuse what they do not know and coerce nothing."""

import difflib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stravinsky_rollback_mcp.core.model import EventStatus, EventType
from stravinsky_rollback_mcp.errors import Code, RollbackError


def _known_event_type(value: str) -> str:
    return _known_word(value, EventType)


def _known_status(value: str) -> str:
    return _known_word(value, EventStatus)


def _known_word(value: str, words: type[StrEnum]) -> str:
    if value not in words.__members__.values():
        raise ValueError("not a known word")  # the enumeration's own error would quote the value
    return value


EventTypeName = Annotated[
    str, AfterValidator(_known_event_type), Field(json_schema_extra={"enum": [str(item) for item in EventType]})
]
StatusName = Annotated[
    str, AfterValidator(_known_status), Field(json_schema_extra={"enum": [str(item) for item in EventStatus]})
]


class Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class CreateBackupArguments(Arguments):
    version: str | None = Field(None, description="Name for it, e.g. v1.2; made up when omitted")
    note: Annotated[str, Field(max_length=500)] = Field("", description="Why, for people")


class ListBackupsArguments(Arguments):
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: str | None = Field(None, description="next_cursor of the page before")
    path: str | None = Field(None, description="Only backups in which this path changed")
    detail: bool = Field(default=False, description="With the targets of each")
    all_projects: bool = False


class CompareArguments(Arguments):
    version: str | None = Field(None, description="Last known state when omitted")
    other: str | None = Field(None, description="Live when omitted")
    path: str | None = None
    cursor: str | None = None


class RollbackToArguments(Arguments):
    version: str = Field(description="From list_backups, or @previous, @24h, @2026-11-23T09:00:00Z")
    only: list[str] = Field(
        [], description="Paths, e.g. hooks/a.py, or ~/.claude/settings.json#/hooks for one key; all when omitted"
    )
    scope: Literal["user", "project"] | None = None
    accept: list[str] = Field([], description="The lines of confirm_required that the person agreed to, verbatim")
    plan_id: str | None = Field(None, description="From dry_run: do exactly that or refuse")
    dry_run: bool = Field(default=False, description="Only show what would change")


class WalkArguments(Arguments):
    accept: list[str] = Field([], description="The lines of confirm_required that the person agreed to, verbatim")
    plan_id: str | None = Field(None, description="From dry_run: do exactly that or refuse")
    dry_run: bool = Field(default=False, description="Only show what would change")


class CheckConfigArguments(Arguments):
    version: str | None = Field(None, description="Live when omitted")


class QueryAuditArguments(Arguments):
    event_type: EventTypeName | None = None
    version: str | None = None
    status: StatusName | None = None
    path: str | None = None
    since: str | None = Field(None, description="RFC 3339 or 7d, 24h, 30m")
    until: str | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: str | None = None


class BeginUpdateArguments(Arguments):
    version: str = Field(description="What it will be, e.g. v2.0; the result gets this name")
    note: Annotated[str, Field(max_length=500)] = Field("", description="Why, for people")
    version_file: str | None = Field(None, description="The file that the update writes its version into")


class FinishUpdateArguments(Arguments):
    success: bool = Field(description="False takes the update back")
    error: Annotated[str, Field(max_length=500)] = Field("", description="What went wrong")


Model = TypeVar("Model", bound=Arguments)


def arguments_of(model: type[Model], raw: Mapping[str, object]) -> Model:
    """The validated arguments. Raises ``unknown_argument`` or ``invalid_argument`` without quoting any value."""
    known = list(model.model_fields)
    unknown = [name for name in raw if name not in model.model_fields]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"the arguments are {', '.join(known) or 'none'}."
        raise RollbackError(Code.UNKNOWN_ARGUMENT, f"there is no argument {unknown[0][:64]!a}.", hint)
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise RollbackError(Code.INVALID_ARGUMENT, f"`{name}` is missing.", "give it.") from error
        if first["type"] == "value_error":
            words = ", ".join(EventType if name == "event_type" else EventStatus)
            raise RollbackError(
                Code.INVALID_ARGUMENT, f"`{name}` is not one of the known words.", f"choose from {words}."
            ) from error
        raise RollbackError(
            Code.INVALID_ARGUMENT, f"`{name}` is not valid: {first['msg']}.", "correct it; nothing is coerced."
        ) from error
