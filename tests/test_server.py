"""The MCP edge, in memory and in both eras of the protocol: what is offered, what comes back, what is refused.

The client runs in a thread of its own, so a test reads top to bottom and may touch files between two calls.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import jsonschema
import mcp_types as types
import pytest
from anyio.from_thread import BlockingPortal
from mcp import Client
from support.config import realistic
from support.session import ERAS, Session, connected
from support.tree import Snapshot, snapshot

from stravinsky_rollback_mcp import config
from stravinsky_rollback_mcp.errors import Code
from stravinsky_rollback_mcp.server import INSTRUCTIONS, RollbackServer

# contract, "Tools": (read-only, destructive, idempotent); none of them talks to the world outside.
HINTS = {
    "create_backup": (False, False, False),
    "list_backups": (True, False, True),
    "compare": (True, False, True),
    "rollback_to": (False, True, True),
    "undo": (False, True, False),
    "redo": (False, True, False),
    "check_config": (True, False, True),
    "query_audit": (True, False, True),
    "begin_update": (False, False, False),
    "finish_update": (False, True, False),
}
SECRET = "s3cret-marker"


# --- a client ------------------------------------------------------------------------------------------------------


class Told(Session):
    """The same client, with what it was offered and everything that it was told."""

    def __init__(self, portal: BlockingPortal, client: Client) -> None:
        super().__init__(portal, client)
        self.tools = {tool.name: tool for tool in portal.call(client.list_tools).tools}
        self.said: list[str] = []

    def raw(
        self, tool: str, arguments: Mapping[str, Any], meta: Mapping[str, Any] | None = None
    ) -> types.CallToolResult:
        """One call, whatever comes of it."""
        call = partial(self.client.call_tool, tool, dict(arguments), meta=cast("types.RequestParamsMeta | None", meta))
        result = self.portal.call(call)
        self.said.append(result.model_dump_json(by_alias=True))
        return result

    def refused(self, tool: str, **arguments: Any) -> str:
        """The text of a refusal."""
        return refusal_text(self.raw(tool, arguments))


def refusal_text(result: types.CallToolResult) -> str:
    """What a refusal says: one block of text, no structured part."""
    assert result.is_error, result.structured_content
    assert result.structured_content is None
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    return block.text


Connect = Callable[..., AbstractContextManager[Told]]


@pytest.fixture
def connect(home: Path) -> Connect:
    """Connects to a new server of the test's home and project."""

    @contextmanager
    def opened(
        era: str = "auto",
        *,
        read_only: bool = False,
        environ: Mapping[str, str] | None = None,
        change: Callable[[RollbackServer], None] = lambda _: None,
        client: str = "claude-code",
    ) -> Generator[Told]:
        loaded = config.load({"HOME": str(home), **(environ or {})}, for_terminal=False)
        server = RollbackServer(loaded, read_only=read_only)
        change(server)
        who = types.Implementation(name=client, version="2.1.330")
        with connected(server, mode=era, client_info=who) as (portal, client_of_server):
            yield Told(portal, client_of_server)

    return opened


@pytest.fixture
def roots(home: Path, project: Path) -> tuple[Path, Path]:
    """A configuration as people have it, in both scopes."""
    return realistic(home, project)


@pytest.fixture
def everything(home: Path, project: Path) -> Callable[[], tuple[Snapshot, Snapshot, Snapshot]]:
    """Both live scopes with all around them, and the backups, byte for byte."""
    store = home / ".stravinsky" / "rollback" / "backups"

    def look() -> tuple[Snapshot, Snapshot, Snapshot]:
        live = {path: entry for path, entry in snapshot(home).items() if not path.startswith(b".stravinsky")}
        return live, snapshot(project), snapshot(store)

    return look


# --- what is offered -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
def test_the_server_says_who_it_is(connect: Connect, era: str) -> None:
    """A model that has only names and instructions must see what it is for, in either era of the protocol."""
    with connect(era) as session:
        assert session.client.instructions == INSTRUCTIONS
        assert session.client.server_info is not None
        assert session.client.server_info.name == "config-rollback"
        assert re.fullmatch(r"\d+\.\d+\.\d+.*", session.client.server_info.version)


