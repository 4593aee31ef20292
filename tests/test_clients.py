"""Real clients against the real server: what they accept, what a model behind Claude Code sees, how they leave.

Each client is installed at a pinned version (`support/clients.py`) and skipped where that is not possible. Nothing here
reaches the network once installed; Claude Code runs in a network namespace of its own beside a stub of its API.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from support import clients
from support.attacker import records_of
from support.clients import Done, Json
from support.config import realistic
from support.tree import Snapshot, snapshot

from stravinsky_rollback_mcp.config import terminal_twin
from stravinsky_rollback_mcp.server import INSTRUCTIONS, NAME
from stravinsky_rollback_mcp.server.tools import TOOLS as ALL_TOOLS

pytestmark = pytest.mark.long

TOOLS = [tool for tool in ALL_TOOLS if tool.is_default]
REPOSITORY = Path(__file__).resolve().parent.parent
CLIENTS = Path(clients.__file__).with_suffix("")
SERVER = (sys.executable, "-m", "stravinsky_rollback_mcp")
# What Claude Code calls our tools.
PREFIX = f"mcp__{NAME}__"


@pytest.fixture(scope="session")
def node() -> Path:
    """A node that is new enough."""
    return clients.node()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a measurement past pytest's capture: it is a result of the run."""

    def saying(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n  {text}\n")

    return saying


# --- MCP Inspector -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def inspector_script() -> Path:
    """The launcher of the MCP Inspector."""
    return clients.npm_package("@modelcontextprotocol/inspector", "2.12.0") / ".bin" / "mcp-inspector"


@pytest.fixture(params=["legacy", "modern"])
def inspect(
    request: pytest.FixtureRequest, node: Path, inspector_script: Path, home: Path, project: Path
) -> Callable[..., Done]:
    """Run the Inspector's command line against our server, in either era of the protocol."""

    def inspecting(*words: str) -> Done:
        # Each call is a session of its own; its automatic backup would race with what the call is to find.
        server = ("env", "STRAVINSKY_BACKUP_ON_SESSION_START=false", *SERVER)
        command = [node, inspector_script, "--cli", *server, *words, "--format", "json", "-q"]
        # The Inspector is a chain of scripts that look for node on the path.
        path = {"PATH": f"{node.parent}:{os.defpath}"}
        return clients.run([*command, "--protocol-era", request.param], home=home, cwd=project, environment=path)

    return inspecting


def called(inspect: Callable[..., Done], tool: str, **arguments: object) -> Done:
    """One call of a tool through the Inspector, a server process of its own."""
    return inspect("--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))


def test_the_inspector_finds_no_fault_with_the_tools(inspect: Callable[..., Done]) -> None:
    """`--strict` exits 6 for a schema that not every model provider takes."""
    done = inspect("--method", "tools/list", "--strict")
    assert (done.status, done.stderr) == (0, "")
    assert [tool["name"] for tool in done.json()["result"]["tools"]] == [tool.name for tool in TOOLS]


def test_the_inspector_calls_every_tool(inspect: Callable[..., Done], home: Path, project: Path) -> None:
    """Each of the eight tools answers with exit code 0, and together they do the main job (contract, Tools)."""
    realistic(home, project)
    guard = home / ".claude" / "hooks" / "guard_bash.py"
    as_it_was = guard.read_bytes()

    def structured(tool: str, **arguments: object) -> Json:
        done = called(inspect, tool, **arguments)
        assert done.status == 0, done
        return done.json()["result"]["structuredContent"]

    assert structured("create_backup", version="v1", note="before")["backup"]["version"] == "v1"
    guard.write_bytes(b"broken")
    assert [drift["target"] for drift in structured("list_backups")["current"]["drift"]] == ["user.hooks"]
    assert "guard_bash.py" in structured("compare", version="v1")["diff"]
    assert structured("check_config")["summary"]
    assert structured("rollback_to", version="v1")["applied"]
    assert guard.read_bytes() == as_it_was
    assert structured("undo")["applied"]
    assert guard.read_bytes() == b"broken"
    assert structured("redo")["applied"]
    assert guard.read_bytes() == as_it_was
    audit = structured("query_audit", status="success")
    assert audit["chain"]["intact"]
    restores = [event["event_type"] for event in audit["events"] if event["event_type"] != "BACKUP_CREATED"]
    assert restores[:3] == ["REDO", "UNDO", "MANUAL_ROLLBACK"]


def test_the_inspector_sees_a_refusal_as_one(inspect: Callable[..., Done]) -> None:
    """A refusal is a tool error (exit code 5) whose text begins with the code (contract, Refusals)."""
    refusals = (("rollback_to", {"version": "v9"}, "not_found"), ("undo", {"dryrun": True}, "unknown_argument"))
    for tool, arguments, code in refusals:
        done = called(inspect, tool, **arguments)
        assert done.status == 5, done
        assert done.json()["result"]["content"][0]["text"].startswith(f"{code}: ")


# --- SDKs ----------------------------------------------------------------------------------------------------------

CALLS: list[tuple[str, Json]] = [
    ("create_backup", {"version": "v1"}),
    ("list_backups", {"detail": True}),
    ("rollback_to", {"version": "v1", "dry_run": True}),
    ("query_audit", {}),
    ("rollback_to", {"version": "v9"}),
]


@pytest.fixture(scope="session", params=["typescript 1.32.2", "python 1.30.0", "python as installed"])
def sdk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The command of a small client made with an SDK."""
    if request.param == "python as installed":
        return [Path(sys.executable), CLIENTS / "python.py"]
    if request.param == "python 1.30.0":
        return [clients.python_package("mcp", "1.30.0"), CLIENTS / "python.py"]
    folder = tmp_path_factory.mktemp("typescript")
    # Modules are looked up beside the script.
    (folder / "node_modules").symlink_to(clients.npm_package("@modelcontextprotocol/sdk", "1.32.2"))
    return [clients.node(), Path(shutil.copy(CLIENTS / "typescript.mjs", folder))]


def test_an_sdk_takes_every_result(sdk: list[Path], home: Path, project: Path) -> None:
    """The SDKs validate results against the output schemas themselves, and throw."""
    realistic(home, project)
    before = snapshot(home / ".claude")
    given = json.dumps({"server": SERVER, "calls": CALLS})
    said = clients.run([*sdk, given], home=home, cwd=project).json()
    assert (said["server"]["name"], said["instructions"]) == (NAME, INSTRUCTIONS)
    assert [tool["name"] for tool in said["tools"]] == [tool.name for tool in TOOLS]
    assert all("outputSchema" in tool for tool in said["tools"])
    backup, listed, previewed, audited, refused = said["results"]
    assert backup["structuredContent"]["created"]
    assert listed["structuredContent"]["current"]["version"] == "v1"
    assert not previewed["structuredContent"]["applied"]
    assert audited["structuredContent"]["chain"]["intact"]
    assert refused["isError"]
    assert refused["content"][0]["text"].startswith("not_found: ")
    for answer in said["results"][:-1]:
        assert json.loads(answer["content"][0]["text"]) == answer["structuredContent"]
    assert snapshot(home / ".claude") == before


# --- the conformance suite -----------------------------------------------------------------------------------------

# Scenario -> its checks that cannot pass, since they are about what we do not have and do not announce.
SCENARIOS: dict[str, frozenset[str]] = {
    "server-initialize": frozenset(),
    "ping": frozenset(),
    "tools-list": frozenset(),
    "tools-call-error": frozenset(),
    "dns-rebinding-protection": frozenset(),
    "server-session-lifecycle": frozenset(),
    "server-sse-multiple-streams": frozenset(),
    "http-header-validation": frozenset(),
    "input-required-result-unsupported-methods": frozenset(),
    "sep-2164-resource-not-found": frozenset(),
    # No resources and no prompts: "method not found" is the answer.
    "resources-list": frozenset({"resources-list"}),
    "prompts-list": frozenset({"prompts-list"}),
    "caching": frozenset(
        f"sep-2549-{listed}-list-caching-hints" for listed in ("prompts", "resources", "resources-templates")
    ),
    # They call a tool of the suite's own.
    "server-stateless": frozenset(
        {"sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400"}
    ),
}


@pytest.fixture(scope="session")
def conformance_script() -> Path:
    """The conformance suite's command."""
    return clients.npm_package("@modelcontextprotocol/conformance", "0.2.0-alpha.12") / ".bin" / "conformance"


@pytest.fixture
def url(home: Path, project: Path) -> Iterator[str]:
    """Our server's protocol object behind HTTP on loopback; the suite has no harness for stdio."""
    with subprocess.Popen(
        [sys.executable, CLIENTS / "http_server.py"],
        stdout=subprocess.PIPE,
        env=clients.minimal(home),
        cwd=project,
    ) as process:
        try:
            yield f"http://127.0.0.1:{int(clients.line_of(process.stdout))}/mcp"
        finally:
            process.kill()


@pytest.mark.parametrize(("scenario", "not_ours"), SCENARIOS.items(), ids=SCENARIOS.keys())
def test_the_conformance_suite_passes(
    scenario: str, not_ours: frozenset[str], node: Path, conformance_script: Path, url: str, home: Path, tmp_path: Path
) -> None:
    """Every generic server scenario passes, but for the checks about features that we do not have."""
    command = [node, conformance_script, "server", "--url", url, "--scenario", scenario, "-o", tmp_path / "results"]
    done = clients.run(command, home=home, cwd=tmp_path)
    assert done.status == (1 if not_ours else 0), done
    (results,) = (tmp_path / "results").glob("*/checks.json")
    checks = cast("list[Json]", json.loads(results.read_bytes()))
    assert {check["id"] for check in checks if check["status"] == "FAILURE"} == not_ours
    assert any(check["status"] == "SUCCESS" for check in checks)


# --- Claude Code ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def claude_binary() -> Path:
    """Claude Code for this machine."""
    return clients.claude_code()


@pytest.fixture(scope="session")
def no_network() -> list[str]:
    """What gives a command a network of its own."""
    return clients.unshared()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeCode:
    """Claude Code with a home and a project of its own, no network, and a stub for a model."""

    binary: Path
    no_network: list[str]
    home: Path
    project: Path
    scratch: Path

    def run(
        self,
        *command: str,
        cwd: Path | None = None,
        script: tuple[Json, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a command that finds ``claude`` on its path; its processes are gone at the end."""
        done = clients.run(
            clients.offline(self.no_network, self.scratch, script, command),
            home=self.home,
            cwd=cwd or self.project,
            environment={
                "PATH": f"{self.binary.parent}:{os.defpath}",
                "DISABLE_AUTOUPDATER": "1",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "CLAUDE_CODE_TMPDIR": str(self.scratch),
                **(environment or {}),
            },
        )
        clients.wait_until_gone(self.home)
        return done

    def register(self) -> Done:
        """Do what the README says, in a checkout after its first command."""
        checkout = self.scratch / "checkout"
        checkout.mkdir()
        (checkout / ".venv").symlink_to(sys.prefix)
        return self.run("sh", "-euc", readme_block("register-command"), cwd=checkout)

    def session(self, *script: Json, options: tuple[str, ...] = (), is_deferring: bool = False) -> list[Json]:
        """One session in which the model does what the script says; returns the requests that the model got.

        It begins once the server's automatic backup is there, as it would with a model that takes its time.
        ``is_deferring`` is Claude Code's default: a model is shown the names of our tools, and looks up the schemas.
        """
        steps = [*script, {"text": "the script is done"}]
        steps[0] = {**steps[0], "after": str(self.home / ".stravinsky" / "rollback" / "latest.json")}
        (self.scratch / "requests.jsonl").unlink(missing_ok=True)
        done = self.run(
            *("claude", "-p", "go", *options, "--output-format", "stream-json", "--verbose"),
            script=tuple(steps),
            environment={
                "ANTHROPIC_API_KEY": "no-key",
                "IS_SANDBOX": "1",  # or root may not skip the permissions
                **({} if is_deferring else {"ENABLE_TOOL_SEARCH": "false"}),
            },
        )
        assert done.status == 0, done
        assert json.loads(done.stdout.splitlines()[-1])["result"] == "the script is done"
        return clients.requests_in(self.scratch)


@pytest.fixture
def claude(claude_binary: Path, no_network: list[str], home: Path, project: Path, tmp_path: Path) -> ClaudeCode:
    """Claude Code as it comes."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return ClaudeCode(binary=claude_binary, no_network=no_network, home=home, project=project, scratch=scratch)


@pytest.fixture
def registered(claude: ClaudeCode) -> ClaudeCode:
    """Claude Code with a realistic configuration and our server, registered as the README says."""
    realistic(claude.home, claude.project)
    claude.register()
    return claude


def readme_block(name: str, language: str = "sh") -> str:
    """What is fenced below a marker of the README."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n```{language}\n(.*?)```", text, re.DOTALL)
    assert found, f"README.md has no block {name}"
    return found[1]


def results_in(body: Json) -> list[str]:
    """What the model sees of its tool calls, in order."""
    return [str(block["content"]) for block in clients.blocks(body, "tool_result")]


def configuration(claude: ClaudeCode) -> list[Snapshot]:
    """All that we protect; the client keeps files of its own beside it."""
    user, project = claude.home / ".claude", claude.project / ".claude"
    return [snapshot(user / name) for name in ("hooks", "commands", "settings.json")] + [snapshot(project)]


ALLOWED = ("--allowedTools", f"mcp__{NAME}")


def test_the_register_command_connects(claude: ClaudeCode) -> None:
    """The README's commands as they stand make Claude Code say Connected; it exits 0 either way."""
    done = claude.register()
    assert done.status == 0, done
    assert re.search(rf"^{NAME}: .*✔ Connected$", done.stdout, re.MULTILINE), done
    stored = json.loads((claude.home / ".claude.json").read_bytes())
    assert stored["mcpServers"][NAME]["command"].endswith("/checkout/.venv/bin/stravinsky-rollback-mcp")


def test_a_model_sees_names_and_instructions_first(registered: ClaudeCode, say: Callable[[str], None]) -> None:
    """By default tools are deferred: the names and the whole instructions are what sells the server."""
    (body,) = registered.session(is_deferring=True)
    seen = json.dumps(body["messages"], ensure_ascii=False) + json.dumps(body["system"], ensure_ascii=False)
    for tool in TOOLS:
        assert f"\\n{PREFIX}{tool.name}\\n" in seen
    assert not [tool for tool in body["tools"] if tool["name"].startswith(PREFIX)]
    # They name the terminal command that is installed beside the server, which is another one here.
    for part in INSTRUCTIONS.rstrip().split(terminal_twin()):
        assert json.dumps(part, ensure_ascii=False)[1:-1] in seen
    size = len(INSTRUCTIONS.encode())
    say(f"Claude Code, tools deferred: instructions {size} bytes")
    assert size <= 1536


def test_the_tools_are_cheap_for_a_model(registered: ClaudeCode, say: Callable[[str], None]) -> None:
    """What a model is sent of our tools stays within 5 KB (speed goals, P10)."""
    (body,) = registered.session(options=ALLOWED)
    ours = [tool for tool in body["tools"] if tool["name"].startswith(PREFIX)]
    assert {tool["name"] for tool in ours} == {f"{PREFIX}{tool.name}" for tool in TOOLS}
    sent = [{key: tool[key] for key in ("name", "description", "input_schema")} for tool in ours]
    size = sum(len(json.dumps(tool, separators=(",", ":"), ensure_ascii=False).encode()) for tool in sent)
    say(f"Claude Code, tools in context: {len(ours)} tools, {size} bytes")
    assert size <= 5 * 1024


def test_a_session_backs_up_and_rolls_back(registered: ClaudeCode) -> None:
    """The main job, end to end: an installer breaks the configuration in mid-session, the model brings it back."""
    before = configuration(registered)
    user = registered.home / ".claude"
    settings = json.loads((user / "settings.json").read_bytes())
    settings["permissions"]["allow"].append("Bash(*)")
    del settings["hooks"]["PreToolUse"]
    installer = {
        str(user / "hooks" / "guard_bash.py"): "print('anything goes')\n",
        str(user / "hooks" / "installed.py"): "print('new')\n",
        str(user / "settings.json"): json.dumps(settings),
        str(registered.project / ".claude" / "commands" / "test.md"): "gone\n",
    }
    requests = registered.session(
        {"tool": f"{PREFIX}create_backup", "input": {"version": "before-install"}},
        {"tool": f"{PREFIX}list_backups", "input": {}, "write": installer},
        {"tool": f"{PREFIX}rollback_to", "input": {"version": "before-instal"}},
        {"tool": f"{PREFIX}rollback_to", "input": {"version": "before-install"}},
        options=ALLOWED,
    )
    made, listed, refused, restored = results_in(requests[-1])
    # The structured result and nothing else, as compact JSON; of a refusal only the text.
    assert json.loads(made)["summary"].startswith("Backup before-install holds ")
    drifted = {drift["target"] for drift in json.loads(listed)["current"]["drift"]}
    assert drifted == {"user.hooks", "user.settings", "project.commands"}
    assert refused.startswith("not_found: ")
    assert "before-install" in refused
    assert json.loads(restored)["applied"]
    assert json.loads(restored)["safety_backup"]
    assert configuration(registered) == before


# A hook of the person's own that answers Claude Code's forms in their place, as a scripted session may have one.
AGREES = json.dumps(
    {"hookSpecificOutput": {"hookEventName": "Elicitation", "action": "accept", "content": {"apply": True}}}
)
ANSWERING = {"hooks": {"Elicitation": [{"hooks": [{"type": "command", "command": f"echo '{AGREES}'"}]}]}}


def test_a_model_cannot_agree_in_place_of_the_person(registered: ClaudeCode) -> None:
    """Claude Code offers forms, also where nobody sits: `declined`, whatever is in `accept`; a hook may answer them."""
    before = configuration(registered)
    settings = registered.home / ".claude" / "settings.json"
    tightened = json.loads(settings.read_bytes())
    tightened["permissions"]["allow"].remove("Bash(git status)")
    preview: Json = {"version": "loose", "dry_run": True}
    asked = registered.session(
        {"tool": f"{PREFIX}create_backup", "input": {"version": "loose"}},
        {"tool": f"{PREFIX}rollback_to", "input": preview, "write": {str(settings): json.dumps(tightened)}},
        options=ALLOWED,
    )
    lines = json.loads(results_in(asked[-1])[-1])["security_changes"]
    assert len(lines) == 1, lines
    assert lines[0].endswith("Bash(git status)")
    call: Json = {"tool": f"{PREFIX}rollback_to", "input": {"version": "loose", "accept": lines}}
    refused = results_in(registered.session(call, options=ALLOWED)[-1])[-1]
    assert refused.startswith("declined: nobody answered the question")
    assert "stravinsky-rollback rollback to" in refused
    assert json.loads(settings.read_bytes()) == tightened
    agreed = registered.session(call, options=(*ALLOWED, "--settings", json.dumps(ANSWERING)))
    assert json.loads(results_in(agreed[-1])[-1])["applied"]
    assert configuration(registered) == before


def deny_everything(claude: ClaudeCode, script: str) -> None:
    """Have a hook on every tool whose script is not there."""
    settings = claude.home / ".claude" / "settings.json"
    content = json.loads(settings.read_bytes())
    hook = {"type": "command", "command": f"python3 ~/.claude/hooks/{script}"}
    content["hooks"]["PreToolUse"].append({"matcher": "*", "hooks": [hook]})
    settings.write_text(json.dumps(content), encoding="utf-8")


def test_row_105_unlock_brings_a_session_back_in_which_every_tool_is_denied(registered: ClaudeCode) -> None:
    """Threat model, row 105: no tool, ours included, until a person types what the instructions say."""
    twin = [sys.executable, "-c", "from stravinsky_rollback_mcp.cli import main; main()"]
    guard = registered.home / ".claude" / "hooks" / "guard_all.py"
    ask: Json = {"tool": f"{PREFIX}list_backups", "input": {}}

    def answer() -> str:
        return results_in(registered.session(ask, options=ALLOWED)[-1])[-1]

    guard.write_text("import sys\nsys.exit(0)\n", encoding="utf-8")
    deny_everything(registered, "guard_all.py")
    assert "backups" in json.loads(answer())  # and the server has backed up what works
    guard.unlink()
    assert "guard_all.py" in answer()
    unlocked = clients.run([*twin, "unlock", "--yes"], home=registered.home, cwd=registered.project)
    assert unlocked.status == 0, unlocked
    assert guard.exists()
    assert "backups" in json.loads(answer())
    deny_everything(registered, "never_there.py")
    assert "never_there.py" in answer()
    unlocked = clients.run([*twin, "unlock", "--yes"], home=registered.home, cwd=registered.project)
    assert unlocked.status == 0, unlocked
    assert "backups" in json.loads(answer())
    assert "guard_all.py" in (registered.home / ".claude" / "settings.json").read_text(encoding="utf-8")


def test_undo_takes_back_what_the_model_itself_wrote(registered: ClaudeCode) -> None:
    """Claude Code's own Write tool breaks a guard hook; nobody made a backup but the server at session start."""
    before = configuration(registered)
    guard = str(registered.home / ".claude" / "hooks" / "guard_bash.py")
    requests = registered.session(
        {"tool": f"{PREFIX}list_backups", "input": {}},
        {"tool": "Read", "input": {"file_path": guard}},
        {"tool": "Write", "input": {"file_path": guard, "content": "import sys\n"}},
        {"tool": f"{PREFIX}undo", "input": {}},
        options=("--dangerously-skip-permissions",),
    )
    listed, _, written, undone = results_in(requests[-1])
    assert "updated" in written, written
    assert json.loads(listed)["total"] == 1
    assert json.loads(undone)["undone"]["operation"] == "edit"
    assert configuration(registered) == before


def test_its_own_hooks_keep_what_the_model_writes_between_calls(registered: ClaudeCode) -> None:
    """The README's settings, word for word but for the path: what a call has written is kept before the next one."""
    twin = shlex.join([sys.executable, "-c", "from stravinsky_rollback_mcp.cli import main; main()", "hook"])
    block = readme_block("hook-settings", "json")
    hooks = json.loads(block.replace("stravinsky-rollback hook", json.dumps(twin)[1:-1]))
    guard = registered.home / ".claude" / "hooks" / "guard_bash.py"
    requests = registered.session(
        {"tool": "Read", "input": {"file_path": str(guard)}},
        {"tool": "Write", "input": {"file_path": str(guard), "content": "first = 1\n"}},
        {"tool": "Write", "input": {"file_path": str(guard), "content": "second = 2\n"}},
        options=("--dangerously-skip-permissions", "--settings", json.dumps(hooks)),
    )
    assert "updated" in results_in(requests[-1])[-1]
    made = [record.draft for record in records_of(registered.home) if record.draft.actor.kind == "hook"]
    assert [(draft.event_type, draft.actor.name, draft.actor.tool) for draft in made if draft.version][-2:] == [
        ("BACKUP_CREATED", "PreToolUse", "Write"),
        ("BACKUP_CREATED", "Stop", ""),
    ]
    assert all(draft.actor.session_id for draft in made)
    undo = [sys.executable, "-c", "from stravinsky_rollback_mcp.cli import main; main()", "undo", "--yes"]
    undone = clients.run(undo, home=registered.home, cwd=registered.project)
    assert undone.status == 0, undone
    assert guard.read_text(encoding="utf-8") == "first = 1\n"


# --- how clients leave ---------------------------------------------------------------------------------------------

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


def tell(process: subprocess.Popen[bytes], message: Json) -> None:
    """Send one message."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


@contextmanager
def serving(home: Path, project: Path) -> Generator[subprocess.Popen[bytes]]:
    """A server that has answered its first request, in a process group of its own."""
    with subprocess.Popen(
        SERVER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clients.minimal(home),
        cwd=project,
        start_new_session=True,
    ) as process:
        try:
            tell(process, INITIALIZE)
            assert json.loads(clients.line_of(process.stdout))["result"]["serverInfo"]["name"] == NAME
            yield process
        finally:
            process.kill()


def leave_as_claude_code_does(process: subprocess.Popen[bytes]) -> float:
    """SIGINT, SIGTERM 100 ms later, SIGKILL after 500 ms, standard input open all the while; the seconds it took."""
    begun = time.monotonic()
    for number, seconds in ((signal.SIGINT, 0.1), (signal.SIGTERM, 0.4), (signal.SIGKILL, clients.WAIT_SECONDS)):
        process.send_signal(number)
        try:
            process.wait(seconds)
            break
        except subprocess.TimeoutExpired:
            continue
    return time.monotonic() - begun


def test_the_server_leaves_before_claude_code_kills_it(home: Path, project: Path, say: Callable[[str], None]) -> None:
    """An idle server ends with status 0 between SIGINT and SIGKILL, and leaves nobody behind."""
    realistic(home, project)
    ends: list[int | None] = []
    for _ in range(5):  # the machine may be busy now and then
        with serving(home, project) as process:
            took = leave_as_claude_code_does(process)
            ends.append(process.returncode)
        assert clients.living_in(home) == {}
        if ends[-1] == 0:
            say(f"SIGINT to end, idle: {took * 1000:.0f} ms")
            break
    assert ends[-1] == 0, ends


def test_the_server_ends_with_its_standard_input(home: Path, project: Path) -> None:
    """Closing standard input is how a client says goodbye: status 0 (MCP, transports, stdio)."""
    with serving(home, project) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(clients.WAIT_SECONDS) == 0
        assert clients.living_in(home) == {}


VANISHING = """
import json, signal, subprocess, sys
server = subprocess.Popen(json.loads(sys.argv[1]), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
server.stdin.write(sys.argv[2].encode() + b"\\n")
server.stdin.flush()
sys.stdout.buffer.write(server.stdout.readline())
sys.stdout.flush()
signal.pause()
"""


def test_the_server_ends_with_its_client(home: Path, project: Path) -> None:
    """A client that is killed takes the server with it: no orphan stays."""
    with subprocess.Popen(
        [sys.executable, "-c", VANISHING, json.dumps(SERVER), json.dumps(INITIALIZE)],
        stdout=subprocess.PIPE,
        env=clients.minimal(home),
        cwd=project,
    ) as client:
        try:
            clients.line_of(client.stdout)
            assert len(clients.living_in(home)) == 2
        finally:
            client.kill()
    clients.wait_until_gone(home)
