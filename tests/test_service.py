"""The use cases by themselves: pages of backups, damaged and forged ones among them, drift, who waits for whom.

``test_stories`` and ``test_abuse`` tell what people and attackers live through; here is what a page or a message says.
"""

import json
import os
import shutil
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from support.config import realistic
from support.tree import build, snapshot

from stravinsky_rollback_mcp import config
from stravinsky_rollback_mcp.core.model import Actor, BackupKind, BackupStatus, EventStatus, EventType, MadeBy
from stravinsky_rollback_mcp.core.outcome import BackupCreated, BackupList, Restored
from stravinsky_rollback_mcp.disk.lock import exclusive
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Caller, Consent, RollbackService

TOOL = Caller(actor=Actor(kind="mcp_client", name="test"), made_by=MadeBy.TOOL)
PERSON = Caller(actor=Actor(kind="terminal", name="test"), made_by=MadeBy.TERMINAL)
APPLY = Consent()
LOOK = Consent(dry_run=True)

Found = TypeVar("Found")


class Desk:
    """The service on a loop of its own, called from plain code."""

    def __init__(self, portal: BlockingPortal, service: RollbackService, home: Path, project: Path) -> None:
        self.portal = portal
        self.service = service
        self.user = home / ".claude"
        self.project = project / ".claude"
        self.store = home / ".stravinsky" / "rollback"

    def run(self, call: Callable[[], Awaitable[Found]]) -> Found:
        """One use case."""
        return self.portal.call(call)

    def backup(self, version: str | None = None, note: str = "", caller: Caller = TOOL) -> BackupCreated:
        """A backup."""
        return self.run(partial(self.service.create_backup, caller, version=version, note=note))

    def page(
        self,
        *,
        limit: int = 20,
        cursor: str | None = None,
        path: str | None = None,
        detail: bool = False,
        all_projects: bool = False,
    ) -> BackupList:
        """A page of backups."""
        call = partial(
            self.service.list_backups,
            TOOL,
            limit=limit,
            cursor=cursor,
            path=path,
            detail=detail,
            all_projects=all_projects,
        )
        return self.run(call)

    def versions(self, *, path: str | None = None) -> list[str]:
        """The names on the first page."""
        return [backup.version for backup in self.page(path=path).backups]

    def rollback(self, version: str, consent: Consent = APPLY) -> Restored:
        """A whole rollback."""
        return self.run(partial(self.service.rollback_to, TOOL, version=version, consent=consent))

    def undo(self, consent: Consent = APPLY) -> Restored:
        """One step back."""
        return self.run(partial(self.service.undo, TOOL, consent=consent))

    def edit(self, name: str, content: str) -> None:
        """What an editor does."""
        (self.user / name).write_text(content, encoding="utf-8")

    def manifest(self, version: str) -> Path:
        """A backup's manifest."""
        return self.store / "backups" / version / "manifest.json"


@pytest.fixture
def open_desk(home: Path, project: Path) -> Iterator[Callable[..., Desk]]:
    """Opens services of the test's home, as several processes would."""
    with start_blocking_portal() as portal:

        def opened(**environ: str) -> Desk:
            loaded = config.load({"HOME": str(home), **environ}, for_terminal=False)
            return Desk(portal, RollbackService(loaded), home, Path(environ.get("CLAUDE_PROJECT_DIR", project)))

        yield opened


@pytest.fixture
def desk(open_desk: Callable[..., Desk], home: Path, project: Path) -> Desk:
    """A service over a configuration as people have it."""
    realistic(home, project)
    return open_desk()


def code(call: Callable[[], object]) -> Code:
    """The code with which something is refused; each refusal says what to do next."""
    with pytest.raises(RollbackError) as refused:
        call()
    assert refused.value.hint
    return refused.value.code


# --- creating ------------------------------------------------------------------------------------------------------


