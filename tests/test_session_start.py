"""What a server does by itself once a client is there."""

from functools import partial
from pathlib import Path

import anyio
import pytest
from support.config import realistic

from stravinsky_rollback_mcp import config
from stravinsky_rollback_mcp.core.outcome import BackupList
from stravinsky_rollback_mcp.server import RollbackServer
from stravinsky_rollback_mcp.service import Actor, Caller, Consent, MadeBy

MODEL = Caller(actor=Actor(kind="mcp_client", name="a model"), made_by=MadeBy.TOOL)


@pytest.fixture
def live(home: Path, project: Path) -> Path:
    """A realistic configuration; the user root of it."""
    realistic(home, project)
    return home / ".claude"


def _new_session() -> RollbackServer:
    server = RollbackServer(config.of_process(for_terminal=False))
    anyio.run(server.begin_session)
    return server


def _seen(server: RollbackServer) -> BackupList:
    return anyio.run(partial(server.service.list_backups, MODEL))


def test_the_first_session_is_protected_from_its_start(live: Path) -> None:
    """Contract, Tools: an automatic backup after the first reply if the state is new."""
    seen = _seen(_new_session())
    assert [(backup.kind, backup.changed != ()) for backup in seen.backups] == [("automatic", True)]
    assert seen.current.version == seen.backups[0].version
    assert seen.notices == ()


def test_a_state_that_some_backup_holds_is_not_stored_again(live: Path) -> None:
    """Session starts are many; states are few."""
    first = _new_session()
    anyio.run(partial(first.service.create_backup, MODEL, version="v1"))
    (live / "hooks" / "notify.sh").write_text("other\n", encoding="utf-8")
    anyio.run(partial(first.service.rollback_to, MODEL, version="v1", consent=Consent()))
    before = _seen(first).total
    assert _seen(_new_session()).total == before


def test_a_change_between_sessions_is_told_although_it_was_backed_up(live: Path) -> None:
    """Nothing is hidden: the backup at the start of a session must not swallow that something changed outside."""
    _new_session()
    (live / "hooks" / "notify.sh").unlink()
    second = _new_session()
    seen = _seen(second)
    (notice,) = seen.notices
    assert "~/.claude/hooks" in notice
    assert "undo" in notice
    undone = anyio.run(partial(second.service.undo, MODEL, consent=Consent()))
    assert undone.applied
    assert (live / "hooks" / "notify.sh").exists()
    assert _seen(second).notices == ()


def test_no_backup_is_made_when_the_person_said_so(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`backup.on_session_start`, by its variable."""
    monkeypatch.setenv("STRAVINSKY_BACKUP_ON_SESSION_START", "false")
    assert _seen(_new_session()).total == 0
