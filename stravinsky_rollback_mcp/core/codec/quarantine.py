"""``quarantine/<version>/problem.json``: what was found wrong with a backup when it was put aside."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from stravinsky_rollback_mcp.core.codec.text import Members, from_json, require_format, to_readable_json

FORMAT = 1
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """One backup's problems, each as ``code: message``, in the order in which they were found; never none."""

    version: str
    quarantined_at: str
    problems: tuple[str, ...]


def encode(found: Quarantined) -> bytes:
    """The bytes of ``problem.json``."""
    return to_readable_json(
        {
            "format": FORMAT,
            "version": found.version,
            "quarantined_at": found.quarantined_at,
            "problems": list(found.problems),
        }
    )


def decode(content: bytes) -> Quarantined:
    """What the bytes record. Raises ValueError for any other form, ``unsupported_version`` for a newer one."""
    members = Members(from_json(content))
    require_format(members.raw, FORMAT, "problem.json")
    problems = members.raw.get("problems")
    texts = cast("list[object]", problems) if isinstance(problems, list) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("problems is not a list of texts")
    return Quarantined(
        version=members.text("version"),
        quarantined_at=members.text("quarantined_at"),
        problems=tuple(cast("Iterable[str]", texts)),
    )
