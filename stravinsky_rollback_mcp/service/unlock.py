"""The way out of a session in which a hook denies every tool because it cannot do its work.

Its script comes back from the newest backup that has a working one. Where none has, that hook alone is taken out of the
settings, byte for byte as it stands there. Everything else stays, a broken hook that denies nothing included.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.checks.hooks_syntax import Locking, locking
from stravinsky_rollback_mcp.core.history import NOTHING_KNOWN
from stravinsky_rollback_mcp.core.model import EntryType, EventType, StoredTarget
from stravinsky_rollback_mcp.core.names import capped
from stravinsky_rollback_mcp.core.outcome import Restored
from stravinsky_rollback_mcp.core.plan import Step
from stravinsky_rollback_mcp.core.pointer import Pointer
from stravinsky_rollback_mcp.core.settings import at, items, load
from stravinsky_rollback_mcp.core.splice import document, splice
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.checks import check_target
from stravinsky_rollback_mcp.service.desk import Caller, Desk
from stravinsky_rollback_mcp.service.evidence import configuration
from stravinsky_rollback_mcp.service.intent import Intent, plan_of
from stravinsky_rollback_mcp.service.look import Look, below, live_file, steps_of, target_of
from stravinsky_rollback_mcp.service.picture import Picture, live_picture, planned_picture
from stravinsky_rollback_mcp.service.restore import Consent, restore
from stravinsky_rollback_mcp.service.stored import backups_of_view, open_authentic

_MAX_BACKUPS = 100  # of which scripts are tried, newest first


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cure:
    """Scripts of one target as one backup has them; with them in place ``cured`` hooks no longer deny."""

    version: str
    stored: StoredTarget
    paths: tuple[str, ...]
    cured: frozenset[Locking]


def unlock(desk: Desk, caller: Caller, consent: Consent) -> Restored:
    """Make every hook that denies for want of a working script let pass again. Raises ``not_found`` for none."""
    return restore(desk, caller, lambda look: _intend(desk, look), consent)


def _intend(desk: Desk, look: Look) -> Intent:
    locked = _locking(desk, live_picture(desk, look))
    if not locked:
        raise RollbackError(
            Code.NOT_FOUND,
            "no hook denies everything for want of a working script.",
            "`stravinsky-rollback check` shows what else is wrong; a hook that denies on purpose is brought back to "
            "what it was by `stravinsky-rollback undo`, or by going back to a backup.",
        )
    cures = _cures(desk, look, locked)
    cured = frozenset[Locking]().union(*(cure.cured for cure in cures.values()))
    lifted = [hook for hook in locked if hook not in cured]
    steps = _steps(desk, look, cures, lifted)
    findings = check_target(desk, look, steps)
    arguments = {"unlock": {target_id: cure.version for target_id, cure in cures.items()}}
    notices = [
        f"{desk.shown(f'{target_of(desk, target_id).path}/{path}')} comes back from {cure.version}: it works there."
        for target_id, cure in cures.items()
        for path in cure.paths
    ]
    notices += [
        f"The {hook.event} hook at {hook.path}#/{'/'.join(hook.pointer)} goes: {_why_lifted(desk, look, hook)}"
        for hook in lifted
    ]
    return Intent(
        plan=plan_of(desk, look, EventType.RECOVERY_ATTEMPT, steps, arguments, NOTHING_KNOWN, 0, findings),
        to_version=None,
        goal="what locks nothing",
        findings=findings,
        notices=capped(notices),
    )


def _why_lifted(desk: Desk, look: Look, hook: Locking) -> str:
    scripts = frozenset(() if hook.script is None else (hook.script,))
    for place in look.places.values():
        if place.refusal is not None and below(place, scripts):
            return f"its script is out of reach. {desk.told(place.refusal.message)} Mend that instead to keep it."
    return "no backup has a script of it that works."


def _locking(desk: Desk, picture: Picture) -> tuple[Locking, ...]:
    return locking(configuration(desk, picture, is_restore=True))


def _steps(desk: Desk, look: Look, cures: Mapping[str, _Cure], lifted: Iterable[Locking]) -> tuple[Step, ...]:
    sources = {target_id: (cure.version, cure.stored) for target_id, cure in cures.items()}
    chosen = {target_id: cure.paths for target_id, cure in cures.items()}
    made: dict[str, bytes] = {}
    for target_id, pointers in _pointers(desk, look, lifted).items():
        made[target_id] = splice(document(live_file(desk, look, target_id), target_id), None, pointers)
        sources[target_id] = ("", _as_stored(desk, look, target_id))
    return steps_of(desk, look, sources, chosen, {*chosen, *made}, made)


# -- from backups ---------------------------------------------------------------------------------------------------


def _cures(desk: Desk, look: Look, locked: tuple[Locking, ...]) -> dict[str, _Cure]:
    """For each target with broken scripts the newest backup that cures most of the hooks which name them."""
    scripts = frozenset(hook.script for hook in locked if hook.script is not None)
    found: dict[str, _Cure] = {}
    for target_id, place in look.places.items():
        paths = below(place, scripts) if place.refusal is None else frozenset[str]()
        if paths:
            cure = _best(desk, look, target_id, paths, locked)
            if cure is not None:
                found[target_id] = cure
    return found


def _best(desk: Desk, look: Look, target_id: str, paths: frozenset[str], locked: tuple[Locking, ...]) -> _Cure | None:
    best: _Cure | None = None
    tried: set[tuple[object, ...]] = set()
    for version, _ in backups_of_view(desk, look.known)[:_MAX_BACKUPS]:
        try:
            stored = open_authentic(desk, look.known, version).manifest.target(target_id)
        except RollbackError:
            continue
        entries = [] if stored is None else [entry for entry in stored.tree.entries if entry.path in paths]
        held = [entry for entry in entries if entry.type is not EntryType.DIRECTORY]
        content = tuple((entry.path, entry.mode, entry.sha256, entry.link) for entry in held)
        if stored is None or not held or content in tried:
            continue
        tried.add(content)
        cure = _tried(desk, look, version, stored, tuple(entry.path for entry in held), locked)
        if cure is not None and (best is None or len(cure.cured) > len(best.cured)):
            best = cure
    return best


def _tried(
    desk: Desk, look: Look, version: str, stored: StoredTarget, paths: tuple[str, ...], locked: tuple[Locking, ...]
) -> _Cure | None:
    """What bringing back these scripts would cure; None for nothing, or where it cannot be done."""
    cure = _Cure(version=version, stored=stored, paths=paths, cured=frozenset())
    try:
        left = _locking(desk, planned_picture(desk, look, _steps(desk, look, {stored.id: cure}, ())))
    except RollbackError:
        return None
    cured = frozenset(locked) - frozenset(left)
    return _Cure(version=version, stored=stored, paths=paths, cured=cured) if cured else None


# -- out of the settings --------------------------------------------------------------------------------------------


def _pointers(desk: Desk, look: Look, lifted: Iterable[Locking]) -> dict[str, list[Pointer]]:
    """What is to go of each settings file: a hook, or the group in which it would leave none."""
    found: dict[str, list[Pointer]] = {}
    for hook in lifted:
        found.setdefault(hook.target_id, []).append(hook.pointer)
    return {
        target_id: _without_empty_groups(live_file(desk, look, target_id), pointers)
        for target_id, pointers in found.items()
    }


def _without_empty_groups(content: bytes | None, pointers: list[Pointer]) -> list[Pointer]:
    """A group without hooks makes Claude Code drop the whole file where it may be a guard."""
    settings = load(content) or {}
    chosen: list[Pointer] = []
    for pointer in pointers:
        group = pointer[:3]  # hooks, the event, the group's place
        going = [other for other in pointers if other[:3] == group]
        groups = items(at(settings, ("hooks", pointer[1])))
        hooks = items(at({"group": groups[int(pointer[2])]}, ("group", "hooks")))
        chosen.append(group if len(going) == len(hooks) else pointer)
    return list(dict.fromkeys(chosen))


def _as_stored(desk: Desk, look: Look, target_id: str) -> StoredTarget:
    """A live file in the form of a stored one: nothing of it comes from a backup."""
    target = target_of(desk, target_id)
    return StoredTarget(
        scope=target.scope,
        component=target.component,
        kind=target.kind,
        path=target.path,
        resolved_path=look.places[target_id].resolved,
        archive="",
        archive_sha256="",
        archive_size_bytes=0,
        tree=look.seen[target_id].tree,
    )
