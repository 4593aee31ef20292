"""Every command that the README shows is run here, as it is written there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.config import realistic

from stravinsky_rollback_mcp.cli import main

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def _block(mark: str, language: str = "sh") -> str:
    """What is fenced directly after a mark."""
    found = re.search(rf"<!-- {mark} -->\n```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None, f"README.md has no block marked {mark}"
    return found[1]


def _run(line: str) -> tuple[int, str]:
    """One terminal command in this process; `~` is expanded as a shell would."""
    words = [os.path.expanduser(word) if word.startswith("~/") else word for word in shlex.split(line)]
    assert words[0] == "stravinsky-rollback"
    result = CliRunner().invoke(main, words[1:], catch_exceptions=False)
    return result.exit_code, result.output


def _move_away(project: Path) -> None:
    """Let there be backups of a project at a path where it is no more."""
    (project / ".claude").mkdir(parents=True)
    assert _run(f"stravinsky-rollback backup create --project {project}")[0] == 0
    shutil.rmtree(project)


def test_every_terminal_command_of_the_readme_works_in_the_order_shown(home: Path, project: Path) -> None:
    """README, section Terminal: a reader types these one after another."""
    realistic(home, project)
    lines = [line for line in _block("terminal-commands").splitlines() if line.strip()]
    hook = home / ".claude" / "hooks" / "guard_bash.py"
    before = hook.read_bytes()
    for place, line in enumerate(lines):
        if " adopt " in line:
            _move_away(Path(os.path.expanduser(line.split()[-1])))
        code, output = _run(line)
        assert code == (3 if " compare " in line else 0), f"{line}\n{output}"
        if place == 0:
            hook.write_text("# broken by an installer\n", encoding="utf-8")
    assert hook.read_bytes() == before


@pytest.mark.parametrize("source", ["readme", "example"])
def test_the_hooks_that_are_advised_are_as_claude_code_reads_them(home: Path, project: Path, source: str) -> None:
    """The settings of the README and of the example pass this program's own check, on a machine that has it."""
    shown = _block("hook-settings", "json")
    example = (REPOSITORY / "examples/project/.claude/settings.json").read_text(encoding="utf-8")
    user, _ = realistic(home, project)
    command = f"{shlex.quote(sys.executable)} -m stravinsky_rollback_mcp.cli hook"
    text = (shown if source == "readme" else example).replace("stravinsky-rollback hook", json.dumps(command)[1:-1])
    (user / "settings.json").write_text(text, encoding="utf-8")
    assert text.count(json.dumps(command)[1:-1]) >= 3
    checked = json.loads(CliRunner().invoke(main, ["check", "--json"]).stdout)
    assert [found for found in checked["findings"] if found["path"].endswith("~/.claude/settings.json")] == []


def test_the_readme_shows_every_command_that_there_is() -> None:
    """A command that the README does not tell of is not documented."""
    shown = README
    for name, command in main.commands.items():
        inner = getattr(command, "commands", {})
        for words in [f"{name} {child}" for child in inner] or [name]:
            assert f"stravinsky-rollback {words}" in shown, words


def _checkout(folder: Path) -> None:
    """What a clone of this checkout would hold."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    for name in (os.fsdecode(item) for item in names if item):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)


@pytest.mark.long
def test_the_one_command_of_the_readme_sets_up_and_shows_the_main_job(tmp_path: Path, home: Path) -> None:
    """README, section "See it work": on a machine with only Python and pip."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    _checkout(checkout)
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    path = f"{Path(sys.executable).resolve().parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", _block("demo-command")],
        cwd=checkout,
        env={**pip, "HOME": str(home), "PATH": path},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checks passed" in done.stdout
    assert not (home / ".claude").exists()
