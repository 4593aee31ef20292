"""``commands_validity``: what Claude Code takes from the Markdown of commands, skills, agents, styles and rules.

Almost everything loads there, if without its fields; so nothing here is an error. An agent without name or
description, a skill in the wrong place and one of two equal names are left out without a word: warnings. What was
observed of Claude Code 2.1.330 (``claude plugin validate`` and sessions) stands behind each. No value is ever told.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from stravinsky_rollback_mcp.core import keypaths
from stravinsky_rollback_mcp.core.checks import hooks_syntax
from stravinsky_rollback_mcp.core.checks.evidence import Evidence, Folder, SettingsText
from stravinsky_rollback_mcp.core.checks.frontmatter import Frontmatter, State, frontmatter
from stravinsky_rollback_mcp.core.checks.names_clash import Named, clashes
from stravinsky_rollback_mcp.core.checks.positions import positions
from stravinsky_rollback_mcp.core.checks.settings_types import of_schema
from stravinsky_rollback_mcp.core.model import Effect, Finding, Severity
from stravinsky_rollback_mcp.core.scripts import Roots
from stravinsky_rollback_mcp.core.settings import items, load, table

NAME = "commands_validity"
COMPONENTS = frozenset({"commands", "agents", "skills", "output_styles", "rules"})

SKILL = "SKILL.md"
_PLUGIN = ".claude-plugin/plugin.json"  # a folder below `skills` with this is a plugin
_WITHOUT_FIELDS: Mapping[str, str] = {"agents": "so Claude Code does not load this agent"}
_BUILT_IN_STYLES = frozenset({"default", "Concise", "Explanatory", "Learning", "Proactive"})
_MAX_FAULTS = 20  # of the hooks of one head
_ONE_LEVEL, _TWO_LEVELS = 1, 2  # parts of a path


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One Markdown file that Claude Code reads, with its head."""

    folder: Folder
    path: str
    head: Frontmatter


def is_document(component: str, path: str) -> bool:
    """Whether a file of a component, by its path in it, is one whose head matters.

    Of skills that is ``NAME/SKILL.md`` alone, and Markdown beside the folders, which may have been meant as one.
    """
    depth = path.count("/") + 1
    if component == "skills":
        is_beside = depth == _ONE_LEVEL and path.endswith(".md")
        return is_beside or (depth == _TWO_LEVELS and path.endswith(f"/{SKILL}"))
    return path.endswith(".md")


def hooks_of(folders: tuple[Folder, ...], roots: Roots) -> Iterator[hooks_syntax.Hook]:
    """Every command that heads of skills, agents and commands have run."""
    for folder in folders:
        telling = replace(folder, texts={path: text for path, text in folder.texts.items() if b"hooks" in text})
        for document in _documents(telling):
            yield from hooks_syntax.hooks_of({"hooks": document.head.fields.get("hooks")}, roots)


def check(evidence: Evidence) -> tuple[Finding, ...]:
    """The faults of each file, by its path, then names that clash."""
    found: list[Finding] = []
    names: list[Named] = []
    for folder in evidence.folders:
        documents = tuple(_documents(folder))
        found.extend(_of_folder(folder))
        for document in documents:
            found.extend(_of_document(evidence, document))
        names.extend(_names(documents))
    found.extend(_finding(name.folder, name.path, *clash) for name, clash in clashes(names))
    found.extend(_styles(evidence))
    return tuple(found)


def _documents(folder: Folder) -> Iterator[Document]:
    for path in folder.files:
        if is_document(folder.component, path) and path in folder.texts:
            yield Document(folder=folder, path=path, head=frontmatter(folder.texts[path]))


def _finding(
    folder: Folder, path: str, severity: Severity, message: str, fix: str = "", line: int | None = None
) -> Finding:
    return Finding(
        check=NAME,
        severity=severity,
        scope=folder.scope,
        path=folder.shown(path),
        line=line,
        message=message,
        fix=fix,
    )


# -- the files of a folder ------------------------------------------------------------------------------------------


