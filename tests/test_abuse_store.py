"""Hostile manifests, floods and hands in the store, one test a row (27 to 34, 50, 61, 67, 68, 91 to 94).

N in that table means that configuration and backups are byte for byte as before, A that the refusal is on record.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.attacker import (
    END,
    Attacker,
    Forger,
    attacker_in,
    commands_target,
    entry,
    everything,
    member,
    packed,
    records_of,
)
from support.config import realistic
from support.host import Gate, process
from support.tree import build, snapshot

from stravinsky_rollback_mcp.cli import main
from stravinsky_rollback_mcp.core.codec.updates import OpenUpdate
from stravinsky_rollback_mcp.core.model import EventType
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.shelf import Shelf, Shelved
from stravinsky_rollback_mcp.disk.updates import UpdatesFile
from stravinsky_rollback_mcp.service import quarantine

CONTENT = b"echo honest\n"
GOOD = packed(member(b"a.py", CONTENT) + END)


@pytest.fixture(scope="module")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    """One session for all hostile manifests: none of the calls may change anything, so none disturbs the next."""
    top = tmp_path_factory.mktemp("manifests")
    realistic(top / "home", top / "project")
    with attacker_in(top / "home", top / "project") as made:
        made.call("create_backup", version="v1")
        (made.user / "hooks" / "notify.sh").write_text("changed", encoding="utf-8")
        yield made


@pytest.fixture(scope="module")
def forger(attacker: Attacker) -> Forger:
    """Somebody with a hand in the same store."""
    return Forger(attacker.home, attacker.project)


def terminal(*words: str) -> Result:
    """A command as the person types it."""
    return CliRunner().invoke(main, words)


def refusal(*words: str) -> str:
    """The code of a command that is refused."""
    result = terminal(*words, "--json")
    assert result.exit_code == 1, result.output
    return json.loads(result.stdout)["error"]["code"]


def planted(forger: Forger, edit: Callable[[bytes], bytes]) -> str:
    """A backup that the audit vouches for, and whose manifest somebody edited before."""
    target = commands_target((entry("a.py", CONTENT),), GOOD, str(forger.home / ".claude" / "commands"))
    return forger.plant(forger.forged([target]), {target.archive: GOOD}, edit=edit)


def changing(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """An edit of the manifest's members, written as JSON again."""

    def edit(content: bytes) -> bytes:
        members = json.loads(content)
        change(members)
        return json.dumps(members).encode()

    return edit


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "no JSON": lambda _: b'{"format": 1',
    "a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "a list": lambda content: b"[" + content + b"]",
    "nothing": lambda _: b"",
    "not UTF-8": lambda content: content.replace(b'"note": ""', b'"note": "\xff"'),
    "NaN": lambda content: content.replace(b'"sequence": ', b'"sequence": NaN, "x": '),
    "10^400": changing(lambda members: members.update(sequence=10**400)),
    "a key twice": lambda content: content.replace(b'"note": ""', b'"note": "", "note": ""'),
    "nested 100 000 deep": lambda _: b'{"format":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a key too many": changing(lambda members: members.update(verified=True)),
    "a key too few": changing(lambda members: members.pop("kind")),
    "null": changing(lambda members: members.update(kind=None)),
    "a number for a text": changing(lambda members: members.update(created_at=1)),
    "a text for a number": changing(lambda members: members.update(sequence="1")),
    "an unknown kind": changing(lambda members: members.update(kind="trusted")),
    "targets that are no list": changing(lambda members: members.update(targets={})),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_row_27_a_manifest_of_another_form_is_invalid(attacker: Attacker, forger: Forger, case: str) -> None:
    """Although the audit vouches for these very bytes."""
    version = planted(forger, HOSTILE[case])
    attacker.is_refused("manifest_invalid", "rollback_to", version=version)
    forger.discard(version)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../v1/user.commands.tar.gz", "user.hooks.tar.gz", "./user.commands.tar.gz", ""]
)
def test_row_28_an_archive_has_the_one_name_that_it_can_have(attacker: Attacker, forger: Forger, name: str) -> None:
    """An early sketch installed what such a path led to."""
    version = planted(forger, changing(lambda members: members["targets"][0].update(archive=name)))
    attacker.is_refused("manifest_invalid", "rollback_to", version=version)
    forger.discard(version)


