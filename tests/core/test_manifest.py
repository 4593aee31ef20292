"""The manifest: what is written is what is read, and whatever else is offered is refused in one of two ways."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.codec import manifest as codec
from stravinsky_rollback_mcp.core.codec.trees import ABSENT, not_recorded, present
from stravinsky_rollback_mcp.core.model import (
    BackupKind,
    Entry,
    EntryType,
    Kind,
    MadeBy,
    Manifest,
    Scope,
    Skipped,
    StoredTarget,
    Tree,
)
from stravinsky_rollback_mcp.core.names import archive_name
from stravinsky_rollback_mcp.errors import Code, RollbackError

SHA = "0123456789abcdef" * 4
ODD = "caf\udce9"


def stored(component: str, kind: Kind, tree: Tree, scope: Scope = Scope.USER) -> StoredTarget:
    """A target as a backup records it."""
    target = StoredTarget(
        scope=scope,
        component=component,
        kind=kind,
        path=f"/home/u/.claude/{component}",
        resolved_path=f"/data/{ODD}/{component}",
        archive="",
        archive_sha256="",
        archive_size_bytes=0,
        tree=tree,
    )
    if not tree.entries:
        return target
    return replace(target, archive=archive_name(target.id, kind), archive_sha256=SHA, archive_size_bytes=123)


HOOKS = stored(
    "hooks",
    Kind.DIRECTORY,
    present(
        (
            Entry(path="", type=EntryType.DIRECTORY, mode=0o755, mtime_ns=1),
            Entry(path="a.py", type=EntryType.FILE, mode=0o755, size_bytes=3, sha256=SHA, mtime_ns=-1),
            Entry(path="lib", type=EntryType.DIRECTORY, mode=0o555),
            Entry(path=f"lib/{ODD}", type=EntryType.FILE, mode=0o400, size_bytes=0, sha256=SHA),
            Entry(path="link", type=EntryType.SYMLINK, mode=0o777, link=f"../{ODD}"),
        ),
        (Skipped(path="pipe", reason="a FIFO"), Skipped(path=f"{ODD}/.git", reason="excluded folder")),
    ),
)
SETTINGS = stored(
    "settings",
    Kind.FILE,
    present((Entry(path="", type=EntryType.FILE, mode=0o600, size_bytes=10, sha256=SHA),)),
)
MANIFEST = Manifest(
    version="v1",
    sequence=7,
    kind=BackupKind.MANUAL,
    made_by=MadeBy.TERMINAL,
    note="before the clean-up",
    created_at="2026-11-23T06:40:12.000Z",
    tool_version="0.1.0",
    python_version="3.11.7",
    system="Linux 6.1",
    user_root="/home/u/.claude",
    project=f"/srv/{ODD}",
    previous_version="v0",
    targets=(
        HOOKS,
        stored("commands", Kind.DIRECTORY, ABSENT),
        SETTINGS,
        stored("local_settings", Kind.FILE, not_recorded("a link to nothing"), Scope.PROJECT),
    ),
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
parts = (
    st.binary(min_size=1, max_size=12)
    .filter(lambda raw: not {0, 47} & set(raw) and raw not in {b".", b".."})
    .map(lambda raw: raw.decode("utf-8", "surrogateescape"))
)
absolute = st.lists(parts, max_size=3).map(lambda names: "/" + "/".join(names))
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
modes = st.integers(0, 0o777)
moments = st.integers(-(1 << 63), (1 << 63) - 1)
leaves = st.builds(
    Entry,
    path=st.just(""),
    type=st.just(EntryType.FILE),
    mode=modes,
    size_bytes=st.integers(0, (1 << 63) - 1),
    sha256=digests,
    mtime_ns=moments,
) | st.builds(
    Entry,
    path=st.just(""),
    type=st.just(EntryType.SYMLINK),
    mode=st.just(0o777),
    link=parts | absolute,
    mtime_ns=moments,
)
folders = st.recursive(leaves, lambda inner: st.dictionaries(parts, inner, max_size=3), max_leaves=8)
skips = st.lists(st.builds(Skipped, path=parts, reason=texts), max_size=2)


@st.composite
def folder_trees(draw: st.DrawFn) -> Tree:
    """The tree of a folder: any shape, any names."""

    def walk(path: str, node: Any) -> list[Entry]:
        if isinstance(node, Entry):
            return [replace(node, path=path)]
        top = Entry(path=path, type=EntryType.DIRECTORY, mode=draw(modes), mtime_ns=draw(moments))
        return [top, *(entry for name, child in node.items() for entry in walk(f"{path}/{name}".lstrip("/"), child))]

    return present(walk("", draw(st.dictionaries(parts, folders, max_size=3))), draw(skips))


file_trees = leaves.filter(lambda leaf: leaf.type is EntryType.FILE).map(lambda leaf: present((leaf,)))
targets = st.one_of(
    st.builds(stored, st.just("hooks"), st.just(Kind.DIRECTORY), folder_trees(), st.sampled_from(Scope)),
    st.builds(stored, st.just("settings"), st.just(Kind.FILE), file_trees, st.sampled_from(Scope)),
    st.builds(stored, st.just("themes"), st.just(Kind.DIRECTORY), st.just(ABSENT)),
    st.builds(stored, st.just("mcp"), st.just(Kind.FILE), texts.map(not_recorded), st.just(Scope.PROJECT)),
).flatmap(lambda target: st.builds(replace, st.just(target), path=absolute, resolved_path=absolute))


def _id(target: StoredTarget) -> str:
    return target.id


manifests = st.builds(
    Manifest,
    version=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}[A-Za-z0-9]", fullmatch=True),
    sequence=st.integers(0, (1 << 63) - 1),
    kind=st.sampled_from(BackupKind),
    made_by=st.sampled_from(MadeBy),
    note=texts,
    created_at=texts,
    tool_version=texts,
    python_version=texts,
    system=texts,
    user_root=absolute,
    project=st.none() | absolute,
    previous_version=st.none() | texts,
    targets=st.lists(targets, max_size=4, unique_by=_id).map(tuple),
)


def code_of(content: bytes) -> Code | None:
    """The code with which bytes are refused, None when they are a manifest; no other error may come."""
    try:
        found = codec.decode(content)
    except RollbackError as error:
        return error.code
    assert codec.decode(codec.encode(found)) == found
    return None


@given(manifest=manifests)
def test_every_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    """decode(encode(x)) == x, for names that are no UTF-8, too (design)."""
    content = codec.encode(manifest)
    assert codec.decode(content) == manifest
    assert codec.encode(codec.decode(content)) == content
    assert content.isascii()


def test_a_person_can_read_it() -> None:
    """Indented JSON that names every entry, links included (design)."""
    content = codec.encode(MANIFEST)
    assert codec.decode(content) == MANIFEST
    members = json.loads(content)
    assert members["targets"][0]["entries"][1] == {
        "path": "a.py",
        "type": "file",
        "mode": "0755",
        "size_bytes": 3,
        "sha256": SHA,
        "mtime_ns": -1,
    }
    assert members["targets"][0]["entries"][3]["path"] == "lib/caf\ufffd"
    assert members["project_b64"]
    assert content.count(b"\n") > 50


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not JSON", id="not JSON"),
        pytest.param(codec.encode(MANIFEST)[:-20], id="truncated"),
        pytest.param(codec.encode(MANIFEST) + b"{}", id="trailing data"),
        pytest.param(b"\xef\xbb\xbf" + codec.encode(MANIFEST), id="byte order mark"),
        pytest.param(codec.encode(MANIFEST).decode().encode("utf-16"), id="UTF-16"),
        pytest.param(b"\xff" + codec.encode(MANIFEST), id="no UTF-8"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"text"', id="text"),
        pytest.param(b"{}", id="no members"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b"[" * 100_000, id="100000 lists"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="100000 objects"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="100000 closed lists"),
        pytest.param(b'{"format": ' + b"1" * 5_000 + b"}", id="a number of 5000 digits"),
        pytest.param(b'{"format": 1' + b', "version": "v1"' * 2 + b"}", id="duplicate keys"),
        pytest.param(codec.encode(MANIFEST).replace(b'"note"', b'"kind"'), id="duplicate keys at the top"),
        pytest.param(codec.encode(MANIFEST).replace(b'"mtime_ns"', b'"mode"'), id="duplicate keys in an entry"),
        pytest.param(codec.encode(MANIFEST).replace(b": 7,", b": NaN,"), id="sequence NaN"),
        pytest.param(codec.encode(MANIFEST).replace(b": 7,", b": Infinity,"), id="sequence Infinity"),
        pytest.param(codec.encode(MANIFEST).replace(b": 7,", b": 1e400,"), id="sequence 1e400"),
        pytest.param(codec.encode(MANIFEST).replace(b": 7,", b": 7.0,"), id="sequence 7.0"),
        pytest.param(codec.encode(MANIFEST).replace(b": 7,", b": 1" + b"0" * 400 + b","), id="sequence 10**400"),
        pytest.param(codec.encode(MANIFEST).replace(b": 7,", b": -1,"), id="sequence -1"),
        pytest.param(codec.encode(MANIFEST).replace(b": 7,", b": true,"), id="sequence true"),
    ],
)
def test_what_is_no_json_of_ours_is_refused(content: bytes) -> None:
    """Hostile input: other encodings, numbers that are none, nesting, duplicate keys."""
    assert content != codec.encode(MANIFEST)
    assert code_of(content) is Code.MANIFEST_INVALID


def _every_place(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every member and item of a JSON value."""
    children: list[tuple[Any, Any]] = []
    if isinstance(node, dict):
        children = list(cast("dict[Any, Any]", node).items())
    elif isinstance(node, list):
        children = list(enumerate(cast("list[Any]", node)))
    found = [path] if path else []
    for key, child in children:
        found += _every_place(child, (*path, key))
    return found


