"""The backups of a page as a strip, oldest on the left: how large each is, and of which kind."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from stravinsky_rollback_mcp.cli.words import age, size
from stravinsky_rollback_mcp.schema import Backup

MAX_COLUMNS = 40
_BARS, _PLAIN_BARS = "▁▂▃▄▅▆▇█", "12345678"  # eighths of the largest
_NOT_USABLE = "!"
_LABEL = "{:7}"


def timeline(console: Console, backups: Sequence[Backup], now: str) -> None:
    """Three lines within 80 columns, and an empty one; nothing for fewer than two backups, which need no picture.

    Where the output's encoding has no bars, digits stand for them.
    """
    shown = backups[:MAX_COLUMNS][::-1]
    if len(shown) < 2:  # noqa: PLR2004 - see above
        return
    sizes = [backup.size_bytes for backup in shown]
    kinds = [backup.kind[0] if backup.status == "intact" else _NOT_USABLE for backup in shown]
    words = dict(zip(kinds, (backup.kind for backup in shown), strict=True)) | {_NOT_USABLE: "not usable"}
    legend = ", ".join(f"{letter} {words[letter]}" for letter in dict.fromkeys(kinds))
    rows = (
        ("Sizes", _strip(sizes, _bars(console)), f"{size(min(sizes))} to {size(max(sizes))}"),
        ("Kinds", "".join(kinds), f"{age(shown[0].created_at, now)} to {age(shown[-1].created_at, now)}"),
    )
    for label, strip, told in rows:
        console.print(Text(_LABEL.format(label)).append(strip, style="cyan").append(f"  {told}", style="dim"))
    console.print(Text(_LABEL.format("")).append(legend, style="dim"))
    console.print()


def _strip(sizes: Sequence[int], bars: str) -> str:
    largest = max(*sizes, 1)
    return "".join(bars[max(-(-one * len(bars) // largest), 1) - 1] for one in sizes)


def _bars(console: Console) -> str:
    try:
        _BARS.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return _PLAIN_BARS
    return _BARS
