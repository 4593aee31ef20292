"""Recovery when backups are damaged: the newest whole one, the best of several, and at last a person with ``tar``."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.config import realistic
from support.crash import PERSON, World
from support.tree import Snapshot, snapshot

from stravinsky_rollback_mcp.core.model import EventStatus, EventType
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent

LOOK, APPLY = Consent(dry_run=True), Consent(is_given=True)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Both scopes as people have them, in three versions; the fourth is live and in no backup."""
    memory = "/dev/shm"
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        made = World(Path(folder) / "it's a home")
        realistic(made.home, made.project)
        for number in (1, 2, 3):
            edit(made, number)
            made.run(made.service().create_backup(PERSON, version=f"v{number}"))
        made.save("v3")
        edit(made, 4)
        yield made
        made.close()


def edit(world: World, number: int) -> None:
    """Change every target of both scopes."""
    for root in (world.home, world.project):
        for part in ("hooks/version.py", "commands/version.md"):
            (root / ".claude" / part).write_text(f"# {number}\n", encoding="utf-8")
        for name in ("settings.json", "settings.local.json"):
            file = root / ".claude" / name
            if file.exists():
                text = file.read_text(encoding="utf-8")
                file.write_text(text.replace('"model"', f'"number": {number},\n  "model"', 1), encoding="utf-8")


def live(world: World) -> tuple[Snapshot, Snapshot]:
    """Both roots, byte for byte."""
    return snapshot(world.home / ".claude"), snapshot(world.project / ".claude")


def damage(world: World, version: str, *names: str) -> None:
    """Change one byte in the middle of stored files; no other backup shares them here."""
    for name in names:
        path = world.store / "backups" / version / name
        assert path.stat().st_nlink == 1
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)


def numbers(world: World) -> dict[str, str]:
    """Which version each folder is in."""
    return {
        f"{root.name}.{part.partition('/')[0]}": (root / ".claude" / part).read_text(encoding="utf-8").strip("# \n")
        for root in (world.home, world.project)
        for part in ("hooks/version.py", "commands/version.md")
    }


def test_the_newest_whole_backup_comes_back_and_the_damaged_are_named(world: World) -> None:
    """The plan says what is passed over and why; what was live is in a safety backup, so undo takes it back."""
    damage(world, "v3", "user.hooks.tar.gz")
    before = live(world)
    plan = world.run(world.service().emergency(PERSON, consent=LOOK))
    assert (plan.applied, plan.to_version, live(world)) == (False, "v2", before)
    assert [notice.partition(":")[0] for notice in plan.notices] == ["v3 is passed over"]
    done = world.run(world.service().emergency(PERSON, consent=APPLY))
    assert (done.applied, set(numbers(world).values())) == (True, {"2"})
    attempts = [record.draft for record in world.records() if record.draft.event_type is EventType.RECOVERY_ATTEMPT]
    assert [draft.status for draft in attempts] == [EventStatus.STARTED, EventStatus.SUCCESS]
    world.run(world.service().undo(PERSON, consent=APPLY))
    assert live(world) == before


def test_what_is_live_already_is_not_gone_back_to(world: World) -> None:
    """A session that began in the broken state backed it up: the one before it is meant."""
    world.run(world.service().create_backup(PERSON, version="v4"))
    assert world.run(world.service().emergency(PERSON, consent=LOOK)).to_version == "v3"
    for version in ("v1", "v2", "v3"):
        shutil.rmtree(world.store / "backups" / version)
    assert world.run(world.service().emergency(PERSON, consent=LOOK)).already_at_target


def test_of_several_damaged_backups_the_best_of_each_comes_back(world: World) -> None:
    """Each target from the newest backup in which it is intact, all in one step, and each is named."""
    damage(world, "v3", "user.hooks.tar.gz", "project.commands.tar.gz")
    damage(world, "v2", "user.hooks.tar.gz")
    damage(world, "v1", "user.settings.json")
    plan = world.run(world.service().emergency(PERSON, consent=LOOK))
    assert plan.to_version is None
    assert "~/.claude/hooks comes from v1." in plan.notices
    done = world.run(world.service().emergency(PERSON, consent=APPLY))
    assert done.applied
    assert numbers(world) == {
        "home.hooks": "1",
        "home.commands": "3",
        "project.hooks": "3",
        "project.commands": "2",
    }
    assert b'"number": 3' in (world.home / ".claude" / "settings.json").read_bytes()
    assert not world.run(world.service().list_backups(PERSON)).current.drift


