"""What a manifest says of the program that wrote it, and of the machine that it ran on."""

import functools
import platform
from importlib import metadata


@functools.cache
def tool_version() -> str:
    """The version of this program, as installed."""
    return metadata.version("stravinsky-rollback-mcp")


def python_version() -> str:
    """The version of the interpreter."""
    return platform.python_version()


def system() -> str:
    """The operating system and its release."""
    return f"{platform.system()} {platform.release()}"
