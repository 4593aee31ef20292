"""The kinds of configuration that are protected, one row each. A new one is a row here and nowhere else."""

from dataclasses import dataclass

from stravinsky_rollback_mcp.core.model import Kind, Scope, Target, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """Where one kind of configuration lies; an empty path means that the scope does not have it.

    ``user_path`` is relative to the user root, ``project_path`` to the project folder. ``at_git_root`` marks what
    Claude Code (since 2.1.211) reads at the git root of the project instead. ``takes_effect`` says when a running
    session notices a change.
    """

    name: str
    kind: Kind
    user_path: str
    project_path: str
    takes_effect: str
    at_git_root: bool = False


# Script trees stand before settings: a plan follows this order, so that no settings file ever names a script that
# is not there yet.
COMPONENTS = (
    Component(name="hooks", kind=Kind.DIRECTORY, user_path="hooks", project_path=".claude/hooks", takes_effect="now"),
    Component(
        name="commands",
        kind=Kind.DIRECTORY,
        user_path="commands",
        project_path=".claude/commands",
        takes_effect="now",
    ),
    Component(
        name="settings",
        kind=Kind.FILE,
        user_path="settings.json",
        project_path=".claude/settings.json",
        takes_effect="now",
    ),
    Component(
        name="local_settings",
        kind=Kind.FILE,
        user_path="",
        project_path=".claude/settings.local.json",
        takes_effect="now",
        at_git_root=True,
    ),
)
BY_NAME = {component.name: component for component in COMPONENTS}

# Downloaded or generated, sometimes huge, never configuration. Backups leave them out and say so; rollbacks carry
# them over.
EXCLUDED_FOLDERS = frozenset({"node_modules", "__pycache__", ".git"})


def view_of(*, home: str, user_root: str, project: str | None, git_root: str | None) -> View:
    """The targets that one caller sees, user scope first, in the order in which plans change them.

    All paths are absolute; ``project`` is None when its ``.claude`` is the user root itself, and then the local
    settings, which only a project has, are seen in the user scope.
    """
    targets: list[Target] = []
    for component in COMPONENTS:
        path = component.user_path
        if not path and project is None:
            path = component.project_path.removeprefix(".claude/")
        if path:
            targets.append(
                Target(scope=Scope.USER, component=component.name, kind=component.kind, path=f"{user_root}/{path}")
            )
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
