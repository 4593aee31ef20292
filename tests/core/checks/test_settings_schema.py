"""What we say of settings files is what Claude Code does with them, and never holds a value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.settings_rows import GOOD, ROWS, Row, hook

from stravinsky_rollback_mcp.core.checks.evidence import Evidence, SettingsText
from stravinsky_rollback_mcp.core.checks.settings_schema import check, is_dropped
from stravinsky_rollback_mcp.core.model import Effect, Finding, Scope, Severity


def found(content: bytes, *, is_restore: bool = False) -> tuple[Finding, ...]:
    """What the check says of one file."""
    file = SettingsText(scope=Scope.USER, component="settings", path="~/.claude/settings.json", content=content)
    return check(Evidence(settings=(file,), is_restore=is_restore))


def gravest(findings: tuple[Finding, ...]) -> str:
    """The highest severity, ``none`` without findings."""
    return next((str(severity) for severity in Severity if any(item.severity is severity for item in findings)), "none")


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_severity_is_what_claude_code_does(row: Row) -> None:
    """The table, row by row (Claude Code 2.1.330, `claude doctor` and live sessions)."""
    assert (gravest(found(row.content)), gravest(found(row.content, is_restore=True))) == (row.new, row.restore)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_file_that_is_dropped_is_known_to_be(row: Row) -> None:
    """Deny rules in such a file deny nothing: consent is asked as if it had none."""
    assert is_dropped(row.content) == (row.real == "dropped")
    assert any(item.effect is Effect.DROPPED for item in found(row.content)) == (row.real == "dropped")


def test_no_file_is_not_a_dropped_one() -> None:
    """Absence is a state."""
    assert not is_dropped(None)


@pytest.mark.parametrize(
    ("content", "fix"),
    [
        ({"permission": {}}, "did you mean permissions?"),
        ({"permissions": {"alow": []}}, "did you mean allow?"),
        ({"hooks": {"PreToolUsed": []}}, "did you mean PreToolUse?"),
        (hook("Stop", {**GOOD, "mtcher": "x"}), "did you mean matcher?"),
        (hook("Stop", {"hooks": [{"type": "command", "command": "x", "timeuot": 1}]}), "did you mean timeout?"),
        ({"statusLine": {"type": "command", "command": "x", "pading": 1}}, "did you mean padding?"),
        ({"sandbox": {"network": {"allowedDomain": []}}}, "did you mean allowedDomains?"),
    ],
)
def test_the_nearest_known_key_is_named(content: object, fix: str) -> None:
    """At any depth: Claude Code itself says nothing of an unknown key."""
    assert [item.fix for item in found(json.dumps(content).encode())] == [fix]


def test_lines_are_those_of_the_file() -> None:
    """A person jumps to the line: of the key, of the second mention, of the broken place."""
    content = b'{\n  "model": "x",\n  "hooks": {\n    "Stop": [\n      {"hooks": [\n        {"type": "no"}]}]},\n'
    assert [item.line for item in found(content + b'  "model": "y"\n}')] == [6, 7]
    assert [item.line for item in found(b'{\n\n  "a": 1,\n}')] == [4]


def test_servers_are_told_where_they_belong() -> None:
    """`mcpServers` in settings is ignored; people write it there all the same."""
    (finding,) = found(b'{"mcpServers": {}}')
    assert ".mcp.json" in finding.fix


SECRET = "hunter2-S3CRET"


@pytest.mark.parametrize(
    "content",
    [
        {"env": SECRET},
        {"env": {"A": [SECRET]}},
        {"apiKeyHelper": [SECRET]},
        {"permissions": {"defaultMode": SECRET, "allow": [SECRET.lower(), f"Bash({SECRET}"]}},
        hook("PreToolUse", {"hooks": [{"type": SECRET, "headers": SECRET, "command": [SECRET]}]}),
        hook("PreToolUse", {"matcher": f"{SECRET}(", "hooks": SECRET}),
        {"mcpServers": {"x": {"env": {"TOKEN": SECRET}}}},
        {"effortLevel": SECRET, "statusLine": SECRET, "sandbox": {"network": SECRET}},
    ],
)
def test_no_value_is_ever_told(content: object) -> None:
    """Names of keys may be shown, values never: they may be secrets."""
    findings = found(json.dumps(content).encode())
    assert findings
    assert SECRET.lower() not in repr(findings).lower()


values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["hooks", "PreToolUse", "Stop", "permissions", "allow", "env", "a"]), inner)
    ),
    max_leaves=12,
)


@given(values)
def test_any_json_is_judged(value: object) -> None:
    """Whatever stands in the file, something is said or nothing; never an exception."""
    content = json.dumps(value, indent=1).encode()
    assert isinstance(found(content), tuple)
    assert is_dropped(content) == any(item.effect is Effect.DROPPED for item in found(content))


@given(st.binary(max_size=40) | st.text(alphabet='{}[]:,"\\ \n1ab', max_size=40).map(str.encode))
def test_any_bytes_are_judged(content: bytes) -> None:
    """Broken files are what this check is for."""
    assert isinstance(found(content), tuple)
