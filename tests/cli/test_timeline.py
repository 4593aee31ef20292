"""The strip above a list of backups."""

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from stravinsky_rollback_mcp.cli.timeline import MAX_COLUMNS, timeline
from stravinsky_rollback_mcp.schema import Backup

NOW = "2026-11-23T12:00:00.000Z"


def backup(size_bytes: int, kind: str = "manual", *, day: int = 20, status: str = "intact") -> Backup:
    """One backup of a page."""
    return Backup(
        version="v",
        created_at=f"2026-11-{day:02d}T12:00:00.000Z",
        kind=kind,
        made_by="tool",
        note="",
        project=None,
        files=1,
        size_bytes=size_bytes,
        stored_bytes=1,
        status=status,
        problems=[],
        pinned=False,
        changed=[],
        targets=None,
    )


def shown(backups: Sequence[Backup], encoding: str = "utf-8") -> list[str]:
    """What a person sees, newest backup given first."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    timeline(Console(file=file, width=80, color_system=None), backups, NOW)
    file.flush()
    return raw.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize(("encoding", "strip"), [("utf-8", "▁▄█▁▂"), ("ascii", "14812")])
def test_each_backup_is_a_bar_and_a_letter(encoding: str, strip: str) -> None:
    """Oldest on the left, as high as it is large; in plain ASCII a digit; one that cannot be used is marked."""
    page = [
        backup(20_000, "safety", day=23),
        backup(0, "manual", status="quarantined"),
        backup(100_000, "update"),
        backup(50_000, "automatic"),
        backup(1, day=13),
    ]
    assert shown(page, encoding) == [
        f"Sizes  {strip}  0 B to 100 kB",
        "Kinds  mau!s  10 d ago to just now",
        "       m manual, a automatic, u update, ! not usable, s safety",
        "",
    ]


def test_one_backup_is_no_line_and_many_fit_80_columns() -> None:
    """Of a hundred the newest are shown; sizes and times may be as long as they get."""
    assert shown([backup(1)]) == []
    assert shown([]) == []
    kinds = ("manual", "automatic", "safety", "update")
    page = [backup(999_000_000_000 + number, kinds[number % 4], day=1 + number % 28) for number in range(100)]
    lines = shown([*page[:30], backup(0, status="damaged"), *page[30:]])
    assert len(lines) == 4
    assert all(len(line) <= 80 for line in lines)
    assert len(lines[1].split()[1]) == MAX_COLUMNS
