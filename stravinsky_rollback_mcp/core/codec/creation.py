"""What the audit's record of a creation says of a backup: enough to list it without opening its manifest."""

from collections.abc import Mapping
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.codec.text import Members
from stravinsky_rollback_mcp.core.model import AuditRecord, BackupKind, MadeBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """The ``details`` of a ``BACKUP_CREATED`` record.

    ``digests`` are the tree digests by target id, ``archives`` the size of each archive by its file name,
    ``stored_bytes`` those sizes and the manifest's. ``sequence`` orders backups, whatever clocks and names say.
    """

    manifest_sha256: str
    sequence: int
    created_at: str
    kind: BackupKind
    made_by: MadeBy
    note: str
    digests: Mapping[str, str]
    archives: Mapping[str, int]
    files: int
    size_bytes: int
    stored_bytes: int


def encode(creation: Creation) -> dict[str, object]:
    """The ``details`` of the record. The key ``note`` is left to calls that found this state stored already."""
    return {
        "manifest_sha256": creation.manifest_sha256,
        "sequence": creation.sequence,
        "created_at": creation.created_at,
        "kind": creation.kind.value,
        "made_by": creation.made_by.value,
        "backup_note": creation.note,
        "digests": dict(creation.digests),
        "archives": dict(creation.archives),
        "files": creation.files,
        "size_bytes": creation.size_bytes,
        "stored_bytes": creation.stored_bytes,
    }


def decode(record: AuditRecord) -> Creation:
    """What the record says of the backup. Raises ValueError for details of any other form."""
    members = Members(record.draft.details or {})
    archives = members.object("archives")
    return Creation(
        manifest_sha256=members.text("manifest_sha256"),
        sequence=members.number("sequence"),
        created_at=members.text("created_at"),
        kind=BackupKind(members.text("kind")),
        made_by=MadeBy(members.text("made_by")),
        note=members.text("backup_note"),
        digests=members.texts("digests"),
        archives={name: archives.number(name) for name in archives.raw},
        files=members.number("files"),
        size_bytes=members.number("size_bytes"),
        stored_bytes=members.number("stored_bytes"),
    )
