"""Parsers say whether a script parses, whatever it is; nothing of it is ever run."""

import os
import sys
import time
from pathlib import Path

import pytest

from stravinsky_rollback_mcp.disk import syntax
from stravinsky_rollback_mcp.disk.syntax import Parsed, Source, parse

needs_node = pytest.mark.skipif(syntax.system_program("node") is None, reason="no node in the system's folders")

GOOD, BAD = Parsed(is_good=True), Parsed(is_good=False)
SCRIPTS = {
    "python": ("python", b"x = 1\n", GOOD),
    "python with imports": (
        "python",
        b"import os.path, json\nfrom rich import x\nfrom . import y\n",
        Parsed(is_good=True, imports=("json", "os", "rich")),
    ),
    "python that may do without": (
        "python",
        b"try:\n    import rich\nexcept ImportError:\n    rich = None\nif 0:\n    import x\ndef f():\n    import y\n",
        GOOD,
    ),
    "python that looks elsewhere": (
        "python",
        b"import sys\nsys.path.insert(0, 'lib')\nimport mine\n",
        Parsed(is_good=True, imports=("mine", "sys"), moves_path=True),
    ),
    "broken python": ("python", b"x = 1\nif:\n", Parsed(is_good=False, line=2)),
    "python in latin-1": ("python", b"# coding: latin-1\nx = '\xe9'\n", GOOD),
    "python that is no text": ("python", b"x = '\xe9'\n", Parsed(is_good=False, line=1)),
    "python with a byte order mark": ("python", b"\xef\xbb\xbfx = 1\n", GOOD),
    "python with a zero byte": ("python", b"x = 1\0\n", BAD),
    "bash": ("bash", b"a=(1 2)\n", GOOD),
    "broken bash": ("bash", b"echo\nif true; then\n", Parsed(is_good=False, line=3)),
    "bash with carriage returns": ("bash", b"if true; then\r\necho\r\nfi\r\n", Parsed(is_good=False, line=4)),
    "sh": ("sh", b"exit 0\n", GOOD),
    "empty": ("sh", b"", GOOD),
    "too large": ("bash", b"#" * (syntax.MAX_SOURCE_BYTES + 1), None),
    "unknown": ("ruby", b"puts 1", None),
}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins as a fresh process does."""
    monkeypatch.setattr(syntax, "_known", {})


@pytest.mark.parametrize(("language", "content", "expected"), SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_script_is_judged_by_its_parser(language: str, content: bytes, expected: Parsed | None) -> None:
    """What no parser could judge is None, never good."""
    assert parse([Source(language=language, content=content)]) == [expected]


@needs_node
@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"const a = 1;", GOOD), (b"import x from 'y'; await x;", GOOD), (b"let a = ;", BAD)],
    ids=["script", "module", "broken"],
)
def test_javascript_is_a_script_or_a_module(content: bytes, expected: Parsed) -> None:
    """Which of the two, the nearest package.json says: what parses as either is not called broken."""
    assert parse([Source(language="node", content=content)]) == [expected]


def test_many_are_judged_in_order() -> None:
    """One process for all Python scripts; each gets its own answer."""
    sources = [Source(language=language, content=content) for language, content, _ in SCRIPTS.values()]
    assert parse(sources) == [expected for _, _, expected in SCRIPTS.values()]


def test_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a script, nor what the environment would have loaded first, nor an interpreter of the project's."""
    mark = tmp_path / "ran"
    for name in ("bash", "sh", "node", "python3"):
        fake = tmp_path / "bin" / name
        fake.parent.mkdir(exist_ok=True)
        fake.write_text(f"#!/bin/sh\ntouch {mark}\n", encoding="utf-8")
        fake.chmod(0o755)
    preload = tmp_path / "preload.js"
    preload.write_text(f"require('fs').writeFileSync({str(mark)!r}, '')", encoding="utf-8")
    (tmp_path / "sitecustomize.py").write_text(f"open({str(mark)!r}, 'w')", encoding="utf-8")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("NODE_OPTIONS", f"--require {preload}")
    monkeypatch.setenv("BASH_ENV", str(preload))
    monkeypatch.setenv("ENV", str(preload))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    touch = f"touch {mark}\n".encode()
    sources = [
        Source(language="python", content=f"open({str(mark)!r}, 'w')\n".encode()),
        Source(language="bash", content=touch + b"$(touch x)\n"),
        Source(language="sh", content=touch),
        Source(language="node", content=f"require('fs').writeFileSync({str(mark)!r}, '')".encode()),
    ]
    assert all(parsed is None or parsed.is_good for parsed in parse(sources))
    assert not mark.exists()


def test_what_was_judged_is_known_and_what_was_not_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each backup and each restore looks at the same scripts; a parser that was missing may come."""
    there, not_there = syntax.FOLDERS, (str(tmp_path),)
    good, broken = Source(language="sh", content=b"true"), Source(language="sh", content=b"if")
    monkeypatch.setattr(syntax, "FOLDERS", not_there)
    assert parse([good, broken]) == [None, None]
    monkeypatch.setattr(syntax, "FOLDERS", there)
    found = parse([good, broken])
    assert [parsed and parsed.is_good for parsed in found] == [True, False]
    monkeypatch.setattr(syntax, "FOLDERS", not_there)
    assert parse([broken, good]) == found[::-1]
    assert parse([Source(language="bash", content=b"true")]) == [None]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is capped on Linux")
def test_one_that_brings_the_parser_down_does_not_blind_the_others() -> None:
    """Deep nesting ends CPython's parser or its memory; the scripts beside it are still judged."""
    hostile = b"(" * 100_000 + b")" * 100_000
    found = parse([Source(language="python", content=content) for content in (b"x = 1", hostile, b"if:")])
    assert found[0] == GOOD
    assert found[2] == Parsed(is_good=False, line=1)
    assert found[1] is None or not found[1].is_good


def test_a_parser_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A look has its time; what was not judged by then is not analysable."""
    slow = tmp_path / "sh"
    slow.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    slow.chmod(0o755)
    monkeypatch.setattr(syntax, "FOLDERS", (str(tmp_path),))
    monkeypatch.setattr(syntax, "_BUDGET_SECONDS", 0.2)
    begun = time.monotonic()
    assert parse([Source(language="sh", content=b""), Source(language="sh", content=b"")]) == [None, None]
    assert time.monotonic() - begun < 300
