"""What people live through, told over MCP: edits, rollbacks, undo and redo, two projects, previews and consent.

The rows are those of the history's table in the design: what undo takes back, what the next undo takes back, and what
redo brings again. Every state is compared byte for byte.
"""

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from support.config import realistic
from support.session import Session, connected
from support.tree import Folder, Snapshot, build, snapshot

from stravinsky_rollback_mcp import config
from stravinsky_rollback_mcp.disk import scan
from stravinsky_rollback_mcp.server import RollbackServer

Open = Callable[..., AbstractContextManager[Session]]


@pytest.fixture
def session_in(home: Path) -> Open:
    """Opens sessions of one person, in any project."""

    @contextmanager
    def opened(project: Path, **environ: str) -> Generator[Session]:
        loaded = config.load({"HOME": str(home), "CLAUDE_PROJECT_DIR": str(project), **environ}, for_terminal=False)
        with connected(RollbackServer(loaded, every_tool=True)) as (portal, client):
            yield Session(portal, client)

    return opened


class Live:
    """The live configuration of both scopes."""

    def __init__(self, user: Path, project: Path) -> None:
        self.user = user
        self.project = project

    def state(self) -> tuple[Snapshot, Snapshot]:
        """Everything there is, byte for byte."""
        return snapshot(self.user), snapshot(self.project)

    def edit(self, name: str, content: str) -> None:
        """What an editor, an installer or the model does."""
        (self.user / name).write_text(content, encoding="utf-8")


@pytest.fixture
def live(home: Path, project: Path) -> Live:
    """A configuration as people have it."""
    return Live(*realistic(home, project))


@pytest.fixture
def session(session_in: Open, project: Path, live: Live) -> Iterator[Session]:
    """A session in the test's project."""
    with session_in(project) as opened:
        yield opened


# --- the table of stories ------------------------------------------------------------------------------------------


def test_story_1_an_edit_after_a_backup(session: Session, live: Live) -> None:
    """Backup v1, edit | back to v1 | nothing further | the edit returns."""
    session.call("create_backup", version="v1")
    v1 = live.state()
    live.edit("hooks/guard_bash.py", "edited")
    edited = live.state()

    done = session.call("undo")
    assert live.state() == v1
    assert (done["to_version"], done["undone"]["operation"]) == ("v1", "edit")
    text = session.refused("undo")
    assert text.startswith("nothing_to_undo: ")
    assert "(v1)" in text
    assert live.state() == v1
    session.call("redo")
    assert live.state() == edited
    assert session.code("redo") == "nothing_to_redo"


def test_story_2_a_rollback_after_edits_that_were_backed_up(session: Session, live: Live) -> None:
    """Backup v1, edit, backup v2, edit, rollback_to v1 | the second edit | v2 | the second edit again."""
    session.call("create_backup", version="v1")
    v1 = live.state()
    live.edit("hooks/guard_bash.py", "first edit")
    session.call("create_backup", version="v2")
    v2 = live.state()
    live.edit("commands/review.md", "second edit")
    second = live.state()
    session.call("rollback_to", version="v1")
    assert live.state() == v1

    done = session.call("undo")
    assert live.state() == second
    assert done["undone"]["operation"] == "manual_rollback"
    session.call("undo")
    assert live.state() == v2
    session.call("redo")
    assert live.state() == second
    session.call("redo")
    assert live.state() == v1


def test_story_3_an_edit_after_a_rollback(session: Session, live: Live) -> None:
    """rollback_to v1, then an edit | the edit is taken back | the rollback is taken back | v1."""
    session.call("create_backup", version="v1")
    v1 = live.state()
    live.edit("hooks/notify.sh", "before")
    before = live.state()
    session.call("rollback_to", version="v1")
    live.edit("commands/review.md", "after")

    assert session.call("undo")["undone"]["operation"] == "edit"
    assert live.state() == v1
    assert session.call("undo")["undone"]["operation"] == "manual_rollback"
    assert live.state() == before
    session.call("redo")
    assert live.state() == v1


