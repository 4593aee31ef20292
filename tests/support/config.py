"""A Claude Code configuration as people have it: about twenty files a scope, with the oddities of real ones.

Modelled on public ones: executable guards named by the settings, nested commands, names with spaces, an empty folder,
an empty file, a name that is no UTF-8, a link, a read-only file.
"""

import json
import sys
from pathlib import Path

from support.tree import File, Folder, Link, Spec, build

# APFS and HFS+ refuse such names.
_ODD_NAME: Spec = {} if sys.platform == "darwin" else {b"caf\xe9.py": "print('latin-1 name')\n"}

_GUARD = '''#!/usr/bin/env python3
"""Refuse {what}: exit 2 denies the tool call."""
import json
import sys

call = json.load(sys.stdin)
sys.exit(2 if {pattern!r} in json.dumps(call.get("tool_input", {{}})) else 0)
'''

_SCRIPT = "#!/usr/bin/env bash\nset -eu\n{body}\n"

USER_SETTINGS: dict[str, object] = {
    "$schema": "https://json.schemastore.org/claude-code-settings.json",
    "model": "opus",
    "cleanupPeriodDays": 30,
    "env": {"EDITOR": "vim", "EXAMPLE_API_TOKEN": "not-a-real-token-0123456789"},
    "permissions": {
        "allow": ["Bash(git status)", "Bash(git diff:*)", "Read(~/notes/**)"],
        "ask": ["Bash(git push:*)"],
        "deny": ["Read(./.env)", "Bash(rm -rf:*)"],
        "defaultMode": "acceptEdits",
    },
    "hooks": {
        "PreToolUse": [
            {
                "matcher": "Bash",
                "hooks": [{"type": "command", "command": "python3 ~/.claude/hooks/guard_bash.py", "timeout": 5}],
            },
            {
                "matcher": "Write|Edit",
                "hooks": [{"type": "command", "command": "~/.claude/hooks/guard_secrets.py"}],
            },
        ],
        "Stop": [{"hooks": [{"type": "command", "command": "bash ~/.claude/hooks/notify.sh done"}]}],
        "SessionStart": [{"hooks": [{"type": "command", "command": '"$HOME/.claude/hooks/session start.sh"'}]}],
    },
    "statusLine": {"type": "command", "command": "~/.claude/statusline.sh"},
}

PROJECT_SETTINGS: dict[str, object] = {
    "permissions": {"allow": ["Bash(make:*)"], "deny": ["Read(./secrets/**)"]},
    "hooks": {
        "PostToolUse": [
            {
                "matcher": "Write|Edit",
                "hooks": [{"type": "command", "command": '"$CLAUDE_PROJECT_DIR"/.claude/hooks/format.py'}],
            }
        ],
        "PreToolUse": [
            {
                "matcher": "Bash",
                "hooks": [{"type": "command", "command": "bash $CLAUDE_PROJECT_DIR/.claude/hooks/check_branch.sh"}],
            }
        ],
    },
}

LOCAL_SETTINGS: dict[str, object] = {
    "permissions": {"allow": ["Bash(pytest:*)", "WebFetch(domain:docs.python.org)"]},
    "outputStyle": "Concise",
}


def realistic(home: Path, project: Path) -> tuple[Path, Path]:
    """Write both scopes, and files around them that are none of our business; returns the user and project roots.

    ``~/.claude.json``, credentials and transcripts must come through any operation untouched: take a ``snapshot`` of
    the whole home to prove it.
    """
    build(home, {".claude": _user(), ".claude.json": File('{"numStartups": 41, "projects": {}}\n', 0o600)})
    build(project, {".claude": _project(), "CLAUDE.md": "# This project\n", "src": {"main.py": "print('hello')\n"}})
    return home / ".claude", project / ".claude"


