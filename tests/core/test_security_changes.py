"""The lines that ask for consent: every loosening has one, tightening has none, no secret is in any."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.security_changes import (
    GUARDING_EVENTS,
    SettingsChange,
    security_changes,
)
from stravinsky_rollback_mcp.core.settings import MAX_SETTINGS_BYTES

Json = dict[str, object]

PATH = "~/.claude/settings.json"
SECRET = "Zq7MARKERsecret91x"
GUARD: Json = {"type": "command", "command": "python3 ~/.claude/hooks/guard.py"}


def _content(settings: object) -> bytes | None:
    return settings if settings is None or isinstance(settings, bytes) else json.dumps(settings).encode()


def _change(before: object, after: object, known: object = None) -> SettingsChange:
    return SettingsChange(path=PATH, before=_content(before), known=_content(known), after=_content(after))


def _texts(before: object, after: object, known: object = None) -> list[str]:
    """The lines without the path in front."""
    lines = security_changes([_change(before, after, known)])
    assert all(line.startswith(f"{PATH}: ") for line in lines)
    return [line.removeprefix(f"{PATH}: ") for line in lines]


def _permissions(**members: object) -> Json:
    return {"permissions": members}


def _hooks(*handlers: Json, event: str = "PreToolUse", matcher: str | None = "Bash") -> Json:
    group: Json = {"hooks": list(handlers)}
    return {"hooks": {event: [group if matcher is None else {"matcher": matcher, **group}]}}


def _command(text: str, **members: object) -> Json:
    return {"type": "command", "command": text, **members}


LOOSENINGS: list[tuple[Json, Json, list[str]]] = [
    ({}, _permissions(allow=["Bash(ls:*)"]), ["allow rule added: Bash(ls:*)"]),
    (_permissions(deny=["Bash(rm:*)"]), {}, ["deny rule removed: Bash(rm:*)"]),
    (_permissions(ask=["WebFetch"]), _permissions(ask=[]), ["ask rule removed: WebFetch"]),
    (
        _permissions(ask=["WebFetch"]),
        _permissions(allow=["WebFetch"]),
        ["allow rule added: WebFetch", "ask rule removed: WebFetch"],
    ),
    (_permissions(deny=["WebFetch"]), _permissions(ask=["WebFetch"]), ["deny rule removed: WebFetch"]),
    (_permissions(deny=["a"]), _permissions(deny="a"), ["deny rule removed: a"]),
    ({}, _permissions(additionalDirectories=["/etc"]), ["additional directory added: /etc"]),
    ({}, _permissions(defaultMode="acceptEdits"), ["default permission mode loosened: default to acceptEdits"]),
    (_permissions(defaultMode="plan"), {}, ["default permission mode loosened: plan to default"]),
    (
        _permissions(defaultMode="auto"),
        _permissions(defaultMode="bypassPermissions"),
        ["default permission mode loosened: auto to bypassPermissions"],
    ),
    (
        _permissions(defaultMode="dontAsk"),
        _permissions(defaultMode="auto"),
        ["default permission mode loosened: dontAsk to auto"],
    ),
    (
        _permissions(defaultMode="bypassPermissions"),
        _permissions(defaultMode="yolo"),
        ["default permission mode loosened: bypassPermissions to yolo"],
    ),
    (
        _permissions(defaultMode="strictest"),
        _permissions(defaultMode="default"),
        ["default permission mode loosened: strictest to default"],
    ),
    (_permissions(disableBypassPermissionsMode="disable"), {}, ["bypass mode no longer forbidden"]),
    ({"disableAllHooks": False}, {"disableAllHooks": True}, ["all hooks switched off"]),
    ({}, {"env": {"FOO": "1"}}, ["environment variable added: env.FOO"]),
    ({"env": {"FOO": "1"}}, {"env": {"FOO": 1}}, ["environment variable changed: env.FOO"]),
    ({"env": {"FOO": "1"}}, {}, ["environment variable removed: env.FOO"]),
    (
        {"env": {"ANTHROPIC_BASE_URL": "https://a"}},
        {"env": {"ANTHROPIC_BASE_URL": "https://b"}},
        ["base URL changed (where prompts and credentials go): env.ANTHROPIC_BASE_URL"],
    ),
    ({}, {"enableAllProjectMcpServers": True}, ["all project MCP servers approved"]),
    ({}, {"enabledMcpjsonServers": ["evil"]}, ["project MCP server approved: evil"]),
    ({"disabledMcpjsonServers": ["evil"]}, {}, ["project MCP server no longer refused: evil"]),
    ({"sandbox": {"enabled": True}}, {"sandbox": {"enabled": 1}}, ["sandbox switched off"]),
    ({"sandbox": {"enabled": True}}, {}, ["sandbox switched off"]),
]


@pytest.mark.parametrize(("before", "after", "expected"), LOOSENINGS)
def test_each_loosening_has_its_line(before: Json, after: Json, expected: list[str]) -> None:
    """Contract, Consent: every item of the list of what makes a plan worse than live."""
    assert _texts(before, after) == expected


TIGHTENINGS: list[tuple[Json, Json]] = [
    (_permissions(allow=["Bash"]), {}),
    ({}, _permissions(deny=["Bash"], ask=["WebFetch"])),
    (_permissions(ask=["Bash"]), _permissions(deny=["Bash"])),
    (_permissions(deny=["a", "b", "a"]), _permissions(deny=["b", "a"])),
    (_permissions(additionalDirectories=["/etc"]), {}),
    (_permissions(defaultMode="bypassPermissions"), {}),
    (_permissions(defaultMode="auto"), _permissions(defaultMode="dontAsk")),
    (_permissions(defaultMode="yolo"), _permissions(defaultMode="plan")),
    ({}, _permissions(disableBypassPermissionsMode="disable")),
    ({"disableAllHooks": True}, {}),
    ({"enableAllProjectMcpServers": True}, {"enableAllProjectMcpServers": False}),
    ({"enabledMcpjsonServers": ["a"]}, {"disabledMcpjsonServers": ["a"]}),
    ({"sandbox": {"enabled": False}}, {"sandbox": {"enabled": True}}),
    ({"apiKeyHelper": "~/key.sh"}, {}),
    ({}, _hooks(GUARD)),
    (_hooks(GUARD), _hooks({**GUARD, "statusMessage": "checking", "timeout": 5})),
    (_hooks(GUARD), _hooks(_command("first.sh"), GUARD)),
    (_hooks(GUARD), _hooks(GUARD, matcher="Edit|Bash")),
    (_hooks(GUARD), _hooks(GUARD, matcher="*")),
    (_hooks(GUARD), _hooks(GUARD, matcher=None)),
    (_hooks(GUARD, matcher="Bash, Edit"), _hooks(GUARD, matcher="Edit|Bash")),
    (_hooks(GUARD, event="PostToolUse"), {}),
    (_hooks({**GUARD, "async": True}), {}),
    ({"model": "opus", "statusLine": {"type": "command", "command": "a"}}, {"model": "haiku"}),
]


@pytest.mark.parametrize(("before", "after"), TIGHTENINGS)
def test_tightening_and_indifferent_changes_need_no_consent(before: Json, after: Json) -> None:
    """Contract, Consent: only what is worse than live is asked."""
    assert _texts(before, after) == []


@pytest.mark.parametrize("event", GUARDING_EVENTS)
def test_a_removed_guard_is_named_by_event_matcher_and_script(event: str) -> None:
    """A session of Claude Code once deleted its own guard hook."""
    assert _texts(_hooks(GUARD, event=event), {}) == [
        f"{event} hook removed (matcher Bash): ~/.claude/hooks/guard.py [c56f2084]"
    ]


@pytest.mark.parametrize("event", ["Elicitation", "ElicitationResult"])
def test_a_hook_that_can_agree_for_the_person_is_asked_about(event: str) -> None:
    """Claude Code 2.1.330: a hook's `action: accept` answers our own question; it comes back only with consent."""
    hook = _hooks(GUARD, event=event, matcher="config-rollback")
    line = f"{event} hook added (can answer in your place): ~/.claude/hooks/guard.py [c56f2084]"
    assert _texts({}, hook) == [line]
    assert _texts(hook, hook | {"model": "haiku"}) == []
    assert _texts({}, _hooks(GUARD, event="PreToolUse")) == []


