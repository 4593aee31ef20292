"""Settings show their keys, and values only where a key cannot hold a secret; scripts show their text."""

import json
import time
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.components import view_of
from stravinsky_rollback_mcp.core.masked_lines import MAX_LINES, Shown, lines_of
from stravinsky_rollback_mcp.core.model import Target

VIEW = view_of(home="/home/u", user_root="/home/u/.claude", project="/srv/app", git_root=None)
TARGETS = {target.id: target for target in VIEW.targets}
SETTINGS = TARGETS["user.settings"]
SECRET = "Zq7MARKERsecret91x"

Json = dict[str, object]


def shown(content: object, target: Target = SETTINGS, path: str = "") -> list[str]:
    """The lines that are shown of a file; a value is written as JSON first."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    found = lines_of(raw, target, path)
    assert found.instead == ""
    return [line.shown for line in found.lines]


def test_settings_show_every_key_and_harmless_values() -> None:
    """An allow-list: what is not known to be harmless is ``***``."""
    content: Json = {
        "model": "opus",
        "cleanupPeriodDays": 30,
        "disableAllHooks": True,
        "env": {"API_TOKEN": SECRET, "EMPTY": ""},
        "permissions": {"deny": ["Read(./.env)"], "defaultMode": "plan"},
        "hooks": {
            "PreToolUse": [
                {"matcher": "Bash", "hooks": [{"type": "command", "command": f"python3 ~/g.py {SECRET}", "timeout": 5}]}
            ]
        },
        "somethingNew": SECRET,
        "list": [],
    }
    assert shown(content) == [
        "{",
        '  "model": "opus",',
        '  "cleanupPeriodDays": 30,',
        '  "disableAllHooks": true,',
        '  "env": {',
        '    "API_TOKEN": ***,',
        '    "EMPTY": ***',
        "  },",
        '  "permissions": {',
        '    "deny": [',
        '      "Read(./.env)"',
        "    ],",
        '    "defaultMode": "plan"',
        "  },",
        '  "hooks": {',
        '    "PreToolUse": [',
        "      {",
        '        "matcher": "Bash",',
        '        "hooks": [',
        "          {",
        '            "type": "command",',
        '            "command": "~/g.py" ***,',
        '            "timeout": 5',
        "          }",
        "        ]",
        "      }",
        "    ]",
        "  },",
        '  "somethingNew": ***,',
        '  "list": []',
        "}",
    ]


@pytest.mark.parametrize(
    "content",
    [
        {"env": {"A": SECRET}},
        {"apiKeyHelper": f"echo {SECRET}"},
        {"awsAuthRefresh": SECRET},
        {"otelHeadersHelper": SECRET},
        {"hooks": {"Stop": [{"hooks": [{"type": "http", "url": f"https://x/{SECRET}", "headers": {"A": SECRET}}]}]}},
        {"hooks": {"Stop": [{"hooks": [{"type": "command", "command": SECRET + " x", "args": [SECRET]}]}]}},
        {"statusLine": {"type": "command", "command": f"TOKEN={SECRET} ~/line.sh"}},
        {"permissions": {"allow": [f"Bash(deploy --token {SECRET})", f"Bash(curl -H 'X-Key: {SECRET}')"]}},
        {"mcpServers": {"a": {"command": "npx", "args": [SECRET], "env": {"B": SECRET}, "headers": {"C": SECRET}}}},
        {"mcpServers": {"a": {"type": "http", "url": f"https://user:{SECRET}@host/{SECRET}"}}},
        {"env": {"PIN": 12345678901}, "pin": 12345678901},
        {"model": f"sk-{SECRET}"},
        {"pluginConfigs": {"p": {"options": {"x": [{"y": SECRET}]}}}},
        [SECRET],
        SECRET,
    ],
)
@pytest.mark.parametrize("name", ["user.settings", "project.local_settings", "project.mcp"])
def test_row_64_no_secret_of_settings_is_shown(content: object, name: str) -> None:
    """Environment, headers, helpers, tokens, addresses, arguments: wherever a secret may stand (threat model)."""
    text = "\n".join(shown(content, TARGETS[name]))
    assert SECRET not in text.replace(f'"command": "{SECRET}" ***', "")
    assert "12345678901" not in text


def test_a_changed_secret_is_another_line() -> None:
    """What is compared is the value, what is shown is not."""
    one, other = (lines_of(json.dumps({"env": {"A": word}}).encode(), SETTINGS, "").lines for word in ("x", "y"))
    assert [line.shown for line in one] == [line.shown for line in other]
    assert [line.content for line in one] != [line.content for line in other]


def test_a_line_knows_in_which_part_of_the_file_it_stands() -> None:
    """As a pointer that ``only`` takes."""
    found = lines_of(b'{"hooks": {"Stop": [{"matcher": "x"}]}}', SETTINGS, "")
    assert [(line.shown.strip(), line.within) for line in found.lines][3:5] == [
        ("{", "/hooks/Stop"),
        ('"matcher": "x"', "/hooks/Stop/0"),
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (f'{{"env": {{"A": "{SECRET}"'.encode(), "no JSON, so that values cannot be told from names, 34 bytes"),
        (b"\xff\xfe{}", "binary, 4 bytes"),
        (b'{"a": "\0"}', "binary, 10 bytes"),
        (b"[" * 5000 + b"]" * 5000, "nested too deep to be shown, 10000 bytes"),
        (b"[" * 300 + b"]" * 300, "nested too deep to be shown, 600 bytes"),
        (b"[" + b"0," * 30_000 + b"0]", "too long to be shown, 60003 bytes"),
    ],
    ids=["cut", "not text", "zero", "deep", "nested", "long"],
)
def test_what_cannot_be_masked_is_not_shown(content: bytes, why: str) -> None:
    """Hostile input: named with its size, in no time."""
    started = time.process_time()
    assert lines_of(content, SETTINGS, "") == Shown(instead=why)
    assert time.process_time() - started < 2


def test_numbers_of_any_length_are_read() -> None:
    """Hostile input: Python refuses to read more than 4,300 digits."""
    assert shown(b'{"cleanupPeriodDays": ' + b"9" * 10_000 + b', "x": NaN}')[2] == '  "x": ***'


def test_scripts_and_prose_show_their_text() -> None:
    """Hooks, commands, memory: lines as they are, those that look like credentials masked."""
    hooks = TARGETS["user.hooks"]
    text = f"#!/bin/sh\nTOKEN={SECRET}\necho done\n".encode()
    assert shown(text, hooks, "run.sh") == shown(text, hooks, "run") == ["#!/bin/sh", "TOKEN=***", "echo done"]
    assert shown(b"# House rules\n", TARGETS["user.memory"]) == ["# House rules"]
    assert shown(b"REGION=x\n", hooks, ".env") == shown(b"REGION=x\n", hooks, "run.yaml") == ["REGION=***"]
    assert shown(b"no end", hooks, "a.md") == ["no end", "\\ no line end at the end of the file"]
    assert shown(b"", hooks, "a.md") == []
    assert shown(f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n".encode(), hooks, "a.md")[1] == "***"


def test_json_below_a_folder_shows_keys_alone() -> None:
    """A hook's own configuration holds what it likes; key bindings and themes hold no secret."""
    assert shown({"slack": SECRET, "on": True}, TARGETS["user.hooks"], "x.json") == [
        "{",
        '  "slack": ***,',
        '  "on": true',
        "}",
    ]
    assert shown(b'{"bindings": []}\n', TARGETS["user.keybindings"]) == ['{"bindings": []}']
    assert shown(b'{"base": "dark"}\n', TARGETS["user.themes"], "a.json") == ['{"base": "dark"}']


def test_lines_that_are_too_many_are_not_shown() -> None:
    """Hostile input: a megabyte of line ends."""
    found = lines_of(b"\n" * (MAX_LINES + 1), TARGETS["user.hooks"], "a.md")
    assert found == Shown(instead=f"too long to be shown, {MAX_LINES + 1} bytes")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(values)
def test_two_contents_have_the_same_lines_only_if_they_mean_the_same(value: object) -> None:
    """Laid out anew, nothing is lost: the lines can be read back as the value."""
    found = lines_of(json.dumps(value).encode(), SETTINGS, "")
    text = "\n".join(line.content for line in found.lines)
    assert cast("object", json.loads(text)) == value
    assert all(line.shown.isprintable() for line in found.lines)


@given(st.binary(max_size=200), st.sampled_from(sorted(TARGETS)), st.sampled_from(["", "a.md", "b.json", "c"]))
def test_any_bytes_give_printable_lines(content: bytes, name: str, path: str) -> None:
    """Whatever a file holds, it is shown without tricks or not at all."""
    found = lines_of(content, TARGETS[name], path)
    assert all(line.shown.isprintable() for line in found.lines)
    assert found.instead.isprintable()
