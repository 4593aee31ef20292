"""Names: what a caller may call a backup, what may stand in a tree, and how paths are shown."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.model import Kind
from stravinsky_rollback_mcp.core.names import archive_name, is_version, path_problem, require_new_version, shown
from stravinsky_rollback_mcp.errors import Code, RollbackError


def refused(name: str) -> bool:
    """Whether a name for a new backup is refused as such, with advice."""
    try:
        require_new_version(name)
    except RollbackError as error:
        return error.code is Code.INVALID_NAME and bool(error.hint)
    return False


@pytest.mark.parametrize(
    "name",
    [
        "../../../.claude/hooks",
        "..",
        ".",
        "",
        "/etc",
        "/",
        "~",
        "x/../../../../../.claude",
        "a/b",
        "a\\b",
        "a\0",
        "\0",
        "a\n",
        "\na",
        "a\rb",
        "a\tb",
        "a\x7f",
        "\x1b[31mred",
        "a\u202eb",
        "a\ud800",
        "a\udcffb",
        "-rf",
        ".hidden",
        " a",
        "a ",
        "a.",
        "a..",
        "+a",
        "_a",
        "é",
        "\uff56\uff11",
        "\u0661",
        "K\u212a",
        "a" * 65,
        "a" * 10_000_000,
        "a:b",
        "a*",
        "a?",
        "$(id)",
        "v1%2e",
    ],
    ids=lambda name: f"{name[:30]!a} {len(name)}",
)
def test_names_that_are_no_names_are_refused(name: str) -> None:
    """Hostile input: traversal, separators, control and invisible characters, look-alikes, lengths."""
    assert refused(name)


@pytest.mark.parametrize(
    "name", ["CON", "con", "Nul.txt", "aux.tar.gz", "PRN", "com1", "LPT9", "COM1.x", "lpt1.pre"], ids=ascii
)
def test_names_of_devices_are_refused(name: str) -> None:
    """Hostile input: a store that is copied to Windows must not open a device."""
    assert refused(name)


@pytest.mark.parametrize(
    "name",
    [
        "latest",
        "LATEST",
        "live",
        "x.pre_rollback",
        "x.PRE_ROLLBACK",
        "a.pre_undo",
        "a.pre_redo",
        "a.pre_update",
        "20261123T064012Z-3f2a.rescue",
    ],
)
def test_names_that_the_program_keeps_are_refused(name: str) -> None:
    """Hostile input: nobody can pass a backup off as a safety backup of ours."""
    assert refused(name)


@pytest.mark.parametrize(
    "name",
    ["v1", "1.0", "1.10.0", "before-hooks-cleanup", "a" * 64, "2026+build_7", "connor", "com10", "V1", "latest2"],
)
def test_ordinary_names_are_accepted(name: str) -> None:
    """What people call their backups is returned as it is (design)."""
    assert require_new_version(name) == name


@given(name=st.text(max_size=70) | st.from_regex(r"[A-Za-z0-9._+-]{1,70}", fullmatch=True))
def test_an_accepted_name_is_one_plain_folder(name: str) -> None:
    """Whatever is accepted is ASCII, short, without a separator, and lies directly in the folder it is joined to."""
    if not refused(name):
        assert is_version(name)
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", name)
        assert os.path.normpath(f"/store/{name}") == f"/store/{name}"
        assert os.path.dirname(f"/store/{name}") == "/store"


@pytest.mark.parametrize("name", ["20261123T064012Z-auto-3f2a", "20261123T064012Z-3f2a.pre_rollback", "latest"])
def test_our_own_names_have_the_form_of_a_version(name: str) -> None:
    """What is kept from callers can still be asked for."""
    assert is_version(name)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a",
        "../a",
        "a/..",
        "a/../b",
        "..",
        ".",
        "./a",
        "a/.",
        "a/./b",
        "a//b",
        "a/",
        "a\0b",
        "n" * 256,
        "é" * 128,
        "a/" + "\udcff" * 256,
    ],
    ids=lambda path: f"{path[:20]!a} {len(path)}",
)
def test_paths_that_lead_elsewhere_have_a_problem(path: str) -> None:
    """Hostile input: absolute, climbing, doubled, unfinished and overlong paths."""
    assert path_problem(path)


@pytest.mark.parametrize("path", ["a", "a/b", "...", "..a", "a..", "-", " ", "\n", "é" * 127, "\udcff" * 255, "C:\\x"])
def test_odd_paths_that_stay_inside_have_none(path: str) -> None:
    """On POSIX everything but a slash and a zero byte is a name (design)."""
    assert not path_problem(path)


@given(
    path=st.lists(st.text(st.sampled_from("a./\0é"), max_size=5), max_size=5).map("/".join),
)
def test_a_path_without_problem_stays_below_its_root(path: str) -> None:
    """What is accepted is already in normal form, so that joining it can lead nowhere else."""
    if not path_problem(path):
        assert os.path.normpath(f"/top/{path}") == f"/top/{path}"


def test_archives_have_constant_names() -> None:
    """One folder, one tar; one file, one file (design)."""
    assert archive_name("user.hooks", Kind.DIRECTORY) == "user.hooks.tar.gz"
    assert archive_name("project.settings", Kind.FILE) == "project.settings.json"
    assert archive_name("project.local_memory", Kind.FILE) == "project.local_memory.txt"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/u", "~"),
        ("/home/u/.claude/hooks", "~/.claude/hooks"),
        ("/home/user2/x", "/home/user2/x"),
        ("/home/u/caf\udce9", "~/caf\\xe9"),
        ("/home/u/a\nb\x1b[2J", "~/a\\nb\\x1b[2J"),
        ("/home/u/a\u202eb", "~/a\\u202eb"),
        ("/home/u/é 一", "~/é 一"),
    ],
    ids=ascii,
)
def test_paths_are_shown_without_tricks(path: str, expected: str) -> None:
    """Hostile input: names cannot move the cursor, end a line or turn the text around."""
    assert shown(path, "/home/u") == expected


@given(raw=st.binary(max_size=20))
def test_whatever_is_shown_is_printable(raw: bytes) -> None:
    """Every byte string can be shown, printed and encoded."""
    text = shown(raw.decode("utf-8", "surrogateescape"), "/home/u")
    assert text.isprintable()
    assert text.encode("utf-8").decode("utf-8") == text
