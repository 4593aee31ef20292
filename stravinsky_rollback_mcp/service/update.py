"""Updates of the configuration by somebody else's program: begun with a backup, ended with a judgement.

An update is open from ``begin`` to ``finish``, which may be calls of two processes: what must be known in between is in
the store. Each step of ``finish`` can be repeated after a crash; the audit says which of them were done.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from stravinsky_rollback_mcp.core.codec.updates import OpenUpdate
from stravinsky_rollback_mcp.core.model import (
    AuditDraft,
    AuditFilter,
    BackupKind,
    EventStatus,
    EventType,
    Finding,
    Severity,
)
from stravinsky_rollback_mcp.core.names import plural, require_new_version, require_note
from stravinsky_rollback_mcp.core.outcome import Restored, Update, UpdateBegun, UpdateFinished
from stravinsky_rollback_mcp.core.times import seconds_between
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service.aftermath import Verdict, judge, lost_files
from stravinsky_rollback_mcp.service.backup import Wish, make_backup, require_free
from stravinsky_rollback_mcp.service.checks import check_live
from stravinsky_rollback_mcp.service.desk import Caller, Desk, digests_of, state_of
from stravinsky_rollback_mcp.service.latest import write_latest
from stravinsky_rollback_mcp.service.look import Look, gather
from stravinsky_rollback_mcp.service.restore import Consent, roll_back_automatically
from stravinsky_rollback_mcp.service.stored import describe, matching_version, open_authentic, recorded_digests
from stravinsky_rollback_mcp.service.underway import open_update

PRE_UPDATE = ".pre_update"
# Nothing could be backed up or put back, or nothing told that the update broke it.
_BLOCKING = frozenset({"disk_space", "file_permissions", "backup_capacity", "settings_schema"})
_RESTORES = frozenset({EventType.MANUAL_ROLLBACK, EventType.RECOVERY_ATTEMPT, EventType.UNDO, EventType.REDO})


def begin(desk: Desk, caller: Caller, version: str, note: str, version_file: str | None) -> UpdateBegun:
    """Back up what is live before an update to ``version``, and remember that it is under way."""
    require_new_version(version)
    require_note(note)
    declared = None if version_file is None else _in_view(desk, version_file)
    with desk.writing(caller) as notices:
        _require_none_open(desk)
        look = gather(desk)
        require_free(desk, look.known, version)
        findings = _require_possible(desk, caller, look, version)
        backup = _backup_before(desk, caller, look, note)
        update = OpenUpdate(
            operation_id=desk.new_id(),
            user_root=desk.view.user_root,
            project=desk.view.project,
            version=version,
            backup=backup,
            started_at=desk.now(),
            version_file=declared,
        )
        _open(desk, caller, update, note)
        opened = open_authentic(desk, desk.known(), backup)
        return UpdateBegun(
            summary=f"The update {version} may begin; the state before it is in backup {backup}.",
            next_step="Run the update, then call finish_update.",
            notices=notices,
            backup=describe(desk, opened, (), detail=False, problems=()),
            findings=findings,
            update=_told(update),
            audit=desk.audit.anchor(),
        )


def _in_view(desk: Desk, path: str) -> str:
    """The absolute path of a file that lies in the project or in the person's configuration."""
    full = desk.absolute(path)
    roots = [root for root in (desk.view.user_root, desk.view.project) if root is not None]
    if "/../" in f"{full}/" or not any(full.startswith(f"{root}/") for root in roots):
        raise RollbackError(
            Code.INVALID_ARGUMENT,
            "the version file lies neither in the project nor in the user root.",
            "name the file that the update writes its version into, or leave it out.",
        )
    return full


def _require_none_open(desk: Desk) -> None:
    update = open_update(desk)
    if update is not None:
        raise RollbackError(
            Code.UPDATE_IN_PROGRESS,
            f"the update {update.version} that began at {update.started_at} is still open.",
            "end it with finish_update (`stravinsky-rollback update finish`, or with --failed TEXT to take it back).",
        )


