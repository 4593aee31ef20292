"""What is protected, as a whole: every component in every scope comes back, and nothing beside it is ever touched."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.crash import PERSON, Log, World, add_socket, guard
from support.tree import Entry, Fifo, File, Link, Spec, build, snapshot

from stravinsky_rollback_mcp.core.components import COMPONENTS, Component
from stravinsky_rollback_mcp.core.model import Kind, TargetState
from stravinsky_rollback_mcp.core.outcome import Restored
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.service import Consent, RollbackService

# What the first version of this program looked at.
FIRST = frozenset({"hooks", "commands", "settings", "local_settings"})
# Claude Code's own state, credentials and caches, and what lies beside a configuration (Claude Code 2.1.330).
OTHERS = (
    *("projects/-work-app/0b1c.jsonl", "history.jsonl", "sessions/1.json", "session-env/1/env", "shell-snapshots/1.sh"),
    *("file-history/1/a@v1", "backups/.claude.json.backup", "plugins/cache/p/hooks/hooks.json", "tasks/1.json"),
    *("todos/1.json", "teams/t/config.json", "jobs/1", "daemon/pid", "ide/1.lock", "local/claude", "plans/p.md"),
    *("debug/1.txt", "logs/1.log", "statsig/cache", "cache/changelog.md", "paste-cache/1.txt", "image-cache/1.png"),
    *("uploads/1", "usage-data/1.json", "feedback-bundles/1.zip", "stats-cache.json", "remote-settings.json"),
    *("policy-limits.json", ".last-cleanup", "channels/c.json", "security/s.json", "scheduled-tasks/t.json"),
    *(".credentials.json", "worktrees/w/CLAUDE.md", "agent-memory-local/m.md", "scheduled_tasks.json", "statusline.sh"),
)


def of_both(word: str) -> dict[str | bytes, Entry]:
    """What both scopes have below their root."""
    text = f"---\ndescription: {word}\n---\n{word}\n"
    return {
        "hooks": {"guard.py": guard(word)},
        "commands": {"review.md": text, "git": {f"{word}.md": text}},
        "agents": {"reviewer.md": text, f"{word}.md": text},
        "skills": {
            "deploy": {"SKILL.md": text, "run.sh": File(f"#!/bin/sh\necho {word}\n", 0o755)},
            "linked": Link("../../common/skill"),
            "synced": {"fetched": {"SKILL.md": "fetched\n"}},
            "node_modules": {"m.js": "m\n"},
        },
        "output-styles": {"terse.md": text},
        "rules": {"style.md": text, "deep": {f"{word}.md": text}},
        "workflows": {"ship.js": f"// {word}\n"},
        "CLAUDE.md": f"# {word}\n",
        "settings.json": f'{{"cleanupPeriodDays": {len(word)}}}\n',
    }


def of_person(word: str) -> dict[str | bytes, Entry]:
    """What the person's root holds."""
    own: Spec = {"keybindings.json": f'{{"bindings": [], "$docs": "{word}"}}\n', "themes": {"dark.json": f'"{word}"\n'}}
    return {**of_both(word), **own}


def content(word: str) -> Spec:
    """A configuration in which every component of both scopes is there."""
    return {
        "home": {".claude": of_person(word)},
        "project": {
            ".claude": {**of_both(word), "settings.local.json": f'{{"model": "{word}"}}\n'},
            **dict.fromkeys(("CLAUDE.md", "CLAUDE.local.md"), f"# {word}\n"),
            ".mcp.json": f'{{"mcpServers": {{"{word}": {{"command": "true"}}}}}}\n',
        },
    }


def replace_all(world: World, word: str) -> None:
    """Take the protected configuration away and put another one there."""
    for path in world.places():
        if os.path.isdir(path) and not os.path.islink(path):
            Files().remove_tree(path)
        else:
            Path(path).unlink(missing_ok=True)
    build(world.root / "live", content(word))


def back_up(world: World, version: str) -> None:
    """A named backup of everything in view."""
    world.run(world.service().create_backup(PERSON, version=version))