def test_row_28_a_linked_manifest_is_invalid(attacker: Attacker, forger: Forger) -> None:
    """Not even where the link leads to an honest one."""
    version = planted(forger, lambda content: content)
    path = attacker.backups / version / "manifest.json"
    path.unlink()
    path.symlink_to("../v1/manifest.json")
    attacker.is_refused("manifest_invalid", "rollback_to", version=version)
    forger.discard(version)


def test_row_29_a_newer_manifest_is_left_to_a_newer_program(attacker: Attacker, forger: Forger) -> None:
    """`unsupported_version`; it stays where it is, and the others are of use."""
    version = planted(forger, changing(lambda members: members.update(format=99)))
    attacker.is_refused("unsupported_version", "rollback_to", version=version)
    assert (attacker.backups / version).exists()
    listed = {item["version"]: item["status"] for item in attacker.call("list_backups")["backups"]}
    assert (listed[version], listed["v1"]) == ("unsupported", "intact")
    assert attacker.call("rollback_to", version="v1", dry_run=True)["changes"]
    forger.discard(version)


def test_row_30_a_manifest_that_was_made_to_fit_is_forged(attacker: Attacker, forger: Forger) -> None:
    """Other code in the archive, every digest in the manifest right again: the chain knows another one."""
    version = planted(forger, lambda content: content)
    evil = b"echo 1 \xf0\x9f\x98\x88\n"
    archive = packed(member(b"a.py", evil) + END)
    target = commands_target((entry("a.py", evil),), archive, str(attacker.user / "commands"))
    (attacker.backups / version / target.archive).write_bytes(archive)
    remade = forger.plant(forger.forged([target]), {target.archive: archive}, is_recorded=False)
    content = (attacker.backups / remade / "manifest.json").read_bytes().replace(remade.encode(), version.encode())
    (attacker.backups / version / "manifest.json").write_bytes(content)
    forger.discard(remade)
    attacker.is_refused("manifest_forged", "rollback_to", version=version)
    forger.discard(version)


def test_row_31_a_bad_manifest_hides_no_other(attacker: Attacker, forger: Forger) -> None:
    """Listed with its code, beside the others as they are."""
    version = planted(forger, HOSTILE["no JSON"])
    listed = {item["version"]: item for item in attacker.call("list_backups")["backups"]}
    assert listed[version]["status"] == "damaged"
    assert listed[version]["problems"][0].startswith("manifest_invalid: ")
    assert (listed["v1"]["status"], listed["v1"]["problems"]) == ("intact", [])
    forger.discard(version)


@pytest.mark.parametrize("moment", ["2999-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z"])
def test_row_32_order_is_the_sequence_whatever_clocks_say(attacker: Attacker, forger: Forger, moment: str) -> None:
    """Made last is listed first, and a time in the future makes nothing the newest for ever."""
    version = planted(forger, changing(lambda members: members.update(created_at=moment)))
    assert [item["version"] for item in attacker.call("list_backups")["backups"]] == [version, "v1"]
    forger.discard(version)


def test_row_34_what_a_manifest_says_of_itself_counts_for_nothing(attacker: Attacker, forger: Forger) -> None:
    """Its claim is no member of the format; and the archive is read back whatever a note claims."""
    version = planted(forger, changing(lambda members: members.update(note="verified: true")))
    path = attacker.backups / version / "user.commands.tar.gz"
    path.write_bytes(bytes(reversed(path.read_bytes())))
    attacker.is_refused("archive_mismatch", "rollback_to", version=version)
    forger.discard(version)


# --- who may remove what -------------------------------------------------------------------------------------------