def test_an_unnamed_backup_of_a_known_state_is_the_newest_one(desk: Desk) -> None:
    """contract: `created: false`, nothing is stored, and the note goes to the audit."""
    desk.backup("v1")
    before = snapshot(desk.store / "backups")
    again = desk.backup(note="before the installer")
    assert (again.created, again.backup.version) == (False, "v1")
    assert "v1" in again.next_step
    assert snapshot(desk.store / "backups") == before
    page = desk.run(partial(desk.service.query_audit, TOOL))
    assert page.events[0].draft.details is not None
    assert page.events[0].draft.details["note"] == "before the installer"
    assert desk.versions() == ["v1"]
    assert desk.rollback("v1").already_at_target


def test_a_note_on_a_known_state_does_not_change_the_backup(desk: Desk) -> None:
    """The record of the note bears the same digests, so the backup stays authentic and its own note stays."""
    desk.backup("v1", note="first")
    for note in ("second", "third"):
        desk.backup(note=note)
    (backup,) = desk.page().backups
    assert (backup.status, backup.note) == (BackupStatus.INTACT, "first")
    desk.edit("hooks/notify.sh", "x")
    assert desk.rollback("v1").applied


def test_a_named_backup_of_a_known_state_is_made_and_costs_a_manifest(desk: Desk) -> None:
    """A name is a promise: it exists afterwards; unchanged archives are hard links."""
    desk.backup("v1")
    made = desk.backup("v2")
    assert made.created
    assert made.backup.changed == ()
    for archive in ("user.hooks.tar.gz", "project.commands.tar.gz"):
        one, other = ((desk.store / "backups" / version / archive).stat() for version in ("v1", "v2"))
        assert one.st_ino == other.st_ino


def test_the_kind_says_why_and_by_whom(desk: Desk) -> None:
    """Named is manual, unnamed through a tool is automatic, and what a person types is manual either way."""
    for name, caller, kind in (
        ("v1", TOOL, BackupKind.MANUAL),
        (None, TOOL, BackupKind.AUTOMATIC),
        (None, PERSON, BackupKind.MANUAL),
    ):
        desk.edit("hooks/notify.sh", f"{name}{caller.made_by}")
        backup = desk.backup(name, caller=caller).backup
        assert (backup.kind, backup.made_by) == (kind, caller.made_by)


def test_a_new_backup_lists_what_changed_since_the_one_before(desk: Desk) -> None:
    """The same list on creation, on a repeated call and on a page, in the order of the view."""
    first = desk.backup("v1").backup.changed
    desk.edit("hooks/notify.sh", "x")
    (desk.project / "settings.local.json").unlink()
    second = desk.backup("v2").backup.changed
    assert set(second) == {"user.hooks", "project.local_settings"}
    assert [backup.changed for backup in desk.page().backups] == [second, first]
    assert desk.backup().backup.changed == second


# --- pages ---------------------------------------------------------------------------------------------------------


def test_pages_are_whole_stable_and_newest_first(desk: Desk) -> None:
    """Every backup is on one page and only one; a new one in between moves nothing; the total counts them all."""
    names = [f"v{number}" for number in range(5)]
    for name in names:
        desk.backup(name)
    found: list[str] = []
    cursor = None
    for size in (2, 2, 1):
        page = desk.page(limit=2, cursor=cursor)
        assert len(page.backups) == size
        assert page.total == 5 + len(found) // 2
        found += [backup.version for backup in page.backups]
        cursor = page.next_cursor
        desk.backup(f"later{len(found)}")
    assert cursor is None
    assert found == names[::-1]


def test_a_page_opens_its_own_manifests_alone(desk: Desk) -> None:
    """However many backups there are, and it says the same of each as the manifest does; `total` counts them all."""
    for number in range(7):
        desk.edit("hooks/notify.sh", str(number))
        desk.backup(f"v{number}", note=f"note {number}")
    opened: list[str] = []
    is_watching = [True]

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if is_watching and event == "open" and str(arguments[0]).endswith("/manifest.json"):
            opened.append(str(arguments[0]))

    sys.addaudithook(watch)
    page = desk.page(limit=2)
    is_watching.clear()
    assert len(opened) == 2, "the watch has seen the page's own"
    assert (page.total, [backup.version for backup in page.backups]) == (7, ["v6", "v5"])
    for listed, whole in zip(page.backups, desk.page(limit=2, detail=True).backups, strict=True):
        assert listed == replace(whole, targets=None)
        assert listed.note.startswith("note ")
        assert listed.created_at == json.loads(desk.manifest(listed.version).read_bytes())["created_at"]
        folder = desk.manifest(listed.version).parent
        assert listed.stored_bytes == sum(path.stat().st_size for path in folder.iterdir())


