"""In which ways a plan would leave Claude Code's settings less guarded than they are now.

A person (or a model that repeats the lines) consents to exactly these lines, so they are stable, show no value
that may be a secret, and stay on one line whatever the file says. A new way is one row in ``_WAYS``.

A key of a wrong type counts as absent here; whether it makes Claude Code drop the whole file is for the settings
check to find, and such a file is passed as ``after=None``.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.masking import command_shown, digest, escaped, shown
from stravinsky_rollback_mcp.core.settings import TOO_DEEP, Settings, at, items, load, table, texts

# Events at which a hook can refuse or hold something back (hooks reference, exit code 2 or a JSON decision): what
# it held back passes once it is gone. At all other events a hook observes, adds context or does chores.
GUARDING_EVENTS = (
    "PreToolUse",  # denies a tool call
    "PermissionRequest",  # answers the permission dialog with no
    "UserPromptSubmit",  # rejects a prompt
    "UserPromptExpansion",  # rejects a slash command
    "PostToolBatch",  # ends the turn before the next model call
    *("Stop", "SubagentStop", "TeammateIdle"),  # keep someone at work, for instance until the tests pass
    *("TaskCreated", "TaskCompleted"),  # refuse a task, refuse to call it done
    "ConfigChange",  # keeps changed settings from taking effect
    *("Elicitation", "ElicitationResult"),  # decline an MCP server's question, hold back the answer
)

# The guarding events whose hooks can also agree to what an MCP server asks the person.
_ANSWERING = frozenset({"Elicitation", "ElicitationResult"})

# From strict to loose; ``dontAsk`` refuses what would be asked, yet no person sees a question any more.
_MODES = ("plan", "default", "acceptEdits", "dontAsk", "auto", "bypassPermissions")
_NO_BYPASS = ("permissions", "disableBypassPermissionsMode")
_KEY_HELPERS = ("apiKeyHelper", "awsAuthRefresh", "awsCredentialExport", "otelHeadersHelper")
# What makes a hook handler this one; its headers, timeout, model and statusMessage may change without a word.
_HANDLER_IDENTITY = ("type", "command", "args", "shell", "if", "url", "server", "tool", "input", "prompt")

_NAME_LIST = re.compile(r"[\w\-,| ]+", re.ASCII)  # other matchers are regular expressions and stay whole

_Way = Callable[[Settings, Settings], Iterator[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChange:
    """One settings file as it is and as a plan would leave it; None for bytes means that there is no file.

    ``known`` is the last known state, and stands in for ``before`` when that does not load.
    """

    path: str
    before: bytes | None
    known: bytes | None
    after: bytes | None


def security_changes(changes: Sequence[SettingsChange]) -> tuple[str, ...]:
    """One line for each way in which a plan loosens security, sorted and unique; tightening gives none.

    Every file is judged by itself: a rule that moves from one file to another is lost in the first. Any bytes are
    taken, nothing is raised.
    """
    return tuple(sorted({line for change in changes for line in _lines(change)}))


def _lines(change: SettingsChange) -> Iterator[str]:
    if change.before == change.after:
        return
    before = load(change.before)
    if before is None or before is TOO_DEEP:
        before = load(change.known) or {}
    after = load(change.after)
    if after is TOO_DEEP:
        # Claude Code would read it although we cannot: never let that pass for harmless.
        yield f"{escaped(change.path)}: nested too deep to be judged"
    for way in _WAYS:
        for text in way(before, after or {}):
            yield f"{escaped(change.path)}: {text}"


def guards_lost(change: SettingsChange) -> tuple[str, ...]:
    """One line for each guard that was up before and has no successor: deny rules, hooks of guarding events, all hooks.

    Unlike a restore, an update may put another hook in the place of one: what counts is that as many still watch over
    each event and tool. A file that did not load before had no guards.
    """
    before, after = load(change.before) or {}, load(change.after) or {}
    found = [text for way in (_DENY_RULE_REMOVED, _HOOKS_SWITCHED_OFF) for text in way(before, after)]
    watched = _watchers(after)
    unwatched = {
        (event, name)
        for (event, name), count in _watchers(before).items()
        if count > watched[event, name] + (watched[event, "*"] if name != "*" else 0)
    }
    found += [f"no hook watches over {event} ({shown(name)}) as before" for event, name in sorted(unwatched)]
    return tuple(sorted(found))


def _watchers(settings: Settings) -> Counter[tuple[str, str]]:
    """How many hooks watch over each event and matched name."""
    return Counter((guard.event, name) for guard, names in _guards(settings).items() for name in names)


def _is_same(one: object, other: object) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)  # unlike ==, tells true from 1


def _gained(what: str, *keys: str, unless: Sequence[str] = ()) -> _Way:
    """Texts that are new in the list at ``keys``, but for those that stood in the list at ``unless``."""

    def way(before: Settings, after: Settings) -> Iterator[str]:
        for text in texts(at(after, keys)) - texts(at(before, keys)) - texts(at(before, unless)):
            yield f"{what}: {shown(text)}"

    return way


def _becomes(what: str, *keys: str, value: bool | str = True) -> _Way:
    def way(before: Settings, after: Settings) -> Iterator[str]:
        if _is_same(at(after, keys), value) and not _is_same(at(before, keys), value):
            yield what

    return way


def _backwards(way: _Way) -> _Way:
    """What the way finds from after to before: a loss is a gain seen from the other end."""
    return lambda before, after: way(after, before)


def _mode_loosened(before: Settings, after: Settings) -> Iterator[str]:
    old, new = (at(settings, ("permissions", "defaultMode")) for settings in (before, after))
    old, new = (mode if isinstance(mode, str) else "default" for mode in (old, new))
    old_rank = _MODES.index(old) if old in _MODES else 0
    new_rank = _MODES.index(new) if new in _MODES else len(_MODES)
    if old != new and new_rank > old_rank:
        yield f"default permission mode loosened: {shown(old)} to {shown(new)}"


def _environment_changed(before: Settings, after: Settings) -> Iterator[str]:
    """Names only, never values. A removal counts too: many names of Claude Code's own switch something off."""
    old, new = table(before.get("env")), table(after.get("env"))
    for name in old.keys() | new.keys():
        if name in old and name in new and _is_same(old[name], new[name]):
            continue
        verb = "added" if name not in old else "removed" if name not in new else "changed"
        if name.startswith("ANTHROPIC_") and name.endswith("BASE_URL"):
            yield f"base URL {verb} (where prompts and credentials go): env.{shown(name)}"
        else:
            yield f"environment variable {verb}: env.{shown(name)}"


