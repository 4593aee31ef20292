"""The use cases, one async method each. The server and the terminal call these and nothing else.

``requests`` is the way that each of them takes.
"""

import time
from collections.abc import Callable

from stravinsky_rollback_mcp.config import Config
from stravinsky_rollback_mcp.core.model import (
    Actor,
    AuditRecord,
    EventStatus,
    EventType,
    Kind,
    MadeBy,
    Scope,
)
from stravinsky_rollback_mcp.core.outcome import (
    AuditBegun,
    AuditPage,
    BackupCreated,
    BackupList,
    ChainVerified,
    Checked,
    Compared,
    Restored,
    Resumed,
    Status,
    UpdateBegun,
    UpdateFinished,
    Verified,
)
from stravinsky_rollback_mcp.core.outcome_keeping import Adopted, CleanedUp, Configuration, Forgotten, Pinning
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import (
    adoption,
    anew,
    audit,
    backup,
    checks,
    compare,
    configuration,
    emergency,
    forgetting,
    keeping,
    reading,
    restore,
    unlock,
    update,
)
from stravinsky_rollback_mcp.service.desk import Caller, Desk
from stravinsky_rollback_mcp.service.recover import Lost
from stravinsky_rollback_mcp.service.requests import Requests, Tells
from stravinsky_rollback_mcp.service.restore import Consent

__all__ = [
    "Actor",
    "Caller",
    "Consent",
    "EventStatus",
    "EventType",
    "Kind",
    "Lost",
    "MadeBy",
    "RollbackService",
    "Scope",
]