def test_detail_shows_each_target(desk: Desk) -> None:
    """State, files, bytes and digest; equal digests mean equal trees."""
    shutil.rmtree(desk.project / "commands")
    desk.backup("v1")
    assert desk.page().backups[0].targets is None
    (backup,) = desk.page(detail=True).backups
    assert backup.targets is not None
    targets = {f"{target.scope}.{target.component}": target for target in backup.targets}
    assert targets["project.commands"].state == "absent"
    assert targets["user.hooks"].path == "~/.claude/hooks"
    assert targets["user.settings"].size_bytes == (desk.user / "settings.json").stat().st_size
    assert backup.files == sum(target.files for target in backup.targets)


def test_a_path_selects_the_backups_in_which_it_changed(desk: Desk) -> None:
    """For "when was this hook still good?": the first backup that has it, and each that has it otherwise."""
    desk.backup("v1")
    desk.edit("commands/review.md", "x")
    desk.backup("v2")
    desk.edit("hooks/notify.sh", "x")
    desk.backup("v3")
    (desk.user / "hooks" / "notify.sh").unlink()
    desk.backup("v4")
    desk.backup("v5")
    assert desk.versions(path="~/.claude/hooks/notify.sh") == ["v4", "v3", "v1"]
    assert desk.versions(path="hooks/notify.sh") == ["v4", "v3", "v1"]
    assert desk.versions(path="~/.claude/commands") == ["v2", "v1"]
    assert desk.versions(path="~/.claude/settings.json") == ["v1"]
    assert desk.versions(path="~/.claude") == ["v4", "v3", "v2", "v1"]
    assert code(lambda: desk.versions(path="hooks/never.py")) is Code.NOT_FOUND
    assert code(lambda: desk.versions(path="settings.json")) is Code.AMBIGUOUS


def test_a_path_that_is_only_live_yet_is_in_no_backup(desk: Desk) -> None:
    """A new hook: the answer is that no backup has it, not that the path is wrong."""
    desk.backup("v1")
    desk.edit("hooks/new.py", "x")
    page = desk.page(path="~/.claude/hooks/new.py")
    assert (page.backups, page.total) == ((), 0)


# --- what is live --------------------------------------------------------------------------------------------------


def test_current_names_the_backup_that_equals_what_is_live(desk: Desk) -> None:
    """A name that a person gave before one of ours; none when nothing equals it; drift says where."""
    assert desk.page().current.version is None
    desk.backup()
    automatic = desk.versions()[0]
    assert desk.page().current.version == automatic
    desk.backup("v1")
    assert desk.page().current.version == "v1"
    desk.edit("hooks/notify.sh", "x")
    current = desk.page().current
    assert current.version is None
    assert [(drift.target, drift.path) for drift in current.drift] == [("user.hooks", "~/.claude/hooks")]
    desk.undo()
    assert desk.page().current == type(current)(version="v1", drift=())


def test_drift_after_a_restore_is_a_notice(desk: Desk) -> None:
    """A running session may write its own copy of the settings back over ours (threat model, row 57)."""
    desk.backup("v1")
    desk.edit("hooks/notify.sh", "x")
    desk.rollback("v1")
    assert desk.page().notices == ()
    desk.edit("hooks/notify.sh", "x")
    (notice,) = desk.page().notices
    assert "~/.claude/hooks" in notice
    assert "undo" in notice


