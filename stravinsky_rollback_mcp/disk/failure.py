"""What an error of the operating system means for the caller, by its number."""

import errno
import os

from stravinsky_rollback_mcp.errors import Code, RollbackError

_CODES = {
    errno.ENOSPC: Code.NO_SPACE,
    errno.EDQUOT: Code.NO_SPACE,
    errno.EFBIG: Code.NO_SPACE,
    errno.EXDEV: Code.CROSS_DEVICE,
    errno.EBUSY: Code.CROSS_DEVICE,
    errno.EACCES: Code.UNWRITABLE,
    errno.EPERM: Code.UNWRITABLE,
    errno.EROFS: Code.UNWRITABLE,
    errno.EIO: Code.UNWRITABLE,
    errno.ENOTDIR: Code.UNSAFE_PATH,
    errno.ELOOP: Code.UNSAFE_PATH,
    errno.EEXIST: Code.STATE_CHANGED,
}
_HINTS = {
    Code.NO_SPACE: "free space on that file system and try again.",
    Code.CROSS_DEVICE: "the path is or holds a mount point; unmount it, or change what is inside by hand.",
    Code.UNWRITABLE: "give yourself write permission on that folder, see that the disk is healthy, then try again.",
    Code.UNSAFE_PATH: "something replaced a folder on the way by a link or a file; look at that path, then try again.",
}


def failure(error: OSError, operation: str, path: str) -> RollbackError:
    """The refusal that stands for an ``OSError`` met while changing ``path``; raise it ``from`` the error."""
    code = _CODES.get(error.errno or 0, Code.INTERNAL)
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return RollbackError(code, f"{operation} failed on {path}: {reason}.", _HINTS.get(code, "try again."))
