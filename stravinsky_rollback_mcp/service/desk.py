"""What every use case works at: configuration, store, audit, clock and ids, and the ways in for readers and writers."""

import contextlib
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from stravinsky_rollback_mcp.config import Config
from stravinsky_rollback_mcp.core import history
from stravinsky_rollback_mcp.core.codec.creation import Creation
from stravinsky_rollback_mcp.core.codec.journal import Journal, JournalTarget
from stravinsky_rollback_mcp.core.components import base_of
from stravinsky_rollback_mcp.core.model import (
    Actor,
    AuditDraft,
    AuditRecord,
    EventStatus,
    EventType,
    MadeBy,
    Scope,
    Target,
    TargetDigest,
    View,
)
from stravinsky_rollback_mcp.core.names import is_inside, plural, shown
from stravinsky_rollback_mcp.core.times import text_of
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit import AuditLog
from stravinsky_rollback_mcp.disk.audit_pending import PendingRecords, PermissiveLog, take_over
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError
from stravinsky_rollback_mcp.disk.ending import Ended, Ending, Recovery
from stravinsky_rollback_mcp.disk.execute import Executor, slots_beside
from stravinsky_rollback_mcp.disk.git import head_digest
from stravinsky_rollback_mcp.disk.journal import JournalFile
from stravinsky_rollback_mcp.disk.lock import exclusive
from stravinsky_rollback_mcp.disk.memory import Memory
from stravinsky_rollback_mcp.disk.place import Place, each_once, locate
from stravinsky_rollback_mcp.disk.quarantine import Quarantine
from stravinsky_rollback_mcp.disk.scan import Scan, scan_when_still
from stravinsky_rollback_mcp.disk.store import Store
from stravinsky_rollback_mcp.disk.updates import UpdatesFile
from stravinsky_rollback_mcp.errors import Code, RollbackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and through which door; ``is_agreed`` says that the person was asked themselves and said yes."""

    actor: Actor
    made_by: MadeBy
    is_agreed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the audit says that matters to one view, read once per request.

    ``unrecorded`` are folders that look like backups and that the audit never heard of; ``quarantined`` are the
    backups that were put aside, by version, with the record of their creation if there is one.
    """

    timeline: history.Timeline
    backups: Mapping[str, AuditRecord]
    unrecorded: tuple[str, ...] = ()
    quarantined: Mapping[str, AuditRecord | None] = field(default_factory=dict[str, AuditRecord | None])

    def record_of(self, version: str) -> AuditRecord | None:
        """The record of a backup's creation, put aside or not; None where the chain has none."""
        return self.backups.get(version) or self.quarantined.get(version)


