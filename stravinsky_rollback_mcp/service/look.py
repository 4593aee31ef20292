"""What there is to know before anything is planned: the live targets and the history, read once."""

from collections.abc import Mapping
from dataclasses import dataclass

from stravinsky_rollback_mcp.disk.scan import Place, Scan
from stravinsky_rollback_mcp.service.desk import Desk, Known, digests_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Everything that planning and checking need to know, gathered once."""

    places: Mapping[str, Place]
    seen: Mapping[str, Scan]
    known: Known

    @property
    def digests(self) -> dict[str, str]:
        """What is live, by target id."""
        return digests_of(self.seen)


def gather(desk: Desk) -> Look:
    """What is live and what is known, read once."""
    places = desk.places()
    return Look(places={place.target.id: place for place in places}, seen=desk.look(places), known=desk.known())