def test_story_4_an_edit_after_a_rollback_of_one_file(session: Session, live: Live) -> None:
    """rollback_to v1 with only, then an edit elsewhere | the edit | the file as before | the file as in v1."""
    session.call("create_backup", version="v1")
    live.edit("hooks/notify.sh", "broken")
    live.edit("hooks/log_tools.py", "kept")
    before = live.state()
    session.call("rollback_to", version="v1", only=["hooks/notify.sh"])
    restored = live.state()
    assert restored != before
    assert (live.user / "hooks" / "log_tools.py").read_text(encoding="utf-8") == "kept"
    live.edit("commands/review.md", "elsewhere")

    session.call("undo")
    assert live.state() == restored
    session.call("undo")
    assert live.state() == before
    session.call("redo")
    assert live.state() == restored


def test_story_5_an_update_and_its_automatic_rollback(session: Session, live: Live) -> None:
    """update, automatic rollback | the updated state, after asking: it would lock | as before | the updated one."""
    before = live.state()
    session.call("begin_update", version="v2")
    (live.user / "hooks" / "guard_bash.py").unlink()
    live.edit("commands/review.md", "by an installer")
    updated = live.state()
    done = session.call("finish_update", success=True)
    assert (done["outcome"], live.state()) == ("rolled_back", before)
    assert any("guard_bash.py" in finding["message"] for finding in done["findings"])

    text = session.refused("undo")
    assert text.startswith("confirm_required: ")
    assert live.state() == before
    preview = session.call("undo", dry_run=True)
    assert any("guard_bash.py" in finding["message"] for finding in preview["findings"])
    assert all(line in text for line in preview["security_changes"])
    done = session.call("undo", accept=preview["security_changes"])
    assert (live.state(), done["undone"]["operation"]) == (updated, "auto_rollback")
    session.call("undo")
    assert live.state() == before
    session.call("redo", accept=preview["security_changes"])
    assert live.state() == updated


# --- to the ends of the history ------------------------------------------------------------------------------------


def test_undo_goes_to_the_earliest_state_and_redo_to_the_latest(session: Session, live: Live) -> None:
    """Each step is one known state; at the ends both say so, and nothing moves."""
    states = [live.state()]
    session.call("create_backup", version="v0")
    for number in range(1, 5):
        live.edit("hooks/log_tools.py", f"edit {number}")
        session.call("create_backup")
        states.append(live.state())
    for state in reversed(states[:-1]):
        session.call("undo")
        assert live.state() == state
    assert session.code("undo") == "nothing_to_undo"
    for state in states[1:]:
        session.call("redo")
        assert live.state() == state
    assert session.code("redo") == "nothing_to_redo"
    assert live.state() == states[-1]


def test_a_new_edit_closes_the_way_forward(session: Session, live: Live) -> None:
    """Redo after anything new would overwrite it: refused, and what was undone stays listed."""
    session.call("create_backup", version="v1")
    live.edit("hooks/notify.sh", "undone")
    session.call("undo")
    live.edit("hooks/notify.sh", "new")
    new = live.state()
    assert session.code("redo") == "nothing_to_redo"
    session.call("create_backup")
    assert session.code("redo") == "nothing_to_redo"
    assert live.state() == new
    kinds = [backup["kind"] for backup in session.call("list_backups")["backups"]]
    assert kinds == ["automatic", "safety", "manual"]


def test_a_backup_of_what_is_known_leaves_the_way_forward_open(session: Session, live: Live) -> None:
    """Looking and backing up are no changes."""
    session.call("create_backup", version="v1")
    live.edit("hooks/notify.sh", "edited")
    edited = live.state()
    session.call("undo")
    session.call("create_backup", version="v2")
    session.call("list_backups")
    session.call("redo")
    assert live.state() == edited