class Desk:
    """One process's working place. Use cases are functions over it; they run in worker threads.

    ``rescue`` stores a tree that recovery found and nobody recorded; it is a use case, and so comes from outside.
    ``without_audit`` says that a person goes on where the audit cannot be written. ``wait`` lets seconds pass.
    """

    def __init__(
        self,
        config: Config,
        files: Files,
        rescue: "Rescue",
        *,
        without_audit: bool = False,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config = config
        self.wait = wait
        self._rescue = rescue
        self._memory = Memory()
        self.creations: dict[str, tuple[AuditRecord, Creation]] = {}  # what records of backups say, decoded once
        self.noticed: Mapping[tuple[str, str], str] = {}  # when a target was first seen to drift, by id and digest
        self._last: tuple[tuple[AuditRecord, ...], history.Timeline] | None = None
        self.files = files
        self.store = Store(config.store, files, config.view)
        self.quarantine = Quarantine(self.store.quarantine, files)
        self._pending = PendingRecords(self.store.recovery, files)
        given = (self.store.audit, files, config.policy.audit, self._stored_versions)
        self.audit = PermissiveLog(*given, self._pending) if without_audit else AuditLog(*given)
        self.journal = JournalFile(self.store.recovery, files)
        self.updates = UpdatesFile(self.store.recovery, files)

    def _stored_versions(self) -> tuple[str, ...]:
        """Every backup that there is, those in quarantine included."""
        return (*self.store.versions(), *self.quarantine.versions())

    @property
    def view(self) -> View:
        """The targets that this process sees."""
        return self.config.view

    # -- clock and ids ----------------------------------------------------------------------------------------

    def moment(self) -> datetime:
        """The present moment, UTC."""
        return datetime.now(UTC)

    def now(self) -> str:
        """The present moment as it is written everywhere."""
        return text_of(self.moment())

    def new_id(self) -> str:
        """A fresh id for an event or an operation."""
        return secrets.token_hex(8)

    def new_version(self, word: str) -> str:
        """A version name of ours that sorts by time: ``20261123T064012Z-auto-3f2a``, or ``…-3f2a.pre_undo``."""
        stamp = self.moment().strftime("%Y%m%dT%H%M%SZ")
        token = secrets.token_hex(2)
        return f"{stamp}-{token}{word}" if word.startswith(".") else f"{stamp}-{word}-{token}"

    # -- ways in ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self, caller: Caller) -> Generator[tuple[str, ...]]:
        """The only way to change anything: store open, lock held, nothing unfinished, audit writable.

        Yields notices about what recovery had to do, and about an audit that the person goes on without.
        """
        with self.holding(caller):
            recovery = self._recover(caller)
            self.store.sweep()
            audited = self._audited()
            ended = tuple(self._record_recovery(caller, item) for item in recovery.ended)
            yield (*ended, *(self.needs_a_person(journal) for journal in recovery.parked), *audited)

    @contextlib.contextmanager
    def holding(self, caller: Caller) -> Generator[None]:
        """The store open and its lock held, and nothing else looked at: for what has to work when all else does not."""
        self.store.open()
        holder = f"{caller.actor.kind} {caller.actor.name}".strip()
        with exclusive(
            f"{self.store.root}/lock",
            self.files,
            timeout_seconds=self.config.policy.safety.lock_timeout_seconds,
            holder=holder,
        ):
            yield

    def _recover(self, caller: Caller) -> Recovery:
        """Bring to an end what is unfinished; where nobody can know what that is, name the trees that were found."""
        try:
            return self._ending(caller).recover()
        except RollbackError as error:
            slots = slots_beside(self.places()) if error.code is Code.NEEDS_ATTENTION else ()
            if not slots:
                raise
            found = ", ".join(slots)
            raise RollbackError(
                error.code, f"{error.message} Found beside the targets: {found}.", error.hint
            ) from error

    def _audited(self) -> tuple[str, ...]:
        """The audit made sure of, or the person's word that it goes without; notices about what waits for it."""
        if not self.audit.check_writable():
            return (f"The audit cannot be written: what is done waits in {self.shown(self._pending.path)}.",)
        taken = take_over(self._pending, self.audit, self.now())
        return (f"The audit took over {plural(taken, 'record')} of what was done without it.",) if taken else ()

    def executor(self, caller: Caller) -> Executor:
        """What carries out plans, on behalf of a caller."""
        return Executor(
            ending=self._ending(caller),
            journal=self.journal,
            files=self.files,
            limits=self.config.limits,
            now=self.now,
        )

    def _ending(self, caller: Caller) -> Ending:

        def rescue(journal: Journal, target: JournalTarget, slot: str) -> None:
            self._rescue(self, caller, journal, target, slot)

        return Ending(
            journal=self.journal,
            files=self.files,
            audit=self.audit,
            limits=self.config.limits,
            memory=self._memory,
            now=self.now,
            new_id=self.new_id,
            rescue=rescue,
        )

    def _record_recovery(self, caller: Caller, recovered: Ended) -> str:
        ended = "finished" if recovered.finished else "taken back"
        self.record(
            AuditDraft(
                event_type=EventType.CRASH_RECOVERY,
                status=EventStatus.RECOVERED,
                actor=caller.actor,
                user_root=self.view.user_root,
                project=self.view.project,
                operation_id=recovered.operation_id,
                details={"interrupted": recovered.event_type, "ended": ended},
            )
        )
        return f"An interrupted {recovered.event_type} was {ended}; nothing is half done."

    def record(self, draft: AuditDraft) -> None:
        """Append to the audit."""
        self.audit.append(draft, now=self.now(), event_id=self.new_id())

    # -- looking ----------------------------------------------------------------------------------------------

    def places(self) -> tuple[Place, ...]:
        """Where the targets of this view really lie, each once; one that cannot be followed bears the reason."""
        parked = tuple(target for journal in self._parked() for target in journal.targets)
        return each_once([_unless_half_done(self._place(target), parked) for target in self.view.targets])

    def _place(self, target: Target) -> Place:
        """A place, or the refusal of one. A project's target that lies in ``.git`` is ``unsafe_path``.

        A repository can ship hooks first and a link into ``.git/hooks`` later; a rollback must not put the one there.
        """
        try:
            place = locate(self.view, target)
        except RollbackError as error:
            return Place(target=target, resolved=target.path, dangling=False, refusal=error)
        if target.scope is Scope.PROJECT and _is_in_git(place):
            refusal = RollbackError(
                Code.UNSAFE_PATH,
                f"{target.path} leads into .git, to {place.resolved}.",
                "replace that link by a real folder or file; git's own files are never read or replaced.",
            )
            return replace(place, refusal=refusal)
        return place

    def _parked(self) -> tuple[Journal, ...]:
        """What waits for a person. A damaged record stops writers; readers go on, and say so in a notice."""
        try:
            return tuple(self.journal.parked().values())
        except RollbackError:
            return ()

    def half_done(self, place: Place) -> tuple[str, ...]:
        """Every path at which something of a half done file target lies: what is live now, and what may be again."""
        slots = (slot for journal in self._parked() for target in journal.targets for slot in target.slots)
        beside = place.resolved.rpartition("/")[0]
        return (place.resolved, *(slot for slot in slots if slot.rpartition("/")[0] == beside))

    def look(self, places: tuple[Place, ...]) -> dict[str, Scan]:
        """What the live targets hold, by target id; the place of one that cannot be read bears the reason.

        Raises ``unstable_source`` when they will not hold still.
        """
        return {place.target.id: self._look_at(place, self._memory.blank()) for place in places}

    def glance(self) -> dict[str, Scan]:
        """As ``look``, at the whole view; files that did not change since the last look are not read again."""
        return {place.target.id: self._look_at(place, self._memory) for place in self.places()}

    def _look_at(self, place: Place, memory: Memory) -> Scan:
        try:
            return scan_when_still(place, self.config.limits, memory)
        except RollbackError as refusal:
            return scan_when_still(replace(place, refusal=refusal), self.config.limits)
        except ChangedWhileReadError as error:
            raise RollbackError(
                Code.UNSTABLE_SOURCE,
                f"{error} changed each time it was read.",
                "wait until whatever writes there is done, then try again.",
            ) from error

    def git_head(self) -> str:
        """Where the project's git repository stands, see ``head_digest``."""
        return "" if self.view.project is None else head_digest(self.view.project)

    def with_head(self, details: Mapping[str, object]) -> dict[str, object]:
        """The details of a record that bears a state, with where git stood at the time."""
        head = self.git_head()
        return {**details, **({"git_head": head} if head else {})}

    def known(self) -> Known:
        """The history of this view and the backups that exist, both authenticated by the chain."""
        if not self.store.exists():
            return Known(timeline=history.NOTHING_KNOWN, backups={})
        # In this order: a backup is in the audit before it is in the store, so one made meanwhile is never a stranger.
        existing = set(self.store.versions())
        recorded = self.audit.backups()
        backups = {version: record for version, record in recorded.items() if version in existing}
        unrecorded = tuple(sorted(existing - recorded.keys()))
        aside = (version for version in self.quarantine.versions() if version not in existing)
        return Known(
            timeline=self._timeline(),
            backups=backups,
            unrecorded=unrecorded,
            quarantined={version: recorded.get(version) for version in aside},
        )

    def _timeline(self) -> history.Timeline:
        """The history of this view, built again only when the audit has grown."""
        records = self.audit.history(self.view.user_root, self.view.project)
        if self._last is None or self._last[0] != records:
            self._last = (records, history.timeline(records, self.view))
        return self._last[1]

    def needs_a_person(self, journal: Journal) -> str:
        """What to say of an operation that waits for somebody to mend the cause."""
        paths = ", ".join(self.shown(target.path) for target in journal.targets)
        return (
            f"The {journal.outcome.event_type} of {journal.started_at} needs attention: it could be neither finished "
            f"nor taken back ({journal.problem or 'the cause was not recorded'}). {paths}: left alone until "
            f"`stravinsky-rollback recovery resume` ends it; {self.shown(self.journal.folder)}/RECOVERY.md says where "
            "everything lies."
        )

    def absolute(self, path: str) -> str:
        """The path that a caller means: absolute, below the home (``~/``), or relative to the project."""
        if path.startswith("~/"):
            return f"{self.view.home}/{path[2:]}".rstrip("/")
        if path.startswith("/"):
            return path.rstrip("/") or "/"
        return f"{self.view.project or self.view.home}/{path}".rstrip("/")

    def shown(self, path: str) -> str:
        """A path as people see it."""
        return shown(path, self.view.home)

    def told(self, text: str) -> str:
        """A sentence with paths in it as people see it: home as ``~``, on one line whatever the names in it are."""
        return shown(text.replace(f"{self.view.home}/", "~/"), "")

    def shown_target(self, target: Target) -> str:
        """A target's path as people see it."""
        return shown(target.path, self.view.home)


def _unless_half_done(place: Place, parked: tuple[JournalTarget, ...]) -> Place:
    """A target that belongs to a parked operation is left alone: what lies there may be half of something."""
    is_half_done = any(
        is_inside(place.resolved, target.resolved) or is_inside(target.resolved, place.resolved) for target in parked
    )
    if not is_half_done:
        return place
    refusal = RollbackError(
        Code.NEEDS_ATTENTION,
        f"{place.target.path} is part of an operation that could be neither finished nor taken back.",
        "end that with `stravinsky-rollback recovery resume`.",
    )
    return replace(place, refusal=refusal)


def _is_in_git(place: Place) -> bool:
    inside = place.resolved.removeprefix(base_of(place.target))  # a project's path is a real one
    return ".git" in inside.casefold().split("/")


Rescue = Callable[[Desk, Caller, Journal, JournalTarget, str], None]


def digests_of(seen: Mapping[str, Scan]) -> dict[str, str]:
    """The tree digests by target id; empty for what could not be looked at."""
    return {target: item.tree.digest for target, item in seen.items()}


def state_of(digests: Mapping[str, str]) -> tuple[TargetDigest, ...]:
    """Digests as an audit record bears them; an empty one says that the target could not be looked at."""
    return tuple(TargetDigest(target=target, digest=digest) for target, digest in digests.items())
