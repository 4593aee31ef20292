"""Faulty settings files, row by row: what Claude Code 2.1.330 was seen to do with each, and what we say of it.

``real`` is ``dropped`` (nothing of the file is loaded), ``noted`` (one entry is passed over, and `claude doctor` says
so) or ``silent`` (it says nothing). ``new`` is our severity for a new change, ``restore`` that for an old state.
"""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One file with one fault."""

    content: bytes
    real: str
    new: str
    restore: str


def row(content: Any, real: str, new: str, restore: str = "") -> Row:
    """A file given as bytes, or as a value that is written as JSON."""
    raw = content if isinstance(content, bytes) else json.dumps(content, indent=2).encode()
    return Row(content=raw, real=real, new=new, restore=restore or new)


def hook(event: str, group: Any) -> dict[str, Any]:
    """Settings with one group of hooks."""
    return {"hooks": {event: [group]}}


def handler(**members: Any) -> dict[str, Any]:
    """A group with one handler."""
    return {"hooks": [{"type": "command", **members}]}


GOOD = handler(command="true")

ROWS: dict[str, Row] = {
    # invalid JSON, root no object, too large
    "a comment": row(b'{"model": "opus" /* x */}', "dropped", "error"),
    "a last comma": row(b'{"model": "opus",}', "dropped", "error"),
    "a list": row([], "dropped", "error"),
    "null": row(None, "dropped", "error"),
    "more than 2 MiB": row(b'{"model": "opus"}' + b" " * (2 << 20), "dropped", "error"),
    "a byte order mark": row(b'\xef\xbb\xbf{"model": "opus"}', "silent", "none"),
    "an empty file": row(b"", "silent", "none"),
    # a known key of a wrong type
    "wrong type": row({"includeCoAuthoredBy": "no"}, "dropped", "error"),
    "null for a text": row({"model": None}, "dropped", "error"),
    "allow as a text": row({"permissions": {"allow": "Bash"}}, "dropped", "error"),
    "bad defaultMode": row({"permissions": {"defaultMode": "yolo"}}, "dropped", "error"),
    "bypass forbidden by true": row({"permissions": {"disableBypassPermissionsMode": True}}, "dropped", "error"),
    "directory as a number": row({"permissions": {"additionalDirectories": [3]}}, "dropped", "error"),
    "statusLine without command": row({"statusLine": {"type": "command"}}, "dropped", "error"),
    "statusLine of another type": row({"statusLine": {"type": "static", "command": "x"}}, "dropped", "error"),
    "cleanupPeriodDays 0": row({"cleanupPeriodDays": 0}, "dropped", "error"),
    "cleanupPeriodDays 1.5": row({"cleanupPeriodDays": 1.5}, "dropped", "error"),
    "env as a list": row({"env": []}, "dropped", "error"),
    "sandbox as a text": row({"sandbox": "on"}, "dropped", "error"),
    "sandbox domains as a text": row({"sandbox": {"network": {"allowedDomains": "x.org"}}}, "dropped", "error"),
    "plugins as a list": row({"enabledPlugins": ["a@b"]}, "dropped", "error"),
    "servers as an object": row({"enabledMcpjsonServers": {}}, "dropped", "error"),
    # a malformed guard
    "guard of an unknown type": row(
        hook("PreToolUse", {"hooks": [{"type": "shell", "command": "x"}]}), "dropped", "error"
    ),
    "guard with a list as matcher": row(hook("PreToolUse", {**GOOD, "matcher": ["Bash"]}), "dropped", "error"),
    "guard without a command": row(hook("PreToolUse", handler()), "dropped", "error"),
    "guard with timeout 0": row(hook("PermissionRequest", handler(command="x", timeout=0)), "dropped", "error"),
    "guard group without hooks": row(hook("PreToolUse", {"matcher": "Bash"}), "dropped", "error"),
    "guards as an object": row({"hooks": {"PreToolUse": {}}}, "dropped", "error"),
    "guard without a tool": row(
        hook("PreToolUse", {"hooks": [{"type": "mcp_tool", "server": "x"}]}), "dropped", "error"
    ),
    "guard with a bad URL": row(
        hook("PermissionRequest", {"hooks": [{"type": "http", "url": "x"}]}), "dropped", "error"
    ),
    "guard in another shell": row(
        hook("PreToolUse", {"hooks": [{"type": "command", "command": "x", "shell": "zsh"}]}), "dropped", "error"
    ),
    # the same under any other event
    "other hook of an unknown type": row(
        hook("Stop", {"hooks": [{"type": "shell", "command": "x"}]}), "noted", "error", "warning"
    ),
    "other hook with a list as matcher": row(hook("Stop", {**GOOD, "matcher": ["x"]}), "noted", "error", "warning"),
    "other hook without a command": row(hook("UserPromptSubmit", handler()), "noted", "error", "warning"),
    "other hook with timeout 0": row(hook("Stop", handler(command="x", timeout=0)), "noted", "error", "warning"),
    "other group without hooks": row(hook("PostToolUse", {"matcher": "Bash"}), "noted", "error", "warning"),
    "other event as an object": row({"hooks": {"Stop": {}}}, "noted", "error", "warning"),
    # hooks as a whole
    "hooks as a list": row({"hooks": []}, "noted", "error"),
    "guards as null": row({"hooks": {"PreToolUse": None}}, "noted", "error"),
    # entries that are skipped
    "unknown event": row({"hooks": {"PreToolUsed": [GOOD]}}, "noted", "warning"),
    "open bracket in a rule": row({"permissions": {"allow": ["Read(./.env"]}}, "noted", "warning"),
    "lower case rule": row({"permissions": {"deny": ["bash"]}}, "noted", "warning"),
    "empty rule": row({"permissions": {"ask": [""]}}, "noted", "warning"),
    "empty brackets in a rule": row({"permissions": {"allow": ["Bash()"]}}, "noted", "warning"),
    "wildcard in an allow rule": row({"permissions": {"allow": ["*"]}}, "noted", "warning"),
    "rule as a number": row({"permissions": {"allow": [3]}}, "noted", "warning"),
    # unknown keys, at any depth
    "unknown key": row({"permission": {}}, "silent", "warning"),
    "unknown key in permissions": row({"permissions": {"alow": []}}, "silent", "warning"),
    "unknown key in a group": row(hook("PreToolUse", {**GOOD, "match": "x"}), "silent", "warning"),
    "unknown key in a handler": row(hook("PreToolUse", handler(command="x", timeuot=3)), "silent", "warning"),
    "unknown key in statusLine": row(
        {"statusLine": {"type": "command", "command": "x", "pading": 1}}, "silent", "warning"
    ),
    # wrong homes
    "servers in settings": row({"mcpServers": {"x": {"command": "y"}}}, "silent", "warning"),
    "guard at top level": row({"PreToolUse": [GOOD]}, "dropped", "error"),
    "guard under another key": row({"permissions": {"hooks": {"PreToolUse": [GOOD]}}}, "dropped", "error"),
    "other hook at top level": row({"Stop": [GOOD]}, "silent", "error", "warning"),
    # accepted, and yet not what was meant
    "a number in env": row({"env": {"PORT": 8080}}, "silent", "warning"),
    "lower case in env": row({"env": {"port": "8080"}}, "silent", "warning"),
    "unknown effortLevel": row({"effortLevel": "huge"}, "silent", "warning"),
    "empty command": row(hook("PreToolUse", handler(command="")), "silent", "warning"),
    "matcher that is no expression": row(hook("PreToolUse", {**GOOD, "matcher": "Bash("}), "silent", "warning"),
    "matcher that names a server": row(hook("PreToolUse", {**GOOD, "matcher": "mcp__x"}), "silent", "warning"),
    "matcher with expressions in a list": row(
        hook("PreToolUse", {**GOOD, "matcher": "mcp__x__*,mcp__y__*,Task"}), "silent", "warning"
    ),
    "server as a text": row({"enabledMcpjsonServers": "x"}, "silent", "warning"),
    "the same key twice": row(b'{"model": "opus", "model": "sonnet"}', "silent", "warning"),
    "superseded key": row({"includeCoAuthoredBy": False}, "silent", "info"),
    "dead key": row({"allowedTools": ["Bash"]}, "silent", "warning"),
    # as they should be
    "every event": row({"hooks": {"PreToolUse": [{**GOOD, "matcher": "*"}], "Stop": [GOOD]}}, "silent", "none"),
    "lists of names": row(hook("PreToolUse", {**GOOD, "matcher": "Write|Edit, Bash"}), "silent", "none"),
    "expressions": row(hook("PreToolUse", {**GOOD, "matcher": "mcp__x__.*|^Note"}), "silent", "none"),
    "rules of all forms": row(
        {
            "permissions": {
                "allow": ["Bash(npm run *)", "mcp__x", "mcp__x__*", "WebFetch(domain:x.org)", "Read(~/a (b)/**)"],
                "deny": ["*", "Read(./.env)"],
            }
        },
        "silent",
        "none",
    ),
    "proxies": row({"env": {"https_proxy": "x", "A_1": "y"}}, "silent", "none"),
}