@pytest.mark.parametrize(
    ("after", "matcher"),
    [
        (_hooks(GUARD, event="PostToolUse"), "Bash"),
        (_hooks(GUARD, matcher="Edit"), "Bash"),
        (_hooks({**GUARD, "async": True}), "Bash"),
        (_hooks({**GUARD, "asyncRewake": True}), "Bash"),
        (_hooks({**GUARD, "if": "Bash(never *)"}), "Bash"),
        (_hooks({**GUARD, "args": ["--off"]}), "Bash"),
        (_hooks(_command("python3 ~/.claude/hooks/guard.py || true")), "Bash"),
        ({"hooks": {"PreToolUse": {"matcher": "Bash", "hooks": [GUARD]}}}, "Bash"),
    ],
)
def test_a_guard_that_can_no_longer_refuse_counts_as_removed(after: Json, matcher: str) -> None:
    """What makes a handler run, and wait for its answer."""
    [text] = _texts(_hooks(GUARD), after)
    assert text.startswith(f"PreToolUse hook removed (matcher {matcher}): ~/.claude/hooks/guard.py [")


def test_a_narrowed_matcher_names_only_the_tools_that_lost_their_guard() -> None:
    """A matcher of plain names is a list of them."""
    [text] = _texts(_hooks(GUARD, matcher="Write|Edit,Bash"), _hooks(GUARD, matcher="Edit"))
    assert text.startswith("PreToolUse hook removed (matcher Bash|Write): ")


