"""The models at the edge: arguments take nothing that was not meant, and results lose nothing that was found."""

import dataclasses
import json
import types
from collections.abc import Iterator
from enum import Enum
from typing import Any, cast, get_args, get_origin

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from stravinsky_rollback_mcp import schema
from stravinsky_rollback_mcp.core import outcome, outcome_keeping
from stravinsky_rollback_mcp.core.model import (
    Actor,
    AuditDraft,
    AuditRecord,
    Chain,
    EventStatus,
    EventType,
)
from stravinsky_rollback_mcp.core.policy import Value
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.server.tools import TOOLS

ARGUMENTS = sorted(
    (model for model in vars(schema).values() if isinstance(model, type) and issubclass(model, schema.Arguments)),
    key=lambda model: model.__name__,
)
RESULTS = sorted(
    (model for model in vars(schema).values() if isinstance(model, type) and issubclass(model, schema.Result)),
    key=lambda model: model.__name__,
)
# The result model that shows each outcome; the audit's page is the one that is not read off field by field.
SHOWN_AS: dict[type, type[BaseModel]] = {
    outcome.Backup: schema.Backup,
    outcome.BackupCreated: schema.CreateBackupResult,
    outcome.BackupList: schema.ListBackupsResult,
    outcome.Restored: schema.RestoreResult,
    outcome.Verified: schema.VerifyResult,
    outcome.Resumed: schema.ResumeResult,
    outcome.Status: schema.StatusResult,
    outcome.UpdateBegun: schema.BeginUpdateResult,
    outcome.UpdateFinished: schema.FinishUpdateResult,
    outcome.ChainVerified: schema.VerifyAuditResult,
    outcome_keeping.CleanedUp: schema.CleanupResult,
    outcome_keeping.Forgotten: schema.ForgetResult,
    outcome_keeping.Adopted: schema.AdoptResult,
    outcome_keeping.Pinning: schema.PinResult,
    outcome_keeping.Configuration: schema.ConfigResult,
}


# --- arguments -----------------------------------------------------------------------------------------------------


def valid(model: type[schema.Arguments]) -> dict[str, Any]:
    """The least that a call must give."""
    required = {name: field.annotation for name, field in model.model_fields.items() if field.is_required()}
    return {name: True if kind is bool else "v1" for name, kind in required.items()}


@pytest.mark.parametrize("model", ARGUMENTS, ids=lambda model: model.__name__)
def test_nothing_is_coerced(model: type[schema.Arguments]) -> None:
    """`"false"` is no boolean and 1 no text: what a field does not take as it is, it refuses (threat model, row 8)."""
    wrong: dict[type, list[object]] = {
        bool: ["false", "true", "1", "", 0, 1, 1.0, None, [], {}],
        int: ["1", "", 1.0, True, False, None, [], {}],
        str: [1, 1.0, True, b"v1", [], {}],
        list: ["hooks", None, {}, (), 1],
    }
    for name, field in model.model_fields.items():
        kinds = {get_origin(part) or part for part in get_args(field.annotation) or [field.annotation]}
        kind = next((kind for kind in (bool, int, list, str) if kind in kinds), str)
        kind = list if get_origin(field.annotation) is list else kind
        for value in wrong[kind]:
            with pytest.raises(RollbackError) as refused:
                schema.arguments_of(model, {**valid(model), name: value})
            assert refused.value.code is Code.INVALID_ARGUMENT, f"{name}={value!r}"
            assert name in refused.value.message
            assert refused.value.hint


@pytest.mark.parametrize("model", ARGUMENTS, ids=lambda model: model.__name__)
@settings(max_examples=50)
@given(values=st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=8)))
def test_any_call_whatever_is_taken_or_refused_by_code(model: type[schema.Arguments], values: dict[str, Any]) -> None:
    """A model may send anything; only these three ends are possible, and a refusal is one printable line."""
    try:
        schema.arguments_of(model, {**valid(model), **values})
    except RollbackError as error:
        refused = error
    else:
        assert values.keys() <= model.model_fields.keys()
        return
    assert refused.code in {Code.INVALID_ARGUMENT, Code.UNKNOWN_ARGUMENT}
    assert str(refused).isprintable()


