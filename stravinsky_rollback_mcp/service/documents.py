"""Gathering the Markdown that Claude Code would load: commands, agents, skills, styles and rules."""

import posixpath

from stravinsky_rollback_mcp.core.checks import commands_validity
from stravinsky_rollback_mcp.core.checks.evidence import Folder
from stravinsky_rollback_mcp.core.checks.frontmatter import head_of
from stravinsky_rollback_mcp.core.model import EntryType, TargetState
from stravinsky_rollback_mcp.service.desk import Desk
from stravinsky_rollback_mcp.service.picture import Found, Holding, Picture

# What one look reads at most; larger files, and those beyond, are said to be not analysable.
_MAX_FILE_BYTES = 1 << 20
_MAX_BYTES = 16 << 20
_MAX_HEAD_BYTES = 2 << 20  # judged in one look, as much as a settings file may have
# Links may lead anywhere, to the same large file a thousand times.
_MAX_LINKS = 200
_MAX_LINKED_BYTES = 1 << 18


def folders(desk: Desk, picture: Picture) -> tuple[Folder, ...]:
    """The folders, the person's first; what was looked for and is not there is an empty one."""
    left_bytes, left_head_bytes = _MAX_BYTES, _MAX_HEAD_BYTES
    found: list[Folder] = []
    for target_id, holding in picture.holdings.items():
        component = holding.target.component
        if component not in commands_validity.COMPONENTS or holding.tree.state is TargetState.NOT_RECORDED:
            continue
        wanted: list[str] = []
        for entry in holding.tree.entries:
            is_wanted = entry.type is EntryType.FILE and entry.size_bytes <= min(_MAX_FILE_BYTES, left_bytes)
            if is_wanted and commands_validity.is_document(component, entry.path):
                wanted.append(entry.path)
                left_bytes -= entry.size_bytes
        texts = picture.contents(target_id, wanted)
        linked = _linked(picture, holding)
        texts |= {path: item.content for path, item in linked.items() if item is not None and item.content is not None}
        heads: dict[str, bytes] = {}
        for path, text in texts.items():
            head = head_of(text)
            if len(head) <= left_head_bytes:
                heads[path] = head
                left_head_bytes -= len(head)
        found.append(_folder(desk, holding, linked, heads))
    return tuple(found)


def _linked(picture: Picture, holding: Holding) -> dict[str, Found | None]:
    """What each link below a folder leads to, and of links to folders of skills the file that makes them one."""
    links = [entry.path for entry in holding.tree.entries if entry.type is EntryType.SYMLINK][:_MAX_LINKS]
    inside = [f"{path}/{commands_validity.SKILL}" for path in links if holding.target.component == "skills"]
    places = {path: posixpath.join(holding.place.resolved, path) for path in (*links, *inside)}
    looked = picture.look_up(sorted(places.values()), _MAX_LINKED_BYTES)
    return {path: looked.get(place) for path, place in places.items() if path in links or place in looked}


def _folder(desk: Desk, holding: Holding, linked: dict[str, Found | None], heads: dict[str, bytes]) -> Folder:
    own = [entry.path for entry in holding.tree.entries if entry.type is EntryType.FILE]
    return Folder(
        scope=holding.target.scope,
        component=holding.target.component,
        path=desk.shown_target(holding.target),
        files=tuple(sorted((*own, *(path for path, item in linked.items() if item is not None and item.is_file)))),
        links=tuple(sorted(path for path, item in linked.items() if item is not None and not item.is_file)),
        dangling=tuple(sorted(path for path, item in linked.items() if item is None)),
        texts=heads,
    )
