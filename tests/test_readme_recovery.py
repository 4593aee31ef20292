"""Whoever has nothing but the README gets out: each way of its tree is followed here, word for word."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result
from support.config import realistic
from support.crash import CrashedError
from support.tree import Snapshot, snapshot

from stravinsky_rollback_mcp import config
from stravinsky_rollback_mcp.cli import main
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.service import Actor, Caller, Consent, MadeBy, RollbackService

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
CALLER = Caller(actor=Actor(kind="terminal"), made_by=MadeBy.TERMINAL)


def block(mark: str, language: str) -> str:
    """What is fenced directly after a mark of the README."""
    found = re.search(rf"<!-- {mark} -->\n```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None, mark
    return found[1]


def ways() -> dict[str, str]:
    """The tree: what is wrong, and the command."""
    found = re.findall(r"^(.*?) \.+ (stravinsky-rollback .*)$", block("ways-out", "text"), re.MULTILINE)
    return dict(found)


class Reader:
    """A person with a broken configuration, a terminal, and the README."""

    def __init__(self, home: Path, project: Path) -> None:
        self.user, self.project = realistic(home, project)
        self.home = home
        self.followed: set[str] = set()
        self.intact = self.live()
        assert self.types("stravinsky-rollback backup create v1").exit_code == 0

    def live(self) -> tuple[Snapshot, Snapshot]:
        """Both roots, byte for byte."""
        return snapshot(self.user), snapshot(self.project)

    def types(self, line: str) -> Result:
        """One command; `~` is expanded as a shell would."""
        words = [os.path.expanduser(word) for word in shlex.split(line)]
        assert words[0] == "stravinsky-rollback"
        return CliRunner().invoke(main, words[1:], catch_exceptions=False)

    def follows(self, wrong: str, *, options: bool = False, **places: str) -> None:
        """The command of one way, its words in capitals filled in; ``--yes``, because nobody can be asked here."""
        command = ways()[wrong]
        self.followed.add(wrong)
        command = re.sub(r" \[(.*?)\]", r" \1" if options else "", command)
        for word, meant in places.items():
            assert f" {word}" in command
            command = command.replace(f" {word}", f" {meant}")
        asks = not any(f" {word}" in command for word in ("resume", "update"))
        done = self.types(f"{command} --yes" if asks else command)
        assert done.exit_code == (3 if " update " in command else 0), done.output

    @property
    def guard(self) -> Path:
        """The script that the settings have run before each command of the shell."""
        return self.user / "hooks" / "guard_bash.py"


def locked(reader: Reader) -> None:
    """A guard that Claude Code cannot run."""
    reader.guard.unlink()
    reader.follows("every tool is denied by a broken hook")


def just_now(reader: Reader) -> None:
    """An edit of several targets that turns out wrong."""
    shutil.rmtree(reader.user / "commands")
    (reader.project / "settings.json").write_text("{}\n", encoding="utf-8")
    reader.follows("the last thing that happened was wrong")


def one_file(reader: Reader) -> None:
    """A file that is gone, long ago: backups were made since."""
    (reader.user / "commands" / "review.md").unlink()
    reader.types("stravinsky-rollback backup create")
    reader.follows("one file, or one key of a settings file", PATH="~/.claude/commands/review.md")


def one_key(reader: Reader) -> None:
    """A key of the settings that an installer wrote anew."""
    settings = reader.user / "settings.json"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("guard_bash.py", "log_tools.py"), encoding="utf-8")
    reader.follows("one file, or one key of a settings file", options=True, PATH="~/.claude/settings.json")


def one_folder(reader: Reader) -> None:
    """A folder that is gone."""
    shutil.rmtree(reader.project / "hooks")
    reader.follows("one folder", PATH=".claude/hooks")


def everything(reader: Reader) -> None:
    """Nothing is left of what is protected."""
    for root in (reader.user, reader.project):
        for name in ("hooks", "commands"):
            shutil.rmtree(root / name)
        (root / "settings.json").unlink()
    reader.follows("everything, to a version that you know", VERSION="v1")


def open_update(reader: Reader) -> None:
    """An installer that never came to its end."""
    reader.types("stravinsky-rollback update begin v2")
    reader.guard.write_text("half of an ins", encoding="utf-8")
    reader.follows("an update that is still open broke it")


def moved(reader: Reader) -> None:
    """The project was renamed, and its hooks broke on the way."""
    old, new = reader.project.parent, reader.project.parent.with_name("renamed")
    old.rename(new)
    os.chdir(new)
    reader.project = new / ".claude"
    (reader.project / "hooks" / "format.py").unlink()
    reader.follows("the project was moved, its backups are missing", OLDPATH=str(old))
    reader.follows("one folder", PATH=".claude/hooks")


def killed(reader: Reader) -> None:
    """A rollback that died when half of it was live."""
    reader.guard.write_text("# edited\n", encoding="utf-8")
    (reader.user / "settings.json").write_text("{}\n", encoding="utf-8")
    before = reader.live()
    dead: list[str] = []

    def die(operation: str, path: str) -> None:
        if dead or (operation.startswith(("rename", "exchange")) and path.endswith("/.claude/settings.json")):
            dead.append(operation)
            raise CrashedError

    service = RollbackService(config.of_process(for_terminal=True), Files(die))
    with pytest.raises(CrashedError):
        anyio.run(lambda: service.rollback_to(CALLER, version="v1", consent=Consent(is_given=True)))
    assert reader.live() not in (before, reader.intact), "it was in the middle"
    reader.follows("killed in the middle, or needs_attention")
    assert reader.live() in (before, reader.intact)
    reader.follows("everything, to a version that you know", VERSION="v1")


def store(reader: Reader) -> Path:
    """Where the README says that backups lie."""
    return reader.home / ".stravinsky" / "rollback"


TROUBLES = (locked, just_now, one_file, one_key, one_folder, everything, open_update, killed, moved)
LAST = "backups are damaged, nothing else helps"


def test_each_way_out_leads_out(home: Path, project: Path) -> None:
    """One trouble after the other, and after each the command that stands beside it: byte for byte as before."""
    reader = Reader(home, project)
    for happens in TROUBLES:
        happens(reader)
        assert reader.live() == reader.intact, happens.__name__
    assert reader.followed | {LAST} == ways().keys()


def test_what_is_whole_of_damaged_backups_is_enough(home: Path, project: Path) -> None:
    """Two that each have lost another part, and so has what is live: the last command of the tree."""
    reader = Reader(home, project)
    reader.types("stravinsky-rollback backup create v2")
    for version, archive in (("v1", "user.commands.tar.gz"), ("v2", "user.hooks.tar.gz")):
        path = store(reader) / "backups" / version / archive
        content = path.read_bytes()
        path.unlink()  # the other backup shares it
        path.write_bytes(content[:-9])
        shutil.rmtree(reader.user / archive.split(".")[1])
    reader.follows(LAST)
    assert reader.live() == reader.intact


def files(found: Snapshot) -> dict[bytes, bytes]:
    """What regular files hold; links and empty folders do not come back by hand."""
    return {path: content for path, (kind, _, content) in found.items() if kind == "file"}


def by_hand(commands: str) -> None:
    """What a shell makes of them."""
    subprocess.run(["bash", "-e", "-c", commands], check=True, capture_output=True)


def test_a_backup_is_brought_back_with_tar_alone(home: Path, project: Path) -> None:
    """The lines of the README, with the version filled in."""
    reader = Reader(home, project)
    reader.guard.unlink()
    (reader.user / "hooks" / "strange.py").write_text("1\n", encoding="utf-8")
    (reader.user / "settings.json").write_text("{", encoding="utf-8")
    by_hand(block("by-hand", "sh").replace("VERSION", "v1"))
    assert files(reader.live()[0]) == files(reader.intact[0])


def test_where_nothing_is_whole_the_file_that_it_names_has_the_commands(home: Path, project: Path) -> None:
    """The README's last way: `recovery emergency` refuses, and RECOVERY.md can be typed."""
    reader = Reader(home, project)
    manifest = store(reader) / "backups" / "v1" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-9])
    for name in ("hooks", "commands", "settings.json"):
        path = reader.user / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = reader.types(f"{ways()[LAST]} --yes")
    assert done.exit_code == 4, done.output
    named = re.search(r"`(~/\S*RECOVERY\.md)`", README)
    assert named is not None
    text = Path(os.path.expanduser(named[1])).read_text(encoding="utf-8")
    by_hand("\n".join(line for line in text.splitlines() if line.startswith(("mkdir", "cp"))))
    assert files(reader.live()[0]) == files(reader.intact[0])