def test_edits_of_several_targets_are_taken_back_together(session: Session, live: Live) -> None:
    """Files changed, added and removed in both scopes, a folder gone, a mode changed: one undo, one redo."""
    session.call("create_backup", version="v1")
    v1 = live.state()
    (live.user / "hooks" / "guard_bash.py").chmod(0o600)
    (live.user / "hooks" / "notify.sh").unlink()
    live.edit("hooks/new hook.py", "new")
    for path in sorted((live.project / "commands" / "db").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (live.project / "settings.local.json").write_text('{"outputStyle": "verbose"}', encoding="utf-8")
    edited = live.state()
    drift = session.call("list_backups")["current"]["drift"]
    assert {item["target"] for item in drift} == {"user.hooks", "project.commands", "project.local_settings"}

    lines = session.call("undo", dry_run=True)["security_changes"]
    done = session.call("undo", accept=lines)
    assert live.state() == v1
    changed = {(item["scope"], item["component"]) for item in done["changes"] if item["action"] != "none"}
    assert changed == {("user", "hooks"), ("project", "commands"), ("project", "local_settings")}
    session.call("redo", accept=session.call("redo", dry_run=True)["security_changes"])
    assert live.state() == edited


def test_a_target_that_did_not_exist_is_removed_and_comes_back(session_in: Open, home: Path, project: Path) -> None:
    """Absence is a state: undo removes the new folder, redo makes it again."""
    build(home, {".claude": {"settings.json": "{}\n"}})
    with session_in(project) as session:
        session.call("create_backup", version="bare")
        bare = snapshot(home / ".claude"), snapshot(project)
        build(project, {".claude": {"hooks": {"a.py": "print()\n", "empty": {}}}})
        build(home / ".claude", {"commands": Folder({"x.md": "x"}, 0o700)})
        grown = snapshot(home / ".claude"), snapshot(project)
        done = session.call("undo")
        actions = {(item["scope"], item["component"]): item["action"] for item in done["changes"]}
        assert actions["project", "hooks"] == actions["user", "commands"] == "remove"
        after = snapshot(home / ".claude"), snapshot(project)
        assert after[0] == bare[0]
        assert after[1].keys() - bare[1].keys() <= {b".claude"}
        session.call("redo")
        assert (snapshot(home / ".claude"), snapshot(project)) == grown


def test_what_no_backup_holds_stays_and_undo_still_goes_on(session: Session, live: Live) -> None:
    """`node_modules` is carried over with its folder; the state that results counts as the one that was wanted."""
    session.call("create_backup", version="v0")
    live.edit("hooks/notify.sh", "one")
    session.call("create_backup", version="v1")
    build(live.user / "hooks", {"tool": {"main.py": "x", "node_modules": {"dep.js": "y"}}})
    session.call("create_backup", version="v2")
    v2 = live.state()
    done = session.call("undo")
    assert any("node_modules" in warning for warning in done["warnings"])
    assert not (live.user / "hooks" / "tool" / "main.py").exists()
    assert (live.user / "hooks" / "tool" / "node_modules" / "dep.js").read_text(encoding="utf-8") == "y"
    session.call("undo")
    assert (live.user / "hooks" / "notify.sh").read_text(encoding="utf-8") != "one"
    assert session.code("undo") == "nothing_to_undo"
    session.call("redo")
    session.call("redo")
    assert live.state() == v2


def test_a_result_says_what_the_next_undo_would_take_back(session: Session, live: Live) -> None:
    """History 5: in one sentence, so that nobody has to try."""
    session.call("create_backup", version="v1")
    live.edit("hooks/notify.sh", "x")
    session.call("create_backup", version="v2")
    live.edit("hooks/notify.sh", "y")
    done = session.call("undo")
    said = f"{done['summary']} {done['next_step']}"
    assert "next undo" in said.lower() or "undo again" in said.lower()


# --- previews, plan ids, consent -----------------------------------------------------------------------------------


def settings(**values: object) -> str:
    """A settings file."""
    return json.dumps(values)


LOOSE = settings(permissions={"allow": ["Bash(rm:*)"], "deny": []})
STRICT = settings(permissions={"allow": [], "deny": ["Read(./.env)"]})


def test_a_plan_id_has_exactly_that_done(session: Session, live: Live) -> None:
    """contract: what was previewed is what is applied; after any change in between it is `state_changed`."""
    session.call("create_backup", version="v1")
    live.edit("hooks/notify.sh", "x")
    plan_id = session.call("rollback_to", version="v1", dry_run=True)["plan_id"]
    assert session.call("rollback_to", version="v1", dry_run=True)["plan_id"] == plan_id
    partial = session.call("rollback_to", version="v1", only=["~/.claude/hooks"], dry_run=True)
    assert partial["plan_id"] != plan_id

    live.edit("hooks/notify.sh", "y")
    newer = live.state()
    assert session.code("rollback_to", version="v1", plan_id=plan_id) == "state_changed"
    assert session.code("undo", plan_id=plan_id) == "state_changed"
    assert session.code("rollback_to", version="v1", plan_id="0" * 32) == "state_changed"
    assert live.state() == newer
    fresh = session.call("rollback_to", version="v1", dry_run=True)["plan_id"]
    assert session.call("rollback_to", version="v1", plan_id=fresh)["applied"]
    assert session.code("rollback_to", version="v1", plan_id=fresh) == "state_changed"


def test_a_loosening_asks_and_applies_only_the_very_lines(session: Session, live: Live) -> None:
    """contract, Consent: one line each, calling again with exactly those lines applies; anything less does not."""
    live.edit("settings.json", LOOSE)
    session.call("create_backup", version="loose")
    live.edit("settings.json", STRICT)
    strict = live.state()

    preview = session.call("rollback_to", version="loose", dry_run=True)
    lines = preview["security_changes"]
    assert len(lines) == 2
    assert all(line.startswith("~/.claude/settings.json: ") for line in lines)
    text = session.refused("rollback_to", version="loose")
    assert text.startswith("confirm_required: ")
    assert all(line in text for line in lines)
    for not_quite in ([], lines[:1], [line.upper() for line in lines], [line + " " for line in lines], ["yes"], ["*"]):
        assert session.code("rollback_to", version="loose", accept=not_quite) == "confirm_required"
    assert live.state() == strict
    done = session.call("rollback_to", version="loose", accept=lines, plan_id=preview["plan_id"])
    assert (done["applied"], done["security_changes"]) == (True, lines)
    assert (live.user / "settings.json").read_text(encoding="utf-8") == LOOSE


def test_the_lines_can_be_taken_from_the_refusal_itself(session: Session, live: Live) -> None:
    """A model that was refused has only the text: each line stands on a line of its own there."""
    live.edit("settings.json", settings(permissions={"allow": ["Bash(a; b.)", "Bash(c)"]}))
    session.call("create_backup", version="loose")
    live.edit("settings.json", settings())
    text = session.refused("rollback_to", version="loose")
    lines = [line.removeprefix("- ") for line in text.splitlines() if "settings.json: " in line]
    assert lines == session.call("rollback_to", version="loose", dry_run=True)["security_changes"]
    assert session.call("rollback_to", version="loose", accept=lines)["applied"]


def test_undo_and_redo_ask_as_well(session: Session, live: Live) -> None:
    """Whichever way it goes: what gets less safe is asked, and the way back to what is safer is not."""
    live.edit("settings.json", LOOSE)
    session.call("create_backup", version="loose")
    live.edit("settings.json", STRICT)
    lines = session.call("undo", dry_run=True)["security_changes"]
    assert session.code("undo") == "confirm_required"
    session.call("undo", accept=lines)
    assert (live.user / "settings.json").read_text(encoding="utf-8") == LOOSE
    assert session.call("redo")["applied"]
    assert (live.user / "settings.json").read_text(encoding="utf-8") == STRICT
    session.call("create_backup", version="strict")
    session.call("rollback_to", version="loose", accept=lines)
    session.call("undo")
    assert session.code("redo") == "confirm_required"
    assert session.call("redo", accept=lines)["applied"]


def test_live_settings_that_do_not_load_are_compared_with_the_last_known_ones(session: Session, live: Live) -> None:
    """A broken file guards nothing, but going back to what was known before it broke needs no consent."""
    live.edit("settings.json", STRICT)
    session.call("create_backup", version="strict")
    live.edit("settings.json", LOOSE)
    session.call("create_backup", version="loose")
    live.edit("settings.json", LOOSE[:-5])
    assert session.call("rollback_to", version="loose", dry_run=True)["security_changes"] == []
    assert session.call("rollback_to", version="strict")["applied"]
    live.edit("settings.json", STRICT[:-5])
    assert session.code("rollback_to", version="loose") == "confirm_required"


def test_already_there_is_a_success_that_does_nothing(session: Session, live: Live) -> None:
    """Threat model, row 13: a retried call makes no new safety backup and no new state."""
    session.call("create_backup", version="v1")
    live.edit("hooks/notify.sh", "x")
    session.call("rollback_to", version="v1")
    versions = session.call("list_backups")["total"]
    for _ in range(2):
        again = session.call("rollback_to", version="v1")
        assert (again["applied"], again["already_at_target"], again["safety_backup"]) == (False, True, None)
        assert {change["action"] for change in again["changes"]} == {"none"}
        assert again["undo"] == ""
    assert session.call("list_backups")["total"] == versions
    session.call("undo")
    assert (live.user / "hooks" / "notify.sh").read_text(encoding="utf-8") == "x"


# --- parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only", "brought_back"),
    [
        (["hooks/notify.sh"], {"hooks/notify.sh"}),
        (["~/.claude/hooks/notify.sh"], {"hooks/notify.sh"}),
        (["hooks/lib"], {"hooks/lib/patterns.py"}),
        (["~/.claude/hooks"], {"hooks/notify.sh", "hooks/lib/patterns.py"}),
        (["~/.claude/hooks/", "~/.claude/hooks/lib"], {"hooks/notify.sh", "hooks/lib/patterns.py"}),
        (["~/.claude/commands"], {"commands/review.md"}),
        (["~/.claude/settings.json"], {"settings.json"}),
        (["hooks/notify.sh", "commands/review.md"], {"hooks/notify.sh", "commands/review.md"}),
        (["~/.claude"], {"hooks/notify.sh", "hooks/lib/patterns.py", "commands/review.md", "settings.json"}),
    ],
)
def test_only_brings_back_what_it_names(
    session: Session, live: Live, home: Path, only: list[str], brought_back: set[str]
) -> None:
    """One file, a folder, a whole target, a scope; relative to a root, below home, absolute: the rest stays broken."""
    names = ("hooks/notify.sh", "hooks/lib/patterns.py", "commands/review.md", "settings.json")
    session.call("create_backup", version="v1")
    good = {name: (live.user / name).read_bytes() for name in names}
    mode = (live.user / "hooks/notify.sh").stat().st_mode
    (live.user / "hooks/notify.sh").unlink()
    for name in names[1:]:
        live.edit(name, settings())
    (live.project / "hooks" / "format.py").unlink()
    absolute = [text.replace("~", str(home)) for text in only]
    lines = session.call("rollback_to", version="v1", only=absolute, dry_run=True)["security_changes"]
    session.call("rollback_to", version="v1", only=only, accept=lines)
    for name in names:
        path = live.user / name
        assert (path.exists() and path.read_bytes() == good[name]) == (name in brought_back), name
    assert not (live.project / "hooks" / "format.py").exists()
    if "hooks/notify.sh" in brought_back:
        assert (live.user / "hooks/notify.sh").stat().st_mode == mode