PLACES = _every_place(json.loads(codec.encode(MANIFEST)))


def changed(place: tuple[Any, ...], change: Callable[[Any, Any], None]) -> bytes:
    """The manifest after ``change(container, key)`` at one place."""
    members = json.loads(codec.encode(MANIFEST))
    container = members
    for key in place[:-1]:
        container = container[key]
    change(container, place[-1])
    return json.dumps(members).encode()


def test_every_member_is_needed() -> None:
    """Hostile input: a manifest that lacks any one member is none; two say nothing by their absence."""
    optional = {
        ("previous_version",),
        *(place for place in PLACES if str(place[-1]).removesuffix("_b64") == "project"),
    }
    # The readable form beside a base64 twin is for people alone, and a list may be shorter without being wrong.
    twins = {(*place[:-1], str(place[-1]).removesuffix("_b64")) for place in PLACES if str(place[-1]).endswith("_b64")}
    members = [place for place in PLACES if isinstance(place[-1], str)]
    accepted = {
        place for place in members if code_of(changed(place, lambda at, key: at.pop(key))) is not Code.MANIFEST_INVALID
    }
    assert accepted - optional <= twins | {place for place in members if place[-1].endswith("_b64")}


@pytest.mark.parametrize("value", [None, [], {}, True, 1.5, -1, [None], {"path": "a"}], ids=repr)
def test_every_member_has_its_type(value: object) -> None:
    """Hostile input: null, lists, objects and numbers where the format has something else."""
    fine: set[tuple[Any, ...]] = set()
    for place in PLACES:
        content = changed(place, lambda at, key: at.__setitem__(key, value))
        if json.loads(content) != json.loads(codec.encode(MANIFEST)) and code_of(content) is None:
            fine.add(place)
    expected: set[str] = set()
    if value is None:  # null means absent where a member may be
        expected = {"previous_version", "path_b64", "resolved_path_b64", "project_b64", "link_b64"}
    if value == []:  # nothing skipped, nothing recorded at all
        expected = {"skipped", "targets"}
    if value == -1:
        expected = {"mtime_ns"}
    readable_twins = {"path", "resolved_path", "project", "link"}  # not looked at beside their exact form
    assert {place[-1] for place in fine} <= expected | readable_twins
    for place in fine:
        if place[-1] in readable_twins:
            assert (*place[:-1], f"{place[-1]}_b64") in PLACES


