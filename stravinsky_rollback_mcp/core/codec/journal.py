"""``recovery/journal.json``: the one operation in flight, checksummed, so that a torn or edited one is never obeyed."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.codec.text import (
    Members,
    from_json,
    name_fields,
    read_name,
    require_format,
    to_json,
    to_readable_json,
)
from stravinsky_rollback_mcp.core.model import AuditDraft, AuditRecord, Kind
from stravinsky_rollback_mcp.errors import Code, RollbackError

FORMAT = 1
_MAX_INODE_DIGITS = 20


class Phase(StrEnum):
    """How far the operation is; each is durable before what it allows begins.

    STAGING: slots may appear, targets are untouched. PREPARED: targets change; a crash means undo. COMMITTED: all is
    live and proven; a crash means finish. ABORTED: all is as before; a crash means finish cleaning up.
    """

    STAGING = "STAGING"
    PREPARED = "PREPARED"
    COMMITTED = "COMMITTED"
    ABORTED = "ABORTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """One entry that leaves the live tree after the commit, if it is still what it was; only a file has a digest.

    ``folder_mtime_ns`` is the time that the folder around it gets back, None when that folder leaves too.
    """

    path: str
    sha256: str
    folder_mtime_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalTarget:
    """One target of the operation: ``resolved`` is swapped with ``new_slot``, or moved to ``old_slot``, beside it.

    ``new_inode`` (0 until PREPARED) is the staged tree's own inode number: where a late writer changed bytes, so that
    no digest fits, it tells a slot that was not swapped yet from one that holds the displaced tree. ``retired`` go from
    the live tree after the commit, in that order.
    """

    id: str
    kind: Kind
    path: str
    resolved: str
    new_slot: str
    old_slot: str
    had_old: bool
    want_new: bool
    old_digest: str
    new_digest: str
    new_inode: int = 0
    retired: tuple[Retirement, ...] = ()

    @property
    def is_swapped(self) -> bool:
        """Whether a tree changes places; where all that happens is a retirement, the live one stays."""
        return self.old_digest != self.new_digest

    @property
    def slots(self) -> tuple[str, ...]:
        """Every name beside the target that the operation may leave something under, doomed slots included."""
        return tuple(name for slot in (self.new_slot, self.old_slot) for name in (slot, doomed(slot)))


def doomed(slot: str) -> str:
    """The name of a slot that is being taken apart: what is half deleted is never taken for a tree."""
    return f"{slot}.gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """The operation in flight; ``outcome`` is the audit record to be written when it succeeds.

    ``made_folders`` did not exist before, outermost first; they go again when the operation is taken back. ``problem``
    says why it waits for a person, empty as long as it does not.
    """

    operation_id: str
    phase: Phase
    started_at: str
    targets: tuple[JournalTarget, ...]
    made_folders: tuple[str, ...]
    outcome: AuditDraft
    problem: str = ""

    @property
    def parents(self) -> tuple[str, ...]:
        """The folders in which targets and slots lie."""
        return tuple(sorted({target.resolved.rpartition("/")[0] or "/" for target in self.targets}))


def encode(journal: Journal) -> bytes:
    """The bytes of the journal, with their own checksum."""
    body = {
        "operation_id": journal.operation_id,
        "phase": journal.phase,
        "started_at": journal.started_at,
        "targets": [_encode_target(target) for target in journal.targets],
        "made_folders": [name_fields("path", folder) for folder in journal.made_folders],
        "outcome": chain.encode_line(_unplaced(journal.outcome), chain.GENESIS).decode("ascii"),
        **({"problem": journal.problem} if journal.problem else {}),
    }
    return to_readable_json({"format": FORMAT, "checksum": hashlib.sha256(to_json(body)).hexdigest(), "body": body})


def _unplaced(draft: AuditDraft) -> AuditRecord:
    return AuditRecord(seq=0, event_id="", timestamp="", draft=draft)


def _encode_target(target: JournalTarget) -> dict[str, object]:
    return {
        "id": target.id,
        "kind": target.kind,
        **name_fields("path", target.path),
        **name_fields("resolved", target.resolved),
        **name_fields("new_slot", target.new_slot),
        **name_fields("old_slot", target.old_slot),
        "had_old": target.had_old,
        "want_new": target.want_new,
        "old_digest": target.old_digest,
        "new_digest": target.new_digest,
        "new_inode": str(target.new_inode),  # 64 bits without a sign, which some file systems use up
        "retired": [
            {**name_fields("path", item.path), "sha256": item.sha256, "folder_mtime_ns": item.folder_mtime_ns}
            for item in target.retired
        ],
    }


def decode(content: bytes) -> Journal:
    """The operation that the bytes record. Raises ``needs_attention`` when they are damaged: nothing is touched."""
    try:
        outer = Members(from_json(content))
        require_format(outer.raw, FORMAT, "journal")
        body = outer.object("body")
        if hashlib.sha256(to_json(body.raw)).hexdigest() != outer.text("checksum"):
            raise ValueError("its checksum does not fit")
        return Journal(
            operation_id=body.text("operation_id"),
            phase=Phase(body.text("phase")),
            started_at=body.text("started_at"),
            targets=tuple(_decode_target(Members(item)) for item in body.objects("targets")),
            made_folders=tuple(read_name(item, "path") for item in body.objects("made_folders")),
            outcome=chain.decode_line(body.text("outcome").encode("ascii")).draft,
            problem=body.optional_text("problem") or "",
        )
    except (ValueError, RecursionError) as error:
        raise damaged(str(error)) from error
    except RollbackError as error:
        raise RollbackError(
            Code.NEEDS_ATTENTION,
            f"a record of an unfinished operation is not for this program: {error.message}",
            "nothing was changed. Finish it with the program that began it: update stravinsky-rollback-mcp, then run "
            "`stravinsky-rollback recovery resume`.",
        ) from error


def damaged(problem: str) -> RollbackError:
    """The refusal for a record that cannot be obeyed: nobody but a person can say what is right."""
    return RollbackError(
        Code.NEEDS_ATTENTION,
        f"a record of an unfinished operation (in the store's recovery folder) is damaged: {problem}.",
        "nothing was changed. Look at the slots named .stravinsky-… beside your configuration, put the right tree "
        "in place by hand, then move the record away.",
    )


def _decode_target(members: Members) -> JournalTarget:
    return JournalTarget(
        id=members.text("id"),
        kind=Kind(members.text("kind")),
        path=read_name(members.raw, "path"),
        resolved=read_name(members.raw, "resolved"),
        new_slot=read_name(members.raw, "new_slot"),
        old_slot=read_name(members.raw, "old_slot"),
        had_old=members.truth("had_old"),
        want_new=members.truth("want_new"),
        old_digest=members.text("old_digest"),
        new_digest=members.text("new_digest"),
        new_inode=_decode_inode(members.text("new_inode")),
        retired=tuple(
            Retirement(
                path=read_name(item, "path"),
                sha256=Members(item).text("sha256"),
                folder_mtime_ns=None
                if item.get("folder_mtime_ns") is None
                else Members(item).integer("folder_mtime_ns"),
            )
            for item in members.objects("retired")
        ),
    )


def _decode_inode(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_INODE_DIGITS):
        raise ValueError("new_inode is not a number")
    return int(text)
