"""Recovery when backups themselves are damaged: the newest that is whole, else the best of several, else by hand."""

import shlex
from contextlib import suppress
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core.model import AuditRecord, EventType, Kind, Manifest, StoredTarget, Target, TargetState
from stravinsky_rollback_mcp.core.outcome import Restored
from stravinsky_rollback_mcp.disk import archive
from stravinsky_rollback_mcp.disk.salvage import Remains, remains
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.checks import check_target
from stravinsky_rollback_mcp.service.desk import Caller, Desk
from stravinsky_rollback_mcp.service.intent import Intent, intend_rollback, plan_of
from stravinsky_rollback_mcp.service.look import Look, steps_of
from stravinsky_rollback_mcp.service.restore import Consent, restore
from stravinsky_rollback_mcp.service.stored import (
    backups_of_view,
    is_of_view,
    open_authentic,
    read_authentic,
    read_authentic_aside,
    recorded_digests,
)

_MAX_OFFERED = 3  # of one target, newest first


def emergency(desk: Desk, caller: Caller, consent: Consent) -> Restored:
    """Bring back the best that is left.

    Raises ``needs_attention`` where nothing is; RECOVERY.md then says what a person can do.
    """
    return restore(desk, caller, lambda look: _intend(desk, look), consent)


def _intend(desk: Desk, look: Look) -> Intent:
    live = {target: digest for target, digest in look.digests.items() if digest}
    passed = [f"{version} is passed over: it is in quarantine." for version in _aside(desk, look)]
    same: str | None = None
    for version, record in backups_of_view(desk, look.known):
        problem = _problem(desk, look, version)
        if problem:
            passed.append(f"{version} is passed over: {problem}.")
        elif recorded_digests(record) == live:
            same = same or version
        else:
            intent = intend_rollback(desk, look, version, (), None, operation=EventType.RECOVERY_ATTEMPT)
            return replace(intent, notices=(*passed, *intent.notices))
    if same is not None:
        # Every intact backup holds what is live: there is nothing else to go back to.
        intent = intend_rollback(desk, look, same, (), None, operation=EventType.RECOVERY_ATTEMPT)
        return replace(intent, notices=(*passed, *intent.notices))
    return _best_of_several(desk, look, tuple(passed))


def _aside(desk: Desk, look: Look) -> dict[str, AuditRecord]:
    """The backups of this view that are in quarantine and that the chain knows, by version, newest first."""
    found = look.known.quarantined
    own = {version: record for version, record in found.items() if record is not None and is_of_view(desk, record)}
    return dict(sorted(own.items(), key=lambda item: item[1].seq, reverse=True))


def _problem(desk: Desk, look: Look, version: str) -> str:
    """What is wrong with a backup; empty when it reads back whole."""
    try:
        return "; ".join(desk.store.verify(open_authentic(desk, look.known, version)))
    except RollbackError as error:
        return error.message.rstrip(".")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where one target comes from: the newest backup whose record of it is intact, be it in quarantine."""

    version: str
    seq: int
    stored: StoredTarget
    is_aside: bool


def _best_of_several(desk: Desk, look: Look, passed: tuple[str, ...]) -> Intent:
    sources: dict[str, _Source] = {}
    separate = [place.target for place in look.places.values() if place.same_as is None]
    aside = _aside(desk, look)
    candidates = [*backups_of_view(desk, look.known), *aside.items()]
    for version, record in sorted(candidates, key=lambda item: item[1].seq, reverse=True):
        with suppress(RollbackError):  # it was named above
            read = read_authentic_aside if version in aside else read_authentic
            manifest = read(desk, look.known, version).manifest
            for target in separate:
                stored = _intact(desk, manifest, target.id)
                if stored is not None and target.id not in sources:
                    sources[target.id] = _Source(
                        version=version, seq=record.seq, stored=stored, is_aside=version in aside
                    )
    if not sources:
        raise _by_hand(desk, look)
    recorded = {target_id: (source.version, source.stored) for target_id, source in sources.items()}
    steps = steps_of(desk, look, recorded, dict.fromkeys(recorded), recorded)
    findings = check_target(desk, look, steps)
    versions = {target_id: source.version for target_id, source in sources.items()}
    left = [desk.shown_target(target) for target in separate if target.id not in sources]
    notices = [
        f"{desk.shown_target(target)} comes from {versions[target.id]}"
        f"{', which is in quarantine: this part of it is intact' if sources[target.id].is_aside else ''}."
        for target in separate
        if target.id in sources
    ]
    notices += [f"No intact backup holds {path}; it stays as it is." for path in left]
    return Intent(
        plan=plan_of(
            desk,
            look,
            EventType.RECOVERY_ATTEMPT,
            steps,
            {"sources": versions},
            look.known.timeline,
            min(source.seq for source in sources.values()),
            findings,
        ),
        findings=findings,
        to_version=None,
        goal="the newest that is intact of each",
        notices=(*passed, *notices),
    )


def _intact(desk: Desk, manifest: Manifest, target_id: str) -> StoredTarget | None:
    stored = manifest.target(target_id)
    if stored is None or stored.tree.state is TargetState.NOT_RECORDED:
        return None
    if stored.tree.state is TargetState.PRESENT:
        try:
            archive.verify(desk.store.archive_path(manifest.version, stored), stored)
        except RollbackError:
            return None
    return stored


# -- by hand --------------------------------------------------------------------------------------------------------


def _by_hand(desk: Desk, look: Look) -> RollbackError:
    """The refusal when nothing is intact; what a person can do is in its lines and in RECOVERY.md."""
    found = tuple(
        item
        for item in remains(desk.store.backups, f"{desk.store.root}/quarantine")
        if _may_be_of_view(desk, look, item.version)
    )
    lines = [line for target in desk.view.targets for line in _steps(target, found)]
    text = "\n".join(
        (
            "# No backup is intact\n",
            "Nothing here was authenticated: look at what each command unpacks before you use it. The newest comes",
            "first. Move what is there now out of the way, then type in a terminal:\n",
            *(lines or ["Nothing in the store can be read."]),
            "",
        )
    )
    with suppress(RollbackError):
        # A store that cannot be written is one more reason to tell it here and now.
        desk.store.open()
        desk.journal.explain(text)
    return RollbackError(
        Code.NEEDS_ATTENTION,
        "no backup of this configuration is intact, not even in part; nothing was changed.",
        f"what can still be read by hand is below and in {desk.shown(desk.store.recovery)}/RECOVERY.md."
        if lines
        else "look for copies of the store elsewhere: nothing in this one can be read.",
        lines=tuple(lines),
    )


def _may_be_of_view(desk: Desk, look: Look, version: str) -> bool:
    """Not when anything readable says that a backup was made elsewhere."""
    record = look.known.record_of(version)
    if record is not None:
        return is_of_view(desk, record)
    try:
        manifest = desk.store.read(version).manifest
    except RollbackError:
        return True
    return (manifest.user_root, manifest.project) == (desk.view.user_root, desk.view.project)


def _steps(target: Target, found: tuple[Remains, ...]) -> list[str]:
    own = [item for item in found if item.target_id == target.id]
    ordered = [item for item in own if item.is_whole] + [item for item in own if not item.is_whole]
    return [_command(target, item) for item in ordered[:_MAX_OFFERED]]


def _command(target: Target, item: Remains) -> str:
    place, source = shlex.quote(target.path), shlex.quote(item.path)
    if target.kind is Kind.FILE:
        return f"cp {source} {place}"
    note = "" if item.is_whole else "  # damaged: tar brings what it can, then complains"
    return f"mkdir -p {place} && tar xzf {source} -C {place}{note}"
