"""Gathering evidence for the checks, and what they find in a configuration as it is or would be.

Two ways in, for whoever needs findings::

    check_live(desk, look)            what is live, judged as something new: before and after an update, `check`
    check_target(desk, look, plan)    what a plan would leave: live targets with its steps' desired trees over them

Both return findings, the gravest first. ``core.checks.worse(before, after)`` tells which findings are new and weigh: a
locked session, a guard switched off, a settings file that Claude Code does not load. Findings on what is live inform;
they never block going back.
"""

import posixpath
import secrets
from collections.abc import Iterable

from stravinsky_rollback_mcp.core import checks
from stravinsky_rollback_mcp.core.checks.evidence import Capacity, Denied, Evidence, Locked, Space, StoredHealth
from stravinsky_rollback_mcp.core.model import BackupKind, EntryType, Finding, TargetState, Tree
from stravinsky_rollback_mcp.core.plan import Plan
from stravinsky_rollback_mcp.disk import probe
from stravinsky_rollback_mcp.errors import RollbackError
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.look import Look
from stravinsky_rollback_mcp.service.stored import backups_of_view, open_authentic, recorded

_MEGABYTE = 1 << 20
_PERCENT = 100


def check_live(desk: Desk, look: Look) -> tuple[Finding, ...]:
    """What the checks find in the live configuration, in the store, and on the machine."""
    trees = {target_id: seen.tree for target_id, seen in look.seen.items()}
    evidence = Evidence(
        spaces=_spaces(desk, look, trees),
        denied=_denied(desk, look, trees),
        locked=_locked(desk, look, wait_seconds=0),
        capacity=_capacity(desk, look),
        backups=_sample_of_backups(desk, look),
    )
    return checks.findings(evidence)


def check_target(desk: Desk, look: Look, plan: Plan) -> tuple[Finding, ...]:
    """What the checks find in the configuration that a plan would leave, and in the way of carrying it out."""
    trees = {step.target.id: step.desired for step in plan.changes}
    evidence = Evidence(
        is_restore=True,
        spaces=_spaces(desk, look, trees),
        denied=_denied(desk, look, trees),
        locked=_locked(desk, look, wait_seconds=0),
    )
    return checks.findings(evidence)


# -- the machine ----------------------------------------------------------------------------------------------------


def _spaces(desk: Desk, look: Look, trees: dict[str, Tree]) -> tuple[Space, ...]:
    """The store's file system, which takes a backup of all that is live, and those on which ``trees`` are staged."""
    live = [seen.tree for seen in look.seen.values()]
    wanted = [(desk.store.root, live)]
    wanted += [(look.places[target_id].resolved, [tree]) for target_id, tree in trees.items()]
    found: dict[int, Space] = {}
    for path, needed in wanted:
        room = probe.room(path)
        before = found.get(room.device)
        found[room.device] = Space(
            path=desk.shown(room.path) if before is None else before.path,
            free_bytes=room.free_bytes,
            free_inodes=room.free_inodes,
            needed_bytes=sum(tree.size_bytes for tree in needed) + (0 if before is None else before.needed_bytes),
            needed_inodes=sum(len(tree.entries) for tree in needed) + (0 if before is None else before.needed_inodes),
            threshold_bytes=desk.config.policy.safety.disk_space_threshold_mb * _MEGABYTE,
        )
    return tuple(found.values())


def _denied(desk: Desk, look: Look, trees: Iterable[str]) -> tuple[Denied, ...]:
    found: list[Denied] = []
    for target_id in trees:
        place, live = look.places[target_id], look.seen[target_id].tree
        folders = [posixpath.dirname(place.resolved)] if live.state is not TargetState.NOT_RECORDED else []
        folders += [
            posixpath.join(place.resolved, entry.path) for entry in live.entries if entry.type is EntryType.DIRECTORY
        ]
        found.extend(
            Denied(scope=place.target.scope, path=desk.shown(folder), is_readable=True)
            for folder in folders
            if not probe.can_replace_in(folder)
        )
    return tuple(found)


def _locked(desk: Desk, look: Look, *, wait_seconds: float) -> tuple[Locked, ...]:
    scopes = {
        posixpath.join(look.places[target_id].resolved, entry.path).rstrip("/"): look.places[target_id].target.scope
        for target_id, seen in look.seen.items()
        for entry in seen.tree.entries
        if entry.type is EntryType.FILE
    }
    held = probe.held_by_others(scopes, wait_seconds=wait_seconds)
    return tuple(Locked(scope=scopes[path], path=desk.shown(path)) for path in held)


# -- the store ------------------------------------------------------------------------------------------------------


def _capacity(desk: Desk, look: Look) -> Capacity:
    policy = desk.config.policy.backup
    own = [record for _, record in backups_of_view(desk, look.known)]
    return Capacity(
        named_backups=sum(1 for record in own if recorded(record, "kind") == BackupKind.MANUAL),
        max_named_backups=policy.max_versions,
        pinned_backups=0,
        stored_bytes=desk.store.size_bytes(),
        max_stored_bytes=policy.max_total_size_mb * _MEGABYTE,
    )


def _sample_of_backups(desk: Desk, look: Look) -> tuple[StoredHealth, ...]:
    """The newest backup, and as many more at random as ``backup.spot_check_percentage`` asks for, read back whole."""
    versions = [version for version, _ in backups_of_view(desk, look.known)]
    count = len(versions) * desk.config.policy.backup.spot_check_percentage // _PERCENT
    chosen = versions[:1] + secrets.SystemRandom().sample(versions[1:], min(count, len(versions[1:])))
    return tuple(StoredHealth(version=version, problems=_problems(desk, look, version)) for version in chosen)


def _problems(desk: Desk, look: Look, version: str) -> tuple[str, ...]:
    try:
        return tuple(desk.store.verify(open_authentic(desk, look.known, version)))
    except RollbackError as error:
        return (f"{error.code}: {error.message}",)
