"""The shape of the package, read from its source: who may import whom, and who may do what.

Each rule is a generator over one module's syntax tree that yields what offends; one table says which layer may import
what. A module that fits in no layer is an offence too, so that nothing grows outside the plan.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "stravinsky_rollback_mcp"
REPOSITORY = Path(__file__).resolve().parent.parent

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
DISTRIBUTIONS = {"yaml": "pyyaml"}  # import name -> the name that is installed, where they differ
# "path" or "path:function" -> why it may be longer. An entry that is no longer needed is an offence.
OVERSIZE: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What the modules of one layer may import; ``banned`` speaks of the standard library."""

    first_party: frozenset[str] = frozenset()
    third_party: frozenset[str] = frozenset()
    banned: frozenset[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ASYNC = _words("asyncio concurrent")
_FILES = _words("glob mmap os pathlib shutil sqlite3 tempfile")
_WORLD = _words("fcntl getpass io locale logging platform pwd random secrets select signal socket subprocess time")
_PEOPLE = Layer(first_party=_words("service schema config errors"), banned=_FILES)

LAYERS: dict[str, Layer] = {
    "root": Layer(banned=_FILES | _WORLD | _ASYNC),
    "errors": Layer(banned=_FILES | _WORLD | _ASYNC),
    # Before the terminal: whether a hook has anything to do at all.
    "start": Layer(first_party=_words("disk cli"), banned=(_FILES - {"os"}) | _WORLD | _ASYNC),
    "core": Layer(
        first_party=_words("errors"), banned=_FILES | _WORLD | _ASYNC | _words("multiprocessing threading uuid")
    ),
    "core/checks": Layer(
        first_party=_words("core errors"),
        third_party=_words("jsonschema yaml"),
        banned=_FILES | _WORLD | _ASYNC | _words("multiprocessing threading uuid"),
    ),
    "disk": Layer(first_party=_words("core errors"), third_party=_words("isal"), banned=_ASYNC),
    # The one place with a second thread: packing goes along with reading.
    "disk/archive": Layer(first_party=_words("core errors"), banned=_words("asyncio sqlite3 subprocess")),
    # disk: where the store lies by default, and what a hook saw last, stands where a hook finds it at once.
    "config": Layer(
        first_party=_words("core disk errors"), banned=_ASYNC | _words("shutil sqlite3 subprocess tempfile")
    ),
    "service": Layer(
        first_party=_words("core disk config errors"),
        third_party=_words("anyio"),
        banned=_words("os shutil sqlite3 subprocess tempfile"),
    ),
    "schema": Layer(first_party=_words("core errors"), third_party=_words("pydantic"), banned=_FILES | _WORLD | _ASYNC),
    # anyio: whoever owns the process starts the event loop.
    "server": Layer(first_party=_PEOPLE.first_party, third_party=_words("mcp mcp_types anyio"), banned=_PEOPLE.banned),
    # server: for the command `serve`.
    "cli": Layer(
        first_party=_PEOPLE.first_party | _words("server"),
        third_party=_words("click rich anyio"),
        banned=_PEOPLE.banned,
    ),
    # The one place where a program of somebody else's is started: process groups, the terminal, signals.
    "cli/child": Layer(banned=_FILES - {"os"}),
    # A client from outside that happens to be shipped: it makes a directory to play in and talks MCP to it.
    "cli/demo": Layer(
        first_party=_PEOPLE.first_party, third_party=_words("click rich anyio mcp mcp_types"), banned=frozenset()
    ),
}

_OS_MUTATIONS = _words(
    "chflags chmod chown copy_file_range fchmod fchown ftruncate lchflags lchmod lchown link makedirs mkdir mkfifo "
    "mknod posix_fallocate pwrite pwritev remove removedirs removexattr rename renames replace rmdir sendfile setxattr "
    "splice symlink truncate unlink utime write writev O_APPEND O_CREAT O_RDWR O_TMPFILE O_TRUNC O_WRONLY"
)
_MUTATIONS: dict[str, frozenset[str]] = {
    "os": _OS_MUTATIONS,
    "shutil": _words(
        "chown copy copy2 copyfile copyfileobj copymode copystat copytree make_archive move rmtree unpack_archive"
    ),
    "tempfile": _words(
        "NamedTemporaryFile SpooledTemporaryFile TemporaryDirectory TemporaryFile mkdtemp mkstemp mktemp"
    ),
    "ctypes": _words("CDLL PyDLL cdll pydll"),
}
# Of pathlib: what other objects have too counts only beside an import of it (`text.replace(…)` never does).
_PATH_MUTATIONS_BY_COMMON_NAMES = _words("chmod mkdir rename rmdir unlink")
_PATH_MUTATIONS = _words("write_text write_bytes symlink_to hardlink_to touch lchmod")
_ENVIRONMENT = frozenset(f"os.{name}" for name in _words("environ environb getenv getenvb putenv unsetenv"))


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: its path below the package, and its tree."""

    path: str
    source: str
    tree: ast.Module

    @property
    def layer(self) -> str:
        """The row of the table that speaks about this module; the empty string where none does."""
        named = {"__init__": "root", "__main__": "server"}
        first, _, rest = self.path.removesuffix(".py").partition("/")
        narrower = f"{first}/{rest.partition('/')[0]}"
        layer = named.get(first, narrower if narrower in LAYERS else first)
        return layer if layer in LAYERS else ""

    @property
    def name(self) -> str:
        """The dotted name by which others import it."""
        parts = [PACKAGE, *self.path.removesuffix(".py").split("/")]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


Offences = Iterator[tuple[int, str]]


def imported(module: Module) -> Iterator[tuple[int, str]]:
    """Every dotted name that ``module`` imports, wherever in the file; ``from a import b`` gives ``a.b``."""
    package = module.name if module.path.endswith("__init__.py") else module.name.rpartition(".")[0]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parts = package.split(".")
                source = ".".join([*parts[: len(parts) - node.level + 1], *([source] if source else [])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def _against_the_table(layer: str, name: str) -> str:
    """What is wrong with a module of ``layer`` importing ``name``; empty where nothing is."""
    top, _, rest = name.partition(".")
    if top == PACKAGE:
        target = rest.partition(".")[0]
        if target not in LAYERS:
            return "" if target.startswith("__") else f"imports {name}, which is in no layer"
        allowed = target == layer.partition("/")[0] or target in LAYERS[layer].first_party
    elif top in sys.stdlib_module_names:
        # A server must be able to leave although a thread of the SDK's waits for standard input.
        is_way_out = layer == "server" and name == "os"
        target, allowed = top, is_way_out or top not in LAYERS[layer].banned
    else:
        target, allowed = top, top in LAYERS[layer].third_party
    return "" if allowed else f"{layer} imports {target}"


def forbidden_imports(module: Module) -> Offences:
    """Imports against the direction of the table."""
    if not module.layer:
        yield 1, "is in no layer of the table"
        return
    for line, name in imported(module):
        if wrong := _against_the_table(module.layer, name):
            yield line, wrong
        if name.startswith("sqlite3") and module.layer == "disk" and not module.path.startswith("disk/audit"):
            yield line, "only disk/audit*.py speaks SQLite"
        if name == "importlib.import_module":
            yield line, "a dynamic import hides its direction"


def _uses(module: Module) -> Iterator[tuple[int, str, str]]:
    """Each ``name.attribute`` and each ``from name import attribute``, as (line, name, attribute)."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            yield node.lineno, node.value.id if isinstance(node.value, ast.Name) else "", node.attr
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield node.lineno, node.module or "", alias.name


def _calls(module: Module) -> Iterator[tuple[ast.Call, str, str]]:
    """Each call as (node, receiver, name); the receiver is empty for a bare name and for an expression."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name):
                    yield node, "", name
                case ast.Attribute(value=ast.Name(id=receiver), attr=name):
                    yield node, receiver, name
                case ast.Attribute(attr=name):
                    yield node, "…", name
                case _:
                    pass


def changes_of_the_disk(module: Module) -> Offences:
    """Anything that writes, outside the one door ``disk/atomic.py`` (rule 8)."""
    if module.path == "disk/atomic.py" or module.layer == "cli/demo":
        return
    for line, name, attribute in _uses(module):
        if attribute in _MUTATIONS.get(name, ()) or attribute in _PATH_MUTATIONS:
            yield line, f"{name or '…'}.{attribute} outside disk/atomic.py"
    paths = any(name.startswith("pathlib") for _, name in imported(module))
    for node, receiver, name in _calls(module):
        if paths and receiver != "os" and name in _PATH_MUTATIONS_BY_COMMON_NAMES:
            yield node.lineno, f"{name} beside pathlib, outside disk/atomic.py"
        if name in {"open", "fdopen"} and _opens_for_writing(node, receiver, name):
            yield node.lineno, f"{name} for writing, or with a mode that cannot be read here, outside disk/atomic.py"


def _opens_for_writing(node: ast.Call, receiver: str, name: str) -> bool:
    """Whether the call has a mode that writes; a mode that is computed counts as one."""
    of_a_path = receiver not in {"", "io", "os"}  # then the mode comes first, and other libraries' `open` looks alike
    if (receiver, name) == ("os", "open"):
        return False  # its flags are named, and found by their names
    place = 0 if of_a_path else 1
    mode = node.args[place] if len(node.args) > place else None
    mode = mode or next((keyword.value for keyword in node.keywords if keyword.arg == "mode"), None)
    match mode:
        case None:
            return False
        case ast.Constant(value=str(text)):
            return bool(set(text) & set("wax+")) and (not of_a_path or set(text) <= set("rwaxbt+"))
        case _:
            return not of_a_path


def reads_of_the_environment(module: Module) -> Offences:
    """Environment variables and the home are read by ``config.py`` alone."""
    if module.path in {"config.py", "start.py"} or module.layer == "cli/demo":
        return
    for line, name, attribute in _uses(module):
        if f"{name}.{attribute}" in _ENVIRONMENT | {"Path.home"} or attribute == "expanduser":
            yield line, f"{name or '…'}.{attribute} outside config.py"


def clocks_in_core(module: Module) -> Offences:
    """``core`` is arguments in, value out: time comes from the service (rule 3)."""
    if module.layer.startswith("core"):
        for node, receiver, name in _calls(module):
            if name in {"now", "utcnow", "today"} and receiver in {"datetime", "date", "…"}:
                yield node.lineno, f"{receiver}.{name}() in core"


def assertions(module: Module) -> Offences:
    """``python -O`` removes them (rule 7); ``assert_never`` is a call and stays."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assert):
            yield node.lineno, "assert statement"


def blanket_handlers(module: Module) -> Offences:
    """``except Exception`` hides faults; only the outermost layers may, and clean-up that raises again (rule 7)."""
    if module.layer in {"server", "cli", "cli/demo"}:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            names = {"everything" if kind is None else ast.unparse(kind) for kind in caught}
            last = node.body[-1]
            raises_again = names == {"BaseException"} and isinstance(last, ast.Raise) and last.exc is None
            if names & {"everything", "Exception", "BaseException"} and not raises_again:
                yield node.lineno, f"except {', '.join(sorted(names))}"
    for node, _, name in _calls(module):
        if name == "suppress" and {ast.unparse(argument) for argument in node.args} & {"Exception", "BaseException"}:
            yield node.lineno, "suppress(Exception)"


def extractions(module: Module) -> Offences:
    """An archive is never trusted to place its own files."""
    for node, _, name in _calls(module):
        if name in {"extract", "extractall", "unpack_archive"}:
            yield node.lineno, f"{name}()"


def prints(module: Module) -> Offences:
    """The protocol owns stdout (rule 11)."""
    if not module.layer.startswith("cli"):
        for node, receiver, name in _calls(module):
            if not receiver and name == "print":
                yield node.lineno, "print()"


def idle_coroutines(module: Module) -> Offences:
    """No ``async def`` without an ``await`` (rule 9)."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("__"):
            waits = (ast.Await, ast.AsyncFor, ast.AsyncWith, ast.comprehension)
            if not any(
                isinstance(inner, waits) and getattr(inner, "is_async", 1)
                for inner in ast.walk(node)
                if inner is not node
            ):
                yield node.lineno, f"async def {node.name} never awaits"


def missing_docstrings(module: Module) -> Offences:
    """Every module says what it is for."""
    if not ast.get_docstring(module.tree):
        yield 1, "no module docstring"


def oversize(module: Module) -> Iterator[tuple[int, str, str]]:
    """(line, key of the allow-list, what is too long); the key may be excused."""
    lines = len(module.source.splitlines())
    if lines > MAX_FILE_LINES:
        yield 1, module.path, f"{lines} lines, more than {MAX_FILE_LINES}"
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield node.lineno, f"{module.path}:{node.name}", f"{node.name} has {length} lines"


def sizes(module: Module) -> Offences:
    """What is too long and not excused."""
    yield from ((line, what) for line, key, what in oversize(module) if key not in OVERSIZE)


RULES = (
    forbidden_imports,
    changes_of_the_disk,
    reads_of_the_environment,
    clocks_in_core,
    assertions,
    blanket_handlers,
    extractions,
    prints,
    idle_coroutines,
    missing_docstrings,
    sizes,
)


def parse(path: str, source: str) -> Module:
    """The module at ``path`` below the package."""
    return Module(path, source, ast.parse(source, path))


def offences(module: Module) -> list[str]:
    """What offends in ``module``, one line each."""
    found = {f"{module.path}:{line}: {what}" for rule in RULES for line, what in rule(module)}
    return sorted(found)


@pytest.fixture(scope="module")
def package() -> list[Module]:
    """Every module of the package."""
    folder = REPOSITORY / PACKAGE
    files = sorted(folder.rglob("*.py"))
    return [parse(file.relative_to(folder).as_posix(), file.read_text(encoding="utf-8")) for file in files]


def test_no_module_breaks_the_rules_of_the_house(package: list[Module]) -> None:
    """The import table, and rules 3, 7, 8, 9 and 11 of the house style."""
    found = [line for module in package for line in offences(module)]
    assert not found, "\n".join([f"{len(found)} offences", *found])


def test_every_excuse_for_length_is_still_needed(package: list[Module]) -> None:
    """An allow-list only shrinks when somebody looks at it."""
    needed = {key for module in package for _, key, _ in oversize(module)}
    assert sorted(OVERSIZE.keys() - needed) == []
    assert all(OVERSIZE.values())


def test_every_third_party_import_is_a_declared_dependency(package: list[Module]) -> None:
    """What arrives only as somebody else's dependency may leave with them; ``mcp_types`` is pinned by ``mcp``."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {"".join(c if c.isalnum() else " " for c in line).split()[0] for line in project["dependencies"]}
    imports = {name.partition(".")[0] for module in package for _, name in imported(module)}
    names = {DISTRIBUTIONS.get(name, name) for name in imports}
    assert names - sys.stdlib_module_names - {PACKAGE, "mcp_types"} <= declared


OFFENDING: dict[str, tuple[str, str, str]] = {
    "core reads the disk": ("core/plan.py", "import os", "core imports os"),
    "core by from": ("core/diff/lines.py", "from pathlib import PurePath", "core imports pathlib"),
    "core knows pydantic": ("core/model.py", "import pydantic", "core imports pydantic"),
    "core knows disk": ("core/plan.py", f"from {PACKAGE}.disk import scan", "core imports disk"),
    "core knows disk, relatively": ("core/plan.py", "from ..disk.scan import walk", "core imports disk"),
    "core knows disk, from the top": ("core/plan.py", f"from {PACKAGE} import disk", "core imports disk"),
    "core hides an import": ("core/plan.py", "def f():\n    import asyncio", "core imports asyncio"),
    "core has a clock": ("core/plan.py", "import datetime\nx = datetime.datetime.now()", "now() in core"),
    "jsonschema outside checks": ("core/plan.py", "import jsonschema", "core imports jsonschema"),
    "a check reads a file": ("core/checks/hooks.py", "import io", "core/checks imports io"),
    "disk is async": ("disk/scan.py", "import anyio", "disk imports anyio"),
    "disk asks the service": ("disk/scan.py", f"import {PACKAGE}.service", "disk imports service"),
    "the store speaks SQLite": ("disk/store.py", "import sqlite3", "only disk/audit*.py"),
    "service knows the wire": ("service.py", "import mcp.server", "service imports mcp"),
    "service package, too": ("service/backups.py", "import os.path", "service imports os"),
    "service answers in schema": (
        "service/backups.py",
        f"from {PACKAGE}.schema import Backup",
        "service imports schema",
    ),
    "schema opens files": ("schema.py", "import tempfile", "schema imports tempfile"),
    "server touches disk": ("server.py", f"from {PACKAGE}.disk import lock", "server imports disk"),
    "main skips the server": ("__main__.py", f"from {PACKAGE}.cli import main", "server imports cli"),
    "cli opens files": ("cli/backup.py", "from pathlib import Path", "cli imports pathlib"),
    "cli talks MCP": ("cli/backup.py", "from mcp import Client", "cli imports mcp"),
    "demo goes behind the service": ("cli/demo.py", f"from {PACKAGE}.disk import store", "cli/demo imports disk"),
    "no layer": ("utils.py", "", "in no layer"),
    "a layer nobody knows": ("service.py", f"from {PACKAGE}.utils import x", "in no layer"),
    "dynamic import": ("service.py", "from importlib import import_module", "dynamic import"),
    "rename": ("disk/store.py", "import os\nos.rename('a', 'b')", "os.rename outside"),
    "rename by name": ("disk/store.py", "from os import rename", "os.rename outside"),
    "flags": ("disk/lock.py", "import os\nos.open('a', os.O_CREAT)", "os.O_CREAT outside"),
    "rmtree": ("disk/store.py", "import shutil\nshutil.rmtree('a')", "shutil.rmtree outside"),
    "write_text": ("disk/store.py", "p.write_text('x', encoding='utf-8')", "write_text outside"),
    "open to write": ("disk/store.py", "open('a', 'wb')", "open for writing"),
    "open to append": ("config.py", "open('a', mode='a', encoding='utf-8')", "open for writing"),
    "open somehow": ("disk/store.py", "open('a', how)", "open for writing"),
    "Path.open to write": ("disk/store.py", "path.open('wb')", "open for writing"),
    "Path.mkdir": ("disk/store.py", "from pathlib import Path\nPath('a').mkdir()", "mkdir beside pathlib"),
    "environment": ("disk/probe.py", "from os import environ", "os.environ outside config.py"),
    "home": ("disk/store.py", "import os\nos.path.expanduser('~')", "expanduser outside config.py"),
    "assert": ("disk/store.py", "assert True", "assert statement"),
    "except Exception": (
        "service.py",
        "try:\n    f()\nexcept (OSError, Exception):\n    g()",
        "except Exception, OSError",
    ),
    "bare except": ("disk/store.py", "try:\n    f()\nexcept:\n    raise", "except everything"),
    "swallowed BaseException": (
        "disk/store.py",
        "try:\n    f()\nexcept BaseException:\n    g()",
        "except BaseException",
    ),
    "suppress": ("disk/store.py", "with suppress(Exception):\n    f()", "suppress(Exception)"),
    "extractall": ("disk/archive.py", "tar.extractall('x')", "extractall()"),
    "extract": ("disk/archive.py", "self.tar.extract(member)", "extract()"),
    "print": ("server.py", "print('hello')", "print()"),
    "idle coroutine": ("service.py", "async def f():\n    return 1", "never awaits"),
    "long function": ("core/plan.py", "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES, "f has 61 lines"),
    "long file": ("core/plan.py", "x = 1\n" * MAX_FILE_LINES, "more than 400"),
}


@pytest.mark.parametrize(("path", "source", "offence"), OFFENDING.values(), ids=OFFENDING.keys())
def test_each_rule_finds_its_offender(path: str, source: str, offence: str) -> None:
    """A rule that was never seen to fail proves nothing: exactly the expected offence, and no other."""
    found = offences(parse(path, f'"""Doc."""\n{source}'))
    assert len(found) == 1, found
    assert offence in found[0]


def test_a_module_without_docstring_is_found() -> None:
    """The one offence that the table above cannot show, since it gives each source a docstring."""
    assert offences(parse("core/plan.py", "X = 1\n")) == ["core/plan.py:1: no module docstring"]


INNOCENT: dict[str, tuple[str, str]] = {
    "atomic writes": ("disk/atomic.py", "import os\nos.rename('a', 'b')\nopen('a', 'wb')"),
    "the door is used": ("disk/store.py", "files.remove_file('a')\nfiles.write(1, b'')\n'a'.replace('a', 'b')"),
    "reading": ("disk/scan.py", "import os\nopen('a', 'rb')\nos.open('a', os.O_RDONLY | os.O_NOFOLLOW)\nos.lstat('a')"),
    "an archive in memory": ("disk/archive.py", "import tarfile\ntarfile.open(mode='r|', fileobj=f)"),
    "the audit index": ("disk/audit_index.py", "import sqlite3"),
    "cleaning up": ("disk/store.py", "try:\n    f()\nexcept BaseException:\n    g()\n    raise"),
    "the outermost frame": ("server.py", "try:\n    f()\nexcept Exception:\n    g()"),
    "assert_never": ("core/plan.py", "from typing import assert_never\nassert_never(x)"),
    "times as values": ("core/plan.py", "import datetime\ndatetime.datetime.fromisoformat('x')\nnow = 1"),
    "a check": ("core/checks/settings.py", f"import jsonschema\nfrom {PACKAGE}.core import model"),
    "the demo": ("cli/demo.py", "import os, tempfile\nfrom mcp import Client\nos.mkdir('a')\nprint(os.environ)"),
    "serve": ("cli/serve.py", f"def serve():\n    from {PACKAGE}.server import main\n    main()"),
    "a coroutine": ("service.py", "import anyio\nasync def f():\n    return [x async for x in g()]"),
    "sqlite's execute in a query": ("disk/audit.py", "import sqlite3\nsqlite3.connect('a').execute('SELECT 1')"),
}


@pytest.mark.parametrize(("path", "source"), INNOCENT.values(), ids=INNOCENT.keys())
def test_no_rule_fires_on_what_is_allowed(path: str, source: str) -> None:
    """A rule with false alarms is soon switched off."""
    assert offences(parse(path, f'"""Doc."""\n{source}\n')) == []