@pytest.mark.parametrize("path", [(), ("targets", 0), ("targets", 0, "entries", 1), ("targets", 0, "skipped", 0)])
def test_members_that_the_format_does_not_have_are_refused(path: tuple[Any, ...]) -> None:
    """Hostile input: an unknown member could mean something that is passed over here."""
    assert code_of(changed((*path, "surplus"), lambda at, key: at.update({key: 1}))) is Code.MANIFEST_INVALID
    assert code_of(changed((*path, "verified"), lambda at, key: at.update({key: True}))) is Code.MANIFEST_INVALID


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("version",), "../v1"),
        (("version",), "v1\n"),
        (("version",), ""),
        (("targets", 0, "archive"), "../v0/user.hooks.tar.gz"),
        (("targets", 0, "archive"), "/etc/passwd"),
        (("targets", 0, "archive"), "user.commands.tar.gz"),
        (("targets", 0, "archive"), ""),
        (("targets", 1, "archive"), "user.commands.tar.gz"),
        (("targets", 1, "archive_size_bytes"), 5),
        (("targets", 0, "archive_sha256"), SHA.upper()),
        (("targets", 0, "archive_sha256"), SHA[:-1]),
        (("targets", 0, "archive_sha256"), SHA + "\n"),
        (("targets", 0, "digest"), SHA),
        (("targets", 0, "state"), "absent"),
        (("targets", 0, "kind"), "file"),
        (("targets", 2, "kind"), "directory"),
        (("targets", 0, "component"), "settings"),
        (("targets", 0, "path"), "relative"),
        (("targets", 0, "path"), "/a\0b"),
        (("targets", 0, "entries", 1, "path"), "../a.py"),
        (("targets", 0, "entries", 1, "path"), "/a.py"),
        (("targets", 0, "entries", 1, "path"), "lib/../a.py"),
        (("targets", 0, "entries", 1, "path"), "./a.py"),
        (("targets", 0, "entries", 1, "path"), "lib//a.py"),
        (("targets", 0, "entries", 1, "path"), "a.py/"),
        (("targets", 0, "entries", 1, "path"), "a\0.py"),
        (("targets", 0, "entries", 1, "path"), ""),
        (("targets", 0, "entries", 1, "path"), "lib"),
        (("targets", 0, "entries", 1, "path"), "nowhere/a.py"),
        (("targets", 0, "entries", 1, "path"), "link/a.py"),
        (("targets", 0, "entries", 1, "path"), "n" * 256),
        (("targets", 0, "entries", 1, "path"), "a\ud800"),
        (("targets", 0, "entries", 1, "path"), "a\udce9é"),
        (("targets", 0, "entries", 1, "type"), "hardlink"),
        (("targets", 0, "entries", 1, "mode"), "04755"),
        (("targets", 0, "entries", 1, "mode"), "4755"),
        (("targets", 0, "entries", 1, "mode"), "755"),
        (("targets", 0, "entries", 1, "mode"), "0o75"),
        (("targets", 0, "entries", 1, "mode"), "٠٧٥٥"),
        (("targets", 0, "entries", 1, "mtime_ns"), 1 << 63),
        (("targets", 0, "entries", 1, "size_bytes"), -1),
        (("targets", 0, "entries", 1, "sha256"), ""),
        (("targets", 0, "entries", 3, "path_b64"), "!"),
        (("targets", 0, "entries", 3, "path_b64"), "é"),
        (("targets", 0, "entries", 3, "path_b64"), "Li4vYQ=="),  # ../a
        (("targets", 0, "entries", 3, "path_b64"), "AA=="),  # a zero byte
        (("targets", 0, "entries", 4, "link_b64"), ""),
        (("targets", 0, "entries", 4, "link_b64"), "AA=="),
    ],
    ids=repr,
)
def test_members_that_contradict_each_other_or_lead_out_are_refused(place: tuple[Any, ...], value: object) -> None:
    """Hostile input: escapes, foreign archives, folders that are none, digests that do not belong.

    Where a digest would give the change away, the digest is made to fit: an attacker can compute one, too.
    """

    def put(at: Any, key: Any) -> None:
        assert at[key] != value
        at[key] = value

    content = changed(place, put)
    assert code_of(content) is Code.MANIFEST_INVALID
    if place[-1] != "digest":
        assert code_of(with_fitting_digests(content)) is Code.MANIFEST_INVALID


