"""Where git stands: another digest after each checkout and commit, none where there is nothing to read."""

import os
import subprocess
from pathlib import Path

from support.tree import Fifo, Link, build

from stravinsky_rollback_mcp.disk.git import head_digest


def _git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *identity, *words], cwd=folder, env=environ, check=True, capture_output=True)


def test_a_commit_and_a_checkout_move_it(project: Path, tmp_path: Path) -> None:
    """Of the whole repository, from a folder below it, packed or loose, and of a worktree by itself."""
    below = project / "packages" / "one"
    below.mkdir(parents=True)
    assert head_digest(str(below)) == ""
    _git(project, "init", "-q")
    _git(project, "symbolic-ref", "HEAD", "refs/heads/main")
    unborn = head_digest(str(below))
    _git(project, "commit", "-q", "--allow-empty", "-m", "one")
    one = head_digest(str(below))
    _git(project, "commit", "-q", "--allow-empty", "-m", "two")
    two = head_digest(str(below))
    _git(project, "checkout", "-q", "HEAD~1")
    detached = head_digest(str(below))
    _git(project, "checkout", "-q", "main")
    assert head_digest(str(below)) == two
    _git(project, "pack-refs", "--all")
    assert not (project / ".git" / "refs" / "heads" / "main").exists()
    assert head_digest(str(below)) == two
    _git(project, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    side = head_digest(str(tmp_path / "side"))
    seen = [unborn, one, two, detached, side]
    assert len(set(seen)) == 5
    assert "" not in seen
    _git(tmp_path / "side", "commit", "-q", "--allow-empty", "-m", "three")
    assert head_digest(str(tmp_path / "side")) != side
    assert head_digest(str(below)) == two


def test_what_cannot_be_read_is_no_place(project: Path) -> None:
    """Hostile input: special files, links, a pointer to nowhere, a ref that leads out; nothing waits or is raised."""
    for head in (Fifo(), Link("../../secret"), "x" * 100_000, ""):
        build(project, {".git": {"HEAD": head}})
        assert head_digest(str(project)) == ""
        (project / ".git" / "HEAD").unlink()
    build(project, {"secret": "s\n", ".git": {"HEAD": "ref: ../secret\n"}})
    outside = head_digest(str(project))
    (project / "secret").write_text("t\n", encoding="utf-8")
    assert head_digest(str(project)) == outside
    (project / ".git" / "HEAD").unlink()
    (project / ".git").rmdir()
    (project / ".git").write_text("gitdir: nowhere\n", encoding="utf-8")
    assert head_digest(str(project)) == ""
