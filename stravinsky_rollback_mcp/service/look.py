"""What planning works from: what is live and what is known, gathered once a request. Nothing is changed."""

from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core import plan as planning
from stravinsky_rollback_mcp.core.components import is_settings
from stravinsky_rollback_mcp.core.model import Kind, StoredTarget, Target, TargetState
from stravinsky_rollback_mcp.core.plan import Named, Step
from stravinsky_rollback_mcp.core.scripts import Roots, named_scripts
from stravinsky_rollback_mcp.core.selection import Part
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file
from stravinsky_rollback_mcp.disk.place import Place
from stravinsky_rollback_mcp.disk.scan import Scan
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Desk, Known, digests_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Everything that planning needs to know, gathered once."""

    places: Mapping[str, Place]
    seen: Mapping[str, Scan]
    known: Known

    @property
    def digests(self) -> dict[str, str]:
        """What is live, by target id; empty for what could not be looked at."""
        return digests_of(self.seen)

    def meant(self, part: Part) -> Part:
        """The part under the name by which it is recorded: of links to one place, only one target is."""
        other = self.places[part.target.id].same_as
        return part if other is None else replace(part, target=self.places[other].target)

    def with_state(self, digests: Mapping[str, str]) -> dict[str, str]:
        """What would be live with that state; what is not known of it, or cannot be looked at, stays as it is."""
        live = self.digests
        return {**live, **{target: digest for target, digest in digests.items() if digest and live.get(target)}}


def gather(desk: Desk) -> Look:
    """What is live and what is known, read once."""
    seen = desk.look(desk.places())
    return Look(places={name: item.place for name, item in seen.items()}, seen=seen, known=desk.known())


def target_of(desk: Desk, target_id: str) -> Target:
    """The target of this view with that id."""
    return next(target for target in desk.view.targets if target.id == target_id)


def in_order(desk: Desk, target_ids: Iterable[str]) -> list[str]:
    """Script trees before settings, as the table of components has them."""
    wanted = set(target_ids)
    ordered = sorted(desk.view.targets, key=lambda target: target.kind is Kind.FILE)
    return [target.id for target in ordered if target.id in wanted]


def live_file(desk: Desk, look: Look, target_id: str) -> bytes | None:
    """The bytes of a live file target, None when it is not there."""
    if look.seen[target_id].tree.state is not TargetState.PRESENT:
        return None
    return read_file(look.places[target_id].resolved, desk.config.limits.max_file_size_bytes)


def steps_of(
    desk: Desk,
    look: Look,
    sources: Mapping[str, tuple[str, StoredTarget]],
    chosen: Mapping[str, Iterable[str] | None],
    covered: Container[str],
    made: Mapping[str, bytes] | None = None,
) -> tuple[Step, ...]:
    """The steps that bring the chosen targets, or the paths below them, to what the sources hold.

    A target that is one with another is left to that one. ``covered`` are the targets of which it is meant what they
    will be; scripts that other settings name stay, and those that the contents ``made`` for files name. Raises the
    refusal of a target that cannot be looked at, and those of ``plan.step``.
    """
    made = made or {}
    scripts = _scripts(desk, look, covered, made)
    mtime_ns = round(desk.moment().timestamp() * 1_000_000) * 1000

    def step(target_id: str) -> Step:
        require_in_sight(look, target_id)
        target, tree = target_of(desk, target_id), look.seen[target_id].tree
        if target_id in made:
            return planning.step_with(target, tree, *sources[target_id], made[target_id], mtime_ns=mtime_ns)
        return planning.step(target, tree, *sources[target_id], chosen[target_id], scripts[target_id])

    separate = (target_id for target_id in (*chosen, *made) if look.places[target_id].same_as is None)
    return tuple(step(target_id) for target_id in in_order(desk, separate))


def require_in_sight(look: Look, target_id: str) -> None:
    """Raise the refusal of a target that cannot be looked at."""
    refusal = look.places[target_id].refusal
    if refusal is not None:
        hint = f"{refusal.hint} `scope` and `only` restore the rest without it."
        raise RollbackError(refusal.code, refusal.message, hint)


def _scripts(desk: Desk, look: Look, covered: Container[str], made: Mapping[str, bytes]) -> dict[str, Named]:
    """Which paths below each target the live settings name as scripts; settings that are not covered will stay."""
    contents = [
        (target_id, live_file(desk, look, target_id))
        for target_id, seen in look.seen.items()
        if is_settings(seen.place.target)
    ]
    limit = desk.config.limits.max_file_size_bytes
    for target_id, place in look.places.items():
        if is_settings(place.target) and place.refusal is not None and place.refusal.code is Code.NEEDS_ATTENTION:
            for path in desk.half_done(place):
                with suppress(RollbackError, ChangedWhileReadError):  # most of them are not there
                    contents.append((target_id, read_file(path, limit)))
    staying = [content for name, content in contents if name not in covered]
    live = named_scripts((content for _, content in contents), roots_of(desk))
    outside = named_scripts([*staying, *made.values()], roots_of(desk))
    return {
        target_id: Named(live=below(place, live), outside=below(place, outside))
        for target_id, place in look.places.items()
    }


def roots_of(desk: Desk) -> Roots:
    """What the expansions in commands stand for here."""
    return Roots(home=desk.view.home, project=desk.view.project or desk.view.home)


def below(place: Place, paths: frozenset[str]) -> frozenset[str]:
    """Those of some absolute paths that lie in a target, relative to it."""
    tops = {f"{top}/" for top in (place.target.path, *place.also, place.resolved)}
    return frozenset(path[len(top) :] for path in paths for top in tops if path.startswith(top))
