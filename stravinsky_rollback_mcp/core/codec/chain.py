"""The audit log's line, both ways: one JSON object whose hash can be checked without parsing it.

A line is ``{"hash":"<64 hex>","prev":"<64 hex>","seq":N,`` and then the record's members in canonical order. The
hash covers the bytes ``{`` + everything after the hash member, so a verifier slices raw bytes and never has to
write JSON again the same way. ``prev`` is the hash of the line before, ``GENESIS`` for the first.

Lines are handled without their newline, except by ``encode_line``, which returns what is appended.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import cast

from stravinsky_rollback_mcp.core.codec import text
from stravinsky_rollback_mcp.core.model import (
    Actor,
    Anchor,
    AuditDraft,
    AuditRecord,
    Certainty,
    EventStatus,
    EventType,
    TargetDigest,
)
from stravinsky_rollback_mcp.errors import Code, RollbackError

FORMAT = 1
GENESIS = "0" * 64
MAX_LINE_BYTES = 1 << 20

_OPENING = b'{"hash":"'
_HASH_END = len(_OPENING) + 64
_BODY = _HASH_END + 2  # behind the quote and the comma that close the hash member
_STATED = re.compile(rb'\{"hash":"([0-9a-f]{64})","prev":"([0-9a-f]{64})","seq":([0-9]+),')
_OPERATION = b'"operation_id":"'
_KNOWN = frozenset(
    {"hash", "prev", "seq", "format", "event_id", "timestamp", "event_type", "status", "actor", "user_root"}
    | {"user_root_b64", "project", "project_b64", "version", "previous_version", "operation_id", "duration_seconds"}
    | {"paths", "error", "state", "restores", "details", "carried"}
)
_ACTOR = frozenset({"kind", "name", "session_id", "tool", "certainty"})
_ACTOR_OPTIONAL = frozenset({"tool_use_id"})


def line_hash(raw: bytes) -> str:
    """The hash that the bytes of a line have, whatever the line itself says."""
    return sha256(b"{" + raw[_BODY:]).hexdigest()


def check_line(raw: bytes, prev: str, seq: int) -> str | None:
    """The hash of a line that is unchanged, is record ``seq`` and follows ``prev``; None when it is not."""
    found = sha256(b"{" + raw[_BODY:]).hexdigest()
    # Bytes are put together in half the time that text takes, and this is done for every line of a log.
    stated = b'{"hash":"%b","prev":"%b","seq":%d,' % (found.encode(), prev.encode(), seq)
    return found if raw.startswith(stated) else None


def place_line(raw: bytes, prev: str, seq: int) -> str | None:
    """The hash that a line states, when it says that it is record ``seq`` and follows ``prev``; not computed."""
    in_place = raw.startswith(_OPENING) and raw.startswith(f'","prev":"{prev}","seq":{seq},'.encode(), _HASH_END)
    return raw[len(_OPENING) : _HASH_END].decode("ascii", "replace") if in_place else None


def line_problem(raw: bytes, prev: str, seq: int) -> str:
    """What is wrong, for a person, with a line that ``check_line`` refused."""
    if not (raw.startswith(_OPENING) and raw.startswith(b'","prev":"', _HASH_END)):
        return f"line {seq} of the log is not a record"
    if not raw.startswith(_OPENING + line_hash(raw).encode()):
        return f"record {seq} was changed: its content does not have the hash that it states"
    if not raw.startswith(f'","prev":"{prev}",'.encode(), _HASH_END):
        return f"the record in place {seq} does not follow on the one before it"
    return f"the record in place {seq} has another number"


def encode_line(record: AuditRecord, prev: str) -> bytes:
    """The line of a record that follows ``prev``, with its newline. Raises ``too_large`` above 1 MiB."""
    members = text.to_json(_members(record))
    body = f'"prev":"{prev}","seq":{record.seq},'.encode() + members[1:]
    line = _OPENING + sha256(b"{" + body).hexdigest().encode() + b'",' + body + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise RollbackError(Code.TOO_LARGE, f"the audit record would be {len(line)} bytes long; 1 MiB is the most.")
    return line


def decode_line(raw: bytes) -> AuditRecord:
    """The record of a line whose own hash fits. Raises ValueError for anything that ``encode_line`` never writes.

    A record of a newer format is refused with ``unsupported_version``.
    """
    raw = raw.removesuffix(b"\n")
    if not raw.startswith(_OPENING + line_hash(raw).encode() + b'","prev":"'):
        raise ValueError("the line does not have the hash that it states")
    members = text.from_json(raw)
    text.require_format(members, FORMAT, "audit record")
    if not members.keys() <= _KNOWN:
        raise ValueError("the record has unknown members")
    return _record(members)


def stated(raw: bytes) -> tuple[int, str, str]:
    """The number, the previous hash and the own hash that a line states. Raises ValueError where it is no record."""
    found = _STATED.match(raw)
    if found is None:
        raise ValueError("the line is not a record")
    return int(found[3]), found[2].decode("ascii"), found[1].decode("ascii")


def operation_of(raw: bytes) -> str:
    """The operation that a line which mentions one belongs to; one that only quotes it may be taken for one of it."""
    return raw.rpartition(_OPERATION)[2].partition(b'"')[0].decode("ascii", "replace")


def encode_head(head: Anchor) -> bytes:
    """The content of ``head.json``: how many records there are, and the hash of the last."""
    return text.to_json({"format": FORMAT, "events": head.seq, "hash": head.head}) + b"\n"


def decode_head(content: bytes) -> Anchor:
    """The anchor that ``head.json`` holds. Raises ValueError when it holds anything else."""
    members = text.from_json(content)
    text.require_format(members, FORMAT, "audit head")
    head = Anchor(seq=_whole(members, "events"), head=_text(members, "hash"))
    if content != encode_head(head):
        raise ValueError("the head is not in its one form")
    return head


# -- the members ----------------------------------------------------------------------------------------------------


def _members(record: AuditRecord) -> dict[str, object]:
    draft = record.draft
    actor = draft.actor
    members: dict[str, object] = {
        "format": FORMAT,
        "event_id": record.event_id,
        "timestamp": record.timestamp,
        "event_type": draft.event_type.value,
        "status": draft.status.value,
        "actor": {
            "kind": actor.kind,
            "name": actor.name,
            "session_id": actor.session_id,
            "tool": actor.tool,
            "certainty": actor.certainty.value,
            **({"tool_use_id": actor.tool_use_id} if actor.tool_use_id else {}),
        },
        "version": draft.version,
        "previous_version": draft.previous_version,
        "operation_id": draft.operation_id,
        "duration_seconds": draft.duration_seconds,
        "error": draft.error,
        "restores": draft.restores,
        "paths": [_path_value(path) for path in draft.paths] or None,
        "state": None
        if draft.state is None
        else [{"target": item.target, "digest": item.digest} for item in draft.state],
        "details": None if draft.details is None else dict(draft.details),
        "carried": [{"seq": item.seq, **_members(item)} for item in draft.carried] or None,
    }
    members.update(text.name_fields("user_root", draft.user_root))
    if draft.project is not None:
        members.update(text.name_fields("project", draft.project))
    return {key: value for key, value in members.items() if value is not None}


def _record(members: Mapping[str, object]) -> AuditRecord:
    return AuditRecord(
        seq=_whole(members, "seq"),
        event_id=_text(members, "event_id"),
        timestamp=_text(members, "timestamp"),
        draft=_draft(members),
    )


def _carried(value: object) -> AuditRecord:
    members = _object(value, "carried")
    text.require_format(members, FORMAT, "audit record")
    if not members.keys() <= _KNOWN - {"hash", "prev", "carried"}:
        raise ValueError("a carried record has unknown members")
    return _record(members)


def _draft(members: Mapping[str, object]) -> AuditDraft:
    return AuditDraft(
        event_type=EventType(_text(members, "event_type")),
        status=EventStatus(_text(members, "status")),
        actor=_actor(members),
        user_root=text.read_name(members, "user_root"),
        project=text.read_name(members, "project") if "project" in members else None,
        version=_optional_text(members, "version"),
        previous_version=_optional_text(members, "previous_version"),
        operation_id=_optional_text(members, "operation_id"),
        duration_seconds=_duration(members),
        paths=tuple(_path(value) for value in _list(members, "paths")) if "paths" in members else (),
        error=_optional_text(members, "error"),
        state=tuple(_target_digest(value) for value in _list(members, "state")) if "state" in members else None,
        restores=_whole(members, "restores") if "restores" in members else None,
        details=_object(members["details"], "details") if "details" in members else None,
        carried=tuple(_carried(value) for value in _list(members, "carried")) if "carried" in members else (),
    )


def _actor(members: Mapping[str, object]) -> Actor:
    actor = _object(members.get("actor"), "actor")
    if not _ACTOR <= actor.keys() <= _ACTOR | _ACTOR_OPTIONAL:
        raise ValueError("actor does not have its members")
    return Actor(
        kind=_text(actor, "kind"),
        name=_text(actor, "name"),
        session_id=_text(actor, "session_id"),
        tool=_text(actor, "tool"),
        tool_use_id=_optional_text(actor, "tool_use_id") or "",
        certainty=Certainty(_text(actor, "certainty")),
    )


def _target_digest(value: object) -> TargetDigest:
    item = _object(value, "state")
    if item.keys() != {"target", "digest"}:
        raise ValueError("a state's item does not have its members")
    return TargetDigest(target=_text(item, "target"), digest=_text(item, "digest"))


def _path_value(path: str) -> object:
    fields = text.name_fields("name", path)
    return fields["name"] if len(fields) == 1 else fields


def _path(value: object) -> str:
    if isinstance(value, str):
        return value
    fields = _object(value, "paths")
    if fields.keys() != {"name", "name_b64"}:
        raise ValueError("a path does not have its members")
    return text.read_name(fields, "name")


def _text(members: Mapping[str, object], key: str) -> str:
    value = members.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is not a text")
    return value


def _optional_text(members: Mapping[str, object], key: str) -> str | None:
    return _text(members, key) if key in members else None


def _whole(members: Mapping[str, object], key: str) -> int:
    value = members.get(key)
    if type(value) is not int or value < 0:
        raise ValueError(f"{key} is not a whole number")
    return value


def _duration(members: Mapping[str, object]) -> float | None:
    if "duration_seconds" not in members:
        return None
    value = members["duration_seconds"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("duration_seconds is not a number")
    return float(value)


def _list(members: Mapping[str, object], key: str) -> list[object]:
    value = members.get(key)
    if not isinstance(value, list):
        raise ValueError(f"{key} is not a list")
    return cast("list[object]", value)


def _object(value: object, key: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{key} is not an object")
    return cast("dict[str, object]", value)