def with_fitting_digests(content: bytes) -> bytes:
    """The same manifest with the tree digests that belong to its entries, as far as they have one."""
    members = json.loads(content)
    for target in members["targets"]:
        try:
            entries = [codec._decode_entry(codec.Members(entry)) for entry in target["entries"]]
            target["digest"] = present(entries).digest if target["state"] == "present" else target["digest"]
        except (ValueError, TypeError, AttributeError):  # not even an entry
            continue
    return json.dumps(members).encode()


@pytest.mark.parametrize("component", ["../../x", "a/b", "", ".", "hooks.tar.gz/../x", "Hooks", "a\n", "a" * 99])
def test_a_component_cannot_lead_out_of_the_backup(component: str) -> None:
    """Hostile input: the archive's name is made of the component's, so that must be a plain word."""
    target = replace(HOOKS, component=component, archive=archive_name(f"user.{component}", Kind.DIRECTORY))
    assert code_of(codec.encode(replace(MANIFEST, targets=(target,)))) is Code.MANIFEST_INVALID


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param(HOOKS.tree.entries[1:], id="no top"),
        pytest.param((SETTINGS.tree.entries[0], *HOOKS.tree.entries[1:]), id="top is a file"),
        pytest.param((*HOOKS.tree.entries, HOOKS.tree.entries[1]), id="twice"),
        pytest.param((*HOOKS.tree.entries, replace(HOOKS.tree.entries[1], path="lib")), id="file and folder"),
        pytest.param((*HOOKS.tree.entries, replace(HOOKS.tree.entries[1], path="a.py/x")), id="below a file"),
        pytest.param((*HOOKS.tree.entries, replace(HOOKS.tree.entries[1], path="link/x")), id="below a link"),
        pytest.param((*HOOKS.tree.entries, replace(HOOKS.tree.entries[4], path="", link="x")), id="link for the top"),
        pytest.param((), id="nothing"),
    ],
)
def test_trees_that_cannot_be_are_refused(entries: tuple[Entry, ...]) -> None:
    """Hostile input: two entries of one name, entries below what is no folder."""
    manifest = replace(MANIFEST, targets=(replace(HOOKS, tree=present(entries)),))
    assert code_of(codec.encode(manifest)) is Code.MANIFEST_INVALID


