"""What is protected: an allow-list, in the order in which plans change it."""

import pytest

from stravinsky_rollback_mcp.core.components import BY_NAME, COMPONENTS, EXCLUDED_FOLDERS, Component, view_of
from stravinsky_rollback_mcp.core.model import Kind, Scope, View


def view(project: str | None = "/srv/app", git_root: str | None = "/srv/app") -> View:
    """A view as the configuration makes it."""
    return view_of(home="/home/u", user_root="/home/u/.claude", project=project, git_root=git_root)


def paths(seen: View) -> dict[str, str]:
    """Where each target lies, by its id."""
    return {target.id: target.path for target in seen.targets}


def test_a_view_holds_both_scopes() -> None:
    """The places are those of Claude Code (design)."""
    assert paths(view()) == {
        "user.hooks": "/home/u/.claude/hooks",
        "user.commands": "/home/u/.claude/commands",
        "user.settings": "/home/u/.claude/settings.json",
        "project.hooks": "/srv/app/.claude/hooks",
        "project.commands": "/srv/app/.claude/commands",
        "project.settings": "/srv/app/.claude/settings.json",
        "project.local_settings": "/srv/app/.claude/settings.local.json",
    }


def test_local_settings_lie_at_the_git_root() -> None:
    """Claude Code 2.1.211 and later read them there, and everything else in the project (design)."""
    seen = paths(view("/srv/mono/app", "/srv/mono"))
    assert seen["project.local_settings"] == "/srv/mono/.claude/settings.local.json"
    assert seen["project.settings"] == "/srv/mono/app/.claude/settings.json"
    assert paths(view("/srv/app", None))["project.local_settings"] == "/srv/app/.claude/settings.local.json"


def test_without_a_project_local_settings_are_the_persons() -> None:
    """Where user and project are one directory there is one scope, and nothing is left out (design)."""
    seen = view(None, None)
    assert paths(seen) == {
        "user.hooks": "/home/u/.claude/hooks",
        "user.commands": "/home/u/.claude/commands",
        "user.settings": "/home/u/.claude/settings.json",
        "user.local_settings": "/home/u/.claude/settings.local.json",
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
    never = {".credentials.json", "projects", "plugins", "sessions", "history.jsonl", "", ".", ".claude"}
    for path in (component.user_path, component.project_path.removeprefix(".claude/")):
        assert not path.startswith("/")
        assert ".." not in path.split("/")
    assert component.user_path not in never - {""}
    assert component.project_path.startswith(".claude/")
    assert component.project_path.removeprefix(".claude/") not in never
    assert BY_NAME[component.name] is component


def test_ids_are_unique_and_bear_the_scope() -> None:
    """A project's tree can never stand for a person's: the scope is part of the id (design)."""
    targets = view().targets
    assert len({target.id for target in targets}) == len(targets)
    assert all(target.id == f"{target.scope}.{target.component}" for target in targets)


def test_downloaded_folders_are_left_out() -> None:
    """Sometimes huge, never configuration (design)."""
    assert frozenset({"node_modules", "__pycache__", ".git"}) == EXCLUDED_FOLDERS