def test_a_part_that_the_backup_does_not_have_becomes_absent(session: Session, live: Live) -> None:
    """contract: naming a new file in `only` removes it; its neighbours stay."""
    session.call("create_backup", version="v1")
    live.edit("hooks/new.py", "new")
    live.edit("hooks/other.py", "other")
    session.call("rollback_to", version="v1", only=["hooks/new.py"])
    assert not (live.user / "hooks" / "new.py").exists()
    assert (live.user / "hooks" / "other.py").exists()


@pytest.mark.parametrize(
    ("only", "code"),
    [
        (["hooks/shared.py"], "ambiguous"),
        (["settings.json"], "ambiguous"),
        (["hooks"], "ambiguous"),
        (["hooks/never.py"], "not_found"),
        (["~/.claude/hooks/never.py"], "not_found"),
        (["~/.claude/history.jsonl"], "not_found"),
        (["/etc/passwd"], "not_found"),
        (["~/.ssh"], "not_found"),
        (["settings.json#/hooks"], "ambiguous"),
        (["~/.claude/settings.json#/never"], "not_found"),
        (["~/.claude/settings.json#hooks"], "invalid_argument"),
        (["hooks/../settings.json"], "invalid_argument"),
        (["hooks/notify.sh", "../hooks"], "invalid_argument"),
        ([""], "invalid_argument"),
    ],
)
def test_a_part_that_is_not_clear_is_refused(session: Session, live: Live, only: list[str], code: str) -> None:
    """Nothing is guessed: both scopes have it, nobody has it, or it is no plain path."""
    for root in (live.user, live.project):
        (root / "hooks" / "shared.py").write_text("x", encoding="utf-8")
    session.call("create_backup", version="v1")
    live.edit("hooks/notify.sh", "x")
    before = live.state()
    assert session.code("rollback_to", version="v1", only=only) == code
    assert session.code("rollback_to", version="v1", only=only, dry_run=True) == code
    assert live.state() == before


