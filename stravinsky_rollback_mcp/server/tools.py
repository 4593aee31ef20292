"""The table of tools: what clients are told of each, and how a call becomes a use case."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from stravinsky_rollback_mcp import schema
    from stravinsky_rollback_mcp.service import Caller, Consent, RollbackService

MAX_PAGE_BYTES = 45_000  # hosts cut results of more than about 50 KB
Page = TypeVar("Page", "schema.ListBackupsResult", "schema.QueryAuditResult")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One row of the table: what clients are told, and how a call becomes a result."""

    name: str
    title: str
    description: str
    arguments: str
    result: str
    read_only: bool
    destructive: bool
    idempotent: bool
    call: "Callable[[RollbackService, Caller, Any], Awaitable[object]]"
    is_default: bool = True


async def _create_backup(service: "RollbackService", caller: "Caller", given: "schema.CreateBackupArguments") -> object:
    return await service.create_backup(caller, version=given.version, note=given.note)


async def _list_backups(service: "RollbackService", caller: "Caller", given: "schema.ListBackupsArguments") -> object:
    from stravinsky_rollback_mcp.schema import ListBackupsResult

    async def page(limit: int) -> "schema.ListBackupsResult":
        outcome = await service.list_backups(
            caller,
            limit=limit,
            cursor=given.cursor,
            path=given.path,
            detail=given.detail,
            all_projects=given.all_projects,
        )
        return ListBackupsResult.model_validate(outcome)

    return await _largest_page(page, given.limit, lambda result: len(result.backups))


async def _compare(service: "RollbackService", caller: "Caller", given: "schema.CompareArguments") -> object:
    return await service.compare(caller, version=given.version, other=given.other, path=given.path, cursor=given.cursor)


async def _rollback_to(service: "RollbackService", caller: "Caller", given: "schema.RollbackToArguments") -> object:
    from stravinsky_rollback_mcp.service import Scope

    scope = None if given.scope is None else Scope(given.scope)
    return await service.rollback_to(
        caller, version=given.version, only=tuple(given.only), scope=scope, consent=_consent(given)
    )


async def _undo(service: "RollbackService", caller: "Caller", given: "schema.WalkArguments") -> object:
    return await service.undo(caller, consent=_consent(given))


async def _redo(service: "RollbackService", caller: "Caller", given: "schema.WalkArguments") -> object:
    return await service.redo(caller, consent=_consent(given))


async def _check_config(service: "RollbackService", caller: "Caller", given: "schema.CheckConfigArguments") -> object:
    return await service.check_config(caller, version=given.version)


async def _query_audit(service: "RollbackService", caller: "Caller", given: "schema.QueryAuditArguments") -> object:
    from stravinsky_rollback_mcp.schema import query_audit_result
    from stravinsky_rollback_mcp.service import EventStatus, EventType

    async def page(limit: int) -> "schema.QueryAuditResult":
        return query_audit_result(
            await service.query_audit(
                caller,
                event_type=None if given.event_type is None else EventType(given.event_type),
                version=given.version,
                status=None if given.status is None else EventStatus(given.status),
                path=given.path,
                since=given.since,
                until=given.until,
                limit=limit,
                cursor=given.cursor,
            )
        )

    return await _largest_page(page, given.limit, lambda result: len(result.events))


async def _begin_update(service: "RollbackService", caller: "Caller", given: "schema.BeginUpdateArguments") -> object:
    return await service.begin_update(caller, version=given.version, note=given.note, version_file=given.version_file)


async def _finish_update(service: "RollbackService", caller: "Caller", given: "schema.FinishUpdateArguments") -> object:
    return await service.finish_update(caller, success=given.success, error=given.error)


