"""What those use cases return that look after the store and our own configuration; see ``outcome`` for the others."""

from dataclasses import dataclass

from stravinsky_rollback_mcp.core.model import Anchor
from stravinsky_rollback_mcp.core.policy import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What a cleanup does with one backup: ``keep``, ``remove`` or ``quarantine``, and why."""

    version: str
    action: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanedUp:
    """What a cleanup did, or would do (``applied`` false); ``freed_bytes`` counts a shared archive once."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    applied: bool
    backups: tuple[Fate, ...]
    freed_bytes: int
    audit: Anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """Which backups were forgotten together, or would be (``applied`` false), and what goes with them."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    applied: bool
    versions: tuple[str, ...]
    warnings: tuple[str, ...]
    audit: Anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What a project took over that moved to its path, or would (``applied`` false); ``versions`` newest first."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    applied: bool
    old_project: str
    project: str
    versions: tuple[str, ...]
    warnings: tuple[str, ...]
    audit: Anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinning:
    """Whether a backup is pinned now."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    version: str
    pinned: bool
    audit: Anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One field of our own configuration; ``source`` is ``default``, ``config.json`` or a variable's name."""

    key: str
    value: Value
    default: Value
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The fields of our own configuration, all of them or the one that was set."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    fields: tuple[Setting, ...]
    audit: Anchor
