"""When what changed holds in sessions that run already, and which of their commands shows it.

Claude Code watches settings files and applies most keys at once; the ones of ``_BY_KEY`` that say otherwise are read
once, at the start of a session, or by ``/reload-plugins`` (its documentation of settings and plugins; the commands are
those of 2.1.330).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stravinsky_rollback_mcp.core.components import BY_NAME, Component
from stravinsky_rollback_mcp.core.keypaths import changed_keys
from stravinsky_rollback_mcp.core.settings import load

NOW, RELOAD, NEW_SESSION = _ORDER = ("now", "reload", "new_session")


@dataclass(frozen=True, slots=True, kw_only=True)
class Onset:
    """When one part of a change holds (``now``, ``reload`` or ``new_session``), and the command that shows it."""

    when: str
    shown_by: str


_BY_KEY: Mapping[str, Onset] = {
    "permissions": Onset(when=NOW, shown_by="/permissions"),
    "hooks": Onset(when=NOW, shown_by="/hooks"),
    "disableAllHooks": Onset(when=NOW, shown_by="/hooks"),
    "model": Onset(when=NEW_SESSION, shown_by="/model"),
    "modelSettings": Onset(when=NEW_SESSION, shown_by="/model"),
    "effortLevel": Onset(when=NEW_SESSION, shown_by="/effort"),
    "outputStyle": Onset(when=NEW_SESSION, shown_by="/config"),
    "enabledPlugins": Onset(when=RELOAD, shown_by="/plugin"),
    "extraKnownMarketplaces": Onset(when=RELOAD, shown_by="/plugin"),
    "pluginConfigs": Onset(when=RELOAD, shown_by="/plugin"),
}


def onsets_of(component: str, before: bytes | None, after: bytes | None) -> tuple[Onset, ...]:
    """The onsets of a change of one target, each once; the contents, None for no file, matter for settings alone.

    Of a settings file that Claude Code cannot read nothing holds, so what the other one has is what changes.
    """
    row = BY_NAME[component]
    if not row.is_settings:
        return (_onset_of(row),)
    readable = (None if load(content) is None else content for content in (before, after))
    names = (pointer.split("/")[1] for pointer in changed_keys(*readable))
    return tuple(dict.fromkeys(_BY_KEY.get(name, _onset_of(row)) for name in names)) or (_onset_of(row),)


def _onset_of(row: Component) -> Onset:
    return Onset(when=row.takes_effect, shown_by=row.shown_by)


def takes_effect(parts: Iterable[Onset]) -> str:
    """When all of a change holds: with its last part."""
    return max((part.when for part in parts), key=_ORDER.index)


def where_to_look(parts: Iterable[Onset]) -> str:
    """The commands that show a change in a session, in one sentence."""
    told = tuple(parts)
    phrases = {NOW: "{}", RELOAD: "{} after /reload-plugins", NEW_SESSION: "{} in a new session"}
    commands = {when: dict.fromkeys(part.shown_by for part in told if part.when == when) for when in _ORDER}
    groups = [phrases[when].format(", ".join(commands[when])) for when in _ORDER if commands[when]]
    return f"Look at it in Claude Code: {'; '.join(groups)}."
