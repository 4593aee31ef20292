"""What the project says of itself elsewhere: registry entry, example configuration, README; all tell the same."""

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema

from stravinsky_rollback_mcp import server

REPOSITORY = Path(__file__).resolve().parent.parent

# The rules of the registry's schema of 2025-12-11 for a package on PyPI that speaks stdio, written out.
_INPUT = {
    "type": "object",
    "required": ["name", "description"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "description": {"type": "string"},
        "format": {"enum": ["string", "number", "boolean", "filepath"]},
        "isRequired": {"type": "boolean"},
        "isSecret": {"type": "boolean"},
        "default": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "string"}},
        "type": {"enum": ["named", "positional"]},
    },
    "additionalProperties": False,
}
REGISTRY_RULES = {
    "type": "object",
    "required": ["$schema", "name", "description", "version", "packages"],
    "properties": {
        "$schema": {"const": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"},
        "name": {"type": "string", "pattern": r"^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$", "minLength": 3, "maxLength": 200},
        "title": {"type": "string", "minLength": 1, "maxLength": 100},
        "description": {"type": "string", "minLength": 1, "maxLength": 100},
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$", "maxLength": 255},
        "packages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["registryType", "identifier", "transport", "version"],
                "properties": {
                    "registryType": {"const": "pypi"},
                    "registryBaseUrl": {"const": "https://pypi.org"},
                    "identifier": {"type": "string"},
                    "version": {"type": "string", "not": {"const": "latest"}},
                    "runtimeHint": {"const": "uvx"},
                    "transport": {"const": {"type": "stdio"}},
                    "packageArguments": {"type": "array", "items": _INPUT},
                    "environmentVariables": {"type": "array", "items": _INPUT},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}


def _json(name: str) -> Any:
    return json.loads((REPOSITORY / name).read_text(encoding="utf-8"))


def test_the_registry_entry_follows_the_registry_rules() -> None:
    """The registry's schema of 2025-12-11."""
    validator: Any = jsonschema.Draft202012Validator(REGISTRY_RULES)
    assert [error.message for error in validator.iter_errors(_json("server.json"))] == []


def test_the_version_is_the_same_everywhere() -> None:
    """A registry entry that names another version than the package is refused at publication."""
    entry = _json("server.json")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = {entry["version"], entry["packages"][0]["version"], project["version"], version("stravinsky-rollback-mcp")}
    assert len(said) == 1


def test_the_readme_carries_the_mark_by_which_the_registry_knows_the_owner() -> None:
    """The registry looks for `mcp-name:` in the package's README."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert f"mcp-name: {_json('server.json')['name']} " in readme


def test_the_registry_entry_names_options_that_exist() -> None:
    """An argument in server.json is passed to the console script as it stands."""
    source = (REPOSITORY / "stravinsky_rollback_mcp" / "server" / "__init__.py").read_text(encoding="utf-8")
    options = set(re.findall(r'add_argument\("(--[a-z-]+)"', source))
    assert {item["name"] for item in _json("server.json")["packages"][0]["packageArguments"]} <= options


def test_the_example_project_registers_in_mcp_json_and_only_talks_about_it_in_settings() -> None:
    """Claude Code ignores `mcpServers` in settings; a settings file holds rules and approvals alone."""
    servers = _json("examples/project/.mcp.json")["mcpServers"]
    settings = _json("examples/project/.claude/settings.json")
    assert "mcpServers" not in settings
    assert settings["enabledMcpjsonServers"] == list(servers) == [server.NAME]
    tools = {f"mcp__{server.NAME}__{tool.name}": tool for tool in server.TOOLS}
    allowed, asked = settings["permissions"]["allow"], settings["permissions"]["ask"]
    assert {*allowed, *asked} == set(tools)
    assert not any(tools[name].destructive for name in allowed)
    assert all(tools[name].destructive for name in asked)


def test_the_readme_names_every_tool() -> None:
    """A tool that the README does not tell of is not documented."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{tool.name}` |" in readme for tool in server.TOOLS)
