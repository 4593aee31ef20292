"""The complete check of archived logs: every line of every archive that the log names, and the files as such."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace

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
    if first != opening.removed_to + 1:
        return opening.removed_to + 1, f"the archives before record {first} are not named"
    if first == 1 and prev != chain.GENESIS:
        return 1, "the first record of all does not begin the chain"
    seq = first - 1
    for item in opening.archives:
        seq, prev, problem = _check(archives.path(item), replace(item, prev=prev), expected)
        if problem:
            return seq, problem
    if (seq, prev) != (prefix.first_seq - 1, prefix.before):
        return prefix.first_seq, f"the record in place {prefix.first_seq} does not follow on the archives"
    return None


def _check(path: str, item: Archived, expected: Mapping[int, str]) -> tuple[int, str, str]:
    """The last record of an archive and its hash, or the first bad record and (third) what is wrong with it."""
    seq, prev = item.first_seq - 1, item.prev
    try:
        with closing(LogArchive(path)) as archive:
            for line in archive.lines():
                found = chain.check_line(line, prev, seq + 1)
                if found is None:
                    return seq + 1, "", chain.line_problem(line, prev, seq + 1)
                seq, prev = seq + 1, found
                if expected.get(seq, prev) != prev:
                    return seq, "", f"record {seq} is not the one that was there before"
            if seq != item.last_seq:
                return min(seq, item.last_seq) + 1, "", f"the archive ends with record {seq}, not {item.last_seq}"
            if archive.sha256() != item.sha256:
                return item.first_seq, "", "the archive holds its records, but is not the file that was written"
    except DamagedArchiveError as error:
        return seq + 1, "", str(error)
    return seq, prev, ""