def _require_possible(desk: Desk, caller: Caller, look: Look, version: str) -> tuple[Finding, ...]:
    """What the checks find before an update. Where its failure could not be taken back, or told, it does not begin."""
    if not desk.config.policy.update.pre_update_checks_enabled:
        return ()
    findings = check_live(desk, look, caller, BackupKind.UPDATE)
    blocking = [item for item in findings if item.severity is Severity.ERROR and item.check in _BLOCKING]
    if not blocking:
        return findings
    desk.record(
        AuditDraft(
            event_type=EventType.UPDATE_BLOCKED,
            status=EventStatus.REFUSED,
            actor=caller.actor,
            user_root=desk.view.user_root,
            project=desk.view.project,
            version=version,
            paths=tuple(dict.fromkeys(item.path for item in blocking)),
            error=Code.VALIDATION_FAILED,
            details={"findings": [f"{item.check}: {item.path}" for item in blocking]},
        )
    )
    raise RollbackError(
        Code.VALIDATION_FAILED,
        f"the update {version} cannot begin: {plural(len(blocking), 'check')} found what stands in its way.",
        "mend that first; `stravinsky-rollback check` tells more.",
        lines=tuple(f"{item.path}: {item.message}" for item in blocking),
    )


def _backup_before(desk: Desk, caller: Caller, look: Look, note: str) -> str:
    if desk.config.policy.update.auto_backup_before_update:
        wish = Wish(version=desk.new_version(PRE_UPDATE), kind=BackupKind.UPDATE, note=note)
        make_backup(desk, caller, wish, tuple(look.places.values()), look.known)
        return wish.version
    existing = matching_version(desk, look.known, look.digests)
    if existing is None or desk.store.verify(open_authentic(desk, look.known, existing)):
        raise RollbackError(
            Code.VALIDATION_FAILED,
            "update.auto_backup_before_update is off, and no intact backup holds what is live now.",
            "make one with create_backup, or switch that on.",
        )
    return existing


def _told(update: OpenUpdate) -> Update:
    return Update(version=update.version, started_at=update.started_at, backup=update.backup)


def _open(desk: Desk, caller: Caller, update: OpenUpdate, note: str) -> None:
    """The intent is in the audit first; what dies before it is remembered too shows there as interrupted."""
    desk.record(_event(desk, caller, update, EventType.UPDATE_START, EventStatus.STARTED, {"note": note}))
    try:
        desk.updates.write((*_of_others(desk), update))
    except RollbackError as error:
        with suppress(RollbackError):
            failed = _event(desk, caller, update, EventType.UPDATE_FAILED, EventStatus.FAILED, {})
            desk.record(replace(failed, error=error.code))
        raise


def _forget(desk: Desk) -> None:
    desk.updates.write(_of_others(desk))


def _of_others(desk: Desk) -> tuple[OpenUpdate, ...]:
    own = (desk.view.user_root, desk.view.project)
    return tuple(update for update in desk.updates.read() if (update.user_root, update.project) != own)


def _event(
    desk: Desk,
    caller: Caller,
    update: OpenUpdate,
    event_type: EventType,
    status: EventStatus,
    details: Mapping[str, object],
) -> AuditDraft:
    return AuditDraft(
        event_type=event_type,
        status=status,
        actor=caller.actor,
        user_root=update.user_root,
        project=update.project,
        version=update.version,
        previous_version=update.backup,
        operation_id=update.operation_id,
        duration_seconds=None
        if event_type is EventType.UPDATE_START
        else seconds_between(update.started_at, desk.now()),
        details={key: value for key, value in details.items() if value},
    )


# -- the end --------------------------------------------------------------------------------------------------------


