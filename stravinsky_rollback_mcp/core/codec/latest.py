"""``latest.json``: which version each view held when this program last looked. For people and other programs."""

from collections.abc import Mapping
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.codec.text import (
    Members,
    from_json,
    name_fields,
    read_name,
    require_format,
    to_readable_json,
)

FORMAT = 1
MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """One view's last look: ``version`` is None when no backup equals what was live."""

    user_root: str
    project: str | None
    version: str | None
    looked_at: str
    digests: Mapping[str, str]


def encode(views: tuple[Latest, ...]) -> bytes:
    """The bytes of ``latest.json``."""
    return to_readable_json({"format": FORMAT, "views": [_encode_view(view) for view in views]})


def _encode_view(view: Latest) -> dict[str, object]:
    return {
        **name_fields("user_root", view.user_root),
        **({} if view.project is None else name_fields("project", view.project)),
        "version": view.version,
        "looked_at": view.looked_at,
        "digests": dict(view.digests),
    }


def decode(content: bytes) -> tuple[Latest, ...]:
    """The views that the bytes record. Raises ValueError for any other form."""
    outer = Members(from_json(content))
    require_format(outer.raw, FORMAT, "latest.json")
    return tuple(_decode_view(Members(item)) for item in outer.objects("views"))


def _decode_view(members: Members) -> Latest:
    digests = members.object("digests")
    return Latest(
        user_root=read_name(members.raw, "user_root"),
        project=read_name(members.raw, "project") if "project" in members.raw else None,
        version=members.optional_text("version"),
        looked_at=members.text("looked_at"),
        digests={target: digests.text(target) for target in digests.raw},
    )
