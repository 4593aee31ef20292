"""Heads of Markdown files, row by row: what Claude Code 2.1.330's validator says of each, and what we do.

``real`` are the fields that `claude plugin validate` calls an error (``frontmatter`` is the block as a whole), the same
for a command, a skill and an agent. ``ours`` are our words for it, ``none`` without.
"""

from dataclasses import dataclass

NO_YAML, NO_FIELDS, WRONG_KIND, NONE = "is no YAML", "has no fields", "must be a text", "none"
OPEN, HOOKS = "nothing closes", "no hook that Claude Code can load"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One file with one peculiarity."""

    content: bytes
    real: tuple[str, ...] = ()
    ours: str = NONE


def head(block: str, real: str = "", ours: str = NONE) -> Head:
    """A file with this block between its fences."""
    return Head(content=f"---\n{block}\n---\nbody\n".encode(), real=tuple(real.split()), ours=ours)


HEADS: dict[str, Head] = {
    # no head at all
    "no frontmatter": Head(content=b"body\n"),
    "an empty file": Head(content=b""),
    "an empty block": Head(content=b"---\n---\nbody\n"),
    "an open block": Head(content=b"---\ndescription: x\n\nbody\n", ours=OPEN),
    # taken as it is, or after quoting
    "one field": head("description: x"),
    "a byte order mark": Head(content=b"\xef\xbb\xbf---\ndescription: x\n---\nb\n"),
    "carriage returns": Head(content=b"---\r\ndescription: x\r\n---\r\nb\r\n"),
    "brackets side by side": head("argument-hint: [a] [b]"),
    "a colon in a text": head('description: Use when: the user says "x"'),
    "quotes, then a colon": head('description: "a" b: c'),
    "a star at the beginning": head("paths: **/*.ts"),
    "an at sign": head("description: @x"),
    "an emoji": head("description: \U0001f680 go: now"),
    "a tab before a name": head("\tdescription: x"),
    "a tab after a colon": head("description:\tx"),
    "the same name twice": head("description: x\ndescription: y"),
    "a date that is none": head("since: 2024-13-45"),
    "a tag": head("since: !x y"),
    "three hyphens in a text": head("description: a --- b\nmodel: opus"),
    "a control character": head("description: a\x01b"),
    "no UTF-8": Head(content=b"---\ndescription: caf\xe9\n---\nb\n"),
    "an unknown field": head("colour: red"),
    "a block of text": head("description: |\n  a: b\n  c"),
    # no YAML either way
    "an open quote": head('description: "x', "frontmatter", NO_YAML),
    "two colons over two lines": head("a: b: c\n  d", "frontmatter", NO_YAML),
    "colons in a list": head("examples:\n- <x>a: b: c</x>", "frontmatter", NO_YAML),
    # no table
    "a list": head("- a\n- b", "frontmatter", NO_FIELDS),
    "a text": head("hello", "frontmatter", NO_FIELDS),
    # fields of a wrong kind
    "description as a list": head("description: [a]", "description", WRONG_KIND),
    "description as a table": head("description:\n  a: b", "description", WRONG_KIND),
    "description as a number": head("description: 3"),
    "name as a number": head("name: 3", "name", WRONG_KIND),
    "tools as a number": head("allowed-tools: 3", "allowed-tools", WRONG_KIND),
    "tools as a table": head("allowed-tools:\n  a: b", "allowed-tools", WRONG_KIND),
    "a number among tools": head("allowed-tools: [Read, 3]", "allowed-tools", WRONG_KIND),
    "tools as texts": head("allowed-tools: Read, Bash(git *)"),
    # hooks: the validator says nothing of them
    "a hook": head("hooks:\n  Stop:\n    - hooks:\n      - type: command\n        command: 'true'\n        timeout: 5"),
    "a hook without a command": head("hooks:\n  PreToolUse:\n    - hooks:\n      - type: command", ours=HOOKS),
    "an unknown event": head(
        "hooks:\n  PreToolUsed:\n    - hooks:\n      - type: command\n        command: x",
        ours="no event of Claude Code",
    ),
    "hooks as a text": head("hooks: x", ours="must be an object"),
}
