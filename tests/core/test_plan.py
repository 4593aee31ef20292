"""Plans against a model of what is meant: the chosen part as in the backup, all else as it is, nothing lost."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core import plan as planning
from stravinsky_rollback_mcp.core.codec.trees import ABSENT, not_recorded, present
from stravinsky_rollback_mcp.core.components import view_of
from stravinsky_rollback_mcp.core.model import (
    Entry,
    EntryType,
    EventType,
    Kind,
    Scope,
    Skipped,
    StoredTarget,
    Target,
    TargetState,
    Tree,
)
from stravinsky_rollback_mcp.core.onset import Onset
from stravinsky_rollback_mcp.core.plan import Step
from stravinsky_rollback_mcp.errors import Code, RollbackError

HOOKS = Target(scope=Scope.USER, component="hooks", kind=Kind.DIRECTORY, path="/home/u/.claude/hooks")
SETTINGS = Target(scope=Scope.USER, component="settings", kind=Kind.FILE, path="/home/u/.claude/settings.json")
VIEW = view_of(home="/home/u", user_root="/home/u/.claude", project="/srv/app", git_root=None)
AT_ONCE = (Onset(when="now", shown_by="/hooks"),)
ACTIONS = {"none", "create", "replace", "remove"}

names = st.sampled_from(["a", "b", "a.b", "a-b", "caf\udce9"])
modes = st.sampled_from([0o644, 0o755, 0o700])
leaves = st.one_of(
    st.builds(
        Entry,
        path=st.just(""),
        type=st.just(EntryType.FILE),
        mode=modes,
        size_bytes=st.just(1),
        sha256=st.sampled_from(["11" * 32, "22" * 32]),
        mtime_ns=st.integers(0, 1),
    ),
    st.builds(Entry, path=st.just(""), type=st.just(EntryType.SYMLINK), mode=st.just(0o777), link=names),
)
skips = st.builds(Skipped, path=st.just(""), reason=st.sampled_from(["a FIFO", "excluded folder"]))
# A folder is (mode, children); what has no place in a backup is a leaf that only live trees bear.
Node = Entry | Skipped | tuple[int, Mapping[str, "Node"]]


def folders(leaf: st.SearchStrategy[Entry] | st.SearchStrategy[Entry | Skipped]) -> st.SearchStrategy[Node]:
    """Folders of folders of leaves, at most three deep."""
    node: st.SearchStrategy[Node] = leaf
    for _ in range(3):
        node = leaf | st.tuples(modes, st.dictionaries(names, node, max_size=3))
    return st.tuples(modes, st.dictionaries(names, node, max_size=4))


def flat(node: Node, path: str = "") -> list[Entry | Skipped]:
    """The entries of a folder and all below it."""
    if isinstance(node, Skipped):
        return [Skipped(path=path, reason=node.reason)]
    if isinstance(node, Entry):
        given_entry = node
        return [
            Entry(
                path=path,
                type=given_entry.type,
                mode=given_entry.mode,
                size_bytes=given_entry.size_bytes,
                sha256=given_entry.sha256,
                link=given_entry.link,
                mtime_ns=given_entry.mtime_ns,
            )
        ]
    mode, children = node
    found: list[Entry | Skipped] = [Entry(path=path, type=EntryType.DIRECTORY, mode=mode)]
    for name, child in children.items():
        found += flat(child, f"{path}/{name}" if path else name)
    return found


def tree_of(node: Node) -> Tree:
    """The tree of a folder as a scan would record it."""
    found = flat(node)
    entries = [entry for entry in found if isinstance(entry, Entry)]
    return present(entries, [item for item in found if isinstance(item, Skipped)])


backed_up = st.just(ABSENT) | folders(leaves).map(tree_of)
live_trees = st.just(ABSENT) | folders(leaves | skips).map(tree_of)
chosen_paths = st.lists(st.lists(names, min_size=1, max_size=3).map("/".join), min_size=1, max_size=2)


def stored(tree: Tree, target: Target = HOOKS) -> StoredTarget:
    """A target as a manifest records it."""
    return StoredTarget(
        scope=target.scope,
        component=target.component,
        kind=target.kind,
        path=target.path,
        resolved_path=target.path,
        archive="",
        archive_sha256="",
        archive_size_bytes=0,
        tree=tree,
    )


def step(live: Tree, backup: Tree, only: list[str] | None = None) -> Step | None:
    """The step, or None where it is refused because something that no backup holds is in the way."""
    try:
        return planning.step(HOOKS, live, "v1", stored(backup), only)
    except RollbackError as error:
        refused = error
    assert refused.code in {Code.UNSUPPORTED_FILE_TYPE, Code.INVALID_ARGUMENT}
    assert refused.hint
    assert str(refused).isprintable()
    return None


def by_path(tree: Tree) -> dict[str, Entry]:
    """The entries of a tree."""
    return {entry.path: entry for entry in tree.entries}


def is_below(path: str, tops: list[str]) -> bool:
    """Whether a path is one of these or lies below one."""
    return any(path == top or path.startswith(f"{top}/") for top in tops)


@given(folders(leaves).map(tree_of) | st.just(ABSENT), backed_up)
def test_a_whole_target_becomes_what_the_backup_recorded(live: Tree, backup: Tree) -> None:
    """Nothing is merged: what the backup does not have is gone, and absence is a state too."""
    made = step(live, backup)
    assert made is not None
    assert made.desired == backup
    assert made.is_change == (live.digest != backup.digest)


@given(live_trees, backed_up, chosen_paths)
def test_only_touches_nothing_else(live: Tree, backup: Tree, only: list[str]) -> None:
    """Below the chosen paths all is as in the backup, and elsewhere all is as it was, times included."""
    made = step(live, backup, only)
    assume(made is not None)
    assert made is not None
    before, meant, after = by_path(live), by_path(backup), by_path(made.desired)
    keepers = {folder for item in live.skipped for folder in ancestors(item.path)}
    for path in before.keys() | meant.keys() | after.keys():
        if is_below(path, only):
            assert after.get(path) == meant.get(path) or path in keepers
        elif path in before:
            assert after.get(path) == before[path]
        else:
            # New folders above a path that was brought back, as the backup had them.
            assert path not in after or (after[path] == meant[path] and path in folders_above(only))


@given(live_trees, backed_up, st.none() | chosen_paths)
def test_what_no_backup_holds_survives(live: Tree, backup: Tree, only: list[str] | None) -> None:
    """A FIFO or node_modules is carried over with the folders above it, or the plan is refused; it is never lost."""
    made = step(live, backup, only)
    assume(made is not None)
    assert made is not None
    after = by_path(made.desired)
    assert made.carried == made.desired.skipped == live.skipped
    for item in live.skipped:
        assert item.path not in after
        assert all(after[folder].type is EntryType.DIRECTORY for folder in ancestors(item.path))


@given(live_trees, backed_up, st.none() | chosen_paths)
def test_a_planned_tree_is_a_tree(live: Tree, backup: Tree, only: list[str] | None) -> None:
    """Everything has a folder above it, so staging cannot fail half way; the digest is that of the entries."""
    made = step(live, backup, only)
    assume(made is not None)
    assert made is not None
    after = by_path(made.desired)
    for path in after:
        assert all(after[folder].type is EntryType.DIRECTORY for folder in ancestors(path))
    again = present(made.desired.entries, made.desired.skipped) if after else ABSENT
    assert made.desired == again


@given(live_trees, backed_up, st.none() | chosen_paths)
def test_a_step_that_was_taken_is_already_at_its_target(live: Tree, backup: Tree, only: list[str] | None) -> None:
    """rollback_to is idempotent: the second time there is nothing to do."""
    made = step(live, backup, only)
    assume(made is not None)
    assert made is not None
    again = step(made.desired, backup, only)
    assert again is not None
    assert not again.is_change
    assert again.from_backup == frozenset()


@given(live_trees, backed_up, st.none() | chosen_paths)
def test_each_byte_has_one_source(live: Tree, backup: Tree, only: list[str] | None) -> None:
    """A file that is not the live one to the letter comes from the archive, which must have it."""
    made = step(live, backup, only)
    assume(made is not None)
    assert made is not None
    before, meant = by_path(live), by_path(backup)
    for entry in made.desired.entries:
        if entry.type is EntryType.FILE:
            assert (meant if entry.path in made.from_backup else before)[entry.path] == entry
    assert made.from_backup <= by_path(made.desired).keys()


def test_what_is_in_the_way_is_named_and_escaped() -> None:
    """A FIFO where a hook must go: overwriting it would lose it; its name cannot forge lines (threat model, row 87)."""
    folder = Entry(path="", type=EntryType.DIRECTORY, mode=0o755)
    script = Entry(path="a\n\x1b[31m", type=EntryType.FILE, mode=0o755, size_bytes=1, sha256="11" * 32)
    live = present([folder], [Skipped(path=script.path, reason="a FIFO")])
    with pytest.raises(RollbackError) as refused:
        planning.step(HOOKS, live, "v1", stored(present([folder, script])), None)
    assert refused.value.code is Code.UNSUPPORTED_FILE_TYPE
    assert "a FIFO" in refused.value.message
    assert str(refused.value).isprintable()


def test_a_folder_that_became_a_file_cannot_take_back_what_was_in_it() -> None:
    """Bringing back `lib/a.py` alone would have to remove the file `lib`, which nobody asked for."""
    top = Entry(path="", type=EntryType.DIRECTORY, mode=0o755)
    script = Entry(path="lib/a.py", type=EntryType.FILE, mode=0o644, size_bytes=1, sha256="11" * 32)
    backup = present([top, Entry(path="lib", type=EntryType.DIRECTORY, mode=0o755), script])
    live = present([top, Entry(path="lib", type=EntryType.FILE, mode=0o644, size_bytes=1, sha256="22" * 32)])
    with pytest.raises(RollbackError) as refused:
        planning.step(HOOKS, live, "v1", stored(backup), ["lib/a.py"])
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert "lib" in refused.value.hint


def test_a_target_that_cannot_be_looked_at_is_not_overwritten() -> None:
    """A folder named settings.json is in no backup, so nothing may take its place."""
    with pytest.raises(RollbackError) as refused:
        planning.step(SETTINGS, not_recorded("a folder"), "v1", stored(ABSENT, SETTINGS), None)
    assert refused.value.code is Code.UNSUPPORTED_FILE_TYPE


# --- plans and what is shown of them -------------------------------------------------------------------------------


@given(st.binary(max_size=9), modes)
def test_a_content_that_was_made_replaces_the_bytes_alone(content: bytes, mode: int) -> None:
    """Mode stays; what is the same already is no change and keeps its time."""
    entry = Entry(
        path="",
        type=EntryType.FILE,
        mode=mode,
        size_bytes=3,
        sha256=hashlib.sha256(b"old").hexdigest(),
        mtime_ns=1,
    )
    live = present([entry])
    for made, is_change in ((content, content != b"old"), (b"old", False)):
        step = planning.step_with(SETTINGS, live, "v1", stored(ABSENT, SETTINGS), made, mtime_ns=2)
        wanted = replace(entry, sha256=hashlib.sha256(made).hexdigest(), size_bytes=len(made), mtime_ns=2)
        assert step.desired.entries == ((wanted if is_change else entry),)
        assert (step.is_change, step.kept, step.from_backup, step.content) == (is_change, (), frozenset(), made)
    with pytest.raises(RollbackError) as refused:
        planning.step_with(SETTINGS, not_recorded("a FIFO"), "v1", stored(ABSENT, SETTINGS), content, mtime_ns=2)
    assert refused.value.code is Code.UNSUPPORTED_FILE_TYPE


def plan_id(
    *,
    operation: EventType = EventType.MANUAL_ROLLBACK,
    live: Tree = ABSENT,
    backup: Tree = ABSENT,
    project: str | None = "/srv/app",
    version: str = "v1",
    lines: tuple[str, ...] = (),
) -> str:
    """The id of a plan of one step."""
    made = planning.step(HOOKS, live, "v1", stored(backup), None)
    view = view_of(home="/home/u", user_root="/home/u/.claude", project=project, git_root=None)
    return planning.plan(operation, [made], view, {"version": version}, lines, {}).plan_id


def test_a_plan_id_is_of_exactly_one_change_of_exactly_one_state() -> None:
    """contract: a hash over operation, arguments, view, target and live digests and security changes."""
    top = present([Entry(path="", type=EntryType.DIRECTORY, mode=0o755)])
    variants = [
        plan_id(),
        plan_id(operation=EventType.UNDO),
        plan_id(live=top),
        plan_id(backup=top),
        plan_id(project="/srv/other"),
        plan_id(project=None),
        plan_id(version="v2"),
        plan_id(lines=("allow rule added",)),
    ]
    assert len(set(variants)) == len(variants)
    assert plan_id() == variants[0]


@given(live_trees, backed_up)
def test_what_is_shown_of_a_step_is_what_it_does(live: Tree, backup: Tree) -> None:
    """The action follows from the states; lists are escaped and totals count what they hold."""
    made = step(live, backup)
    assume(made is not None)
    assert made is not None
    found = planning.change(made, "/home/u", AT_ONCE, "exchange")
    meant = {
        (TargetState.ABSENT, TargetState.PRESENT): "create",
        (TargetState.PRESENT, TargetState.ABSENT): "remove",
        (TargetState.PRESENT, TargetState.PRESENT): "replace",
    }
    assert found.action == (meant[live.state, made.desired.state] if made.is_change else "none")
    assert found.atomicity == ("exchange" if made.is_change else None)
    assert (found.path, found.takes_effect) == ("~/.claude/hooks", "now")
    assert all(path.isprintable() for path in (*found.added, *found.modified, *found.removed))
    totals = (found.added_total, found.modified_total, found.removed_total)
    assert totals == (len(found.added), len(found.modified), len(found.removed))
    assert any(totals) == made.is_change


def test_long_lists_are_capped_and_counted() -> None:
    """A result larger than a host accepts helps nobody (threat model, row 88)."""
    top = Entry(path="", type=EntryType.DIRECTORY, mode=0o755)
    many = [Entry(path=f"{i:03}", type=EntryType.SYMLINK, mode=0o777, link="x") for i in range(120)]
    made = planning.step(HOOKS, ABSENT, "v1", stored(present([top, *many])), None)
    found = planning.change(made, "/home/u", AT_ONCE, None)
    assert len(found.added) == planning.MAX_PATHS_SHOWN
    assert found.added_total == 121


# --- targets inside each other -------------------------------------------------------------------------------------

places = st.lists(st.sampled_from(["a", "b", "a-b", "a.b", "a b"]), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.lists(places, max_size=5))
def test_targets_inside_each_other_are_always_found(paths: list[str]) -> None:
    """Against every pair: `/x/a` and `/x/a/c` are not neighbours in text order once `/x/a-b` stands between them."""
    resolved = {f"target {place}": path for place, path in enumerate(paths)}
    nested = any(
        one == other or other.startswith(f"{one}/")
        for i, one in enumerate(paths)
        for j, other in enumerate(paths)
        if i != j
    )
    if nested:
        with pytest.raises(RollbackError) as refused:
            planning.require_separate(resolved)
        assert refused.value.code is Code.UNSAFE_PATH
    else:
        planning.require_separate(resolved)


def ancestors(path: str) -> list[str]:
    """The folders above a path, the target itself first."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts))]


def folders_above(paths: list[str]) -> set[str]:
    """The folders above any of the paths."""
    return {folder for path in paths for folder in ancestors(path)}
