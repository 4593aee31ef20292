"""When a file holds still: the moment from which a stat tells of every further write."""

import fcntl
import os
import signal
import sys
import time

# The clock that time stamps are taken from; Linux's (CLOCK_REALTIME_COARSE, which Python does not name) stands still
# for up to 10 ms (CONFIG_HZ=100).
_STAMP_CLOCK = 5 if sys.platform == "linux" else time.CLOCK_REALTIME
_LONGEST_TICK_NS = 10_000_000
# A single write that began longer ago than this has ended, on a busy machine, too.
_LONGEST_WRITE_NS = 100_000_000
_WAIT_SECONDS = 0.001
_WAITS = 150


def still_moment(handle: int) -> os.stat_result | None:
    """The stat of an open file, taken when any write after it must give another one; None when that moment never came.

    Two writes can hide behind one time stamp, and a torn file would pass for a whole one: a write in the same tick of
    the clock as the last one (Linux before 6.13, and some file systems since), so the tick is waited for; and a long
    write that got its stamp when it began and is still going on, so nobody may have a just changed file open for it.
    """
    for _ in range(_WAITS):
        status = os.fstat(handle)
        age_ns = time.clock_gettime_ns(_STAMP_CLOCK) - status.st_ctime_ns
        was_long_ago = age_ns > _LONGEST_WRITE_NS
        is_in_the_future = age_ns < -_LONGEST_TICK_NS  # the clock was set back: no stamp tells anything
        if was_long_ago or is_in_the_future or (age_ns > 0 and not _is_open_for_writing(handle)):
            return status
        time.sleep(_WAIT_SECONDS)
    return None


def _is_open_for_writing(handle: int) -> bool:
    """Whether any process has a file open for writing; False where the system cannot tell.

    A read lease is granted only on a file that nobody has open so. It is given back at once; a writer that comes in
    between waits for that, and the signal that would tell us is one that is ignored by default (SIGIO would kill).
    Source: fcntl(2), "Leases".
    """
    if sys.platform != "linux":
        return False
    try:
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:  # somebody else's file, or a file system without leases
        return False
    fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
