"""Which part of the configuration a caller means by a path."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.model import Kind, Target, View
from stravinsky_rollback_mcp.core.names import path_problem, shown
from stravinsky_rollback_mcp.core.pointer import Pointer, parse
from stravinsky_rollback_mcp.errors import Code, RollbackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One target, one path below it (``path`` empty: the whole target), or one key of a file (``pointer``)."""

    target: Target
    path: str
    pointer: Pointer | None = None


def parts_of(
    only: Iterable[str], view: View, exists: Callable[[Part], bool], *, with_keys: bool = False
) -> tuple[Part, ...]:
    """The parts that paths name; a folder above several targets names them all.

    A path is absolute, begins with ``~/``, or is relative to a root; a relative one must exist (live or in the
    backup, says ``exists``) below one root only, else ``ambiguous``. Behind the name of a JSON file, ``#`` begins a
    JSON pointer, where the caller can do something ``with_keys``. Raises ``invalid_argument`` for what is no such path
    and ``not_found`` for what no target holds.
    """
    chosen: list[Part] = []
    for text in only:
        part = _key(text, view, exists)
        if part is not None and not with_keys:
            raise RollbackError(
                Code.INVALID_ARGUMENT,
                "a single key of a file cannot be asked for here.",
                "leave out # and what follows.",
            )
        for found in (part,) if part is not None else _parts(text, view, exists):
            if found not in chosen:
                chosen.append(found)
    return tuple(chosen)


def _key(text: str, view: View, exists: Callable[[Part], bool]) -> Part | None:
    """The key of a file that is meant, if one is; other names may hold a ``#`` of their own."""
    path, mark, pointer = text.partition("#")
    files = [target for target in view.targets if target.kind is Kind.FILE and target.path.endswith(".json")]
    if not mark or path.rpartition("/")[2] not in {target.path.rpartition("/")[2] for target in files}:
        return None
    found = _parts(path, view, exists)[0]
    return replace(found, pointer=parse(pointer)) if found.target in files else None


def _parts(text: str, view: View, exists: Callable[[Part], bool]) -> tuple[Part, ...]:
    if text.startswith("/"):
        full = text.rstrip("/")
        return _at(text, full, view)
    if text.startswith("~/"):
        return _at(text, f"{view.home}/{text[2:]}".rstrip("/"), view)
    relative = text.removesuffix("/")
    problem = path_problem(relative)
    if problem:
        raise RollbackError(Code.INVALID_ARGUMENT, f"`only` holds {problem}.", "give paths such as hooks/guard.py.")
    found = [parts for root in _roots(view) if (parts := _below(f"{root}/{relative}", view))]
    existing = [parts for parts in found if any(exists(part) for part in parts)]
    if len(existing) > 1:
        raise RollbackError(
            Code.AMBIGUOUS,
            f"{shown(text, view.home)} exists in the user scope and in the project.",
            "write it as ~/.claude/… or as an absolute path.",
        )
    if not existing:
        raise _nowhere(text, view)
    return existing[0]


def _roots(view: View) -> list[str]:
    """What a relative path may be relative to; local settings may lie outside the project, at its git root."""
    homes = (target.path.rpartition("/")[0] for target in view.targets)
    return [root for root in dict.fromkeys((view.user_root, view.project_root, view.project, *homes)) if root]


def _at(text: str, full: str, view: View) -> tuple[Part, ...]:
    if path_problem(full.removeprefix("/")):
        raise RollbackError(
            Code.INVALID_ARGUMENT, "`only` holds a path with an empty part, . or ..", "write the path out."
        )
    parts = _below(full, view)
    if not parts:
        raise _nowhere(text, view)
    return parts


def _below(full: str, view: View) -> tuple[Part, ...]:
    whole = tuple(
        Part(target=target, path="")
        for target in view.targets
        if target.path == full or target.path.startswith(full + "/")
    )
    inside = tuple(
        Part(target=target, path=full[len(target.path) + 1 :])
        for target in view.targets
        if target.kind is Kind.DIRECTORY and full.startswith(target.path + "/")
    )
    return whole or inside


def _nowhere(text: str, view: View) -> RollbackError:
    known = ", ".join(shown(target.path, view.home) for target in view.targets)
    return RollbackError(
        Code.NOT_FOUND,
        f"{shown(text, view.home)} names nothing that is backed up here.",
        f"choose from or below: {known}.",
    )
