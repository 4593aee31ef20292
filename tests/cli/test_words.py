"""How values read to a person."""

import pytest

from stravinsky_rollback_mcp.cli import words

NOW = "2026-11-23T12:00:00.000Z"


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("Call create_backup.", "Call `stravinsky-rollback backup create`."),
        ("see list_backups with `path`.", "see `stravinsky-rollback backup list` with `path`."),
        ("look again with dry_run, then go.", "look again with --dry-run, then go."),
        ("~/.claude/hooks/list_backups.py changed", "~/.claude/hooks/list_backups.py changed"),
        ("~/.claude/commands/dry_run/a.md changed", "~/.claude/commands/dry_run/a.md changed"),
        ("my-rollback_to-fork", "my-rollback_to-fork"),
        ("a\x1b[31mb\nc\u202ed", "a\\x1b[31mb\\nc\\u202ed"),
    ],
)
def test_tools_become_commands_but_never_inside_a_path(sentence: str, shown: str) -> None:
    """The service speaks to models; a path that happens to hold a tool's name is still that path."""
    assert words.for_terminal(sentence) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (41_300, "41 kB"), (2_500_000, "2.5 MB"), (10**13, "10000 GB")],
)
def test_sizes_are_short(size_bytes: int, shown: str) -> None:
    """SI units, two digits at most where a digit says something."""
    assert words.size(size_bytes) == shown


@pytest.mark.parametrize(
    ("then", "shown"),
    [
        ("2026-11-23T11:59:50.000Z", "just now"),
        ("2026-11-23T11:55:00.000Z", "5 min ago"),
        ("2026-11-23T05:00:00.000Z", "7 h ago"),
        ("2026-11-20T05:00:00.000Z", "3 d ago"),
        ("2026-01-20T05:00:00.000Z", "2026-01-20"),
        ("2026-11-24T05:00:00.000Z", "2026-11-24"),
        ("", "?"),
    ],
)
def test_ages_are_at_most_ten_characters(then: str, shown: str) -> None:
    """A backup from the future (a clock went back) shows its date; one without a time shows that."""
    assert words.age(then, NOW) == shown


def test_targets_are_grouped_by_scope() -> None:
    """Ids are for programs."""
    assert words.targets(("user.hooks", "user.local_settings", "project.hooks")) == (
        "user hooks, local settings; project hooks"
    )
