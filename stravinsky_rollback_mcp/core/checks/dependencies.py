"""``dependencies``: the programs that hooks name are there, and Python finds what their scripts import.

A lack of either ends the hook with 127 or 1, which silently does nothing: warnings, before and after an update too.
An import inside ``try``, a condition or a function may be meant to fail and does not count; what ``uv run`` starts
gets its modules from uv.
"""

import re
from collections.abc import Iterator

from stravinsky_rollback_mcp.core.checks.evidence import Evidence, Script, ScriptState
from stravinsky_rollback_mcp.core.checks.hooks_syntax import Hook, hooks_of
from stravinsky_rollback_mcp.core.checks.positions import positions
from stravinsky_rollback_mcp.core.checks.settings_schema import is_dropped
from stravinsky_rollback_mcp.core.model import Finding, Severity
from stravinsky_rollback_mcp.core.names import shown
from stravinsky_rollback_mcp.core.settings import load, table

NAME = "dependencies"

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", re.ASCII)
_MODULE = re.compile(r"\w+", re.ASCII)
# What a shell does by itself (POSIX, bash); any other plain first word is a program.
_OF_SHELL = frozenset(
    {"alias", "bg", "bind", "break", "builtin", "case", "cd", "command", "continue", "declare", "do", "done", "echo"}
    | {"elif", "else", "enable", "esac", "eval", "exec", "exit", "export", "false", "fc", "fg", "fi", "for", "function"}
    | {"getopts", "hash", "help", "history", "if", "jobs", "kill", "let", "local", "logout", "mapfile", "popd"}
    | {"printf", "pushd", "pwd", "read", "readarray", "readonly", "return", "select", "set", "shift", "shopt", "source"}
    | {"suspend", "test", "then", "time", "times", "trap", "true", "type", "typeset", "ulimit", "umask", "unalias"}
    | {"unset", "until", "wait", "while", "coproc", "disown", "dirs", "compgen", "complete"}
)
_SHOWN_MODULES = 5


def programs_of(hook: Hook, script: Script | None) -> tuple[str, ...]:
    """The programs that a command starts, as they stand there and in its script's first line: names and paths."""
    word = hook.runs.word
    if "/" in word:
        words = (word,) if hook.runs.program else () if script is None else (script.interpreter,)
        return tuple(word for word in words if "/" in word or _PLAIN.fullmatch(word))
    return (word,) if _PLAIN.fullmatch(word) and word not in _OF_SHELL and "()" not in hook.command else ()


def python_of(hook: Hook, script: Script | None) -> str | None:
    """The word that names the Python which runs a script; None for what uv or another language runs."""
    if script is None or script.state is not ScriptState.FILE:
        return None
    if hook.runs.program:
        return hook.runs.word if hook.runs.program == "python" else None
    return script.interpreter if script.shebang == "python" else None


def check(evidence: Evidence) -> tuple[Finding, ...]:
    """What each command of the settings files lacks, by file and line."""
    found: list[Finding] = []
    elsewhere = _set_variables(evidence)
    for file in evidence.settings:
        if is_dropped(file.content):
            continue
        where = positions(file.content.decode("utf-8-sig", "replace"))
        for hook in hooks_of(load(file.content) or {}, evidence.roots):
            what = f"{hook.event} hook" if hook.event else hook.path[0]
            found.extend(
                Finding(
                    check=NAME,
                    severity=severity,
                    scope=file.scope,
                    path=file.path,
                    line=where.line(hook.path),
                    message=f"{what}: {message}",
                    fix=fix,
                )
                for severity, message, fix in _lacks(evidence, hook, elsewhere)
            )
    return tuple(found)


def _set_variables(evidence: Evidence) -> frozenset[str]:
    """The variables that settings give sessions: where they say where to look, it was looked elsewhere here."""
    return frozenset(name for file in evidence.settings for name in table((load(file.content) or {}).get("env")))


def _lacks(evidence: Evidence, hook: Hook, elsewhere: frozenset[str]) -> Iterator[tuple[Severity, str, str]]:
    script = evidence.scripts.get(hook.runs.script or "")
    absent = [word for word in programs_of(hook, script) if word in evidence.absent_programs]
    if not absent:
        yield from _imports(evidence, hook, script, elsewhere)
    elif "PATH" not in elsewhere:
        if script is not None and not hook.runs.program:
            name = f"what the first line of {_shown(evidence, script.path)} names"
        else:
            # A first word that is no interpreter may be anything, a key that was pasted in the wrong place too.
            name = _shown(evidence, hook.runs.word) if hook.runs.program else "its program"
        message = f"{name} was not found, so it cannot do its work."
        yield Severity.WARNING, message, "install it, or have Claude Code's PATH name its folder."


def _imports(
    evidence: Evidence, hook: Hook, script: Script | None, elsewhere: frozenset[str]
) -> Iterator[tuple[Severity, str, str]]:
    python = python_of(hook, script)
    if script is None or python is None:
        return
    imports = evidence.imports.get((python, script.path))
    if imports is None or not imports.missing:
        return
    path = _shown(evidence, script.path)
    if not imports.is_known or "PYTHONPATH" in elsewhere or "PYTHONPATH=" in hook.command:
        message = f"whether Python finds all that {path} imports cannot be told (not analysable)."
        yield Severity.INFO, message, ""
        return
    names = [name for name in imports.missing if _MODULE.fullmatch(name)][:_SHOWN_MODULES]
    more = len(imports.missing) - len(names)
    told = f"{', '.join(names)}{f' and {more} more' if more else ''}"
    message = f"{path} imports {told}, which Python does not find, so it cannot do its work."
    yield Severity.WARNING, message, "install that for the Python that runs it, or start it with `uv run`."


def _shown(evidence: Evidence, path: str) -> str:
    return shown(path, evidence.roots.home)
