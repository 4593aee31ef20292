"""What callers send and get: strict pydantic models, shared by the server's tools and the terminal's ``--json``.

Arguments refuse what they do not know and coerce nothing. Results are read off the use cases' outcomes, field by
field; a field described here is a promise to programs.
"""

import difflib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stravinsky_rollback_mcp.core.model import AuditRecord, EventStatus, EventType
from stravinsky_rollback_mcp.core.outcome import AuditPage as AuditPageOutcome
from stravinsky_rollback_mcp.errors import Code, RollbackError

Schema = dict[str, object]


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


class RollbackToArguments(Arguments):
    version: str = Field(description="From list_backups")
    only: list[str] = Field([], description="Paths to bring back, e.g. hooks/guard.py; all when omitted")
    scope: Literal["user", "project"] | None = None
    accept: list[str] = Field([], description="The lines of confirm_required that the person agreed to, verbatim")
    plan_id: str | None = Field(None, description="From dry_run: do exactly that or refuse")
    dry_run: bool = Field(default=False, description="Only show what would change")


class WalkArguments(Arguments):
    accept: list[str] = Field([], description="The lines of confirm_required that the person agreed to, verbatim")
    plan_id: str | None = Field(None, description="From dry_run: do exactly that or refuse")
    dry_run: bool = Field(default=False, description="Only show what would change")


class QueryAuditArguments(Arguments):
    event_type: EventTypeName | None = None
    version: str | None = None
    status: StatusName | None = None
    path: str | None = None
    since: str | None = Field(None, description="RFC 3339 or 7d, 24h, 30m")
    until: str | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: str | None = None


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


# -- results --------------------------------------------------------------------------------------------------------


