"""Our own configuration: what counts and why, and setting one field of ``config.json``. For terminals alone."""

from stravinsky_rollback_mcp.config import FILE, stored_values
from stravinsky_rollback_mcp.core.codec import configuration as codec
from stravinsky_rollback_mcp.core.model import AuditDraft, EventStatus, EventType
from stravinsky_rollback_mcp.core.outcome_keeping import Configuration, Setting
from stravinsky_rollback_mcp.core.policy import DEFAULTS, Policy, changed, items, parsed, unknown
from stravinsky_rollback_mcp.service.desk import Caller, Desk


def show_config(desk: Desk) -> Configuration:
    """Every field with its value, its default and where the value comes from."""
    config = desk.config
    fields = tuple(
        Setting(key=key, value=value, default=DEFAULTS[key], source=config.sources.get(key, "default"))
        for key, value in items(config.policy)
    )
    set_apart = sum(1 for field in fields if field.source != "default")
    return Configuration(
        summary=f"{set_apart} of {len(fields)} fields are set in {FILE} or by a variable.",
        next_step="",
        notices=(),
        fields=fields,
        audit=desk.audit.anchor(),
    )


def set_config(desk: Desk, caller: Caller, key: str, text: str) -> Configuration:
    """Set one field in ``config.json``, durably. Raises ``invalid_argument`` with the nearest field, or the bounds.

    What the file says is read again under the lock, so that two who set something each keep the other's.
    """
    if key not in DEFAULTS:
        raise unknown(key)
    value = parsed(text)
    changed(Policy(), key, value, source=key)
    with desk.writing(caller) as notices:
        before = stored_values(desk.store.root)
        was = before.get(key, DEFAULTS[key])
        desk.record(
            AuditDraft(
                event_type=EventType.CONFIG_CHANGED,
                status=EventStatus.SUCCESS,
                actor=caller.actor,
                user_root=desk.view.user_root,
                project=desk.view.project,
                details={"field": key, "was": was, "is": value},
            )
        )
        desk.store.write_config(codec.encode({**before, key: value}))
        variable = desk.config.sources.get(key, FILE)
        is_overridden = variable != FILE
        overridden = (f"{variable} is set here and stands above {FILE}.",) if is_overridden else ()
        return Configuration(
            summary=f"{key} is now {_word(value)} in {FILE}; it was {_word(was)}.",
            next_step="A server that runs already follows it once it starts anew.",
            notices=(*notices, *overridden),
            fields=(Setting(key=key, value=value, default=DEFAULTS[key], source=FILE),),
            audit=desk.audit.anchor(),
        )


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
