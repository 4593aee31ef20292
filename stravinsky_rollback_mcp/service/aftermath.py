"""Gathering what an update did, for the rules in ``core/aftermath`` to judge."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace

from stravinsky_rollback_mcp.core import checks
from stravinsky_rollback_mcp.core.aftermath import (
    MAX_VERSION_FILE_BYTES,
    Trees,
    declared_version,
    losses,
    overwritten,
)
from stravinsky_rollback_mcp.core.checks import version_consistency
from stravinsky_rollback_mcp.core.checks.evidence import Evidence, Release
from stravinsky_rollback_mcp.core.codec.updates import OpenUpdate
from stravinsky_rollback_mcp.core.model import BackupKind, Finding, Manifest, Severity, Tree
from stravinsky_rollback_mcp.core.outcome import LostFile
from stravinsky_rollback_mcp.core.plan import Plan
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file
from stravinsky_rollback_mcp.errors import RollbackError
from stravinsky_rollback_mcp.service.checks import check_live, check_target
from stravinsky_rollback_mcp.service.desk import Caller, Desk
from stravinsky_rollback_mcp.service.intent import changes_settings, intend_rollback, settings_change
from stravinsky_rollback_mcp.service.look import Look, gather
from stravinsky_rollback_mcp.service.stored import backups_of_view, open_authentic, recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found in the result of an update; ``problems`` are why it does not verify, and stand in both."""

    problems: tuple[Finding, ...]
    findings: tuple[Finding, ...]


def judge(desk: Desk, caller: Caller, update: OpenUpdate) -> Verdict:
    """What is live, compared with what was there before the update. What cannot even be looked at does not verify."""
    try:
        look = gather(desk)
        plan = intend_rollback(desk, look, update.backup, (), None).plan
        found = check_live(desk, look, caller)
        before = check_target(desk, look, plan.steps) if plan.changes else found
        problems = (
            *_lost(desk, look, update, plan),
            *checks.worse(before, found),
            *_release(desk, update),
        )
    except ChangedWhileReadError as error:
        problem = _unverifiable(f"{error} changed while it was read.")
        return Verdict(problems=(problem,), findings=(problem,))
    except RollbackError as error:
        problem = _unverifiable(error.message)
        return Verdict(problems=(problem,), findings=(problem,))
    return Verdict(problems=problems, findings=(*problems, *(item for item in found if item not in problems)))


def _lost(desk: Desk, look: Look, update: OpenUpdate, plan: Plan) -> tuple[Finding, ...]:
    changes = [
        (step.target.scope, settings_change(desk, look, step)) for step in plan.changes if changes_settings(step)
    ]
    return losses(
        # Going back is the update seen from its other end.
        [(scope, replace(change, before=change.after, known=None, after=change.before)) for scope, change in changes],
        [(target, desk.shown_target(target)) for target in desk.view.targets],
        _trees(look, open_authentic(desk, look.known, update.backup).manifest),
    )


def _release(desk: Desk, update: OpenUpdate) -> tuple[Finding, ...]:
    """Whether the file that the update declared names its version."""
    path = update.version_file
    if path is None:
        return ()
    try:
        declared = declared_version(read_file(path, MAX_VERSION_FILE_BYTES))
    except (RollbackError, ChangedWhileReadError):
        declared = None
    if declared is not None and declared.removeprefix("v") == update.version.removeprefix("v"):
        declared = update.version
    release = Release(version=update.version, path=desk.shown(path), declared=declared, latest=None)
    return version_consistency.check(Evidence(release=release))


def _unverifiable(message: str) -> Finding:
    return Finding(
        check="file_permissions",
        severity=Severity.ERROR,
        scope=None,
        path="",
        line=None,
        message=message,
        fix="see what the update left there.",
    )


def _trees(look: Look, manifest: Manifest) -> Trees:
    return Trees(
        before={target.id: target.tree for target in manifest.targets},
        after={target_id: seen.tree for target_id, seen in look.seen.items()},
    )


def lost_files(desk: Desk, look: Look, update: OpenUpdate) -> tuple[LostFile, ...]:
    """The files that the person had changed since the last update and that this one overwrote or deleted."""
    try:
        before = open_authentic(desk, look.known, update.backup).manifest
    except RollbackError:
        return ()  # then nothing could be brought back from it either
    found = overwritten(desk.view.targets, _installed(desk, look, update), _trees(look, before))
    lost: list[LostFile] = []
    for item in found:
        path = desk.shown(f"{item.target.path}/{item.path}".rstrip("/"))
        lost.append(
            LostFile(
                path=path,
                action="deleted" if item.is_deleted else "overwritten",
                bring_back=f"stravinsky-rollback recovery file {shlex.quote(path)} {update.backup}",
            )
        )
    return tuple(lost)


def _installed(desk: Desk, look: Look, update: OpenUpdate) -> Mapping[str, Tree]:
    """What the last update before this one left, by target id; empty where there was none."""
    for version, record in backups_of_view(desk, look.known):
        is_result = recorded(record, "kind") == BackupKind.UPDATE and not version.endswith(".pre_update")
        if is_result and version != update.version:
            try:
                manifest = open_authentic(desk, look.known, version).manifest
            except RollbackError:
                continue
            return {target.id: target.tree for target in manifest.targets}
    return {}