def test_row_61_a_backup_that_is_being_restored_stays(home: Path, project: Path, tmp_path: Path) -> None:
    """`in_use`, N, while another process stands in the middle of the restore; then the restore ends well."""
    user, _ = realistic(home, project)
    terminal("backup", "create", "v1")
    (user / "hooks" / "notify.sh").write_text("changed", encoding="utf-8")
    gate = Gate(tmp_path)
    command = gate.command("renameat2", "hooks", project=project)
    try:
        with process(home, project, command=command) as server:
            server.shake_hands()
            asked = server.ask_tool("rollback_to", version="v1")
            gate.wait()
            before = snapshot(home / ".stravinsky" / "rollback" / "backups")
            assert refusal("backup", "forget", "v1", "--yes") == "in_use"
            plan = json.loads(terminal("backup", "cleanup", "--keep", "1", "--yes", "--json").stdout)
            assert {item["version"]: item["reason"] for item in plan["backups"]}["v1"] == "in_use"
            assert snapshot(home / ".stravinsky" / "rollback" / "backups") == before
            gate.open()
            assert not server.answer(asked)["result"].get("isError")
    finally:
        gate.close()


def test_row_61_the_backup_of_an_open_update_stays(home: Path, project: Path) -> None:
    """It is what the update would be taken back to."""
    user, _ = realistic(home, project)
    for version in ("before", "newest"):
        terminal("backup", "create", version)
        (user / "settings.json").write_text(json.dumps({"model": version}), encoding="utf-8")
    update = OpenUpdate(
        operation_id="0" * 16,
        user_root=str(user),
        project=str(project),
        version="v2",
        backup="before",
        started_at="2026-11-23T09:00:00.000Z",
        version_file=None,
    )
    UpdatesFile(str(home / ".stravinsky" / "rollback" / "recovery"), Files()).write((update,))
    before = everything(home, project)
    assert refusal("backup", "forget", "before", "--yes") == "in_use"
    plan = json.loads(terminal("backup", "cleanup", "--keep", "1", "--dry-run", "--json").stdout)
    assert {item["version"]: item["reason"] for item in plan["backups"]} == {"newest": "newest", "before": "in_use"}
    assert everything(home, project) == before


def test_row_61_what_undo_would_bring_back_stays(home: Path, project: Path) -> None:
    """Cleaning up never makes the next undo impossible."""
    user, _ = realistic(home, project)
    settings = user / "settings.json"
    for version in ("v1", "v2"):
        settings.write_text(json.dumps({"cleanupPeriodDays": 7, "model": version}), encoding="utf-8")
        terminal("backup", "create", version)
    plan = json.loads(terminal("backup", "cleanup", "--keep", "1", "--yes", "--json").stdout)
    assert {item["version"]: item["reason"] for item in plan["backups"]} == {"v2": "newest", "v1": "within_undo"}
    assert terminal("undo", "--yes").exit_code == 0
    assert json.loads(settings.read_text(encoding="utf-8"))["model"] == "v1"


def test_row_67_forgetting_leaves_name_and_hash(home: Path, project: Path) -> None:
    """A key that was rotated is in no file of the store afterwards."""
    user, _ = realistic(home, project)
    key = "sk-not-a-real-key-0123456789"
    (user / "settings.json").write_text(json.dumps({"env": {"KEY": key}}), encoding="utf-8")
    terminal("backup", "create", "v1")
    store = home / ".stravinsky" / "rollback"
    sha256 = hashlib.sha256((store / "backups" / "v1" / "manifest.json").read_bytes()).hexdigest()
    assert terminal("backup", "forget", "v1", "--yes").exit_code == 0
    assert [path for path in store.rglob("*") if path.is_file() and key.encode() in path.read_bytes()] == []
    draft = records_of(home)[-1].draft
    assert (draft.event_type, draft.version, draft.details) == (
        EventType.FORGOTTEN,
        "v1",
        {"manifest_sha256": sha256},
    )


