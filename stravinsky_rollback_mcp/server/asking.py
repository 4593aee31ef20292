"""Asking the person, where the client offers a form for it: then only their answer counts, never the model's.

Before the protocol of 2026 the server sends the question while the call waits; since then the result of the call is the
question, and the client calls again with the answer. Either way nothing is held meanwhile: no lock, no plan. What the
person saw is named by its plan_id, and whatever is done is planned anew and compared with that.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from stravinsky_rollback_mcp.errors import Code, RollbackError

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    Context = ServerRequestContext[Any, Any]

ANSWER_SECONDS = 300.0  # a person may be away; a call must end all the same
_KEY = "consent"
_AGREED = "apply"
_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        _AGREED: {
            "type": "boolean",
            "title": "Apply this",
            "description": "Yes: do it, less safe settings included. It can be undone.",
        }
    },
    "required": [_AGREED],
}
_TERMINAL = {"rollback_to": "stravinsky-rollback rollback to VERSION"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person was asked about, and what they said; no answer in time, or none that fits, is None."""

    plan_id: str
    lines: tuple[str, ...]
    answer: types.ElicitResult | None


def can_ask(context: "Context") -> bool:
    """Whether the client shows forms to a person; a bare ``elicitation`` means forms, as it did at first."""
    capabilities = context.session.client_capabilities
    offered = None if capabilities is None else capabilities.elicitation
    return offered is not None and (offered.form is not None or offered.url is None)


def asks_by_result(context: "Context") -> bool:
    """Whether the question is the result of the call."""
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


def question_of(operation: str, refusal: RollbackError) -> types.InputRequiredResult:
    """The result that asks; what was asked comes back with the answer."""
    state = {"plan_id": refusal.plan_id, "lines": refusal.lines}
    return types.InputRequiredResult(
        input_requests={_KEY: _request(operation, refusal)}, request_state=json.dumps(state)
    )


def answered(params: types.CallToolRequestParams) -> Asked | None:
    """The answer that a call brings along; None for a call that is the first of its kind, or that we never asked."""
    if not params.input_responses or not params.request_state:
        return None
    try:
        state = cast("dict[str, Any]", json.loads(params.request_state))
        plan_id, lines = str(state["plan_id"]), tuple(str(line) for line in state["lines"])
    except (ValueError, KeyError, TypeError):
        return None
    answer = params.input_responses.get(_KEY)
    return Asked(plan_id=plan_id, lines=lines, answer=answer if isinstance(answer, types.ElicitResult) else None)


async def ask(context: "Context", operation: str, refusal: RollbackError, answer_seconds: float) -> Asked:
    """Put the question while the call waits, for a bounded time."""
    answer = None
    try:
        answer = await context.session.send_request(
            _request(operation, refusal),
            types.ElicitResult,
            request_read_timeout_seconds=answer_seconds,
            metadata=ServerMessageMetadata(related_request_id=context.request_id),
        )
    except (MCPError, ValueError):
        # Out of time, a client that cannot after all, or an answer of no known form: nobody agreed.
        answer = None
    return Asked(plan_id=refusal.plan_id, lines=refusal.lines, answer=answer)


def require_agreement(operation: str, asked: Asked) -> None:
    """Raise ``declined`` unless the person said yes to exactly this."""
    answer = asked.answer
    if answer is not None and answer.action == "accept" and (answer.content or {}).get(_AGREED) is True:
        return
    is_no = answer is not None and answer.action != "cancel"
    terminal = _TERMINAL.get(operation, f"stravinsky-rollback {operation}")
    raise RollbackError(
        Code.DECLINED,
        f"{'the person said no' if is_no else 'nobody answered the question'}; nothing was changed.",
        f"do not try again by yourself; whoever wants it all the same can type `{terminal}` in a terminal.",
    )


def _request(operation: str, refusal: RollbackError) -> types.ElicitRequest:
    lines = "\n".join(f"- {line}" for line in refusal.lines)
    return types.ElicitRequest(
        params=types.ElicitRequestFormParams(
            message=f"{operation} wants your consent: {refusal.message}\n{lines}", requested_schema=_FORM
        )
    )
