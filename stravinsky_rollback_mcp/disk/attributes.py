"""Extended attributes of files and folders: what a person put there is kept, what cannot be kept is named.

Source: xattr(7). The namespace ``user.`` is anybody's to write; the others belong to the system, which gives a new file
its own (labels), or hold rights that no archive of ours bears (access control lists, capabilities).
"""

import errno
import os
import sys

from stravinsky_rollback_mcp.core.codec.text import name_bytes
from stravinsky_rollback_mcp.core.model import MAX_ATTRIBUTES_BYTES, Attributes
from stravinsky_rollback_mcp.disk.content import ChangedWhileReadError

_OURS = "user."
# What every file has on some systems, whoever made it: no loss, and no warning.
_OF_THE_SYSTEM = frozenset(
    {"security.selinux", "security.ima", "security.evm", "security.SMACK64", "system.nfs4_acl", "btrfs.compression"}
)
_KNOWN = {
    "system.posix_acl_access": "an access control list",
    "system.posix_acl_default": "an access control list",
    "security.capability": "a capability",
}
_NONE_HERE = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES})


def read_attributes(handle: int, path: str) -> tuple[Attributes, tuple[str, ...]]:
    """The attributes of an open file or folder that backups keep, sorted, and what they do not keep, in words.

    Both are empty where the file system has none. Raises ``ChangedWhileReadError``.
    """
    if sys.platform != "linux":
        return (), ()
    kept: list[tuple[str, bytes]] = []
    unkept: set[str] = set()
    try:
        names = os.listxattr(handle)
        for name in sorted(names, key=name_bytes):
            if name.startswith(_OURS):
                kept.append((name, os.getxattr(handle, name)))
            elif name not in _OF_THE_SYSTEM:
                unkept.add(_KNOWN.get(name, f"the attribute {name}"))
    except OSError as error:
        if error.errno in _NONE_HERE:
            return (), ()
        raise ChangedWhileReadError(path) from error
    if sum(len(name_bytes(name)) + len(value) for name, value in kept) > MAX_ATTRIBUTES_BYTES:
        return (), (*sorted(unkept), f"attributes of more than {MAX_ATTRIBUTES_BYTES} bytes")
    return tuple(kept), tuple(sorted(unkept))