def test_a_file_holds_nothing_below_it() -> None:
    """Hostile input: a settings file that is a folder."""
    tree = present((*SETTINGS.tree.entries, replace(SETTINGS.tree.entries[0], path="x")))
    manifest = replace(MANIFEST, targets=(replace(SETTINGS, tree=tree),))
    assert code_of(codec.encode(manifest)) is Code.MANIFEST_INVALID


def test_two_spellings_of_one_name_are_refused() -> None:
    """Hostile input: escaped surrogates spell the same bytes as UTF-8 does, and would name one file twice."""
    plain = replace(HOOKS.tree.entries[1], path="é")
    spelled = replace(HOOKS.tree.entries[1], path="\udcc3\udca9")
    tree = present((*HOOKS.tree.entries, plain, spelled))
    content = codec.encode(replace(MANIFEST, targets=(replace(HOOKS, tree=tree),)))
    # Written properly the two are one name; written as escapes they must not pass for two.
    assert code_of(content) is Code.MANIFEST_INVALID
    escaped = json.loads(content)
    for entry in escaped["targets"][0]["entries"]:
        if entry["path"] == "é":
            entry["path"] = "\udcc3\udca9"
            break
    assert code_of(json.dumps(escaped).encode()) is Code.MANIFEST_INVALID


def test_a_target_named_twice_is_refused() -> None:
    """Hostile input: which of the two would be restored?."""
    assert code_of(codec.encode(replace(MANIFEST, targets=(HOOKS, HOOKS)))) is Code.MANIFEST_INVALID


@pytest.mark.parametrize("found", [2, 99, 10**400], ids=["2", "99", "10**400"])
def test_a_newer_format_is_told_apart(found: int) -> None:
    """A backup of a newer version of this program is not damaged, whatever else it holds (design)."""
    content = changed(("format",), lambda at, key: at.update({key: found, "more": [1.5]}))
    assert code_of(content) is Code.UNSUPPORTED_VERSION


@pytest.mark.parametrize("found", [0, -1, True, 1.0, "1", None], ids=repr)
def test_a_format_that_is_no_number_is_refused(found: object) -> None:
    """Hostile input: formats count from 1."""
    content = changed(("format",), lambda at, key: at.update({key: found}))
    assert code_of(content) is Code.MANIFEST_INVALID


VALUES: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["", "..", SHA]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(place=st.sampled_from(PLACES), value=VALUES)
def test_any_value_anywhere_is_read_or_refused(place: tuple[Any, ...], value: object) -> None:
    """Hostile input: fuzzed members end in a manifest, ``manifest_invalid`` or ``unsupported_version``."""
    content = changed(place, lambda at, key: at.__setitem__(key, value))
    assert code_of(content) in {None, Code.MANIFEST_INVALID, Code.UNSUPPORTED_VERSION}
    assert code_of(with_fitting_digests(content) if place[0] == "targets" and len(place) > 3 else content) in {
        None,
        Code.MANIFEST_INVALID,
        Code.UNSUPPORTED_VERSION,
    }


@given(data=st.data())
def test_any_damage_is_read_or_refused(data: st.DataObject) -> None:
    """Hostile input: fuzzed bytes end in a manifest, ``manifest_invalid`` or ``unsupported_version``."""
    content = bytearray(codec.encode(MANIFEST))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert code_of(bytes(content)) in {None, Code.MANIFEST_INVALID, Code.UNSUPPORTED_VERSION}


@given(content=st.binary(max_size=60))
def test_noise_is_refused(content: bytes) -> None:
    """Hostile input: no random bytes are a manifest, and none raise another error."""
    assert code_of(content) is Code.MANIFEST_INVALID
