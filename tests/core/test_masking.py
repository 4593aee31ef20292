"""What may be told of a text: never a secret, never a trick, always on one line."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stravinsky_rollback_mcp.core.masking import MAX_LINE_CHARACTERS, inside_private_keys, masked_line, shown

SECRET = "Zq7MARKERsecret91x"


@pytest.mark.parametrize("keeps_values", [True, False])
@pytest.mark.parametrize(
    "line",
    [
        f"API_KEY={SECRET}",
        f'export API_KEY="two words {SECRET}"',
        f"    password: {SECRET}",
        f"DB_PASS='{SECRET}'",
        f'headers = {{"Authorization": "Bearer {SECRET}"}}',
        f"curl -H 'X-Api-Key: {SECRET}' https://example.com",
        f"deploy --token {SECRET} --verbose",
        f"deploy --api-key={SECRET}",
        f"git clone https://user:{SECRET}@example.com/repo",
        f"Authorization: Basic {SECRET}",
        f"client_secret := {SECRET}",
        f'"sessionToken" : "{SECRET}",',
        f"Set-Cookie: sid={SECRET}",
        f"the passphrase: {SECRET}",
        f"Authorization: {SECRET}",
        f"authorization = digest {SECRET}",
        f"SLACK_WEBHOOK=https://hooks.slack.com/services/{SECRET}",
        f"os.environ['AWS_SECRET_ACCESS_KEY'] = '{SECRET}'",
    ],
)
def test_what_is_named_as_a_secret_is_masked(line: str, keeps_values: bool) -> None:  # noqa: FBT001 - a parameter
    """The forms in which scripts and notes of real configurations hold credentials."""
    masked = masked_line(line, keeps_values=keeps_values)
    assert SECRET not in masked
    assert "***" in masked


@pytest.mark.parametrize(
    "token",
    [
        "sk-ant-api03-abcdefghijkl",
        "ghp_0123456789abcdefghij",
        "github_pat_11AAAAAAA0abcdefghij",
        "glpat-abcdefghijklmnop",
        "xoxb-123456789012-abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA1234567890abcdefghij",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0",
        "npm_abcdefghijklmnopqrst",
        "9f86d081884c7d659a2feaa0c55ad015",
        "k3JHs8dK2mNp4qRs6tUv8wXy",
    ],
)
def test_what_looks_like_a_token_is_masked_wherever_it_stands(token: str) -> None:
    """Known beginnings, and long words of all kinds of characters."""
    for line in (token, f"run({token!r})", f"see {token} for more"):
        assert token not in masked_line(line, keeps_values=True)


@pytest.mark.parametrize(
    "line",
    [
        "import json, sys",
        'sys.exit(2 if "rm -rf" in command else 0)  # 2 denies the tool call',
        "Review the diff of $ARGUMENTS for faults.",
        "description: Review the diff",
        "for key in sorted(items):",
        "  - allowed-tools: Bash(git status:*), Read",
        "set -euo pipefail",
        "~/.claude/hooks/guard_secrets.py",
        "https://docs.python.org/3/library/re.html",
        "authors = 3",
        "Author: somebody",
    ],
)
def test_ordinary_lines_stay_as_they_are(line: str) -> None:
    """A diff in which everything is masked is no diff."""
    assert masked_line(line, keeps_values=True) == line


@pytest.mark.parametrize("rule", [f"Bash(login --password 'two {SECRET}' x)", f'Bash(x token="a {SECRET}" y)'])
def test_a_quoted_secret_in_a_rule_goes_to_its_closing_quote(rule: str) -> None:
    """Behind it the rule goes on."""
    assert SECRET not in shown(rule)
    assert shown(rule).partition(") [")[0][-1] in "xy"


def test_without_a_known_form_every_value_goes() -> None:
    """An ``.env``, a YAML file: what is assigned to a name may be anything."""
    assert masked_line("REGION=Frankfurt", keeps_values=False) == "REGION=***"
    assert masked_line("  region: Frankfurt am Main", keeps_values=False) == "  region: ***"
    assert masked_line("# only a remark", keeps_values=False) == "# only a remark"


def test_the_body_of_a_private_key_is_told_by_its_frame() -> None:
    """Its lines look like nothing by themselves."""
    lines = ["a", "-----BEGIN RSA PRIVATE KEY-----", "MIIC", "xyz", "-----END RSA PRIVATE KEY-----", "b"]
    assert list(inside_private_keys(lines)) == [False, False, True, True, False, False]
    assert list(inside_private_keys(["-----BEGIN X-----", "open"])) == [False, True]


@given(st.text(), st.booleans())
def test_any_line_is_shown_on_one_line_and_bounded(line: str, keeps_values: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever a file holds: printable, and never longer than a screen is patient."""
    masked = masked_line(line, keeps_values=keeps_values)
    assert masked.isprintable()
    assert len(masked) <= MAX_LINE_CHARACTERS + 40


@pytest.mark.parametrize(
    "line",
    [
        f"{word * (100_000 // len(word))}"
        for word in ("key", "-", "--key", "A1a", "key ", "=", ":", "bearer ", "a" * 19 + "-")
    ]
    + [f"key{' ' * 100_000}", f"{'x' * 50_000}={'y' * 50_000}"],
    ids=lambda line: line[:8],
)
def test_no_line_takes_long(line: str) -> None:
    """Hostile input: what makes patterns slow."""
    started = time.process_time()
    for _ in range(10):
        masked_line(line, keeps_values=True)
        masked_line(line, keeps_values=False)
        shown(line)
    assert time.process_time() - started < 1