def test_hooks_that_differ_in_one_argument_have_different_lines() -> None:
    """A consent to one removal must not cover another."""
    before = _hooks(_command("a.sh", args=["one"]), _command("a.sh", args=["two"]))
    assert len(_texts(before, {})) == 2


def test_hooks_without_a_command_are_guards_too() -> None:
    """Prompt, agent, http and mcp_tool handlers."""
    before = _hooks({"type": "http", "url": f"https://guard/{SECRET}", "headers": {"X": SECRET}}, matcher=None)
    [text] = _texts(before, {})
    assert text.startswith("PreToolUse hook removed (matcher *): http [")
    assert SECRET not in text


@pytest.mark.parametrize("name", ["apiKeyHelper", "awsAuthRefresh", "awsCredentialExport", "otelHeadersHelper"])
def test_a_new_or_changed_key_helper_is_named(name: str) -> None:
    """These are executed."""
    [added] = _texts({}, {name: f"~/bin/key.sh {SECRET}"})
    [changed] = _texts({name: "old"}, {name: f"~/bin/key.sh {SECRET}"})
    assert added.startswith(f"key helper added: {name}: ~/bin/key.sh [")
    assert changed == added.replace("added", "changed")


@pytest.mark.parametrize("after", [None, b"", b"{bad", b"[]", b"null", b'{"a": NaN}', b" " * (MAX_SETTINGS_BYTES + 1)])
def test_a_file_that_would_no_longer_load_loses_every_guard(after: bytes | None) -> None:
    """Claude Code drops a bad file whole, deny rules included."""
    before = {**_permissions(deny=["Bash"], ask=["WebFetch"]), **_hooks(GUARD), "sandbox": {"enabled": True}}
    assert [text.partition(":")[0].partition(" (")[0] for text in _texts(before, after)] == [
        "PreToolUse hook removed",
        "ask rule removed",
        "deny rule removed",
        "sandbox switched off",
    ]


def test_a_file_with_a_byte_order_mark_loads() -> None:
    """BOM and empty file accepted."""
    assert _texts({}, b"\xef\xbb\xbf" + json.dumps(_permissions(allow=["x"])).encode()) == ["allow rule added: x"]


def test_unreadable_live_settings_are_compared_through_the_last_known_state() -> None:
    """Contract, Consent: unparsable live settings are compared with the last known state."""
    known = _permissions(deny=["Bash"], allow=["a"])
    assert _texts(b"{bad", _permissions(allow=["a", "b"]), known) == ["allow rule added: b", "deny rule removed: Bash"]
    assert _texts(b"{bad", _permissions(allow=["a"]), b"{bad too") == ["allow rule added: a"]


@pytest.mark.parametrize("live", [{}, None])
def test_readable_or_absent_live_settings_leave_the_known_state_aside(live: object) -> None:
    """The comparison is with live wherever live can be read."""
    assert _texts(live, {"model": "opus"}, _permissions(deny=["Bash"])) == []