def test_readers_write_nothing(desk: Desk) -> None:
    """Not the lock, not the audit: what they see is recorded by the next mutation."""
    desk.backup("v1")
    desk.edit("hooks/notify.sh", "x")
    before = snapshot(desk.store)
    desk.page(detail=True)
    desk.undo(LOOK)
    desk.rollback("v1", LOOK)
    desk.run(partial(desk.service.query_audit, TOOL))
    changed = {path for path, entry in snapshot(desk.store).items() if before.get(path) != entry}
    assert {path for path in changed if not path.startswith((b"audit/audit.db", b"cache"))} <= {b"audit", b"audit/lock"}


# --- damage --------------------------------------------------------------------------------------------------------


def damage_archive(desk: Desk, version: str, name: str = "user.hooks.tar.gz") -> None:
    """One byte of an archive, with a file of its own."""
    path = desk.store / "backups" / version / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o600)


def truncate_archive(desk: Desk, version: str) -> None:
    """Half an archive."""
    path = desk.store / "backups" / version / "user.hooks.tar.gz"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


def remove_archive(desk: Desk, version: str) -> None:
    """No archive."""
    (desk.store / "backups" / version / "user.hooks.tar.gz").unlink()


def forge_manifest(desk: Desk, version: str) -> None:
    """Another note, in a manifest that is well formed."""
    manifest = json.loads(desk.manifest(version).read_bytes())
    manifest["note"] = "trust me"
    desk.manifest(version).write_text(json.dumps(manifest), encoding="utf-8")


def break_manifest(desk: Desk, version: str) -> None:
    """Not JSON."""
    desk.manifest(version).write_bytes(b'{"format": 1, "versi')


def newer_manifest(desk: Desk, version: str) -> None:
    """Written by a program of tomorrow."""
    manifest = json.loads(desk.manifest(version).read_bytes())
    manifest["format"] = 99
    desk.manifest(version).write_text(json.dumps(manifest), encoding="utf-8")


def link_manifest(desk: Desk, version: str) -> None:
    """A link to another backup's manifest."""
    desk.manifest(version).unlink()
    desk.manifest(version).symlink_to("../good/manifest.json")


DAMAGE = {
    "archive-cut": (truncate_archive, Code.ARCHIVE_MISMATCH, BackupStatus.DAMAGED),
    "archive-gone": (remove_archive, Code.ARCHIVE_MISMATCH, BackupStatus.DAMAGED),
    "manifest-forged": (forge_manifest, Code.MANIFEST_FORGED, BackupStatus.DAMAGED),
    "manifest-broken": (break_manifest, Code.MANIFEST_INVALID, BackupStatus.DAMAGED),
    "manifest-newer": (newer_manifest, Code.UNSUPPORTED_VERSION, BackupStatus.UNSUPPORTED),
    "manifest-linked": (link_manifest, Code.MANIFEST_INVALID, BackupStatus.DAMAGED),
}


