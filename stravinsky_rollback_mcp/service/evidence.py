"""Gathering what the checks judge: settings, the scripts that they name, the machine and the store."""

import posixpath
import re
import secrets
from collections.abc import Iterable, Mapping

from stravinsky_rollback_mcp.core.checks import commands_validity, hooks_syntax, settings_schema
from stravinsky_rollback_mcp.core.checks.evidence import (
    Denied,
    Evidence,
    Folder,
    Locked,
    Script,
    ScriptState,
    SettingsText,
    StoredHealth,
    Syntax,
)
from stravinsky_rollback_mcp.core.components import is_settings
from stravinsky_rollback_mcp.core.invocations import program_of
from stravinsky_rollback_mcp.core.model import EntryType, TargetState
from stravinsky_rollback_mcp.core.scripts import Roots
from stravinsky_rollback_mcp.core.settings import load
from stravinsky_rollback_mcp.disk import probe, syntax
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.dependencies import needs
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.look import Look
from stravinsky_rollback_mcp.service.picture import Found, Picture
from stravinsky_rollback_mcp.service.stored import backups_of_view, open_authentic

_PERCENT = 100
_MAX_SCRIPTS = 500  # parsed in one look: bounds the work on hostile settings
_READABLE, _EXECUTABLE = 0o444, 0o111
_SHEBANG = re.compile(rb"#![ \t]*(\S+)(?:[ \t]+(?:-S[ \t]+)?(\S+))?")


def configuration(desk: Desk, picture: Picture, *, is_restore: bool, markdown: tuple[Folder, ...] = ()) -> Evidence:
    """The part of the evidence that is in the configuration itself, live or not."""
    roots = Roots(home=desk.view.home, project=desk.view.project or desk.view.home)
    settings = _settings(desk, picture)
    hooks = [
        hook
        for file in settings
        if not settings_schema.is_dropped(file.content)
        for hook in hooks_syntax.hooks_of(load(file.content) or {}, roots)
    ]
    hooks.extend(commands_validity.hooks_of(markdown, roots))
    named = {path for hook in hooks for path in (hook.runs.script, *hook.runs.others) if path is not None}
    found = picture.look_up(sorted(named)[:_MAX_SCRIPTS])
    interpreters = {path: _interpreter(item.content or b"") for path, item in found.items()}
    shebangs = {path: _shebang(word) for path, word in interpreters.items()}
    wanted = {
        (path, language)
        for hook in hooks
        for path in [hook.runs.script]
        if path is not None and path in found
        for language in (
            hooks_syntax.languages_of(hook.runs) if hook.runs.program else (hooks_syntax.parsed_as(shebangs[path]),)
        )
    }
    lines = sorted({hook.command for hook in hooks if hooks_syntax.is_worth_parsing(hook)})[:_MAX_SCRIPTS]
    parsed = _parsed(found, sorted(wanted), lines)
    scripts = {path: _script(path, found.get(path), interpreters.get(path, ""), parsed) for path in named}
    lacking = needs(desk, picture, hooks, scripts, roots)
    return Evidence(
        is_restore=is_restore,
        roots=roots,
        settings=settings,
        folders=markdown,
        scripts=scripts,
        shell_lines={line: parsed["", line] for line in lines if ("", line) in parsed},
        sh_is_dash=probe.sh_is_dash(),
        absent_programs=lacking.absent_programs,
        imports=lacking.imports,
    )


def _settings(desk: Desk, picture: Picture) -> tuple[SettingsText, ...]:
    """The settings files that are there, the one that counts most last."""
    return tuple(
        SettingsText(
            scope=holding.target.scope,
            component=holding.target.component,
            path=desk.shown_target(holding.target),
            content=content,
        )
        for target_id, holding in picture.holdings.items()
        if is_settings(holding.target) and holding.tree.state is TargetState.PRESENT
        for content in picture.contents(target_id, [""]).values()
    )


def _interpreter(content: bytes) -> str:
    """The interpreter that the first line names, by name where ``env`` looks for it; empty without such a line."""
    found = _SHEBANG.match(content)
    if found is None:
        return ""
    words = [word.decode("utf-8", "replace") for word in found.groups() if word]
    return words[1] if posixpath.basename(words[0]) == "env" and len(words) > 1 else words[0]


