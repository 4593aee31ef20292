"""What may be wrong with a configuration: one file a check, pure functions from evidence to findings.

A new check is a file with ``NAME`` and ``check``, and its row in ``CHECKS``. The names are part of the contract.
"""

from collections.abc import Callable, Iterable, Mapping

from stravinsky_rollback_mcp.core.checks import (
    backup_capacity,
    commands_validity,
    dependencies,
    disk_space,
    file_locks,
    file_permissions,
    hooks_syntax,
    previous_backup,
    settings_schema,
    version_consistency,
)
from stravinsky_rollback_mcp.core.checks.evidence import Evidence
from stravinsky_rollback_mcp.core.model import Effect, Finding, Severity

Check = Callable[[Evidence], tuple[Finding, ...]]

# In the order in which people read about them: can it be done, then is it right.
CHECKS: Mapping[str, Check] = {
    module.NAME: module.check
    for module in (
        disk_space,
        file_permissions,
        file_locks,
        backup_capacity,
        previous_backup,
        settings_schema,
        hooks_syntax,
        commands_validity,
        dependencies,
        version_consistency,
    )
}
_RANKS = tuple(Severity)
_MAX_LIGHT = 100  # of one check: a model pays for each


def findings(evidence: Evidence) -> tuple[Finding, ...]:
    """Everything that the checks find, the gravest first, each once; of what weighs little no more than is read."""
    found = dict.fromkeys(finding for name, check in CHECKS.items() for finding in _bounded(name, check(evidence)))
    return tuple(sorted(found, key=lambda finding: _RANKS.index(finding.severity)))


def _bounded(name: str, found: tuple[Finding, ...]) -> list[Finding]:
    """The findings of one check, those that weigh little up to a number; the last says how many were left off."""
    weighty = [item for item in found if item.severity is Severity.ERROR or item.effect is not Effect.NONE]
    light = [item for item in found if item.severity is not Severity.ERROR and item.effect is Effect.NONE]
    if len(light) > _MAX_LIGHT:
        light = sorted(light, key=lambda finding: _RANKS.index(finding.severity))[: _MAX_LIGHT - 1]
        message = f"{len(found) - len(weighty) - len(light)} more findings of this check are not listed."
        light.append(
            Finding(check=name, severity=Severity.INFO, scope=None, path="", line=None, message=message, fix="")
        )
    return [*weighty, *light]


def worse(before: Iterable[Finding], after: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings of ``after`` that lock a session, switch off a guard or lose a settings file, and are new.

    Lines do not count: a fault that moved is the same fault. A file that is lost for another reason was lost before.
    """
    known = {_identity(finding) for finding in before}
    return tuple(finding for finding in after if finding.effect is not Effect.NONE and _identity(finding) not in known)


def _identity(finding: Finding) -> tuple[str, str, str, str]:
    message = "" if finding.effect is Effect.DROPPED else finding.message
    return finding.check, finding.effect, finding.path, message
