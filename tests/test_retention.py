"""Retention, spot checks and quarantine as people and models live through them, over the service."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from support.crash import PERSON, CrashAt, CrashedError, Log, World, change_small, small
from support.tree import build, snapshot

from stravinsky_rollback_mcp import config
from stravinsky_rollback_mcp.core.model import Actor, AuditRecord, BackupKind, BackupStatus, EventStatus, EventType
from stravinsky_rollback_mcp.core.model import MadeBy as By
from stravinsky_rollback_mcp.core.outcome import Backup, BackupCreated
from stravinsky_rollback_mcp.disk import shelf as shelves
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Caller, Consent, RollbackService
from stravinsky_rollback_mcp.service.desk import Desk

TOOL = Caller(actor=Actor(kind="mcp_client", name="test"), made_by=By.TOOL)
HOOK = Caller(actor=Actor(kind="hook", name="test"), made_by=By.HOOK)


class Shelf:
    """A store with small limits, and hands to fill and damage it."""

    def __init__(
        self, portal: BlockingPortal, home: Path, project: Path, files: Files | None = None, **environ: str
    ) -> None:
        self._portal = portal
        variables = {f"STRAVINSKY_BACKUP_{name.upper()}": value for name, value in environ.items()}
        loaded = config.load({"HOME": str(home), "CLAUDE_PROJECT_DIR": str(project), **variables}, for_terminal=True)
        self.service = RollbackService(loaded, files)
        self.hooks = home / ".claude" / "hooks"
        self.store = home / ".stravinsky" / "rollback"
        self._count = 0

    def backup(self, version: str | None = None, caller: Caller = PERSON, *, edit: bool = True) -> BackupCreated:
        """A backup of a state of its own."""
        self._count += 1
        if edit:
            (self.hooks / "guard.py").write_text(f"{id(self)} {self._count}\n", encoding="utf-8")
        return self._portal.call(partial(self.service.create_backup, caller, version=version))

    def listed(self) -> dict[str, Backup]:
        """Every backup of every project, newest first."""
        page = self._portal.call(partial(self.service.list_backups, PERSON, limit=100, all_projects=True))
        return {item.version: item for item in page.backups}

    def rollback(self, version: str) -> None:
        """Go back to a version."""
        self._portal.call(partial(self.service.rollback_to, PERSON, version=version, consent=Consent()))

    def call(self, use_case: str, **arguments: object) -> Any:
        """Whatever else a person asks for."""
        return self._portal.call(partial(getattr(self.service, use_case), PERSON, **arguments))

    def undo(self) -> None:
        """One step back."""
        self._portal.call(partial(self.service.undo, PERSON, consent=Consent()))

    def records(self, event_type: EventType) -> list[AuditRecord]:
        """The audit's records of one type, oldest first."""
        page = self._portal.call(partial(self.service.query_audit, PERSON, event_type=event_type, limit=500))
        return list(reversed(page.events))

    def flip_a_byte(self, version: str) -> None:
        """Other bytes of the same size in one archive, which only reading it back finds."""
        path = self.store / "backups" / version / "user.hooks.tar.gz"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.unlink()  # another backup may share it
        path.write_bytes(content)

    def cut(self, version: str) -> None:
        """An archive that is shorter than recorded, which a look finds."""
        path = self.store / "backups" / version / "user.hooks.tar.gz"
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:-1])


@pytest.fixture
def shelf(home: Path, project: Path) -> Iterator[Callable[..., Shelf]]:
    """Opens services with limits on the test's home; the first one has the configuration built."""
    build(home, {".claude": {"hooks": {"guard.py": "one\n"}, "settings.json": "{}\n"}})
    build(project, {".claude": {"settings.json": "{}\n"}})
    with start_blocking_portal() as portal:

        def opened(where: Path = project, files: Files | None = None, **environ: str) -> Shelf:
            return Shelf(portal, home, where, files, **{"spot_check_percentage": "0", **environ})

        yield opened


# --- limits --------------------------------------------------------------------------------------------------------