@pytest.mark.parametrize("scope", ["user", "project"])
def test_scope_limits_a_rollback(session: Session, live: Live, scope: str) -> None:
    """The other scope stays as it is, and a path outside of the scope is a mismatch."""
    session.call("create_backup", version="v1")
    good = live.state()
    (live.user / "hooks" / "notify.sh").unlink()
    (live.project / "hooks" / "format.py").unlink()
    bad = live.state()
    other = f"{live.project}/hooks" if scope == "user" else "~/.claude/hooks"
    assert session.code("rollback_to", version="v1", scope=scope, only=[other]) == "scope_mismatch"
    done = session.call("rollback_to", version="v1", scope=scope)
    assert {change["scope"] for change in done["changes"]} == {scope}
    assert live.state() == ((good[0], bad[1]) if scope == "user" else (bad[0], good[1]))


def test_scope_says_which_of_two_equal_paths_is_meant(session: Session, live: Live) -> None:
    """`hooks` alone is ambiguous; with a scope there is only one."""
    session.call("create_backup", version="v1")
    (live.user / "hooks" / "notify.sh").unlink()
    assert session.code("rollback_to", version="v1", only=["hooks"]) == "ambiguous"
    session.call("rollback_to", version="v1", only=["hooks"], scope="user")
    assert (live.user / "hooks" / "notify.sh").exists()


