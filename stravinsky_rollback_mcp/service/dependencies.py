"""Gathering what hooks need besides their scripts: programs on the search path, modules that Python would find."""

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.checks import dependencies
from stravinsky_rollback_mcp.core.checks.evidence import Imports, Script
from stravinsky_rollback_mcp.core.checks.hooks_syntax import Hook
from stravinsky_rollback_mcp.core.scripts import Roots, path_of
from stravinsky_rollback_mcp.disk import interpreters
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.picture import Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The programs that were looked for in vain, and by (Python, script) what was not found of its imports."""

    absent_programs: frozenset[str]
    imports: Mapping[tuple[str, str], Imports]


def needs(desk: Desk, picture: Picture, hooks: Iterable[Hook], scripts: Mapping[str, Script], roots: Roots) -> Needs:
    """What the commands of a configuration need and this machine does not have."""
    asked = [(hook, scripts.get(hook.runs.script or "")) for hook in hooks]
    words = {word for hook, script in asked for word in dependencies.programs_of(hook, script)}
    programs = {word: _program(desk, word, roots) for word in sorted(words)}
    known: dict[str, frozenset[str] | None] = {}
    found: dict[tuple[str, str], Imports] = {}
    for hook, script in asked:
        python = dependencies.python_of(hook, script)
        program = programs.get(python or "")
        syntax = None if script is None else script.syntax.get("python")
        if script is None or python is None or not program or syntax is None or (python, script.path) in found:
            continue
        missing = set(syntax.imports) - interpreters.STANDARD
        if missing:
            missing -= _beside(picture, script.path)
        if missing and program not in known:
            known[program] = interpreters.importable(program, desk.view.home)
        names = known.get(program)
        missing -= names or frozenset()
        is_known = names is not None and not syntax.moves_path
        found[python, script.path] = Imports(missing=tuple(sorted(missing)), is_known=is_known)
    absent = frozenset(word for word, path in programs.items() if path is None)
    return Needs(absent_programs=absent, imports=found)


def _program(desk: Desk, word: str, roots: Roots) -> str | None:
    """The path of the program that a word starts; a word whose expansion is not known counts as found, at no place."""
    if "/" not in word:
        return interpreters.find_program(word, desk.config.search_path)
    path = path_of(word, roots)
    if path is None:
        return ""
    return path if interpreters.is_program(path) else None


def _beside(picture: Picture, path: str) -> frozenset[str]:
    """The module names beside a script, where it lies or would lie."""
    where = picture.find(path)
    if where is None or isinstance(where, str):
        return interpreters.names_beside(where or path)
    target_id, script = where
    folder = posixpath.dirname(script.path)
    entries = picture.holdings[target_id].tree.entries
    names = (posixpath.basename(entry.path) for entry in entries if posixpath.dirname(entry.path) == folder)
    return interpreters.stems(names)
