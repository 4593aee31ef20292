"""``hooks_syntax``: what each hook command names is there, may be read and run, and parses.

How grave a fault is follows from how the command would end. At the events of ``_DENYING`` exit code 2 denies what the
hook should judge, every tool call or prompt in the end: an error. Any other failure switches the hook off without a
word: a warning. Exit codes were measured (Claude Code 2.1.330, CPython 3.11, bash 5, dash 0.5, node 20, uv 0.9).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.checks.evidence import Evidence, Script, ScriptState, SettingsText
from stravinsky_rollback_mcp.core.checks.positions import Path, Positions, positions
from stravinsky_rollback_mcp.core.checks.settings_schema import is_dropped
from stravinsky_rollback_mcp.core.invocations import Invocation, invocation_of
from stravinsky_rollback_mcp.core.model import Effect, Finding, Severity
from stravinsky_rollback_mcp.core.names import shown
from stravinsky_rollback_mcp.core.scripts import Roots
from stravinsky_rollback_mcp.core.security_changes import GUARDING_EVENTS
from stravinsky_rollback_mcp.core.settings import Settings, items, load, table

NAME = "hooks_syntax"

_DENYING = frozenset({"PreToolUse", "PermissionRequest", "UserPromptSubmit", "Stop", "ConfigChange"})
_DENIES = 2
# How interpreters end when their script is missing, is a folder or may not be read, or does not parse.
_MISSING: Mapping[str, int] = {"python": 2, "uv": 2, "perl": 2, "dash": 2, "bash": 127, "zsh": 127, "ksh": 127}
_BROKEN: Mapping[str, int] = {"bash": 2, "sh": 2, "dash": 2}
_NOT_FOUND, _NOT_EXECUTABLE, _FAILED = 127, 126, 1
_PARSED_AS: Mapping[str, str] = {
    "python": "python",
    "uv": "python",
    "bash": "bash",
    "sh": "sh",
    "dash": "sh",
    "node": "node",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One command in a settings file: a handler's, a status line's, a helper's; ``event`` is empty for the latter.

    ``denies`` says that exit code 2 holds something back.
    """

    path: Path
    event: str
    command: str
    runs: Invocation
    denies: bool


def hooks_of(settings: Settings, roots: Roots) -> Iterator[Hook]:
    """Every command that Claude Code would run for these settings, in order."""
    for event, groups in table(settings.get("hooks")).items():
        for place, group in enumerate(items(groups)):
            for number, handler in enumerate(items(table(group).get("hooks"))):
                path = ("hooks", event, str(place), "hooks", str(number))
                yield from _hook(path, event, table(handler), roots)
    for name in ("statusLine", "subagentStatusLine", "fileSuggestion"):
        yield from _hook((name,), "", table(settings.get(name)), roots)
    for name in ("apiKeyHelper", "awsAuthRefresh", "awsCredentialExport", "otelHeadersHelper"):
        yield from _hook((name,), "", {"command": settings.get(name)}, roots)


def _hook(path: Path, event: str, handler: Settings, roots: Roots) -> Iterator[Hook]:
    command = handler.get("command")
    if not isinstance(command, str) or not command or handler.get("type", "command") != "command":
        return
    is_late = handler.get("async") is True or handler.get("asyncRewake") is True
    is_direct = isinstance(handler.get("args"), list)
    arguments = [item for item in items(handler.get("args")) if isinstance(item, str)]
    yield Hook(
        path=path,
        event=event,
        command=command,
        runs=invocation_of(command, arguments, roots, is_direct=is_direct),
        denies=event in _DENYING and not is_late,
    )


def languages_of(runs: Invocation) -> tuple[str, ...]:
    """The language in which a command has its script read; none where its first line decides."""
    return tuple(_PARSED_AS[program] for program in [runs.program] if program in _PARSED_AS)


def parsed_as(shebang: str) -> str:
    """The language of a script that is run by itself: without a first line that says otherwise a shell reads it."""
    return _PARSED_AS.get(shebang or "sh", "")


def is_worth_parsing(hook: Hook) -> bool:
    """Whether a command is more than words: an open quote or bracket in it ends the shell with 2."""
    return any(mark in hook.command for mark in "\"'`$(){};|&<>\n")


def check(evidence: Evidence) -> tuple[Finding, ...]:
    """The faults of every command, by file and line; a file that is not loaded runs nothing."""
    are_off = _are_hooks_off(evidence)
    found: list[Finding] = []
    for file in evidence.settings:
        if is_dropped(file.content):
            continue
        where = positions(file.content.decode("utf-8-sig", "replace"))
        for hook in hooks_of(load(file.content) or {}, evidence.roots):
            found.extend(judged(evidence, file, where, hook, is_off=are_off and bool(hook.event)))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Locking:
    """A hook that denies what it should judge because it cannot do its work: where it stands, and its script.

    ``path`` is the settings file as people see it, ``script`` an absolute path, None when the command itself is broken.
    """

    target_id: str
    path: str
    pointer: Path
    event: str
    script: str | None