# --- two projects --------------------------------------------------------------------------------------------------


@pytest.fixture
def other_project(tmp_path: Path) -> Path:
    """Another project of the same person."""
    folder = tmp_path / "other"
    build(folder, {".claude": {"hooks": {"theirs.py": "theirs\n"}}})
    return folder


def test_another_projects_change_of_the_user_scope_asks_before_it_is_taken_back(
    session: Session, session_in: Open, live: Live, other_project: Path
) -> None:
    """History 4: the result says which project did it, and taking it back needs those lines."""
    session.call("create_backup", version="here-1")
    v1 = live.state()
    with session_in(other_project) as there:
        there.call("create_backup", version="there-1")
        live.edit("hooks/notify.sh", "changed there")
        there.call("create_backup", version="there-2")
        changed = live.state()

        text = session.refused("undo")
        assert text.startswith("confirm_required: ")
        assert str(other_project) in text
        assert session.code("rollback_to", version="here-1") == "confirm_required"
        assert live.state() == changed
        (line,) = session.call("undo", dry_run=True)["security_changes"]
        assert str(other_project) in line
        assert session.call("undo", accept=[line])["applied"]
        assert live.state() == v1
        assert snapshot(other_project / ".claude" / "hooks")[b"theirs.py"][2] == b"theirs\n"

        assert str(live.project.parent) in there.refused("undo")
        line = there.call("undo", dry_run=True)["security_changes"]
        there.call("undo", accept=line)
        assert live.state() == changed


def test_what_another_project_does_to_itself_is_not_seen_here(
    session: Session, session_in: Open, live: Live, other_project: Path
) -> None:
    """Its backups are not listed unless asked for, and its own targets are no states here."""
    session.call("create_backup", version="here-1")
    with session_in(other_project) as there:
        there.call("create_backup", version="there-1")
        (other_project / ".claude" / "hooks" / "theirs.py").unlink()
        there.call("create_backup", version="there-2")
    listed = session.call("list_backups")
    assert [backup["version"] for backup in listed["backups"]] == ["here-1"]
    assert "all_projects" in listed["summary"]
    everywhere = session.call("list_backups", all_projects=True)
    assert [backup["version"] for backup in everywhere["backups"]] == ["there-2", "there-1", "here-1"]
    assert {backup["project"] for backup in everywhere["backups"]} == {str(other_project), str(live.project.parent)}
    assert session.code("undo") == "nothing_to_undo"


