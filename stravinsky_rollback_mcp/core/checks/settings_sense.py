"""What a schema cannot say of settings: keys in a wrong home, rules and matchers that match nothing, old names."""

import re
from collections.abc import Iterator, Mapping

from stravinsky_rollback_mcp.core.checks.faults import GUARDED_EVENTS, Fault, dropped, passed_over
from stravinsky_rollback_mcp.core.checks.positions import Path
from stravinsky_rollback_mcp.core.checks.settings_types import ELSEWHERE, schema
from stravinsky_rollback_mcp.core.model import Severity
from stravinsky_rollback_mcp.core.settings import Settings, at, items, table

_SUPERSEDED: Mapping[str, str] = {"includeCoAuthoredBy": "attribution", "voiceEnabled": "voice"}
# Where Claude Code does not search for hooks that stand in a wrong place, and how deep it searches elsewhere.
_NEVER_SEARCHED = frozenset(
    {"hooks", "mcpServers", "managedMcpServers", "lspServers", "pluginConfigs", "enabledPlugins"}
    | {"extraKnownMarketplaces", "env", "skillOverrides", "modelSettings"}
)
_SEARCH_DEPTH = 3
_RULE = re.compile(r"(?P<tool>[^(]*)(?:\((?P<content>.*)\))?", re.DOTALL)
_MCP_TOOLS = re.compile(r"mcp__[^*]+__")
_NAME_LIST = re.compile(r"[\w\-,| ]*", re.ASCII)
_JAVASCRIPT_GROUP = re.compile(r"\(\?<(?=[A-Za-z_])")
_MATCHED_BY_TOOL = frozenset(
    {"PreToolUse", "PostToolUse", "PostToolUseFailure", "PermissionRequest", "PermissionDenied"}
)


def beyond_schema(settings: Settings, *, is_restore: bool) -> Iterator[Fault]:
    """The faults of settings that are of the right types."""
    yield from _old_names(settings)
    yield from _misplaced_hooks(settings, is_restore=is_restore)
    yield from _skipped_rules(settings)
    for path, group in _groups(settings):
        yield from _of_group(path, group)
    for name in ("statusLine", "fileSuggestion"):
        if table(settings.get(name)).get("command") == "":
            yield _warning((name, "command"), "is empty.", "name a command, or remove it.")


def _warning(path: Path, message: str, fix: str) -> Fault:
    return Fault(path=path, severity=Severity.WARNING, message=message, fix=fix)


def _old_names(settings: Settings) -> Iterator[Fault]:
    for name, fix in ELSEWHERE.items():
        if name in settings:
            yield _warning((name,), "is ignored in a settings file.", fix)
    for name, successor in _SUPERSEDED.items():
        if name in settings:
            message = f"still works; {successor} has taken its place."
            yield Fault(path=(name,), severity=Severity.INFO, message=message)


# -- hooks outside `hooks` ------------------------------------------------------------------------------------------


def _misplaced_hooks(settings: Settings, *, is_restore: bool) -> Iterator[Fault]:
    events = table(at(schema(), ("properties", "hooks", "properties")))
    for path, name in _events_below((), settings, events):
        if name in GUARDED_EVENTS:
            yield dropped(
                (*path, name), "stands outside /hooks; it may be a guard, so Claude Code drops the whole file."
            )
        else:
            yield passed_over((*path, name), "stands outside /hooks", is_restore=is_restore)


def _events_below(path: Path, value: Settings, events: Settings) -> Iterator[tuple[Path, str]]:
    for name, child in value.items():
        if name in events and any(items(table(group).get("hooks")) for group in items(child)):
            yield path, name
        elif len(path) < _SEARCH_DEPTH and (path or name not in _NEVER_SEARCHED):
            yield from _events_below((*path, name), table(child), events)


# -- permission rules -----------------------------------------------------------------------------------------------


def _skipped_rules(settings: Settings) -> Iterator[Fault]:
    for kind in ("allow", "deny", "ask"):
        for place, rule in enumerate(items(at(settings, ("permissions", kind)))):
            problem = _rule_problem(rule, kind) if isinstance(rule, str) else ""
            if problem:
                yield _warning(("permissions", kind, str(place)), f"{problem}, so Claude Code skips this rule.", "")


def _rule_problem(rule: str, kind: str) -> str:
    """Why Claude Code skips a rule: the forms that 2.1.330 was seen to refuse, and no more."""
    found = _RULE.fullmatch(rule)
    if found is None:
        return "has brackets that do not close at its end"
    tool, content = found["tool"], found["content"]
    problem = ""
    if not tool.strip():
        problem = "names no tool"
    elif content is not None and not content.strip():
        problem = "has empty brackets"
    elif tool[0].islower() and not tool.startswith("mcp__") and "*" not in tool:
        problem = "does not begin with the name of a tool, which is in upper case"
    elif kind == "allow" and "*" in tool and not _MCP_TOOLS.match(tool):
        problem = "allows by a wildcard, which only names of MCP tools may hold"
    return problem


# -- hooks ----------------------------------------------------------------------------------------------------------


def _groups(settings: Settings) -> Iterator[tuple[Path, Settings]]:
    for event, groups in table(settings.get("hooks")).items():
        for place, group in enumerate(items(groups)):
            yield ("hooks", event, str(place)), table(group)


def _of_group(path: Path, group: Settings) -> Iterator[Fault]:
    for place, handler in enumerate(items(group.get("hooks"))):
        if table(handler).get("command") == "":
            yield _warning((*path, "hooks", str(place), "command"), "is empty, so this hook does nothing.", "")
    matcher = group.get("matcher")
    if isinstance(matcher, str):
        problem = _matcher_problem(matcher) if path[1] in _MATCHED_BY_TOOL else ""
        if problem:
            yield _warning((*path, "matcher"), f"{problem}, so these hooks never run for it.", "name tools exactly.")


def _matcher_problem(matcher: str) -> str:
    """Letters, digits, ``_ - , |`` and blanks are a list of exact names, all else one regular expression."""
    if matcher == "*":
        return ""
    if _NAME_LIST.fullmatch(matcher):
        names = [name.strip() for name in re.split(r"[|,]", matcher)]
        servers = [name for name in names if name.startswith("mcp__") and "__" not in name.removeprefix("mcp__")]
        return "names an MCP server without a tool (its tools are mcp__server__.*)" if servers else ""
    if "," in matcher and "{" not in matcher:
        return "is a regular expression that holds a comma, as no tool's name does"
    try:
        re.compile(_JAVASCRIPT_GROUP.sub("(?P<", matcher))
    except (re.error, RecursionError, OverflowError):
        return "is no regular expression"
    return ""
