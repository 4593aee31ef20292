"""What the checks find in a configuration as it is, was or would be, and in the machine that it lies on.

Ways in, for whoever needs findings::

    check_live(desk, look, caller)      what is live, judged as something new: before and after an update, `check`
    check_stored(desk, look, sources)   what backups hold of each target, together
    check_target(desk, look, steps)     what steps would leave: live targets with their desired trees over them
    consent_lines(desk, look, found)    in which ways that would be worse than what is live

Findings come gravest first. ``core.checks.worse(before, after)`` tells which are new and weigh: a locked session, a
guard switched off, a settings file that Claude Code does not load. Findings on what is live inform; they never block
going back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from stravinsky_rollback_mcp.core import checks
from stravinsky_rollback_mcp.core.model import BackupKind, Effect, Finding, Scope, Severity, StoredTarget, TargetState
from stravinsky_rollback_mcp.core.names import plural
from stravinsky_rollback_mcp.core.outcome import Checked
from stravinsky_rollback_mcp.core.plan import Step
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import evidence, room
from stravinsky_rollback_mcp.service.desk import Caller, Desk
from stravinsky_rollback_mcp.service.documents import folders
from stravinsky_rollback_mcp.service.look import Look, gather
from stravinsky_rollback_mcp.service.picture import live_picture, planned_picture, stored_picture
from stravinsky_rollback_mcp.service.selectors import Goal, goal_of
from stravinsky_rollback_mcp.service.stored import open_authentic

# What makes a backup useless, and is for `check_config` to tell instead of a refusal.
_DAMAGE = frozenset(
    {Code.ARCHIVE_MISMATCH, Code.ARCHIVE_UNSAFE, Code.MANIFEST_INVALID, Code.MANIFEST_FORGED, Code.TOO_LARGE}
    | {Code.UNSUPPORTED_VERSION}
)


def check_live(desk: Desk, look: Look, caller: Caller, kind: BackupKind = BackupKind.MANUAL) -> tuple[Finding, ...]:
    """What the checks find in the live configuration, on the machine, and in the store, where that kind comes next."""
    trees = {name: seen.tree for name, seen in look.seen.items() if seen.tree.state is not TargetState.ABSENT}
    picture = live_picture(desk, look)
    found = replace(
        evidence.configuration(desk, picture, is_restore=False, markdown=folders(desk, picture)),
        spaces=room.spaces(desk, look, trees),
        denied=evidence.denied(desk, look, trees),
        locked=evidence.locked(desk, look, trees),
        capacity=room.capacity(desk, look.known, kind, caller.made_by),
        backups=evidence.sample_of_backups(desk, look),
    )
    return checks.findings(found)


def check_stored(desk: Desk, look: Look, sources: Mapping[str, tuple[str, StoredTarget]]) -> tuple[Finding, ...]:
    """What the checks find in the configuration that backups hold. Raises ``archive_mismatch`` and its like."""
    picture = stored_picture(desk, look, sources)
    return checks.findings(evidence.configuration(desk, picture, is_restore=True, markdown=folders(desk, picture)))


def check_target(desk: Desk, look: Look, steps: Sequence[Step]) -> tuple[Finding, ...]:
    """What the checks find in the configuration that steps would leave, and in the way of carrying them out."""
    trees = {step.target.id: step.desired for step in steps if step.is_change}
    if not trees:
        return ()
    found = replace(
        evidence.configuration(desk, planned_picture(desk, look, steps), is_restore=True),
        spaces=room.spaces(desk, look, trees),
        denied=evidence.denied(desk, look, trees),
        locked=evidence.locked(desk, look, trees),
    )
    return checks.findings(found)


def consent_lines(desk: Desk, look: Look, target: Sequence[Finding]) -> tuple[str, ...]:
    """One line for each way in which the findings of a target are worse than what is live, for a person to accept.

    What merely stands in a script is not asked about: changed contents are listed among the findings.
    """
    asked = [finding for finding in target if finding.effect is not Effect.GUARD_BROKEN]
    if not checks.worse((), asked):
        return ()
    live = checks.findings(evidence.configuration(desk, live_picture(desk, look), is_restore=True))
    return tuple(sorted({f"{finding.path}: {finding.message}" for finding in checks.worse(live, asked)}))


def check_config(desk: Desk, caller: Caller, version: str | None) -> Checked:
    """The findings of what is live, or of a backup: then also what reading it back whole found."""
    look = gather(desk)
    integrity: tuple[str, ...] = ()
    name = "the live configuration" if version is None else version
    try:
        if version is None:
            findings = check_live(desk, look, caller)
        else:
            goal = goal_of(desk, look, version)
            name = goal.name
            integrity = _integrity(desk, look, goal)
            findings = () if integrity else check_stored(desk, look, _in_place(desk, goal))
    except RollbackError as error:
        if error.code not in _DAMAGE:
            raise
        integrity, findings = (f"{error.code}: {error.message}",), ()
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    is_ok = not integrity and not errors
    return Checked(
        summary=_summary(name, integrity, findings, errors),
        next_step=_next_step(version, integrity, errors),
        notices=(),
        ok=is_ok,
        integrity=integrity,
        findings=findings,
    )


def _integrity(desk: Desk, look: Look, goal: Goal) -> tuple[str, ...]:
    problems: list[str] = []
    for version in sorted({version for version, _ in goal.targets.values()}):
        problems.extend(desk.store.verify(open_authentic(desk, look.known, version)))
    return tuple(problems)


def _in_place(desk: Desk, goal: Goal) -> dict[str, tuple[str, StoredTarget]]:
    """The targets that can come back here: those of another project are not judged among this one's files."""
    is_other = goal.opened is not None and goal.opened.manifest.project != desk.view.project
    return {name: item for name, item in goal.targets.items() if not is_other or item[1].scope is Scope.USER}


def _summary(name: str, integrity: Sequence[str], findings: Sequence[Finding], errors: int) -> str:
    if integrity:
        return f"{name} is damaged, so what it holds was not judged."
    if not findings:
        return f"Nothing is wrong with {name}."
    rest = len(findings) - errors
    return f"{plural(errors, 'error')} and {plural(rest, 'further finding')} in {name}."


def _next_step(version: str | None, integrity: Sequence[str], errors: int) -> str:
    if integrity:
        return "Choose another backup with list_backups."
    if not errors:
        return ""
    return "Mend what the findings name, or look at going back with rollback_to and dry_run." if version is None else ""