def apply(world: World, name: str, **arguments: object) -> Restored:
    """A restore, with consent to whatever it loosens."""
    call = getattr(world.service(), name)
    plan: Restored = world.run(call(PERSON, consent=Consent(dry_run=True), **arguments))
    done: Restored = world.run(
        getattr(world.service(), name)(PERSON, consent=Consent(accept=plan.security_changes), **arguments)
    )
    assert done.applied
    return done


# -- every component ------------------------------------------------------------------------------------------------


def test_every_component_comes_back_in_both_scopes(world: World) -> None:
    """Changed, removed and back again, byte for byte; a row of the table that no target stands for is found here."""
    build(world.root / "live", content("before"))
    back_up(world, "v1")
    before = world.fingerprint()
    targets = world.run(world.service().show_backup(PERSON, version="v1")).backups[0].targets
    assert targets is not None
    assert {target.component for target in targets} == {component.name for component in COMPONENTS}
    assert {target.state for target in targets} == {TargetState.PRESENT}
    replace_all(world, "other")
    after = world.fingerprint()

    done = apply(world, "rollback_to", version="v1")
    assert {change.action for change in done.changes} == {"replace"}
    assert {change.takes_effect for change in done.changes} == {"now", "new_session"}
    assert strip_times(world.fingerprint()) == strip_times(before)
    apply(world, "undo")
    assert strip_times(world.fingerprint()) == strip_times(after)
    apply(world, "redo")
    assert strip_times(world.fingerprint()) == strip_times(before)


def strip_times(found: dict[str, tuple[str, int, bytes, int]]) -> dict[str, tuple[str, int, bytes]]:
    """Types, modes and bytes alone."""
    return {path: entry[:3] for path, entry in found.items()}


def test_every_component_that_is_gone_comes_back_and_goes_again(world: World) -> None:
    """Absence is a state: an installer's whole configuration can be taken back as well."""
    for root in (world.home / ".claude", world.project / ".claude"):
        root.mkdir()
    back_up(world, "nothing")
    build(world.root / "live", content("all"))
    for root in (world.home, world.project):
        Files().remove_tree(str(root / ".claude/skills"))  # what is left out of backups stays, and its folder with it
    back_up(world, "everything")
    after = strip_times(world.fingerprint())
    done = apply(world, "rollback_to", version="nothing")
    assert {change.action for change in done.changes} == {"remove"}
    assert not [path for path in world.places() if os.path.lexists(path)]
    done = apply(world, "rollback_to", version="everything")
    assert {change.action for change in done.changes} == {"create"}
    assert strip_times(world.fingerprint()) == after


def test_what_is_absent_before_and_after_is_not_told(world: World) -> None:
    """A result is paid for by its length: of two dozen targets only those that exist are listed."""
    build(world.home, {".claude": {"hooks": {"a.py": "1\n"}, "CLAUDE.md": "one\n"}})
    back_up(world, "v1")
    (world.home / ".claude/CLAUDE.md").write_text("two\n", encoding="utf-8")
    done = apply(world, "rollback_to", version="v1")
    assert [(change.component, change.action) for change in done.changes] == [("hooks", "none"), ("memory", "replace")]


# -- what is left alone ---------------------------------------------------------------------------------------------