def _of_folder(folder: Folder) -> Iterator[Finding]:
    for path in folder.files:
        if is_document(folder.component, path) and path not in folder.texts:
            yield _finding(folder, path, Severity.INFO, "is too large, or could not be read (not analysable).")
    for path in folder.dangling:
        yield _finding(folder, path, Severity.WARNING, "is a link that leads nowhere.", "mend or remove it.")
    if folder.component == "skills":
        yield from _without_skill(folder)
        return
    for path in folder.links:
        yield _finding(folder, path, Severity.INFO, "is a link to a folder, whose files were not judged.")


def _without_skill(folder: Folder) -> Iterator[Finding]:
    """Folders below ``skills`` from which no skill is loaded."""
    links = {path for path in folder.links if "/" not in path}
    inside: dict[str, set[str]] = {link: set() for link in links}
    for path in folder.files:
        name, _, rest = path.partition("/")
        if rest:
            inside.setdefault(name, set()).add(rest)
    for name, files in sorted(inside.items()):
        if SKILL in files or _PLUGIN in files or name.startswith(("_", ".")):  # by custom, what skills share
            continue
        other_case = next((path for path in sorted(files) if path.upper() == SKILL.upper()), None)
        deeper = next((path for path in sorted(files) if path.endswith(f"/{SKILL}")), None)
        if other_case is not None:
            message = f"is not read: the name must be {SKILL}, in just these letters."
            yield _finding(folder, f"{name}/{other_case}", Severity.WARNING, message, "rename it.")
        elif deeper is not None:
            message = "lies too deep to be loaded as a skill."
            yield _finding(folder, f"{name}/{deeper}", Severity.WARNING, message, "move its folder up to skills/NAME.")
        elif any(path.endswith(".md") for path in files) or name in links:
            yield _finding(folder, name, Severity.WARNING, f"holds no {SKILL}, so no skill is loaded from it.")


# -- one file -------------------------------------------------------------------------------------------------------


def _of_document(evidence: Evidence, document: Document) -> Iterator[Finding]:
    folder, path, head = document.folder, document.path, document.head
    if folder.component == "skills" and "/" not in path:
        if head.fields.get("description"):
            message = f"lies beside the folders of skills, so it is not loaded as one: that is NAME/{SKILL}."
            yield _finding(folder, path, Severity.WARNING, message, "move it into a folder of its own.")
        return
    told = _of_head(folder, head)
    if told is not None:
        yield _finding(folder, path, *told, line=head.line)
    for name, message in _of_fields(head.fields, () if folder.component == "agents" else ("name", "description")):
        yield _finding(folder, path, Severity.WARNING, f"{name} {message}", "mend it.")
    if folder.component == "agents":
        yield from _of_agent(document)
    if folder.component == "commands" and path.rpartition("/")[2] == "README.md":
        yield _finding(folder, path, Severity.INFO, "is a command too: every Markdown file here becomes one.")
    yield from _of_hooks(evidence, document)


def _of_head(folder: Folder, head: Frontmatter) -> tuple[Severity, str, str] | None:
    so = _WITHOUT_FIELDS.get(folder.component, "so Claude Code loads it as if it had none")
    fix = "quote values that hold colons, quotes or brackets."
    match head.state:
        case State.BROKEN:
            return Severity.WARNING, f"its frontmatter is no YAML, {so}.", fix
        case State.NO_TABLE:
            return Severity.WARNING, f"its frontmatter has no fields (name: value), {so}.", fix
        case State.UNCLOSED:
            return Severity.INFO, "begins with --- that nothing closes, so all of it is text.", "close it with ---."
        case State.UNJUDGED:
            return Severity.INFO, "its frontmatter is too long, too deep or has aliases (not analysable).", ""
        case _:
            return None


