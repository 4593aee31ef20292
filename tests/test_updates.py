"""Updates by other programs: seven ways in which they go wrong all end in the old state, and the audit tells the story.

Once through ``update run``, as a person or a model at a shell does it, and once through the two tools. Then what is
told on the way: what others did meanwhile, which of the person's own files were lost, what a crash left open.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner
from support.config import realistic
from support.crash import PERSON, CrashAt, CrashedError, Log, World
from support.tree import Snapshot, build, snapshot

from stravinsky_rollback_mcp.cli import main
from stravinsky_rollback_mcp.config import Config, load
from stravinsky_rollback_mcp.core.model import Actor, EventStatus, EventType, MadeBy
from stravinsky_rollback_mcp.core.outcome import UpdateFinished
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Caller, Consent, RollbackService

OTHER = Caller(actor=Actor(kind="mcp_client", name="another session"), made_by=MadeBy.TOOL)
EDIT = "echo '# edited' >> ~/.claude/hooks/lib/common.sh; echo new > ~/.claude/hooks/new.py"

WIPED = " ".join(f"{root}/{name}*" for root in ("~/.claude", ".claude") for name in ("hooks", "commands", "settings"))

# What the update's program does, and what it is said to have done.
WAYS: dict[str, tuple[str, bool]] = {
    "exits with another status": (f"{EDIT}; exit 3", False),
    "is killed": (f"{EDIT}; kill -9 $$", False),
    "breaks the settings": (f"{EDIT}; echo '{{bad' > ~/.claude/settings.json", True),
    "removes a guard's script": (f"{EDIT}; rm ~/.claude/hooks/guard_bash.py", True),
    "breaks a guard's script": (f"{EDIT}; echo 'def (' > ~/.claude/hooks/guard_bash.py", True),
    "wipes everything": (f"rm -rf {WIPED}", True),
    "takes too long": (f"{EDIT}; sleep 60", False),
}
STORY = [EventType.UPDATE_START, EventType.VERIFICATION_FAILURE, EventType.UPDATE_FAILED, EventType.AUTO_ROLLBACK]


@pytest.fixture
def world(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Both scopes as people have them, and the process in their midst; in memory, where flushes cost nothing."""
    realistic(world.home, world.project)
    monkeypatch.setenv("HOME", str(world.home))
    monkeypatch.chdir(world.project)
    yield world
    monkeypatch.undo()  # out of the folder, before it goes


def live(world: World) -> tuple[Snapshot, Snapshot]:
    """Both roots, byte for byte."""
    return snapshot(world.home / ".claude"), snapshot(world.project / ".claude")


def story(world: World) -> list[EventType]:
    """The events that the contract names for an update, in their order; a start counts once."""
    return list(
        dict.fromkeys(record.draft.event_type for record in world.records() if record.draft.event_type in STORY)
    )


def run(*words: str) -> tuple[int, Any]:
    """A terminal command, and its JSON."""
    done = CliRunner().invoke(
        main, [*words, "--json"] if "--" not in words else ["update", "run", "--json", *words[2:]]
    )
    return done.exit_code, json.loads(done.stdout)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_go_wrong_ends_in_the_old_state_through_the_terminal(world: World, way: str) -> None:
    """``update run``: byte for byte as before, exit status 3, the result kept for a look, the story in the audit."""
    program, is_verified = WAYS[way]
    before = live(world)
    words = ("--timeout", "0.5") if way == "takes too long" else ()
    status, answer = run("update", "run", *words, "v2", "--", "sh", "-c", program)
    assert live(world) == before
    assert (status, answer["outcome"]) == (3, "rolled_back")
    assert answer["command"]["timed_out"] == (way == "takes too long")
    assert story(world) == [event for event in STORY if is_verified or event is not EventType.VERIFICATION_FAILURE]
    assert [bool(answer["findings"]), answer["command"]["exit_code"] == 0] == [is_verified, is_verified]
    kept = answer["rollback"]["safety_backup"]
    assert run("rollback", "to", kept, "--yes")[0] == 0  # nothing of what the update did is lost either
    assert live(world) != before
    assert world.run(world.service().status(PERSON)).update is None


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_go_wrong_ends_in_the_old_state_through_the_tools(world: World, way: str) -> None:
    """``begin_update`` and ``finish_update`` around a program that a model runs by itself."""
    program, is_verified = WAYS[way]
    before = live(world)
    service = world.service()
    begun = world.run(service.begin_update(OTHER, version="v2"))
    program = program.replace("sleep 60", "exit 124").replace("kill -9 $$", "exit 137")
    status = subprocess.run(["sh", "-c", program], cwd=world.project, check=False).returncode
    assert live(world) != before
    finished = world.run(service.finish_update(OTHER, success=status == 0, error="" if status == 0 else "it failed"))
    assert live(world) == before
    assert finished.outcome == "rolled_back"
    assert finished.rollback is not None
    assert finished.rollback.to_version == begun.backup.version
    assert story(world) == [event for event in STORY if is_verified or event is not EventType.VERIFICATION_FAILURE]
    with pytest.raises(RollbackError) as refused:
        world.run(service.finish_update(OTHER, success=True))
    assert refused.value.code is Code.NO_UPDATE


