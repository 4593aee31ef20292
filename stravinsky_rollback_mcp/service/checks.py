"""What the checks find in a configuration as it is, was or would be, and in the machine that it lies on.

Three ways in, for whoever needs findings::

    check_live(desk, look)              what is live, judged as something new: before and after an update, `check`
    check_stored(desk, look, manifest)  what a backup holds, as a whole
    check_target(desk, look, plan)      what a plan would leave: live targets with its steps' desired trees over them

All return findings, the gravest first. ``core.checks.worse(before, after)`` tells which findings are new and weigh: a
locked session, a guard switched off, a settings file that Claude Code does not load. Findings on what is live inform;
they never block going back.
"""

from dataclasses import replace

from stravinsky_rollback_mcp.core import checks
from stravinsky_rollback_mcp.core.model import Finding, Manifest
from stravinsky_rollback_mcp.core.plan import Plan
from stravinsky_rollback_mcp.service import evidence
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.look import Look
from stravinsky_rollback_mcp.service.picture import live_picture, planned_picture, stored_picture


def check_live(desk: Desk, look: Look) -> tuple[Finding, ...]:
    """What the checks find in the live configuration, in the store, and on the machine."""
    trees = {target_id: seen.tree for target_id, seen in look.seen.items()}
    found = replace(
        evidence.configuration(desk, live_picture(desk, look), is_restore=False),
        spaces=evidence.spaces(desk, look, trees),
        denied=evidence.denied(desk, look, trees),
        locked=evidence.locked(desk, look, wait_seconds=0),
        capacity=evidence.capacity(desk, look),
        backups=evidence.sample_of_backups(desk, look),
    )
    return checks.findings(found)


def check_stored(desk: Desk, look: Look, manifest: Manifest) -> tuple[Finding, ...]:
    """What the checks find in the configuration that a backup holds. Raises ``archive_mismatch`` and its like."""
    return checks.findings(evidence.configuration(desk, stored_picture(desk, look, manifest), is_restore=True))


def check_target(desk: Desk, look: Look, plan: Plan) -> tuple[Finding, ...]:
    """What the checks find in the configuration that a plan would leave, and in the way of carrying it out."""
    trees = {step.target.id: step.desired for step in plan.changes}
    found = replace(
        evidence.configuration(desk, planned_picture(desk, look, plan), is_restore=True),
        spaces=evidence.spaces(desk, look, trees),
        denied=evidence.denied(desk, look, trees),
        locked=evidence.locked(desk, look, wait_seconds=0),
    )
    return checks.findings(found)
