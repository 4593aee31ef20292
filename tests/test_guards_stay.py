"""No instant without guards: whatever a restore does, a script that the live settings name is there."""

import json
import threading
from pathlib import Path

import pytest
from support.crash import PERSON, World, before_retirement, consent_for, hooked, perform, plant
from support.tree import snapshot

from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.service import Consent, Scope


class Watcher(threading.Thread):
    """Reads settings and looks for the scripts they name, again and again, as hooks that fire all the time would."""

    def __init__(self, settings: Path, home: Path) -> None:
        super().__init__()
        self._settings = settings
        self._home = home
        self.stop = threading.Event()
        self.reads = 0
        self.versions: set[str] = set()
        self.missing: list[str] = []

    def run(self) -> None:
        """Until told to stop; a finding counts only while the settings that named the script are still there."""
        while not self.stop.is_set():
            text = self._settings.read_text(encoding="utf-8")
            self.reads += 1
            self.versions.add(text)
            for handler in json.loads(text)["hooks"]["PreToolUse"][0]["hooks"]:
                script = Path(str(handler["command"]).replace("~", str(self._home)))
                if not script.exists() and self._settings.read_text(encoding="utf-8") == text:
                    self.missing.append(script.name)


def _watch(world: World, rollbacks: int) -> Watcher:
    hooks, settings = world.home / ".claude" / "hooks", world.home / ".claude" / "settings.json"
    for word in ("a", "b"):
        plant(world, {"home": {".claude": {"hooks": {f"{word}.sh": f"echo {word}\n"}}}})
        settings.write_text(hooked(f"~/.claude/hooks/{word}.sh"), encoding="utf-8")
        world.run(world.service().create_backup(PERSON, version=word))
        (hooks / f"{word}.sh").unlink()
    (hooks / "b.sh").write_text("echo b\n", encoding="utf-8")
    watcher = Watcher(settings, world.home)
    watcher.start()
    try:
        for number in range(rollbacks):
            version = "ab"[number % 2]
            plan = world.run(world.service().rollback_to(PERSON, version=version, consent=Consent(dry_run=True)))
            consent = Consent(accept=plan.security_changes)
            assert world.run(world.service().rollback_to(PERSON, version=version, consent=consent)).applied
            assert sorted(path.name for path in hooks.iterdir()) == [f"{version}.sh"]
    finally:
        watcher.stop.set()
        watcher.join(5)
    print(f"{watcher.reads} reads of live settings during {rollbacks} rollbacks, {len(watcher.missing)} missed")  # noqa: T201
    return watcher


def test_in_no_read_do_live_settings_name_a_missing_script(world: World) -> None:
    """Promise 3, watched in a tight loop while two configurations with different guards take turns."""
    watcher = _watch(world, 20)
    assert watcher.missing == []
    assert len(watcher.versions) == 2


@pytest.mark.long
def test_in_no_read_of_two_hundred_rollbacks_is_a_guard_missing(world: World) -> None:
    """The same for as long as the design asks."""
    watcher = _watch(world, 200)
    assert watcher.missing == []
    assert watcher.reads > 10_000


def test_what_retires_leaves_the_tree_exactly_as_the_backup_has_it(world: World) -> None:
    """Guards up is no excuse for left-overs: scripts, their folder and a folder of hooks that was not there go."""
    before_retirement(world)
    perform(world, "rollback")
    hooks = snapshot(world.home / ".claude" / "hooks")
    assert set(hooks) == {b"", b"common.py"}
    assert not (world.project / ".claude" / "hooks").exists()


def test_a_script_that_other_settings_still_name_stays_and_is_said(world: World) -> None:
    """The hooks alone go back; the settings that name the guard are not part of that."""
    before_retirement(world)
    plan = Consent(dry_run=True)
    shown = world.run(world.service().rollback_to(PERSON, version="v1", only=("~/.claude/hooks",), consent=plan))
    assert any("hooks/guard.py stays" in line for line in shown.warnings)
    assert not shown.applied
    done = world.run(world.service().rollback_to(PERSON, version="v1", only=("~/.claude/hooks",), consent=Consent()))
    assert done.already_at_target
    assert (world.home / ".claude" / "hooks" / "sub" / "deep.py").exists()


def test_a_script_changed_after_the_commit_is_not_deleted(world: World) -> None:
    """Nothing is lost: what somebody wrote between the commit and the retirement is theirs."""
    before_retirement(world)
    script = world.home / ".claude" / "hooks" / "guard.py"

    def rewrite(operation: str, path: str) -> None:
        if operation == "rename" and path.endswith("journal.json") and b'"COMMITTED"' in _latest_record(world):
            script.unlink()
            script.write_text("mine\n", encoding="utf-8")

    consent = consent_for(world, "rollback")
    world.run(world.service(Files(observe=rewrite)).rollback_to(PERSON, version="v1", consent=consent))
    assert script.read_text(encoding="utf-8") == "mine\n"


def _latest_record(world: World) -> bytes:
    """The journal record that is about to be published."""
    return b"".join(path.read_bytes() for path in (world.store / "recovery").glob("journal.json.*.tmp"))


def test_a_scope_leaves_the_guards_of_the_other_scope_alone(world: World) -> None:
    """The project's rollback retires the project's script only."""
    before_retirement(world)
    plan = world.run(
        world.service().rollback_to(PERSON, version="v1", scope=Scope.PROJECT, consent=Consent(dry_run=True))
    )
    consent = Consent(accept=plan.security_changes)
    world.run(world.service().rollback_to(PERSON, version="v1", scope=Scope.PROJECT, consent=consent))
    assert (world.home / ".claude" / "hooks" / "guard.py").exists()
    assert not (world.project / ".claude" / "hooks").exists()
