"""What people read. Texts come from files and from other people: everything passes ``inert``, nothing is markup."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from stravinsky_rollback_mcp.cli.words import count, for_terminal, inert, size
from stravinsky_rollback_mcp.errors import RollbackError
from stravinsky_rollback_mcp.schema import (
    AdoptResult,
    Change,
    CheckConfigResult,
    CreateBackupResult,
    Current,
    Finding,
    ForgetResult,
    RestoreResult,
    Spoken,
    StatusResult,
    VerifyAuditResult,
)

MAX_PATHS = 6
_EFFECT = {"now": "at once", "new_session": "in new sessions", "reload": "after a reload"}
_FINDING_STYLE = {"error": "red", "warning": "yellow", "info": "dim"}
_SIGNS = (("+", "added", "green"), ("~", "modified", "yellow"), ("-", "removed", "red"))


# -- words shared by all --------------------------------------------------------------------------------------------


def line(console: Console, text: str, style: str = "", *, indent: int = 0) -> None:
    """One paragraph, wrapped inside its indentation."""
    paragraph(console, Text(inert(text), style=style), indent=indent)


def paragraph(console: Console, text: Text, *, indent: int = 0) -> None:
    """Styled text, wrapped inside its indentation and without blanks at the ends of lines."""
    for piece in text.wrap(console, max(console.width - indent, 20)):
        piece.rstrip()
        console.print(Text(" " * indent).append_text(piece) if piece else "")


def lines(console: Console, title: str, items: Iterable[str], style: str) -> None:
    """A titled list; nothing when it is empty."""
    items = list(items)
    if items:
        line(console, title, f"bold {style}")
        for item in items:
            line(console, item, style, indent=2)


def grid(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Names and values side by side."""
    width = max(len(name) for name, _ in rows) + 2
    for name, value in rows:
        pieces = Text(inert(value)).wrap(console, max(console.width - width, 20))
        for place, piece in enumerate(pieces):
            piece.rstrip()
            label = (name if place == 0 else "").ljust(width)
            console.print(Text().append(label, style="dim").append_text(piece))


def notices(console: Console, answer: Spoken) -> None:
    """What the person should know before everything else."""
    for notice in answer.notices:
        if notice != answer.summary:
            line(console, f"Note: {for_terminal(notice)}", "yellow")


def next_step(console: Console, text: str) -> None:
    """What to do next, when there is anything."""
    if text:
        line(console, f"Next: {for_terminal(text)}", "dim")


def spoken(console: Console, answer: Spoken) -> None:
    """An answer that is its sentences and nothing else."""
    notices(console, answer)
    line(console, for_terminal(answer.summary), "bold")
    next_step(console, answer.next_step)


def refusal(console: Console, error: RollbackError) -> None:
    """``code: message``, the lines that it is about, then what to do."""
    text = Text(f"{error.code}: ", style="bold red")
    text.append(inert(error.message), style="not bold default")
    paragraph(console, text)
    for item in error.lines:
        line(console, f"! {item}", "red", indent=2)
    if error.hint:
        line(console, f"Next: {for_terminal(error.hint)}")
    for notice in error.notices:
        line(console, f"Note: {for_terminal(notice)}", "yellow")


def finding(item: Finding) -> str:
    """One finding on one line."""
    where = item.path if item.line is None else f"{item.path}:{item.line}"
    return f"{item.severity} {where}: {item.message}" + (f" Next: {item.fix}" if item.fix else "")


# -- backups --------------------------------------------------------------------------------------------------------


def created(console: Console, answer: CreateBackupResult) -> None:
    """A new backup, or the one that already held this state."""
    notices(console, answer)
    lines(console, "Not in the backup:", answer.warnings, "yellow")
    line(console, answer.summary, "bold")
    next_step(console, f"To come back to this state: stravinsky-rollback rollback to {answer.backup.version}")


def forgotten(console: Console, answer: ForgetResult) -> None:
    """Which backups go for good, or went, and what goes with them."""
    notices(console, answer)
    line(console, answer.summary, "bold")
    lines(console, "Mind that:", answer.warnings, "yellow")


def adopted(console: Console, answer: AdoptResult) -> None:
    """What belongs to this project now, or would."""
    notices(console, answer)
    line(console, for_terminal(answer.summary), "bold")
    lines(console, "Mind that:", answer.warnings, "yellow")
    lines(console, "Backups:", answer.versions, "default")
    next_step(console, answer.next_step)


# -- rollback, undo, redo -------------------------------------------------------------------------------------------


def plan(console: Console, answer: RestoreResult) -> None:
    """What would be done."""
    _plan(console, answer)
    if not answer.already_at_target:
        next_step(console, "The same command without --dry-run does this.")


def plan_to_agree_to(console: Console, answer: RestoreResult) -> None:
    """What would be done, before the question."""
    _plan(console, answer)