def locking(evidence: Evidence) -> tuple[Locking, ...]:
    """Every hook that locks the session, in the order of the files."""
    are_off, nowhere = _are_hooks_off(evidence), positions("")
    return tuple(
        Locking(
            target_id=f"{file.scope}.{file.component}",
            path=file.path,
            pointer=hook.path,
            event=hook.event,
            script=hook.runs.script,
        )
        for file in evidence.settings
        if not is_dropped(file.content)
        for hook in hooks_of(load(file.content) or {}, evidence.roots)
        for found in judged(evidence, file, nowhere, hook, is_off=are_off and bool(hook.event))
        if found.effect is Effect.LOCKS
    )


def _are_hooks_off(evidence: Evidence) -> bool:
    """Whether ``disableAllHooks`` is in force: local settings count before the project's, those before the user's."""
    said = [(load(file.content) or {}).get("disableAllHooks") for file in reversed(evidence.settings)]
    return next((value is True for value in said if isinstance(value, bool)), False)


def judged(evidence: Evidence, file: SettingsText, where: Positions, hook: Hook, *, is_off: bool) -> Iterator[Finding]:
    """The faults of one command of a file; ``is_off`` says that its hooks are not run at all."""
    what = f"{hook.event} hook" if hook.event else hook.path[0]

    def told(severity: Severity, message: str, fix: str, effect: Effect) -> Finding:
        return Finding(
            check=NAME,
            severity=Severity.INFO if is_off else severity,
            scope=file.scope,
            path=file.path,
            line=where.line(hook.path),
            message=f"{what}: {message}",
            fix=fix,
            effect=Effect.NONE if is_off else effect,
        )

    line = evidence.shell_lines.get(hook.command)
    if line is not None and not line.is_good:
        yield told(
            *_consequence(hook, _End(what="its command is no valid shell line", status=_BROKEN["sh"]), is_sure=True)
        )
        return
    script = evidence.scripts.get(hook.runs.script or "")
    if script is not None:
        end = _end(evidence, hook.runs, script)
        if end is not None:
            yield told(*_consequence(hook, end, is_sure=hook.runs.is_whole))
    elif hook.runs.script is None and not hook.runs.is_whole and hook.event:
        message = "what its command runs cannot be told without running it (not analysable)."
        yield told(Severity.INFO, message, "", Effect.NONE)
    for path in hook.runs.others:
        other = evidence.scripts.get(path)
        if other is not None and other.state is ScriptState.ABSENT:
            message = f"it names {_shown(evidence, path)}, which is not there."
            yield told(Severity.WARNING, message, "bring the script back, or change the command.", Effect.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """How a command ends because of a fault; ``off`` is what it means for a guard that does not deny.

    ``line`` is where the script stops making sense. It is told with the remedy: a fault that moves is the same fault.
    """

    what: str
    status: int
    off: Effect = Effect.GUARD_OFF
    line: int | None = None


def _consequence(hook: Hook, end: _End, *, is_sure: bool) -> tuple[Severity, str, str, Effect]:
    """What a command that ends like that does to a session, as severity, message, fix and effect."""
    where = f" (line {end.line})" if end.line else ""
    fix = f"mend the script{where} or the command, or bring both back from one backup."
    if end.status == _DENIES and hook.denies and is_sure:
        held = {"PreToolUse": "every tool call that it matches", "UserPromptSubmit": "every prompt"}
        message = f"{end.what}, so it ends with 2, which denies {held.get(hook.event, 'what it should judge')}."
        return Severity.ERROR, message, fix, Effect.LOCKS
    if hook.event in GUARDING_EVENTS and is_sure:
        return Severity.WARNING, f"{end.what}, so it guards nothing: it fails and all passes.", fix, end.off
    return Severity.WARNING, f"{end.what}, so it does nothing.", fix, Effect.NONE


def _end(evidence: Evidence, runs: Invocation, script: Script) -> _End | None:
    """How a command ends because of its script; None when nothing is wrong with that."""
    name = _shown(evidence, script.path)
    program = "dash" if runs.program == "sh" and evidence.sh_is_dash else runs.program
    unread = _MISSING.get(program, _FAILED) if program else _NOT_EXECUTABLE
    if script.state is ScriptState.ABSENT:
        return _End(what=f"{name} is not there", status=unread if program else _NOT_FOUND)
    if script.state is ScriptState.OTHER:
        return _End(what=f"{name} is no file", status=_FAILED if program else _NOT_EXECUTABLE)
    if not script.is_readable:
        return _End(what=f"{name} may not be read", status=unread)
    if not program and not script.is_executable:
        return _End(what=f"{name} is not executable", status=_NOT_EXECUTABLE)
    for language in languages_of(runs) if program else (parsed_as(script.shebang),):
        syntax = script.syntax.get(language)
        if syntax is not None and not syntax.is_good:
            status = _BROKEN.get(language, _FAILED)
            return _End(what=f"{name} does not parse", status=status, off=Effect.GUARD_BROKEN, line=syntax.line)
    return None


def _shown(evidence: Evidence, path: str) -> str:
    return shown(path, evidence.roots.home)
