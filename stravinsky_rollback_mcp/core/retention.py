"""Which backups may go, and why each of the others stays: one function over what is stored, the limits and the time.

Limits of number hold within one view, so that no project pushes out another's; the limit of size holds for the store.
What must never go comes before every limit, so a limit may be exceeded by it. Damaged backups do not count, and stay.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from stravinsky_rollback_mcp.core.history import Timeline
from stravinsky_rollback_mcp.core.model import BackupKind, MadeBy, Scope
from stravinsky_rollback_mcp.core.policy import BackupPolicy
from stravinsky_rollback_mcp.core.times import DAY_SECONDS, believable_ages, seconds_between

UNDO_STEPS = 10
_SHORTEST_GAP_DAYS = 30

# The tree of a target: whose it is (user root or project), the target's id, the digest.
Held = tuple[str, str, str]
# Whose targets a backup holds: user root and project.
Owner = tuple[str, str | None]


class Reason(StrEnum):
    """Why a backup stays or goes; those that name a limit are why it goes."""

    DAMAGED = "damaged"
    PINNED = "pinned"
    NEWEST = "newest"
    IN_USE = "in_use"
    WITHIN_UNDO = "within_undo"
    MADE_BY_PERSON = "made_by_person"
    CLOCK_IN_DOUBT = "clock_in_doubt"
    WITHIN_LIMITS = "within_limits"
    MAX_VERSIONS = "backup.max_versions"
    MAX_AUTOMATIC = "backup.max_automatic"
    MAX_TOTAL_SIZE = "backup.max_total_size_mb"
    RETENTION_DAYS = "backup.retention_days"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A backup as retention sees it. ``pieces`` are its files by what is the same for two names of one file: bytes."""

    version: str
    sequence: int
    kind: BackupKind
    made_by: MadeBy
    owner: Owner
    created_at: str
    holds: frozenset[Held]
    pieces: Mapping[tuple[int, int], int]
    is_intact: bool = True
    is_pinned: bool = False
    is_in_use: bool = False

    @property
    def is_named(self) -> bool:
        """Whether a person or a model asked for this very backup; the others are made by themselves."""
        return self.kind is BackupKind.MANUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of one backup."""

    version: str
    is_kept: bool
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of each backup, newest first, and which limits are exceeded all the same.

    A limit of number is exceeded in earnest where only the caller may not remove what would have to go; one of size
    wherever it is.
    """

    decisions: tuple[Decision, ...]
    exceeded: tuple[Reason, ...]

    @property
    def removed(self) -> tuple[str, ...]:
        """The versions that go."""
        return tuple(decision.version for decision in self.decisions if not decision.is_kept)


def holds_of(owner: Owner, digests: Mapping[str, str]) -> frozenset[Held]:
    """The trees that these digests by target id mean."""
    user_root, project = owner
    return frozenset(
        (user_root if target.startswith(f"{Scope.USER}.") else project or "", target, digest)
        for target, digest in digests.items()
    )


def within_undo(known: Timeline, owner: Owner, held: frozenset[Held], steps: int) -> frozenset[Held]:
    """The trees that some backup holds and that so many steps of undo, or of redo, of one view may ask for."""
    needed: set[Held] = set()
    if not known.states:
        return frozenset()
    # The state that the view is at comes back when something else has changed it, and is no step yet.
    for states in (known.states[known.cursor :: -1], known.states[known.cursor + 1 :]):
        here, left = known.states[known.cursor].digests, steps
        for state in states:
            trees = holds_of(owner, state.digests)
            needed |= trees & held
            # Undo passes over what no backup holds, and over what is as it is already: neither is a step.
            if trees <= held and not state.equals(here):
                here = {**here, **state.digests}
                left -= 1
            if not left:
                break
    return frozenset(needed)


def longest_gap_seconds(days: int) -> float:
    """How much of the time between two records counts where things are kept for so many days.

    More than that may be a clock that was set ahead, and must not empty the store at once. Nothing is lost when it was
    a long pause: what is old goes a little later.
    """
    return max(days / 4, _SHORTEST_GAP_DAYS) * DAY_SECONDS


def decide(
    backups: Iterable[Stored], policy: BackupPolicy, *, now: str, reach: frozenset[Held], evictor: MadeBy
) -> Verdict:
    """What becomes of each backup once ``evictor`` made the newest; ``reach`` are the trees that undo may ask for.

    A clock that was set far ahead makes no backup old: see ``longest_gap_seconds``.
    """
    ordered = sorted(backups, key=lambda backup: backup.sequence)
    choice = _Choice([backup for backup in ordered if backup.is_intact], reach, evictor)
    moments = [backup.created_at for backup in ordered]
    ages = believable_ages(moments, now, longest_gap_seconds(policy.retention_days))
    choice.drop_old(policy.retention_days, now, dict(zip((backup.version for backup in ordered), ages, strict=True)))
    choice.drop_surplus(policy)
    choice.drop_large(policy.max_total_size_mb << 20)
    decisions = tuple(choice.decision(backup) for backup in reversed(ordered))
    return Verdict(decisions=decisions, exceeded=tuple(sorted(choice.exceeded)))