def test_row_50_what_the_backup_does_not_know_is_told_and_never_lost(home: Path, project: Path) -> None:
    """The preview lists each file that would go; the safety backup has it, and undo brings it back."""
    user, _ = realistic(home, project)
    with attacker_in(home, project) as attacker:
        attacker.call("create_backup", version="v1")
        build(user / "hooks", {"mine.py": "mine\n", "own": {"deep.py": "too\n"}})
        mine = snapshot(user)
        preview = attacker.call("rollback_to", version="v1", dry_run=True)
        assert snapshot(user) == mine
        done = attacker.call("rollback_to", version="v1")
        for told in (preview, done):
            (hooks,) = [item for item in told["changes"] if (item["scope"], item["component"]) == ("user", "hooks")]
            assert set(hooks["removed"]) == {"mine.py", "own", "own/deep.py"}
        assert not (user / "hooks" / "mine.py").exists()
        attacker.call("rollback_to", version=done["safety_backup"], only=["~/.claude/hooks/own"])
        assert (user / "hooks" / "own" / "deep.py").read_text(encoding="utf-8") == "too\n"
        attacker.call("undo")
        attacker.call("undo")
        assert snapshot(user) == mine


# --- where the store lies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["repository", "worktree", "other project", "this project", "target", "link"])
def test_row_68_a_store_in_a_repository_or_project_is_untrusted(
    home: Path, project: Path, tmp_path: Path, kind: str
) -> None:
    """It would be committed, secrets and all, or is one that a repository brought along; nothing is made there."""
    user, _ = realistic(home, project)
    build(home / "code", {"repository": {".git": {}}, "worktree": {".git": "gitdir: ../x\n"}, "else": {".claude": {}}})
    places = {
        "repository": home / "code" / "repository" / "deep" / "store",
        "worktree": home / "code" / "worktree" / "store",
        "other project": home / "code" / "else" / "store",
        "this project": project / "store",
        "target": user / "hooks" / "store",
        "link": tmp_path / "link",
    }
    (tmp_path / "link").symlink_to(home / "code" / "repository")
    before = snapshot(home), snapshot(project)
    for words in (("backup", "create", "v1"), ("rollback", "to", "v1", "--yes"), ("undo", "--yes")):
        assert refusal(*words, "--store", str(places[kind])) == "store_untrusted"
    assert (snapshot(home), snapshot(project)) == before


def test_row_68_dotfiles_may_be_a_repository_and_a_synchronised_folder_is_warned_of(home: Path, project: Path) -> None:
    """A home under version control is common; Dropbox and its like can damage a store, which is the person's choice."""
    realistic(home, project)
    build(home, {".git": {}, "Dropbox (Work)": {}, "shared": {".stfolder": {}}})
    made = json.loads(terminal("backup", "create", "v1", "--json").stdout)
    assert made["warnings"] == []
    for folder in ("Dropbox (Work)", "shared"):
        place = str(home / folder / "store")
        (warning,) = json.loads(terminal("backup", "create", "v1", "--store", place, "--json").stdout)["warnings"]
        assert warning.startswith(f"The store ~/{folder}/store lies in ~/{folder}, which looks like")


# --- floods --------------------------------------------------------------------------------------------------------


def test_row_91_the_same_again_is_no_new_backup(attacker: Attacker) -> None:
    """An unnamed call whose state is stored already stores nothing, however often."""
    first = attacker.call("create_backup")["backup"]["version"]
    before = attacker.everything()
    made = [attacker.call("create_backup") for _ in range(20)]
    assert {(item["created"], item["backup"]["version"]) for item in made} == {(False, first)}
    assert attacker.everything() == before


