"""The journal on disk: one record, replaced durably, removed when the operation is over."""

import os

from stravinsky_rollback_mcp.core.codec import journal as codec
from stravinsky_rollback_mcp.core.codec.journal import Journal
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.scan import read_file

MAX_BYTES = 64 << 20


class JournalFile:
    """``recovery/journal.json``. Writing a phase makes it durable, then tells the file layer what it now allows."""

    def __init__(self, folder: str, files: Files) -> None:
        self.folder = folder
        self._path = f"{folder}/journal.json"
        self._files = files

    def read(self) -> Journal | None:
        """The operation in flight, None when there is none. Raises ``needs_attention`` when the record is damaged."""
        if not os.path.lexists(self._path):
            return None
        return codec.decode(read_file(self._path, MAX_BYTES))

    def write(self, journal: Journal) -> None:
        """Record the operation with its phase."""
        self._files.write_file(self._path, codec.encode(journal))
        self._files.phase = journal.phase

    def adopt(self, journal: Journal) -> None:
        """Go on with an operation that another process recorded: its phase is durable already."""
        self._files.phase = journal.phase

    def remove(self) -> None:
        """The operation is over and its slots are gone."""
        self._files.remove_file(self._path)
        self._files.sync_folder(self.folder)
        self._files.phase = None
