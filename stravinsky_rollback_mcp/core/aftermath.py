"""What an update did to a configuration, judged by what was there before it began."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.diff import difference
from stravinsky_rollback_mcp.core.model import Effect, EntryType, Finding, Scope, Severity, Target, Tree
from stravinsky_rollback_mcp.core.security_changes import SettingsChange, guards_lost
from stravinsky_rollback_mcp.core.settings import load

MAX_VERSION_FILE_BYTES = 1 << 20
_CHECK_OF = {"settings": "settings_schema", "local_settings": "settings_schema", "hooks": "hooks_syntax"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overwritten:
    """A file that the person had changed since the last update, and that this update changed or deleted.

    ``path`` is relative to the target, empty for the target itself.
    """

    target: Target
    path: str
    is_deleted: bool


def losses(
    changes: Sequence[tuple[Scope, SettingsChange]], targets: Sequence[tuple[Target, str]], trees: "Trees"
) -> tuple[Finding, ...]:
    """What an update may not take away unasked: guards, deny rules, and whole targets. All are errors."""
    return (*_guards(changes), *_emptied(targets, trees))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """The trees of all targets before and after an update, by target id."""

    before: Mapping[str, Tree]
    after: Mapping[str, Tree]


def _guards(changes: Sequence[tuple[Scope, SettingsChange]]) -> Iterator[Finding]:
    for scope, change in changes:
        for line in guards_lost(change):
            yield Finding(
                check="settings_schema" if line.startswith("deny rule") else "hooks_syntax",
                severity=Severity.ERROR,
                scope=scope,
                path=change.path,
                line=None,
                message=f"{line}.",
                fix="if that is wanted, make this change by hand and not in an update.",
                effect=Effect.GUARD_OFF,
            )


def _emptied(targets: Sequence[tuple[Target, str]], trees: Trees) -> Iterator[Finding]:
    """Nothing is left of a target that held something: no installer means that, many broken ones do it."""
    for target, path in targets:
        before, after = trees.before.get(target.id), trees.after.get(target.id)
        if before is None or after is None or not before.files or after.files:
            continue
        yield Finding(
            check=_CHECK_OF.get(target.component, "commands_validity"),
            severity=Severity.ERROR,
            scope=target.scope,
            path=path,
            line=None,
            message="nothing is left of it.",
            fix="if that is wanted, delete it by hand and not in an update.",
            effect=Effect.DROPPED,
        )


def overwritten(targets: Sequence[Target], installed: Mapping[str, Tree], trees: Trees) -> tuple[Overwritten, ...]:
    """The files that the person changed after ``installed`` (the last update's result) and this update did not keep."""
    found: list[Overwritten] = []
    for target in targets:
        was, before, after = installed.get(target.id), trees.before.get(target.id), trees.after.get(target.id)
        if was is None or before is None or after is None:
            continue
        by_person = difference(was, before)
        own = {*by_person.added, *by_person.modified}
        by_update = difference(before, after)
        files = {entry.path or "." for entry in before.entries if entry.type is not EntryType.DIRECTORY}
        for paths, is_deleted in ((by_update.modified, False), (by_update.removed, True)):
            found.extend(
                Overwritten(target=target, path="" if path == "." else path, is_deleted=is_deleted)
                for path in paths
                if path in own and path in files
            )
    return tuple(found)


def declared_version(content: bytes) -> str | None:
    """The version that a file names: the member ``version`` of a JSON object, else its first line; None for none."""
    settings = load(content)
    named = None if settings is None else settings.get("version")
    if isinstance(named, str):
        return named.strip() or None
    lines = content.decode("utf-8", "replace").split("\n")
    return lines[0].strip() or None
