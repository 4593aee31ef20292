"""Where a client can ask the person, only the person's answer counts, in both eras of the protocol.

The client is the SDK's own; its form is answered by a callback, as a host answers it with what its user clicked.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client import ClientRequestContext
from support.config import USER_SETTINGS, realistic
from support.session import ERAS, Session, session_in
from support.tree import Snapshot, snapshot

Form = types.ElicitRequestParams
Answer = types.ElicitResult | types.ErrorData
STRICT = json.dumps({"permissions": {"deny": ["Bash"]}})


class Person:
    """Somebody in front of a client: what they were asked, and what they do about it."""

    def __init__(self, answer: Callable[[], Awaitable[Answer]]) -> None:
        self.asked: list[types.ElicitRequestFormParams] = []
        self._answer = answer

    async def __call__(self, _context: ClientRequestContext, form: Form) -> Answer:
        """What the client does with a form."""
        assert isinstance(form, types.ElicitRequestFormParams)
        self.asked.append(form)
        return await self._answer()


def says(action: str, content: Mapping[str, Any] | None = None) -> Callable[[], Awaitable[Answer]]:
    """An answer."""

    async def answer() -> Answer:
        await anyio.lowlevel.checkpoint()
        return types.ElicitResult.model_validate({"action": action, "content": content})

    return answer


YES = says("accept", {"apply": True})
Meet = Callable[..., tuple[Session, Person]]


@pytest.fixture
def user(home: Path, project: Path) -> Path:
    """The user root: a loose state is backed up as `loose`, a strict one is live."""
    root, _ = realistic(home, project)
    with session_in(home, project) as session:
        session.call("create_backup", version="loose")
    (root / "settings.json").write_text(STRICT, encoding="utf-8")
    return root


@pytest.fixture(params=ERAS)
def meet(request: pytest.FixtureRequest, home: Path, project: Path, user: Path) -> Iterator[Meet]:
    """Opens a session whose client asks a person who answers like that."""
    assert user.exists()
    with ExitStack() as opened:

        def meeting(answer: Callable[[], Awaitable[Answer]] = YES, **options: Any) -> tuple[Session, Person]:
            person = Person(answer)
            session: AbstractContextManager[Session] = session_in(
                home, project, era=request.param, elicitation_callback=person, **options
            )
            return opened.enter_context(session), person

        yield meeting


def everything(home: Path) -> tuple[Snapshot, Snapshot]:
    """What no refusal may change."""
    return snapshot(home / ".claude"), snapshot(home / ".stravinsky" / "rollback" / "backups")


def test_row_12_a_person_who_agrees_has_it_done(meet: Meet, user: Path) -> None:
    """contract, Consent: asked once, with exactly the lines of the preview; the audit knows who agreed."""
    session, person = meet()
    lines = session.call("rollback_to", version="loose", dry_run=True)["security_changes"]
    assert person.asked == []
    done = session.call("rollback_to", version="loose")
    assert (done["applied"], done["security_changes"]) == (True, lines)
    assert json.loads((user / "settings.json").read_bytes()) == USER_SETTINGS
    (form,) = person.asked
    assert [line.removeprefix("- ") for line in form.message.splitlines()[1:]] == lines
    assert form.requested_schema["required"] == ["apply"]
    events = session.events(limit=3)
    assert [(event["event_type"], event["status"]) for event in events][:1] == [("MANUAL_ROLLBACK", "success")]
    assert events[0]["details"]["person_asked"] is True


def test_what_asks_nobody_is_done_at_once(meet: Meet, user: Path) -> None:
    """Getting stricter needs no consent, and a form that pops up for nothing is soon clicked away unread."""
    session, person = meet(says("decline"))
    session.call("create_backup", version="strict")
    (user / "settings.json").write_text('{"permissions": {"allow": ["Bash"]}}', encoding="utf-8")
    assert session.call("rollback_to", version="strict")["applied"]
    assert person.asked == []


def test_undo_and_redo_ask_the_person_too(meet: Meet, user: Path) -> None:
    """One way for all three."""
    session, person = meet()
    session.call("undo")
    assert json.loads((user / "settings.json").read_bytes()) == USER_SETTINGS
    session.call("redo")
    assert (user / "settings.json").read_text(encoding="utf-8") == STRICT
    session.call("rollback_to", version="loose")
    session.call("undo")
    session.call("redo")
    assert json.loads((user / "settings.json").read_bytes()) == USER_SETTINGS
    assert {form.message.partition(" ")[0] for form in person.asked} == {"undo", "rollback_to", "redo"}


async def _nothing() -> Answer:
    await anyio.sleep_forever()
    return types.ElicitResult(action="cancel")


async def _error() -> Answer:
    await anyio.lowlevel.checkpoint()
    return types.ErrorData(code=-32603, message="no form here")


REFUSALS: dict[str, Callable[[], Awaitable[Answer]]] = {
    "decline": says("decline"),
    "cancel": says("cancel"),
    "accept without the answer": says("accept"),
    "accept with no": says("accept", {"apply": False}),
    "accept with a word": says("accept", {"apply": "true"}),
    "accept with a number": says("accept", {"apply": 1}),
    "accept of something else": says("accept", {"yes": True}),
    "decline with a yes in it": says("decline", {"apply": True}),
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS.keys())
def test_row_89_anything_but_a_yes_is_a_no(meet: Meet, home: Path, answer: Callable[[], Awaitable[Answer]]) -> None:
    """Threat model, row 89: nothing changes, the code is `declined`, and the audit has it."""
    session, person = meet(answer)
    before = everything(home)
    text = session.refused("rollback_to", version="loose")
    assert text.startswith("declined: ")
    assert "stravinsky-rollback rollback to" in text
    assert len(person.asked) == 1
    assert everything(home) == before
    assert [event["error"] for event in session.events(event_type="REFUSED")] == ["declined", "confirm_required"]


def test_rows_12_89_what_the_model_accepts_does_not_count(meet: Meet, home: Path) -> None:
    """contract, Consent: where the client can ask, `accept` is not consent; the person is asked all the same."""
    session, person = meet(says("decline"))
    before = everything(home)
    preview = session.call("rollback_to", version="loose", dry_run=True)
    lines = preview["security_changes"]
    for given in ({"accept": lines}, {"accept": lines, "plan_id": preview["plan_id"]}):
        assert session.code("rollback_to", version="loose", **given) == "declined"
    assert len(person.asked) == 2
    assert everything(home) == before


def test_rows_11_49_an_edit_while_the_person_thinks_is_noticed(meet: Meet, home: Path, user: Path) -> None:
    """Nothing is held meanwhile, and what they agreed to is no longer what would be done."""
    other: list[str] = []

    async def edits_then_agrees() -> Answer:
        # Another process makes a backup: the store is not locked while a person reads.
        await anyio.to_thread.run_sync(edit)
        return await YES()

    def edit() -> None:
        (user / "settings.json").write_text(STRICT + "\n", encoding="utf-8")
        with session_in(home, user.parent) as session:
            other.append(session.call("create_backup", version="meanwhile")["backup"]["version"])

    session, _ = meet(edits_then_agrees)
    assert session.code("rollback_to", version="loose") == "state_changed"
    assert other == ["meanwhile"]
    assert (user / "settings.json").read_text(encoding="utf-8") == STRICT + "\n"


def test_row_11_a_plan_that_is_stale_already_asks_nobody(meet: Meet) -> None:
    """The answer could not count."""
    session, person = meet()
    assert session.code("rollback_to", version="loose", plan_id="0" * 32) == "state_changed"
    assert person.asked == []


# --- before the protocol of 2026: the server asks while the call waits ---------------------------------------------


def test_row_89_a_client_that_never_answers_is_not_waited_for_for_ever(home: Path, project: Path, user: Path) -> None:
    """It claims the form and shows none: the call ends, as a no, and the next one is served."""
    person = Person(_nothing)
    before = everything(home)
    with session_in(home, project, era="legacy", answer_seconds=0.2, elicitation_callback=person) as session:
        assert session.refused("rollback_to", version="loose").startswith("declined: nobody answered")
        assert everything(home) == before
        assert session.events(limit=1)[0]["error"] == "declined"
    assert user.exists()


def test_row_89_a_client_whose_form_fails_has_not_agreed(home: Path, project: Path, user: Path) -> None:
    """An error in place of an answer is none."""
    with session_in(home, project, era="legacy", elicitation_callback=Person(_error)) as session:
        assert session.code("rollback_to", version="loose") == "declined"
    assert (user / "settings.json").read_text(encoding="utf-8") == STRICT


# --- since then: the result asks, and the client calls again -------------------------------------------------------


def called(session: Session, **more: Any) -> types.CallToolResult | types.InputRequiredResult:
    """One call, whose result may be a question."""

    async def call() -> types.CallToolResult | types.InputRequiredResult:
        result = await session.client.session.call_tool(
            "rollback_to", {"version": "loose"}, allow_input_required=True, **more
        )
        assert isinstance(result, types.CallToolResult | types.InputRequiredResult)
        return result

    return session.portal.call(call)


@pytest.fixture
def modern(home: Path, project: Path, user: Path) -> Iterator[Session]:
    """A session whose client leaves the questions to the test."""
    assert user.exists()
    with session_in(home, project, elicitation_callback=Person(YES)) as session:
        yield session


def test_an_answer_that_belongs_to_no_question_of_ours_is_asked_for(modern: Session, user: Path) -> None:
    """Without what we gave along, a yes is no answer: the question is put again, and nothing is done."""
    first = called(modern)
    assert isinstance(first, types.InputRequiredResult)
    yes = {"consent": types.ElicitResult(action="accept", content={"apply": True})}
    for state in (None, "", "[]", "{}", '{"plan_id": 1}', "\ud800", '{"lines": 5, "plan_id": "x"}'):
        again = called(modern, input_responses=yes, request_state=state)
        assert isinstance(again, types.InputRequiredResult), state
    assert (user / "settings.json").read_text(encoding="utf-8") == STRICT
    wrong = called(modern, input_responses={"other": yes["consent"]}, request_state=first.request_state)
    assert isinstance(wrong, types.CallToolResult)
    assert wrong.is_error
    done = called(modern, input_responses=yes, request_state=first.request_state)
    assert isinstance(done, types.CallToolResult)
    assert not done.is_error


def test_row_11_a_yes_to_one_question_is_none_to_another(modern: Session, user: Path) -> None:
    """An answer counts for the plan it was given about, and for the lines of that plan."""
    first = called(modern)
    assert isinstance(first, types.InputRequiredResult)
    assert first.request_state is not None
    yes = {"consent": types.ElicitResult(action="accept", content={"apply": True})}
    state = json.loads(first.request_state)
    for forged, code in (
        ({**state, "plan_id": "0" * 32}, "state_changed"),
        ({**state, "lines": state["lines"][1:]}, "confirm_required"),
    ):
        result = called(modern, input_responses=yes, request_state=json.dumps(forged))
        assert isinstance(result, types.CallToolResult)
        (block,) = result.content
        assert isinstance(block, types.TextContent)
        assert block.text.startswith(f"{code}: ")
    assert (user / "settings.json").read_text(encoding="utf-8") == STRICT


def test_a_client_that_never_comes_back_holds_nothing(modern: Session, home: Path) -> None:
    """The question is in the audit as a refusal; the store is free."""
    before = everything(home)
    assert isinstance(called(modern), types.InputRequiredResult)
    assert everything(home) == before
    assert modern.events(limit=1)[0]["error"] == "confirm_required"
    assert modern.call("create_backup", version="free")["created"]


def test_row_89_a_client_without_forms_is_told_what_to_accept(home: Path, project: Path, user: Path) -> None:
    """Without a form there is no answer to wait for: `accept`, as ever."""
    with session_in(home, project) as session:
        lines = session.call("rollback_to", version="loose", dry_run=True)["security_changes"]
        assert session.code("rollback_to", version="loose") == "confirm_required"
        done = session.call("rollback_to", version="loose", accept=lines)
        assert done["applied"]
        assert session.events(limit=1)[0]["details"]["person_asked"] is False
    assert json.loads((user / "settings.json").read_bytes()) == USER_SETTINGS


def test_a_form_that_is_cancelled_with_its_call_leaves_nothing(home: Path, project: Path, user: Path) -> None:
    """The client gives up on the call while the person still reads: nothing was done, and the server goes on."""
    is_shown = anyio.Event()

    async def reading() -> Answer:
        is_shown.set()
        return await _nothing()

    with session_in(home, project, era="legacy", elicitation_callback=Person(reading)) as session:

        async def give_up() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(session.client.call_tool, "rollback_to", {"version": "loose"})
                await is_shown.wait()
                tasks.cancel_scope.cancel()

        session.portal.call(give_up)
        assert (user / "settings.json").read_text(encoding="utf-8") == STRICT
        assert session.call("create_backup", version="after")["created"]
