"""Beginning the log anew after a break, because a person said so: nothing of the old one is deleted.

What can still be read of it is put aside under another name first; the new log then takes its place by one rename and
opens with what was wrong. Until that rename the break is there to be found again, and the whole may be repeated.
"""

import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from stravinsky_rollback_mcp.core import carry
from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.codec.opening import Opening
from stravinsky_rollback_mcp.core.model import Anchor, AuditDraft, AuditRecord, Chain
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.audit_archive import FOLDER
from stravinsky_rollback_mcp.disk.audit_chain import ChainReader
from stravinsky_rollback_mcp.disk.audit_lines import HEAD, LOG, unreadable
from stravinsky_rollback_mcp.disk.audit_rotation import open_log

BROKEN = "broken"

Adopt = Callable[[Mapping[str, AuditRecord]], Iterable[AuditDraft]]


def begin_anew(reader: ChainReader, files: Files, broken: Chain, adopt: Adopt, about: AuditRecord) -> str:
    """Replace a broken log by one that says so; where the old one was put. The audit's lock is held.

    ``adopt`` gets what the sound part still says of backups by version and returns the records of those to be believed
    from now on. ``about`` has the time, the id and the actor of it all.
    """
    folder = os.path.dirname(reader.log)
    with reader.open() as log:
        backups = {record.draft.version or "": record for record in reader.backups.records(log)}
        drafts = tuple(adopt(backups))
        adopted = {draft.version for draft in drafts}
        carried = carry.carried(
            (record for version, record in backups.items() if version not in adopted),
            reader.states.records(log),
            reader.operations.newest(carry.MAX_OPERATIONS, log),
            None,
        )
        before = _last_known(reader, Anchor(seq=log.prefix.seq, head=log.prefix.hash))
    aside = f"{BROKEN}/{before.seq}-{about.event_id}"
    found = {"problem": broken.problem, "first_bad_seq": broken.first_bad_seq, "sound_events": broken.events}
    opening = Opening(broken={**found, "kept_in": aside, "adopted": sorted(version or "" for version in adopted)})
    content, head = open_log(opening, carried, about, before)
    for draft in drafts:
        record = replace(about, seq=head.seq + 1, event_id=f"{about.event_id}-{head.seq + 1}", draft=draft)
        line = chain.encode_line(record, head.head)
        content += line
        head = Anchor(seq=record.seq, head=chain.line_hash(line[:-1]))
    _put_aside(folder, os.path.join(folder, aside), files)
    files.write_file(reader.log, content)
    files.write_file(reader.head, chain.encode_head(head))
    reader.begun_anew()
    return aside


def _last_known(reader: ChainReader, sound: Anchor) -> Anchor:
    """The newest record that anything speaks of: numbers are never given twice, nor does order in history change."""
    head = reader.read_head().anchor or sound
    seq = max(sound.seq, head.seq, reader.known_seq, *(last for _, last, _ in reader.archive_names()))
    named = next((anchor for anchor in (head, sound) if anchor.seq == seq), None)
    return named or Anchor(seq=seq, head=chain.GENESIS)


def _put_aside(folder: str, aside: str, files: Files) -> None:
    for path in (os.path.dirname(aside), aside):
        files.ensure_folder(path)
    if os.path.isdir(os.path.join(folder, FOLDER)):
        files.publish(os.path.join(folder, FOLDER), os.path.join(aside, FOLDER))
    for name in (LOG, HEAD):
        path = os.path.join(folder, name)
        try:
            is_plain = stat.S_ISREG(os.lstat(path).st_mode)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unreadable(error, path) from error
        if not is_plain:
            files.publish(path, os.path.join(aside, name))
        elif not files.hard_link(path, os.path.join(aside, name)):
            _copy(path, os.path.join(aside, name), files)
    files.sync_folder(aside)


def _copy(path: str, destination: str, files: Files) -> None:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise unreadable(error, path) from error
    files.write_file(destination, content)


def unclaimed(existing: Collection[str]) -> str:
    """What is wrong when there are backups and no audit at all: each was recorded before it existed."""
    return f"{LOG} is missing, and the store holds {len(existing)} backups that it must have recorded"
