"""Where programs and modules would be found is read from the file system; no interpreter is started."""

import sys
from pathlib import Path

import pytest
from support.tree import File, Link, Spec, build

from stravinsky_rollback_mcp.disk import interpreters

NAME = "python3.12"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A Python installed below a prefix, a virtual environment of it, and a launcher that chooses one."""
    touch = f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n"
    site: Spec = {"site-packages": {"requests": {"__init__.py": ""}, "fast.cpython-312.so": "", "own.pth": "../src\n"}}
    build(
        tmp_path,
        {
            "prefix": {
                "bin": {NAME: File(touch, 0o755), "python3": Link(NAME)},
                "lib": {NAME: {"os.py": "", "novelty.py": "", "src": {"mine.py": ""}, **site}},
            },
            "venv": {
                "pyvenv.cfg": "home = /x\ninclude-system-site-packages = false\n",
                "bin": {"python": Link("../../prefix/bin/python3")},
                "lib": {NAME: {"site-packages": {"rich.py": "", "code.pth": f"import os; os.system('{touch}')\n"}}},
            },
            "shims": {"python3": File(touch, 0o755), "notes": "no program"},
        },
    )
    return tmp_path


def test_a_program_is_looked_for_in_order(machine: Path) -> None:
    """The person's folders first, the system's own last; what may not be run is none."""
    folders = [str(machine / "shims"), str(machine / "venv/bin")]
    assert interpreters.find_program("python", folders) == str(machine / "venv/bin/python")
    assert interpreters.find_program("notes", folders) is None
    assert interpreters.find_program("sh", []) in ("/usr/bin/sh", "/bin/sh")


def test_modules_are_found_where_python_looks(machine: Path) -> None:
    """Its own library, packages, folders that ``.pth`` files name, the person's packages; nothing is run."""
    build(machine / "home", {".local": {"lib": {NAME: {"site-packages": {"personal.py": ""}}}}})
    names = interpreters.importable(str(machine / "prefix/bin/python3"), str(machine / "home"))
    assert names is not None
    assert {"json", "novelty", "requests", "fast", "mine", "personal"} <= names
    assert not {"rich", "absent"} & names
    assert not (machine / "ran").exists()


def test_an_environment_sees_its_own(machine: Path) -> None:
    """And what is installed for its base only if it says so."""
    python = str(machine / "venv/bin/python")
    names = interpreters.importable(python, str(machine))
    assert names is not None
    assert ({"rich", "json"} <= names, "requests" in names) == (True, False)
    (machine / "venv/pyvenv.cfg").write_text("include-system-site-packages = TRUE\n", encoding="utf-8")
    names = interpreters.importable(python, str(machine))
    assert names is not None
    assert "requests" in names


def test_what_cannot_be_told_is_not_claimed(machine: Path) -> None:
    """A launcher that chooses a Python, and installs that are found by code."""
    assert interpreters.importable(str(machine / "shims/python3"), str(machine)) is None
    editable = machine / "venv/lib" / NAME / "site-packages/__editable__.x.pth"
    editable.write_text("import __editable___x_finder\n", encoding="utf-8")
    assert interpreters.importable(str(machine / "venv/bin/python"), str(machine)) is None


def test_this_python_has_what_it_imports(tmp_path: Path) -> None:
    """The real thing: what the tests themselves import is found."""
    names = interpreters.importable(sys.executable, str(tmp_path))
    assert names is None or {"pytest", "hypothesis", "json", "sys", "_io"} <= names


def test_modules_lie_beside_a_script(tmp_path: Path) -> None:
    """Where the script itself lies, not a link to it."""
    build(tmp_path, {"real": {"x.py": "", "helper.py": "", "pack": {"__init__.py": ""}}, "x.py": Link("real/x.py")})
    assert interpreters.names_beside(str(tmp_path / "x.py")) == {"x", "helper", "pack"}
    assert interpreters.names_beside(str(tmp_path / "gone/x.py")) == frozenset()
