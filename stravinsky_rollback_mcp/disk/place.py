"""Where a target really lies, links followed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.components import base_of
from stravinsky_rollback_mcp.core.model import Kind, Scope, Target, View
from stravinsky_rollback_mcp.disk.content import unreadable
from stravinsky_rollback_mcp.errors import Code, RollbackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a target really lies. ``dangling`` is a link to nothing: it can be recorded, not restored into.

    ``without`` are paths that a staged tree has for the moment alone: they are not looked at. With ``refusal`` the
    target cannot be looked at, for that reason: it counts as not recorded, and is not restored.

    Where links lead several targets to one place, it is one target: the others name it in ``same_as`` and count as not
    recorded, and ``also`` holds the paths by which they know it.
    """

    target: Target
    resolved: str
    dangling: bool
    without: frozenset[str] = frozenset()
    refusal: RollbackError | None = None
    same_as: str | None = None
    also: tuple[str, ...] = ()


def locate(view: View, target: Target) -> Place:
    """Follow the links on the way to a target.

    The person's own links are normal (dotfile managers) and lead anywhere; a project's may not leave the project or
    the git repository that holds it (``unsafe_path``), because a repository must not point us at other files.
    """
    parent, name = os.path.split(target.path)
    dangling = False
    try:
        resolved = os.path.realpath(target.path, strict=True)
    except FileNotFoundError:
        dangling = os.path.islink(target.path)
        resolved = os.path.realpath(target.path) if dangling else os.path.join(os.path.realpath(parent), name)
    except PermissionError as error:
        raise unreadable(target.path, error) from error
    except OSError as error:
        raise RollbackError(
            Code.UNSAFE_PATH,
            f"{target.path} cannot be followed to a real place: {os.strerror(error.errno or 0)}.",
            "look at the links on the way to it.",
        ) from error
    if target.scope is Scope.PROJECT and view.project is not None:
        base = os.path.realpath(base_of(target))
        if resolved != base and not resolved.startswith(base.rstrip("/") + "/"):
            raise RollbackError(
                Code.UNSAFE_PATH,
                f"{target.path} leads outside the project, to {resolved}.",
                "replace that link by a real folder or file; links that leave a project are never followed.",
            )
    return Place(target=target, resolved=resolved, dangling=dangling)


def real_path(path: str) -> str:
    """The path with its links followed, as far as it exists."""
    return os.path.realpath(path)


def has_configuration(project: str) -> bool:
    """Whether a folder is there that holds a project's configuration."""
    return os.path.isdir(f"{project}/.claude")


def each_once(places: Sequence[Place]) -> tuple[Place, ...]:
    """The places, in their order, each real one in one target only.

    A person's target comes before a project's, since other projects know it too, and one that is no link before links.
    """
    by_real: dict[tuple[str, Kind], list[Place]] = {}
    for place in places:
        if place.refusal is None and not place.dangling:
            by_real.setdefault((place.resolved, place.target.kind), []).append(place)
    changed: dict[str, Place] = {}
    for group in by_real.values():
        first, *others = sorted(
            group, key=lambda place: (place.target.scope is Scope.PROJECT, place.target.path != place.resolved)
        )
        if others:
            changed[first.target.id] = replace(first, also=tuple(place.target.path for place in others))
            changed |= {place.target.id: replace(place, same_as=first.target.id) for place in others}
    return tuple(changed.get(place.target.id, place) for place in places)
