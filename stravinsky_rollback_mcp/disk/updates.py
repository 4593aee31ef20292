"""The record of open updates on disk: replaced durably, gone when none is open."""

import os

from stravinsky_rollback_mcp.core.codec import updates as codec
from stravinsky_rollback_mcp.core.codec.updates import OpenUpdate
from stravinsky_rollback_mcp.disk.atomic import Files
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError, read_file
from stravinsky_rollback_mcp.errors import RollbackError

_ATTEMPTS = 4  # readers hold no lock: the record may be replaced or removed while they read it


class UpdatesFile:
    """``recovery/updates.json``. Writers hold the store's lock."""

    def __init__(self, folder: str, files: Files) -> None:
        self._folder = folder
        self._path = f"{folder}/updates.json"
        self._files = files

    def read(self) -> tuple[OpenUpdate, ...]:
        """Every open update of the store. Raises ``needs_attention`` when the record is damaged."""
        problem: Exception = ChangedWhileReadError(self._path)
        for _ in range(_ATTEMPTS):
            if not os.path.lexists(self._path):
                return ()
            try:
                content = read_file(self._path, codec.MAX_BYTES)
            except ChangedWhileReadError as error:
                problem = error
            except RollbackError as error:
                raise codec.damaged(error.message.rstrip(".")) from error
            else:
                return codec.decode(content)
        raise codec.damaged("it is no file that can be read") from problem

    def write(self, updates: tuple[OpenUpdate, ...]) -> None:
        """Record exactly these."""
        if updates:
            self._files.write_file(self._path, codec.encode(updates))
        elif os.path.lexists(self._path):
            self._files.remove_file(self._path)
            self._files.sync_folder(self._folder)