# -- what is told ---------------------------------------------------------------------------------------------------


def refusal(world: World, service: RollbackService, **call: Any) -> RollbackError:
    """What beginning an update is refused with."""
    with pytest.raises(RollbackError) as refused:
        world.run(service.begin_update(OTHER, **call))
    return refused.value


def test_an_open_update_is_known_to_every_later_process(world: World) -> None:
    """Contract: one update a view, told in notices and ``status.update`` by a process that never heard of it."""
    begun = world.run(world.service().begin_update(OTHER, version="v2", note="by hand"))
    later = world.service()
    status = world.run(later.status(PERSON))
    assert status.update == begun.update
    assert any("v2" in notice and "update finish" in notice for notice in status.notices)
    assert any("v2" in notice for notice in world.run(later.list_backups(OTHER)).notices)
    assert refusal(world, later, version="v3").code is Code.UPDATE_IN_PROGRESS
    elsewhere = world.root / "live" / "elsewhere"
    elsewhere.mkdir()
    assert world.run(world.service(project=elsewhere).status(PERSON)).update is None
    assert world.run(later.finish_update(OTHER, success=True)).outcome == "verified"
    assert world.run(later.status(PERSON)).update is None


def test_a_verified_update_has_its_name_and_can_be_undone(world: World) -> None:
    """The result is the backup of that name, ``latest.json`` follows, and undo goes back to the state before."""
    before = live(world)
    service = world.service()
    world.run(service.begin_update(OTHER, version="v2"))
    subprocess.run(["sh", "-c", EDIT], check=True)
    finished = world.run(service.finish_update(OTHER, success=True))
    assert (finished.outcome, finished.backup) == ("verified", "v2")
    assert world.run(service.list_backups(OTHER)).current.version == "v2"
    assert '"version": "v2"' in (world.store / "latest.json").read_text(encoding="utf-8")
    assert story(world) == [EventType.UPDATE_START]
    assert world.records()[-1].draft.event_type is EventType.UPDATE_SUCCESS
    assert world.run(service.undo(PERSON, consent=Consent())).to_version == finished.update.backup
    assert live(world) == before
    assert world.run(service.redo(PERSON, consent=Consent())).to_version == "v2"


def test_the_persons_own_files_that_an_update_took_are_listed_with_the_way_back(world: World) -> None:
    """Only what the person changed since the last update; an updater that goes over it silently is told on."""
    hooks = world.home / ".claude" / "hooks"
    service = world.service()

    def update(version: str, program: str) -> UpdateFinished:
        world.run(service.begin_update(OTHER, version=version))
        subprocess.run(["sh", "-c", program], check=True)
        return world.run(service.finish_update(OTHER, success=True))

    assert update("v1", EDIT).lost == ()
    (hooks / "mine.py").write_text("my own\n", encoding="utf-8")
    (hooks / "new.py").write_text("theirs, and changed by me\n", encoding="utf-8")
    (hooks / "kept.py").write_text("mine too\n", encoding="utf-8")
    second = update("v2", f"{EDIT}; rm ~/.claude/hooks/mine.py; rm -f ~/.claude/hooks/caf*")
    backup = second.update.backup
    assert [(lost.path, lost.action) for lost in second.lost] == [
        ("~/.claude/hooks/new.py", "overwritten"),
        ("~/.claude/hooks/mine.py", "deleted"),
    ]
    assert second.lost[1].bring_back == f"stravinsky-rollback recovery file '~/.claude/hooks/mine.py' {backup}"
    assert "2 files" in second.summary


