"""Beginning the audit anew when its chain is broken or gone, because a person at the terminal agreed to it."""

from collections.abc import Iterator, Mapping

from stravinsky_rollback_mcp.core.model import AuditDraft, AuditRecord, EventStatus, EventType
from stravinsky_rollback_mcp.core.names import capped, plural
from stravinsky_rollback_mcp.core.outcome import AuditBegun
from stravinsky_rollback_mcp.disk.store import Opened
from stravinsky_rollback_mcp.errors import RollbackError
from stravinsky_rollback_mcp.service.backup import creation_draft
from stravinsky_rollback_mcp.service.desk import Caller, Desk
from stravinsky_rollback_mcp.service.stored import recorded


def begin_audit_anew(desk: Desk, caller: Caller) -> AuditBegun:
    """Put a broken log aside and begin a new one, which says what was wrong; nothing is done to a sound one.

    Backups that the sound part of the old log vouches for stay as they are. Others are believed from now on when their
    archives are what their own manifest says; nothing can tell any more whether somebody made them up.
    """
    left_out: list[str] = []
    adopted: list[str] = []

    def adopt(sound: Mapping[str, AuditRecord]) -> Iterator[AuditDraft]:
        for opened in _whole(desk, left_out):
            version = opened.manifest.version
            record = sound.get(version)
            if record is None:
                adopted.append(version)
                yield creation_draft(desk, caller, opened, unanchored=True)
            elif recorded(record, "manifest_sha256") != opened.sha256:
                left_out.append(version)

    with desk.holding(caller):
        draft = AuditDraft(
            event_type=EventType.LOG_OPENED,
            status=EventStatus.SUCCESS,
            actor=caller.actor,
            user_root=desk.view.user_root,
            project=desk.view.project,
        )
        aside = desk.audit.begin_anew(draft, adopt, now=desk.now(), event_id=desk.new_id())
        anchor = desk.audit.anchor()
    if aside is None:
        return AuditBegun(
            summary="The chain is intact; nothing was done.",
            next_step="",
            notices=(),
            begun=False,
            kept_in=None,
            adopted=(),
            audit=anchor,
        )
    notices = [
        f"{version} is damaged, or not the backup that was recorded; it is not restored." for version in left_out
    ]
    if adopted:
        notices.insert(0, f"No chain vouches for what {plural(len(adopted), 'backup')} held before now.")
    return AuditBegun(
        summary=f"A new audit was begun; {plural(len(adopted), 'backup')} taken over unanchored.",
        next_step="Run `stravinsky-rollback recovery resume`, in case something was interrupted.",
        notices=capped(notices),
        begun=True,
        kept_in=desk.shown(f"{desk.store.audit}/{aside}"),
        adopted=tuple(adopted),
        audit=anchor,
    )


def _whole(desk: Desk, left_out: list[str]) -> list[Opened]:
    """The backups whose archives read back as their own manifest says, in the order of their making."""
    found: list[Opened] = []
    for version in sorted(desk.store.versions()):
        try:
            opened = desk.store.read(version)
            is_whole = not desk.store.verify(opened)
        except RollbackError:
            is_whole, opened = False, None
        if opened is not None and is_whole:
            found.append(opened)
        else:
            left_out.append(version)
    return sorted(found, key=lambda opened: opened.manifest.sequence)