def _shebang(interpreter: str) -> str:
    """Its plain name; ``?`` for one that is not known here."""
    return (program_of(interpreter) or "?") if interpreter else ""


def _parsed(
    found: Mapping[str, Found], wanted: list[tuple[str, str]], lines: list[str]
) -> dict[tuple[str, str], Syntax]:
    """What parsers say of scripts, by (path, language), and of shell lines, by ("", line)."""
    keys: list[tuple[str, str]] = []
    sources: list[syntax.Source] = []
    for path, language in wanted:
        content = found[path].content
        if language and content is not None:
            keys.append((path, language))
            sources.append(syntax.Source(language=language, content=content))
    for line in lines:
        keys.append(("", line))
        sources.append(syntax.Source(language="bash", content=line.encode("utf-8", "surrogatepass")))
    return {
        key: Syntax(is_good=said.is_good, line=said.line, imports=said.imports, moves_path=said.moves_path)
        for key, said in zip(keys, syntax.parse(sources), strict=True)
        if said is not None
    }


def _script(path: str, found: Found | None, interpreter: str, parsed: Mapping[tuple[str, str], Syntax]) -> Script:
    if found is None:
        return Script(path=path, state=ScriptState.ABSENT)
    return Script(
        path=path,
        state=ScriptState.FILE if found.is_file else ScriptState.OTHER,
        is_readable=bool(found.mode & _READABLE) and found.content is not None,
        is_executable=bool(found.mode & _EXECUTABLE),
        shebang=_shebang(interpreter),
        interpreter=interpreter,
        syntax={language: said for (owner, language), said in parsed.items() if owner == path},
    )


# -- the machine ----------------------------------------------------------------------------------------------------


def denied(desk: Desk, look: Look, trees: Iterable[str]) -> tuple[Denied, ...]:
    """What of these targets may not be read, and the folders in which nothing could be replaced."""
    found: list[Denied] = []
    for target_id in trees:
        place, live = look.places[target_id], look.seen[target_id].tree
        scope = place.target.scope
        if place.refusal is not None and place.refusal.code is Code.UNREADABLE:
            found.append(Denied(scope=scope, path=desk.shown_target(place.target), is_readable=False))
        if live.state is TargetState.NOT_RECORDED:
            continue
        below = (entry.path for entry in live.entries if entry.type is EntryType.DIRECTORY)
        folders = [posixpath.dirname(place.resolved), *(posixpath.join(place.resolved, path) for path in below)]
        found.extend(
            Denied(scope=scope, path=desk.shown(folder), is_readable=True)
            for folder in folders
            if not probe.can_replace_in(folder)
        )
    return tuple(found)


def locked(desk: Desk, look: Look, trees: Iterable[str]) -> tuple[Locked, ...]:
    """The files of these targets on which another program holds a lock for longer than we wait for our own."""
    scopes = {
        posixpath.join(look.places[target_id].resolved, entry.path).rstrip("/"): look.places[target_id].target.scope
        for target_id in trees
        for entry in look.seen[target_id].tree.entries
        if entry.type is EntryType.FILE
    }
    held = probe.held_by_others(scopes, wait_seconds=desk.config.policy.safety.lock_timeout_seconds)
    return tuple(Locked(scope=scopes[path], path=desk.shown(path)) for path in held)


# -- the store ------------------------------------------------------------------------------------------------------


def sample_of_backups(desk: Desk, look: Look) -> tuple[StoredHealth, ...]:
    """The newest backup, and as many more at random as ``backup.spot_check_percentage`` asks for, read back whole."""
    versions = [version for version, _ in backups_of_view(desk, look.known)]
    count = len(versions) * desk.config.policy.backup.spot_check_percentage // _PERCENT
    chosen = versions[:1] + secrets.SystemRandom().sample(versions[1:], min(count, len(versions[1:])))
    return tuple(StoredHealth(version=version, problems=_problems(desk, look, version)) for version in chosen)


def _problems(desk: Desk, look: Look, version: str) -> tuple[str, ...]:
    try:
        return tuple(desk.store.verify(open_authentic(desk, look.known, version)))
    except RollbackError as error:
        return (f"{error.code}: {error.message}",)
