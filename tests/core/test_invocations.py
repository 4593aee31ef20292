"""Commands as people write them: which program, which script, and whether nothing else is run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.invocations import invocation_of, program_of
from stravinsky_rollback_mcp.core.scripts import Roots

ROOTS = Roots(home="/home/ada", project="/srv/app")
HOOKS = "/srv/app/.claude/hooks"

# Each with its program, its script, and whether nothing else is run.
COMMANDS = [
    ("python3 ~/.claude/hooks/x.py --flag", "python", "/home/ada/.claude/hooks/x.py", True),
    ("/usr/bin/python3.12 -u -W ignore .claude/hooks/x.py", "python", f"{HOOKS}/x.py", True),
    ("uv run $CLAUDE_PROJECT_DIR/.claude/hooks/x.py --log", "uv", f"{HOOKS}/x.py", True),
    ("uv run --with rich --script ${CLAUDE_PROJECT_DIR}/.claude/hooks/x.py", "uv", f"{HOOKS}/x.py", True),
    ("uv run python .claude/hooks/x.py", "python", f"{HOOKS}/x.py", True),
    ("uv run ruff check .", "uv", None, True),
    ("uv sync", "uv", None, True),
    ("bash .claude/hooks/x.sh", "bash", f"{HOOKS}/x.sh", True),
    ("bash -eu -o pipefail .claude/hooks/x.sh", "bash", f"{HOOKS}/x.sh", True),
    ("bash -c 'echo hi'", "bash", None, True),
    ('"$CLAUDE_PROJECT_DIR"/.claude/hooks/x.sh', "", f"{HOOKS}/x.sh", True),
    ('"$HOME/.claude/hooks/session start.sh"', "", "/home/ada/.claude/hooks/session start.sh", True),
    ("bun run .claude/hooks/x.ts", "bun", f"{HOOKS}/x.ts", True),
    ("bun run lint", "bun", None, True),
    ("node --require ./a.js .claude/hooks/x.mjs", "node", f"{HOOKS}/x.mjs", True),
    ("python3 hook.py", "python", "/srv/app/hook.py", True),
    ("python3 -m module", "python", None, True),
    ("DEBUG=1 env LANG=C python3 .claude/hooks/x.py", "python", f"{HOOKS}/x.py", True),
    ("timeout 5 python3 .claude/hooks/x.py", "python", f"{HOOKS}/x.py", True),
    ("python3 .claude/hooks/x.py 2>/dev/null", "python", f"{HOOKS}/x.py", True),
    ("python3 .claude/hooks/x.py >> log.txt 2>&1", "python", f"{HOOKS}/x.py", True),
    ("cd $CLAUDE_PROJECT_DIR/.claude && python3 hooks/x.py", "python", f"{HOOKS}/x.py", True),
    ("python3 .claude/hooks/x.py || true", "python", f"{HOOKS}/x.py", False),
    ("cat | python3 .claude/hooks/x.py", "", None, False),
    ("python3 $(which x.py)", "python", None, False),
    ("python3 ${CLAUDE_PLUGIN_ROOT}/x.py", "python", None, True),
    ("if true; then\n python3 x.py\nfi", "", None, False),
    ("jq -r .tool_name", "", None, True),
    ("", "", None, True),
]


@pytest.mark.parametrize(("command", "program", "script", "is_whole"), COMMANDS)
def test_a_command_is_told_apart(command: str, program: str, script: str | None, is_whole: bool) -> None:  # noqa: FBT001
    """The forms of public configurations: interpreters with options, bare scripts, wrappers, pipes, inline code."""
    found = invocation_of(command, (), ROOTS, is_direct=False)
    assert (found.program, found.script, found.is_whole) == (program, script, is_whole)


def test_arguments_meet_no_shell() -> None:
    """With ``args`` a bar is a bar; scripts among the arguments are still named."""
    found = invocation_of("bash", ("${CLAUDE_PROJECT_DIR}/run.sh", "a | b", "~/x.py"), ROOTS, is_direct=True)
    assert (found.program, found.script, found.is_whole) == ("bash", "/srv/app/run.sh", True)
    assert found.others == ("/home/ada/x.py",)


def test_what_looks_like_a_script_is_named_too() -> None:
    """A wrapper that takes a second script, and what stands behind a pipe; a log file is neither."""
    found = invocation_of(".claude/run.sh .claude/a.py | tee ~/b.log", (), ROOTS, is_direct=False)
    assert found.script == "/srv/app/.claude/run.sh"
    assert found.others == ("/srv/app/.claude/a.py",)
    assert invocation_of("cat | python3 ~/x.py", (), ROOTS, is_direct=False).others == ("/home/ada/x.py",)


@pytest.mark.parametrize(("word", "name"), [("/usr/bin/python3.11", "python"), ("zsh", "zsh"), ("pythonic", "")])
def test_an_interpreter_is_known_by_its_name(word: str, name: str) -> None:
    """Whatever its folder and version."""
    assert program_of(word) == name


@given(st.text(alphabet="ab/.py $'\"|&;<>()\n-=~`\\#", max_size=40), st.booleans())
def test_any_command_is_told_something_of(command: str, is_direct: bool) -> None:  # noqa: FBT001
    """Commands come from files that anybody wrote; a script's path is absolute or there is none."""
    found = invocation_of(command, (), ROOTS, is_direct=is_direct)
    assert all(path.startswith("/") for path in (*found.others, found.script or "/"))
