"""One step back or forward along the known states, with the backups that hold what it brings."""

from collections.abc import Mapping
from dataclasses import dataclass

from stravinsky_rollback_mcp.core import history
from stravinsky_rollback_mcp.core.history import Timeline, Walk
from stravinsky_rollback_mcp.core.model import EventType, StoredTarget
from stravinsky_rollback_mcp.core.plan import Step
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.look import Look, in_order, steps_of
from stravinsky_rollback_mcp.service.stored import held_pairs, source_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Stride:
    """A walk, the steps that it takes, and the timeline on which it is one."""

    walk: Walk
    steps: tuple[Step, ...]
    known: Timeline


def stride(desk: Desk, look: Look, operation: EventType) -> Stride:
    """What undo or redo would do here. Raises ``nothing_to_undo`` or ``nothing_to_redo``.

    A target that cannot be looked at is left alone. Where nothing but such a target differs, its refusal is raised:
    that is what would have to be taken back.
    """
    known, live = look.known.timeline, look.digests
    held = held_pairs(desk, look.known)
    here = known.current
    if here is not None and here.equals(live):
        _require_in_sight(look, here)
    move = history.undo if operation is EventType.UNDO else history.redo
    while True:
        try:
            walk = move(known, live, held)
        except RollbackError as error:
            if operation is EventType.UNDO and error.code is Code.NOTHING_TO_UNDO:
                for state in known.states[: known.cursor]:
                    _require_in_sight(look, state)
            raise
        sources = _sources(desk, look, walk.state)
        found = {target: source for target, source in sources.items() if source is not None}
        if len(found) < len(sources):
            # Damaged is as good as gone: history passes it over, or says so.
            held -= {(target, walk.state.digests[target]) for target in sources.keys() - found.keys()}
            continue
        steps = steps_of(desk, look, found, dict.fromkeys(found), walk.state.digests)
        if any(step.is_change for step in steps):
            return Stride(walk=walk, steps=steps, known=known)
        # All that differs is what no backup holds and what has to stay: we are there, and go on from there.
        known = history.arrived(known, walk.state, live)


def _require_in_sight(look: Look, state: history.KnownState) -> None:
    """Refuse where a target that the state knows cannot be looked at now."""
    for target_id in state.out_of_sight(look.digests):
        refusal = look.places[target_id].refusal
        if refusal is not None:
            raise refusal


def _sources(desk: Desk, look: Look, state: history.KnownState) -> Mapping[str, tuple[str, StoredTarget] | None]:
    """Where the targets that differ from a state can be had from, None where no intact backup holds them."""
    drifted = in_order(desk, state.drifted(look.digests))
    return {target_id: source_of(desk, look.known, target_id, state.digests[target_id]) for target_id in drifted}