class Result(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class AuditAnchor(Result):
    seq: int = Field(description="Number of the newest audit record")
    head: str = Field(description="Its hash: noted elsewhere, it makes any later rewrite of the audit provable")


class TargetSummary(Result):
    scope: str = Field(description="user or project")
    component: str = Field(description="hooks, commands, settings or local_settings")
    path: str = Field(description="Where it lies; the home folder is ~")
    state: str = Field(description="present, absent or not_recorded (a rollback leaves it alone)")
    files: int = Field(description="Regular files and links")
    size_bytes: int = Field(description="Sum of the file sizes")
    digest: str = Field(description="Equal digests mean equal names, types, modes, links and bytes")


class Backup(Result):
    version: str = Field(description="Its name, for rollback_to")
    created_at: str = Field(description="RFC 3339, UTC")
    kind: str = Field(description="manual, automatic, safety (made before a change of ours) or update")
    made_by: str = Field(description="tool, terminal or hook")
    note: str = Field(description="The caller's words; data, not instructions")
    project: str | None = Field(description="The project it was made in")
    files: int = Field(description="Regular files and links")
    size_bytes: int = Field(description="Sum of the file sizes")
    stored_bytes: int = Field(description="Size of its archives and manifest")
    status: str = Field(description="intact, damaged, quarantined or unsupported")
    problems: list[str] = Field(description="What is wrong with it; empty when intact")
    pinned: bool = Field(description="Kept whatever the retention rules say")
    changed: list[str] = Field(description="Targets that differ from the backup before it")
    targets: list[TargetSummary] | None = Field(description="With detail only")


class Drift(Result):
    target: str = Field(description="scope.component")
    path: str = Field(description="Where it lies")
    noticed_at: str = Field(description="When it was seen to differ from the last known state")
    keys: list[str] = Field(description="Settings keys that differ, where known")


class Current(Result):
    version: str | None = Field(description="The backup that equals what is live, null when none does")
    drift: list[Drift] = Field(description="Targets changed by something else since the last known state")


class Spoken(Result):
    summary: str = Field(description="What happened, in one sentence")
    next_step: str = Field(description="What to do next; empty when nothing")
    notices: list[str] = Field(description="Things to know: drift after a restore, recovered operations")


class CreateBackupResult(Spoken):
    backup: Backup = Field(description="The new backup, or the one that already held this state")
    created: bool = Field(description="False when nothing had changed")
    pruned: list[str] = Field(description="Backups that retention removed")
    warnings: list[str] = Field(description="What is not in the backup")
    audit: AuditAnchor = Field(description="The audit's newest record")


class ListBackupsResult(Spoken):
    backups: list[Backup] = Field(description="Newest first")
    next_cursor: str | None = Field(description="For the next page; null at the end")
    total: int = Field(description="On all pages")
    current: Current = Field(description="What is live")
    user_root: str = Field(description="The person's configuration")
    project_root: str | None = Field(description="The project's; null when it is the person's")
    now: str = Field(description="RFC 3339, UTC")
    store: str = Field(description="Where these backups lie: another server of the same name would say otherwise")
    server_version: str = Field(description="The version of this program")


class Change(Result):
    scope: str = Field(description="user or project")
    component: str = Field(description="hooks, commands, settings or local_settings")
    path: str = Field(description="Where it lies")
    action: str = Field(description="create, replace, remove or none")
    added: list[str] = Field(description="Relative paths, at most 50")
    modified: list[str] = Field(description="Relative paths, at most 50")
    removed: list[str] = Field(description="Relative paths, at most 50")
    added_total: int = Field(description="All of them")
    modified_total: int = Field(description="All of them")
    removed_total: int = Field(description="All of them")
    atomicity: str | None = Field(description="exchange or two_renames; null when nothing was done")
    takes_effect: str = Field(description="now, new_session or reload")


class Undone(Result):
    operation: str = Field(description="The kind of event, or edit")
    at: str = Field(description="When it happened")


class RestoreResult(Spoken):
    applied: bool = Field(description="False on dry_run, or when nothing had to change")
    already_at_target: bool = Field(description="Everything was already as asked")
    plan_id: str = Field(description="Names exactly this change of exactly this state")
    from_version: str | None = Field(description="The backup that equalled what was live")
    to_version: str | None = Field(description="The backup that equals the result")
    safety_backup: str | None = Field(description="Holds what was live before")
    changes: list[Change] = Field(description="By target")
    security_changes: list[str] = Field(description="What gets less safe; to be accepted by the person")
    findings: list[str] = Field(description="What the checks found")
    warnings: list[str] = Field(description="What is not restored")
    duration_ms: int = Field(description="Milliseconds")
    audit: AuditAnchor = Field(description="The audit's newest record")
    undo: str = Field(description="How to take this back")
    undone: Undone | None = Field(description="For undo and redo: what was taken back or brought again")


class ActorResult(Result):
    kind: str = Field(description="mcp_client, terminal, hook or server")
    name: str = Field(description="What it calls itself")
    session_id: str = Field(description="Claude Code's session, where known")
    tool: str = Field(description="The tool or command")
    certainty: str = Field(description="seen, inferred or unknown")


class Event(Result):
    seq: int = Field(description="Place in the chain, from 1")
    event_id: str = Field(description="Unique")
    timestamp: str = Field(description="RFC 3339, UTC")
    event_type: str = Field(description="What happened")
    status: str = Field(description="How it ended")
    version: str | None = Field(description="The backup concerned")
    previous_version: str | None = Field(description="The one before")
    duration_seconds: float | None = Field(description="Seconds")
    actor: ActorResult = Field(description="Who asked")
    paths: list[str] = Field(description="What was touched")
    error: str | None = Field(description="The code of a refusal or failure")
    details: dict[str, object] = Field(description="More, by event type; never values of settings")


class ChainResult(Result):
    intact: bool = Field(description="No record was changed, removed, inserted or moved")
    events: int = Field(description="Good records")
    head: str = Field(description="Hash of the newest")
    verified_from_seq: int = Field(description="First record that this call checked")
    first_bad_seq: int | None = Field(description="The first record that is wrong")
    problem: str | None = Field(description="What is wrong with it")


class QueryAuditResult(Spoken):
    events: list[Event] = Field(description="Newest first")
    next_cursor: str | None = Field(description="For the next page; null at the end")
    chain: ChainResult = Field(description="Whether the log can be believed")


class VerifyResult(Spoken):
    ok: bool = Field(description="Every backup is intact")
    backups: list[Backup] = Field(description="Newest first")


class ResumeResult(Spoken):
    recovered: bool = Field(description="Whether anything was unfinished")


class Operation(Result):
    operation_id: str = Field(description="As in the audit's record")
    event_type: str = Field(description="What it is")
    phase: str = Field(description="STAGING, PREPARED, COMMITTED or ABORTED")
    started_at: str = Field(description="RFC 3339, UTC")
    paths: list[str] = Field(description="What it changes")


class Roots(Result):
    user_root: str = Field(description="The person's configuration")
    project_root: str | None = Field(description="The project's")


class StoreSize(Result):
    path: str = Field(description="Where backups lie")
    backups: int = Field(description="How many")
    stored_bytes: int = Field(description="On disk, shared archives once")


class AuditSize(Result):
    events: int = Field(description="Records")
    head: str = Field(description="Hash of the newest")


class StatusResult(Spoken):
    current: Current = Field(description="What is live")
    roots: Roots = Field(description="What is protected")
    store: StoreSize = Field(description="What is stored")
    operation: Operation | None = Field(description="In flight or unfinished")
    update: None = Field(description="The open update")
    audit: AuditSize = Field(description="The audit")


class VerifyAuditResult(Spoken):
    chain: ChainResult = Field(description="Whether the log can be believed")


def query_audit_result(page: AuditPageOutcome) -> QueryAuditResult:
    """A page of records as callers see them: flat, without what only the program itself needs."""
    return QueryAuditResult(
        summary=page.summary,
        next_step=page.next_step,
        notices=list(page.notices),
        events=[_event(record) for record in page.events],
        next_cursor=page.next_cursor,
        chain=ChainResult.model_validate(page.chain),
    )


def _event(record: AuditRecord) -> Event:
    draft = record.draft
    return Event(
        seq=record.seq,
        event_id=record.event_id,
        timestamp=record.timestamp,
        event_type=draft.event_type,
        status=draft.status,
        version=draft.version,
        previous_version=draft.previous_version,
        duration_seconds=draft.duration_seconds,
        actor=ActorResult(
            kind=_as_utf8(draft.actor.kind),
            name=_as_utf8(draft.actor.name),
            session_id=_as_utf8(draft.actor.session_id),  # from the environment, which may hold any bytes
            tool=_as_utf8(draft.actor.tool),
            certainty=draft.actor.certainty,
        ),
        paths=[_as_utf8(path) for path in draft.paths],
        error=draft.error,
        details=dict(draft.details or {}),
    )


def _as_utf8(text: str) -> str:
    """The text with a question mark for what JSON cannot carry: a lone surrogate would cost the whole answer."""
    return text.encode("utf-8", "replace").decode("utf-8")


# -- JSON Schema ----------------------------------------------------------------------------------------------------


def lean_schema(model: type[BaseModel], *, for_input: bool) -> Schema:
    """The model's JSON Schema without what costs bytes in every session and changes nothing for a program.

    Titles go, and from results the descriptions too: those are for the readers of this file.
    """
    schema = model.model_json_schema(mode="validation" if for_input else "serialization")
    return cast("Schema", _lean(schema, for_input=for_input))


def _lean(node: object, *, for_input: bool) -> object:
    if isinstance(node, list):
        return [_lean(item, for_input=for_input) for item in cast("list[object]", node)]
    if not isinstance(node, dict):
        return node
    members = cast("Schema", node)
    lean: Schema = {}
    for key, value in members.items():
        if key == "title" and isinstance(value, str):
            continue
        if key == "default" and value is None:
            continue
        if key == "description" and not for_input:
            continue
        lean[key] = (
            {name: _lean(item, for_input=for_input) for name, item in cast("Schema", value).items()}
            if key in ("properties", "$defs")
            else _lean(value, for_input=for_input)
        )
    choices = lean.get("anyOf")
    if for_input and isinstance(choices, list):
        # An argument that may be omitted: null is accepted and means the same, but need not be advertised.
        others = [item for item in cast("list[object]", choices) if item != {"type": "null"}]
        if len(others) == 1:
            del lean["anyOf"]
            lean = {**cast("Schema", others[0]), **lean}
    return lean
