"""The values that every room shares. The words are those of the README's glossary.

Paths inside a tree are POSIX, relative, and ``str`` with surrogateescape: the name's bytes are
``path.encode("utf-8", "surrogateescape")``. Modes are ``st_mode & 0o777``. Times are UTC, RFC 3339, with ``Z``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """Whose configuration: the person's, or one project's."""

    USER = "user"
    PROJECT = "project"


class Kind(StrEnum):
    """What a target is on disk."""

    FILE = "file"
    DIRECTORY = "directory"


class EntryType(StrEnum):
    """What one entry of a tree is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


class TargetState(StrEnum):
    """What a backup knows of a target; absence is a state, and is restored as one."""

    PRESENT = "present"
    ABSENT = "absent"
    NOT_RECORDED = "not_recorded"


class BackupKind(StrEnum):
    """Why a backup was made."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"
    SAFETY = "safety"
    UPDATE = "update"


class MadeBy(StrEnum):
    """Through which door a backup was asked for."""

    TOOL = "tool"
    TERMINAL = "terminal"
    HOOK = "hook"


class BackupStatus(StrEnum):
    """What is known of a stored backup's health."""

    INTACT = "intact"
    DAMAGED = "damaged"
    QUARANTINED = "quarantined"
    UNSUPPORTED = "unsupported"


class EventType(StrEnum):
    """Every kind of record in the audit."""

    BACKUP_CREATED = "BACKUP_CREATED"
    BACKUP_FAILED = "BACKUP_FAILED"
    MANUAL_ROLLBACK = "MANUAL_ROLLBACK"
    AUTO_ROLLBACK = "AUTO_ROLLBACK"
    UNDO = "UNDO"
    REDO = "REDO"
    RECOVERY_ATTEMPT = "RECOVERY_ATTEMPT"
    UPDATE_START = "UPDATE_START"
    UPDATE_BLOCKED = "UPDATE_BLOCKED"
    UPDATE_SUCCESS = "UPDATE_SUCCESS"
    UPDATE_FAILED = "UPDATE_FAILED"
    VERIFICATION_FAILURE = "VERIFICATION_FAILURE"
    QUARANTINED = "QUARANTINED"
    PRUNED = "PRUNED"
    FORGOTTEN = "FORGOTTEN"
    ADOPTED = "ADOPTED"
    PINNED = "PINNED"
    UNPINNED = "UNPINNED"
    CONFIG_CHANGED = "CONFIG_CHANGED"
    CRASH_RECOVERY = "CRASH_RECOVERY"
    DRIFT_DETECTED = "DRIFT_DETECTED"
    REFUSED = "REFUSED"
    LOG_OPENED = "LOG_OPENED"


class EventStatus(StrEnum):
    """How the thing that a record tells of stands or ended."""

    STARTED = "started"
    SUCCESS = "success"
    FAILED = "failed"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"
    RECOVERED = "recovered"
    INTERRUPTED = "interrupted"


class Certainty(StrEnum):
    """How far the actor of a record is known."""

    SEEN = "seen"
    INFERRED = "inferred"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    """How much a finding matters: ``error`` is what Claude Code would not load or would lock or lose a guard over."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Effect(StrEnum):
    """What a finding does to a running session, where that decides whether somebody is asked first."""

    NONE = "none"
    LOCKS = "locks"
    GUARD_OFF = "guard_off"
    GUARD_BROKEN = "guard_broken"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check: where, what, and what to do; never a value of a setting.

    ``path`` is shown as people see it, ``line`` counts from 1. ``LOCKS`` is a hook that denies what it should judge,
    ``GUARD_OFF`` one whose script is not there or cannot be run, ``GUARD_BROKEN`` one whose script fails by what
    stands in it, ``DROPPED`` a settings file that Claude Code does not load.
    """

    check: str
    severity: Severity
    scope: Scope | None
    path: str
    line: int | None
    message: str
    fix: str
    effect: Effect = Effect.NONE


