"""Lists for people: backups, what one backup holds, events. Two lines an item, so that names stay whole."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stravinsky_rollback_mcp.cli.render import grid, headline, line, next_step, notices, paragraph
from stravinsky_rollback_mcp.cli.timeline import timeline
from stravinsky_rollback_mcp.cli.words import age, count, for_terminal, inert, moment, size, targets
from stravinsky_rollback_mcp.schema import (
    Backup,
    CleanupResult,
    ConfigResult,
    Event,
    ListBackupsResult,
    QueryAuditResult,
    VerifyResult,
)

_GAP = 2
_MAX_PATHS = 3
_STATUS = {
    "intact": "green",
    "success": "green",
    "recovered": "green",
    "damaged": "red",
    "quarantined": "red",
    "failed": "red",
    "refused": "red",
    "interrupted": "red",
}
_NUMBERS = frozenset({"Files", "Size", "Seq"})


def backups(console: Console, answer: ListBackupsResult) -> None:
    """A page of backups below what is live."""
    notices(console, answer)
    headline(console, answer, answer.current)
    if answer.backups:
        console.print()
        timeline(console, answer.backups, answer.now)
        rows = [
            (
                item.version,
                age(item.created_at, answer.now),
                item.kind,
                str(item.files),
                size(item.size_bytes),
                item.status,
            )
            for item in answer.backups
        ]
        header = ("Version", "When", "Kind", "Files", "Size", "Status")
        _two_lines_each(console, header, rows, [_below_backup(item, answer) for item in answer.backups])
    if answer.next_cursor is not None:
        line(console, f"More with --cursor {answer.next_cursor}", "dim")
    next_step(console, answer.next_step)


def _below_backup(item: Backup, answer: ListBackupsResult) -> Text:
    text = Text(style="dim")
    parts: list[str] = []
    if item.changed:
        parts.append(f"changed {targets(item.changed)}")
    if item.note:
        parts.append(f'"{item.note}"')
    if item.project is not None and f"{item.project}/.claude" != answer.project_root:
        parts.append(f"of {item.project}")
    if item.pinned:
        parts.append("pinned")
    text.append(inert(" · ".join(parts)))
    for problem in item.problems:
        text.append(("; " if text.plain else "") + inert(problem), style="not dim red")
    return text


def backup_in_detail(console: Console, answer: VerifyResult) -> None:
    """One backup and each of its targets; those that were absent are only counted."""
    notices(console, answer)
    for item in answer.backups:
        grid(
            console,
            (
                ("Version", item.version),
                ("Made", f"{item.created_at} ({item.kind}, by {item.made_by})"),
                *((("Note", item.note),) if item.note else ()),
                ("Project", item.project or "none"),
                ("Holds", f"{item.files} files, {size(item.size_bytes)}; {size(item.stored_bytes)} stored"),
                ("Changed", targets(item.changed) or "nothing"),
                *(("Problem", problem) for problem in item.problems),
            ),
        )
        if item.targets is not None:
            console.print()
            table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
            for name in ("Scope", "Path"):
                table.add_column(name, overflow="fold")
            for name in ("State", "Files", "Size", "Digest"):
                table.add_column(name, no_wrap=True, justify="right" if name in _NUMBERS else "left")
            absent = [target for target in item.targets if target.state == "absent"]
            for target in (target for target in item.targets if target not in absent):
                cells = (target.path, target.state, str(target.files), size(target.size_bytes), target.digest[:12])
                table.add_row(target.scope, *(Text(inert(cell)) for cell in cells))
            console.print(table)
            if absent:
                line(console, f"{count(len(absent), 'more target')} did not exist.", "dim")
            console.print()
    _ending(console, answer)


def verified(console: Console, answer: VerifyResult) -> None:
    """What reading backups back found."""
    notices(console, answer)
    if answer.backups:
        rows = [(item.version, str(item.files), size(item.stored_bytes), item.status) for item in answer.backups]
        below = [Text(inert("; ".join(item.problems)), style="red") for item in answer.backups]
        _two_lines_each(console, ("Version", "Files", "Size", "Status"), rows, below)
        console.print()
    _ending(console, answer)


_REASONS = {
    "damaged": "it is damaged, and kept as it is",
    "quarantined": "it is in quarantine",
    "not_in_audit": "the audit does not know it",
    "pinned": "it is pinned",
    "newest": "it is the newest of its project",
    "in_use": "an unfinished operation or update needs it",
    "within_undo": "undo or redo may ask for it",
    "made_by_person": "a person made it",
    "clock_in_doubt": "only a clock that jumped says that it is old",
    "within_limits": "it is within the limits",
}


def fates(console: Console, answer: CleanupResult) -> None:
    """What becomes of each backup, and why."""
    notices(console, answer)
    for item in answer.backups:
        text = Text(inert(item.version), style="bold")
        text.append(f"  {item.action}  ", style="not bold " + ("green" if item.action == "keep" else "yellow"))
        text.append(inert(_REASONS.get(item.reason, item.reason)), style="not bold default")
        paragraph(console, text)
    line(console, f"{for_terminal(answer.summary)} {size(answer.freed_bytes)} freed.", "bold")


def fields(console: Console, answer: ConfigResult) -> None:
    """Every field of the configuration; what is not at its default stands out."""
    notices(console, answer)
    width = max(len(item.key) for item in answer.fields) + 2
    for item in answer.fields:
        text = Text(item.key.ljust(width))
        is_set = item.source != "default"
        text.append(_word(item.value).ljust(10), style="bold cyan" if is_set else "")
        text.append(f"{item.source}, else {_word(item.default)}" if is_set else "default", style="dim")
        paragraph(console, text)
    line(console, for_terminal(answer.summary), "bold")


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _ending(console: Console, answer: VerifyResult) -> None:
    line(console, for_terminal(answer.summary), "bold green" if answer.ok else "bold red")
    next_step(console, answer.next_step)


def events(console: Console, answer: QueryAuditResult) -> None:
    """A page of the audit, newest first, by day."""
    notices(console, answer)
    day = ""
    batch: list[Event] = []
    for event in answer.events:
        of_event = _day(event)
        if of_event != day and batch:
            _events_of_a_day(console, day, batch)
            batch = []
        day = of_event
        batch.append(event)
    if batch:
        _events_of_a_day(console, day, batch)
    line(console, for_terminal(answer.summary), "bold" if answer.chain.intact else "bold red")
    if answer.next_cursor is not None:
        line(console, f"More with --cursor {answer.next_cursor}", "dim")
    next_step(console, answer.next_step)


def _day(event: Event) -> str:
    then = moment(event.timestamp)
    return "?" if then is None else then.strftime("%Y-%m-%d")


def _events_of_a_day(console: Console, day: str, batch: Sequence[Event]) -> None:
    line(console, f"{day} (UTC)", "bold cyan")
    rows: list[tuple[str, ...]] = []
    for event in batch:
        then = moment(event.timestamp)
        clock = "?" if then is None else then.strftime("%H:%M:%S")
        rows.append((str(event.seq), clock, event.event_type, event.status, event.version or ""))
    header = ("Seq", "Time", "Event", "Status", "Version")
    _two_lines_each(console, header, rows, [_below_event(event) for event in batch])
    console.print()


def _below_event(event: Event) -> Text:
    actor = event.actor
    who = " ".join(part for part in (actor.kind, actor.name) if part)
    text = Text(inert(f"by {who}" + (f", {actor.tool}" if actor.tool else "")), style="dim")
    if event.error is not None:
        text.append(f" · {inert(event.error)}", style="not dim red")
    if event.paths:
        text.append(inert(f" · {_shortened(event.paths)}"))
    return text


def _shortened(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _MAX_PATHS} more" if len(paths) > _MAX_PATHS else ""
    return ", ".join(paths[:_MAX_PATHS]) + more


def _two_lines_each(
    console: Console, header: Sequence[str], rows: Sequence[Sequence[str]], below: Iterable[Text]
) -> None:
    """Aligned rows, and under each what does not fit into a column. A gap narrows before a name is broken."""
    cells = [[inert(cell) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in [list(header), *cells]) for place in range(len(header))]
    gap = " " * (_GAP if sum(widths) + _GAP * (len(widths) - 1) <= console.width else 1)
    console.print(Text(_aligned(header, header, widths, gap), style="bold"))
    for row, under in zip(cells, below, strict=True):
        text = Text()
        for place, (name, cell) in enumerate(zip(header, row, strict=True)):
            style = _STATUS.get(cell, "") if name == "Status" else "bold" if name == "Version" else ""
            text.append(gap if place else "").append(_padded(name, cell, widths[place]), style=style)
        paragraph(console, text)
        if under.plain:
            paragraph(console, under, indent=4)


def _aligned(header: Sequence[str], cells: Sequence[str], widths: Sequence[int], gap: str) -> str:
    return gap.join(_padded(*item) for item in zip(header, cells, widths, strict=True)).rstrip()


def _padded(name: str, cell: str, width: int) -> str:
    return cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
