"""Which files the commands in settings run, as far as that can be told without running anything.

Claude Code gives a command to a shell (or runs it directly, when it has ``args``) with the project as working
directory. Only ``~``, ``$HOME`` and ``$CLAUDE_PROJECT_DIR`` are expanded here; a word with any other expansion is not
analysable and names nothing.
"""

import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.settings import Settings, items, load, table, texts

_EXECUTED = ("statusLine", "subagentStatusLine", "fileSuggestion")
_HELPERS = ("apiKeyHelper", "awsAuthRefresh", "awsCredentialExport", "otelHeadersHelper")
_VARIABLE = re.compile(r"\$(?:\{(HOME|CLAUDE_PROJECT_DIR)\}|(HOME|CLAUDE_PROJECT_DIR)(?![A-Za-z0-9_]))")
_UNKNOWN = re.compile(r"[$`*?\[\]{}<>|;&()\n]")
_MAX_COMMAND = 10_000  # characters: bounds the work on one hostile command


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """What the expansions stand for; ``project`` is also the working directory of every command."""

    home: str
    project: str


def named_scripts(contents: Iterable[bytes | None], roots: Roots) -> frozenset[str]:
    """The absolute paths that the commands in settings files name; they need not exist."""
    return frozenset(path for content in contents for path in scripts_in(load(content) or {}, roots))


def scripts_in(settings: Settings, roots: Roots) -> frozenset[str]:
    """The absolute paths that the commands in settings name; they need not exist."""
    found: set[str] = set()
    for command, arguments in _commands(settings):
        for word in (*words_of(command, has_arguments=bool(arguments)), *arguments):
            path = path_of(word, roots)
            if path is not None:
                found.add(path)
    return frozenset(found)


def _commands(settings: Settings) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every (command, args) in a settings file: handlers of every event, status lines, key helpers."""
    for groups in table(settings.get("hooks")).values():
        for group in items(groups):
            for handler in items(table(group).get("hooks")):
                command = table(handler).get("command")
                if isinstance(command, str):
                    yield command, tuple(sorted(texts(table(handler).get("args"))))
    for name in _EXECUTED:
        command = table(settings.get(name)).get("command")
        if isinstance(command, str):
            yield command, ()
    for name in _HELPERS:
        command = settings.get(name)
        if isinstance(command, str):
            yield command, ()


def words_of(command: str, *, has_arguments: bool) -> list[str]:
    """The words of a command as a shell parts them, operators by themselves; a command with ``args`` is one word."""
    if has_arguments:
        return [command]
    lexer = shlex.shlex(command[:_MAX_COMMAND], posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        # An open quote: the shell would not run it either, yet the words before it may name a script.
        return command[:_MAX_COMMAND].replace('"', " ").replace("'", " ").split()


def path_of(word: str, roots: Roots) -> str | None:
    """The absolute path that a word names; None for a word without a slash, and where an expansion hides it."""
    if _UNKNOWN.search(_VARIABLE.sub("", word)):  # in the word alone: a folder's own name may hold any of these
        return None
    values = {"HOME": roots.home, "CLAUDE_PROJECT_DIR": roots.project}
    text = _VARIABLE.sub(lambda match: values[match[1] or match[2]], word)
    if text.startswith("~/"):
        text = f"{roots.home}/{text[2:]}"
    if "/" not in text or "\0" in text or "://" in text:
        return None
    return posixpath.normpath(posixpath.join(roots.project, text))
