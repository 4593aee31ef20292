"""What holds for every command: options, statuses, refusals, and what may stand on which stream."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from support.tree import Spec, build, snapshot

from stravinsky_rollback_mcp.cli import main
from stravinsky_rollback_mcp.cli.terminal import Terminal, with_terminal

Run = Callable[..., Result]
Type = Callable[..., tuple[int, str]]

_WITHOUT_COMMON_OPTIONS = {"demo", "serve"}


def _commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(_commands(main))


def test_the_commands_are_those_of_the_contract() -> None:
    """Contract, section Terminal: what of it belongs to the first release."""
    assert {" ".join(words) for words in COMMANDS} == {
        *("backup create", "backup list", "backup show", "backup verify"),
        *("backup pin", "backup unpin", "backup cleanup", "backup forget", "adopt"),
        *("config show", "config set"),
        *("rollback list", "rollback show", "rollback to", "rollback undo", "rollback redo", "rollback auto"),
        *("recovery file", "recovery directory", "recovery version", "recovery emergency", "recovery resume"),
        *("update begin", "update finish", "update run"),
        *("undo", "redo", "unlock", "check", "status", "compare", "audit log", "audit verify", "audit export"),
        *("hook", "demo", "serve"),
    }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_in_80_columns(run: Run, words: tuple[str, ...]) -> None:
    """A person who is locked out has only --help; each ends with an example that can be typed."""
    result = run(*words, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_accepts_the_common_options_after_its_name(words: tuple[str, ...]) -> None:
    """Contract, section Terminal: everywhere, after the subcommand; a server and a show have no answer to format."""
    given = {name for option in COMMANDS[words].params for name in option.opts}
    common = {"--json", "--project", "--store", "--quiet", "--no-color"}
    assert words[0] in _WITHOUT_COMMON_OPTIONS or common <= given


def test_help_imports_nothing_that_is_slow() -> None:
    """Start-up is paid at each completion of a word in the shell: service, pydantic, rich and mcp wait."""
    program = (
        "import sys\n"
        "from stravinsky_rollback_mcp.cli import main\n"
        "main(['rollback', 'to', '--help'], standalone_mode=False)\n"
        "heavy = {'rich', 'mcp', 'pydantic', 'anyio', 'asyncio', 'stravinsky_rollback_mcp.service'}\n"
        "sys.stderr.write(', '.join(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_told(run: Run) -> None:
    """``--version`` is how a bug report begins."""
    assert re.fullmatch(r"stravinsky-rollback, version \d+\.\d+\.\d+\S*\n", run("--version").stdout)


def test_the_shell_completes_commands_and_words(run: Run) -> None:
    """Click's own mechanism, as the help says; the words of --type come from the audit."""
    asked = {"_STRAVINSKY_ROLLBACK_COMPLETE": "bash_complete"}
    commands = run(**asked, COMP_WORDS="stravinsky-rollback b", COMP_CWORD="1")
    types = run(**asked, COMP_WORDS="stravinsky-rollback audit log --type man", COMP_CWORD="4")
    assert commands.stdout == "plain,backup\n"
    assert types.stdout == "plain,MANUAL_ROLLBACK\n"