class _Choice:
    """The choice in the making; ``left`` are the intact backups that stay so far, oldest first."""

    def __init__(self, intact: Collection[Stored], reach: frozenset[Held], evictor: MadeBy) -> None:
        self.left = {backup.version: backup for backup in intact}
        self.exceeded: set[Reason] = set()
        self._newest = {backup.owner: backup.version for backup in intact}
        self._reach = reach
        self._evictor = evictor
        self._reasons: dict[str, Reason] = {}
        self._holders = Counter(tree for backup in intact for tree in backup.holds & reach)
        self._names = Counter(piece for backup in intact for piece in backup.pieces)
        self._total_bytes = sum({piece: size for backup in intact for piece, size in backup.pieces.items()}.values())

    def decision(self, backup: Stored) -> Decision:
        """What became of a backup, intact or not."""
        if not backup.is_intact:
            return Decision(version=backup.version, is_kept=True, reason=Reason.DAMAGED)
        reason = self._always(backup) or self._reasons.get(backup.version, Reason.WITHIN_LIMITS)
        return Decision(version=backup.version, is_kept=backup.version in self.left, reason=reason)

    def drop_old(self, days: int, now: str, ages: Mapping[str, float]) -> None:
        """What was made more than so many days ago, by ``ages`` in seconds; not what only the clock calls old."""
        for backup in list(self.left.values()):
            if ages[backup.version] > days * DAY_SECONDS:
                self._may_drop(backup, Reason.RETENTION_DAYS)
            elif seconds_between(backup.created_at, now) > days * DAY_SECONDS:
                self._reasons[backup.version] = Reason.CLOCK_IN_DOUBT

    def drop_surplus(self, policy: BackupPolicy) -> None:
        """In each view the oldest of those that a name was given to, and of the others; pinned ones are beside that."""
        groups: dict[tuple[Owner, bool], list[Stored]] = {}
        for backup in self.left.values():
            if not backup.is_pinned:
                groups.setdefault((backup.owner, backup.is_named), []).append(backup)
        for (_, is_named), group in groups.items():
            limit = policy.max_versions if is_named else policy.max_automatic
            reason = Reason.MAX_VERSIONS if is_named else Reason.MAX_AUTOMATIC
            surplus, is_refused = len(group) - limit, False
            for backup in group:
                if surplus <= 0:
                    break
                surplus -= self._may_drop(backup, reason)
                is_refused |= self._reasons.get(backup.version) is Reason.MADE_BY_PERSON
            if surplus > 0 and is_refused:
                self.exceeded.add(reason)

    def drop_large(self, limit_bytes: int) -> None:
        """The oldest until all files fit, those without a name first; then back come those that fit after all."""
        dropped: list[Stored] = []
        for backup in sorted(self.left.values(), key=lambda backup: backup.is_named):
            if self._total_bytes <= limit_bytes:
                break
            if self._may_drop(backup, Reason.MAX_TOTAL_SIZE):
                dropped.append(backup)
        if self._total_bytes > limit_bytes:
            self.exceeded.add(Reason.MAX_TOTAL_SIZE)
            return
        for backup in reversed(dropped):
            own = sum(size for piece, size in backup.pieces.items() if not self._names[piece])
            if self._total_bytes + own <= limit_bytes:
                self._take_back(backup, own)

    def _always(self, backup: Stored) -> Reason | None:
        """Why a backup stays whoever asks and whatever else is there."""
        if backup.is_pinned:
            return Reason.PINNED
        if self._newest[backup.owner] == backup.version:
            return Reason.NEWEST
        return Reason.IN_USE if backup.is_in_use else None

    def _may_drop(self, backup: Stored, reason: Reason) -> bool:
        """Drop a backup unless something protects it; either way the reason is noted."""
        protection = self._always(backup)
        if protection is None and any(self._holders[tree] == 1 for tree in backup.holds & self._reach):
            protection = Reason.WITHIN_UNDO
        if protection is None and self._evictor is not MadeBy.TERMINAL and backup.made_by is MadeBy.TERMINAL:
            protection = Reason.MADE_BY_PERSON
        self._reasons[backup.version] = protection or reason
        if protection is None:
            del self.left[backup.version]
            self._holders.subtract(backup.holds & self._reach)
            self._names.subtract(backup.pieces.keys())
            self._total_bytes -= sum(size for piece, size in backup.pieces.items() if not self._names[piece])
        return protection is None

    def _take_back(self, backup: Stored, own_bytes: int) -> None:
        del self._reasons[backup.version]
        self.left[backup.version] = backup
        self._holders.update(backup.holds & self._reach)
        self._names.update(backup.pieces.keys())
        self._total_bytes += own_bytes