def test_settings_nested_beyond_judgement_are_never_harmless() -> None:
    """JavaScript parses any depth, Python does not: an allow rule could hide behind a deep value."""
    deep = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"permissions":{"allow":["Bash"]}}'
    medium = b'{"x":' + b"[" * 150 + b"]" * 150 + b"}"
    for after in (deep, medium):
        assert _texts(_permissions(deny=["a"]), after) == ["deny rule removed: a", "nested too deep to be judged"]


def test_rules_that_move_between_files_count_for_each_file() -> None:
    """Brief: kept per file, because the other file may not apply in another project."""
    rule = _content(_permissions(deny=["Bash"]))
    changes = [
        SettingsChange(path="~/.claude/settings.json", before=rule, known=None, after=b"{}"),
        SettingsChange(path="/p/.claude/settings.json", before=b"{}", known=None, after=rule),
    ]
    assert security_changes(changes) == ("~/.claude/settings.json: deny rule removed: Bash",)


def test_lines_are_sorted_and_unique() -> None:
    """Contract, Consent: accept repeats exactly these lines."""
    changes = [_change({}, _permissions(allow=["b", "a", "b"])), _change({}, _permissions(allow=["b"]))]
    assert security_changes(changes) == (f"{PATH}: allow rule added: a", f"{PATH}: allow rule added: b")


@pytest.mark.parametrize(
    "command",
    [
        f'curl -H "Authorization: Bearer {SECRET}" https://guard',
        f"TOKEN={SECRET} ~/.claude/hooks/guard.py",
        f'TOKEN="a {SECRET} b" guard',
        f'TOKEN="a\\" {SECRET} b" guard',
        f"'{SECRET} guard'",
        f"python3 ~/.claude/hooks/guard.py --key {SECRET}",
        f"curl https://user:{SECRET}@host/guard.sh",
        f"curl https://hooks.example/{SECRET}/guard.sh",
        f"bash -c 'echo {SECRET} | /opt/guard.sh'",
        f'"unbalanced {SECRET}',
    ],
)
def test_no_secret_of_a_command_is_shown(command: str) -> None:
    """Contract, Consent: one line each, no secret values."""
    for settings in (_hooks(_command(command)), _hooks(_command("guard", args=["-H", f"X: {SECRET}", SECRET]))):
        [text] = _texts(settings, {})
        assert SECRET not in text
    [text] = _texts({}, {"apiKeyHelper": command})
    assert SECRET not in text


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ('uv run "$CLAUDE_PROJECT_DIR"/.claude/hooks/x.py --flag', "$CLAUDE_PROJECT_DIR/.claude/hooks/x.py"),
        ('bash "${CLAUDE_PROJECT_DIR}/.claude/hooks/x.sh"; exit 0', "${CLAUDE_PROJECT_DIR}/.claude/hooks/x.sh"),
        ("wrap.sh ./inner.sh", "wrap.sh ./inner.sh"),
        ("guard --strict", "guard"),
        ("A=1 guard", "a command"),
        ("", "a command"),
    ],
)
def test_a_command_is_shown_by_its_scripts(command: str, shown: str) -> None:
    """The real forms of hook commands."""
    [text] = _texts(_hooks(_command(command)), {})
    assert text.startswith(f"PreToolUse hook removed (matcher Bash): {shown} [")


def test_no_value_of_the_environment_is_shown() -> None:
    """`env` holds plain-text secrets."""
    before = {"env": {"CHANGED": SECRET, "REMOVED": SECRET, "ANTHROPIC_BASE_URL": f"https://{SECRET}"}}
    texts = _texts(before, {"env": {"CHANGED": f"{SECRET}2", "ADDED": [SECRET]}})
    assert len(texts) == 4
    assert SECRET not in "".join(texts)


@pytest.mark.parametrize(
    "rule",
    [
        f"Bash(API_KEY={SECRET} npm test:*)",
        f"Bash(curl -H 'Authorization: Bearer {SECRET}' x)",
        f"Bash(curl https://me:{SECRET}@host)",
        f"Bash(login sk-ant-{SECRET})",
        f"Bash({'x' * 2100}{SECRET})",
    ],
)
def test_a_secret_in_an_approved_command_is_masked_and_told_apart(rule: str) -> None:
    """Seen in the wild: "always allow" keeps the command with the credential that it was typed with."""
    [text] = _texts({}, _permissions(allow=[rule]))
    [other] = _texts({}, _permissions(allow=[rule.replace(SECRET, "Another-secret-9")]))
    assert SECRET not in text
    assert text != other