def _key_helper_set(before: Settings, after: Settings) -> Iterator[str]:
    for name in _KEY_HELPERS:
        old, new = before.get(name), after.get(name)
        if isinstance(new, str) and new and new != old:
            verb = "changed" if isinstance(old, str) and old else "added"
            yield f"key helper {verb}: {name}: {command_shown(new)} [{digest(new)}]"


def _guards_removed(before: Settings, after: Settings) -> Iterator[str]:
    left = _guards(after)
    for guard, names in _guards(before).items():
        lost = names - left.get(guard, set())
        if lost and "*" not in left.get(guard, ()):
            matcher = shown("|".join(sorted(lost)))
            yield f"{guard.event} hook removed (matcher {matcher}): {guard.shown} [{digest(guard.identity)}]"


def _answers_added(before: Settings, after: Settings) -> Iterator[str]:
    """A hook of these events may say yes in the person's place, to our own questions too (seen in Claude Code)."""
    known = _guards(before)
    for guard, names in _guards(after).items():
        if guard.event in _ANSWERING and names - known.get(guard, set()):
            yield f"{guard.event} hook added (can answer in your place): {guard.shown} [{digest(guard.identity)}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guard:
    """One handler of a guarding event, wherever in the list it stands."""

    event: str
    identity: str
    shown: str


def _guards(settings: Settings) -> dict[_Guard, set[str]]:
    """The handlers that can refuse something, each with what its matchers name; ``*`` is everything."""
    guards: dict[_Guard, set[str]] = {}
    for event in GUARDING_EVENTS:
        for group in map(table, items(at(settings, ("hooks", event)))):
            matcher = group.get("matcher", "")
            for handler in map(table, items(group.get("hooks"))):
                guard = _guard(event, handler)
                if guard is not None and isinstance(matcher, str):
                    guards.setdefault(guard, set()).update(_matched_names(matcher))
    return guards


def _guard(event: str, handler: Settings) -> _Guard | None:
    kind, command = handler.get("type"), handler.get("command")
    # An asynchronous hook ends after the fact and so refuses nothing.
    is_late = handler.get("async") is True or handler.get("asyncRewake") is True
    if is_late or not isinstance(kind, str) or (kind == "command" and not isinstance(command, str)):
        return None
    identity = json.dumps([handler.get(name) for name in _HANDLER_IDENTITY], sort_keys=True)
    arguments = sorted(texts(handler.get("args")))
    told = command_shown(command, arguments) if isinstance(command, str) else shown(kind)
    return _Guard(event=event, identity=identity, shown=told)


def _matched_names(matcher: str) -> set[str]:
    if matcher in ("", "*", ".*"):
        return {"*"}
    listed = matcher.replace(",", "|").split("|") if _NAME_LIST.fullmatch(matcher) else [matcher]
    return {name.strip() for name in listed if name.strip()} or {matcher}


_DENY_RULE_REMOVED = _backwards(_gained("deny rule removed", "permissions", "deny"))
_HOOKS_SWITCHED_OFF = _becomes("all hooks switched off", "disableAllHooks")
_WAYS: tuple[_Way, ...] = (
    _gained("allow rule added", "permissions", "allow"),
    _DENY_RULE_REMOVED,
    _backwards(_gained("ask rule removed", "permissions", "ask", unless=("permissions", "deny"))),
    _gained("additional directory added", "permissions", "additionalDirectories"),
    _mode_loosened,
    _backwards(_becomes("bypass mode no longer forbidden", *_NO_BYPASS, value="disable")),
    _guards_removed,
    _answers_added,
    _HOOKS_SWITCHED_OFF,
    _environment_changed,
    _key_helper_set,
    _becomes("all project MCP servers approved", "enableAllProjectMcpServers"),
    _gained("project MCP server approved", "enabledMcpjsonServers"),
    _backwards(_gained("project MCP server no longer refused", "disabledMcpjsonServers")),
    _backwards(_becomes("sandbox switched off", "sandbox", "enabled")),
)