Attributes = tuple[tuple[str, bytes], ...]
MAX_ATTRIBUTES_BYTES = 1 << 16  # names and values of one entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name in a target's tree; the target itself is the entry with the empty path.

    ``attributes`` are the extended ones that a person set (``user.``), sorted; a link has none.
    """

    path: str
    type: EntryType
    mode: int
    size_bytes: int = 0
    sha256: str = ""
    link: str = ""
    mtime_ns: int = 0
    attributes: Attributes = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Something below a target that backups leave out on purpose: an excluded folder or a special file."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The recorded content of one target, entries sorted by raw path bytes.

    ``digest`` (from ``codec.tree_digest``) decides whether two trees are the same; it covers names, types, modes,
    link texts and bytes, not times. ``skipped`` is what the live tree has beside the entries.
    """

    state: TargetState
    digest: str
    entries: tuple[Entry, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def files(self) -> int:
        """How many regular files and links the tree holds."""
        return sum(1 for entry in self.entries if entry.type is not EntryType.DIRECTORY)

    @property
    def size_bytes(self) -> int:
        """The sum of the files' sizes."""
        return sum(entry.size_bytes for entry in self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One (scope, component) in a view: where it lies by its configured name, links not yet followed."""

    scope: Scope
    component: str
    kind: Kind
    path: str

    @property
    def id(self) -> str:
        """``scope.component``: the name in manifests, archives and audit records."""
        return f"{self.scope}.{self.component}"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one caller sees: the person's root, and one project's unless both are the same directory.

    ``project`` is the project's real path, which is its identity; ``project_root`` is its ``.claude``.
    """

    home: str
    user_root: str
    project: str | None
    project_root: str | None
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one capture or extraction."""

    max_file_size_bytes: int
    max_entries: int
    max_depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTarget:
    """One target as a manifest records it; ``archive`` is the file in the backup's folder, empty when absent.

    ``resolved_path`` is where the target really lay when links were followed.
    """

    scope: Scope
    component: str
    kind: Kind
    path: str
    resolved_path: str
    archive: str
    archive_sha256: str
    archive_size_bytes: int
    tree: Tree

    @property
    def id(self) -> str:
        """``scope.component``, as for a live target."""
        return f"{self.scope}.{self.component}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that one backup says of itself; its own SHA-256 stands in the audit, never in it."""

    version: str
    sequence: int
    kind: BackupKind
    made_by: MadeBy
    note: str
    created_at: str
    tool_version: str
    python_version: str
    system: str
    user_root: str
    project: str | None
    previous_version: str | None
    targets: tuple[StoredTarget, ...]

    def target(self, target_id: str) -> StoredTarget | None:
        """The recorded target of that id, or None when this backup never looked at it."""
        return next((target for target in self.targets if target.id == target_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asked. ``kind`` is ``mcp_client``, ``terminal``, ``hook`` or ``server``.

    Of a change that was not ours it is ``unknown``, or the ``session`` from whose call it seems to come.
    ``tool_use_id`` is Claude Code's name for the call, as it stands in the transcript; empty where none was given.
    """

    kind: str
    name: str = ""
    session_id: str = ""
    tool: str = ""
    tool_use_id: str = ""
    certainty: Certainty = Certainty.SEEN


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetDigest:
    """The tree digest of one target at one moment."""

    target: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditDraft:
    """A record before the log has given it its place.

    ``operation_id`` joins the intent of an operation with its outcome. ``state``, when not None, makes the record
    part of the history: the digests of the targets in view after (or at) the event. ``restores`` is set on undo
    and redo alone: the ``seq`` of the record whose state they brought back. ``details`` holds JSON values only,
    and never a value of a setting. ``carried`` are records of an earlier log that the log which this one opens still
    needs; they keep their own places.
    """

    event_type: EventType
    status: EventStatus
    actor: Actor
    user_root: str
    project: str | None
    version: str | None = None
    previous_version: str | None = None
    operation_id: str | None = None
    duration_seconds: float | None = None
    paths: tuple[str, ...] = ()
    error: str | None = None
    state: tuple[TargetDigest, ...] | None = None
    restores: int | None = None
    details: Mapping[str, object] | None = None
    carried: "tuple[AuditRecord, ...]" = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One line of the audit log: a draft with its place in the chain (``seq`` counts from 1)."""

    seq: int
    event_id: str
    timestamp: str
    draft: AuditDraft


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The place of a record in the chain; noted elsewhere, it makes any later rewrite provable."""

    seq: int
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What verification found: ``events`` good records up to ``head``; else the first bad one and why.

    ``checked`` is false where the person switched the check off: then nothing is known of the lines.
    """

    intact: bool
    events: int
    head: str
    verified_from_seq: int
    first_bad_seq: int | None = None
    problem: str | None = None
    checked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which records a page of the audit shows; times are RFC 3339 UTC, bounds included."""

    event_type: EventType | None = None
    version: str | None = None
    status: EventStatus | None = None
    path: str | None = None
    since: str | None = None
    until: str | None = None
    before_seq: int | None = None
    limit: int = 50