def test_nothing_of_claude_code_is_captured_or_touched(world: World) -> None:
    """State, credentials and caches beside the configuration stay as they are, to the inode, and are in no backup."""
    build(world.root / "live", content("before"))
    for path in (*(world.home / ".claude" / name for name in OTHERS), *(world.project / ".claude" / n for n in OTHERS)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("MARKED never ours\n", encoding="utf-8")
    build(world.home, {".claude.json": "MARKED never ours\n"})
    build(world.project, {"src": {"CLAUDE.md": "MARKED\n", ".mcp.json": "MARKED\n"}, "README.md": "MARKED\n"})
    marked = {path: (os.stat(path).st_ino, os.stat(path).st_ctime_ns) for path in _marked(world)}
    assert len(marked) == 2 * len(OTHERS) + 4
    back_up(world, "v1")
    replace_all(world, "other")
    apply(world, "rollback_to", version="v1")
    apply(world, "undo")
    assert {path: (os.stat(path).st_ino, os.stat(path).st_ctime_ns) for path in _marked(world)} == marked
    kept = b"".join(entry[2] for entry in snapshot(world.store).values())
    assert b"MARKED" not in kept
    assert b"fetched" not in kept
    versions = [backup.version for backup in world.run(world.service().list_backups(PERSON)).backups]
    for version in versions:
        manifest = (world.store / "backups" / version / "manifest.json").read_text(encoding="utf-8")
        assert not [name for name in OTHERS if f'/.claude/{name.split("/", maxsplit=1)[0]}"' in manifest]


def _marked(world: World) -> list[str]:
    files = (path for root in (world.home, world.project) for path in root.rglob("*") if path.is_file())
    others = (path for path in files if not path.is_relative_to(world.store))
    return sorted(str(path) for path in others if b"MARKED" in path.read_bytes())


@pytest.mark.parametrize(
    "component", [row for row in COMPONENTS if row.kind is Kind.DIRECTORY], ids=lambda row: row.name
)
def test_skipped_folders_and_special_files_are_carried_over(world: World, component: Component) -> None:
    """What backups leave out is not deleted by a rollback, in any folder."""
    path = world.home / ".claude" / component.user_path
    build(
        path, {"a.md": "one\n", **{name: {"x": {"y.md": "kept\n"}} for name in ("node_modules", "__pycache__", ".git")}}
    )
    build(path, {"pipe": Fifo()})
    add_socket(path / "socket")
    back_up(world, "v1")
    (path / "a.md").write_text("two\n", encoding="utf-8")
    before = snapshot(path)
    apply(world, "rollback_to", version="v1")
    assert snapshot(path) == before | {b"a.md": ("file", 0o644, b"one\n")}


def test_nothing_of_ours_lies_where_claude_code_would_load_it(world: World) -> None:
    """Slots and temporary files: none ends in ``.md``, none lies in a folder that is scanned, at any moment."""
    build(world.root / "live", content("before"))
    log = Log()
    world.run(world.service(Files(observe=log)).create_backup(PERSON, version="v1"))
    replace_all(world, "other")
    lines = world.run(world.service().rollback_to(PERSON, version="v1", consent=Consent(dry_run=True))).security_changes
    service = world.service(Files(observe=log))
    world.run(service.rollback_to(PERSON, version="v1", consent=Consent(accept=lines)))
    touched = {path for _, path in log.calls if path.startswith("/") and not path.startswith(str(world.store))}
    ours = {path for path in touched if ".stravinsky-" in path}
    assert ours
    folders = {target.path for target in world.config().view.targets if target.kind is Kind.DIRECTORY}
    for path in ours:
        above, _, rest = path.partition("/.stravinsky-")
        assert not any(above == folder or above.startswith(f"{folder}/") for folder in folders)
        assert not rest.split("/")[0].endswith(".md")
    in_store = {path for _, path in log.calls if path.startswith(str(world.store))}
    assert {path for path in in_store if path.endswith(".md")} <= {f"{world.store}/recovery/RECOVERY.md"}


# -- backups of an older version ------------------------------------------------------------------------------------


def older(world: World) -> RollbackService:
    """The service as it was when it knew fewer components."""
    config = world.config()
    targets = tuple(target for target in config.view.targets if target.component in FIRST)
    return RollbackService(replace(config, view=replace(config.view, targets=targets)))


def test_what_an_older_backup_did_not_record_is_left_alone(world: World) -> None:
    """A rollback to it brings back what it holds and touches nothing else; undo leads back over the border."""
    build(world.root / "live", content("before"))
    world.run(older(world).create_backup(PERSON, version="v1"))
    before = strip_times(world.fingerprint())
    replace_all(world, "other")
    other = strip_times(world.fingerprint())
    roots = (str(world.home / ".claude"), str(world.project / ".claude"))
    names = ("hooks", "commands", "settings.json", "settings.local.json")
    known = tuple(f"{root}/{name}" for root in roots for name in names)

    done = apply(world, "rollback_to", version="v1")
    assert {change.component for change in done.changes} == FIRST
    mixed = strip_times(world.fingerprint())
    assert {path: entry for path, entry in mixed.items() if path.startswith(known)} == {
        path: entry for path, entry in before.items() if path.startswith(known)
    }
    assert {path: entry for path, entry in mixed.items() if not path.startswith(known)} == {
        path: entry for path, entry in other.items() if not path.startswith(known)
    }
    apply(world, "undo")
    assert strip_times(world.fingerprint()) == other
    apply(world, "undo")  # the state of v1, which says nothing of the newer components
    assert strip_times(world.fingerprint()) == mixed


def test_an_older_backup_says_nothing_of_what_it_did_not_record(world: World) -> None:
    """It is no backup of this state, and asking it for such a part is refused."""
    build(world.root / "live", content("before"))
    world.run(older(world).create_backup(PERSON, version="v1"))
    listed = world.run(world.service().list_backups(PERSON))
    assert (listed.current.version, listed.current.drift) == (None, ())
    made = world.run(world.service().create_backup(PERSON))
    assert made.created
    assert not [name for name in made.backup.changed if name.partition(".")[2] in FIRST]
    assert world.run(world.service().list_backups(PERSON)).current.version == made.backup.version


# -- links and roots ------------------------------------------------------------------------------------------------


def test_a_dotfile_managed_user_scope_is_written_through(world: World) -> None:
    """Memory, skills and themes are links into dotfiles: the real files change, the links stay."""
    names = ("CLAUDE.md", "skills", "agents", "rules", "keybindings.json", "themes", "settings.json")
    build(world.home / "dotfiles", {name: of_person("before")[name] for name in names})
    build(world.home, {".claude": {name: Link(f"../dotfiles/{name}") for name in names}})
    before = snapshot(world.home / "dotfiles")
    back_up(world, "v1")
    (world.home / "dotfiles/CLAUDE.md").write_text("lost\n", encoding="utf-8")
    (world.home / "dotfiles/skills/deploy/SKILL.md").unlink()
    (world.home / "dotfiles/keybindings.json").write_text("{", encoding="utf-8")
    done = apply(world, "rollback_to", version="v1")
    assert [c.component for c in done.changes if c.action != "none"] == ["skills", "memory", "keybindings"]
    assert snapshot(world.home / "dotfiles") == before
    assert all((world.home / ".claude" / name).is_symlink() for name in names)


def test_a_projects_link_inside_the_project_is_written_through(world: World) -> None:
    """``CLAUDE.md`` that is a link to ``AGENTS.md``, and skills that are shared with other agents."""
    build(
        world.project,
        {
            "AGENTS.md": "# one\n",
            "CLAUDE.md": Link("AGENTS.md"),
            ".agents": {"skills": {"a": {"SKILL.md": "one\n"}}},
            ".claude": {"skills": Link("../.agents/skills")},
        },
    )
    before = snapshot(world.project)
    back_up(world, "v1")
    (world.project / "AGENTS.md").write_text("# two\n", encoding="utf-8")
    (world.project / ".agents/skills/a/SKILL.md").write_text("two\n", encoding="utf-8")
    done = apply(world, "rollback_to", version="v1")
    assert [c.component for c in done.changes if c.action == "replace"] == ["skills", "root_memory"]
    assert snapshot(world.project) == before


def test_home_as_a_project_protects_what_lies_beside_its_claude_folder(world: World) -> None:
    """One scope, and still ``.mcp.json`` and the memory of the home folder are in it."""
    build(world.home, {".claude": {"CLAUDE.md": "a\n"}, "CLAUDE.md": "b\n", ".mcp.json": "{}\n"})
    service = RollbackService(world.config(world.home))
    world.run(service.create_backup(PERSON, version="v1"))
    before = strip_times(world.fingerprint())
    (world.home / "CLAUDE.md").unlink()
    (world.home / ".mcp.json").write_text("[]\n", encoding="utf-8")
    (world.home / ".claude/CLAUDE.md").write_text("c\n", encoding="utf-8")
    done = world.run(service.rollback_to(PERSON, version="v1", consent=Consent()))
    paths = {change.path for change in done.changes if change.action != "none"}
    assert paths == {"~/.claude/CLAUDE.md", "~/CLAUDE.md", "~/.mcp.json"}
    assert strip_times(world.fingerprint()) == before
