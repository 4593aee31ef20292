"""``latest.json``: which version each view holds now. It never names a backup that is gone.

Only a note for people and other programs: what was done is done, and is not reported as refused where this cannot be
written.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from stravinsky_rollback_mcp.core.codec.latest import Latest
from stravinsky_rollback_mcp.errors import RollbackError
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.stored import version_holding


def write_latest(desk: Desk, version: str | None, digests: Mapping[str, str]) -> None:
    """Note which version this view holds, and what was live when that was found."""
    view = Latest(
        user_root=desk.view.user_root,
        project=desk.view.project,
        version=version,
        looked_at=desk.now(),
        digests={target: digest for target, digest in digests.items() if digest},
    )
    others = tuple(
        other
        for other in desk.store.read_latest()
        if (other.user_root, other.project) != (view.user_root, view.project)
    )
    with suppress(RollbackError):
        desk.store.write_latest((*others, view))


def let_go(desk: Desk, version: str) -> None:
    """Before a backup goes: another that holds the same state takes its place in the note, or none does."""
    views = desk.store.read_latest()
    if all(view.version != version for view in views):
        return
    left = {name: record for name, record in desk.known().backups.items() if name != version}
    followed = tuple(
        replace(view, version=version_holding(left, view.user_root, view.project, view.digests))
        if view.version == version
        else view
        for view in views
    )
    with suppress(RollbackError):
        desk.store.write_latest(followed)