def test_a_refused_value_is_not_quoted() -> None:
    """Threat model, row 65: validators quote what they refuse; ours must not."""
    for model, name in ((schema.QueryAuditArguments, "event_type"), (schema.RollbackToArguments, "scope")):
        with pytest.raises(RollbackError) as refused:
            schema.arguments_of(model, {**valid(model), name: "s3cret-marker"})
        assert "s3cret" not in str(refused.value)
        with pytest.raises(ValidationError) as raw:
            model.model_validate({**valid(model), name: "s3cret-marker"})
        assert "s3cret" not in str(raw.value)


@pytest.mark.parametrize("model", ARGUMENTS, ids=lambda model: model.__name__)
def test_the_input_schema_and_the_model_agree(model: type[schema.Arguments]) -> None:
    """What a host's own validator lets through, the server takes: the same names, types and bounds."""
    lean = schema.lean_schema(model, for_input=True)
    jsonschema.Draft202012Validator.check_schema(lean)
    validator: Any = jsonschema.Draft202012Validator(lean)
    assert lean["additionalProperties"] is False
    assert set(lean.get("required", ())) == set(valid(model))  # pyright: ignore[reportArgumentType]  # JSON
    samples: list[object] = ["v1", "", 1, 0, -1, 20, 101, 501, True, [], ["a"], [1], "user", "success", "UNDO", 1.5, {}]
    for name in model.model_fields:
        for value in samples:
            call: Any = {**valid(model), name: value}
            try:
                schema.arguments_of(model, call)
            except RollbackError:
                assert not validator.is_valid(call), f"{name}={value!r} is advertised and refused"
            else:
                assert validator.is_valid(call), f"{name}={value!r} is taken and not advertised"


@pytest.mark.parametrize(("name", "words"), [("event_type", EventType), ("status", EventStatus)])
def test_every_known_word_may_be_asked_for(name: str, words: type[Enum]) -> None:
    """All event types and statuses of the contract, and no other spelling; a refusal lists them all."""
    for word in words:
        schema.arguments_of(schema.QueryAuditArguments, {name: word.value})
    with pytest.raises(RollbackError) as refused:
        schema.arguments_of(schema.QueryAuditArguments, {name: "nothing"})
    assert [word.value for word in words if word.value not in refused.value.hint] == []


# --- results -------------------------------------------------------------------------------------------------------


def test_every_field_of_a_result_is_described() -> None:
    """A field is a promise to programs; what it means has its one home here."""
    for model in RESULTS:
        assert [name for name, field in model.model_fields.items() if not field.description] == [], model.__name__


def test_every_tool_has_its_models() -> None:
    """A row of the table names models by text, since they are imported late; each result can speak."""
    for tool in TOOLS:
        assert issubclass(getattr(schema, tool.arguments), schema.Arguments), tool.name
        assert issubclass(getattr(schema, tool.result), schema.Spoken), tool.name


def fields_of(kind: type) -> set[str]:
    """The names of a dataclass's fields."""
    return {field.name for field in dataclasses.fields(kind)}


def test_a_result_shows_every_field_of_its_outcome() -> None:
    """What a use case found and a model does not show would be lost without anybody noticing."""
    for kind, model in SHOWN_AS.items():
        assert fields_of(kind) == set(model.model_fields), kind.__name__