class RollbackService(Requests):
    """Back up, list, roll back, undo, redo and audit one view of Claude Code's configuration."""

    def __init__(
        self,
        config: Config,
        files: Files | None = None,
        *,
        without_audit: bool = False,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(Desk(config, files or Files(), backup.keep_rescued, without_audit=without_audit, wait=wait))

    async def create_backup(self, caller: Caller, *, version: str | None = None, note: str = "") -> BackupCreated:
        """Back up everything in view; see ``BackupCreated``."""
        return await self._do(
            caller,
            "create_backup",
            {"version": version, "note": note},
            lambda: backup.create_backup(self._desk, caller, version, note),
            tells=Tells.BY_ITSELF,
        )

    async def protect(self, caller: Caller) -> bool:
        """Back up a state that no intact backup holds yet; returns whether there was one."""
        return await self._do(caller, "protect", {}, lambda: backup.protect(self._desk, caller), tells=Tells.BY_ITSELF)

    async def list_backups(
        self,
        caller: Caller,
        *,
        limit: int = 20,
        cursor: str | None = None,
        path: str | None = None,
        detail: bool = False,
        all_projects: bool = False,
    ) -> BackupList:
        """One page of backups, newest first, and what is live."""
        arguments = {"limit": limit, "cursor": cursor, "path": path, "detail": detail, "all_projects": all_projects}
        return await self._do(
            caller,
            "list_backups",
            arguments,
            lambda: reading.list_backups(
                self._desk, limit=limit, cursor=cursor, path=path, detail=detail, all_projects=all_projects
            ),
            tells=Tells.BY_ITSELF,
        )

    async def show_backup(self, caller: Caller, *, version: str) -> Verified:
        """One backup with its targets."""
        return await self._do(
            caller, "show_backup", {"version": version}, lambda: reading.show_backup(self._desk, version)
        )

    async def verify_backups(self, caller: Caller, *, version: str | None = None) -> Verified:
        """Read one backup, or all, back whole."""
        return await self._do(
            caller, "verify_backups", {"version": version}, lambda: reading.verify_backups(self._desk, version)
        )

    async def compare(
        self,
        caller: Caller,
        *,
        version: str | None = None,
        other: str | None = None,
        path: str | None = None,
        cursor: str | None = None,
    ) -> Compared:
        """What differs from one state to another, and what going back would be."""
        arguments = {"version": version, "other": other, "path": path, "cursor": cursor}
        return await self._do(
            caller, "compare", arguments, lambda: compare.compare(self._desk, version, other, path, cursor)
        )

    async def rollback_to(
        self,
        caller: Caller,
        *,
        version: str,
        only: tuple[str, ...] = (),
        scope: Scope | None = None,
        consent: Consent,
    ) -> Restored:
        """Bring the configuration, or parts of it, to what a backup recorded."""
        arguments = {"version": version, "only": only, "scope": scope, "consent": consent}
        return await self._do(
            caller,
            "rollback_to",
            arguments,
            lambda: restore.rollback_to(self._desk, caller, version, only, scope, consent),
            tells=Tells.AFTER,
        )

    async def roll_back_automatically(self, caller: Caller, *, version: str, consent: Consent) -> Restored:
        """As ``rollback_to`` of everything, but recorded as what a script did."""
        return await self._do(
            caller,
            "roll_back_automatically",
            {"version": version, "consent": consent},
            lambda: restore.roll_back_automatically(self._desk, caller, version, consent),
            tells=Tells.AFTER,
        )

    async def recover(self, caller: Caller, *, lost: Lost, version: str | None, consent: Consent) -> Restored:
        """Bring back one file, directory or key; without a version from the newest backup that has it different."""
        arguments = {"lost": lost, "version": version, "consent": consent}
        return await self._do(
            caller,
            "recover",
            arguments,
            lambda: restore.recover(self._desk, caller, lost, version, consent),
            tells=Tells.AFTER,
        )

    async def undo(self, caller: Caller, *, consent: Consent) -> Restored:
        """Take back the last thing that happened to this configuration."""
        return await self._do(
            caller,
            "undo",
            {"consent": consent},
            lambda: restore.undo(self._desk, caller, consent),
            tells=Tells.AFTER,
        )

    async def redo(self, caller: Caller, *, consent: Consent) -> Restored:
        """Bring again what the last undo took back."""
        return await self._do(
            caller,
            "redo",
            {"consent": consent},
            lambda: restore.redo(self._desk, caller, consent),
            tells=Tells.AFTER,
        )

    async def check_config(self, caller: Caller, *, version: str | None = None) -> Checked:
        """What is wrong with the live configuration, or with the one that a backup holds."""
        return await self._do(
            caller, "check_config", {"version": version}, lambda: checks.check_config(self._desk, caller, version)
        )

    async def begin_update(
        self, caller: Caller, *, version: str, note: str = "", version_file: str | None = None
    ) -> UpdateBegun:
        """Back up what is live, and open an update of it by another program."""
        arguments = {"version": version, "note": note, "version_file": version_file}
        return await self._do(
            caller, "begin_update", arguments, lambda: update.begin(self._desk, caller, version, note, version_file)
        )

    async def finish_update(
        self, caller: Caller, *, success: bool, error: str = "", keeps: bool = False
    ) -> UpdateFinished:
        """Judge what the open update did, and take it back where it failed, unless it is to be kept."""
        arguments = {"success": success, "error": error, "keeps": keeps}
        return await self._do(
            caller,
            "finish_update",
            arguments,
            lambda: update.finish(self._desk, caller, success=success, error=error, keeps=keeps),
            tells=Tells.AFTER,
        )

    async def recover_version(self, caller: Caller, *, version: str, consent: Consent) -> Restored:
        """Bring everything back to a backup, as an attempt of recovery."""
        return await self._do(
            caller,
            "recover_version",
            {"version": version, "consent": consent},
            lambda: restore.recover_version(self._desk, caller, version, consent),
            tells=Tells.AFTER,
        )

    async def emergency(self, caller: Caller, *, consent: Consent) -> Restored:
        """Bring back the best that is left of all backups."""
        return await self._do(
            caller,
            "emergency",
            {"consent": consent},
            lambda: emergency.emergency(self._desk, caller, consent),
            tells=Tells.AFTER,
        )

    async def unlock(self, caller: Caller, *, consent: Consent) -> Restored:
        """Let tools pass again where a hook denies them for want of a working script."""
        return await self._do(
            caller,
            "unlock",
            {"consent": consent},
            lambda: unlock.unlock(self._desk, caller, consent),
            tells=Tells.AFTER,
        )

    async def query_audit(
        self,
        caller: Caller,
        *,
        event_type: EventType | None = None,
        version: str | None = None,
        status: EventStatus | None = None,
        path: str | None = None,
        since: str | None = None,
        until: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> AuditPage:
        """One page of the audit, newest first, and whether the chain is intact."""
        return await self._do(
            caller,
            "query_audit",
            {
                "event_type": event_type,
                "version": version,
                "status": status,
                "path": path,
                "since": since,
                "until": until,
                "limit": limit,
                "cursor": cursor,
            },
            lambda: audit.query_audit(
                self._desk,
                event_type=event_type,
                version=version,
                status=status,
                path=path,
                since=since,
                until=until,
                limit=limit,
                cursor=cursor,
            ),
        )

    async def verify_audit(self, caller: Caller) -> ChainVerified:
        """Check the whole audit chain."""
        return await self._do(caller, "verify_audit", {}, lambda: audit.verify_audit(self._desk))

    async def export_audit(self, caller: Caller, take: Callable[[AuditRecord], None]) -> ChainVerified:
        """Hand every record that is kept to ``take``, oldest first, in a worker thread; then how the chain stands."""
        return await self._do(caller, "export_audit", {}, lambda: audit.export_audit(self._desk, take))

    async def begin_audit_anew(self, caller: Caller) -> AuditBegun:
        """Begin the audit anew where its chain is broken or gone; only after a person agreed."""
        return await self._do(caller, "begin_audit_anew", {}, lambda: anew.begin_audit_anew(self._desk, caller))

    async def pin(self, caller: Caller, *, version: str) -> Pinning:
        """Keep a backup whatever the retention rules say."""
        return await self._do(caller, "pin", {"version": version}, lambda: keeping.pin(self._desk, caller, version))

    async def unpin(self, caller: Caller, *, version: str) -> Pinning:
        """Let the retention rules hold for a backup again."""
        return await self._do(caller, "unpin", {"version": version}, lambda: keeping.unpin(self._desk, caller, version))

    async def cleanup(
        self, caller: Caller, *, keep: int | None = None, agreed: frozenset[str] | None = None
    ) -> CleanedUp:
        """Read every backup back, put damaged ones aside, and remove what the limits call for; see ``CleanedUp``."""
        arguments = {"keep": keep, "agreed": sorted(agreed or ())}
        return await self._do(caller, "cleanup", arguments, lambda: keeping.cleanup(self._desk, caller, keep, agreed))

    async def forget(self, caller: Caller, *, version: str, agreed: frozenset[str] | None = None) -> Forgotten:
        """Remove a backup and all that share an archive with it; see ``Forgotten``."""
        arguments = {"version": version, "agreed": sorted(agreed or ())}
        return await self._do(
            caller, "forget", arguments, lambda: forgetting.forget(self._desk, caller, version, agreed)
        )

    async def adopt(self, caller: Caller, *, old_path: str, is_agreed: bool = False, dry_run: bool = False) -> Adopted:
        """Let this project have what is recorded of the path that it had before; see ``Adopted``."""
        arguments = {"old_path": old_path, "is_agreed": is_agreed, "dry_run": dry_run}
        return await self._do(
            caller,
            "adopt",
            arguments,
            lambda: adoption.adopt(self._desk, caller, old_path, is_agreed=is_agreed, dry_run=dry_run),
            tells=Tells.AFTER,
        )

    async def show_config(self, caller: Caller) -> Configuration:
        """Every field of our own configuration, and where its value comes from."""
        return await self._do(caller, "show_config", {}, lambda: configuration.show_config(self._desk))

    async def set_config(self, caller: Caller, *, key: str, value: str) -> Configuration:
        """Set one field in ``config.json``."""
        return await self._do(
            caller,
            "set_config",
            {"key": key, "value": value},
            lambda: configuration.set_config(self._desk, caller, key, value),
        )

    async def status(self, caller: Caller) -> Status:
        """Everything at a glance."""
        return await self._do(caller, "status", {}, lambda: reading.status(self._desk), tells=Tells.BY_ITSELF)

    async def resume(self, caller: Caller) -> Resumed:
        """Bring an operation that was interrupted to its end."""

        def body() -> Resumed:
            journal = self._desk.journal
            is_interrupted = journal.read() is not None or bool(journal.parked())
            with self._desk.writing(caller) as recovered:
                if journal.parked():
                    raise RollbackError(
                        Code.NEEDS_ATTENTION,
                        " ".join(recovered),
                        "mend the cause, then run `stravinsky-rollback recovery resume` again.",
                    )
                return Resumed(
                    summary=recovered[0] if is_interrupted and recovered else "Nothing was unfinished.",
                    next_step="",
                    notices=recovered,
                    recovered=is_interrupted and bool(recovered),
                )

        return await self._do(caller, "resume", {}, body, tells=Tells.AFTER)