def finish(desk: Desk, caller: Caller, *, success: bool, error: str, keeps: bool) -> UpdateFinished:
    """Judge what an update did; where it failed or does not verify, bring back the state before it.

    With ``keeps`` a failed one stays as it is. Raises ``no_update``.
    """
    require_note(error)
    policy = desk.config.policy.update
    with desk.writing(caller) as recovered:
        update = open_update(desk)
        if update is None:
            _forget(desk)
            raise RollbackError(Code.NO_UPDATE, "no update is open here.", "begin_update opens one.")
        has_failed = any(
            record.draft.event_type is EventType.UPDATE_FAILED for record in desk.audit.trace(update.operation_id)
        )
        verdict = Verdict(problems=(), findings=())
        if success and not has_failed and policy.post_update_verification_enabled:
            verdict = judge(desk, caller, update)
        notices = (*recovered, *_meanwhile(desk, update))
        if success and not has_failed and not verdict.problems:
            return _succeed(desk, caller, update, verdict, notices)
        reason = error or ("its result did not verify" if verdict.problems else "nobody said why")
        if not has_failed:
            _record_failure(desk, caller, update, verdict, reason)
        if keeps or not policy.auto_rollback_on_failure:
            _forget(desk)
            return _kept(desk, update, verdict, notices, reason)
    return _take_back(desk, caller, update, verdict, notices, reason)


def _meanwhile(desk: Desk, update: OpenUpdate) -> tuple[str, ...]:
    """What others did through us while the update ran; what they wrote by themselves cannot be told from the update."""
    records, _ = desk.audit.query(AuditFilter(since=update.started_at, status=EventStatus.SUCCESS, limit=100))
    return tuple(
        f"While the update ran, {record.draft.actor.kind} {record.draft.actor.name} did a "
        f"{record.draft.event_type.value.lower()} at {record.timestamp}: {', '.join(record.draft.paths)}."
        for record in reversed(records)
        if record.draft.event_type in _RESTORES and record.draft.user_root == update.user_root
    )


def _succeed(
    desk: Desk, caller: Caller, update: OpenUpdate, verdict: Verdict, notices: tuple[str, ...]
) -> UpdateFinished:
    look = gather(desk)
    version = _keep_result(desk, caller, look, update.version)
    if version != update.version:
        notices = (*notices, f"The name {update.version} was given away meanwhile; the result is in {version}.")
    lost = lost_files(desk, look, update)
    event = _event(desk, caller, update, EventType.UPDATE_SUCCESS, EventStatus.SUCCESS, {"backup": version})
    desk.record(replace(event, state=state_of(look.digests)))
    write_latest(desk, version, look.digests)
    _forget(desk)
    more = f" It overwrote or deleted {plural(len(lost), 'file')} that you had changed." if lost else ""
    return UpdateFinished(
        summary=f"The update {update.version} is verified; its result is in backup {version}.{more}",
        next_step=f"To take it back: undo, or rollback_to with version {update.backup}.",
        notices=notices,
        outcome="verified",
        findings=verdict.findings,
        rollback=None,
        update=_told(update),
        backup=version,
        lost=lost,
        audit=desk.audit.anchor(),
    )


def _keep_result(desk: Desk, caller: Caller, look: Look, version: str) -> str:
    """The backup that holds what the update made; one of an earlier attempt to finish counts too."""
    held = look.known.backups.get(version)
    wanted = {target: digest for target, digest in look.digests.items() if digest}
    if held is not None and recorded_digests(held) == wanted:
        return version
    if version.casefold() in desk.store.taken():
        version = desk.new_version("result")
    wish = Wish(version=version, kind=BackupKind.UPDATE, observed=False)
    _, seen = make_backup(desk, caller, wish, tuple(look.places.values()), look.known)
    if digests_of(seen) != look.digests:
        desk.store.remove(version)
        raise RollbackError(
            Code.STATE_CHANGED,
            "the configuration changed while the update was being verified; the update is still open.",
            "wait until nothing writes there any more, then finish it again.",
        )
    return version


def _record_failure(desk: Desk, caller: Caller, update: OpenUpdate, verdict: Verdict, reason: str) -> None:
    if verdict.problems:
        found = {"findings": [f"{finding.check}: {finding.path}" for finding in verdict.problems]}
        event = _event(desk, caller, update, EventType.VERIFICATION_FAILURE, EventStatus.FAILED, found)
        paths = tuple(dict.fromkeys(finding.path for finding in verdict.problems))
        desk.record(replace(event, paths=paths, error=Code.VALIDATION_FAILED))
    desk.record(_event(desk, caller, update, EventType.UPDATE_FAILED, EventStatus.FAILED, {"reason": reason}))