def test_another_projects_backup_restores_the_user_scope_alone(
    session: Session, session_in: Open, live: Live, other_project: Path
) -> None:
    """Design of the store: project targets of another project are never restored here."""
    with session_in(other_project) as there:
        there.call("create_backup", version="there-1")
    user, project = live.state()
    live.edit("hooks/notify.sh", "x")
    before = live.state()
    for arguments in ({}, {"scope": "project"}, {"only": ["hooks/notify.sh"]}):
        assert session.code("rollback_to", version="there-1", **arguments) == "scope_mismatch"
    assert live.state() == before
    assert session.call("rollback_to", version="there-1", scope="user")["applied"]
    assert live.state() == (user, project)


def test_another_user_root_is_another_person(session: Session, session_in: Open, live: Live, home: Path) -> None:
    """CLAUDE_CONFIG_DIR: backups of one root never go into the other, the project's part may."""
    session.call("create_backup", version="first")
    build(home, {".second": {"hooks": {"own.py": "own\n"}, "settings.json": "{}\n"}})
    second = snapshot(home / ".second")
    with session_in(live.project.parent, CLAUDE_CONFIG_DIR=str(home / ".second")) as other:
        assert other.call("list_backups")["user_root"] == "~/.second"
        assert other.code("rollback_to", version="first") == "scope_mismatch"
        assert other.code("rollback_to", version="first", scope="user") == "scope_mismatch"
        (live.project / "hooks" / "format.py").unlink()
        done = other.call("rollback_to", version="first", scope="project")
        assert {change["scope"] for change in done["changes"]} == {"project"}
        assert (live.project / "hooks" / "format.py").exists()
        other.call("create_backup", version="second")
        assert other.call("list_backups")["backups"][0]["version"] == "second"
    assert snapshot(home / ".second") == second
    assert session.code("rollback_to", version="second") == "scope_mismatch"


def test_a_session_in_the_home_folder_has_one_scope(session_in: Open, home: Path, live: Live) -> None:
    """contract: if both roots resolve to one directory it is one scope, `user`, once."""
    (live.user / "settings.local.json").write_text("{}\n", encoding="utf-8")
    with session_in(home) as session:
        made = session.call("create_backup", version="v1")
        assert {name.partition(".")[0] for name in made["backup"]["changed"]} == {"user"}
        listed = session.call("list_backups", detail=True)
        assert listed["project_root"] is None
        paths = [target["path"] for target in listed["backups"][0]["targets"]]
        assert sorted(paths) == sorted(set(paths))
        assert "~/.claude/settings.local.json" in paths
        (live.user / "hooks" / "log_tools.py").unlink()
        good = live.state()
        session.call("undo")
        session.call("redo")
        assert live.state() == good


# --- selectors -----------------------------------------------------------------------------------------------------


def test_a_selector_names_the_backup_that_it_stood_for(session: Session, live: Live) -> None:
    """@previous is what undo would bring, @TIME the newest backup of then; the result says which version that was."""
    assert session.code("rollback_to", version="@previous") == "not_found"
    session.call("create_backup", version="v1")
    v1 = live.state()
    assert session.code("rollback_to", version="@previous") == "not_found"
    live.edit("hooks/notify.sh", "x")
    preview = session.call("rollback_to", version="@previous", dry_run=True)
    assert (preview["to_version"], preview["changes"][0]["modified"]) == ("v1", ["notify.sh"])
    assert "v1 (@previous)" in preview["summary"]
    created = session.call("list_backups")["backups"][0]["created_at"]
    for text in ("@24h", "@1999-01-01T00:00:00Z"):
        refused = session.refused("rollback_to", version=text)
        assert refused.startswith("not_found: ")
        assert f"@{created}" in refused
    assert session.code("rollback_to", version="@yesterday") == "invalid_argument"
    done = session.call("rollback_to", version=f"@{created}", plan_id=preview["plan_id"])
    assert (live.state(), done["to_version"]) == (v1, "v1")


# --- what else was going on ----------------------------------------------------------------------------------------