def test_the_instructions_hold_what_a_model_must_know() -> None:
    """Configuration and not source code, when to back up, what to do when something vanished, consent, a way out."""
    assert len(INSTRUCTIONS) < 1500
    for word in ("configuration", "hooks", "commands", "settings", "never touches source code"):
        assert word in INSTRUCTIONS
    assert re.search(r"Before you change .* create_backup", INSTRUCTIONS, re.DOTALL)
    assert re.search(r"vanished.* list_backups .*rollback_to", INSTRUCTIONS, re.DOTALL)
    assert re.search(r"confirm_required.*Never\s+accept\s+on\s+the\s+person's\s+behalf", INSTRUCTIONS, re.DOTALL)
    assert re.search(
        r"terminal:\s+/\S+/stravinsky-rollback unlock$", INSTRUCTIONS, re.MULTILINE
    )  # whatever the PATH is
    assert "undo" in INSTRUCTIONS
    assert "notices" in INSTRUCTIONS


@pytest.mark.parametrize("era", ERAS)
def test_each_tool_states_all_four_hints_as_the_contract_has_them(connect: Connect, era: str) -> None:
    """Hosts assume the worst where a hint is missing."""
    with connect(era) as session:
        tools = session.tools
    assert {"create_backup", "list_backups", "rollback_to", "undo", "redo", "query_audit"} <= tools.keys()
    for name, tool in tools.items():
        hints = tool.annotations
        assert hints is not None
        found = (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint)
        assert (found, hints.open_world_hint) == (HINTS[name], False), name


def test_each_tool_has_a_title_and_a_short_description(connect: Connect) -> None:
    """Under 350 characters: they are paid for in every session."""
    with connect() as session:
        for tool in session.tools.values():
            assert tool.title
            assert 40 < len(tool.description or "") < 350, tool.name


def nodes(value: object) -> Iterator[dict[str, Any]]:
    """Every JSON object within a value."""
    if isinstance(value, dict):
        yield cast("dict[str, Any]", value)
        value = list(cast("dict[str, object]", value).values())
    for item in cast("list[object]", value) if isinstance(value, list) else []:
        yield from nodes(item)


def test_schemas_are_strict_and_lean(connect: Connect) -> None:
    """No unknown argument, and no titles: a fifth of the bytes for nothing."""
    with connect() as session:
        tools = session.tools
    for name, tool in tools.items():
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        assert tool.input_schema["additionalProperties"] is False, name
        assert tool.output_schema is not None
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)
        assert {"summary", "next_step", "notices"} <= set(tool.output_schema["required"])
        for schema in (tool.input_schema, tool.output_schema):
            assert not [node for node in nodes(schema) if isinstance(node.get("title"), str)], name


