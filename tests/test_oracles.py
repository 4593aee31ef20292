"""What our checks say is what Claude Code itself says: its `doctor` of settings, its validator of Markdown.

Skipped where Claude Code cannot be installed at the version that the rows were observed with.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import clients
from support.clients import Done
from support.frontmatter_rows import HEADS, NO_FIELDS, NO_YAML, WRONG_KIND
from support.settings_rows import ROWS

pytestmark = pytest.mark.long

# How `doctor` says that it left out one entry; whatever else it says of a file, it dropped that whole.
_NOTES = ("was skipped", "was ignored", "was removed", "entry ignored", "matcher ignored", "ignored.")


@pytest.fixture
def claude(home: Path, project: Path) -> Callable[..., Done]:
    """Claude Code without a network, in the test's project."""
    binary, no_network = clients.claude_code(), clients.unshared()
    environment = {"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "IS_SANDBOX": "1"}

    def run(*words: str) -> Done:
        return clients.run([*no_network, binary, *words], home=home, cwd=project, environment=environment)

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