def test_what_others_restored_meanwhile_is_told(world: World) -> None:
    """Their work goes with the update, and is in the safety backup with it: neither silently nor for good."""
    service = world.service()
    world.run(service.create_backup(PERSON, version="v1"))
    world.run(service.begin_update(PERSON, version="v2"))
    subprocess.run(["sh", "-c", EDIT], check=True)
    world.run(world.service().rollback_to(OTHER, version="v1", consent=Consent()))
    (world.home / ".claude" / "hooks" / "theirs.py").write_text("1\n", encoding="utf-8")
    finished = world.run(service.finish_update(PERSON, success=False, error="it crashed"))
    assert any("another session" in notice and "manual_rollback" in notice for notice in finished.notices)
    assert finished.rollback is not None
    assert finished.rollback.safety_backup is not None
    assert [change.removed for change in finished.rollback.changes if change.removed] == [("theirs.py",)]


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        ("2.0\nbuilt today\n", "verified"),
        ('{"version": "v2.0"}', "verified"),
        ("1.9\n", "rolled_back"),
        (None, "rolled_back"),
    ],
)
def test_the_declared_version_file_must_name_the_version(world: World, content: str | None, outcome: str) -> None:
    """``version_consistency``: an installer that ended well and installed another version did not do its work."""
    service = world.service()
    declared = world.project / ".claude" / "VERSION"
    world.run(service.begin_update(OTHER, version="v2.0", version_file=".claude/VERSION"))
    if content is not None:
        declared.write_text(content, encoding="utf-8")
    finished = world.run(service.finish_update(OTHER, success=True))
    assert finished.outcome == outcome
    assert [finding.check for finding in finished.findings if finding.severity == "error"] == (
        [] if outcome == "verified" else ["version_consistency"]
    )


@pytest.mark.parametrize("path", ["/etc/passwd", "../VERSION", "~/.ssh/id_rsa", "~/.claude/../.ssh/id_rsa"])
def test_a_version_file_lies_in_the_configuration(world: World, path: str) -> None:
    """What a tool's argument may have compared stays within what is protected, or the project."""
    assert refusal(world, world.service(), version="v2", version_file=path).code is Code.INVALID_ARGUMENT


def test_what_stands_in_the_way_blocks_an_update_before_it_begins(world: World) -> None:
    """Design, table of checks: without room to put it back, nothing may be changed."""
    full = RollbackService(configured(world, STRAVINSKY_SAFETY_DISK_SPACE_THRESHOLD_MB="999999999"))
    refused = refusal(world, full, version="v2")
    assert refused.code is Code.VALIDATION_FAILED
    assert refused.lines
    blocked = [record.draft for record in world.records() if record.draft.event_type is EventType.UPDATE_BLOCKED]
    assert [(draft.version, draft.status) for draft in blocked] == [("v2", EventStatus.REFUSED)]
    assert not (world.store / "recovery" / "updates.json").exists()


# -- a rollback that fails ------------------------------------------------------------------------------------------