def test_old_named_backups_go_once_undo_does_not_need_them(shelf: Callable[..., Shelf]) -> None:
    """Ten steps of undo are kept whatever the limit says; what lies beyond goes, one record each, and is named."""
    at = shelf(max_versions="3")
    pruned = [at.backup(f"v{number}").pruned for number in range(14)]
    assert pruned == [(), (), (), (), (), (), (), (), (), (), (), ("v0",), ("v1",), ("v2",)]
    assert list(at.listed()) == [f"v{number}" for number in range(13, 2, -1)]
    records = at.records(EventType.PRUNED)
    assert [record.draft.version for record in records] == ["v0", "v1", "v2"]
    for record in records:
        assert record.draft.status is EventStatus.SUCCESS
        assert record.draft.details is not None
        assert record.draft.details["reason"] == "backup.max_versions"
        assert len(str(record.draft.details["manifest_sha256"])) == 64
    for _ in range(10):
        at.undo()
    assert at.hooks.joinpath("guard.py").read_text(encoding="utf-8").endswith(" 4\n")


def test_states_that_come_again_count_by_number_alone(shelf: Callable[..., Shelf]) -> None:
    """Many names for one state: the limit is exact, since undo needs only one of them."""
    at = shelf(max_versions="3")
    for number in range(6):
        at.backup(f"v{number}", edit=False)
    assert list(at.listed()) == ["v5", "v4", "v3"]


def test_automatic_ones_never_push_out_a_named_one(shelf: Callable[..., Shelf]) -> None:
    """A limit of its own, however many sessions begin."""
    at = shelf(max_versions="1", max_automatic="2")
    at.backup("mine")
    for _ in range(15):
        at.backup(caller=HOOK)
    found = at.listed()
    assert found["mine"].kind is BackupKind.MANUAL
    # The newest, and the ten states before it that undo may ask for, of which "mine" is none any more.
    assert len(found) == 12


def test_another_project_keeps_its_newest_and_its_count(
    shelf: Callable[..., Shelf], tmp_path: Path, project: Path
) -> None:
    """Two projects in one store: neither pushes out the other's."""
    build(tmp_path / "other", {".claude": {"settings.json": "{}\n"}})
    there = shelf(tmp_path / "other", max_versions="2")
    there.backup("theirs", edit=False)
    here = shelf(max_versions="2")
    for number in range(4):
        here.backup(f"v{number}", edit=False)
    assert list(here.listed()) == ["v3", "v2", "theirs"]


def test_size_counts_a_shared_archive_once(shelf: Callable[..., Shelf], home: Path) -> None:
    """The same half megabyte in twenty backups is no reason to remove one."""
    (home / ".claude" / "hooks" / "noise").write_bytes(b"".join(bytes([n % 251, n % 241]) * 9 for n in range(30_000)))
    at = shelf(max_total_size_mb="1", max_versions="99")
    for number in range(20):
        at.backup(f"v{number}", edit=False)
    assert len(at.listed()) == 20


def test_what_does_not_fit_is_refused_before_anything_is_written(shelf: Callable[..., Shelf], home: Path) -> None:
    """A store that is full of what undo needs: `quota`, and what to do about it; a person is told the same."""
    at = shelf(max_total_size_mb="1")
    noise = home / ".claude" / "hooks" / "noise"
    for made in range(3):
        noise.write_bytes(bytes([made]) + os.urandom(400_000))
        at.backup(f"v{made}", TOOL)
    before = snapshot(at.store / "backups")
    with pytest.raises(RollbackError) as refused:
        at.backup("v3", TOOL)
    assert refused.value.code is Code.QUOTA
    assert "cleanup" in refused.value.hint
    assert snapshot(at.store / "backups") == before
    with pytest.raises(RollbackError) as refused:
        at.backup("person")
    assert refused.value.code is Code.QUOTA
    at.rollback("v0")
    assert noise.read_bytes()[0] == 0


def test_a_restore_makes_its_safety_backup_whatever_the_limits(shelf: Callable[..., Shelf]) -> None:
    """Going back must not depend on room, and removes nothing."""
    at = shelf(max_versions="1", max_automatic="1")
    at.backup("v1")
    (at.hooks / "guard.py").write_text("edited\n", encoding="utf-8")
    at.rollback("v1")
    at.undo()
    assert (at.hooks / "guard.py").read_text(encoding="utf-8") == "edited\n"
    assert at.records(EventType.PRUNED) == []