def test_the_list_of_tools_is_the_same_bytes_from_every_server(
    connect: Connect, roots: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A list that changes breaks the prompt caches of hosts; speed goals, P10: at most 5 KB reach the model."""
    listed: dict[str, list[str]] = {era: [] for era in ERAS}
    for era in ERAS:
        for session_id in ("one", "two"):
            with connect(era, environ={"CLAUDE_CODE_SESSION_ID": session_id}) as session:
                session.call("create_backup")
                tools = [tool.model_dump(by_alias=True, exclude_none=True) for tool in session.tools.values()]
                listed[era].append(json.dumps(tools))
        assert listed[era][0] == listed[era][1]
    tools = json.loads(listed["auto"][0])
    assert tools == json.loads(listed["legacy"][0])  # the SDK orders the keys of a schema in its own way in each era
    seen = [{key: tool[key] for key in ("name", "description", "inputSchema")} for tool in tools]
    outputs = [tool["outputSchema"] for tool in tools]
    sizes = [len(json.dumps(part, separators=(",", ":"))) for part in (tools, seen, outputs)]
    with capsys.disabled():
        said = (
            f"\n{len(tools)} tools: {sizes[0]} bytes, {sizes[1]} of them seen by a model, {sizes[2]} output schemas\n"
        )
        sys.stdout.write(said)
    assert sizes[1] <= 5 << 10


@pytest.mark.parametrize("era", ERAS)
def test_a_read_only_server_has_only_what_reads_and_create_backup(
    connect: Connect, roots: tuple[Path, Path], everything: Callable[[], object], era: str
) -> None:
    """`--read-only` is applied at registration: what is hidden does not exist."""
    with connect(era, read_only=True) as session:
        assert {name for name in session.tools if not HINTS[name][0]} == {"create_backup"}
        session.call("create_backup", version="v1")
        before = everything()
        for tool in ("rollback_to", "undo", "redo"):
            assert session.refused(tool, version="v1").startswith("not_found: ")
        assert everything() == before


# --- what comes back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
def test_every_tool_answers_as_its_schema_says(connect: Connect, roots: tuple[Path, Path], era: str) -> None:
    """The whole loop: back up, break, see, preview, roll back, undo, redo, ask the audit; `call` checks the schema."""
    hook = roots[0] / "hooks" / "guard_bash.py"
    good = hook.read_bytes()
    with connect(era) as session:
        made = session.call("create_backup", version="v1", note="before the installer")
        assert (made["created"], made["backup"]["kind"], made["backup"]["made_by"]) == (True, "manual", "tool")
        assert made["backup"]["note"] == "before the installer"
        hook.write_text("broken", encoding="utf-8")

        listed = session.call("list_backups")
        assert [item["target"] for item in listed["current"]["drift"]] == ["user.hooks"]
        assert (listed["current"]["version"], listed["total"], listed["next_cursor"]) == (None, 1, None)
        assert (listed["user_root"], listed["project_root"]) == ("~/.claude", str(roots[1]))

        preview = session.call("rollback_to", version="v1", dry_run=True)
        assert (preview["applied"], preview["already_at_target"], preview["safety_backup"]) == (False, False, None)
        assert hook.read_bytes() == b"broken"
        done = session.call("rollback_to", version="v1", plan_id=preview["plan_id"])
        assert (done["applied"], done["to_version"], done["from_version"]) == (True, "v1", None)
        (change,) = [item for item in done["changes"] if item["action"] != "none"]
        assert (change["scope"], change["component"], change["modified"]) == ("user", "hooks", ["guard_bash.py"])
        assert change["atomicity"] in {"exchange", "two_renames"}
        assert "undo" in done["undo"]
        assert "stravinsky-rollback undo" in done["undo"]
        assert hook.read_bytes() == good

        undone = session.call("undo")
        assert undone["undone"]["operation"] == "manual_rollback"
        assert hook.read_bytes() == b"broken"
        redone = session.call("redo")
        assert redone["undone"] is not None
        assert hook.read_bytes() == good

        events = session.call("query_audit")["events"]
        kinds = [event["event_type"] for event in events if event["status"] == "success"]
        assert kinds[:3] == ["REDO", "UNDO", "MANUAL_ROLLBACK"]
        assert [event["seq"] for event in events] == sorted((event["seq"] for event in events), reverse=True)


@pytest.mark.parametrize("era", ERAS)
def test_every_result_speaks(connect: Connect, roots: tuple[Path, Path], era: str) -> None:
    """Hosts drop the text, so the sentence for the model, the next call and notices are fields of each result."""
    with connect(era) as session:
        results = [
            session.call("list_backups"),
            session.call("create_backup", version="v1"),
            session.call("create_backup"),
            session.call("rollback_to", version="v1"),
            session.call("query_audit"),
        ]
    for result in results:
        assert result["summary"].endswith(".")
        assert isinstance(result["next_step"], str)
        assert isinstance(result["notices"], list)
    assert "create_backup" in results[0]["next_step"]
    assert "rollback_to" in results[1]["next_step"]
    assert results[3]["already_at_target"]


def test_the_text_of_a_result_is_its_structured_part(connect: Connect, roots: tuple[Path, Path]) -> None:
    """Hooks of type mcp_tool and old clients read only the text."""
    with connect() as session:
        result = session.raw("create_backup", {})
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    assert json.loads(block.text) == result.structured_content


def test_an_empty_store_says_what_to_do_and_stays_empty(connect: Connect, home: Path, project: Path) -> None:
    """Reading creates nothing; the summary says that nothing can be restored yet and names create_backup."""
    with connect() as session:
        listed = session.call("list_backups")
        audit = session.call("query_audit")
    assert (listed["backups"], listed["total"], listed["current"]["version"]) == ([], 0, None)
    assert "nothing can be restored" in listed["summary"]
    assert "create_backup" in listed["summary"] + listed["next_step"]
    assert audit["events"] == []
    assert snapshot(home).keys() == {b""}
    assert snapshot(project).keys() == {b""}


@pytest.mark.parametrize("era", ERAS)
def test_the_audit_says_who_asked(connect: Connect, roots: tuple[Path, Path], era: str) -> None:
    """contract, `actor`: the client's own name, Claude Code's session, the tool, and that it was seen."""
    with connect(era, environ={"CLAUDE_CODE_SESSION_ID": "0b1c-session"}, client="codex") as session:
        session.call("create_backup", version="v1")
        session.refused("rollback_to", version="v9")
        events = session.call("query_audit")["events"]
    for event, tool in zip(events, ("rollback_to", "create_backup"), strict=True):
        assert event["actor"] == {
            "kind": "mcp_client",
            "name": "codex",
            "session_id": "0b1c-session",
            "tool": tool,
            "tool_use_id": "",
            "certainty": "seen",
        }


@pytest.mark.parametrize("era", ERAS)
def test_the_audit_bears_the_id_that_the_transcript_has(connect: Connect, roots: tuple[Path, Path], era: str) -> None:
    """Claude Code sends `claudecode/toolUseId` with each call; anything else in that place is no reason to fail."""
    given: list[dict[str, Any]] = [{"claudecode/toolUseId": "toolu_01A"}, {"claudecode/toolUseId": 7}, {"other": "x"}]
    with connect(era) as session:
        for place, meta in enumerate(given):
            result = session.raw("create_backup", {"version": f"v{place}"}, meta)
            assert not result.is_error, result.content
        events = session.call("query_audit", event_type="BACKUP_CREATED")["events"]
    assert [event["actor"]["tool_use_id"] for event in reversed(events)] == ["toolu_01A", "", ""]


def test_who_made_a_change_from_outside_is_not_made_up(connect: Connect, roots: tuple[Path, Path]) -> None:
    """An edit is found by whoever asks next; that is who noticed it, not who did it."""
    with connect() as session:
        session.call("create_backup", version="v1")
        (roots[0] / "hooks" / "notify.sh").write_text("edited", encoding="utf-8")
        session.call("create_backup", version="v2")
        (event,) = session.call("query_audit", event_type="DRIFT_DETECTED")["events"]
    assert (event["actor"]["kind"], event["actor"]["certainty"]) == ("unknown", "unknown")
    assert event["details"]["noticed_by"] == "mcp_client claude-code"


def test_a_long_or_hostile_client_name_is_only_data(connect: Connect, roots: tuple[Path, Path]) -> None:
    """A client names itself; the log stays one record a line."""
    with connect(client="a\nb\x1b[2J\u202e" + "x" * 5000) as session:
        session.call("create_backup")
        (event,) = session.call("query_audit")["events"]
    assert event["actor"]["name"].startswith("a\nb")
    assert len(event["actor"]["name"]) <= 100


def test_every_mutation_returns_the_place_of_its_record(connect: Connect, roots: tuple[Path, Path]) -> None:
    """`{seq, head}` noted elsewhere make any later rewrite provable; they are the newest record's."""
    hook = roots[0] / "hooks" / "log_tools.py"
    with connect() as session:
        anchors = [session.call("create_backup", version="v1")["audit"]]
        hook.unlink()
        anchors.extend(session.call(tool)["audit"] for tool in ("undo", "redo"))
        chain = session.call("query_audit")["chain"]
    assert [anchor["seq"] for anchor in anchors] == sorted({anchor["seq"] for anchor in anchors})
    assert (chain["events"], chain["head"]) == (anchors[-1]["seq"], anchors[-1]["head"])
    assert chain["intact"]


# --- what is refused -----------------------------------------------------------------------------------------------

NOT_BOOLEANS: tuple[Any, ...] = ("false", "true", "1", 1, 0, 1.0, None, [], [True], {})
NOT_NUMBERS: tuple[Any, ...] = ("5", "1", 1.0, 1.5, True, False, None, [], [1], {}, 0, -1, 10**9, 2**63, 10**400)
NOT_TEXTS: tuple[Any, ...] = (1, 1.5, True, [], ["v1"], {})
NOT_LISTS: tuple[Any, ...] = ("hooks", '["hooks"]', 1, None, {}, [1], [None], [["hooks"]])

WRONG: dict[str, list[tuple[str, dict[str, Any], Code]]] = {
    "unknown arguments": [
        (tool, arguments, Code.UNKNOWN_ARGUMENT)
        for tool, arguments in (
            ("create_backup", {"verzion": SECRET}),
            ("create_backup", {SECRET: 1}),
            ("list_backups", {"limit": 5, "Detail": True}),
            ("rollback_to", {"version": "v1", "dryrun": True}),
            ("rollback_to", {"version": "v1", "dry-run": True}),
            ("rollback_to", {"version": "v1", "dry_Run": True}),
            ("rollback_to", {"backup_id": "v1"}),
            ("undo", {"version": "v1"}),
            ("redo", {"steps": 2}),
            ("query_audit", {"paths": ["/"]}),
        )
    ],
    "booleans": [
        (tool, {**given, name: value}, Code.INVALID_ARGUMENT)
        for tool, given, name in (
            ("list_backups", {}, "detail"),
            ("list_backups", {}, "all_projects"),
            ("rollback_to", {"version": "v1"}, "dry_run"),
            ("undo", {}, "dry_run"),
            ("redo", {}, "dry_run"),
        )
        for value in NOT_BOOLEANS
    ],
    "numbers": [
        (tool, {"limit": value}, Code.INVALID_ARGUMENT)
        for tool in ("list_backups", "query_audit")
        for value in NOT_NUMBERS
    ],
    "texts": [
        (tool, {**given, name: value}, Code.INVALID_ARGUMENT)
        for tool, given, name in (
            ("create_backup", {}, "version"),
            ("create_backup", {}, "note"),
            ("list_backups", {}, "path"),
            ("list_backups", {}, "cursor"),
            ("rollback_to", {}, "version"),
            ("rollback_to", {"version": "v1"}, "plan_id"),
            ("undo", {}, "plan_id"),
            ("query_audit", {}, "since"),
        )
        for value in NOT_TEXTS
    ],
    "lists": [
        (tool, {**given, name: value}, Code.INVALID_ARGUMENT)
        for tool, given, name in (
            ("rollback_to", {"version": "v1"}, "only"),
            ("rollback_to", {"version": "v1"}, "accept"),
            ("undo", {}, "accept"),
        )
        for value in NOT_LISTS
    ],
    "words": [
        (tool, arguments, Code.INVALID_ARGUMENT)
        for tool, arguments in (
            ("rollback_to", {}),
            ("rollback_to", {"version": None}),
            ("rollback_to", {"version": "v1", "scope": "global"}),
            ("rollback_to", {"version": "v1", "scope": "USER"}),
            ("rollback_to", {"version": "v1", "scope": ""}),
            ("query_audit", {"event_type": "backup_created"}),
            ("query_audit", {"event_type": SECRET}),
            ("query_audit", {"status": "ok"}),
            ("query_audit", {"since": "yesterday"}),
            ("query_audit", {"since": "999999d"}),
            ("query_audit", {"until": "2026-11-23"}),
            ("query_audit", {"cursor": "-1"}),
            ("query_audit", {"cursor": "1; DROP TABLE events"}),
            ("query_audit", {"cursor": "9" * 400}),
            ("list_backups", {"cursor": "next"}),
            ("list_backups", {"cursor": "--1"}),
            ("list_backups", {"cursor": "9" * 400}),
            ("list_backups", {"path": "../../etc"}),
            ("create_backup", {"note": SECRET * 100}),
            ("create_backup", {"note": f"two\nlines {SECRET}"}),
            ("create_backup", {"note": "\x1b[2J"}),
            ("create_backup", {"note": "\u202eright to left"}),
        )
    ],
    "tools": [
        (tool, {"version": SECRET}, Code.NOT_FOUND)
        for tool in ("rollback", "ROLLBACK_TO", "", "delete_backup", "x" * 10_000, "\x1b[2J", "create_backup ")
    ],
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("group", WRONG)
def test_a_wrong_call_is_refused_recorded_and_changes_nothing(
    connect: Connect, roots: tuple[Path, Path], everything: Callable[[], object], home: Path, era: str, group: str
) -> None:
    """Threat model, rows 7, 8 and 65: nothing is coerced, dropped or echoed; the record has code and digest alone."""
    with connect(era) as session:
        session.call("create_backup", version="v1")
        (roots[0] / "hooks" / "notify.sh").unlink()
        before = everything()
        for tool, arguments, code in WRONG[group]:
            case = f"{tool} {str(arguments)[:100]}"
            text = session.refused(tool, **arguments)
            assert re.match(rf"{code}: \S", text), f"{case}: {text}"
            assert re.search(r" Next: \S", text), f"{case}: {text}"
            assert text.isprintable(), case
            assert len(text) < 1000, case
            assert "pydantic" not in text, case
            assert SECRET not in text or SECRET in arguments, f"{case}: {text}"
        assert everything() == before
        events = session.call("query_audit", event_type="REFUSED", limit=500)["events"][::-1]
    assert [(event["error"], event["status"]) for event in events] == [(code, "refused") for _, _, code in WRONG[group]]
    assert all(re.fullmatch("[0-9a-f]{64}", event["details"]["arguments_sha256"]) for event in events)
    for name in os.listdir(home / ".stravinsky" / "rollback" / "audit"):
        assert SECRET.encode() not in (home / ".stravinsky" / "rollback" / "audit" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("tool", "arguments", "hint"),
    [
        ("create_backup", {"verzion": "v1"}, "`version`"),
        ("rollback_to", {"version": "v1", "dryrun": True}, "`dry_run`"),
        ("rollback_to", {"version": "v11"}, "v1"),
        ("rollback_to", {"version": "v1", "scope": "global"}, "'user' or 'project'"),
        ("query_audit", {"event_type": "ROLLBACK"}, "MANUAL_ROLLBACK"),
        ("query_audit", {"status": "ok"}, "success"),
        ("query_audit", {"since": "soon"}, "24h"),
        ("list_backups", {"limit": 500}, "100"),
        ("rollback", {}, "rollback_to"),
    ],
)
def test_a_refusal_names_the_nearest_valid_value(
    connect: Connect, roots: tuple[Path, Path], tool: str, arguments: dict[str, Any], hint: str
) -> None:
    """A model that reads the error can make the next call right."""
    with connect() as session:
        session.call("create_backup", version="v1")
        assert hint in session.refused(tool, **arguments)


def test_two_different_refused_calls_have_different_digests(connect: Connect, roots: tuple[Path, Path]) -> None:
    """Threat model, row 81: the digest is of what was asked, so a claim about a call can be checked later."""
    calls: list[tuple[str, dict[str, Any]]] = [
        ("rollback_to", {"version": "v8"}),
        ("rollback_to", {"version": "v9"}),
        ("rollback_to", {"version": "v9", "dry_run": True}),
        ("rollback_to", {"version": "v9", "scope": "user"}),
        ("query_audit", {"since": "a"}),
        ("query_audit", {"since": "b"}),
        ("undo", {"dry_run": True}),
        ("undo", {"plan_id": "x"}),
    ]
    with connect() as session:
        for tool, arguments in calls:
            session.refused(tool, **arguments)
        events = session.call("query_audit")["events"]
    assert len({event["details"]["arguments_sha256"] for event in events}) == len(calls)


# --- what never leaves ---------------------------------------------------------------------------------------------


def settings_with_secrets() -> dict[str, Any]:
    """Secrets in every place where settings hold them."""
    return {
        "env": {"ANTHROPIC_API_KEY": f"sk-ant-{SECRET}", "ANTHROPIC_BASE_URL": f"https://u:{SECRET}@proxy.example"},
        "apiKeyHelper": f"/bin/echo {SECRET}",
        "permissions": {
            "allow": [
                f'Bash(curl -H "Authorization: Bearer {SECRET}" https://x.example)',
                f"Bash(login token={SECRET})",
            ],
            "deny": [f"Bash(echo password={SECRET})"],
        },
        "hooks": {
            "PreToolUse": [
                {
                    "matcher": "Bash",
                    "hooks": [{"type": "command", "command": f"KEY={SECRET} python3 ~/.claude/hooks/g.py"}],
                }
            ]
        },
    }


@pytest.mark.parametrize("era", ERAS)
def test_no_value_of_a_setting_leaves(
    connect: Connect, roots: tuple[Path, Path], home: Path, capfd: pytest.CaptureFixture[str], era: str
) -> None:
    """Contract and threat model, rows 64 to 66: not in results, refusals, the audit or on standard error."""
    settings = roots[0] / "settings.json"
    harmless = json.dumps({"model": "opus"})
    secrets = settings_with_secrets()
    with connect(era) as session:
        settings.write_text(json.dumps(secrets), encoding="utf-8")
        (roots[0] / "hooks" / "g.py").write_text(f"# {SECRET}\n", encoding="utf-8")
        session.call("create_backup", version="secrets")
        settings.write_text(harmless, encoding="utf-8")
        session.call("create_backup", version="harmless")
        text = session.refused("rollback_to", version="secrets")
        assert text.startswith("confirm_required: ")
        lines = session.call("rollback_to", version="secrets", dry_run=True)["security_changes"]
        assert lines
        session.call("rollback_to", version="secrets", accept=lines)
        preview = session.call("undo", dry_run=True)
        session.call("undo", accept=preview["security_changes"])
        session.call("redo", accept=session.call("redo", dry_run=True)["security_changes"])
        settings.write_text(f'{{"env": {{"TOKEN": "{SECRET}"', encoding="utf-8")
        session.call("list_backups", detail=True, path="~/.claude/settings.json")
        session.raw("rollback_to", {"version": "harmless"})
        session.raw("create_backup", {"version": "unparsable"})
        session.call("query_audit", limit=500)
    assert not [said for said in session.said if SECRET in said]
    assert SECRET not in "".join(capfd.readouterr())
    audit = home / ".stravinsky" / "rollback" / "audit"
    assert not [name for name in os.listdir(audit) if SECRET.encode() in (audit / name).read_bytes()]


def test_an_unforeseen_error_says_only_its_kind(
    connect: Connect, roots: tuple[Path, Path], everything: Callable[[], object], capfd: pytest.CaptureFixture[str]
) -> None:
    """Threat model, row 65: any exception may quote anything, so its text goes nowhere."""

    async def explode(*_: object) -> object:
        raise KeyError(SECRET)

    def sabotage(server: RollbackServer) -> None:
        server._tools["undo"] = replace(server._tools["undo"], call=explode)

    with connect(change=sabotage) as session:
        session.call("create_backup", version="v1")
        before = everything()
        text = session.refused("undo")
        (event,) = session.call("query_audit", event_type="REFUSED")["events"]
        assert everything() == before
    assert text.startswith("internal: ")
    assert "Next: " in text
    assert event["error"] == "internal"
    assert SECRET not in text + "".join(capfd.readouterr()) + json.dumps(event)


def test_a_result_that_breaks_its_own_schema_is_a_readable_error(
    connect: Connect, roots: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """What was done was done: the model must be told that it cannot rely on the answer, not that nothing came."""

    async def babble(*_: object) -> object:
        return SECRET

    def sabotage(server: RollbackServer) -> None:
        server._tools["undo"] = replace(server._tools["undo"], call=babble)

    with connect(change=sabotage) as session:
        text = session.refused("undo")
    assert text.startswith("internal: ")
    assert SECRET not in text + "".join(capfd.readouterr())


# --- names that are no text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
def test_names_that_are_no_utf8_come_through_every_answer(
    connect: Connect, roots: tuple[Path, Path], everything: Callable[[], Any], era: str
) -> None:
    """Threat model, row 45 and 83: a lone surrogate in an answer means that the client gets none at all."""
    hooks = os.fsencode(roots[0] / "hooks")
    odd = b"new\xff\n\x1b[2J.py"
    with connect(era) as session:
        os.symlink(b"/nowhere/\xfe\n", os.path.join(hooks, b"link\xfe"))
        os.mkfifo(os.path.join(hooks, b"pipe\xfd\n"))
        session.call("create_backup", version="v1")
        state = everything()[0]
        with open(os.path.join(hooks, odd), "wb") as file:
            file.write(b"x")
        os.unlink(os.path.join(hooks, b"link\xfe"))
        session.call("list_backups", detail=True)
        preview = session.call("undo", dry_run=True)
        done = session.call("undo", plan_id=preview["plan_id"])
        assert done["applied"]
        assert everything()[0] == state
        session.call("redo")
        session.call("query_audit", path="~/.claude/hooks")
    assert not [said for said in session.said if "\\n\\u001b" in said]
    assert all(warning.isprintable() for warning in done["warnings"])


@pytest.mark.parametrize("era", ERAS)
def test_a_refusal_about_a_name_that_is_no_utf8_arrives(connect: Connect, roots: tuple[Path, Path], era: str) -> None:
    """The name of the file in the way is part of the message, escaped."""
    with open(os.path.join(os.fsencode(roots[0] / "hooks"), b"big\xff\n.bin"), "wb") as file:
        file.truncate(2 << 20)
    with connect(era, environ={"STRAVINSKY_BACKUP_MAX_FILE_SIZE_MB": "1"}) as session:
        text = session.refused("create_backup")
        assert text.startswith("too_large: "), text
        (notice,) = session.call("list_backups")["notices"]
        assert "Notice: " not in text
        for said in (text, notice):
            assert "big\\xff\\n.bin" in said
            assert said.isprintable()