class Waiter:
    """Lets no time pass; runs what is to happen meanwhile."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.waited: list[float] = []
        self._meanwhile = meanwhile

    def __call__(self, seconds: float) -> None:
        """Wait."""
        self.waited.append(seconds)
        self._meanwhile()


def configured(world: World, **variables: str) -> Config:
    """What a process works with whose environment says this."""
    return load({"HOME": str(world.home), **variables}, for_terminal=True, project=str(world.project))


def test_an_automatic_rollback_that_cannot_be_done_asks_for_a_person_and_can_be_repeated(world: World) -> None:
    """As often as configured, with its delay; then ``needs_attention``, with the update still open."""
    before = live(world)
    hooks = world.home / ".claude" / "hooks"
    waiter = Waiter()
    service = RollbackService(configured(world, STRAVINSKY_RECOVERY_MAX_RECOVERY_ATTEMPTS="2"), wait=waiter)
    world.run(service.begin_update(OTHER, version="v2"))
    hooks.rename(world.home / "aside")
    hooks.write_text("an installer's idea of a folder\n", encoding="utf-8")
    finished = world.run(service.finish_update(OTHER, success=True))
    assert (finished.outcome, finished.rollback, waiter.waited) == ("needs_attention", None, [5])
    assert any("unsupported_file_type" in notice for notice in finished.notices)
    assert story(world) == STORY
    assert world.records()[-1].draft.status is EventStatus.FAILED
    hooks.unlink()
    assert world.run(world.service().finish_update(OTHER, success=True)).outcome == "rolled_back"
    assert live(world) == before
    assert [record.draft.event_type for record in world.records()].count(EventType.UPDATE_FAILED) == 1


def test_a_rollback_that_meets_a_late_writer_is_tried_again(world: World) -> None:
    """What stood in the way is gone at the second attempt, and nobody had to do anything."""
    before = live(world)
    hooks = world.home / ".claude" / "hooks"
    service = RollbackService(configured(world), wait=Waiter(hooks.unlink))
    world.run(service.begin_update(OTHER, version="v2"))
    hooks.rename(world.home / "aside")
    hooks.write_text("for a moment\n", encoding="utf-8")
    assert world.run(service.finish_update(OTHER, success=False)).outcome == "rolled_back"
    assert live(world) == before


def test_attempts_end_with_the_time_that_is_configured(world: World) -> None:
    """``update.auto_rollback_timeout_seconds`` counts the delays too."""
    hooks = world.home / ".claude" / "hooks"
    waiter = Waiter()
    service = RollbackService(configured(world, STRAVINSKY_UPDATE_AUTO_ROLLBACK_TIMEOUT_SECONDS="3"), wait=waiter)
    world.run(service.begin_update(OTHER, version="v2"))
    hooks.rename(world.home / "aside")
    hooks.write_text("still here\n", encoding="utf-8")
    assert world.run(service.finish_update(OTHER, success=False)).outcome == "needs_attention"
    assert waiter.waited == []


# -- killed in between ----------------------------------------------------------------------------------------------


def small(world: World) -> World:
    """A configuration of which an enumeration can make a thousand copies."""
    build(world.home, {".claude": {"settings.json": "{}\n", "hooks": {"guard.py": "print(1)\n"}}})
    build(world.project, {".claude": {"commands": {"go.md": "Go.\n"}}})
    return world


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize(
    "stride", [pytest.param(1, marks=pytest.mark.long, id="everywhere"), pytest.param(17, id="here and there")]
)
def test_killed_while_an_update_is_finished_nothing_is_half_done(tmp_path: Path, stride: int, *, success: bool) -> None:
    """Whatever died, finishing again ends as finishing once would have, and each event is told once."""
    memory = "/dev/shm"
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        world = small(World(Path(folder)))
        old = live(world)
        world.run(world.service().begin_update(OTHER, version="v2"))
        (world.home / ".claude" / "hooks" / "guard.py").write_text("print(2)\n", encoding="utf-8")
        (world.project / ".claude" / "commands" / "new.md").write_text("New.\n", encoding="utf-8")
        new = live(world)
        world.save()
        log = Log()
        world.run(world.service(Files(log)).finish_update(OTHER, success=success))
        outcomes = {"verified": 0, "rolled_back": 0, "over": 0}
        for at in range(1, len(log.calls) + 1, stride):
            world.reset()
            with pytest.raises(CrashedError):
                world.run(world.service(Files(CrashAt(at))).finish_update(OTHER, success=success))
            world.resume()
            assert live(world) in (old, new), log.calls[at - 1]
            if world.run(world.service().status(PERSON)).update is None:
                outcomes["over"] += 1
            else:
                outcomes[world.run(world.service().finish_update(OTHER, success=success)).outcome] += 1
            assert live(world) == (new if success else old), log.calls[at - 1]
            ends = [record.draft for record in world.records() if record.draft.event_type in ENDS]
            assert [draft.event_type for draft in ends] == (
                [EventType.UPDATE_SUCCESS] if success else [EventType.UPDATE_FAILED]
            )
            world.run(world.service().begin_update(OTHER, version="v3"))
        assert outcomes["verified" if success else "rolled_back"] > 0
        world.close()


ENDS = {EventType.UPDATE_SUCCESS, EventType.UPDATE_FAILED}


@pytest.mark.parametrize(
    "stride", [pytest.param(1, marks=pytest.mark.long, id="everywhere"), pytest.param(13, id="here and there")]
)
def test_killed_while_an_update_begins_it_is_open_or_it_is_not(tmp_path: Path, stride: int) -> None:
    """Nothing live has changed; the next process either ends the update or begins it anew."""
    memory = "/dev/shm"
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        world = small(World(Path(folder)))
        old = live(world)
        world.run(world.service().create_backup(PERSON, version="v1"))
        world.save()
        log = Log()
        world.run(world.service(Files(log)).begin_update(OTHER, version="v2"))
        opened = 0
        for at in range(1, len(log.calls) + 1, stride):
            world.reset()
            with pytest.raises(CrashedError):
                world.run(world.service(Files(CrashAt(at))).begin_update(OTHER, version="v2"))
            world.resume()
            if world.run(world.service().status(PERSON)).update is None:
                world.run(world.service().begin_update(OTHER, version="v2"))
            else:
                opened += 1
            assert world.run(world.service().finish_update(OTHER, success=False)).outcome == "rolled_back"
            assert live(world) == old
        assert opened > 0 or stride > 1
        world.close()
