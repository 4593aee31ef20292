"""How fast backups and restores are (speed goals, P1 to P4, P11, P12): a table, and no verdict about time.

Run with `pytest -m benchmark -n0 tests/benchmarks/test_speed.py`. Every figure is a ratio to something that everybody
has, measured in the same run. `BENCHMARK_CORPORA=ABC` adds 10,000 files of 200 MB in all, `ABCD` 100,000 of 1 KB;
memory is measured with the last of them.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.corpus import ALL, Corpus, plant

from stravinsky_rollback_mcp.config import load
from stravinsky_rollback_mcp.core.model import Actor, MadeBy
from stravinsky_rollback_mcp.service import Caller, Consent, RollbackService

CORPORA = [ALL[name] for name in os.environ.get("BENCHMARK_CORPORA", "AB")]
RUNS = 3
MODEL = Caller(actor=Actor(kind="mcp_client", name="a model"), made_by=MadeBy.TOOL)

# What a server does, in a process of its own; what it says is its peak memory in KB, idle and after each.
_SERVED = """
import asyncio, sys
from pathlib import Path
from stravinsky_rollback_mcp.config import load
from stravinsky_rollback_mcp.core.model import Actor, MadeBy
from stravinsky_rollback_mcp.server import RollbackServer
from stravinsky_rollback_mcp.service import Caller, Consent

def peak() -> None:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

async def serve() -> None:
    home, project = sys.argv[1:]
    service = RollbackServer(load({"HOME": home}, for_terminal=False, project=project)).service
    caller = Caller(actor=Actor(kind="mcp_client", name="a model"), made_by=MadeBy.TOOL)
    await service.list_backups(caller)
    peak()
    await service.create_backup(caller, version="v1")
    peak()
    for path in Path(home, ".claude").rglob("*.md"):
        path.write_bytes(path.read_bytes() + b"another")
    await service.rollback_to(caller, version="v1", consent=Consent())
    peak()

asyncio.run(serve())
"""


@pytest.fixture(autouse=True)
def table(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """What a benchmark prints is its result: shown whether or not output is captured."""
    yield
    told = capsys.readouterr().out
    with capsys.disabled():
        print(f"\n{told}", end="")  # noqa: T201


def told(name: str, corpus: str, value: str) -> None:
    """One row of the table."""
    print(f"{name:58} {corpus:2} {value}")  # noqa: T201


def once_s(work: Callable[[], object]) -> float:
    """One run, in seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ratio(name: str, corpus: Corpus, pairs: list[tuple[float, float]]) -> None:
    """A row of ours and theirs, run in turn; the median of the ratios pair by pair."""
    ours, theirs = (statistics.median(times) * 1000 for times in zip(*pairs, strict=True))
    middle = statistics.median(ours / theirs for ours, theirs in pairs)
    told(name, corpus.name, f"{ours:8.1f} / {theirs:8.1f} ms = {middle:.2f}")


def walk(top: str) -> None:
    """The least that finding nothing changed can cost."""
    with os.scandir(top) as entries:
        for entry in entries:
            entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                walk(entry.path)


def shell(command: str, folder: Path) -> None:
    """What a person would type."""
    subprocess.run(["bash", "-e", "-c", command], cwd=folder, check=True)


@pytest.mark.benchmark
@pytest.mark.long
@pytest.mark.parametrize("corpus", CORPORA, ids=lambda corpus: corpus.name)
def test_backups_and_restores(home: Path, project: Path, corpus: Corpus) -> None:
    """P1 ≤ 0.40, 0.20, 0.14 on A, B, C; P2 ≤ 2.0 on B, C, D; P3 ≤ 3.0 on B, C; P4 ≤ 0.5 on C."""
    user_root = home / ".claude"
    service = RollbackService(load({"HOME": str(home)}, for_terminal=False, project=str(project)))

    def backup(version: str | None = None) -> None:
        asyncio.run(service.create_backup(MODEL, version=version))

    def restore() -> None:
        assert asyncio.run(service.rollback_to(MODEL, version="v0", consent=Consent())).applied

    def pack() -> None:
        shell("tar czf packed .claude && sync -f packed", home)

    def copy(name: str) -> None:
        # Each copy stays: after many files were deleted ext4 is slow to make others, and that would be counted as ours.
        shell(f"cp -a .claude {name} && sync -f {name}", home)

    paths: list[Path] = []
    pairs: list[tuple[float, float]] = []
    for run in range(RUNS):
        plant(user_root, corpus, seed=run)
        os.sync()
        theirs = once_s(pack)
        pairs.append((once_s(lambda run=run: backup(f"v{run}")), theirs))
    ratio("P1 create_backup, all changed / tar czf, sync", corpus, pairs)

    backup()
    pairs = [(once_s(backup), once_s(lambda: walk(str(user_root)))) for _ in range(RUNS)]
    ratio("P2 create_backup, nothing changed / scandir, stat", corpus, pairs)

    pairs = []
    for run in range(RUNS):
        paths = plant(user_root, corpus, seed=RUNS + run)
        os.sync()
        theirs = once_s(lambda run=run: copy(f"all{run}"))
        pairs.append((once_s(restore), theirs))
    ratio("P3 rollback_to, every file / cp -a, sync", corpus, pairs)

    pairs = []
    for run in range(RUNS):
        paths[run].write_text(f"changed {run}", encoding="utf-8")
        theirs = once_s(lambda run=run: copy(f"one{run}"))
        pairs.append((once_s(restore), theirs))
    ratio("P4 rollback_to, one file / cp -a, sync", corpus, pairs)


@pytest.mark.benchmark
@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("corpus", CORPORA[-1:], ids=lambda corpus: corpus.name)
def test_memory(home: Path, project: Path, corpus: Corpus) -> None:
    """P11: the peak over the idle server ≤ 64 MB on C, ≤ 160 MB on D."""
    plant(home / ".claude", corpus)
    command = [sys.executable, "-c", _SERVED, str(home), str(project)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    idle, backed_up, restored = (int(kilobytes) / 1024 for kilobytes in said)
    told("P11 peak of the idle server", corpus.name, f"{idle:.0f} MB")
    told("P11 over it, after create_backup and after rollback_to", corpus.name, f"{backed_up - idle:+.0f} MB")
    told("", corpus.name, f"{restored - idle:+.0f} MB")


@pytest.mark.benchmark
@pytest.mark.long
def test_the_hook_and_nothing_changed(home: Path, project: Path) -> None:
    """P12 ≤ 4: what a hook pays before each call of a tool."""
    plant(home / ".claude", ALL["A"])
    environ = {**os.environ, "HOME": str(home), "CLAUDE_PROJECT_DIR": str(project)}
    ours = [str(Path(sys.executable).with_name("stravinsky-rollback")), "hook"]

    def run(command: list[str]) -> float:
        return once_s(lambda: subprocess.run(command, env=environ, input=b"{}", check=True))

    run(ours)
    run(ours)
    ratio("P12 hook, nothing changed / python -c pass", ALL["A"], [
        (run(ours), run([sys.executable, "-c", "pass"])) for _ in range(2 * RUNS + 1)
    ])  # fmt: skip
