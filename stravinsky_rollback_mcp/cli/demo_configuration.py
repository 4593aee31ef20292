"""The configuration that ``demo`` loses and gets back: sixty files in two scopes, with the oddities of real ones."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

# Paths are bytes, because one name is no text; relative to the home or to the project's folder.
Content = Mapping[bytes, "File | Folder | Link"]


@dataclass(frozen=True, slots=True)
class File:
    """A regular file."""

    text: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that would not be there for a file's sake."""

    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    text: str


_GUARD = '''#!/usr/bin/env python3
"""Refuse {what}: exit 2 denies the tool call."""
import json
import sys

call = json.load(sys.stdin)
sys.exit(2 if {pattern!r} in json.dumps(call.get("tool_input", {{}})) else 0)
'''
_SCRIPT = "#!/usr/bin/env bash\nset -eu\n{body}\n"

_USER_SETTINGS: Mapping[str, object] = {
    "model": "opus",
    "env": {"EDITOR": "vim", "EXAMPLE_API_TOKEN": "not-a-real-token-0123456789"},
    "permissions": {
        "allow": ["Bash(git status)", "Bash(git diff:*)", "Read(~/notes/**)"],
        "ask": ["Bash(git push:*)"],
        "deny": ["Read(./.env)", "Bash(rm -rf:*)"],
    },
    "hooks": {
        "PreToolUse": [
            {"matcher": "Bash", "hooks": [{"type": "command", "command": "python3 ~/.claude/hooks/guard_bash.py"}]},
            {"matcher": "Write|Edit", "hooks": [{"type": "command", "command": "~/.claude/hooks/guard_secrets.py"}]},
        ],
        "Stop": [{"hooks": [{"type": "command", "command": "bash ~/.claude/hooks/notify.sh done"}]}],
        "SessionStart": [{"hooks": [{"type": "command", "command": '"$HOME/.claude/hooks/session start.sh"'}]}],
    },
}
PROJECT_SETTINGS: Mapping[str, object] = {
    "permissions": {"allow": ["Bash(make:*)"], "deny": ["Read(./secrets/**)"]},
    "hooks": {
        "PreToolUse": [
            {
                "matcher": "Bash",
                "hooks": [{"type": "command", "command": "bash $CLAUDE_PROJECT_DIR/.claude/hooks/check_branch.sh"}],
            }
        ],
        "PostToolUse": [
            {
                "matcher": "Write|Edit",
                "hooks": [{"type": "command", "command": '"$CLAUDE_PROJECT_DIR"/.claude/hooks/format.py'}],
            }
        ],
    },
}
_MCP_SERVERS: Mapping[str, object] = {
    "mcpServers": {"issues": {"command": "npx", "args": ["issues-server"], "env": {"ISSUES_TOKEN": "not-a-real-token"}}}
}
_LOCAL_SETTINGS: Mapping[str, object] = {
    "permissions": {"allow": ["Bash(pytest:*)", "WebFetch(domain:docs.python.org)"]},
    "outputStyle": "concise",
}

_USER_COMMANDS = (
    *("review", "fix issue", "explain", "test first", "tidy imports", "release notes", "stand up", "translate"),
    *("git/commit", "git/rebase", "git/bisect", "git/pr/create", "git/pr/review", "git/pr/réviser"),
    *("docs/readme", "docs/changelog", "docs/api/outline", "drafts/idea"),
)
_PROJECT_COMMANDS = (
    *("test", "lint", "type check", "coverage", "style"),
    *("db/migrate", "db/seed/small", "db/seed/full", "ops/deploy", "ops/rollback", "ops/logs", "ops/oncall/page"),
)


def settings_text(settings: Mapping[str, object]) -> str:
    """Settings as Claude Code writes them."""
    return json.dumps(settings, indent=2, ensure_ascii=False) + "\n"


