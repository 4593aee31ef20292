"""``recovery/RECOVERY.md``: in plain words where the trees of a stuck operation lie, and what to type."""

import os
import shlex
from collections.abc import Callable, Iterable, Sequence

from stravinsky_rollback_mcp.core.codec.journal import Journal, JournalTarget, Phase
from stravinsky_rollback_mcp.disk.swap import was_exchanged

Digest = Callable[[JournalTarget, str], str]

_STATES = {
    Phase.STAGING: "Your configuration was not touched; only trees that were being built are left.",
    Phase.PREPARED: "Some targets may be as before and some as they were to become.",
    Phase.COMMITTED: "The operation itself is done and your configuration is as it was to become; "
    "what remains is cleaning up.",
    Phase.ABORTED: "Your configuration is as it was before the operation; what remains is cleaning up.",
}


def trees_of(journal: Journal) -> str:
    """Where the trees of an operation may lie, in one line."""
    return " ".join(
        f"{target.path}: live {target.resolved}, slots {target.new_slot} and {target.old_slot}."
        for target in journal.targets
    )


def explanation(parked: Sequence[Journal], folder: str, digest: Digest) -> str:
    """The whole text, empty when nothing is parked. ``folder`` is the store's ``recovery``."""
    if not parked:
        return ""
    resume = f"stravinsky-rollback recovery resume --store {shlex.quote(os.path.dirname(folder))}"
    parts = [
        "# Something needs you\n",
        "An operation on Claude Code's configuration could be neither finished nor taken back. Nothing was deleted.",
        "The targets named below are left alone until it is ended; everything else works.\n",
        f"Mend the cause that is named (space, permissions, a failing disk), then type:\n\n    {resume}\n",
    ]
    for journal in parked:
        parts.extend(_about(journal, digest, resume))
    return "\n".join(parts)


def _about(journal: Journal, digest: Digest, resume: str) -> Iterable[str]:
    yield f"## {journal.outcome.event_type} of {journal.started_at}\n"
    yield f"Cause: {journal.problem or 'not recorded'}\n"
    yield f"{_STATES[journal.phase]}\n"
    commands: list[str] = []
    for target in journal.targets:
        try:
            lines, needed = _where(journal, target, digest)
        except OSError as error:
            lines, needed = [f"cannot be looked at now ({error.strerror})"], []
        commands.extend(needed)
        yield "\n".join([f"- {target.path} (really {target.resolved})", *(f"  - {line}" for line in lines), ""])
    if commands:
        yield "If `recovery resume` still cannot end it, these commands put everything back as it was before:\n"
        yield "\n".join([*(f"    {command}" for command in [*commands, resume]), ""])


def _where(journal: Journal, target: JournalTarget, digest: Digest) -> tuple[list[str], list[str]]:
    """What lies where, and the commands that bring the old tree back."""
    if journal.phase is not Phase.PREPARED or not target.is_swapped:
        left = [slot for slot in (target.new_slot, target.old_slot) if os.path.lexists(slot)]
        return [f"left over, not live: {slot}" for slot in left] or ["nothing is left over"], []
    live, new, old = target.resolved, target.new_slot, target.old_slot
    kept = f"{new.removesuffix('.new')}.kept"
    has_live, has_new = os.path.lexists(live), os.path.lexists(new)
    if os.path.lexists(old):
        away = [(live, kept if has_new else new)] if has_live else []
        lines = [f"as before: {old}", f"as it was to become: {new if has_new else live}"]
        if has_live and has_new:
            lines.append(f"something else, which appeared meanwhile: {live}")
        return lines, _moves(*away, (old, live))
    if has_new and target.had_old and was_exchanged(target, digest(target, new)):
        if not has_live:
            return [f"as before: {new}", "as it was to become: gone"], _moves((new, live))
        lines = [f"as before: {new}", f"as it was to become: {live}"]
        return lines, _moves((live, kept), (new, live), (kept, new))
    if not has_new and target.want_new and not target.had_old and has_live:
        return ["as before: absent", f"as it was to become: {live}"], _moves((live, new))
    before = live if has_live else "absent"
    return [f"as before: {before}", f"as it was to become: {new if has_new else 'absent'}"], []


def _moves(*moves: tuple[str, str]) -> list[str]:
    return [f"mv {shlex.quote(source)} {shlex.quote(destination)}" for source, destination in moves]