def test_where_nothing_is_intact_a_person_can_follow_the_steps(world: World) -> None:
    """Every manifest damaged: RECOVERY.md holds commands that bring back what can be read, whatever paths look like."""
    for version in ("v1", "v2", "v3"):
        damage(world, version, "manifest.json")
    damage(world, "v3", "user.commands.tar.gz")
    before = live(world)
    with pytest.raises(RollbackError) as refused:
        world.run(world.service().emergency(PERSON, consent=LOOK))
    assert refused.value.code is Code.NEEDS_ATTENTION
    assert live(world) == before
    text = (world.store / "recovery" / "RECOVERY.md").read_text(encoding="utf-8")
    commands = [line for line in text.splitlines() if line.startswith(("mkdir", "cp"))]
    assert commands == list(refused.value.lines)
    for root in (world.home, world.project):
        for name in ("hooks", "commands"):
            shutil.rmtree(root / ".claude" / name)
    newest = {line.rpartition(" -C ")[2] or line.split()[-1]: line for line in reversed(commands)}
    for line in newest.values():
        subprocess.run(["bash", "-e", "-c", line], check=True, capture_output=True)
    assert numbers(world) == {
        "home.hooks": "3",
        "home.commands": "2",
        "project.hooks": "3",
        "project.commands": "3",
    }
    assert b'"number": 3' in (world.home / ".claude" / "settings.json").read_bytes()


def test_a_forged_manifest_is_for_a_person_alone(world: World) -> None:
    """What the audit does not vouch for is never restored by us, not even in an emergency."""
    for version in ("v1", "v2", "v3"):
        path = world.store / "backups" / version / "manifest.json"
        path.write_bytes(path.read_bytes().replace(b'"note": ""', b'"note": "x"'))
    with pytest.raises(RollbackError) as refused:
        world.run(world.service().emergency(PERSON, consent=APPLY))
    assert refused.value.code is Code.NEEDS_ATTENTION
    assert any("tar xzf" in line for line in refused.value.lines)


def test_backups_of_another_project_are_not_offered(world: World) -> None:
    """Nothing crosses from one project into another, by hand neither."""
    elsewhere = world.root / "live" / "elsewhere"
    (elsewhere / ".claude" / "hooks").mkdir(parents=True)
    with pytest.raises(RollbackError) as refused:
        world.run(world.service(project=elsewhere).emergency(PERSON, consent=LOOK))
    assert refused.value.lines == ()


def test_what_is_whole_of_a_backup_in_quarantine_counts_too(world: World) -> None:
    """Put aside for one damaged archive, its other targets are authenticated like any; it is only read."""
    damage(world, "v3", "user.hooks.tar.gz")
    damage(world, "v2", "project.hooks.tar.gz")
    damage(world, "v1", "user.commands.tar.gz")
    for version in ("v3", "v2", "v1"):
        with pytest.raises(RollbackError):
            world.run(world.service().rollback_to(PERSON, version=version, consent=APPLY))
    aside = snapshot(world.store / "quarantine")
    plan = world.run(world.service().emergency(PERSON, consent=LOOK))
    assert "v3 is passed over: it is in quarantine." in plan.notices
    assert "~/.claude/hooks comes from v2, which is in quarantine: this part of it is intact." in plan.notices
    before = live(world)
    assert world.run(world.service().emergency(PERSON, consent=APPLY)).applied
    assert numbers(world) == {
        "home.hooks": "2",
        "home.commands": "3",
        "project.hooks": "3",
        "project.commands": "3",
    }
    assert snapshot(world.store / "quarantine") == aside
    world.run(world.service().undo(PERSON, consent=APPLY))
    assert live(world) == before
    world.run(world.service().redo(PERSON, consent=APPLY))
    assert numbers(world)["home.hooks"] == "2"


def test_a_manifest_that_was_forged_in_quarantine_is_not_believed(world: World) -> None:
    """The chain has the last word there too; and another project's stay another project's, by hand as well."""
    for version in ("v3", "v2", "v1"):
        damage(world, version, "user.hooks.tar.gz")
        with pytest.raises(RollbackError):
            world.run(world.service().rollback_to(PERSON, version=version, consent=APPLY))
        manifest = world.store / "quarantine" / version / "manifest.json"
        manifest.write_bytes(manifest.read_bytes().replace(b'"note": ""', b'"note": "x"'))
    with pytest.raises(RollbackError) as refused:
        world.run(world.service().emergency(PERSON, consent=APPLY))
    assert refused.value.code is Code.NEEDS_ATTENTION
    assert any("/quarantine/v3/user.memory.txt" in line for line in refused.value.lines)
    elsewhere = world.root / "live" / "elsewhere"
    (elsewhere / ".claude" / "hooks").mkdir(parents=True)
    with pytest.raises(RollbackError) as nothing:
        world.run(world.service(project=elsewhere).emergency(PERSON, consent=LOOK))
    assert nothing.value.lines == ()