def home_content() -> Content:
    """What lies in the home: the user scope, and files beside it that are none of our business."""
    odd = {} if sys.platform == "darwin" else {b".claude/hooks/caf\xe9.py": File("print('a latin-1 name')\n")}
    return {
        b".claude/settings.json": File(settings_text(_USER_SETTINGS), 0o600),
        b".claude/hooks/guard_bash.py": File(_GUARD.format(what="a recursive delete", pattern="rm -rf /"), 0o755),
        b".claude/hooks/guard_secrets.py": File(_GUARD.format(what="private keys", pattern="PRIVATE KEY"), 0o755),
        b".claude/hooks/log_tools.py": File("import sys\n\nsys.stdin.read()\n"),
        b".claude/hooks/notify.sh": File(_SCRIPT.format(body="printf '%s\\n' \"$1\" >/dev/null"), 0o755),
        b".claude/hooks/session start.sh": File(_SCRIPT.format(body="date >/dev/null"), 0o755),
        b".claude/hooks/README.md": File("# Hooks\n\nDo not edit by hand.\n", 0o444),
        b".claude/hooks/current.py": Link("guard_bash.py"),
        b".claude/hooks/lib/__init__.py": File(""),
        b".claude/hooks/lib/patterns.py": File("SECRETS = ('BEGIN PRIVATE KEY', 'AKIA')\n"),
        b".claude/hooks/lib/deep/rules.json": File('{"deny": ["curl | sh"]}\n'),
        **odd,
        **_commands(b".claude/commands", _USER_COMMANDS),
        b".claude/commands/empty.md": File(""),
        b".claude/commands/someday": Folder(),
        b".claude/agents/reviewer.md": File("---\nname: reviewer\ndescription: reads diffs\n---\nBe strict.\n"),
        b".claude/agents/writer.md": File("---\nname: writer\ndescription: writes prose\n---\nBe brief.\n"),
        b".claude/CLAUDE.md": File("# House rules\n\nTests first.\n"),
        b".claude/.credentials.json": File('{"claudeAiOauth": {"accessToken": "not-a-real-token"}}\n', 0o600),
        b".claude/history.jsonl": File('{"display": "hello"}\n' * 40),
        b".claude/projects/-work-app/0b1c.jsonl": File('{"type": "user", "message": "hello"}\n' * 200),
        b".claude.json": File('{"numStartups": 41, "projects": {}}\n', 0o600),
    }


def project_content() -> Content:
    """What lies in the project: its ``.claude``, and source code, which is never touched."""
    return {
        b".git": Folder(),
        b".claude/settings.json": File(settings_text(PROJECT_SETTINGS)),
        b".claude/settings.local.json": File(settings_text(_LOCAL_SETTINGS), 0o600),
        b".claude/hooks/format.py": File(
            "#!/usr/bin/env python3\nimport json\nimport sys\n\njson.load(sys.stdin)\n", 0o755
        ),
        b".claude/hooks/check_branch.sh": File(_SCRIPT.format(body="git branch --show-current || true"), 0o755),
        b".claude/hooks/latest.sh": Link("check_branch.sh"),
        b".claude/hooks/shared settings.json": File('{"line-length": 120}\n', 0o444),
        b".claude/hooks/node/check.js": File("process.exit(0);\n"),
        b".claude/hooks/node/package.json": File('{"type": "module"}\n'),
        b".claude/hooks/empty": Folder(),
        b".claude/hooks/nothing": File(""),
        **_commands(b".claude/commands", _PROJECT_COMMANDS),
        b".mcp.json": File(settings_text(_MCP_SERVERS)),
        b"CLAUDE.md": File("# This project\n"),
        b"src/main.py": File("print('hello')\n"),
    }


def _commands(folder: bytes, names: tuple[str, ...]) -> Content:
    return {
        b"%b/%b.md" % (folder, name.encode()): File(
            f"---\ndescription: {name.replace('/', ': ')}\nargument-hint: '[what]'\n---\nDo it with $ARGUMENTS.\n"
        )
        for name in names
    }
