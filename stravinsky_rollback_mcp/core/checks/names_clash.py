"""Which commands, skills and agents take each other's names, and what Claude Code does then."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.checks.evidence import Folder
from stravinsky_rollback_mcp.core.model import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One file and the name that it is called by."""

    folder: Folder
    path: str
    name: str

    @property
    def shown(self) -> str:
        """Its path as people see it."""
        return self.folder.shown(self.path)


Clash = tuple[Severity, str, str]


def clashes(names: Sequence[Named]) -> Iterator[tuple[Named, Clash]]:
    """Each name that another one hides or makes doubtful, with severity, message and fix; the other stands before it.

    Commands and skills are called alike, so they share their names; agents are by themselves.
    """
    seen: dict[tuple[bool, str], list[Named]] = {}
    for item in names:
        others = seen.setdefault((item.folder.component == "agents", item.name.casefold()), [])
        if others:
            # Within one scope it weighs more.
            nearest = min(
                others, key=lambda other: (other.folder.scope is not item.folder.scope, other.name != item.name)
            )
            clash = _clash(nearest, item)
            if clash is not None:
                yield item, clash
        others.append(item)


def _clash(before: Named, item: Named) -> Clash | None:
    fix = "rename one of them."
    is_same_name = before.name == item.name
    if before.folder.scope is not item.folder.scope:
        if not is_same_name:
            return None
        # As sessions were seen to choose; the person's folders are looked at first.
        first = "this one" if item.folder.component == "agents" else "that one"
        more = f"; {first} counts" if before.folder.component == item.folder.component else ""
        return Severity.INFO, f"{before.shown}, the person's, has the same name{more}.", ""
    if not is_same_name:
        return Severity.WARNING, f"has the name of {before.shown}, but for upper and lower case.", fix
    if before.folder.component != item.folder.component:
        return Severity.WARNING, f"{before.shown} has the same name: the skill is run, the command never.", fix
    return Severity.WARNING, f"{before.shown} has the same name: only one of them is loaded.", fix
