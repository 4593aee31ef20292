"""``recovery/updates.json``: the updates that were begun and not ended, at most one a view."""

from dataclasses import dataclass

from stravinsky_rollback_mcp.core.codec.text import (
    Members,
    from_json,
    name_fields,
    read_name,
    require_format,
    to_readable_json,
)
from stravinsky_rollback_mcp.errors import Code, RollbackError

FORMAT = 1
MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUpdate:
    """An update that is under way in one view; ``backup`` holds the state before it and must not go.

    ``operation_id`` is that of its ``UPDATE_START`` in the audit, which says the same. ``version_file`` is the
    absolute path of the file that the update will write its version into, None when it declared none.
    """

    operation_id: str
    user_root: str
    project: str | None
    version: str
    backup: str
    started_at: str
    version_file: str | None


def encode(updates: tuple[OpenUpdate, ...]) -> bytes:
    """The bytes of the record."""
    return to_readable_json({"format": FORMAT, "updates": [_encode_update(update) for update in updates]})


def _encode_update(update: OpenUpdate) -> dict[str, object]:
    return {
        "operation_id": update.operation_id,
        **name_fields("user_root", update.user_root),
        **({} if update.project is None else name_fields("project", update.project)),
        "version": update.version,
        "backup": update.backup,
        "started_at": update.started_at,
        **({} if update.version_file is None else name_fields("version_file", update.version_file)),
    }


def decode(content: bytes) -> tuple[OpenUpdate, ...]:
    """The updates that the bytes record. Raises ``needs_attention`` when they are damaged or of a newer program."""
    try:
        outer = Members(from_json(content))
        require_format(outer.raw, FORMAT, "record of open updates")
        updates = tuple(_decode_update(Members(item)) for item in outer.objects("updates"))
        if len({(update.user_root, update.project) for update in updates}) != len(updates):
            raise ValueError("two updates of one view")
    except ValueError as error:
        raise damaged(str(error)) from error
    except RollbackError as error:
        raise damaged(error.message.rstrip(".")) from error
    return updates


def damaged(problem: str) -> RollbackError:
    """The refusal for a record that nobody but a person can say anything about."""
    return RollbackError(
        Code.NEEDS_ATTENTION,
        f"the record of open updates (recovery/updates.json) cannot be used: {problem}.",
        "nothing was changed. `stravinsky-rollback audit log --type UPDATE_START` names the backup that holds the "
        "state before the update; move updates.json away, then roll back to it if the update is to go.",
    )


def _decode_update(members: Members) -> OpenUpdate:
    return OpenUpdate(
        operation_id=members.text("operation_id"),
        user_root=read_name(members.raw, "user_root"),
        project=read_name(members.raw, "project") if "project" in members.raw else None,
        version=members.text("version"),
        backup=members.text("backup"),
        started_at=members.text("started_at"),
        version_file=read_name(members.raw, "version_file") if "version_file" in members.raw else None,
    )