def test_long_rules_are_cut_and_still_told_apart() -> None:
    """Brief: up to 120 characters; a consent to one must not cover the other."""
    texts = _texts({}, _permissions(allow=["Bash(" + "x" * 200 + end for end in ("1)", "2)")]))
    assert len(texts) == 2
    assert all(len(text) < 170 for text in texts)


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[2Jb", "a\u202eb", "a\u2028b", "a\u200bb", "a\x7fb", "a\ud800b"])
def test_hostile_characters_are_escaped_everywhere(text: str) -> None:
    """The settings file is untrusted text, and the line is shown in terminals and permission dialogs."""
    before = {
        **_permissions(deny=[text], defaultMode="plan"),
        **_hooks({"type": text}, _command(text), matcher=text),
        "disabledMcpjsonServers": [text],
    }
    after = {
        **_permissions(defaultMode=text),
        "env": {text: "", f"ANTHROPIC_{text}_BASE_URL": ""},
        "apiKeyHelper": text,
    }
    change = SettingsChange(path=f"/p{text}/s", before=_content(before), known=None, after=_content(after))
    lines = security_changes([change])
    assert len(lines) == 8
    assert all(line.isprintable() for line in lines)


def test_an_escaped_text_is_not_the_same_as_one_that_looks_like_it() -> None:
    """A consent to one rule must not cover the other."""
    assert len(_texts({}, _permissions(allow=["a\nb", "a\\nb"]))) == 2


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)
HANDLERS = st.fixed_dictionaries(
    {}, optional={"type": st.just("command") | JSON_VALUES, "command": JSON_VALUES, "args": JSON_VALUES}
)
GROUPS = st.fixed_dictionaries({}, optional={"matcher": JSON_VALUES, "hooks": st.lists(HANDLERS) | JSON_VALUES})
KEYS = (
    *("permissions", "hooks", "env", "sandbox", "apiKeyHelper", "disableAllHooks"),
    *("allow", "deny", "ask", "defaultMode", "additionalDirectories", "enabled", "enabledMcpjsonServers"),
)
SETTINGS = st.dictionaries(
    st.sampled_from(KEYS),
    JSON_VALUES
    | st.dictionaries(st.sampled_from(KEYS), JSON_VALUES | st.lists(st.text()))
    | st.dictionaries(st.sampled_from(GUARDING_EVENTS), st.lists(GROUPS) | JSON_VALUES),
)
CONTENTS = st.none() | st.binary() | (JSON_VALUES | SETTINGS).map(lambda value: json.dumps(value).encode())


@given(before=CONTENTS, known=CONTENTS, after=CONTENTS)
def test_any_bytes_give_printable_sorted_unique_lines(
    before: bytes | None, known: bytes | None, after: bytes | None
) -> None:
    """The files are the user's: nothing in them may stop a rollback with an error."""
    lines = security_changes([SettingsChange(path=PATH, before=before, known=known, after=after)])
    assert list(lines) == sorted(set(lines))
    assert all(line.isprintable() for line in lines)


@given(content=CONTENTS, known=CONTENTS)
def test_a_file_that_stays_as_it_is_needs_no_consent(content: bytes | None, known: bytes | None) -> None:
    """Unreadable bytes that stay are no change either, whatever the last known state was."""
    assert security_changes([SettingsChange(path=PATH, before=content, known=known, after=content)]) == ()


@given(settings=SETTINGS, known=CONTENTS)
def test_the_layout_of_a_file_needs_no_consent(settings: Json, known: bytes | None) -> None:
    """Claude Code rewrites its settings in its own layout."""
    change = SettingsChange(
        path=PATH,
        before=json.dumps(settings, indent=4).encode(),
        known=known,
        after=json.dumps(settings, separators=(",", ":"), sort_keys=True).encode(),
    )
    if b"NaN" not in (change.before or b"") and b"Infinity" not in (change.before or b""):
        assert security_changes([change]) == ()
