"""The complete check of archived logs: every line of every archive that the log names, and the files as such."""

from collections.abc import Mapping
from contextlib import closing

from stravinsky_rollback_mcp.core.codec import chain
from stravinsky_rollback_mcp.core.codec.opening import Archived, Opening
from stravinsky_rollback_mcp.disk.audit_archive import DamagedArchiveError, LogArchive
from stravinsky_rollback_mcp.disk.audit_lines import Archives, Prefix


def problem_of_archives(
    archives: Archives, opening: Opening, prefix: Prefix, expected: Mapping[int, str]
) -> tuple[int, str] | None:
    """The first bad record before the log and what is wrong with it, or None.

    ``expected`` are hashes of records that are known from elsewhere. The log itself, which names the archives, has
    been checked; when retention removed archives it says so, and with which record the chain goes on.
    """
    if opening.broken is not None:
        return None  # begun anew: nothing before it is claimed
    first, prev = prefix.first_seq, prefix.before
    if opening.archives:
        first, prev = opening.archives[0].first_seq, opening.archives[0].prev
    try:
        if first != opening.removed_to + 1:
            raise _BadError(opening.removed_to + 1, f"the archives before record {first} are not named")
        if first == 1 and prev != chain.GENESIS:
            raise _BadError(1, "the first record of all does not begin the chain")
        after = (*(item.prev for item in opening.archives), prefix.before)[1:]
        for item, follows in zip(opening.archives, after, strict=False):
            _check(archives.path(item), item, follows, expected)
            first = item.last_seq + 1
        if first != prefix.first_seq:
            raise _BadError(first, f"the archives end before record {first}, and the log begins later")
    except _BadError as bad:
        return bad.seq, bad.problem
    return None


class _BadError(Exception):
    """The first bad record, and what is wrong with it."""

    def __init__(self, seq: int, problem: str) -> None:
        super().__init__(seq, problem)
        self.seq = seq
        self.problem = problem


def _check(path: str, item: Archived, follows: str, expected: Mapping[int, str]) -> None:
    """One archive; ``follows`` is the hash of its last record as the record after it has it. Raises ``_BadError``."""
    seq, prev = item.first_seq - 1, item.prev
    try:
        with closing(LogArchive(path)) as archive:
            for line in archive.lines():
                found = chain.check_line(line, prev, seq + 1)
                if found is None:
                    raise _BadError(seq + 1, chain.line_problem(line, prev, seq + 1))
                seq, prev = seq + 1, found
                if expected.get(seq, prev) != prev:
                    raise _BadError(seq, f"record {seq} is not the one that was there before")
            if seq != item.last_seq:
                last = min(seq, item.last_seq)
                raise _BadError(last + 1, f"the archive ends with record {seq}, not {item.last_seq}")
            if prev != follows:
                raise _BadError(seq + 1, f"the record in place {seq + 1} does not follow on the one before it")
            if archive.sha256() != item.sha256:
                raise _BadError(item.first_seq, "the archive holds its records, but is not the file that was written")
    except DamagedArchiveError as error:
        raise _BadError(seq + 1, str(error)) from error