def restored(console: Console, answer: RestoreResult) -> None:
    """What was done, with the changes."""
    _plan(console, answer)
    _restored(console, answer)


def restored_in_short(console: Console, answer: RestoreResult) -> None:
    """What was done, for a person who has just agreed to the changes."""
    notices(console, answer)
    line(console, answer.summary, "bold")
    _restored(console, answer)


def _restored(console: Console, answer: RestoreResult) -> None:
    if answer.safety_backup is not None:
        line(console, f"What was live before is in backup {answer.safety_backup}.")
    next_step(console, answer.next_step)


def _plan(console: Console, answer: RestoreResult) -> None:
    notices(console, answer)
    line(console, answer.summary, "bold")
    changes(console, answer)
    if answer.security_changes or answer.findings or answer.warnings:
        console.print()
    lines(console, "Less safe than now:", (f"! {item}" for item in answer.security_changes), "red")
    lines(console, "Findings:", map(finding, answer.findings), "yellow")
    lines(console, "Not restored:", answer.warnings, "yellow")


def changes(console: Console, answer: RestoreResult) -> None:
    """What is, or would be, different from before, target by target."""
    for change in answer.changes:
        if change.action != "none":
            _change(console, change)


def change_heading(change: Change) -> Text:
    """Where, what, how many paths, and when it takes effect."""
    heading = Text().append(inert(change.path), style="bold").append(f"  {change.action}", style="cyan")
    totals = _totals(change)
    for sign, name, style in _SIGNS:
        if totals[name]:
            heading.append(f"  {sign}{totals[name]}", style=style)
    return heading.append(f"  takes effect {_EFFECT.get(change.takes_effect, change.takes_effect)}", style="dim")


def _totals(change: Change) -> dict[str, int]:
    return {"added": change.added_total, "modified": change.modified_total, "removed": change.removed_total}


def _change(console: Console, change: Change) -> None:
    totals = _totals(change)
    console.print()
    paragraph(console, change_heading(change))
    for sign, name, style in _SIGNS:
        paths: list[str] = getattr(change, name)
        # A file is one line already; of a folder the paths below it matter.
        below = [path for path in paths if path != "."]
        for path in below[:MAX_PATHS]:
            line(console, f"{sign} {path}", style, indent=2)
        more = totals[name] - len(paths) + len(below[MAX_PATHS:])
        if more:
            line(console, f"{sign} … and {more} more", style, indent=2)


# -- check ----------------------------------------------------------------------------------------------------------


def checked(console: Console, answer: CheckConfigResult) -> None:
    """What the checks found, the gravest first."""
    notices(console, answer)
    line(console, answer.summary, "bold green" if answer.ok else "bold red")
    lines(console, "Damaged:", answer.integrity, "red")
    for item in answer.findings:
        line(console, finding(item), _FINDING_STYLE[item.severity], indent=2)
    next_step(console, answer.next_step)


# -- at a glance ----------------------------------------------------------------------------------------------------


def headline(console: Console, answer: Spoken, current: Current) -> None:
    """What is live, in one sentence; and which keys of settings somebody else changed, where that is known."""
    is_known = current.version is not None and not current.drift
    line(console, for_terminal(answer.summary), "bold green" if is_known else "bold yellow")
    for drift in current.drift:
        if drift.keys:
            line(console, f"{drift.path}: {', '.join(drift.keys)}", "yellow", indent=2)


def overview(console: Console, answer: StatusResult) -> None:
    """Live state, roots, store, unfinished operation and audit."""
    notices(console, answer)
    headline(console, answer, answer.current)
    operation = "nothing"
    if answer.operation is not None:
        operation = f"{answer.operation.event_type} of {answer.operation.started_at}, {answer.operation.phase}"
        operation += ", needs attention" if answer.operation.needs_attention else ""
    update = answer.update
    head = f", head {answer.audit.head[:16]}…" if answer.audit.events else ""
    console.print()
    grid(
        console,
        (
            ("Live", "equals no backup" if answer.current.version is None else f"equals {answer.current.version}"),
            *(("Drift", drift.path) for drift in answer.current.drift),
            ("User scope", answer.roots.user_root),
            ("Project scope", answer.roots.project_root or "the same folder"),
            ("Store", answer.store.path),
            ("", f"{count(answer.store.backups, 'backup')}, {size(answer.store.stored_bytes)}"),
            ("Unfinished", operation),
            *(() if update is None else (("Update", f"{update.version}, open since {update.started_at}"),)),
            ("Audit", f"{count(answer.audit.events, 'event')}{head}"),
        ),
    )
    next_step(console, answer.next_step)


def chain(console: Console, answer: VerifyAuditResult) -> None:
    """Whether the log can be believed."""
    notices(console, answer)
    found = answer.chain
    line(console, answer.summary, "bold green" if found.intact else "bold red")
    grid(console, (("Events", str(found.events)), ("Head", found.head)))
    next_step(console, answer.next_step)
