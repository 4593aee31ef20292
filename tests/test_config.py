"""Where everything lies: roots, projects and limits, from what Claude Code and the person say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.tree import Link, build

from stravinsky_rollback_mcp.config import Config, load
from stravinsky_rollback_mcp.core.components import COMPONENTS
from stravinsky_rollback_mcp.core.policy import DEFAULTS, Policy
from stravinsky_rollback_mcp.errors import Code, RollbackError


def loaded(
    home: Path,
    *,
    for_terminal: bool = False,
    project: str | None = None,
    store: str | None = None,
    **variables: str,
) -> Config:
    """The configuration with only these variables set."""
    return load({"HOME": str(home), **variables}, for_terminal=for_terminal, project=project, store=store)


def overridden(home: Path, key: str, value: str) -> Config:
    """The configuration with one field set by its variable."""
    return load({"HOME": str(home), variable(key): value}, for_terminal=False)


def refusal(environ: dict[str, str], *, project: str | None = None) -> RollbackError:
    """The error with which a start is refused."""
    with pytest.raises(RollbackError) as caught:
        load(environ, for_terminal=False, project=project)
    return caught.value


def stored(home: Path, content: str | bytes | dict[str, object]) -> None:
    """Write the store's ``config.json``."""
    if isinstance(content, dict):
        content = json.dumps(content)
    build(home, {".stravinsky": {"rollback": {"config.json": content}}})


def ids(config: Config) -> set[str]:
    """The targets in view."""
    return {target.id for target in config.view.targets}


# --- home and roots ------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_claude_code(home: Path, project: Path) -> None:
    """User root below the home, project where the session is, store below the home (design)."""
    config = loaded(home)
    assert config.view.home == str(home)
    assert config.view.user_root == str(home / ".claude")
    assert config.view.project == str(project)
    assert config.view.project_root == str(project / ".claude")
    assert config.store == str(home / ".stravinsky/rollback")
    assert (config.limits.max_file_size_bytes, config.limits.max_entries, config.limits.max_depth) == (
        64 << 20,
        200_000,
        64,
    )
    assert (config.policy, config.warnings, config.session_id) == (Policy(), (), "")
    assert not (home / ".stravinsky").exists(), "looking makes nothing"


@pytest.mark.parametrize("value", [None, "", "relative", ".", "~", "/does/not/exist", "file", "/dev/null"])
def test_a_home_that_is_none_is_refused(home: Path, value: str | None) -> None:
    """Hostile input: HOME unset, empty, relative, missing or a file: a clean refusal at the start."""
    (home / "file").write_text("x", encoding="utf-8")
    environ = {} if value is None else {"HOME": str(home / "file") if value == "file" else value}
    error = refusal(environ)
    assert error.code is Code.ENV_UNTRUSTED
    assert "HOME" in error.message
    assert error.hint


def test_a_home_is_written_plainly(home: Path) -> None:
    """Trailing and doubled slashes do not end up in paths; a container's HOME=/ does not, either."""
    assert load({"HOME": f"{home}//"}, for_terminal=False).view.home == str(home)
    config = load({"HOME": "/"}, for_terminal=False)
    assert (config.view.user_root, config.store) == ("/.claude", "/.stravinsky/rollback")


def test_claude_config_dir_moves_the_user_root_alone(home: Path, tmp_path: Path) -> None:
    """The store stays below the home, wherever Claude Code's configuration lies (design)."""
    config = loaded(home, CLAUDE_CONFIG_DIR=f"{tmp_path}/cfg/")
    assert config.view.user_root == str(tmp_path / "cfg")
    assert config.store == str(home / ".stravinsky/rollback")
    assert {target.path for target in config.view.targets if target.id == "user.settings"} == {
        str(tmp_path / "cfg/settings.json")
    }
    assert loaded(home, CLAUDE_CONFIG_DIR="").view.user_root == str(home / ".claude")


def test_a_relative_claude_config_dir_is_refused(home: Path) -> None:
    """Hostile input: a project's settings could point it at themselves."""
    error = refusal({"HOME": str(home), "CLAUDE_CONFIG_DIR": "cfg"})
    assert error.code is Code.ENV_UNTRUSTED
    assert "CLAUDE_CONFIG_DIR" in error.message


