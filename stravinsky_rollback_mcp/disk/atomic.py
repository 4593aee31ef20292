"""The only door through which the package changes a disk.

Every mutating call is a method of ``Files``: it counts itself, lets an observer look first (tests crash or fail
the N-th call there), refuses to run out of order, and turns ``OSError`` into a ``RollbackError`` that names the
operation and the path. What is durable after which call: bytes after ``fsync`` of the file, names after ``fsync``
of their directory, a whole subtree after ``sync_tree``.
"""

import ctypes
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress

from stravinsky_rollback_mcp.disk.failure import failure
from stravinsky_rollback_mcp.errors import Code, RollbackError

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
# What the kernel answers where a flag of renameat2 is not known on that file system (FUSE, NFS, old kernels, seccomp).
_FLAG_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})

_TEMPORARY = re.compile(r".+\.[0-9a-f]{8}\.tmp", re.DOTALL)

Observer = Callable[[str, str], None]


def _unobserved(operation: str, path: str) -> None:
    """The observer of a production run: nothing watches."""


class _Libc:
    """The two system calls that Python does not offer, looked up once on first use."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self.renameat2 = getattr(library, "renameat2", None)
        self.syncfs = getattr(library, "syncfs", None)


class Files:
    """All mutating file operations, counted and ordered.

    ``phase`` is the durable state of the journal, kept by ``disk/journal.py``. Live targets change only while it is
    PREPARED, and slots are deleted only while it is not: an exchange without a durable plan back, or a deletion of
    the only old tree, is a programming error that must stop at once.
    """

    def __init__(self, observe: Observer = _unobserved) -> None:
        self._observe = observe
        self._libc: _Libc | None = None
        self.operations = 0
        self.phase: str | None = None

    def _begin(self, operation: str, path: str) -> None:
        self.operations += 1
        self._observe(operation, path)

    # -- plain files and folders ------------------------------------------------------------------------------

    def make_folder(self, path: str, mode: int, *, dir_fd: int | None = None) -> None:
        """Create one folder with exactly ``mode``, whatever the umask says. Raises when it exists."""
        try:
            self._begin("mkdir", path)
            os.mkdir(path, PRIVATE_FOLDER, dir_fd=dir_fd)
            if mode != PRIVATE_FOLDER:
                self._begin("chmod", path)
                os.chmod(path, mode, dir_fd=dir_fd)
        except OSError as error:
            raise failure(error, "creating a folder", path) from error

    def ensure_folder(self, path: str) -> None:
        """Make one private folder durable, unless another process or thread just did."""
        try:
            self._begin("mkdir", path)
            with suppress(FileExistsError):
                os.mkdir(path, PRIVATE_FOLDER)
        except OSError as error:
            raise failure(error, "creating a folder", path) from error
        self.sync_folder(os.path.dirname(path))

    def create(self, path: str, mode: int, *, dir_fd: int | None = None) -> int:
        """A write-only handle to a new regular file with exactly ``mode``. Raises when the name is taken."""
        try:
            self._begin("create", path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(path, flags, PRIVATE_FILE, dir_fd=dir_fd)
        except OSError as error:
            raise failure(error, "creating a file", path) from error
        if mode != PRIVATE_FILE:
            try:
                self._begin("fchmod", path)
                os.fchmod(handle, mode)
            except OSError as error:
                os.close(handle)
                raise failure(error, "setting the mode", path) from error
        return handle

    def open_append(self, path: str) -> int:
        """A read-write handle, with ``O_APPEND``, to a file that is created private when missing."""
        try:
            self._begin("open_append", path)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(path, flags, PRIVATE_FILE)
        except OSError as error:
            raise failure(error, "opening", path) from error

    def write(self, handle: int, content: bytes | memoryview, path: str) -> None:
        """Write all of ``content``; a short write goes on, an error leaves what was written."""
        view = memoryview(content)
        try:
            while view:
                self._begin("write", path)
                view = view[os.write(handle, view) :]
        except OSError as error:
            raise failure(error, "writing", path) from error

    def truncate(self, handle: int, size_bytes: int, path: str) -> None:
        """Cut an open file to ``size_bytes``."""
        try:
            self._begin("truncate", path)
            os.ftruncate(handle, size_bytes)
        except OSError as error:
            raise failure(error, "cutting", path) from error

    def fsync(self, handle: int, path: str) -> None:
        """Make the bytes of an open file, or the names of an open folder, durable."""
        try:
            self._begin("fsync", path)
            os.fsync(handle)
        except OSError as error:
            raise failure(error, "flushing", path) from error

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable. A file system that has no such call (EINVAL) is tolerated."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise failure(error, "opening a folder", path) from error
        try:
            self._begin("fsync", path)
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise failure(error, "flushing a folder", path) from error
        finally:
            os.close(handle)

    def sync_file_system(self, path: str) -> None:
        """Make everything written so far to the file system of ``path`` durable, in one call."""
        syncfs = self._system().syncfs
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise failure(error, "opening", path) from error
        try:
            self._begin("syncfs", path)
            if syncfs is None:
                os.sync()  # macOS has no syncfs; sync() is the nearest call that covers a subtree
            elif syncfs(handle) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        except OSError as error:
            raise failure(error, "flushing the file system", path) from error
        finally:
            os.close(handle)

    def set_mode(self, path: str, mode: int, *, dir_fd: int | None = None) -> None:
        """Set the permission bits of a file or folder that this process created."""
        try:
            self._begin("chmod", path)
            os.chmod(path, mode, dir_fd=dir_fd)
        except OSError as error:
            raise failure(error, "setting the mode", path) from error

    def set_time(self, path: str, mtime_ns: int, *, dir_fd: int | None = None) -> None:
        """Set access and modification time of an entry, links themselves included."""
        try:
            self._begin("utime", path)
            os.utime(path, ns=(mtime_ns, mtime_ns), dir_fd=dir_fd, follow_symlinks=False)
        except OSError as error:
            raise failure(error, "setting the time", path) from error

    def set_mode_of(self, handle: int, mode: int, path: str) -> None:
        """Set the permission bits of an open file or folder that this process created."""
        try:
            self._begin("fchmod", path)
            os.fchmod(handle, mode)
        except OSError as error:
            raise failure(error, "setting the mode", path) from error

    def set_time_of(self, handle: int, mtime_ns: int, path: str) -> None:
        """Set access and modification time of an open file or folder."""
        try:
            self._begin("futimens", path)
            os.utime(handle, ns=(mtime_ns, mtime_ns))
        except OSError as error:
            raise failure(error, "setting the time", path) from error

    def set_attribute(self, handle: int, name: str, value: bytes, path: str) -> bool:
        """Set an extended attribute of an open file or folder; False where the file system keeps none of that kind."""
        try:
            self._begin("setxattr", path)
            os.setxattr(handle, name, value)
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.EOPNOTSUPP, errno.E2BIG, errno.ERANGE):
                return False
            raise failure(error, "setting an extended attribute", path) from error
        return True

    def symlink(self, text: str, path: str, *, dir_fd: int | None = None) -> None:
        """Make a symbolic link with that text."""
        try:
            self._begin("symlink", path)
            os.symlink(text, path, dir_fd=dir_fd)
        except OSError as error:
            raise failure(error, "making a link", path) from error

    def hard_link(self, source: str, path: str, *, source_dir_fd: int | None = None, dir_fd: int | None = None) -> bool:
        """Give ``source`` a second name; False where the system refuses links (the caller then copies)."""
        try:
            self._begin("link", path)
            os.link(source, path, src_dir_fd=source_dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EXDEV):
                return False
            raise failure(error, "linking", path) from error
        return True

    def remove_file(self, path: str, *, dir_fd: int | None = None) -> None:
        """Remove a name that is not a folder; a name that is already gone is fine."""
        try:
            self._begin("unlink", path)
            with suppress(FileNotFoundError):
                os.unlink(path, dir_fd=dir_fd)
        except OSError as error:
            raise failure(error, "removing", path) from error

    def remove_folder(self, path: str, *, dir_fd: int | None = None) -> None:
        """Remove an empty folder; one that is already gone is fine."""
        try:
            self._begin("rmdir", path)
            with suppress(FileNotFoundError):
                os.rmdir(path, dir_fd=dir_fd)
        except OSError as error:
            raise failure(error, "removing a folder", path) from error

    def remove_empty_folder(self, path: str, *, dir_fd: int | None = None) -> None:
        """Remove a folder of ours if nothing was put into it meanwhile."""
        try:
            self._begin("rmdir", path)
            os.rmdir(path, dir_fd=dir_fd)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise failure(error, "removing a folder", path) from error

    def remove_tree(self, path: str, *, dir_fd: int | None = None) -> None:
        """Remove a file or a whole folder that is ours; links inside are removed, never followed."""
        try:
            status = os.lstat(path, dir_fd=dir_fd)
        except FileNotFoundError:
            return
        except OSError as error:
            raise failure(error, "looking at", path) from error
        if not stat.S_ISDIR(status.st_mode):
            self.remove_file(path, dir_fd=dir_fd)
            return
        if status.st_mode & PRIVATE_FOLDER != PRIVATE_FOLDER:
            self.set_mode(path, PRIVATE_FOLDER, dir_fd=dir_fd)
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(path, flags, dir_fd=dir_fd)
        except OSError as error:
            raise failure(error, "opening a folder", path) from error
        try:
            for name in sorted(os.listdir(handle)):
                self.remove_tree(name, dir_fd=handle)
        except OSError as error:
            raise failure(error, "listing", path) from error
        finally:
            os.close(handle)
        self.remove_folder(path, dir_fd=dir_fd)

    def publish(self, temporary: str, path: str) -> None:
        """Rename a finished store object into its place and make the name durable."""
        try:
            self._begin("rename", path)
            os.rename(temporary, path)
        except OSError as error:
            raise failure(error, "publishing", path) from error
        self.sync_folder(os.path.dirname(path))

    def write_file(self, path: str, content: bytes) -> None:
        """Replace a private file by ``content``: readers see the old or the new bytes, and the new ones are durable.

        It does not promise that a crash before the return leaves the old bytes: either may be found.
        """
        temporary = f"{path}.{secrets.token_hex(4)}.tmp"
        try:
            handle = self.create(temporary, PRIVATE_FILE)
            try:
                self.write(handle, content, temporary)
                self.fsync(handle, temporary)
            finally:
                os.close(handle)
            self.publish(temporary, path)
        except RollbackError:
            # The temporary name is random and ours; a second failure here must not hide the first.
            with suppress(RollbackError):
                self.remove_file(temporary)
            raise

    def sweep_temporaries(self, folder: str) -> None:
        """Remove what ``write_file`` left when its process was killed; the caller holds the folder's lock."""
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise failure(error, "listing", folder) from error
        for name in names:
            if _TEMPORARY.fullmatch(name):
                self.remove_file(f"{folder}/{name}")

    # -- live targets -----------------------------------------------------------------------------------------

    def exchange(self, first: str, second: str) -> bool:
        """Swap two names in one atomic step; False where the file system has no such call."""
        self._require_prepared(first)
        return self._renameat2(first, second, _RENAME_EXCHANGE)

    def move(self, source: str, destination: str) -> None:
        """Rename onto a name that must be free; never replaces anything."""
        self._require_prepared(source)
        if self._renameat2(source, destination, _RENAME_NOREPLACE):
            return
        # No NOREPLACE here: a folder never replaces a folder that has entries, and a file is linked, then unlinked.
        try:
            if os.path.isdir(source) and not os.path.islink(source):
                if os.path.lexists(destination):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                self._begin("rename", destination)
                os.rename(source, destination)
            else:
                self._begin("link", destination)
                os.link(source, destination, follow_symlinks=False)
                self._begin("unlink", source)
                os.unlink(source)
        except OSError as error:
            raise failure(error, "moving into place", destination) from error

    def doom_slot(self, slot: str, doomed: str) -> None:
        """Mark a slot as garbage by its name, before it is taken apart."""
        if self.phase == "PREPARED":
            raise RollbackError(Code.INTERNAL, "a slot would be deleted while it may hold the only old tree.")
        try:
            self._begin("rename", doomed)
            os.rename(slot, doomed)
        except OSError as error:
            raise failure(error, "renaming a slot", slot) from error

    def remove_slot(self, path: str) -> None:
        """Delete a staged or displaced tree that a durable record calls garbage."""
        if self.phase == "PREPARED":
            raise RollbackError(Code.INTERNAL, "a slot would be deleted while it may hold the only old tree.")
        self.remove_tree(path)

    def _require_prepared(self, path: str) -> None:
        if self.phase != "PREPARED":
            raise RollbackError(Code.INTERNAL, f"{path} would change without a durable way back.")

    def _renameat2(self, source: str, destination: str, flag: int) -> bool:
        renameat2 = self._system().renameat2
        if renameat2 is None:
            return False
        try:
            self._begin("renameat2", destination)
            result = renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(destination), ctypes.c_uint(flag))
            if result == 0:
                return True
            number = ctypes.get_errno()
            if number in _FLAG_UNSUPPORTED:
                return False
            raise OSError(number, os.strerror(number))
        except OSError as error:
            raise failure(error, "exchanging" if flag == _RENAME_EXCHANGE else "moving", destination) from error

    def _system(self) -> _Libc:
        if self._libc is None:
            self._libc = _Libc()
        return self._libc
