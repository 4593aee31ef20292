"""What is said of commands, skills and agents is what Claude Code makes of them; never an error, never a value."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frontmatter_rows import HEADS, NO_YAML, NONE, OPEN, Head

from stravinsky_rollback_mcp.core.checks.commands_validity import check, hooks_of, is_document
from stravinsky_rollback_mcp.core.checks.evidence import Evidence, Folder, Script, ScriptState, SettingsText
from stravinsky_rollback_mcp.core.checks.frontmatter import MAX_FRONTMATTER_BYTES, State, frontmatter, head_of
from stravinsky_rollback_mcp.core.model import Effect, Finding, Scope
from stravinsky_rollback_mcp.core.scripts import Roots

SECRET = "S3CRETvalue"
AGENT = b"---\nname: a\ndescription: d\n---\nbody\n"
ROOTS = Roots(home="/h", project="/p")


def folder(component: str, texts: dict[str, bytes], scope: Scope = Scope.USER, **more: Any) -> Folder:
    """A folder with these files; other files have no text that matters."""
    files = (*texts, *more.pop("files", ()))
    return Folder(scope=scope, component=component, path=f"{scope}/{component}", files=files, texts=texts, **more)


def found(*folders: Folder, **evidence: Any) -> tuple[Finding, ...]:
    """What the check says of some folders."""
    return check(Evidence(roots=ROOTS, folders=folders, **evidence))


def told(*folders: Folder) -> list[tuple[str, str]]:
    """Severity and path of each finding."""
    return [(str(item.severity), item.path) for item in found(*folders)]


@pytest.mark.parametrize("row", HEADS.values(), ids=HEADS.keys())
def test_each_head_is_read_as_claude_code_reads_it(row: Head) -> None:
    """The rows were compared with `claude plugin validate`; what it says nothing of may still be a finding of ours."""
    findings = found(folder("commands", {"x.md": row.content}))
    assert [row.ours in item.message for item in findings] == ([] if row.ours == NONE else [True])
    assert {str(item.severity) for item in findings} <= ({"info"} if row.ours == OPEN else {"warning"})
    assert all(item.effect is Effect.NONE for item in findings)


def test_the_line_at_which_yaml_ends_is_told() -> None:
    """Counted in the file, not in the block."""
    (finding,) = found(folder("skills", {"x/SKILL.md": b"---\na: 1\nb: c: d\n  e\n---\n"}))
    assert (finding.line, NO_YAML in finding.message) == (4, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (AGENT, []),
        (b"---\ndescription: d\n---\n", ["warning"]),
        (b"---\nname: a\n---\n", ["warning"]),
        (b"---\nname: a:b\ndescription: d\n---\n", ["warning"]),
        (b"---\nname: -a\ndescription: d\n---\n", ["warning"]),
        (b"---\nname: 3\ndescription: d\n---\n", ["warning"]),
        (b"---\nname: a\ndescription: 3\n---\n", ["warning"]),
        (b"---\nname: a\ndescription: x: y\n z\n---\n", ["warning"]),
        (b"# An agent\n", ["info"]),
    ],
    ids=[
        "whole",
        "no name",
        "no description",
        "colon",
        "hyphen",
        "number as name",
        "number",
        "broken",
        "no frontmatter",
    ],
)
def test_an_agent_needs_name_and_description(text: bytes, expected: list[str]) -> None:
    """Claude Code leaves the others out without a word, and its validator does not tell."""
    assert [item.severity for item in found(folder("agents", {"team/x.md": text}))] == expected


def test_documentation_beside_agents_is_fine_and_beside_commands_a_command() -> None:
    """Every Markdown file below `commands` becomes one."""
    assert told(folder("agents", {"README.md": b"# Agents\n"})) == []
    assert told(folder("commands", {"README.md": b"# Commands\n"})) == [("info", "user/commands/README.md")]


def test_a_skill_is_a_folder_with_its_file() -> None:
    """Only NAME/SKILL.md is loaded; plugins and folders of shared files are none."""
    skill = b"---\ndescription: d\n---\n"
    assert told(
        folder(
            "skills",
            {"good/SKILL.md": skill, "beside.md": skill, "README.md": b"# Skills\n"},
            files=[
                *("case/skill.md", "deep/er/SKILL.md", "none/notes.md", "_shared/notes.md", "data/x.json"),
                "plugin/.claude-plugin/plugin.json",
            ],
            links=("linked", "good/references"),
            dangling=("gone",),
        )
    ) == [
        ("warning", "user/skills/gone"),
        ("warning", "user/skills/case/skill.md"),
        ("warning", "user/skills/deep/er/SKILL.md"),
        ("warning", "user/skills/linked"),
        ("warning", "user/skills/none"),
        ("warning", "user/skills/beside.md"),
    ]


def test_what_was_not_read_is_said() -> None:
    """Never passed in silence."""
    commands = folder("commands", {}, files=["large.md", "other.txt"], links=("elsewhere",))
    assert told(commands) == [("info", "user/commands/large.md"), ("info", "user/commands/elsewhere")]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (("commands", "a/b.md"), ("commands", "a/B.md"), "warning"),
        (("commands", "a.md"), ("skills", "a/SKILL.md"), "warning"),
        (("agents", "a.md"), ("agents", "b.md"), "warning"),
        (("commands", "a.md"), ("agents", "a.md"), "none"),
        (("commands", "a.md"), ("commands", "b/a.md"), "none"),
        (("output_styles", "a.md"), ("rules", "a.md"), "none"),
    ],
)
def test_names_clash_within_a_scope(before: tuple[str, str], after: tuple[str, str], expected: str) -> None:
    """Commands by their path, skills by their folder, agents by their field; the first two share their names."""
    findings = found(*(folder(component, {path: AGENT}) for component, path in (before, after)))
    assert [str(item.severity) for item in findings] == ([] if expected == "none" else [expected])


def test_names_of_both_scopes_are_legal() -> None:
    """The person's commands come before the project's: something to know, no fault."""
    mine, theirs = (folder("commands", {"a.md": b""}, scope) for scope in (Scope.USER, Scope.PROJECT))
    (finding,) = found(mine, theirs)
    assert (finding.severity, finding.path) == ("info", "project/commands/a.md")
    assert told(mine, folder("commands", {"A.md": b""}, Scope.PROJECT)) == []


def test_the_nearer_namesake_is_told() -> None:
    """Two agents of one project clash, whatever the person has."""
    agents = folder("agents", {"a.md": AGENT}), folder("agents", {"b.md": AGENT, "c.md": AGENT}, Scope.PROJECT)
    assert told(*agents) == [("info", "project/agents/b.md"), ("warning", "project/agents/c.md")]


def test_hooks_of_a_head_name_scripts_too() -> None:
    """They concern one skill alone: a missing script is a warning, where in settings it would lock the session."""
    text = b"---\nhooks:\n  PreToolUse:\n  - hooks:\n    - type: command\n      command: python3 ~/x.py\n---\n"
    skills = folder("skills", {"a/SKILL.md": text})
    (hook,) = hooks_of((skills,), ROOTS)
    assert hook.runs.script == "/h/x.py"
    absent = Script(path="/h/x.py", state=ScriptState.ABSENT)
    (finding,) = found(skills, scripts={"/h/x.py": absent})
    assert (finding.check, finding.severity, finding.effect) == ("commands_validity", "warning", Effect.NONE)


@pytest.mark.parametrize(
    ("settings", "severity"),
    [
        (b'{"outputStyle": "Learning"}', []),
        (b'{"outputStyle": "Own"}', []),
        (b'{"outputStyle": "file"}', []),
        (b'{\n"outputStyle": "own"}', ["warning"]),
        (b'{"outputStyle": "named"}', ["warning"]),
        (b'{"outputStyle": "brought", "enabledPlugins": {"a@b": true}}', []),
        (b"{bad", []),
    ],
    ids=["built in", "a field", "a file", "another case", "a field's file", "a plugin's", "no settings"],
)
def test_a_style_that_settings_name_is_there(settings: bytes, severity: list[str]) -> None:
    """In just its letters, by the field or else the file: sessions go on without one that is not there."""
    styles = folder("output_styles", {"named.md": b"---\nname: Own\n---\n", "sub/file.md": b"text"})
    file = SettingsText(scope=Scope.USER, component="settings", path="s", content=settings)
    assert [item.severity for item in found(styles, settings=(file,))] == severity
    assert found(settings=(file,)) == (), "nobody looked"


@pytest.mark.parametrize(
    ("block", "state"),
    [
        (b"a: " + b"[" * 100, State.UNJUDGED),
        (b"a: &x 1\nb: *x", State.UNJUDGED),
        (b"a: " + b"x" * MAX_FRONTMATTER_BYTES, State.UNJUDGED),
        (b"\n" * 30_000, State.READ),
        (b"a: 1\n...\n", State.READ),
    ],
    ids=["deep", "aliases", "long", "blank lines", "an end of document"],
)
def test_what_is_too_much_is_not_judged(block: bytes, state: State) -> None:
    """A hostile head costs little and brings nothing down."""
    text = b"---\n" + block + b"\n---\n"
    assert frontmatter(text).state is state
    assert frontmatter(head_of(text)).state is state


def test_no_value_is_ever_told() -> None:
    """Names of fields are ours, values are not."""
    for block in ("name: {0}\ndescription: {0}: {0}", "description: [{0}]", "hooks: {0}", "{0}: '", "- {0}"):
        findings = found(folder("agents", {"x.md": f"---\n{block.format(SECRET)}\n---\n".encode()}))
        assert SECRET not in repr(findings)


@given(
    st.binary(max_size=60)
    | st.text(alphabet="-:[]{}&*!|>'\"%@`#,? \t\r\nab1~<=.\x85\u2028", max_size=60).map(str.encode),
    st.sampled_from(["commands", "agents", "skills", "output_styles", "rules"]),
)
def test_any_bytes_are_judged(block: bytes, component: str) -> None:
    """Whatever stands in a file, something is said or nothing; never an exception."""
    path = "x/SKILL.md"
    assert is_document(component, path)
    settings = (SettingsText(scope=Scope.USER, component="settings", path="s", content=b'{"outputStyle": "x"}'),)
    for text in (block, *(b"---\n" + name + block + b"\n---\n" for name in (b"", b"hooks: ", b"name: "))):
        findings = found(folder(component, {path: text}), settings=settings)
        assert all(item.severity in ("warning", "info") for item in findings)
        assert frontmatter(head_of(text)) == frontmatter(text)