def test_a_moved_head_of_git_is_mentioned(session: Session, live: Live) -> None:
    """History 5: the project's files may differ because of a checkout, which undo would tear apart."""
    git = live.project.parent / ".git"
    build(
        git, {"HEAD": "ref: refs/heads/main\n", "refs": {"heads": {"main": "1" * 40 + "\n", "side": "2" * 40 + "\n"}}}
    )
    session.call("create_backup", version="v1")
    (live.project / "hooks" / "format.py").write_text("edited\n", encoding="utf-8")
    assert session.call("undo", dry_run=True)["notices"] == []
    (git / "HEAD").write_text("ref: refs/heads/side\n", encoding="utf-8")
    (notice,) = session.call("undo", dry_run=True)["notices"]
    assert "checkout" in notice
    session.call("create_backup", version="v2")
    (notice,) = session.call("undo", dry_run=True)["notices"]
    assert "checkout" in notice
    events = session.call("query_audit", event_type="BACKUP_CREATED")["events"]
    seen = {event["version"]: event["details"]["git_head"] for event in events}
    assert seen["v1"] != seen["v2"]
    assert all(len(head) == 64 for head in seen.values())
    live.edit("hooks/notify.sh", "x")
    assert session.call("undo", dry_run=True)["notices"] == []


def test_drift_of_settings_names_the_keys(session: Session, live: Live) -> None:
    """contract: key paths, never values; nothing for other targets."""
    live.edit("settings.json", settings(model="opus", env={"TOKEN": "s3cret"}, permissions={"deny": ["Read(./.env)"]}))
    session.call("create_backup", version="v1")
    live.edit("settings.json", settings(model="opus", env={"TOKEN": "0ther"}))
    live.edit("hooks/notify.sh", "x")
    listed = session.call("list_backups")
    keys = {item["target"]: item["keys"] for item in listed["current"]["drift"]}
    assert keys == {"user.settings": ["/env/TOKEN", "/permissions"], "user.hooks": []}
    assert "s3cret" not in json.dumps(listed)
    assert "0ther" not in json.dumps(listed)
    live.edit("settings.json", "{")
    (item,) = [item for item in session.call("list_backups")["current"]["drift"] if item["target"] == "user.settings"]
    assert item["keys"] == []


def test_row_57_an_overwritten_restore_is_told_with_every_answer_and_refusal(
    session: Session, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threat model, row 57: the running session wrote its stale copy back; nobody has to ask for it."""
    live.edit("settings.json", STRICT)
    session.call("create_backup", version="v1")
    live.edit("settings.json", settings(permissions={"deny": []}, model="opus"))
    session.call("rollback_to", version="v1")
    assert session.call("list_backups")["notices"] == []
    live.edit("settings.json", settings(permissions={"deny": []}, model="opus"))
    answers = [
        session.call("query_audit")["notices"],
        session.call("list_backups")["notices"],
        session.call("undo", dry_run=True)["notices"],
        session.call("create_backup", version="v2")["notices"],
    ]
    for told in answers:
        assert len(told) == 1, answers
        (notice,) = told
        assert notice.startswith("Overwritten again at 20")
        assert "after the manual_rollback of 20" in notice
        assert "~/.claude/settings.json /model, /permissions/allow, /permissions/deny" in notice
    assert session.call("list_backups")["notices"] == []
    session.call("undo", accept=session.call("undo", dry_run=True)["security_changes"])
    live.edit("hooks/notify.sh", "again")
    for refused in (
        session.refused("rollback_to", version="v9"),
        session.refused("rollback_to", verson="v1"),
        session.refused("redo"),
        session.refused("no_such_tool"),
    ):
        first, _, notice = refused.partition(" Notice: ")
        assert "Next: " in first
        assert notice.startswith("Overwritten again at 20")
        assert "after the undo of" in notice
        assert notice.endswith("~/.claude/hooks. `undo` brings back what was restored.")
    assert session.call("undo")["notices"] == []
    # When it was noticed does not move with each look, and what did not change is not read again.
    live.edit("hooks/notify.sh", "once more")
    first = session.call("list_backups")["current"]["drift"]
    opened: list[str] = []
    honest = scan.open_regular

    def noted(path: str, name: str, folder: int | None) -> int:
        opened.append(name)
        return honest(path, name, folder)

    monkeypatch.setattr(scan, "open_regular", noted)
    assert session.call("list_backups")["current"]["drift"] == first
    assert "guard_bash.py" not in opened