def test_a_page_opens_no_manifest_but_those_on_it(shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are stored; and a creation reads each that there is once, where it was not read before."""
    at = shelf()
    for version in ("v1", "v2", "v3", "v4", "v5"):
        at.backup(version)
    read: list[str] = []
    honest = shelves.read_file

    def noted(path: str, limit_bytes: int) -> bytes:
        read.append(path.split("/")[-2])
        return honest(path, limit_bytes)

    monkeypatch.setattr(shelves, "read_file", noted)
    fresh = shelf()
    fresh.call("list_backups", limit=2)
    assert read == ["v5", "v4"]
    fresh.backup("v6")
    assert sorted(read[2:]).count("v1") == 1


# --- who may push out whom -----------------------------------------------------------------------------------------


def test_a_tool_never_pushes_out_what_a_person_made(shelf: Callable[..., Shelf]) -> None:
    """At the limit a named backup through a tool is refused, an unnamed one is made, a person's goes on."""
    at = shelf(max_versions="2")
    for version in ("p1", "p2"):
        at.backup(version, edit=False)
    before = snapshot(at.store / "backups")
    with pytest.raises(RollbackError) as refused:
        at.backup("flood", TOOL, edit=False)
    assert refused.value.code is Code.QUOTA
    assert "max_versions" in refused.value.message
    assert snapshot(at.store / "backups") == before
    assert at.backup(caller=TOOL).created
    assert at.backup("p3", edit=False).pruned == ("p1",)


def test_a_tool_replaces_its_own(shelf: Callable[..., Shelf]) -> None:
    """What tools named goes for what tools name, the oldest first."""
    at = shelf(max_versions="2")
    at.backup("person", edit=False)
    at.backup("t1", TOOL, edit=False)
    assert at.backup("t2", TOOL, edit=False).pruned == ("t1",)
    assert list(at.listed()) == ["t2", "person"]


# --- damage --------------------------------------------------------------------------------------------------------


def test_creating_puts_damaged_backups_aside_and_goes_on(shelf: Callable[..., Shelf]) -> None:
    """What a look finds always; what only reading back finds in a share of the backups. Nothing of them changes."""
    at = shelf()
    for version in ("cut", "flipped", "good"):
        at.backup(version)
    at.cut("cut")
    at.flip_a_byte("flipped")
    before = {version: snapshot(at.store / "backups" / version) for version in ("cut", "flipped")}
    made = at.backup("v1")
    assert [notice for notice in made.notices if "cut" in notice and "quarantine" in notice]
    assert {item.version: item.status for item in at.listed().values()} == {
        "v1": BackupStatus.INTACT,
        "good": BackupStatus.INTACT,
        "flipped": BackupStatus.INTACT,
        "cut": BackupStatus.QUARANTINED,
    }
    thorough = shelf(spot_check_percentage="100")
    made = thorough.backup("v2")
    assert [notice for notice in made.notices if "flipped" in notice]
    for version, content in before.items():
        moved = snapshot(at.store / "quarantine" / version)
        assert moved.keys() - content.keys() == {b"problem.json"}
        assert {path: moved[path] for path in content} == content
    found = at.listed()["flipped"]
    assert found.status is BackupStatus.QUARANTINED
    assert found.problems[0].startswith(("archive_mismatch: ", "archive_unsafe: "))
    assert found.created_at
    records = at.records(EventType.QUARANTINED)
    assert [record.draft.version for record in records] == ["cut", "flipped"]
    assert records[0].draft.details is not None
    assert records[0].draft.details["problems"]


def test_a_backup_in_quarantine_is_never_restored_and_keeps_its_name(shelf: Callable[..., Shelf]) -> None:
    """Refused by the same code each time; the name stays taken, whatever its case."""
    at = shelf()
    at.backup("bad")
    at.backup("good")
    at.flip_a_byte("bad")
    for _ in range(2):
        with pytest.raises(RollbackError) as refused:
            at.rollback("bad")
        assert refused.value.code in {Code.ARCHIVE_MISMATCH, Code.ARCHIVE_UNSAFE}
    assert at.listed()["bad"].status is BackupStatus.QUARANTINED
    assert not (at.store / "backups" / "bad").exists()
    with pytest.raises(RollbackError) as refused:
        at.backup("BAD")
    assert refused.value.code is Code.ALREADY_EXISTS
    at.rollback("good")


def test_looking_puts_nothing_aside(shelf: Callable[..., Shelf]) -> None:
    """Verifying, listing and a dry run change nothing."""
    at = shelf()
    at.backup("bad")
    at.flip_a_byte("bad")
    before = snapshot(at.store)
    found = at._portal.call(partial(at.service.verify_backups, PERSON))
    assert [item.status for item in found.backups] == [BackupStatus.DAMAGED]
    at.listed()
    assert snapshot(at.store) == before


def test_what_the_audit_does_not_know_is_left_where_it_is(shelf: Callable[..., Shelf], tmp_path: Path) -> None:
    """A backup without a record is a stranger: shown and never restored, but left where it is."""
    at = shelf()
    at.backup("v1")
    shutil.copytree(at.store / "backups" / "v1", tmp_path / "kept")
    shutil.rmtree(at.store)
    shelf().backup("v2")
    shutil.copytree(tmp_path / "kept", at.store / "backups" / "v1")
    thorough = shelf(spot_check_percentage="100")
    thorough.backup("v3")
    with pytest.raises(RollbackError) as refused:
        thorough.rollback("v1")
    assert refused.value.code is Code.MANIFEST_FORGED
    assert thorough.listed()["v1"].status is BackupStatus.DAMAGED
    assert (at.store / "backups" / "v1").exists()


def test_the_last_good_backup_of_a_view_is_not_removed_for_a_damaged_newer_one(
    shelf: Callable[..., Shelf], tmp_path: Path
) -> None:
    """Before anything of a view goes by age, its newest is read back."""
    build(tmp_path / "other", {".claude": {"settings.json": "{}\n"}})
    there = shelf(tmp_path / "other", max_versions="2")
    for version in ("old", "new"):
        there.backup(version, edit=False)
    there.flip_a_byte("new")
    here = shelf(max_versions="1")
    made = here.backup("v1", edit=False)
    assert made.pruned == ()
    found = here.listed()
    assert (found["old"].status, found["new"].status) == (BackupStatus.INTACT, BackupStatus.QUARANTINED)


def test_what_cannot_be_read_is_no_last_good_backup(shelf: Callable[..., Shelf]) -> None:
    """One of a newer program, or closed to us, is neither removed nor counted, and removes no older one."""
    at = shelf()
    for version in ("good", "newer"):
        at.backup(version, edit=False)
    manifest = at.store / "backups" / "newer" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"format": 1', b'"format": 9', 1))
    found = at._portal.call(partial(at.service.cleanup, PERSON, keep=1))
    assert {item.version: (item.action, item.reason) for item in found.backups} == {
        "newer": ("keep", "damaged"),
        "good": ("keep", "newest"),
    }
    assert shelf(max_versions="1").backup("v1", edit=False).pruned == ("good",)
    assert at.listed()["newer"].status is BackupStatus.UNSUPPORTED


def test_the_note_of_what_is_live_never_names_a_backup_that_is_gone(shelf: Callable[..., Shelf]) -> None:
    """``latest.json`` follows to another backup of the same state, or says none: pruned, put aside, forgotten."""
    at = shelf(max_versions="1")

    def noted() -> list[str | None]:
        return [view["version"] for view in json.loads((at.store / "latest.json").read_bytes())["views"]]

    for version in ("v1", "v2", "v3"):
        at.backup(version, edit=False)
        at.call("pin", version=version)
    at.backup("other")
    at.rollback("v3")
    assert noted() == ["v3"]
    at.call("unpin", version="v3")
    at.call("cleanup", agreed=frozenset({"v3"}))
    assert (noted(), "v3" in at.listed()) == (["v2"], False)
    at.flip_a_byte("v2")
    at.call("cleanup", agreed=frozenset[str]())
    assert noted() == ["v1"]
    together = at.call("forget", version="v1").versions
    at.call("forget", version="v1", agreed=frozenset(together))
    assert noted() == [None]


def test_a_clock_that_was_set_ahead_is_mentioned_and_nothing_goes_for_it(
    shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, with the first backup behind the jump; what is named in a cleanup has its reason."""
    at = shelf()
    for version in ("v1", "v2"):
        at.backup(version)
    ahead = datetime(2099, 1, 1, tzinfo=UTC)

    def moment(_: Desk) -> datetime:
        return ahead

    monkeypatch.setattr(Desk, "moment", moment)
    (notice,) = at.backup("v3").notices
    assert notice.endswith("In case it is wrong, 2 backups stay that it calls too old.")
    made = at.backup("v4")
    assert (made.notices, made.pruned) == ((), ())
    found = {item.version: item.reason for item in at.call("cleanup").backups}
    assert found == {"v1": "clock_in_doubt", "v2": "clock_in_doubt", "v3": "within_limits", "v4": "newest"}


def test_what_cannot_be_removed_is_said_and_left_to_the_next_time(shelf: Callable[..., Shelf]) -> None:
    """The backup is made all the same; a folder that lost its manifest is swept by the next one."""
    shelf().backup("v1", edit=False)
    refused: list[str] = []

    def refuse(operation: str, path: str) -> None:
        if operation == "rmdir" and path.endswith("/backups/v1"):
            refused.append(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    at = shelf(files=Files(observe=refuse), max_versions="1")
    made = at.backup("v2", edit=False)
    assert len(refused) == 1
    assert (made.created, made.pruned) == (True, ())
    assert any("next backup" in notice for notice in made.notices)
    assert [record.draft.status for record in at.records(EventType.PRUNED)] == [EventStatus.SUCCESS, EventStatus.FAILED]
    assert list(at.listed()) == ["v2"]
    shelf().backup("v3", edit=False)
    assert sorted(os.listdir(at.store / "backups")) == ["v2", "v3"]


# --- killed --------------------------------------------------------------------------------------------------------


def _full(world: World) -> None:
    """Three backups of one state, the first of them pinned, where the limit is one."""
    small(world)
    for version in ("pinned", "old", "newest"):
        world.run(world.service().create_backup(PERSON, version=version))
    (world.store / "config.json").write_text('{"version": "1.0", "backup": {"max_versions": 1}}', encoding="utf-8")
    (world.store / "backups" / "pinned" / "pinned").touch()


def _kill_while_pruning(world: World, since: str) -> int:
    """Die at every call of a creation that prunes, from the first on a path that holds ``since``; how many."""
    _full(world)
    change_small(world)
    world.save()
    log = Log()
    assert world.run(world.service(Files(observe=log)).create_backup(PERSON, version="v9")).pruned == ("old", "newest")
    first = next(number for number, (_, path) in enumerate(log.calls, 1) if since in path)
    for at in range(first, len(log.calls) + 1):
        world.reset()
        with pytest.raises(CrashedError):
            world.run(world.service(Files(observe=CrashAt(at))).create_backup(PERSON, version="v9"))
        _require_sound(world, at)
        made = world.run(world.service().create_backup(PERSON, version="v10"))
        _require_sound(world, at)
        assert sorted(os.listdir(world.store / "backups")) == ["pinned", "v10"], (at, made.pruned)
    return len(log.calls) + 1 - first


@pytest.mark.case(37)
def test_killed_while_pruning_the_newest_and_the_pinned_are_whole(world: World) -> None:
    """At every call from the new backup's manifest on: what is left is intact, and the next creation ends it."""
    assert _kill_while_pruning(world, "/backups/old/") > 3


@pytest.mark.case(37)
@pytest.mark.long
def test_killed_anywhere_in_a_creation_that_prunes_the_newest_and_the_pinned_are_whole(world: World) -> None:
    """The same from the first call on."""
    assert _kill_while_pruning(world, "") > 50


def _require_sound(world: World, where: object) -> None:
    world.resume()
    found = {item.version: item.status for item in world.run(world.service().verify_backups(PERSON)).backups}
    assert set(found.values()) == {BackupStatus.INTACT}, (where, found)
    assert "pinned" in found, where
    assert {"v9", "v10", "newest"} & found.keys(), where
    assert not list((world.store / "backups").glob("*/*.tmp")), where