def test_row_91_a_full_store_takes_no_more(home: Path, project: Path) -> None:
    """`quota` before a byte is written; what was stored stays of use."""
    user, _ = realistic(home, project)
    with attacker_in(home, project, None, STRAVINSKY_BACKUP_MAX_TOTAL_SIZE_MB="1") as attacker:
        for number in range(3):
            (user / "hooks" / "noise").write_bytes(os.urandom(400_000))
            attacker.call("create_backup", version=f"v{number}")
        attacker.is_refused("quota", "create_backup", version="v3")
        attacker.is_refused("quota", "create_backup", version="v4", note="again")
        assert attacker.agreed("rollback_to", version="v0")["applied"]


def test_row_92_a_flood_pushes_out_nothing_of_a_persons(home: Path, project: Path) -> None:
    """Named and unnamed, each with a state of its own, far beyond every limit; each removal is on record."""
    user, _ = realistic(home, project)
    for version in ("p1", "p2"):
        terminal("backup", "create", version)
    limits = {"STRAVINSKY_BACKUP_MAX_VERSIONS": "2", "STRAVINSKY_BACKUP_MAX_AUTOMATIC": "2"}
    with attacker_in(home, project, None, **limits) as attacker:
        persons = {version: snapshot(attacker.backups / version) for version in ("p1", "p2")}
        attacker.is_refused("quota", "create_backup", version="junk")
        pruned: list[str] = []
        for number in range(16):
            (user / "hooks" / "notify.sh").write_text(str(number), encoding="utf-8")
            pruned += attacker.call("create_backup")["pruned"]
        assert {version: snapshot(attacker.backups / version) for version in ("p1", "p2")} == persons
        assert pruned
        records = [record.draft for record in records_of(home) if record.draft.event_type is EventType.PRUNED]
        assert [draft.version for draft in records] == pruned
        assert len(os.listdir(attacker.backups)) < 16


def test_row_93_a_spot_check_reads_only_so_much(home: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever share is asked for, a creation does not read the whole store back."""
    user, _ = realistic(home, project)
    with attacker_in(home, project, None, STRAVINSKY_BACKUP_SPOT_CHECK_PERCENTAGE="100") as attacker:
        for number in range(5):
            (user / "hooks" / "notify.sh").write_text(str(number), encoding="utf-8")
            attacker.call("create_backup", version=f"v{number}")
        read: list[str] = []
        honest = Shelf.has_rotted

        def counted(shelf: Shelf, found: Shelved, manifest_sha256: str, proven: set[tuple[int, int, str]]) -> bool:
            read.append(found.version)
            return honest(shelf, found, manifest_sha256, proven)

        monkeypatch.setattr(Shelf, "has_rotted", counted)
        size = sum(path.stat().st_size for path in (attacker.backups / "v1").iterdir())
        monkeypatch.setattr(quarantine, "_SPOT_CHECK_BYTES", 2 * size + size // 2)
        attacker.call("create_backup", version="last")
        assert len(read) == 2


def test_row_94_a_project_configures_nothing(home: Path, project: Path) -> None:
    """Whatever it ships; and of the variables that its settings may set, none switches a protection off."""
    realistic(home, project)
    evil = json.dumps({"version": "1.0", "backup": {"max_versions": 1, "verify_on_creation": False}})
    build(
        project,
        {
            ".stravinsky": {"rollback": {"config.json": evil}},
            "config.json": evil,
            ".env": "STRAVINSKY_BACKUP_MAX_VERSIONS=1\n",
        },
    )
    build(project / ".claude", {"config.json": evil})
    with attacker_in(home, project, None, STRAVINSKY_BACKUP_VERIFY_ON_CREATION="false") as attacker:
        for number in range(3):
            made = attacker.call("create_backup", version=f"v{number}")
            assert made["pruned"] == []
            assert "read back whole" in made["summary"]
            assert "not read back" not in made["summary"]
            assert "STRAVINSKY_BACKUP_VERIFY_ON_CREATION is ignored" in " ".join(made["notices"])
        assert attacker.call("list_backups")["store"] == "~/.stravinsky/rollback"
    assert os.listdir(project / ".stravinsky" / "rollback") == ["config.json"]
