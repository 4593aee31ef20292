"""When a change holds in running sessions is told by the target, of settings by their keys."""

import json
from typing import Any

import pytest

from stravinsky_rollback_mcp.core.components import COMPONENTS
from stravinsky_rollback_mcp.core.onset import Onset, onsets_of, takes_effect, where_to_look

NOW, LATER = Onset(when="now", shown_by="/hooks"), Onset(when="new_session", shown_by="/model")


def spelt(settings: Any) -> bytes | None:
    """A settings file; none for None."""
    return None if settings is None else json.dumps(settings).encode()


@pytest.mark.parametrize(
    ("before", "after", "when", "commands"),
    [
        ({}, {"permissions": {"deny": ["Bash"]}}, "now", {"/permissions"}),
        ({"hooks": {"Stop": []}}, {"hooks": {}}, "now", {"/hooks"}),
        ({"statusLine": {"type": "command", "command": "x"}}, {}, "now", {"/status"}),
        ({"model": "opus"}, {"model": "sonnet"}, "new_session", {"/model"}),
        ({"outputStyle": "x"}, {}, "new_session", {"/config"}),
        ({}, {"enabledPlugins": {"a@b": True}}, "reload", {"/plugin"}),
        ({"effortLevel": "low"}, {"enabledPlugins": {"a@b": True}}, "new_session", {"/effort", "/plugin"}),
        ({"hooks": {}, "model": "opus"}, {"hooks": {"Stop": []}, "model": "x"}, "new_session", {"/hooks", "/model"}),
        (None, {"model": "opus"}, "new_session", {"/model"}),
        ({"model": "opus"}, None, "new_session", {"/model"}),
        ({"model": "opus"}, {"model": "opus"}, "now", {"/status"}),
    ],
)
def test_the_last_key_to_take_effect_counts(before: Any, after: Any, when: str, commands: set[str]) -> None:
    """Permissions and hooks are read anew at once, a model only by a new session (Claude Code's documentation)."""
    found = onsets_of("settings", spelt(before), spelt(after))
    assert (takes_effect(found), {onset.shown_by for onset in found}) == (when, commands)


def test_of_a_file_that_cannot_be_read_nothing_holds() -> None:
    """So all keys of the other one change; where neither can be read, nothing can be told apart."""
    assert takes_effect(onsets_of("settings", b"{bad", b'{"model": "x"}')) == "new_session"
    assert takes_effect(onsets_of("local_settings", b"{bad", b"[]")) == "now"


@pytest.mark.parametrize("component", [row.name for row in COMPONENTS if not row.is_settings])
def test_other_targets_have_one_onset(component: str) -> None:
    """Whatever they hold; each can be looked at with a command."""
    (onset,) = onsets_of(component, None, b"x")
    assert takes_effect([onset]) in ("now", "new_session")
    assert onset.shown_by.startswith("/")


def test_where_to_look_is_one_sentence() -> None:
    """Each command once, in the order in which things take effect."""
    plugins = Onset(when="reload", shown_by="/plugin")
    said = where_to_look([LATER, NOW, plugins, NOW])
    assert said == "Look at it in Claude Code: /hooks; /plugin after /reload-plugins; /model in a new session."
