"""JSON Schemas as clients are sent them: lean, since they are paid for in every session."""

from functools import cache
from typing import cast

from pydantic import BaseModel

Schema = dict[str, object]


@cache
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
