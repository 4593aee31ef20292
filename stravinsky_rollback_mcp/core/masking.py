"""Texts from settings and scripts as they may be told: on one line, without tricks, without what looks like a secret.

What is masked reads ``***``. Where two texts must stay apart that read the same afterwards, a digest tells them apart.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

from stravinsky_rollback_mcp.core.names import shown as on_one_line

MASK = "***"
MAX_SHOWN_CHARACTERS = 120
# Bound the work on one hostile text; what lies behind is never shown.
_LONGEST_MASKED = 2000
MAX_LINE_CHARACTERS = 300

_SHELL_TOKEN = re.compile(r"""(?:"(?:\\.|[^"\\])*"?|'[^']*'?|[^\s"'])+""", re.DOTALL)
_SCRIPT = re.compile(r"[\w.~/${}@+-]+\.(?:py|sh|bash|zsh|fish|js|mjs|cjs|ts|mts|rb|pl|php|lua|ps1|cmd|bat)", re.ASCII)
_WORD = re.compile(r"[\w.~/${}+-]+", re.ASCII)

_NAMED = (
    r"(?:key|token|secret|passwd|password|passphrase|(?<![a-z])(?:pass|pwd)|credentials?|auth(?!ors?(?![a-z]))"
    r"|cookie|webhook)"
    r"""[\w-]{0,40}+["'\]]{0,3}+"""
)
_VALUE = r"""(?:"[^"]{0,2000}+"?|'[^']{0,2000}+'?|\S+)"""
# A value that is named as a secret, in the forms `name=value`, `name: value` and `--name value`; a bearer; the user
# part of an address; tokens with a known beginning.
_SECRET = re.compile(
    rf"""({_NAMED}\s{{0,20}}+[=:]\s{{0,20}}+(?:(?:bearer|basic)\s{{1,20}}+)?)(?!\*){_VALUE}"""
    rf"""|((?<![\w-])--?[\w-]{{0,40}}?{_NAMED}\s{{1,20}}+)(?![-*]){_VALUE}"""
    r"""|(\b(?:bearer|basic)\s{1,20}+)(?!\*)\S+|(://)[^\s/@]+(?=@)"""
    r"""|(\b(?:(?:sk|pk|rk)[-_]|(?:gh[a-z]|github_pat|npm|hf)_|glpat-|xox[a-z]-|AKIA|ASIA|AIza|eyJ))[\w-]{8,}""",
    re.IGNORECASE,
)
# In a line of a file everything behind the name goes: a value may hold blanks.
_NAMED_IN_LINE = re.compile(rf"""({_NAMED}\s{{0,20}}+(?::=|[=:])\s{{0,20}}+)(?=[^\s*]).+""", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"^(\s*[^=:]{0,200}?\s{0,20}[=:]\s{0,20})(?=\S).+")
_LONG = re.compile(r"(?<![\w+-])[\w+-]{20,}={0,2}", re.ASCII)
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{32,}", re.ASCII)
_KEY_BEGINS, _KEY_ENDS = "-----BEGIN ", "-----END "


def escaped(text: str) -> str:
    """The text on one line, without control, bidirectional and other invisible characters, and reversible."""
    return "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode("ascii") for char in text
    )


def digest(text: str) -> str:
    """Eight hexadecimal digits that tell a text from another one."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def shown(text: str) -> str:
    """A bounded, harmless rendering; a digest keeps apart the texts of which a part was cut or masked."""
    masked = _without_secrets(text[:_LONGEST_MASKED])
    safe = escaped(masked)
    if len(safe) > MAX_SHOWN_CHARACTERS:
        return f"{safe[:MAX_SHOWN_CHARACTERS]}... [{digest(text)}]"
    return safe if masked == text else f"{safe} [{digest(text)}]"


def _without_secrets(text: str) -> str:
    return _SECRET.sub(lambda found: f"{next((part for part in found.groups() if part), '')}{MASK}", text)


def command_shown(command: str, arguments: Sequence[str] = ()) -> str:
    """The scripts that a command names, else its first word: an argument or an assignment may be a secret."""
    tokens = _SHELL_TOKEN.findall(command[:_LONGEST_MASKED])
    words = [token.replace('"', "").replace("'", "").strip("();&|<>") for token in tokens]
    scripts = [word for word in (*words, *arguments) if _SCRIPT.fullmatch(word)]
    first = words[0] if words and _WORD.fullmatch(words[0]) else "a command"
    return shown(" ".join(dict.fromkeys(scripts)) or first)


def masked_line(line: str, *, keeps_values: bool) -> str:
    """One line of a file without what looks like a credential.

    ``keeps_values`` is for scripts and prose; without it whatever is assigned to a name goes too.
    """
    text = line[: 2 * MAX_LINE_CHARACTERS]
    if not keeps_values:
        text = _ASSIGNMENT.sub(rf"\1{MASK}", text)
    text = _without_secrets(_NAMED_IN_LINE.sub(rf"\1{MASK}", text))
    text = _LONG.sub(lambda found: MASK if _looks_random(found[0]) else found[0], text)
    return _cut(on_one_line(text, ""), len(line))


def _looks_random(word: str) -> bool:
    """Whether it is of all kinds of characters, or hexadecimal: no word and no name."""
    kinds = (str.isdigit, str.islower, str.isupper)
    is_mixed = all(any(map(kind, word)) for kind in kinds) and sum(map(str.isdigit, word)) > 1
    return is_mixed or _HEXADECIMAL.fullmatch(word) is not None


def _cut(text: str, characters: int) -> str:
    """The beginning of what was made of a line with so many characters."""
    is_whole = characters <= 2 * MAX_LINE_CHARACTERS and len(text) <= MAX_LINE_CHARACTERS
    return text if is_whole else f"{text[:MAX_LINE_CHARACTERS]}… ({characters} characters)"


def inside_private_keys(lines: Iterable[str]) -> Iterator[bool]:
    """For each line whether it belongs to the body of a PEM block, whose lines look like nothing by themselves."""
    inside = False
    for line in lines:
        if _KEY_ENDS in line:
            inside = False
        yield inside
        if _KEY_BEGINS in line:
            inside = _KEY_ENDS not in line
