"""The journal on disk: one record, replaced durably, removed when the operation is over."""

import os

from stravinsky_rollback_mcp.core.codec import journal as codec
from stravinsky_rollback_mcp.core.codec.journal import Journal
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file
from stravinsky_rollback_mcp.errors import Code, RollbackError

MAX_BYTES = 64 << 20
_EXPLANATION = "RECOVERY.md"
_ATTEMPTS = 4  # readers hold no lock: the record may be replaced or removed while they read it


class JournalFile:
    """``recovery/journal.json``. Writing a phase makes it durable, then tells the file layer what it now allows."""

    def __init__(self, folder: str, files: Files) -> None:
        self.folder = folder
        self._path = f"{folder}/journal.json"
        self._files = files

    def read(self) -> Journal | None:
        """The operation in flight, None when there is none. Raises ``needs_attention`` when the record is damaged."""
        problem: Exception = ChangedWhileReadError(self._path)
        for _ in range(_ATTEMPTS):
            if not os.path.lexists(self._path):
                return None
            try:
                return codec.decode(read_file(self._path, MAX_BYTES))
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
        if journal is None and os.path.lexists(f"{self.folder}/{_EXPLANATION}"):
            self._files.remove_file(f"{self.folder}/{_EXPLANATION}")

    def explain(self, text: str) -> None:
        """Tell a person, beside the record, what is to be done."""
        self._files.write_file(f"{self.folder}/{_EXPLANATION}", text.encode("utf-8", "replace"))

    def remove(self) -> None:
        """The operation is over and its slots are gone."""
        self._files.remove_file(f"{self.folder}/{_EXPLANATION}")
        self._files.remove_file(self._path)
        self._files.sync_folder(self.folder)
        self._files.phase = None