def as_json(value: object) -> object:
    """The JSON that an outcome means: tuples are lists, enums their words, dataclasses objects."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [as_json(item) for item in cast("tuple[object, ...]", value)]
    return value


@pytest.mark.parametrize("kind", SHOWN_AS, ids=lambda kind: kind.__name__)
@settings(max_examples=15)  # drawing whole pages of backups is slow, and each holds many values
@given(data=st.data())
def test_a_result_is_its_outcome_in_json(kind: type, data: st.DataObject) -> None:
    """Tuples, enums, nested and missing values: each comes out as itself, and as the output schema says."""
    found: Any = data.draw(cast("st.SearchStrategy[Any]", st.from_type(kind)))
    result = SHOWN_AS[kind].model_validate(found)
    shown = json.loads(result.model_dump_json())
    assert shown == as_json(found) == result.model_dump(mode="json")
    jsonschema.validate(shown, schema.lean_schema(SHOWN_AS[kind], for_input=False), jsonschema.Draft202012Validator)


names = st.text(max_size=8) | st.binary(max_size=8).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
drafts = st.builds(
    AuditDraft,
    event_type=st.sampled_from(EventType),
    status=st.sampled_from(EventStatus),
    actor=st.builds(Actor, kind=names, name=names, session_id=names, tool=names),
    user_root=names,
    project=st.none() | names,
    version=st.none() | st.text(max_size=8),
    paths=st.lists(names, max_size=2).map(tuple),
    error=st.none() | st.sampled_from(Code),
    details=st.none() | st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=2),
)


@settings(max_examples=50)
@given(st.lists(drafts, max_size=3), st.none() | st.text(max_size=4))
def test_an_audit_page_is_shown_whatever_bytes_are_in_it(found: list[AuditDraft], cursor: str | None) -> None:
    """A session id from the environment or a path may be no UTF-8; the page is an answer all the same."""
    events = tuple(
        AuditRecord(seq=place, event_id=str(place), timestamp="2026-11-23T09:00:00.000Z", draft=draft)
        for place, draft in enumerate(found, 1)
    )
    page = outcome.AuditPage(
        summary="x",
        next_step="",
        notices=(),
        events=events,
        next_cursor=cursor,
        chain=Chain(intact=True, events=len(events), head="00", verified_from_seq=1),
    )
    shown = json.loads(schema.query_audit_result(page).model_dump_json())
    assert [event["seq"] for event in shown["events"]] == [event.seq for event in events]
    for event, draft in zip(shown["events"], found, strict=True):
        assert (event["event_type"], event["status"], event["error"]) == (draft.event_type, draft.status, draft.error)
        assert len(event["paths"]) == len(draft.paths)
    jsonschema.validate(
        shown, schema.lean_schema(schema.QueryAuditResult, for_input=False), jsonschema.Draft202012Validator
    )


# --- lean schemas --------------------------------------------------------------------------------------------------


def nodes(value: object) -> Iterator[dict[str, Any]]:
    """Every JSON object within a value."""
    if isinstance(value, dict):
        yield cast("dict[str, Any]", value)
        value = list(cast("dict[str, object]", value).values())
    for item in cast("list[object]", value) if isinstance(value, list) else []:
        yield from nodes(item)


class Odd(BaseModel):
    """A model whose fields are called like what is left out."""

    title: str
    default: str | None = None
    description: int = 1


def test_leaving_out_titles_never_leaves_out_a_field() -> None:
    """A property may be called title; what goes is the keyword."""
    lean = schema.lean_schema(Odd, for_input=True)
    properties = lean["properties"]
    assert isinstance(properties, dict)
    assert set(properties) == {"title", "default", "description"}  # pyright: ignore[reportUnknownArgumentType]  # JSON
    assert lean["required"] == ["title"]


def test_schemas_are_plain_json_without_titles() -> None:
    """They travel in each session: nothing in them but what a program needs, and the same bytes each time."""
    for model in [*ARGUMENTS, *RESULTS]:
        for_input = issubclass(model, schema.Arguments)
        lean = schema.lean_schema(model, for_input=for_input)
        assert json.dumps(lean) == json.dumps(schema.lean_schema(model, for_input=for_input))
        assert not [node for node in nodes(lean) if isinstance(node.get("title"), str)], model.__name__
        for reference in [node["$ref"] for node in nodes(lean) if "$ref" in node]:
            assert reference.removeprefix("#/$defs/") in lean["$defs"]


def test_union_types_are_spelled_in_one_way() -> None:
    """`X | None` alone, so that the tests above see through every optional field."""
    for model in RESULTS:
        for name, field in model.model_fields.items():
            is_union = isinstance(field.annotation, types.UnionType)
            is_odd = (
                is_union
                and get_args(field.annotation) != get_args(Value)
                and type(None) not in get_args(field.annotation)
            )
            assert not is_odd, f"{model.__name__}.{name}"
