"""``compare`` in the terminal: a diff that people read, a status that scripts read."""

import json
from pathlib import Path

from cli.conftest import Run

from stravinsky_rollback_mcp import schema

SECRET = "Zq7MARKERsecret91x"


def test_what_differs_is_shown_and_is_exit_3(run: Run, configured: tuple[Path, Path]) -> None:
    """Contract: 3 when there are differences, 0 when there are none; ``--json`` is the tool's very model."""
    run("backup", "create", "v1")
    same = run("compare")
    assert (same.exit_code, same.stdout) == (0, "v1 and live are the same.\n")
    (configured[0] / "hooks/guard_bash.py").write_text(f"# new\nTOKEN = '{SECRET}'\n", encoding="utf-8")
    result = run("compare", "v1")
    assert result.exit_code == 3
    assert "--- ~/.claude/hooks/guard_bash.py  v1\n+++ ~/.claude/hooks/guard_bash.py  live\n" in result.stdout
    assert "\n+# new\n+TOKEN = ***\n" in result.stdout
    assert "\x1b" not in result.stdout
    assert run("compare", "v1", "--quiet").stdout == result.stdout
    answer = run("compare", "--json")
    assert answer.exit_code == 3
    document = json.loads(answer.stdout)
    assert set(document) == set(schema.CompareResult.model_fields)
    assert document["diff"].splitlines()[0] == "--- ~/.claude/hooks/guard_bash.py\tv1"
    assert SECRET not in result.stdout + answer.stdout


def test_two_backups_and_a_path_are_compared(run: Run, configured: tuple[Path, Path]) -> None:
    """``compare V OTHER --path P``; what is alike there is exit 0, and nothing is offered to go back to."""
    run("backup", "create", "v1")
    (configured[0] / "CLAUDE.md").write_text("# Other rules\n", encoding="utf-8")
    run("backup", "create", "v2")
    assert run("compare", "v1", "v2", "--path", "~/.claude/hooks").exit_code == 0
    result = run("compare", "v1", "v2", "--path", "~/.claude/CLAUDE.md")
    assert result.exit_code == 3
    assert "-# House rules\n" in result.stdout
    assert "To go back" not in result.stdout
    assert run("compare", "v1", "live").exit_code == 3
    assert run("compare", "v2", "v1").stdout.count("+# House rules\n") == 1


def test_long_lines_and_many_files_fit_the_terminal(run: Run, configured: tuple[Path, Path]) -> None:
    """80 columns, nothing lost: a line is folded, the rest of a long diff has a cursor."""
    run("backup", "create", "v1")
    for number in range(300):
        (configured[0] / f"hooks/{'long name ' * 8}{number}.py").write_text("word " * 40, encoding="utf-8")
    result = run("compare")
    assert max(map(len, result.stdout.splitlines())) <= 80
    (more,) = [line for line in result.stdout.splitlines() if line.startswith("More with --cursor")]
    cursor = more.rpartition(" ")[2]
    assert run("compare", "--cursor", cursor).stdout != result.stdout
    assert run("compare", "v1", "--cursor", "x").exit_code == 1


def test_nothing_to_compare_with_says_what_to_do(run: Run, configured: tuple[Path, Path]) -> None:
    """An empty store, and a version that does not exist."""
    assert configured[0].is_dir()
    result = run("compare")
    assert (result.exit_code, result.stderr.partition(":")[0]) == (1, "not_found")
    assert "backup create" in result.stderr
    run("backup", "create", "v1")
    assert "newest first: v1;" in run("compare", "v2").stderr
