"""The journal on disk: one record, replaced durably, removed when the operation is over, parked when it cannot end."""

import os
import re
import secrets

from stravinsky_rollback_mcp.core.codec import journal as codec
from stravinsky_rollback_mcp.core.codec.journal import Journal
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file, unreadable
from stravinsky_rollback_mcp.errors import Code, RollbackError

MAX_BYTES = 64 << 20
_EXPLANATION = "RECOVERY.md"
_PARKED = re.compile(r"parked-[0-9a-f]{8}\.json")
_ATTEMPTS = 4  # readers hold no lock: the record may be replaced or removed while they read it


class JournalFile:
    """``recovery/journal.json``. Writing a phase makes it durable, then tells the file layer what it now allows.

    An operation that can be neither finished nor taken back is parked: its record gets another name in the same
    folder, by one rename, and the next operation has the place of the journal to itself.
    """

    def __init__(self, folder: str, files: Files) -> None:
        self.folder = folder
        self._path = f"{folder}/journal.json"
        self._files = files

    # -- the operation in flight ------------------------------------------------------------------------------

    def read(self) -> Journal | None:
        """The operation in flight, None when there is none. Raises ``needs_attention`` when the record is damaged."""
        return self._read(self._path)

    def _read(self, path: str) -> Journal | None:
        problem: Exception = ChangedWhileReadError(path)
        for _ in range(_ATTEMPTS):
            if not os.path.lexists(path):
                return None
            try:
                return codec.decode(read_file(path, MAX_BYTES))
            except ChangedWhileReadError as error:
                problem = error
            except RollbackError as error:
                if error.code is Code.NEEDS_ATTENTION:
                    raise
                problem = error
                break
        raise codec.damaged(f"it is no file that can be read ({problem})") from problem

    def write(self, journal: Journal) -> None:
        """Record the operation with its phase."""
        self._files.write_file(self._path, codec.encode(journal))
        self._files.phase = journal.phase

    def adopt(self, journal: Journal | None) -> None:
        """Go on from what another process recorded, whose phase is durable already; what it left half written goes."""
        self._files.phase = None if journal is None else journal.phase
        self._files.sweep_temporaries(self.folder)
        if journal is None and not self.parked():
            self.explain("")

    def remove(self, journal: Journal) -> None:
        """The operation is over and its slots are gone; a slot without a record would be nobody's."""
        if any(os.path.lexists(slot) for target in journal.targets for slot in target.slots):
            raise RollbackError(Code.INTERNAL, "the record would go while its slots are there.")
        self._files.remove_file(self._path)
        self._files.sync_folder(self.folder)
        self._files.phase = None

    # -- operations that wait for a person --------------------------------------------------------------------

    def parked(self) -> dict[str, Journal]:
        """The records of operations that were set aside, by file name. Raises ``needs_attention`` for a damaged one."""
        try:
            names = sorted(name for name in os.listdir(self.folder) if _PARKED.fullmatch(name))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise unreadable(self.folder, error) from error
        records = {name: self._read(f"{self.folder}/{name}") for name in names}
        return {name: record for name, record in records.items() if record is not None}

    def park(self) -> None:
        """Set the operation in flight aside."""
        self._files.publish(self._path, f"{self.folder}/parked-{secrets.token_hex(4)}.json")
        self._files.phase = None

    def unpark(self, name: str, journal: Journal) -> None:
        """Put a parked operation in flight again."""
        self._files.publish(f"{self.folder}/{name}", self._path)
        self._files.phase = journal.phase

    def explain(self, text: str) -> None:
        """Tell a person, beside the records, what is to be done; nothing when the text is empty."""
        path = f"{self.folder}/{_EXPLANATION}"
        if text:
            self._files.write_file(path, text.encode("utf-8", "surrogateescape"))
        elif os.path.lexists(path):
            self._files.remove_file(path)