def _of_fields(fields: Mapping[str, object], texts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in texts:
        value = fields.get(name)
        # A number where a text belongs is taken for one, except as a name.
        if isinstance(value, (list, dict)) or (name == "name" and isinstance(value, int)):
            yield name, "must be a text, so it is dropped."
    tools = fields.get("allowed-tools")
    are_texts = all(isinstance(tool, str) for tool in items(tools))
    if not are_texts or not (tools is None or isinstance(tools, (str, list))):
        yield "allowed-tools", "must be a text or a list of texts."


def _of_agent(document: Document) -> Iterator[Finding]:
    folder, path, head = document.folder, document.path, document.head
    if head.state is State.ABSENT and not path.rpartition("/")[2].removesuffix(".md").isupper():
        yield _finding(folder, path, Severity.INFO, "has no frontmatter, so it is no agent but documentation.")
    if head.state is not State.READ:
        return
    name, description = head.fields.get("name"), head.fields.get("description")
    message = ""
    if not isinstance(name, str) or not name:
        message = "has no name that is a text, so it is no agent but documentation."
    elif ":" in name or name.startswith("-"):
        message = "has a name with a colon, or a hyphen at its beginning, so Claude Code does not load this agent."
    elif not isinstance(description, str) or not description:
        message = "has no description that is a text, so Claude Code does not load this agent."
    if message:
        yield _finding(folder, path, Severity.WARNING, message, "give it a name and a description.")


def _of_hooks(evidence: Evidence, document: Document) -> Iterator[Finding]:
    """The hooks of a head have the form of those in settings; a fault in them concerns this file alone."""
    hooks = document.head.fields.get("hooks")
    if hooks is None:
        return
    folder, path = document.folder, document.path
    for fault in islice(of_schema({"hooks": hooks}, is_restore=True), _MAX_FAULTS):
        message = "is no hook that Claude Code can load." if fault.effect is Effect.DROPPED else fault.message
        pointer = keypaths.pointer(*fault.path)
        yield _finding(folder, path, Severity.WARNING, f"{pointer} {message}", fault.fix)
    file = SettingsText(scope=folder.scope, component=folder.component, path=folder.shown(path), content=b"")
    for hook in hooks_syntax.hooks_of({"hooks": hooks}, evidence.roots):
        for found in hooks_syntax.judged(evidence, file, positions(""), hook, is_off=False):
            severity = Severity.WARNING if found.severity is Severity.ERROR else found.severity
            yield replace(found, check=NAME, severity=severity, effect=Effect.NONE)


# -- names ----------------------------------------------------------------------------------------------------------


def _names(documents: tuple[Document, ...]) -> Iterator[Named]:
    """What each file is called by: commands by their path, skills by their folder, agents by their field."""
    for document in documents:
        folder, path = document.folder, document.path
        name: object = None
        match folder.component:
            case "commands":
                name = path.removesuffix(".md").replace("/", ":")
            case "skills":
                name = path.removesuffix(f"/{SKILL}") if "/" in path else None
            case "agents":
                name = document.head.fields.get("name")
            case _:
                pass
        if isinstance(name, str) and name:
            yield Named(folder=folder, path=path, name=name)


# -- styles ---------------------------------------------------------------------------------------------------------


def _styles(evidence: Evidence) -> Iterator[Finding]:
    """Settings that choose a style which is not there; a plugin may bring styles that nobody here knows."""
    settings = [(file, load(file.content) or {}) for file in evidence.settings]
    folders = [folder for folder in evidence.folders if folder.component == "output_styles"]
    if not folders or any(table(content.get("enabledPlugins")) for _, content in settings):
        return
    known = {_style(document) for folder in folders for document in _documents(folder)} | _BUILT_IN_STYLES
    for file, content in settings:
        style = content.get("outputStyle")
        if isinstance(style, str) and style and style not in known:
            yield Finding(
                check=NAME,
                severity=Severity.WARNING,
                scope=file.scope,
                path=file.path,
                line=positions(file.content.decode("utf-8-sig", "replace")).line(("outputStyle",)),
                message="/outputStyle names no style that is there, so it has no effect.",
                fix="name one of output-styles in just its letters, or remove it.",
            )


def _style(document: Document) -> str:
    """What a style is called by: its field, else its file."""
    name = document.head.fields.get("name")
    return name if isinstance(name, str) and name else document.path.rpartition("/")[2].removesuffix(".md")
