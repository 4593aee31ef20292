"""Which files the commands in settings name; the forms are those of real configurations."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.scripts import Roots, named_scripts

ROOTS = Roots(home="/home/me", project="/home/me/app")


def _settings(command: str, **handler: object) -> bytes:
    return json.dumps(
        {"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": command, **handler}]}]}}
    ).encode()


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("python3 ~/.claude/hooks/x.py", {"/home/me/.claude/hooks/x.py"}),
        ("uv run $CLAUDE_PROJECT_DIR/.claude/hooks/x.py --flag", {"/home/me/app/.claude/hooks/x.py"}),
        ('"$CLAUDE_PROJECT_DIR"/.claude/hooks/a b.sh', {"/home/me/app/.claude/hooks/a"}),
        ('"${CLAUDE_PROJECT_DIR}/.claude/hooks/a b.sh"', {"/home/me/app/.claude/hooks/a b.sh"}),
        ("bash .claude/hooks/x.sh", {"/home/me/app/.claude/hooks/x.sh"}),
        ("$HOME/.claude/hooks/x.sh && ./other.sh", {"/home/me/.claude/hooks/x.sh", "/home/me/app/other.sh"}),
        ("cd /tmp;/opt/guard", {"/tmp", "/opt/guard"}),
        ("$(cat /etc/x)/guard.sh", {"/etc/x"}),
        ("${CLAUDE_PLUGIN_ROOT}/x.sh", set[str]()),
        ("curl https://example.test/x.sh", set[str]()),
        ("echo done", set[str]()),
        ("python3 'unclosed ~/.claude/hooks/x.py", {"/home/me/.claude/hooks/x.py"}),
        ("", set[str]()),
    ],
)
def test_the_scripts_of_a_command_are_found(command: str, named: set[str]) -> None:
    """Forms counted in public configurations: interpreters, variables, quotes, chains, inline shell."""
    assert named <= named_scripts([_settings(command)], ROOTS)
    assert "/home/me/app/$" not in "".join(named_scripts([_settings(command)], ROOTS))


def test_a_command_with_arguments_is_not_split() -> None:
    """Claude Code's exec form: no shell, the command is one word and the script often an argument."""
    found = named_scripts([_settings("/opt/my tools/run", args=["-c", "~/.claude/hooks/x.py"])], ROOTS)
    assert found == {"/opt/my tools/run", "/home/me/.claude/hooks/x.py"}


def test_status_lines_and_key_helpers_are_commands_too() -> None:
    """They are executed as hooks are."""
    content = json.dumps({"statusLine": {"type": "command", "command": "~/s.sh"}, "apiKeyHelper": "~/k.sh"}).encode()
    assert named_scripts([content], ROOTS) == {"/home/me/s.sh", "/home/me/k.sh"}


def test_settings_that_do_not_load_name_nothing() -> None:
    """Claude Code drops such a file whole."""
    assert named_scripts([b"{bad", None, b"[]", b""], ROOTS) == frozenset()


@given(st.binary(max_size=300) | st.text(max_size=60).map(_settings))
def test_nothing_is_raised_whatever_the_file_holds(content: bytes) -> None:
    """The file is untrusted text."""
    assert all(path.startswith("/") for path in named_scripts([content], ROOTS))


def test_a_home_with_odd_letters_hides_no_script() -> None:
    """A folder named `app (1)` or `$work` is no expansion: the words of the command are what the shell reads."""
    roots = Roots(home="/home/it's $me", project="/src/app (1) [x]")
    settings = b'{"statusLine": {"command": "~/a.sh \\"$CLAUDE_PROJECT_DIR\\"/b.sh $HOME/c.sh /d$X.sh"}}'
    assert named_scripts([settings], roots) == {
        "/home/it's $me/a.sh",
        "/src/app (1) [x]/b.sh",
        "/home/it's $me/c.sh",
    }