def test_a_store_may_be_named(home: Path, project: Path) -> None:
    """``--store`` is relative to the working directory; no variable can move the store (design)."""
    assert loaded(home, store="s/../t").store == str(project / "t")
    assert loaded(home, store="/abs").store == "/abs"
    assert loaded(home, STRAVINSKY_STORE="/evil", STRAVINSKY_ROLLBACK_STORE="/evil").store == str(
        home / ".stravinsky/rollback"
    )


def test_a_session_id_is_kept_short(home: Path) -> None:
    """Hostile input: a variable of any length must not fill the audit."""
    assert loaded(home, CLAUDE_CODE_SESSION_ID="s" * 1000).session_id == "s" * 200


CHILD = """
import os, sys
from stravinsky_rollback_mcp.config import load
from stravinsky_rollback_mcp.errors import RollbackError

if sys.argv[1] != "-":
    os.chdir(sys.argv[1])
    os.rmdir(sys.argv[1])
try:
    print(load({"HOME": sys.argv[2]}, for_terminal=True).view.project)
except RollbackError as error:
    print(error.code, error.message)
"""


def in_a_child(folder: str, home: Path, *options: str, **variables: str) -> str:
    """What a fresh process prints that loads the configuration from a folder that it deletes first."""
    return subprocess.run(
        [sys.executable, *options, "-c", CHILD, folder, home],
        capture_output=True,
        check=True,
        timeout=60,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", **variables},
        text=True,
    ).stdout.strip()


def test_a_deleted_working_directory_is_refused(home: Path, tmp_path: Path) -> None:
    """A session whose folder was removed gets a sentence, not a traceback (design)."""
    (tmp_path / "gone").mkdir()
    assert in_a_child(str(tmp_path / "gone"), home) == "env_untrusted the working directory was deleted."


def test_an_encoding_that_loses_names_is_refused(home: Path) -> None:
    """Hostile input: under a Latin-1 locale names would be stored as other names."""
    answer = in_a_child("-", home, "-X", "utf8=0", LC_ALL="en_US.ISO-8859-1", PYTHONCOERCECLOCALE="0")
    if "env_untrusted" not in answer:
        answer = in_a_child("-", home, "-X", "utf8=0", LC_ALL="POSIX", PYTHONCOERCECLOCALE="0")
    if "env_untrusted" not in answer:
        pytest.skip("no locale here makes this Python read names as anything but UTF-8")
    assert "file names are read as" in answer


# --- the project ---------------------------------------------------------------------------------------------------


def test_claude_project_dir_names_the_project(home: Path, project: Path, tmp_path: Path) -> None:
    """Claude Code says which project, ``--project`` says it louder; links are resolved (design)."""
    build(tmp_path, {"other": {}, "third": {}, "link": Link("other")})
    assert loaded(home, CLAUDE_PROJECT_DIR=str(tmp_path / "link")).view.project == str(tmp_path / "other")
    assert loaded(home, CLAUDE_PROJECT_DIR="../third").view.project == str(tmp_path / "third")
    assert loaded(home, CLAUDE_PROJECT_DIR="").view.project == str(project)
    config = loaded(home, project="../third", CLAUDE_PROJECT_DIR=str(tmp_path / "other"))
    assert config.view.project == str(tmp_path / "third")


@pytest.mark.parametrize("name", ["gone", "file", "loop", "~root", "\x1b[31m"])
def test_a_project_that_is_no_folder_is_refused(home: Path, project: Path, name: str) -> None:
    """Hostile input: missing, a file, links in a circle, a shell's shorthand."""
    build(project, {"file": "x", "loop": Link("loop")})
    for error in (refusal({"HOME": str(home)}, project=name), refusal({"HOME": str(home), "CLAUDE_PROJECT_DIR": name})):
        assert error.code is Code.INVALID_ARGUMENT
        assert "\x1b" not in str(error)


