"""``manifest.json``: everything that one backup holds, readable by a person, strict for the program."""

import base64
import re

from stravinsky_rollback_mcp.core.codec.text import (
    Members,
    from_json,
    name_bytes,
    name_fields,
    read_name,
    require_format,
    to_readable_json,
)
from stravinsky_rollback_mcp.core.codec.trees import ABSENT, present, sort_key
from stravinsky_rollback_mcp.core.model import (
    MAX_ATTRIBUTES_BYTES,
    Attributes,
    BackupKind,
    Entry,
    EntryType,
    Kind,
    MadeBy,
    Manifest,
    Scope,
    Skipped,
    StoredTarget,
    TargetState,
    Tree,
)
from stravinsky_rollback_mcp.core.names import archive_name, is_version, path_problem
from stravinsky_rollback_mcp.errors import Code, RollbackError

FORMAT = 1
MAX_BYTES = 256 << 20
# A component's name is part of a file name. Which components exist is for the program that restores to know.
_COMPONENT = re.compile(r"[a-z][a-z_]{0,31}", re.ASCII)
_MANIFEST_MEMBERS = frozenset(
    {
        *("format", "version", "sequence", "kind", "made_by", "note", "created_at", "tool_version", "python_version"),
        *("system", "user_root", "user_root_b64", "project", "project_b64", "previous_version", "targets"),
    }
)
_TARGET_MEMBERS = frozenset(
    {
        *("scope", "component", "kind", "path", "path_b64", "resolved_path", "resolved_path_b64", "state", "archive"),
        *("archive_sha256", "archive_size_bytes", "digest", "entries", "skipped"),
    }
)
_MODE = re.compile(r"0[0-7]{3}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SKIPPED_MEMBERS = frozenset({"path", "path_b64", "reason"})
_LINK_MEMBERS = frozenset({"path", "path_b64", "type", "mode", "mtime_ns", "link", "link_b64"})
_FOLDER_MEMBERS = frozenset({"path", "path_b64", "type", "mode", "mtime_ns", "attributes"})
_ENTRY_MEMBERS = {
    EntryType.DIRECTORY: _FOLDER_MEMBERS,
    EntryType.FILE: _FOLDER_MEMBERS | {"size_bytes", "sha256"},
    EntryType.SYMLINK: _LINK_MEMBERS,
}
_ATTRIBUTE_MEMBERS = frozenset({"name", "name_b64", "value_b64"})


def encode(manifest: Manifest) -> bytes:
    """The bytes of ``manifest.json``; their SHA-256 goes into the audit."""
    return to_readable_json(
        {
            "format": FORMAT,
            "version": manifest.version,
            "sequence": manifest.sequence,
            "kind": manifest.kind,
            "made_by": manifest.made_by,
            "note": manifest.note,
            "created_at": manifest.created_at,
            "tool_version": manifest.tool_version,
            "python_version": manifest.python_version,
            "system": manifest.system,
            **name_fields("user_root", manifest.user_root),
            **({} if manifest.project is None else name_fields("project", manifest.project)),
            "previous_version": manifest.previous_version,
            "targets": [_encode_target(target) for target in manifest.targets],
        }
    )


def _encode_target(target: StoredTarget) -> dict[str, object]:
    return {
        "scope": target.scope,
        "component": target.component,
        "kind": target.kind,
        **name_fields("path", target.path),
        **name_fields("resolved_path", target.resolved_path),
        "state": target.tree.state,
        "archive": target.archive,
        "archive_sha256": target.archive_sha256,
        "archive_size_bytes": target.archive_size_bytes,
        "digest": target.tree.digest,
        "entries": [_encode_entry(entry) for entry in target.tree.entries],
        "skipped": [{**name_fields("path", item.path), "reason": item.reason} for item in target.tree.skipped],
    }


def _encode_entry(entry: Entry) -> dict[str, object]:
    fields: dict[str, object] = {
        **name_fields("path", entry.path),
        "type": entry.type,
        "mode": f"{entry.mode:04o}",
        "mtime_ns": entry.mtime_ns,
    }
    if entry.type is EntryType.FILE:
        fields |= {"size_bytes": entry.size_bytes, "sha256": entry.sha256}
    if entry.type is EntryType.SYMLINK:
        fields |= name_fields("link", entry.link)
    if entry.attributes:  # most have none, and manifests from before there were any stay what they are
        fields["attributes"] = [
            {**name_fields("name", name), "value_b64": base64.b64encode(value).decode("ascii")}
            for name, value in entry.attributes
        ]
    return fields


def decode(content: bytes) -> Manifest:
    """The manifest that bytes hold. Raises ``manifest_invalid`` or ``unsupported_version``, never anything else.

    What it says of itself is checked for consistency (names, paths, digests); whether it is genuine only the
    audit can tell.
    """
    try:
        members = Members(from_json(content))
        require_format(members.raw, FORMAT, "backup's manifest")
        members.require_only(_MANIFEST_MEMBERS)
        manifest = Manifest(
            version=members.text("version"),
            sequence=members.number("sequence"),
            kind=BackupKind(members.text("kind")),
            made_by=MadeBy(members.text("made_by")),
            note=members.text("note"),
            created_at=members.text("created_at"),
            tool_version=members.text("tool_version"),
            python_version=members.text("python_version"),
            system=members.text("system"),
            user_root=read_name(members.raw, "user_root"),
            project=read_name(members.raw, "project") if "project" in members.raw else None,
            previous_version=members.optional_text("previous_version"),
            targets=tuple(_decode_target(Members(item)) for item in members.objects("targets")),
        )
        _require_consistent(manifest)
    except ValueError as error:
        raise RollbackError(
            Code.MANIFEST_INVALID,
            f"a backup's manifest is not of the agreed form: {error}.",
            "choose another backup; this one can only be read by hand.",
        ) from error
    return manifest


def archives_of(content: bytes) -> dict[str, str]:
    """The SHA-256 of each archive by its file name, read off a manifest whose own digest the chain has confirmed.

    Nothing else of it is checked. Raises ValueError where there is nothing to read.
    """
    targets = (Members(item) for item in Members(from_json(content)).objects("targets"))
    return {target.text("archive"): target.text("archive_sha256") for target in targets if target.raw.get("archive")}


def _decode_target(members: Members) -> StoredTarget:
    members.require_only(_TARGET_MEMBERS)
    state = TargetState(members.text("state"))
    entries = tuple(_decode_entry(Members(item)) for item in members.objects("entries"))
    skipped = tuple(_decode_skipped(Members(item)) for item in members.objects("skipped"))
    if state is TargetState.PRESENT:
        tree = present(entries, skipped)
    elif entries:
        raise ValueError("entries of a target that was not present")
    else:
        tree = Tree(
            state=state, digest=ABSENT.digest if state is TargetState.ABSENT else "", entries=(), skipped=skipped
        )
    if tree.digest != members.text("digest"):
        raise ValueError("a tree digest that does not belong to its entries")
    return StoredTarget(
        scope=Scope(members.text("scope")),
        component=members.text("component"),
        kind=Kind(members.text("kind")),
        path=read_name(members.raw, "path"),
        resolved_path=read_name(members.raw, "resolved_path"),
        archive=members.text("archive"),
        archive_sha256=members.text("archive_sha256"),
        archive_size_bytes=members.number("archive_size_bytes"),
        tree=tree,
    )


def _decode_skipped(members: Members) -> Skipped:
    members.require_only(_SKIPPED_MEMBERS)
    return Skipped(path=read_name(members.raw, "path"), reason=members.text("reason"))


def _decode_entry(members: Members) -> Entry:
    kind = EntryType(members.text("type"))
    members.require_only(_ENTRY_MEMBERS[kind])
    mode = members.text("mode")
    if _MODE.fullmatch(mode) is None:
        raise ValueError("a mode that is not four octal digits up to 0777")
    is_file = kind is EntryType.FILE
    link = read_name(members.raw, "link") if kind is EntryType.SYMLINK else "-"
    if not link or "\0" in link:
        raise ValueError("a link that no system call would make")
    return Entry(
        path=read_name(members.raw, "path"),
        type=kind,
        mode=int(mode, 8),
        size_bytes=members.number("size_bytes") if is_file else 0,
        sha256=_sha256(members.text("sha256")) if is_file else "",
        link=link if kind is EntryType.SYMLINK else "",
        mtime_ns=members.integer("mtime_ns"),
        attributes=_decode_attributes(members) if "attributes" in members.raw else (),
    )


def _decode_attributes(members: Members) -> Attributes:
    found: list[tuple[str, bytes]] = []
    for item in members.objects("attributes"):
        Members(item).require_only(_ATTRIBUTE_MEMBERS)
        found.append((read_name(item, "name"), base64.b64decode(Members(item).text("value_b64"), validate=True)))
    names = [name for name, _ in found]
    if names != sorted(set(names), key=sort_key) or any(not name.startswith("user.") or "\0" in name for name in names):
        raise ValueError("extended attributes that are not in order, or not a person's")
    if sum(len(name_bytes(name)) + len(value) for name, value in found) > MAX_ATTRIBUTES_BYTES:
        raise ValueError("extended attributes that are too large")
    return tuple(found)


def _sha256(text: str) -> str:
    if _SHA256.fullmatch(text) is None:
        raise ValueError("a digest that is not 64 hexadecimal digits")
    return text


def _require_consistent(manifest: Manifest) -> None:
    if not is_version(manifest.version):
        raise ValueError("a version that is not a version name")
    if len({target.id for target in manifest.targets}) != len(manifest.targets):
        raise ValueError("a target named twice")
    for target in manifest.targets:
        _require_consistent_target(target)


def _require_consistent_target(target: StoredTarget) -> None:
    tree = target.tree
    if _COMPONENT.fullmatch(target.component) is None:
        raise ValueError("a component with a name that is none")
    if any(not path.startswith("/") or "\0" in path for path in (target.path, target.resolved_path)):
        raise ValueError("a target's path that is not absolute")
    if tree.state is not TargetState.PRESENT:
        if target.archive or target.archive_sha256 or target.archive_size_bytes:
            raise ValueError("an archive for a target that was not present")
        return
    # The archive's name is a constant of the target: a manifest may not point anywhere else.
    if target.archive != archive_name(target.id, target.kind):
        raise ValueError("an archive with a name that is not the target's")
    _sha256(target.archive_sha256)
    _require_consistent_entries(target)


def _require_consistent_entries(target: StoredTarget) -> None:
    tree = target.tree
    types = {entry.path: entry.type for entry in tree.entries}
    if len(types) != len(tree.entries):
        raise ValueError("an entry named twice")
    if types.get("") is not EntryType(target.kind):
        raise ValueError("a target whose first entry is not of its kind")
    if target.kind is Kind.FILE and len(types) != 1:
        raise ValueError("a file with entries below it")
    for path in types:
        problem = path_problem(path)
        if path and (problem or types.get(path.rpartition("/")[0]) is not EntryType.DIRECTORY):
            raise ValueError(problem or "an entry whose folder is not recorded")
