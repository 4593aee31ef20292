"""Whatever leads where, going back and forth ends in the states that there were, and no link is ever replaced."""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.crash import PERSON, World
from support.tree import Entry, Link, build, snapshot

from stravinsky_rollback_mcp.errors import Code, RollbackError
from stravinsky_rollback_mcp.service import Consent

AGREED = Consent(is_given=True)
FILES = (
    "home/.claude/CLAUDE.md",
    "home/.claude/settings.json",
    "project/CLAUDE.md",
    "project/.claude/CLAUDE.md",
    "project/.claude/settings.json",
    "project/AGENTS.md",
)
FOLDERS = (
    "home/.claude/hooks",
    "home/.claude/skills",
    "project/.claude/hooks",
    "project/.claude/skills",
    "project/.agents",
)
# Of each path: the path that it is a link to, itself where it holds something of its own; not there where it is not.
layouts = st.tuples(
    st.dictionaries(st.sampled_from(FILES), st.sampled_from(FILES)),
    st.dictionaries(st.sampled_from(FOLDERS), st.sampled_from(FOLDERS)),
)
edits = st.sets(st.sampled_from((*FILES, *FOLDERS)), min_size=1)


def lay_out(top: Path, files: Mapping[str, str], folders: Mapping[str, str]) -> None:
    """Write it down."""
    for path, leads_to in (*files.items(), *folders.items()):
        own: Entry = {"a.sh": "one\n"} if path in folders else '{"model": "one"}'
        link = Link(os.path.relpath(top / leads_to, (top / path).parent))
        build((top / path).parent, {Path(path).name: own if leads_to == path else link})


def edit(top: Path, paths: set[str]) -> None:
    """Write through whatever can be written through."""
    for path in sorted(paths):
        file = top / path / "a.sh" if path in FOLDERS else top / path
        if file.exists():
            file.write_text('{"model": "two"}', encoding="utf-8")


@pytest.mark.long
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layouts, edits)
def test_any_layout_of_links_is_walked_back_and_forth(
    tmp_path: Path, layout: tuple[Mapping[str, str], Mapping[str, str]], written: set[str]
) -> None:
    """Rollback, undo and redo, byte for byte; afterwards nothing has drifted, and live is what the backup holds."""
    with TemporaryDirectory(dir=tmp_path) as folder:
        world = World(Path(folder))
        try:
            _walk(world, layout, written)
        finally:
            world.close()


def _walk(world: World, layout: tuple[Mapping[str, str], Mapping[str, str]], written: set[str]) -> None:
    top = world.root / "live"
    lay_out(top, *layout)
    service = world.service()
    try:
        world.run(service.create_backup(PERSON, version="v1"))
    except RollbackError as error:
        assert error.code is Code.UNSAFE_PATH, "a link of the person's that leads round and round"  # noqa: PT017
        return
    one = _live(top)
    edit(top, written)
    two = _live(top)
    done = world.run(service.rollback_to(PERSON, version="v1", consent=AGREED))
    back = _live(top)
    assert {name: kind for name, (kind, _, _) in back.items()} == {name: kind for name, (kind, _, _) in one.items()}
    assert world.run(service.compare(PERSON, version="v1")).changes == ()
    if done.applied:
        world.run(service.undo(PERSON, consent=AGREED))
        assert _live(top) == two
        world.run(service.redo(PERSON, consent=AGREED))
        assert _live(top) == back
    current = world.run(service.status(PERSON)).current
    assert (current.version, current.drift) == ("v1", ())


def _live(top: Path) -> dict[bytes, tuple[str, int, bytes]]:
    """Everything but the store."""
    return {name: found for name, found in snapshot(top).items() if b".stravinsky" not in name}
