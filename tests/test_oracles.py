"""What our checks say is what Claude Code itself says and does: its `doctor`, its validator, its sessions.

Skipped where Claude Code cannot be installed at the version that the rows were observed with.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import clients
from support.clients import Done
from support.frontmatter_rows import HEADS, NO_FIELDS, NO_YAML, WRONG_KIND
from support.settings_rows import ROWS

from stravinsky_rollback_mcp.core.checks import commands_validity
from stravinsky_rollback_mcp.core.checks.evidence import Evidence, Folder
from stravinsky_rollback_mcp.core.model import Scope

pytestmark = pytest.mark.long

ENVIRONMENT = {"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "IS_SANDBOX": "1"}

# How `doctor` says that it left out one entry; whatever else it says of a file, it dropped that whole.
_NOTES = ("was skipped", "was ignored", "was removed", "entry ignored", "matcher ignored", "ignored.")


@pytest.fixture
def claude(home: Path, project: Path) -> Callable[..., Done]:
    """Claude Code without a network, in the test's project."""
    binary, no_network = clients.claude_code(), clients.unshared()

    def run(*words: str) -> Done:
        return clients.run([*no_network, binary, *words], home=home, cwd=project, environment=ENVIRONMENT)

    return run


def test_settings_are_judged_as_doctor_judges_them(claude: Callable[..., Done], home: Path, project: Path) -> None:
    """Row by row, three files at a time, since each look takes a second."""
    folders = [home / ".claude", project / ".claude"]
    for folder in folders:
        folder.mkdir()
    places = [*(folder / "settings.json" for folder in folders), folders[1] / "settings.local.json"]
    verdicts: dict[str, str] = {}
    for names in _threes(list(ROWS)):
        for name, place in zip(names, places, strict=False):
            place.write_bytes(ROWS[name].content)
        said = claude("doctor").stdout
        assert "Claude Code doctor" in said
        for name, place in zip(names, places, strict=False):
            lines = [line for line in said.splitlines() if line.startswith(f"- {place}")]
            is_dropped = any(not any(note in line for note in _NOTES) for line in lines)
            verdicts[name] = "dropped" if is_dropped else "noted" if lines else "silent"
            place.unlink()
    assert verdicts == {name: row.real for name, row in ROWS.items()}


def _threes(names: list[str]) -> Iterator[list[str]]:
    return (names[place : place + 3] for place in range(0, len(names), 3))


def test_heads_are_judged_as_the_validator_judges_them(claude: Callable[..., Done], project: Path) -> None:
    """Commands, agents and skills alike, all in one look; what it calls an error is a warning of ours, and no other."""
    root = project / ".claude"
    files: dict[str, str] = {}
    for number, (name, row) in enumerate(HEADS.items()):
        for place in (f"commands/x{number}.md", f"agents/x{number}.md", f"skills/x{number}/SKILL.md"):
            path = root / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row.content)
            files[str(path)] = name
    said = claude("plugin", "validate", "--json", ".claude").json()
    errors = {item["file"]: tuple(sorted(error["path"] for error in item["errors"])) for item in said["contents"]}
    assert {path: errors.get(path, ()) for path in files} == {path: HEADS[name].real for path, name in files.items()}
    ours = {name for name, row in HEADS.items() if row.ours in (NO_YAML, NO_FIELDS, WRONG_KIND)}
    assert ours == {name for name, row in HEADS.items() if row.real}


def titled(name: str, description: str = "MARK") -> str:
    """A file with these two fields."""
    return f"---\nname: {name}\ndescription: {description}\n---\nbody\n"


# Path in a root -> the file, and whether a session's model is told of it. Each has a word of its own for MARK.
LOADED: dict[str, tuple[str, bool]] = {
    "skills/flat/SKILL.md": (titled("flat"), True),
    "skills/group/deep/SKILL.md": (titled("deep"), False),
    "skills/lower/skill.md": (titled("lower"), False),
    "skills/beside.md": (titled("beside"), False),
    "skills/both/SKILL.md": (titled("both"), True),
    "commands/both.md": (titled("x"), False),
    "commands/one.md": (titled("x"), True),
    "agents/team/whole.md": (titled("whole"), True),
    "agents/nameless.md": ("---\ndescription: MARK\n---\n", False),
    "agents/plain.md": ("# MARK\n", False),
    "agents/silent.md": ("---\nname: silent\n---\nMARK\n", False),
    "agents/colon.md": (titled("a:b"), False),
    "agents/hyphen.md": (titled("-a"), False),
    "agents/number.md": (titled("3"), False),
    "agents/list.md": (titled("list", "[MARK]"), False),
    "agents/broken.md": (titled("broken", "'MARK"), False),
}


def test_what_sessions_load_is_what_is_not_warned_of(home: Path, project: Path, tmp_path: Path) -> None:
    """One session's request names every skill, command and agent that is loaded; ours warns of all others."""
    marks = {path: f"MARK{number}x" for number, path in enumerate(LOADED)}
    texts = {path: text.replace("MARK", marks[path]).encode() for path, (text, _) in LOADED.items()}
    for path, text in texts.items():
        place = project / ".claude" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text)
    binary, no_network = clients.claude_code(), clients.unshared()
    environment = {**ENVIRONMENT, "ANTHROPIC_API_KEY": "no-key", "ENABLE_TOOL_SEARCH": "false"}
    command = clients.offline(no_network, tmp_path, [{"text": "done"}], [binary, "-p", "go"])
    done = clients.run(command, home=home, cwd=project, environment=environment)
    assert done.status == 0, done
    asked = json.dumps(clients.requests_in(tmp_path))
    assert {path: marks[path] in asked for path in LOADED} == {path: is_told for path, (_, is_told) in LOADED.items()}
    folders = [
        Folder(scope=Scope.PROJECT, component=name, path=name, files=tuple(files), texts=files)
        for name in ("commands", "agents", "skills")
        for files in [{path.partition("/")[2]: text for path, text in texts.items() if path.startswith(f"{name}/")}]
    ]
    found = commands_validity.check(Evidence(folders=tuple(folders)))
    # Of two of one name the one that is loaded is told, with the other in the words.
    named = {path for path in LOADED for item in found if path in (item.path, item.message.partition(" ")[0])}
    named |= {path for path in LOADED for item in found if path.startswith(f"{item.path}/")}
    assert named - {"skills/both/SKILL.md"} == {path for path, (_, is_told) in LOADED.items() if not is_told}