@pytest.mark.parametrize(
    "wrong",
    [
        ("backup", "list", "--limit", "0"),
        ("backup", "list", "--limit", "many"),
        ("backup", "show"),
        ("rollback", "to", "v1", "--scope", "global"),
        ("audit", "log", "--type", "BACKUP"),
        ("audit", "log", "--status", "good"),
        ("undo", "v1"),
        ("no-such-command",),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_with_nothing_on_stdout(run: Run, wrong: tuple[str, ...]) -> None:
    """Exit codes of the contract: 2 is wrong usage, known before anything is read."""
    result = run(*wrong)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr


def test_a_refusal_says_code_message_and_next_on_stderr(run: Run, configured: tuple[Path, Path]) -> None:
    """Exit codes of the contract: 1 is refused; the hint names the command, not the tool."""
    assert run("backup", "create", "v1").exit_code == 0
    result = run("rollback", "to", "v2", "--yes")
    assert (result.exit_code, result.stdout) == (1, "")
    first, second = result.stderr.splitlines()[:2]
    assert first.startswith("not_found: ")
    assert second.startswith("Next: newest first: v1; `stravinsky-rollback backup list`")


def test_a_refusal_with_json_is_one_document_on_stdout(run: Run, configured: tuple[Path, Path]) -> None:
    """Programs read one stream: the refusal stands where the result would stand."""
    result = run("rollback", "to", "v2", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    error = json.loads(result.stdout)["error"]
    assert sorted(error) == ["code", "lines", "message", "next", "notices"]
    assert (error["code"], error["lines"]) == ("not_found", [])


@pytest.mark.parametrize(
    "words", [words for words in COMMANDS if words[0] not in _WITHOUT_COMMON_OPTIONS], ids=" ".join
)
def test_every_command_refuses_an_untrusted_environment_alike(run: Run, words: tuple[str, ...]) -> None:
    """Errors of the configuration take the way of every other refusal."""
    required = [item for item in COMMANDS[words].params if item.required]
    given = [part for item in required for part in ((item.opts[0], "csv") if item.opts[0][0] == "-" else ("v1",))]
    result = run(*words, "--json", *given, HOME="relative")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "env_untrusted"


def test_a_bad_override_is_refused_by_the_name_of_its_variable(run: Run) -> None:
    """Contract, section Environment: refused with the name of the variable, before anything else happens."""
    result = run("status", STRAVINSKY_SAFETY_LOCK_TIMEOUT_SECONDS="soon")
    assert result.exit_code == 1
    assert result.stderr.startswith("invalid_argument: STRAVINSKY_SAFETY_LOCK_TIMEOUT_SECONDS ")


def test_a_damaged_journal_exits_4(run: Run, configured: tuple[Path, Path], home: Path) -> None:
    """Exit codes of the contract: 4 when an operation can neither be finished nor taken back without a person."""
    assert run("backup", "create", "v1").exit_code == 0
    store = home / ".stravinsky" / "rollback"
    build(store / "recovery", {"journal.json": b"{"})
    result = run("recovery", "resume")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith("needs_attention: ")
    seen = run("status", "--json")
    assert seen.exit_code == 0
    assert any("needs_attention" in notice for notice in json.loads(seen.stdout)["notices"])


@pytest.mark.parametrize("as_json", [False, True])
def test_an_unforeseen_failure_shows_its_kind_and_no_value(as_json: bool) -> None:  # noqa: FBT001
    """What an exception says may quote a settings file; House rule 11."""

    @click.command()
    @with_terminal
    def broken(terminal: Terminal) -> None:
        raise ValueError("the token is hunter2")

    result = CliRunner().invoke(broken, ["--json"] if as_json else [])
    assert result.exit_code == 1
    assert "hunter2" not in result.output
    assert "Traceback" not in result.output
    assert "internal" in result.output
    assert "an unforeseen ValueError" in result.output


def test_quiet_prints_nothing_when_all_went_well(run: Run, configured: tuple[Path, Path]) -> None:
    """For scripts: the status says it all."""
    for words in (
        ("backup", "create", "v1"),
        ("backup", "list"),
        ("backup", "show", "v1"),
        ("backup", "verify"),
        ("rollback", "to", "v1", "--yes"),
        ("recovery", "resume"),
        ("audit", "log"),
        ("audit", "verify"),
        ("status",),
    ):
        result = run(*words, "--quiet")
        assert (words, result.exit_code, result.output) == (words, 0, "")


def test_quiet_does_not_silence_a_refusal(run: Run) -> None:
    """Silence means success, and nothing else."""
    result = run("undo", "--quiet", "--yes")
    assert result.exit_code == 1
    assert result.stderr.startswith("nothing_to_undo: ")


def test_looking_leaves_no_trace_where_there_is_no_store(run: Run, configured: tuple[Path, Path], home: Path) -> None:
    """Reading a store that is not there must not create it."""
    before = snapshot(home)
    for words in (("backup", "list"), ("backup", "verify"), ("audit", "log"), ("audit", "verify"), ("status",)):
        assert run(*words).exit_code == 0
    assert snapshot(home) == before


def test_project_and_store_are_where_the_options_say(
    run: Run, configured: tuple[Path, Path], tmp_path: Path, home: Path
) -> None:
    """Contract, section Processes and roots."""
    other: Spec = {".claude": {"hooks": {"a.sh": "true\n"}}}
    build(tmp_path / "other", other)
    at = ("--project", str(tmp_path / "other"), "--store", str(tmp_path / "store"))
    made = json.loads(run("backup", "create", "v1", "--json", *at).stdout)["backup"]
    assert made["project"] == str(tmp_path / "other")
    assert (tmp_path / "store" / "backups" / "v1").is_dir()
    assert not (home / ".stravinsky").exists()


def test_nothing_is_coloured_where_there_is_no_terminal(run: Run, configured: tuple[Path, Path]) -> None:
    """A log file with escape sequences is no log file."""
    shown = run("backup", "create", "v1").output + run("backup", "list").output + run("undo").output
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("arguments", "environment", "is_coloured"),
    [((), {}, True), (("--no-color",), {}, False), ((), {"NO_COLOR": "1"}, False)],
    ids=["terminal", "--no-color", "NO_COLOR"],
)
def test_colour_is_for_terminals_that_want_it(
    at_terminal: Type, arguments: tuple[str, ...], environment: dict[str, str], *, is_coloured: bool
) -> None:
    """no-color.org, and the option for one call."""
    status, shown = at_terminal("backup", "list", *arguments, **environment)
    assert status == 0
    assert ("\x1b[" in shown) is is_coloured


def test_characters_that_the_output_cannot_hold_are_escaped(configured: tuple[Path, Path], home: Path) -> None:
    """A pipe may be ASCII; a name outside it must not end a rescue."""
    build(home / ".claude" / "commands", {"一切.md": "x\n"})
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from stravinsky_rollback_mcp.cli import main; main()",
            "backup",
            "create",
            "--note",
            "é",
        ],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
