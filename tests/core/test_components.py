"""What is protected: an allow-list, in the order in which plans change it."""

import re

import pytest

from stravinsky_rollback_mcp.core.components import (
    BY_NAME,
    COMPONENTS,
    EXCLUDED_FOLDERS,
    Component,
    base_of,
    downloaded_below,
    view_of,
)
from stravinsky_rollback_mcp.core.model import Kind, Scope, Target, View
from stravinsky_rollback_mcp.core.names import archive_name


def view(project: str | None = "/srv/app", git_root: str | None = "/srv/app") -> View:
    """A view as the configuration makes it."""
    return view_of(home="/home/u", user_root="/home/u/.claude", project=project, git_root=git_root)


def paths(seen: View) -> dict[str, str]:
    """Where each target lies, by its id."""
    return {target.id: target.path for target in seen.targets}


BOTH = {
    **{name: name for name in ("hooks", "commands", "agents", "skills", "rules", "workflows")},
    "output_styles": "output-styles",
    "memory": "CLAUDE.md",
    "settings": "settings.json",
}
USER = BOTH | {"keybindings": "keybindings.json", "themes": "themes"}
IN_FOLDER = BOTH | {"local_settings": "settings.local.json"}
BESIDE_FOLDER = {"root_memory": "CLAUDE.md", "local_memory": "CLAUDE.local.md", "mcp": ".mcp.json"}
# What lies beside the configuration and is none of our business (Claude Code 2.1.330).
NEVER = frozenset(
    {
        *(".credentials.json", "projects", "history.jsonl", "sessions", "session-env", "shell-snapshots", "backups"),
        *("file-history", "plugins", "tasks", "todos", "teams", "jobs", "daemon", "ide", "local", "plans", "debug"),
        *("logs", "statsig", "cache", "paste-cache", "image-cache", "uploads", "usage-data", "feedback-bundles"),
        *("stats-cache.json", "remote-settings.json", "policy-limits.json", ".last-cleanup", "channels", "security"),
        *("scheduled-tasks", "worktrees", "agent-memory", "agent-memory-local", "scheduled_tasks.json", ".claude.json"),
        *("managed-settings.json", "managed-settings.d", "", ".", "..", ".claude", ".git", "src"),
    }
)


def test_a_view_holds_both_scopes() -> None:
    """The places are those of Claude Code (design)."""
    assert paths(view()) == {
        **{f"user.{name}": f"/home/u/.claude/{path}" for name, path in USER.items()},
        **{f"project.{name}": f"/srv/app/.claude/{path}" for name, path in IN_FOLDER.items()},
        **{f"project.{name}": f"/srv/app/{path}" for name, path in BESIDE_FOLDER.items()},
    }


def test_local_settings_lie_at_the_git_root() -> None:
    """Claude Code 2.1.211 and later read them there, and everything else in the project (design)."""
    seen = paths(view("/srv/mono/app", "/srv/mono"))
    assert seen["project.local_settings"] == "/srv/mono/.claude/settings.local.json"
    assert seen["project.settings"] == "/srv/mono/app/.claude/settings.json"
    assert paths(view("/srv/app", None))["project.local_settings"] == "/srv/app/.claude/settings.local.json"


def test_what_only_a_project_has_is_the_persons_where_both_are_one() -> None:
    """Where user and project are one directory there is one scope, and nothing is left out (design)."""
    seen = view_of(home="/home/u", user_root="/home/u/.claude", project=None, git_root=None, folder="/home/u")
    assert paths(seen) == {
        **{f"user.{name}": f"/home/u/.claude/{path}" for name, path in (USER | IN_FOLDER).items()},
        **{f"user.{name}": f"/home/u/{path}" for name, path in BESIDE_FOLDER.items()},
    }
    assert (seen.project, seen.project_root) == (None, None)


def test_scripts_stand_before_settings_in_each_scope() -> None:
    """No instant in which settings name a script that is not there yet (design)."""
    for scope in Scope:
        kinds = [target.kind for target in view().targets if target.scope is scope]
        assert kinds == sorted(kinds, key=lambda kind: kind is Kind.FILE)
        assert set(kinds) == set(Kind)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_nothing_that_is_not_configuration_is_named(component: Component) -> None:
    """Hostile input: credentials, transcripts, caches and plugins beside the configuration stay outside."""
    assert component.user_path or component.project_path
    for path in (component.user_path, component.project_path.removeprefix(".claude/")):
        assert not path or path.split("/")[0] not in NEVER
        assert not path.startswith("/")
    assert BY_NAME[component.name] is component


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_what_is_stored_of_a_component_is_never_taken_for_configuration(component: Component) -> None:
    """Claude Code loads what ends in ``.md``: names in the store do not, and are plain on every file system."""
    name = archive_name(f"user.{component.name}", component.kind)
    assert name.endswith({Kind.DIRECTORY: (".tar.gz",), Kind.FILE: (".json", ".txt")}[component.kind])
    assert name.endswith(".json") == (component.user_path or component.project_path).endswith(".json")
    assert re.fullmatch(r"user\.[a-z_]{1,32}\.[a-z.]+", name)
    assert component.takes_effect in ("now", "new_session", "reload")


@pytest.mark.parametrize("target", view("/srv/mono/app", "/srv/mono").targets, ids=lambda target: target.id)
def test_the_base_of_a_target_is_the_folder_that_its_links_may_not_leave(target: Target) -> None:
    """The project, or its git root for what Claude Code reads there."""
    if target.scope is Scope.PROJECT:
        at_root = target.component == "local_settings"
        assert base_of(target) == ("/srv/mono" if at_root else "/srv/mono/app")


def test_ids_are_unique_and_bear_the_scope() -> None:
    """A project's tree can never stand for a person's: the scope is part of the id (design)."""
    targets = view().targets
    assert len({target.id for target in targets}) == len(targets)
    assert all(target.id == f"{target.scope}.{target.component}" for target in targets)


def test_downloaded_folders_are_left_out() -> None:
    """Sometimes huge, never configuration (design)."""
    assert frozenset({"node_modules", "__pycache__", ".git"}) == EXCLUDED_FOLDERS
    assert downloaded_below("skills") == {"synced"}
    assert downloaded_below("of another version") == frozenset()
