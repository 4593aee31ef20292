"""The kinds of configuration that are protected, one row each. A new one is a row here and nowhere else."""

from dataclasses import dataclass

from stravinsky_rollback_mcp.core.model import Kind, Scope, Target, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """Where one kind of configuration lies; an empty path means that the scope does not have it.

    ``user_path`` is relative to the user root, ``project_path`` to the project folder. ``at_git_root`` marks what
    Claude Code (since 2.1.211) reads at the git root of the project instead. ``takes_effect`` says when a running
    session notices a change, and ``shown_by`` which of its commands shows it (of settings both depend on the key, see
    ``onset``). ``is_settings`` marks the files whose keys say which scripts run and what is allowed.
    ``downloaded`` are paths below it that Claude Code fetches by itself: like excluded folders, in no backup.
    """

    name: str
    kind: Kind
    takes_effect: str
    shown_by: str
    user_path: str = ""
    project_path: str = ""
    at_git_root: bool = False
    is_settings: bool = False
    downloaded: frozenset[str] = frozenset()


def _folder(
    name: str, takes_effect: str, shown_by: str, *, path: str = "", downloaded: frozenset[str] = frozenset()
) -> Component:
    """A folder that both scopes have below their root."""
    return Component(
        name=name,
        kind=Kind.DIRECTORY,
        takes_effect=takes_effect,
        shown_by=shown_by,
        user_path=path or name,
        project_path=f"{_BELOW_ROOT}{path or name}",
        downloaded=downloaded,
    )


def _file(name: str, takes_effect: str, shown_by: str, *, user_path: str = "", project_path: str = "") -> Component:
    """A file that one scope has, or each at a place of its own."""
    return Component(
        name=name,
        kind=Kind.FILE,
        takes_effect=takes_effect,
        shown_by=shown_by,
        user_path=user_path,
        project_path=project_path,
    )


_BELOW_ROOT = ".claude/"

# A plan follows this order: script trees stand before settings, so that no settings file ever names a script that is
# not there yet. Memory has three rows, since a scope and a component make the id of one target.
# Source of places and effects: Claude Code's documentation of settings, memory, skills, hooks, MCP and key bindings.
COMPONENTS = (
    _folder("hooks", "now", "/hooks"),
    _folder("commands", "now", "/help"),
    _folder("agents", "now", "/agents"),
    _folder("skills", "now", "/skills", downloaded=frozenset({"synced"})),
    _folder("output_styles", "new_session", "/config", path="output-styles"),
    _folder("rules", "new_session", "/memory"),
    _folder("workflows", "new_session", "/workflows"),
    Component(name="themes", kind=Kind.DIRECTORY, takes_effect="new_session", shown_by="/theme", user_path="themes"),
    _file("memory", "new_session", "/memory", user_path="CLAUDE.md", project_path=".claude/CLAUDE.md"),
    _file("root_memory", "new_session", "/memory", project_path="CLAUDE.md"),
    _file("local_memory", "new_session", "/memory", project_path="CLAUDE.local.md"),
    _file("keybindings", "now", "/keybindings", user_path="keybindings.json"),
    _file("mcp", "new_session", "/mcp", project_path=".mcp.json"),
    Component(
        name="settings",
        kind=Kind.FILE,
        user_path="settings.json",
        project_path=".claude/settings.json",
        takes_effect="now",
        shown_by="/status",
        is_settings=True,
    ),
    Component(
        name="local_settings",
        kind=Kind.FILE,
        project_path=".claude/settings.local.json",
        takes_effect="now",
        shown_by="/status",
        at_git_root=True,
        is_settings=True,
    ),
)
BY_NAME = {component.name: component for component in COMPONENTS}

# Downloaded or generated, sometimes huge, never configuration. Backups leave them out and say so; rollbacks carry
# them over.
EXCLUDED_FOLDERS = frozenset({"node_modules", "__pycache__", ".git"})


def is_settings(target: Target) -> bool:
    """Whether a target is one of Claude Code's settings files."""
    return BY_NAME[target.component].is_settings


def downloaded_below(component: str) -> frozenset[str]:
    """The paths below a component that Claude Code fetches by itself; none of one that only a newer program knows."""
    row = BY_NAME.get(component)
    return frozenset() if row is None else row.downloaded


def base_of(target: Target) -> str:
    """The folder that a project's target belongs to, the project or its git root: its links may not lead out of it."""
    return target.path.removesuffix(f"/{BY_NAME[target.component].project_path}")


def view_of(*, home: str, user_root: str, project: str | None, git_root: str | None, folder: str | None = None) -> View:
    """The targets that one caller sees, user scope first, in the order in which plans change them.

    All paths are absolute. ``project`` is None when its ``.claude`` is the user root itself: then what only a project
    has is seen in the user scope, and ``folder`` is the project's, for what lies beside ``.claude``.
    """
    targets: list[Target] = []
    for component in COMPONENTS:
        path = f"{user_root}/{component.user_path}" if component.user_path else ""
        if not path and project is None:
            path = _seen_as_the_persons(component.project_path, user_root, folder)
        if path:
            targets.append(Target(scope=Scope.USER, component=component.name, kind=component.kind, path=path))
    for component in COMPONENTS if project is not None else ():
        base = git_root if component.at_git_root and git_root is not None else project
        if component.project_path:
            targets.append(
                Target(
                    scope=Scope.PROJECT,
                    component=component.name,
                    kind=component.kind,
                    path=f"{base}/{component.project_path}",
                )
            )
    return View(
        home=home,
        user_root=user_root,
        project=project,
        project_root=None if project is None else f"{project}/.claude",
        targets=tuple(targets),
    )


def _seen_as_the_persons(project_path: str, user_root: str, folder: str | None) -> str:
    if project_path.startswith(_BELOW_ROOT):
        return f"{user_root}/{project_path.removeprefix(_BELOW_ROOT)}"
    return "" if folder is None else f"{folder}/{project_path}"
