"""What one command runs, as far as that can be told without running it: the program, its script, and how it ends.

A command goes to a shell, or is run directly when it has ``args``. What stands behind pipes, conditions and expansions
is not told apart: such a command is not ``is_whole``, and its exit status says nothing of the script's.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.scripts import Roots, path_of, words_of

# Options that take the next word as their value, by the program; the script is the first word that is neither.
_WITH_VALUE: Mapping[str, frozenset[str]] = {
    "python": frozenset({"-W", "-X"}),
    "bash": frozenset({"-o", "-O", "+o", "+O", "--rcfile", "--init-file"}),
    "node": frozenset({"-r", "--require", "--import", "--loader", "-C", "--conditions"}),
    "uv": frozenset(
        {"--with", "--python", "-p", "--with-requirements", "--extra", "--group", "--project", "--directory"}
        | {"--env-file", "--index", "--index-url", "--package", "--with-editable"}
    ),
    "deno": frozenset({"-c", "--config", "--import-map"}),
    "perl": frozenset({"-I"}),
    "ruby": frozenset({"-I", "-r"}),
}
_INLINE: Mapping[str, frozenset[str]] = {
    "python": frozenset({"-c", "-m"}),
    "node": frozenset({"-e", "-p", "--eval", "--print"}),
    "perl": frozenset({"-e", "-E"}),
    "ruby": frozenset({"-e"}),
    "php": frozenset({"-r"}),
}
_SHELLS = frozenset({"bash", "sh", "dash", "zsh", "ksh", "fish"})
_RUNNERS = frozenset({"uv", "bun", "deno"})  # `uv run x.py`, and other words than `run` are no script
_PROGRAMS = _SHELLS | _RUNNERS | frozenset({"python", "node", "perl", "ruby", "php", "tsx", "ts-node"})
_VERSIONED = re.compile(r"(python|node|ruby|perl|php|pypy)[\d.]*(?:\.exe)?")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=.*", re.ASCII | re.DOTALL)
_OPERATOR = re.compile(r"[();<>|&]+")
_WRAPPERS = frozenset({"exec", "command", "time", "nohup", "env"})
_SUFFIXES: Mapping[str, str] = {
    ".py": "python",
    ".sh": "sh",
    ".bash": "bash",
    ".js": "node",
    ".mjs": "node",
    ".cjs": "node",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What a command runs.

    ``program`` is the interpreter's plain name (``python``, ``bash`` …) and empty when the script itself is the
    command; ``word`` is the first word as it stands. ``script`` is an absolute path. ``is_whole`` says that nothing
    but this is run, so that its exit status is the command's.
    """

    word: str
    program: str
    script: str | None
    others: tuple[str, ...]
    is_whole: bool


def invocation_of(command: str, arguments: Sequence[str], roots: Roots, *, is_direct: bool) -> Invocation:
    """What a command runs; ``is_direct`` is set when it has ``args`` and so meets no shell."""
    if is_direct:
        return _of_words([command, *arguments], roots, is_whole=True)
    words = words_of(command, has_arguments=False)
    is_whole = "\n" not in command.strip() and not any(mark in command for mark in ("$(", "`"))
    if words[:1] == ["cd"] and words[2:3] == ["&&"] and (folder := path_of(f"{words[1]}/", roots)) is not None:
        words, roots = words[3:], Roots(home=roots.home, project=folder)
    simple = _without_redirections(words)
    end = next((place for place, word in enumerate(simple) if _OPERATOR.fullmatch(word)), len(simple))
    found = _of_words(simple[:end], roots, is_whole=is_whole and end == len(simple))
    rest = [path for word in simple[end:] if (path := _script_path(word, roots)) is not None]
    return Invocation(
        word=found.word,
        program=found.program,
        script=found.script,
        others=(*found.others, *rest),
        is_whole=found.is_whole,
    )


def language_of(path: str) -> str:
    """What a script is written in, by its name; empty where the name does not tell."""
    return _SUFFIXES.get(posixpath.splitext(path)[1].lower(), "")


def program_of(word: str) -> str:
    """The plain name of an interpreter, whatever its path and version; empty for any other program."""
    name = posixpath.basename(word)
    versioned = _VERSIONED.fullmatch(name)
    name = versioned[1].replace("pypy", "python") if versioned else name
    return name if name in _PROGRAMS else ""


def _without_redirections(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    is_target = False
    for word in words:
        if (_OPERATOR.fullmatch(word) and word[0] in "<>") or word in ("&>", "&>>"):
            if kept and kept[-1].isdigit():
                kept.pop()  # the file descriptor
            is_target = True
        elif is_target:
            is_target = False
        else:
            kept.append(word)
    return kept


def _of_words(words: Sequence[str], roots: Roots, *, is_whole: bool) -> Invocation:
    rest = list(words)
    while rest and (_ASSIGNMENT.fullmatch(rest[0]) or rest[0] in _WRAPPERS):
        rest.pop(0)
    if rest[:1] == ["timeout"]:
        rest = [word for word in rest[1:] if not word.startswith("-")][1:]
    if not rest:
        return Invocation(word="", program="", script=None, others=(), is_whole=is_whole)
    word, program = rest[0], program_of(rest[0])
    if not program:
        script = path_of(word, roots)
        others = [path for word in rest[1:] if (path := _script_path(word, roots)) is not None]
        return Invocation(word=word, program="", script=script, others=tuple(others), is_whole=is_whole)
    return _of_program(word, program, rest[1:], roots, is_whole=is_whole)


def _of_program(word: str, program: str, rest: Sequence[str], roots: Roots, *, is_whole: bool) -> Invocation:
    left = list(rest)
    if program in _RUNNERS and left[:1] == ["run"]:
        left.pop(0)
    elif program == "uv":
        return Invocation(word=word, program=program, script=None, others=(), is_whole=is_whole)
    script: str | None = None
    while left:
        option = left.pop(0)
        if option in _INLINE.get(program, ()) or (program in _SHELLS and _is_inline(option)):
            break  # what follows is code or a module: nothing that could be looked at
        if option in _WITH_VALUE.get("bash" if program in _SHELLS else program, ()):
            left[:1] = []
        elif not option.startswith(("-", "+")):
            inner = program_of(option) if program == "uv" else ""
            if inner:
                return _of_program(word, inner, left, roots, is_whole=is_whole)
            # `uv run` and `bun run` start tools of the project too; only a script has a path or a suffix.
            if program not in _RUNNERS or "/" in option or posixpath.splitext(option)[1]:
                script = path_of(option if "/" in option else f"./{option}", roots)
            break
    others = [path for word in left if (path := _script_path(word, roots)) is not None]
    return Invocation(word=word, program=program, script=script, others=tuple(others), is_whole=is_whole)


def _is_inline(option: str) -> bool:
    return option.startswith("-") and not option.startswith("--") and "c" in option


def _script_path(word: str, roots: Roots) -> str | None:
    """The path in a further word, if it names what looks like a script: a log or a folder need not be there."""
    path = path_of(word, roots)
    return path if path is not None and language_of(path) else None
