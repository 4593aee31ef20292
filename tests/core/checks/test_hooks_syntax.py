"""A fault of a hook is as grave as what the command's end does to a session."""

import json
from dataclasses import replace
from typing import Any

import pytest

from stravinsky_rollback_mcp.core.checks.evidence import Evidence, Script, ScriptState, SettingsText, Syntax
from stravinsky_rollback_mcp.core.checks.hooks_syntax import check
from stravinsky_rollback_mcp.core.model import Effect, Finding, Scope
from stravinsky_rollback_mcp.core.scripts import Roots

ROOTS = Roots(home="/h", project="/p")
GOOD = Script(
    path="/h/x",
    state=ScriptState.FILE,
    is_readable=True,
    is_executable=True,
    syntax={name: Syntax(is_good=True) for name in ("python", "bash", "sh", "node")},
)
BAD = dict.fromkeys(("python", "bash", "sh", "node"), Syntax(is_good=False, line=3))
ABSENT = Script(path="/h/x", state=ScriptState.ABSENT)


def found(
    command: str, script: Script | None, *, event: str = "PreToolUse", settings: Any = None, **evidence: Any
) -> tuple[Finding, ...]:
    """What the check says of one command whose script is at ~/x."""
    handler: dict[str, Any] = {"type": "command", "command": command, **(settings or {})}
    content = json.dumps({"hooks": {event: [{"hooks": [handler]}]}}, indent=1).encode()
    file = SettingsText(scope=Scope.USER, component="settings", path="s", content=content)
    scripts = {} if script is None else {"/h/x": script}
    return check(Evidence(roots=ROOTS, settings=(file,), scripts=scripts, **evidence))


def told(findings: tuple[Finding, ...]) -> tuple[str, str]:
    """Severity and effect of the one finding; ``none`` without."""
    if not findings:
        return "none", "none"
    (finding,) = findings
    return str(finding.severity), str(finding.effect)


LOCKS, OFF, FINE = ("error", "locks"), ("warning", "guard_off"), ("none", "none")
BROKEN = ("warning", "guard_broken")

FAULTS: dict[str, tuple[str, Script, tuple[str, str]]] = {
    "python, missing": ("python3 ~/x", ABSENT, LOCKS),
    "uv, missing": ("uv run ~/x", ABSENT, LOCKS),
    "perl, missing": ("perl ~/x", ABSENT, LOCKS),
    "bash, missing": ("bash ~/x", ABSENT, OFF),
    "node, missing": ("node ~/x", ABSENT, OFF),
    "itself, missing": ("~/x", ABSENT, OFF),
    "python, broken": ("python3 ~/x", replace(GOOD, syntax=BAD), BROKEN),
    "bash, broken": ("bash ~/x", replace(GOOD, syntax=BAD), LOCKS),
    "sh, broken": ("sh ~/x", replace(GOOD, syntax=BAD), LOCKS),
    "node, broken": ("node ~/x", replace(GOOD, syntax=BAD), BROKEN),
    "itself, broken bash": ("~/x", replace(GOOD, syntax=BAD, shebang="bash"), LOCKS),
    "itself, broken, no first line": ("~/x", replace(GOOD, syntax=BAD), LOCKS),
    "itself, broken python": ("~/x", replace(GOOD, syntax=BAD, shebang="python"), BROKEN),
    "itself, another language": ("~/x", replace(GOOD, syntax=BAD, shebang="?"), FINE),
    "itself, not executable": ("~/x", replace(GOOD, is_executable=False), OFF),
    "bash, not executable": ("bash ~/x", replace(GOOD, is_executable=False), FINE),
    "python, unreadable": ("python3 ~/x", replace(GOOD, is_readable=False), LOCKS),
    "itself, unreadable": ("~/x", replace(GOOD, is_readable=False), OFF),
    "python, a folder": ("python3 ~/x", replace(GOOD, state=ScriptState.OTHER), OFF),
    "zsh, nobody parses it": ("zsh ~/x", replace(GOOD, syntax={}), FINE),
    "good": ("python3 ~/x", GOOD, FINE),
}


