"""What callers get who look after the store and our own configuration: terminal commands alone, no tool does that."""

from pydantic import Field

from stravinsky_rollback_mcp.schema.results import AuditAnchor, Result, Spoken


class Fate(Result):
    version: str = Field(description="The backup")
    action: str = Field(description="keep, remove or quarantine")
    reason: str = Field(description="Why: a word, the field that limits, or the problem found")


class CleanupResult(Spoken):
    applied: bool = Field(description="False on --dry-run, or when there was nothing to do")
    backups: list[Fate] = Field(description="Every backup of the store, newest first")
    freed_bytes: int = Field(description="On disk, shared archives once")
    audit: AuditAnchor = Field(description="The audit's newest record")


class ForgetResult(Spoken):
    applied: bool = Field(description="False on --dry-run")
    versions: list[str] = Field(description="The backup, and all that share an archive with it")
    warnings: list[str] = Field(description="What goes with them")
    audit: AuditAnchor = Field(description="The audit's newest record")


class AdoptResult(Spoken):
    applied: bool = Field(description="False on --dry-run")
    old_project: str = Field(description="The path that the project had")
    project: str = Field(description="The path that it has now")
    versions: list[str] = Field(description="Its backups, newest first")
    warnings: list[str] = Field(description="What speaks against it")
    audit: AuditAnchor = Field(description="The audit's newest record")


class PinResult(Spoken):
    version: str = Field(description="The backup")
    pinned: bool = Field(description="Whether retention leaves it alone")
    audit: AuditAnchor = Field(description="The audit's newest record")


class Setting(Result):
    key: str = Field(description="section.field")
    value: bool | int | str = Field(description="What counts now")
    default: bool | int | str = Field(description="What counts where nothing is set")
    source: str = Field(description="default, config.json, or the name of the variable that overrides it")


class ConfigResult(Spoken):
    fields: list[Setting] = Field(description="All of them, or the one that was set")
    audit: AuditAnchor = Field(description="The audit's newest record")
