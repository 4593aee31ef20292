"""What each use case returns. ``schema`` shows the same fields to callers; their meaning is described there."""

from dataclasses import dataclass

from stravinsky_rollback_mcp.core.model import (
    Anchor,
    AuditRecord,
    BackupKind,
    BackupStatus,
    Chain,
    Finding,
    MadeBy,
    Scope,
    TargetState,
)
from stravinsky_rollback_mcp.core.plan import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSummary:
    """One target of a backup."""

    scope: Scope
    component: str
    path: str
    state: TargetState
    files: int
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One stored backup; ``targets`` is None when no detail was asked for."""

    version: str
    created_at: str
    kind: BackupKind
    made_by: MadeBy
    note: str
    project: str | None
    files: int
    size_bytes: int
    stored_bytes: int
    status: BackupStatus
    problems: tuple[str, ...]
    pinned: bool
    changed: tuple[str, ...]
    targets: tuple[TargetSummary, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A live target that differs from the last known state, and not because of us."""

    target: str
    path: str
    noticed_at: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """What is live now: the version that equals it (None when none does), and what drifted."""

    version: str | None
    drift: tuple[Drift, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupCreated:
    """A backup was made, or the newest one already holds this state."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    backup: Backup
    created: bool
    pruned: tuple[str, ...]
    warnings: tuple[str, ...]
    audit: Anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupList:
    """One page of backups, newest first."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    backups: tuple[Backup, ...]
    next_cursor: str | None
    total: int
    current: Current
    user_root: str
    project_root: str | None
    now: str
    store: str
    server_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """What an undo or redo took back or brought again; ``project`` is set when another project's session made it."""

    operation: str
    at: str
    project: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a rollback, undo or redo did, or would do (``applied`` false)."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    applied: bool
    already_at_target: bool
    plan_id: str
    from_version: str | None
    to_version: str | None
    safety_backup: str | None
    changes: tuple[Change, ...]
    security_changes: tuple[str, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    duration_ms: int
    audit: Anchor
    undo: str
    undone: Undone | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What differs from ``version`` to ``other``; ``plan_id`` is None where going back is not offered."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    version: str
    other: str
    changes: tuple[Change, ...]
    not_compared: tuple[str, ...]
    diff: str
    next_cursor: str | None
    plan_id: str | None
    security_changes: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """One page of the audit, newest first, and whether the whole chain is intact."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    events: tuple[AuditRecord, ...]
    next_cursor: str | None
    chain: Chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What reading backups back found; ``ok`` when each is intact."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    ok: bool
    backups: tuple[Backup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the checks found; ``ok`` when nothing is damaged and no finding is an error."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    ok: bool
    integrity: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """What recovery found to bring to an end."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    recovered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The operation in flight, or left unfinished; ``needs_attention`` when only a person can end it."""

    operation_id: str
    event_type: str
    phase: str
    started_at: str
    paths: tuple[str, ...]
    needs_attention: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """An update that was begun; ``backup`` holds the state before it."""

    version: str
    started_at: str
    backup: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """The folders that this view looks at, home shown as ``~``."""

    user_root: str
    project_root: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSize:
    """Where the store is and what it holds; a hard-linked archive counts once."""

    path: str
    backups: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSize:
    """How long the audit is, and its head."""

    events: int
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything at a glance."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    current: Current
    roots: Roots
    store: StoreSize
    operation: Operation | None
    update: Update | None
    audit: AuditSize


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditBegun:
    """What beginning the audit anew came to; ``begun`` is false where the chain was intact."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    begun: bool
    kept_in: str | None
    adopted: tuple[str, ...]
    audit: Anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainVerified:
    """What a check of the whole audit chain found."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    chain: Chain


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateBegun:
    """An update is open; ``backup`` holds the state before it."""

    summary: str
    next_step: str
    notices: tuple[str, ...]
    backup: Backup
    findings: tuple[Finding, ...]
    update: Update
    audit: Anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class LostFile:
    """A file that the person had changed since the last update, and what this update did with it.

    ``action`` is ``overwritten`` or ``deleted``; ``bring_back`` is the command that brings it back.
    """

    path: str
    action: str
    bring_back: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateFinished:
    """How an update ended: ``outcome`` is ``verified``, ``rolled_back`` or ``needs_attention``.

    ``rollback`` is None when nothing was taken back; ``backup`` then names the backup that holds the result, where
    there is one. ``lost`` is empty when everything was taken back.
    """

    summary: str
    next_step: str
    notices: tuple[str, ...]
    outcome: str
    findings: tuple[Finding, ...]
    rollback: Restored | None
    update: Update
    backup: str | None
    lost: tuple[LostFile, ...]
    audit: Anchor