def _kept(desk: Desk, update: OpenUpdate, verdict: Verdict, notices: tuple[str, ...], reason: str) -> UpdateFinished:
    look = gather(desk)
    return UpdateFinished(
        summary=f"The update {update.version} failed ({reason}), and what it did was kept.",
        next_step=f"To take it back: rollback_to with version {update.backup}.",
        notices=notices,
        outcome="needs_attention",
        findings=verdict.findings,
        rollback=None,
        update=_told(update),
        backup=None,
        lost=lost_files(desk, look, update),
        audit=desk.audit.anchor(),
    )


# -- taking it back -------------------------------------------------------------------------------------------------


def _take_back(
    desk: Desk, caller: Caller, update: OpenUpdate, verdict: Verdict, notices: tuple[str, ...], reason: str
) -> UpdateFinished:
    restored = _try_to_take_back(desk, caller, update)
    if isinstance(restored, RollbackError):
        notices = (*notices, str(restored))
        outcome, rollback = "needs_attention", None
        summary = f"The update {update.version} failed ({reason}) and could not be taken back ({restored.code})."
        next_step = (
            "Mend what stands in the way, then call finish_update again; "
            f"the state before the update is in backup {update.backup}."
        )
    else:
        with desk.writing(caller):
            if restored.already_at_target:
                desk.record(_nothing_to_take_back(desk, caller, update))
            _forget(desk)
        outcome, rollback = "rolled_back", restored
        summary = f"The update {update.version} failed ({reason}) and was taken back: everything is as before."
        next_step = "It had changed nothing."
        if restored.safety_backup is not None:
            next_step = (
                f"What it had done is in backup {restored.safety_backup}; to see it: "
                f"`stravinsky-rollback compare {update.backup} {restored.safety_backup}`."
            )
    return UpdateFinished(
        summary=summary,
        next_step=next_step,
        notices=notices,
        outcome=outcome,
        findings=verdict.findings,
        rollback=rollback,
        update=_told(update),
        backup=None,
        lost=(),
        audit=desk.audit.anchor(),
    )


def _try_to_take_back(desk: Desk, caller: Caller, update: OpenUpdate) -> Restored | RollbackError:
    """As often, and for as long, as configuration allows: a writer that is not done yet must not win."""
    policy = desk.config.policy
    attempts = policy.recovery.max_recovery_attempts if policy.recovery.enable_auto_recovery else 1
    delay_seconds = policy.recovery.recovery_retry_delay_seconds
    started = time.monotonic()
    while True:
        try:
            # Whoever began an update wants it taken back where it fails: nobody is asked again.
            return roll_back_automatically(desk, caller, update.backup, Consent(is_given=True))
        except ChangedWhileReadError as error:
            failed = RollbackError(Code.UNSTABLE_SOURCE, f"{error} changed while it was read.", "try again.")
        except RollbackError as error:
            failed = error
        attempts -= 1
        has_time = time.monotonic() - started + delay_seconds < policy.update.auto_rollback_timeout_seconds
        if not attempts or not has_time:
            break
        desk.wait(delay_seconds)
    event = _event(desk, caller, update, EventType.AUTO_ROLLBACK, EventStatus.FAILED, {})
    with suppress(RollbackError):
        # An audit that cannot be written may be the very reason; the caller is told in any case.
        desk.record(replace(event, version=update.backup, previous_version=None, error=failed.code))
    return failed


def _nothing_to_take_back(desk: Desk, caller: Caller, update: OpenUpdate) -> AuditDraft:
    event = _event(desk, caller, update, EventType.AUTO_ROLLBACK, EventStatus.SUCCESS, {"changes": "none"})
    return replace(event, version=update.backup, previous_version=None)
