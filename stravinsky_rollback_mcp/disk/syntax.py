"""Whether scripts parse, told by parsers in processes of their own and never by running a script.

Each process gets an environment without anything of the person's (a preload in ``NODE_OPTIONS`` would run even under
``node --check``), the script on its standard input and nothing else, little time and little memory. Interpreters are
taken from the system's own folders alone: what a project puts on the path is not run either. What a parser has said is
remembered for as long as the process lives: the same bytes parse the same way.
"""

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

MAX_SOURCE_BYTES = 1 << 20
_BUDGET_SECONDS = 10.0  # for all scripts of one look together
_MEMORY_BYTES = 1 << 30
FOLDERS = ("/usr/bin", "/bin", "/usr/local/bin", "/opt/homebrew/bin")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": "/nonexistent"}

_PARSE_PYTHON = """
import ast, json, sys
def judged(text):
    try:
        tree = ast.parse(text.encode("latin-1"))
    except SyntaxError as error:
        return [False, error.lineno, [], False]
    except (ValueError, RecursionError, MemoryError):
        return None
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    moves = any(
        isinstance(node, ast.Attribute) and node.attr == "path" and getattr(node.value, "id", "") == "sys"
        or isinstance(node, ast.ImportFrom) and node.module == "sys" and any(name.name == "path" for name in node.names)
        or isinstance(node, ast.Attribute) and node.attr == "addsitedir"
        for node in ast.walk(tree)
    )
    return [True, None, sorted(names), moves]
json.dump([judged(text) for text in json.load(sys.stdin)], sys.stdout)
"""
_NODE = ("--max-old-space-size=256", "--check", "-")
_MAX_KNOWN = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A script's bytes and what reads them: ``python``, ``bash``, ``sh`` or ``node``."""

    language: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a parser said; ``line`` is where it stopped, ``imports`` the top modules that a Python script needs.

    ``moves_path`` says that a Python script changes where modules are looked for.
    """

    is_good: bool
    line: int | None = None
    imports: tuple[str, ...] = ()
    moves_path: bool = False


_known: dict[tuple[str, bytes], Parsed] = {}  # by language and digest


def parse(sources: Sequence[Source]) -> list[Parsed | None]:
    """What each script's parser says, in order; None where none could tell (too large, no parser here, no end)."""
    deadline = time.monotonic() + _BUDGET_SECONDS
    keys = [(source.language, hashlib.sha256(source.content).digest()) for source in sources]
    found = [_known.get(key) for key in keys]
    small = [
        place
        for place, source in enumerate(sources)
        if found[place] is None and len(source.content) <= MAX_SOURCE_BYTES
    ]
    python = [place for place in small if sources[place].language == "python"]
    for place, parsed in zip(python, _pythons([sources[place].content for place in python], deadline), strict=True):
        found[place] = parsed
    for place in small:
        source = sources[place]
        if source.language in ("bash", "sh"):
            found[place] = _shell(source, deadline)
        elif source.language == "node":
            found[place] = _node(source.content, deadline)
    if len(_known) > _MAX_KNOWN:
        _known.clear()
    _known.update({key: parsed for key, parsed in zip(keys, found, strict=True) if parsed is not None})
    return found


def system_program(name: str) -> str | None:
    """The path of a program in the system's own folders."""
    paths = (f"{folder}/{name}" for folder in FOLDERS)
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def _pythons(contents: list[bytes], deadline: float) -> list[Parsed | None]:
    """All in one process: a start costs more than a script. One that brings it down does not blind the others."""
    if not contents:
        return []
    text = json.dumps([content.decode("latin-1") for content in contents]).encode()
    command = [sys.executable, "-I", "-S", "-B", "-W", "ignore", "-c", _PARSE_PYTHON]
    done = _run(command, text, deadline)
    if done is None or done.returncode:
        half = len(contents) // 2
        if not half or time.monotonic() > deadline:
            return [None] * len(contents)
        return _pythons(contents[:half], deadline) + _pythons(contents[half:], deadline)
    answers = cast("list[tuple[bool, int | None, list[str], bool] | None]", json.loads(done.stdout))
    return [
        None
        if answer is None
        else Parsed(is_good=answer[0], line=answer[1], imports=tuple(answer[2]), moves_path=answer[3])
        for answer in answers
    ]


def _shell(source: Source, deadline: float) -> Parsed | None:
    program = system_program(source.language)
    done = None if program is None else _run([program, "-n"], source.content, deadline)
    if done is None or done.returncode < 0:
        return None
    return Parsed(is_good=not done.returncode, line=_line(done.stderr) if done.returncode else None)


def _node(content: bytes, deadline: float) -> Parsed | None:
    program = system_program("node")
    if program is None:
        return None
    # Which of the two a file is, the nearest package.json says; what parses as either is not called broken.
    for options in ((), ("--input-type=module",)):
        done = _run([program, *options, *_NODE], content, deadline, is_frugal=False)
        if done is None or done.returncode < 0:
            return None
        if not done.returncode:
            return Parsed(is_good=True)
    return Parsed(is_good=False)


def _line(said: bytes) -> int | None:
    """The line in ``bash: line 3: syntax error`` and in dash's ``sh: 3: Syntax error``."""
    for word in said.split(b"\n", 1)[0].replace(b":", b" ").split():
        if word.isdigit():
            return int(word)
    return None


def _run(
    command: list[str], content: bytes, deadline: float, *, is_frugal: bool = True
) -> subprocess.CompletedProcess[bytes] | None:
    """How a parser ended and what it said; None when it could not start or did not end in time."""
    left = deadline - time.monotonic()
    if left <= 0:
        return None
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        ) as process:
            try:
                if is_frugal and sys.platform == "linux":
                    # node reserves far more addresses than it uses, and has an option of its own.
                    resource.prlimit(process.pid, resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
                stdout, stderr = process.communicate(content, timeout=left)
            except BaseException:
                process.kill()
                raise
    except (OSError, subprocess.TimeoutExpired):
        return None
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
