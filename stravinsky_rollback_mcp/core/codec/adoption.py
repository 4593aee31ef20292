"""What the record of an adoption says beside whose it is: the path that the project had before."""

from collections.abc import Mapping

from stravinsky_rollback_mcp.core.codec.text import name_fields, read_name


def encode(old: str) -> dict[str, object]:
    """The details of the record."""
    return dict(name_fields("adopted", old))


def decode(details: Mapping[str, object]) -> str:
    """The old path that the details name. Raises ValueError where they name none."""
    return read_name(details, "adopted")