@pytest.mark.parametrize("how", ["project", "link", "cwd", "config dir"])
def test_home_as_a_project_is_one_scope(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Where user and project resolve alike nothing is backed up twice, and local settings are kept (design)."""
    (home / ".claude").mkdir()
    (tmp_path / "link").symlink_to(home)
    match how:
        case "project":
            config = loaded(home, project=str(home))
        case "link":
            config = loaded(tmp_path / "link", project=str(home))
        case "cwd":
            monkeypatch.chdir(home)
            config = loaded(home)
        case _:
            build(tmp_path, {"app": {".claude": {}}})
            config = loaded(home, project=str(tmp_path / "app"), CLAUDE_CONFIG_DIR=str(tmp_path / "app/.claude"))
    assert (config.view.project, config.view.project_root) == (None, None)
    assert ids(config) == {f"user.{component.name}" for component in COMPONENTS}
    (root_memory,) = (target for target in config.view.targets if target.component == "root_memory")
    folder = tmp_path / "link" if how == "link" else tmp_path / "app" if how == "config dir" else home
    assert root_memory.path == f"{folder}/CLAUDE.md"


def test_a_linked_claude_folder_is_one_scope(home: Path, project: Path) -> None:
    """A project whose .claude is a link to the person's own is not a second scope (design)."""
    (home / ".claude").mkdir()
    (project / ".claude").symlink_to(home / ".claude")
    assert loaded(home).view.project is None


def test_local_settings_lie_at_the_git_root(home: Path, project: Path) -> None:
    """A worktree's .git is a file; without git they lie in the project (design)."""
    build(project, {".git": "gitdir: elsewhere\n", "packages": {"app": {}}})
    app = project / "packages/app"
    paths = {target.id: target.path for target in loaded(home, project=str(app)).view.targets}
    assert paths["project.local_settings"] == str(project / ".claude/settings.local.json")
    assert paths["project.settings"] == str(app / ".claude/settings.json")
    (project / ".git").unlink()
    paths = {target.id: target.path for target in loaded(home, project=str(app)).view.targets}
    assert paths["project.local_settings"] == str(app / ".claude/settings.local.json")


def found_from(monkeypatch: pytest.MonkeyPatch, home: Path, cwd: Path) -> str | None:
    """The project that the terminal finds from a working directory."""
    monkeypatch.chdir(cwd)
    return loaded(home, for_terminal=True).view.project


def test_the_terminal_finds_the_nearest_claude_folder(
    home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearest ancestor with .claude, before any git root (design)."""
    build(project, {".git": {}, ".claude": {}, "a": {".claude": {}, "b": {"c": {}}}, "d": {"e": {}}})
    assert found_from(monkeypatch, home, project / "a/b/c") == str(project / "a")
    assert found_from(monkeypatch, home, project / "a") == str(project / "a")
    assert found_from(monkeypatch, home, project / "d/e") == str(project)


def test_the_terminal_takes_the_git_root_else_the_folder(
    home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without .claude the git root, without git the working directory; a file named .claude is none."""
    build(project, {"repo": {".git": {}, "a": {"b": {}}}, "plain": {"c": {}, ".claude": "a file"}})
    assert found_from(monkeypatch, home, project / "repo/a/b") == str(project / "repo")
    assert found_from(monkeypatch, home, project / "plain/c") == str(project / "plain/c")


@pytest.mark.parametrize("linked", [False, True], ids=["home", "linked home"])
def test_the_persons_own_claude_folder_is_no_project(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, linked: bool
) -> None:
    """The search ends below the home, also where HOME is a link to it, as the working directory never is."""
    build(home, {".claude": {}, "work": {"app": {"src": {}}}})
    (tmp_path / "link").symlink_to(home)
    assert found_from(monkeypatch, tmp_path / "link" if linked else home, home / "work/app/src") == str(
        home / "work/app/src"
    )
    build(home, {"work": {".claude": {}}})
    assert found_from(monkeypatch, tmp_path / "link" if linked else home, home / "work/app/src") == str(home / "work")


def test_the_server_does_not_search(home: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a session the project is what Claude Code says, else exactly the working directory (design)."""
    build(project, {".claude": {}, "a": {}})
    monkeypatch.chdir(project / "a")
    assert loaded(home).view.project == str(project / "a")


# --- limits --------------------------------------------------------------------------------------------------------

NUMBERS = [key for key, value in DEFAULTS.items() if type(value) is int]
TRUTHS = [key for key, value in DEFAULTS.items() if type(value) is bool]
GUARDS = [
    *("backup.verify_on_creation", "update.pre_update_checks_enabled", "update.post_update_verification_enabled"),
    *("update.auto_rollback_on_failure", "audit.enable_audit_logging", "audit.tamper_detection_enabled"),
    "safety.fail_safe_on_backup_error",
]


def variable(key: str) -> str:
    """The variable that overrides a field."""
    return f"STRAVINSKY_{key.replace('.', '_')}".upper()


def set_in(config: Config, key: str) -> object:
    """The value of one field."""
    section, _, field = key.partition(".")
    return getattr(getattr(config.policy, section), field)


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "1.5",
        "1e3",
        " 1",
        "1 ",
        "+1",
        "0x10",
        "1_000",
        "\u0661",
        "many",
        "true",
        "1000000000",
        "9" * 5000,
    ],
    ids=lambda value: ascii(value)[:14],
)
def test_bad_variables_are_refused_by_name(home: Path, key: str, value: str) -> None:
    """Hostile input: no value is guessed, no default silently taken, and the value is not repeated."""
    error = refusal({"HOME": str(home), variable(key): value})
    assert error.code is Code.INVALID_ARGUMENT
    assert variable(key) in error.message
    assert len(error.message) < 200


ZERO_IS_FINE = (
    "backup.spot_check_percentage",
    "recovery.recovery_retry_delay_seconds",
    "safety.disk_space_threshold_mb",
)


@pytest.mark.parametrize("key", NUMBERS)
def test_nothing_is_only_a_number_where_it_means_something(home: Path, key: str) -> None:
    """No check, no wait and no reserve are choices; no backups at all and no entries are not."""
    if key in ZERO_IS_FINE:
        assert set_in(overridden(home, key, "0"), key) == 0
    else:
        assert refusal({"HOME": str(home), variable(key): "0"}).code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("key", TRUTHS)
@pytest.mark.parametrize("value", ["1", "0", "yes", "", "on", " true"])
def test_truth_is_true_or_false(home: Path, key: str, value: str) -> None:
    """``true`` and ``false`` in any case, and nothing that only looks like them (design)."""
    error = refusal({"HOME": str(home), variable(key): value})
    assert error.code is Code.INVALID_ARGUMENT
    assert variable(key) in error.message


@pytest.mark.parametrize("key", TRUTHS)
def test_the_environment_switches_off_no_protection(home: Path, key: str) -> None:
    """A project's settings can set variables: verification, audit and automatic rollback stay on, and it is said."""
    config = overridden(home, key, "False")
    assert set_in(config, key) is (key in GUARDS)
    assert [warning for warning in config.warnings if variable(key) in warning] == list(config.warnings)
    assert bool(config.warnings) is (key in GUARDS)
    assert set_in(overridden(home, key, "TRUE"), key) is True


def test_the_short_names_are_fields_too(home: Path) -> None:
    """``STRAVINSKY_AUTO_ROLLBACK`` and ``STRAVINSKY_AUDIT_RETENTION_DAYS`` (contract)."""
    config = loaded(home, STRAVINSKY_AUDIT_RETENTION_DAYS="7", STRAVINSKY_AUTO_ROLLBACK="false")
    assert config.policy.audit.log_retention_days == 7
    assert config.policy.update.auto_rollback_on_failure
    assert "STRAVINSKY_AUTO_ROLLBACK" in config.warnings[0]


@pytest.mark.parametrize("key", GUARDS)
def test_the_file_may_switch_protection_off(home: Path, key: str) -> None:
    """It is the person's own, and lies outside every project."""
    section, _, field = key.partition(".")
    stored(home, {"version": "1.0", section: {field: False}})
    assert set_in(loaded(home), key) is False


def test_compression_is_what_tar_reads_everywhere(home: Path) -> None:
    """A word that is not known is refused with those that are."""
    stored(home, {"version": "1.0", "backup": {"compression": "zstd"}})
    error = refusal({"HOME": str(home)})
    assert "backup.compression" in error.message
    assert "gzip" in error.message


def test_variables_stand_above_the_file(home: Path) -> None:
    """Default, then ``config.json``, then the environment."""
    stored(home, {"version": "1.0", "backup": {"max_entries": 7, "max_file_size_mb": 2}, "safety": {}})
    config = loaded(home, STRAVINSKY_BACKUP_MAX_ENTRIES="9", STRAVINSKY_SAFETY_LOCK_TIMEOUT_SECONDS="1")
    assert (config.limits.max_entries, config.limits.max_file_size_bytes) == (9, 2 << 20)
    assert config.policy.safety.lock_timeout_seconds == 1
    assert loaded(home).limits.max_entries == 7
    assert loaded(home, store=f"{home}/elsewhere").limits.max_entries == 200_000


@pytest.mark.parametrize(
    ("content", "named", "hint"),
    [
        ({"version": "1.0", "backup": {"max_entires": 1}}, "backup.max_entires", "backup.max_entries"),
        ({"version": "1.0", "backup": {"max_file_size": 1}}, "backup.max_file_size", "backup.max_file_size_mb"),
        ({"version": "1.0", "bakcup": {}}, "bakcup", "backup"),
        ({"version": "1.0", "safety": {"lock_timeout": 1}}, "safety.lock_timeout", "safety.lock_timeout_seconds"),
        ({"version": "1.0", "safety": {"\x1b[31m": 1}}, "safety.", "safety.lock_timeout_seconds"),
        ({"version": "1.0", "backup": {"max_entries": "7"}}, "backup.max_entries", "correct"),
        ({"version": "1.0", "backup": {"max_entries": 7.0}}, "backup.max_entries", "correct"),
        ({"version": "1.0", "backup": {"max_entries": True}}, "backup.max_entries", "correct"),
        ({"version": "1.0", "backup": {"max_entries": None}}, "backup.max_entries", "correct"),
        ({"version": "1.0", "backup": {"max_entries": 0}}, "backup.max_entries", "correct"),
        ({"version": "1.0", "safety": {"lock_timeout_seconds": 10**400}}, "safety.lock_timeout_seconds", "correct"),
        ({"version": "1.0", "backup": {"max_depth": 100_000}}, "backup.max_depth", "correct"),
        ({"version": "1.0", "backup": {"on_session_start": 1}}, "backup.on_session_start", "correct"),
        ({"version": "1.0", "backup": []}, "backup", "correct"),
        ("{", "config.json", "mend"),
        ('{"version": "1.0", "version": "1.0"}', "duplicate", "mend"),
        ('{"version": "1.0", "backup": {"max_entries": NaN}}', "NaN", "mend"),
        ("[" * 100_000, "config.json", "mend"),
        (b"\xef\xbb\xbf{}", "config.json", "mend"),
        ("[]", "config.json", "mend"),
        (b" " * (1 << 21) + b"{}", "config.json", "mend"),
    ],
    ids=lambda value: ascii(value)[:60] if not isinstance(value, str) or len(value) > 40 else value,
)
def test_bad_files_are_refused_by_name(
    home: Path, content: str | bytes | dict[str, object], named: str, hint: str
) -> None:
    """Hostile input: unknown fields with the nearest known one, wrong types, no JSON."""
    stored(home, content)
    error = refusal({"HOME": str(home)})
    assert error.code is Code.INVALID_ARGUMENT
    assert named in error.message
    assert hint in error.hint
    assert "\x1b" not in str(error)


@pytest.mark.parametrize(
    "content", [{}, {"version": "2.0"}, {"version": 1.0}, {"backup": {"max_entries": 1}}], ids=repr
)
def test_files_of_another_version_are_refused(home: Path, content: dict[str, object]) -> None:
    """A newer file is not half understood (design)."""
    stored(home, content)
    assert refusal({"HOME": str(home)}).code is Code.UNSUPPORTED_VERSION


def test_a_file_that_cannot_be_read_is_refused(home: Path) -> None:
    """What limits a person set must not be lost by a broken disk or a folder in the way."""
    build(home, {".stravinsky": {"rollback": {"config.json": {}}}})
    assert refusal({"HOME": str(home)}).code is Code.STORE_UNTRUSTED


def test_project_files_are_never_our_configuration(home: Path, project: Path) -> None:
    """Hostile input: a repository that ships a store or a config of ours changes nothing."""
    evil = json.dumps({"version": "1.0", "backup": {"max_entries": 1}})
    build(
        project,
        {".stravinsky": {"rollback": {"config.json": evil}}, "config.json": evil, ".claude": {"config.json": evil}},
    )
    assert loaded(home).limits.max_entries == 200_000
    assert os.getcwd() == str(project)


def test_a_fifo_in_place_of_config_json_does_not_hold_the_start(home: Path) -> None:
    """Hostile input: anything may lie there; the start says so at once instead of waiting for a writer."""
    store = home / ".stravinsky" / "rollback"
    store.mkdir(parents=True)
    os.mkfifo(store / "config.json")
    with pytest.raises(RollbackError) as refused:
        load(os.environ, for_terminal=True)
    assert refused.value.code in (Code.INVALID_ARGUMENT, Code.STORE_UNTRUSTED, Code.UNSUPPORTED_VERSION)