def _user() -> Folder:
    hooks: Spec = {
        "guard_bash.py": File(_GUARD.format(what="a recursive delete", pattern="rm -rf /"), 0o755),
        "guard_secrets.py": File(_GUARD.format(what="private keys", pattern="PRIVATE KEY"), 0o755),
        "log_tools.py": "import sys\n\nsys.stdin.read()\n",
        "notify.sh": File(_SCRIPT.format(body="printf '%s\\n' \"$1\" >/dev/null"), 0o755),
        "session start.sh": File(_SCRIPT.format(body="date >/dev/null"), 0o755),
        "README.md": File("# Hooks\n\nDo not edit by hand.\n", 0o444),
        "current.py": Link("guard_bash.py"),
        "lib": {
            "__init__.py": "",
            "patterns.py": "SECRETS = ('BEGIN PRIVATE KEY', 'AKIA')\n",
            "deep": {"rules.json": '{"deny": ["curl | sh"]}\n'},
        },
        **_ODD_NAME,
    }
    return Folder(
        {
            "settings.json": File(_json(USER_SETTINGS), 0o600),
            "hooks": hooks,
            "commands": {
                "review.md": _command("Review the diff", "Review $ARGUMENTS for faults."),
                "fix issue.md": _command("Fix an issue", "Fix issue #$1."),
                "empty.md": "",
                "drafts": {},
                "git": {
                    "commit.md": _command("Commit", "Write a commit message: !`git diff --cached`"),
                    "pr": {
                        "create.md": _command("Open a pull request", "Open one."),
                        "réviser.md": _command("Rework", "Überarbeite 一切."),
                    },
                },
            },
            "agents": {"reviewer.md": "---\nname: reviewer\ndescription: reads diffs\n---\nBe strict.\n"},
            "CLAUDE.md": "# House rules\n\nTests first.\n",
            "statusline.sh": File(_SCRIPT.format(body="echo ok"), 0o755),
            # never ours:
            ".credentials.json": File('{"claudeAiOauth": {"accessToken": "not-a-real-token"}}\n', 0o600),
            "history.jsonl": '{"display": "hello"}\n',
            "projects": {"-work-app": {"0b1c.jsonl": '{"type": "user"}\n'}},
        }
    )


def _project() -> Folder:
    return Folder(
        {
            "settings.json": _json(PROJECT_SETTINGS),
            "settings.local.json": File(_json(LOCAL_SETTINGS), 0o600),
            "hooks": {
                "format.py": File("#!/usr/bin/env python3\nimport json\nimport sys\n\njson.load(sys.stdin)\n", 0o755),
                "check_branch.sh": File(_SCRIPT.format(body="git branch --show-current >/dev/null || true"), 0o755),
                "latest.sh": Link("check_branch.sh"),
                "shared settings.json": File('{"line-length": 120}\n', 0o444),
                "empty": {},
                "node": {"check.js": "process.exit(0);\n", "package.json": '{"type": "module"}\n'},
                "windows.sh": File(b"#!/bin/sh\r\nexit 0\r\n", 0o755),
                "bom.py": File(b"\xef\xbb\xbfprint('with a byte order mark')\n"),
                "blob.bin": File(bytes(range(256))),
                "nothing": "",
                **_ODD_NAME,
            },
            "commands": {
                "test.md": _command("Run the tests", "Run `pytest -x` and explain what fails."),
                "release notes.md": _command("Release notes", "Summarise commits since $1."),
                "db": {
                    "migrate.md": _command("Migrate", "Plan the migration."),
                    "seed": {"small.md": _command("Seed", "A small data set."), "full.md": "no frontmatter\n"},
                },
                "ops": {"deploy.md": _command("Deploy", "To $1."), "rollback.md": _command("Roll back", "To $1.")},
                "style.md": File(_command("Style", "House style."), 0o600),
            },
        }
    )


def _command(description: str, body: str) -> str:
    return f"---\ndescription: {description}\nargument-hint: '[what]'\n---\n{body}\n"


def _json(value: dict[str, object]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