@pytest.mark.parametrize(("command", "script", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_severity_follows_from_how_the_command_ends(command: str, script: Script, expected: tuple[str, str]) -> None:
    """Exit code 2 denies every tool call; any other failure lets all pass (measured exit codes)."""
    assert told(found(command, script)) == expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        *((event, LOCKS) for event in ("PermissionRequest", "UserPromptSubmit", "Stop", "ConfigChange")),
        *((event, OFF) for event in ("SubagentStop", "TaskCompleted")),
        *((event, ("warning", "none")) for event in ("PostToolUse", "SessionStart", "Notification")),
    ],
)
def test_severity_follows_from_the_event(event: str, expected: tuple[str, str]) -> None:
    """2 denies at five events; elsewhere a hook that observes is merely lost."""
    assert told(found("python3 ~/x", ABSENT, event=event)) == expected


def test_what_hides_the_exit_status_locks_nothing() -> None:
    """Behind ``|| true`` a missing script denies nothing, and nothing was guarded; async hooks come too late."""
    assert told(found("python3 ~/x || true", ABSENT)) == ("warning", "none")
    assert told(found("python3 ~/x", ABSENT, settings={"async": True})) == OFF


def test_sh_ends_as_this_machine_has_it() -> None:
    """Dash ends with 2 when a script is missing, bash with 127."""
    assert told(found("sh ~/x", ABSENT, sh_is_dash=True)) == LOCKS
    assert told(found("sh ~/x", ABSENT)) == OFF


def test_a_command_that_is_no_shell_line_locks() -> None:
    """An open quote ends the shell with 2, before anything is looked for."""
    command = "python3 '~/x"
    assert told(found(command, None, shell_lines={command: Syntax(is_good=False)})) == LOCKS


def test_what_cannot_be_analysed_is_said() -> None:
    """Never passed in silence; other expansions than the known ones are not guessed."""
    (finding,) = found('"$(which guard)"', None)
    assert (finding.severity, "not analysable" in finding.message) == ("info", True)


def test_hooks_that_are_switched_off_lock_nothing() -> None:
    """``disableAllHooks``: the file that counts most decides."""
    on = json.dumps({"disableAllHooks": False}).encode()
    off = json.dumps({"disableAllHooks": True, "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "~/x"}]}]}})

    def files(*contents: bytes) -> Evidence:
        texts = tuple(SettingsText(scope=Scope.USER, component="s", path="s", content=content) for content in contents)
        return Evidence(roots=ROOTS, settings=texts, scripts={"/h/x": ABSENT})

    assert told(check(files(off.encode()))) == ("info", "none")
    assert told(check(files(off.encode(), on))) == OFF


def test_a_file_that_is_not_loaded_runs_nothing() -> None:
    """The settings check says that; its hooks deny nothing."""
    content = b'{"model": 3, "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "python3 ~/x"}]}]}}'
    file = SettingsText(scope=Scope.USER, component="settings", path="s", content=content)
    assert check(Evidence(roots=ROOTS, settings=(file,), scripts={"/h/x": ABSENT})) == ()


def test_status_lines_and_helpers_are_looked_at() -> None:
    """They are commands too; nothing is guarded by them."""
    content = b'{"statusLine": {"type": "command", "command": "~/x"},\n"apiKeyHelper": "~/x"}'
    file = SettingsText(scope=Scope.USER, component="settings", path="s", content=content)
    findings = check(Evidence(roots=ROOTS, settings=(file,), scripts={"/h/x": ABSENT}))
    assert [(item.severity, item.effect, item.line) for item in findings] == [
        ("warning", Effect.NONE, 1),
        ("warning", Effect.NONE, 2),
    ]


def test_where_is_told_and_no_argument() -> None:
    """The line of the handler, the script's path; an argument may be a secret."""
    (finding,) = found("python3 ~/x --token S3CRET", ABSENT)
    assert (finding.line, "~/x" in finding.message, "S3CRET" in repr(finding)) == (6, True, False)


def test_where_a_script_breaks_is_told_with_the_remedy() -> None:
    """The message names the fault, which is the same wherever in the script it stands."""
    (finding,) = found("python3 ~/x", replace(GOOD, syntax=BAD))
    assert ("3" in finding.message, "(line 3)" in finding.fix) == (False, True)