async def _largest_page(page: "Callable[[int], Awaitable[Page]]", limit: int, count: "Callable[[Page], int]") -> "Page":
    """The page with as many items as are asked for, or as fit into what a host shows; the cursor goes on from there."""
    result = await page(limit)
    while (size_bytes := len(result.model_dump_json().encode())) > MAX_PAGE_BYTES and (shown := count(result)) > 1:
        result = await page(max(1, min(shown - 1, shown * MAX_PAGE_BYTES // size_bytes)))
    return result


def _consent(given: "schema.RollbackToArguments | schema.WalkArguments") -> "Consent":
    from stravinsky_rollback_mcp.service import Consent

    return Consent(accept=tuple(given.accept), plan_id=given.plan_id, dry_run=given.dry_run)


TOOLS = (
    Tool(
        name="create_backup",
        title="Back up the configuration",
        description=(
            "Back up Claude Code's configuration (hooks, commands, agents, skills, settings, CLAUDE.md, .mcp.json), "
            "verified. Call it before changing any of it or running an installer. Unnamed, an unchanged state is not "
            "stored twice."
        ),
        arguments="CreateBackupArguments",
        result="CreateBackupResult",
        read_only=False,
        destructive=False,
        idempotent=False,
        call=_create_backup,
    ),
    Tool(
        name="list_backups",
        title="List configuration backups",
        description=(
            "List backups, newest first, and what changed outside since the last known state (`current.drift`). Call "
            "it when a hook, command or setting vanished."
        ),
        arguments="ListBackupsArguments",
        result="ListBackupsResult",
        read_only=True,
        destructive=False,
        idempotent=True,
        call=_list_backups,
    ),
    Tool(
        name="compare",
        title="Compare configuration states",
        description=(
            "Show what differs between two states, like `git diff version other`, secrets masked, and what going back "
            "would loosen. Call it before rollback_to, and hand it the plan_id."
        ),
        arguments="CompareArguments",
        result="CompareResult",
        read_only=True,
        destructive=False,
        idempotent=True,
        call=_compare,
    ),
    Tool(
        name="rollback_to",
        title="Roll the configuration back",
        description=(
            "Bring Claude Code's configuration back to a backup: all targets or none, after a safety backup. "
            "Preview with dry_run. confirm_required lists what gets less safe: ask the person, then repeat the lines "
            "in `accept`."
        ),
        arguments="RollbackToArguments",
        result="RestoreResult",
        read_only=False,
        destructive=True,
        idempotent=True,
        call=_rollback_to,
    ),
    Tool(
        name="undo",
        title="Undo the last configuration change",
        description=(
            "Take back the last thing that happened: an edit by anyone since the last known "
            "state, else the last rollback or change. Again goes further."
        ),
        arguments="WalkArguments",
        result="RestoreResult",
        read_only=False,
        destructive=True,
        idempotent=False,
        call=_undo,
    ),
    Tool(
        name="redo",
        title="Redo what was undone",
        description="Bring again what the last undo took back, unless something changed since.",
        arguments="WalkArguments",
        result="RestoreResult",
        read_only=False,
        destructive=True,
        idempotent=False,
        call=_redo,
    ),
    Tool(
        name="check_config",
        title="Check the configuration",
        description=(
            "Find what Claude Code would not load, hooks that deny every tool or guard nothing, misspelt keys, "
            "live or in a backup. Call it after editing, or when tools are denied."
        ),
        arguments="CheckConfigArguments",
        result="CheckConfigResult",
        read_only=True,
        destructive=False,
        idempotent=True,
        call=_check_config,
    ),
    Tool(
        name="query_audit",
        title="Query the audit log",
        description=("Read the tamper-evident log of backups, restores, outside changes and refusals, newest first."),
        arguments="QueryAuditArguments",
        result="QueryAuditResult",
        read_only=True,
        destructive=False,
        idempotent=True,
        call=_query_audit,
    ),
    Tool(
        name="begin_update",
        title="Begin an update of the configuration",
        description=(
            "Check and back up the configuration before a program updates it. Then run the program and call "
            "finish_update. For a shell command, `stravinsky-rollback update run VERSION -- COMMAND` does all of it."
        ),
        arguments="BeginUpdateArguments",
        result="BeginUpdateResult",
        read_only=False,
        destructive=False,
        idempotent=False,
        call=_begin_update,
        is_default=False,
    ),
    Tool(
        name="finish_update",
        title="Finish an update of the configuration",
        description=(
            "End what begin_update opened: the result is checked against the state before. Where it failed, or lost "
            "guards, deny rules or settings, everything is taken back. `lost` lists files that the person had changed."
        ),
        arguments="FinishUpdateArguments",
        result="FinishUpdateResult",
        read_only=False,
        destructive=True,
        idempotent=False,
        call=_finish_update,
        is_default=False,
    ),
)
