"""What a hook needs besides its script is looked for; what is lacking is told as a warning, without values."""

import json
from typing import Any

import pytest

from stravinsky_rollback_mcp.core.checks.dependencies import check
from stravinsky_rollback_mcp.core.checks.evidence import Evidence, Imports, Script, ScriptState, SettingsText
from stravinsky_rollback_mcp.core.model import Effect, Finding, Scope
from stravinsky_rollback_mcp.core.scripts import Roots

SCRIPT = Script(
    path="/h/x", state=ScriptState.FILE, shebang="python", interpreter="python3", is_readable=True, is_executable=True
)
ALL = frozenset({"python3", "uv", "jq", "echo", "if", "~/venv/bin/python", "S3CRET", "fmt"})


def found(command: str, *, settings: Any = None, event: str = "PreToolUse", **evidence: Any) -> tuple[Finding, ...]:
    """What the check says of one command, on a machine that has none of the programs in ``ALL``."""
    content: dict[str, Any] = {
        "hooks": {event: [{"hooks": [{"type": "command", "command": command}]}]},
        **(settings or {}),
    }
    file = SettingsText(scope=Scope.USER, component="settings", path="s", content=json.dumps(content).encode())
    given: dict[str, Any] = {"absent_programs": ALL, "scripts": {"/h/x": SCRIPT}} | evidence
    return check(Evidence(roots=Roots(home="/h", project="/p"), settings=(file,), **given))


COMMANDS: dict[str, tuple[str, str]] = {
    "an interpreter": ("python3 ~/x", "python3 was not found"),
    "a runner": ("uv run ~/x", "uv was not found"),
    "the path of an interpreter": ("~/venv/bin/python ~/x", "~/venv/bin/python was not found"),
    "any program": ("jq . | cat", "its program was not found"),
    "behind an assignment": ("A=1 jq .", "its program was not found"),
    "a first line": ("~/x", "what the first line of ~/x names was not found"),
    "another program": ("cat ~/x", ""),
    "the shell's own": ("echo hello", ""),
    "a condition": ("if true; then true; fi", ""),
    "a function": ("fmt() { cat; }; fmt", ""),
    "an expansion": ('"$TOOL" x', ""),
}


@pytest.mark.parametrize(("command", "expected"), COMMANDS.values(), ids=COMMANDS.keys())
def test_programs_that_are_not_there_are_told(command: str, expected: str) -> None:
    """Without its program a hook ends with 127 and silently does nothing."""
    assert [(item.severity, item.effect, expected in item.message) for item in found(command)] == (
        [("warning", Effect.NONE, True)] if expected else []
    )


def test_a_first_word_that_may_be_a_key_is_not_told() -> None:
    """A helper that holds the key itself instead of a command is a mistake that people make."""
    findings = found("S3CRET", settings={"apiKeyHelper": "S3CRET"})
    assert len(findings) == 2
    assert "S3CRET" not in repr(findings)


def test_what_settings_change_is_not_judged() -> None:
    """Sessions look where the settings' own PATH says."""
    assert found("python3 ~/x", settings={"env": {"PATH": "/opt/tools"}}) == ()


def lacks(command: str, *, is_known: bool = True, python: str = "python3", settings: Any = None) -> list[str]:
    """Severities where the script imports two modules that its Python does not find."""
    imports = {(python, "/h/x"): Imports(missing=("requests", "yaml"), is_known=is_known)}
    return [
        str(item.severity) for item in found(command, settings=settings, absent_programs=frozenset(), imports=imports)
    ]


@pytest.mark.parametrize("command", ["python3 ~/x", "~/x"])
def test_modules_that_are_not_found_are_told(command: str) -> None:
    """The Python that counts is the one that the command names, or the script's first line."""
    assert lacks(command) == ["warning"]


def test_modules_of_others_are_not_judged() -> None:
    """Another Python may have them, and uv brings them."""
    assert lacks("python3.12 ~/x") == []
    assert lacks("uv run ~/x", python="uv") == []


def test_where_modules_cannot_be_told_that_is_said() -> None:
    """A script or a setting that changes where Python looks, or a Python whose layout is not known."""
    assert lacks("python3 ~/x", is_known=False) == ["info"]
    assert lacks("PYTHONPATH=~/lib python3 ~/x") == ["info"]
    assert lacks("python3 ~/x", settings={"env": {"PYTHONPATH": "/lib"}}) == ["info"]


def test_the_modules_are_named() -> None:
    """Names of modules are no values; the line is the handler's."""
    imports = {("python3", "/h/x"): Imports(missing=("a", "b", "c", "d", "e", "f"), is_known=True)}
    (finding,) = found("python3 ~/x", absent_programs=frozenset(), imports=imports)
    assert "imports a, b, c, d, e and 1 more, which" in finding.message
    assert finding.line == 1