@pytest.mark.case(34)
@pytest.mark.parametrize(("harm", "refusal", "status"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_bad_backup_is_listed_with_its_problem_and_hides_no_other(
    desk: Desk, harm: Callable[[Desk, str], None], refusal: Code, status: BackupStatus
) -> None:
    """Threat model, rows 29 to 31: the rest is listed and usable, this one is refused by its code, N."""
    desk.backup("good")
    desk.edit("hooks/notify.sh", "x")
    desk.backup("bad")
    desk.edit("hooks/notify.sh", "y")
    harm(desk, "bad")
    listed = {backup.version: backup for backup in desk.page().backups}
    assert listed == {backup.version: replace(backup, targets=None) for backup in desk.page(detail=True).backups}
    assert listed.keys() == {"good", "bad"}
    assert (listed["good"].status, listed["good"].problems) == (BackupStatus.INTACT, ())
    assert listed["bad"].status is status
    assert listed["bad"].problems[0].startswith(refusal)
    assert listed["bad"].created_at
    assert listed["bad"].changed == ("user.hooks",)
    before = snapshot(desk.user), snapshot(desk.project), snapshot(desk.store / "backups")
    assert code(lambda: desk.rollback("bad", LOOK)) is refusal
    assert (snapshot(desk.user), snapshot(desk.project), snapshot(desk.store / "backups")) == before
    assert code(lambda: desk.rollback("bad")) is refusal
    assert (snapshot(desk.user), snapshot(desk.project)) == before[:2]
    assert code(lambda: desk.rollback("bad")) is refusal
    assert desk.backup("after").created
    assert desk.rollback("good").applied


def test_a_flipped_byte_is_found_before_anything_is_replaced(desk: Desk) -> None:
    """Same size, other bytes: a page cannot see it, verification and a rollback do."""
    desk.backup("good")
    desk.edit("hooks/notify.sh", "x")
    desk.backup("bad")
    desk.edit("hooks/notify.sh", "y")
    damage_archive(desk, "bad")
    before = snapshot(desk.user)
    assert code(lambda: desk.rollback("bad")) in {Code.ARCHIVE_MISMATCH, Code.ARCHIVE_UNSAFE}
    assert snapshot(desk.user) == before
    found = desk.run(partial(desk.service.verify_backups, TOOL))
    assert {backup.version: backup.status for backup in found.backups if backup.version in {"good", "bad"}} == {
        "good": BackupStatus.INTACT,
        "bad": BackupStatus.QUARANTINED,
    }
    assert not found.ok


@pytest.mark.parametrize("harm", [truncate_archive, forge_manifest, break_manifest], ids=lambda harm: harm.__name__)
def test_a_bad_backup_of_what_is_live_stops_no_restore(desk: Desk, harm: Callable[[Desk, str], None]) -> None:
    """It cannot serve as the safety backup, so another one is made; the way back to a good one stays open."""
    desk.backup("good")
    good = snapshot(desk.user)
    desk.edit("hooks/notify.sh", "x")
    edited = snapshot(desk.user)
    desk.backup("bad")
    harm(desk, "bad")
    done = desk.rollback("good")
    assert snapshot(desk.user) == good
    assert done.safety_backup not in {None, "bad"}
    desk.undo()
    assert snapshot(desk.user) == edited


def test_undo_passes_over_a_state_whose_only_backup_is_bad(desk: Desk) -> None:
    """It names what it passed over and goes to the next state that it can bring back."""
    desk.backup("v1")
    good = snapshot(desk.user)
    desk.edit("hooks/notify.sh", "x")
    desk.backup("v2")
    desk.edit("hooks/notify.sh", "y")
    desk.backup("v3")
    truncate_archive(desk, "v2")
    done = desk.undo()
    assert snapshot(desk.user) == good
    assert any("v2" in notice for notice in done.notices)


def test_a_planted_backup_is_shown_and_never_restored(desk: Desk) -> None:
    """A model with Write can put a folder into the store; the chain does not know it (capability laundering)."""
    desk.backup("v1")
    folder = desk.store / "backups" / "planted"
    shutil.copytree(desk.store / "backups" / "v1", folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["version"] = "planted"
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    desk.edit("hooks/notify.sh", "x")
    before = snapshot(desk.user)
    listed = {backup.version: backup for backup in desk.page().backups}
    assert listed["planted"].status is BackupStatus.DAMAGED
    assert listed["planted"].problems[0].startswith("manifest_forged")
    assert code(lambda: desk.rollback("planted")) is Code.MANIFEST_FORGED
    assert snapshot(desk.user) == before
    assert code(lambda: desk.backup("planted")) is Code.ALREADY_EXISTS
    assert [page.version for page in desk.page(limit=1, cursor=desk.page(limit=1).next_cursor).backups] == ["planted"]


def test_a_deleted_backup_is_not_found_and_the_nearest_are_named(desk: Desk) -> None:
    """Deleting a folder by hand harms no other backup."""
    desk.backup("v1")
    desk.backup("v2")
    desk.edit("hooks/notify.sh", "x")
    shutil.rmtree(desk.store / "backups" / "v1")
    with pytest.raises(RollbackError) as refused:
        desk.rollback("v1")
    assert refused.value.code is Code.NOT_FOUND
    assert "v2" in refused.value.hint
    assert desk.rollback("v2").applied


def test_a_name_that_is_taken_elsewhere_says_where(desk: Desk, open_desk: Callable[..., Desk], tmp_path: Path) -> None:
    """contract: names are unique over the whole store, and `already_exists` names the project."""
    desk.backup("v1")
    build(tmp_path / "other", {".claude": {"settings.json": "{}\n"}})
    other = open_desk(CLAUDE_PROJECT_DIR=str(tmp_path / "other"))
    with pytest.raises(RollbackError) as refused:
        other.backup("V1")
    assert refused.value.code is Code.ALREADY_EXISTS
    assert str(desk.project.parent) in str(refused.value)


def test_a_note_for_people_that_cannot_be_written_stops_nothing(desk: Desk) -> None:
    """`latest.json` can be written anew at any time: an applied rollback must never be reported as refused for it."""
    desk.backup("v1")
    good = snapshot(desk.user)
    desk.edit("hooks/notify.sh", "x")
    desk.backup("v2")
    (desk.store / "latest.json").unlink()
    build(desk.store, {"latest.json": {"in the way": ""}})
    assert desk.rollback("v1").applied
    assert snapshot(desk.user) == good
    desk.edit("hooks/notify.sh", "y")
    assert desk.backup("v3").created


def test_a_pipe_in_place_of_any_file_of_the_store_is_refused_at_once(
    open_desk: Callable[..., Desk], home: Path, project: Path
) -> None:
    """Nothing waits for it, nothing is unforeseen, and the live configuration stays as it is or is done right."""
    realistic(home, project)
    names = ("lock", "recovery/journal.json", "audit/operations.log", "audit/head.json", "backups/v1/manifest.json")
    for name in names:
        desk = open_desk()
        desk.backup("v1")
        desk.edit("hooks/notify.sh", f"before {name}")
        (desk.store / name).unlink(missing_ok=True)
        os.mkfifo(desk.store / name)
        later = open_desk()
        for call in (later.page, partial(later.rollback, "v1"), partial(later.backup, "v2"), later.undo):
            try:
                call()
            except RollbackError as error:
                refused = error.code
            else:
                continue
            assert refused not in {Code.INTERNAL, Code.BUSY}, name
        shutil.rmtree(desk.store)


# --- the audit -----------------------------------------------------------------------------------------------------


def test_a_broken_chain_stops_every_change(desk: Desk, open_desk: Callable[..., Desk]) -> None:
    """A process that starts then refuses; reading still tells where it broke (design of the store, Audit)."""
    desk.backup("v1")
    desk.edit("hooks/notify.sh", "x")
    desk.backup("v2")
    log = desk.store / "audit" / "operations.log"
    log.write_bytes(log.read_bytes().replace(b'"version":"v1"', b'"version":"v9"', 1))
    before = snapshot(desk.user), snapshot(desk.store / "backups")
    later = open_desk()
    for call in (lambda: later.backup("v3"), lambda: later.rollback("v1"), later.undo):
        assert code(call) is Code.AUDIT_BROKEN
    chain = later.run(partial(later.service.query_audit, TOOL)).chain
    assert (chain.intact, chain.first_bad_seq) == (False, 1)
    assert (snapshot(desk.user), snapshot(desk.store / "backups")) == before


def test_the_audit_can_be_asked_by_type_version_status_and_path(desk: Desk) -> None:
    """Each filter by itself, pages without gaps, and the path of one file below a target."""
    desk.backup("v1")
    desk.edit("hooks/notify.sh", "x")
    desk.rollback("v1")
    assert code(lambda: desk.rollback("v9")) is Code.NOT_FOUND

    def asked(**filters: Any) -> list[tuple[EventType, EventStatus]]:
        call = partial(desk.service.query_audit, TOOL, **filters)
        return [(event.draft.event_type, event.draft.status) for event in desk.run(call).events]

    everything = asked(limit=500)
    assert asked(event_type=EventType.REFUSED) == [(EventType.REFUSED, EventStatus.REFUSED)]
    assert {kind for kind, _ in asked(version="v1")} == {EventType.BACKUP_CREATED, EventType.MANUAL_ROLLBACK}
    assert {status for _, status in asked(status=EventStatus.STARTED)} <= {EventStatus.STARTED}
    assert EventType.MANUAL_ROLLBACK in {kind for kind, _ in asked(path="~/.claude/hooks")}
    assert EventType.MANUAL_ROLLBACK not in {kind for kind, _ in asked(path="~/.claude/commands")}
    assert asked(since="1m", limit=500) == everything
    assert asked(until="1m") == []
    paged: list[int] = []
    cursor = None
    while True:
        page = desk.run(partial(desk.service.query_audit, TOOL, limit=2, cursor=cursor))
        paged += [event.seq for event in page.events]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert paged == list(range(len(everything), 0, -1))


# --- who waits for whom --------------------------------------------------------------------------------------------


def test_a_second_process_waits_and_is_then_told_who_is_busy(desk: Desk, open_desk: Callable[..., Desk]) -> None:
    """One lock a store: `busy` names the holder, nothing changes, and readers never wait."""
    desk.backup("v1")
    desk.edit("hooks/notify.sh", "x")
    before = snapshot(desk.user)
    impatient = open_desk(STRAVINSKY_SAFETY_LOCK_TIMEOUT_SECONDS="1")
    files = impatient.service._desk.files
    with exclusive(f"{desk.store}/lock", files, timeout_seconds=1, holder="terminal another"):
        with pytest.raises(RollbackError) as refused:
            impatient.undo()
        assert refused.value.code is Code.BUSY
        assert "terminal another" in str(refused.value)
        assert impatient.page().total == 1
    assert snapshot(desk.user) == before
    assert impatient.undo().applied


def test_calls_at_once_are_all_done_one_after_the_other(desk: Desk) -> None:
    """A host may call tools in parallel: each named backup exists afterwards, and the chain is whole."""
    names = [f"v{number}" for number in range(6)]

    async def together() -> None:
        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(partial(desk.service.create_backup, TOOL, version=name))
            tasks.start_soon(partial(desk.service.list_backups, TOOL))

    desk.run(together)
    assert sorted(desk.versions()) == names
    assert desk.run(partial(desk.service.verify_audit, TOOL)).chain.intact


def test_a_cancelled_call_is_done_to_its_end(desk: Desk, open_desk: Callable[..., Desk]) -> None:
    """Threat model, row 85: a client that gives up leaves no half restored configuration; `settle` waits for it."""
    desk.backup("v1")
    good = snapshot(desk.user)
    desk.edit("hooks/notify.sh", "x")
    files = desk.service._desk.files
    started, held = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(f"{desk.store}/lock", files, timeout_seconds=0, holder="test"):
            started.set()
            held.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    started.wait()

    async def give_up() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(desk.service.rollback_to, TOOL, version="v1", consent=APPLY))
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            held.set()
        await desk.service.settle()

    desk.run(give_up)
    holder.join()
    assert snapshot(desk.user) == good
    assert desk.run(partial(desk.service.resume, TOOL)).recovered is False


# --- messages ------------------------------------------------------------------------------------------------------


def test_home_is_shown_as_a_tilde(desk: Desk, home: Path) -> None:
    """Threat model, row 66: also in refusals, which quote paths of the file system."""
    desk.backup("v1")
    settings = desk.user / "settings.json"
    settings.unlink()
    settings.mkdir()
    with pytest.raises(RollbackError) as refused:
        desk.rollback("v1")
    assert refused.value.code is Code.UNSUPPORTED_FILE_TYPE
    assert "~/.claude/settings.json" in str(refused.value)
    assert str(home) not in str(refused.value)


def test_status_says_everything_at_a_glance(desk: Desk) -> None:
    """contract, `status --json`."""
    empty = desk.run(partial(desk.service.status, PERSON))
    assert (empty.store.backups, empty.audit.events, empty.operation) == (0, 0, None)
    desk.backup("v1")
    found = desk.run(partial(desk.service.status, PERSON))
    assert (found.current.version, found.store.backups) == ("v1", 1)
    assert found.roots.user_root == "~/.claude"
    assert found.store.path == "~/.stravinsky/rollback"
    with os.scandir(desk.store / "backups" / "v1") as entries:
        assert found.store.stored_bytes == sum(entry.stat().st_size for entry in entries)
