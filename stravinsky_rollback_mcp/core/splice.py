"""Bringing back one part of a JSON file: the stored bytes of that value, every other byte of the live file as it is.

The decoder of the standard library says where each value ends; nothing is written anew from what was read. Bytes that
are no UTF-8 go through unchanged.
"""

import codecs
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from stravinsky_rollback_mcp.core import keypaths
from stravinsky_rollback_mcp.core.pointer import Pointer, outermost
from stravinsky_rollback_mcp.core.settings import MAX_SETTINGS_BYTES, is_shallow
from stravinsky_rollback_mcp.errors import Code, RollbackError

MAX_POINTERS = 100  # in one file: each is looked up in a document read anew

_SPACE = re.compile(r"[ \t\n\r]*")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def _refuse_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")


# Numbers as JavaScript has them, as in ``settings.load``: no limit of digits.
_DECODER = json.JSONDecoder(parse_int=float, parse_constant=_refuse_constant)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """One member of an object or element of a list: offsets in the text; an element has no name."""

    name: str | None
    start: int
    value_start: int
    end: int
    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class _Container:
    """An object or a list: the offset behind its opening bracket, that of its closing one, and what is between."""

    start: int
    end: int
    is_object: bool
    members: tuple[_Member, ...]


class Document:
    """A JSON file taken apart; ``name`` is what messages call it."""

    def __init__(self, content: bytes, name: str) -> None:
        self.text = content.decode("utf-8", "surrogateescape")
        self.name = name
        self.root = 0
        if len(content) > MAX_SETTINGS_BYTES:
            raise self._broken(f"has more than {MAX_SETTINGS_BYTES} bytes")
        self.root = self._skip(1 if self.text.startswith("\ufeff") else 0)
        value, end = self._value(self.root)
        if self._skip(end) != len(self.text):
            raise self._broken("does not end where its JSON does")
        if not is_shallow(value):
            raise self._broken("is nested too deeply")

    def parent(self, pointer: Pointer) -> _Container | None:
        """What holds, or could hold, the value that a pointer names; None where the way there ends early."""
        at = self.root
        for depth, name in enumerate(pointer):
            container = self._open(at)
            if container is None or depth == len(pointer) - 1:
                return container
            member = self.member(container, pointer[: depth + 1], name)
            if member is None:
                return None
            at = member.value_start
        return None

    def member(self, container: _Container, pointer: Pointer, name: str) -> _Member | None:
        """The member of that name, or the element at that place."""
        if not container.is_object:
            place = int(name) if _INDEX.fullmatch(name) else len(container.members)
            return container.members[place] if place < len(container.members) else None
        found = [member for member in container.members if member.name == name]
        if len(found) > 1:
            raise self._broken(f"has {keypaths.pointer(*pointer)} more than once")
        return found[0] if found else None

    def find(self, pointer: Pointer) -> tuple[_Container, _Member] | None:
        """The value that a pointer names, and what holds it."""
        container = self.parent(pointer)
        member = None if container is None else self.member(container, pointer, pointer[-1])
        return None if container is None or member is None else (container, member)

    def _open(self, at: int) -> _Container | None:
        bracket = self.text[at]
        if bracket not in "{[":
            return None
        is_object = bracket == "{"
        members: list[_Member] = []
        here = self._skip(at + 1)
        while self.text[here] not in "}]":
            if self.text[here] == ",":
                here = self._skip(here + 1)
            start = here
            name = None
            if is_object:
                decoded, here = self._value(here)
                name = str(decoded)
                here = self._skip(self._skip(here) + 1)  # over the colon
            value, end = self._value(here)
            members.append(_Member(name=name, start=start, value_start=here, end=end, value=value))
            here = self._skip(end)
        return _Container(start=at + 1, end=here, is_object=is_object, members=tuple(members))

    def _value(self, at: int) -> tuple[object, int]:
        try:
            return _DECODER.raw_decode(self.text, at)
        except RecursionError as error:
            raise self._broken("is nested too deeply") from error
        except ValueError as error:
            line = self.text.count("\n", 0, error.pos) + 1 if isinstance(error, json.JSONDecodeError) else 0
            raise self._broken(f"is not JSON{f' (line {line})' if line else ''}") from error

    def _skip(self, at: int) -> int:
        space = _SPACE.match(self.text, at)
        return at if space is None else space.end()

    def _broken(self, what: str) -> RollbackError:
        return RollbackError(
            Code.VALIDATION_FAILED,
            f"{self.name} {what}, so no single key of it can be brought back.",
            "bring the whole file back, or mend it first.",
        )


def document(content: bytes | None, name: str) -> Document | None:
    """The file taken apart; None for one that is absent or, as Claude Code accepts it, blank."""
    is_blank = content is None or not content.removeprefix(codecs.BOM_UTF8).strip(b" \t\n\r")
    return None if content is None or is_blank else Document(content, name)


def splice(live: Document | None, stored: Document | None, pointers: Iterable[Pointer]) -> bytes:
    """The bytes of the live file with each named value as the stored file has it; None stands for no file.

    What the stored file lacks becomes absent. What is equal as JSON stays as it is spelt. Raises ``not_found`` where a
    key is in neither file or the live one lacks what should hold it, ``validation_failed`` where a file cannot be
    taken apart or names a key on the way twice.
    """
    chosen = outermost(frozenset(pointers))
    if len(chosen) > MAX_POINTERS:
        raise RollbackError(
            Code.INVALID_ARGUMENT, f"more than {MAX_POINTERS} keys of one file are named.", "name the whole file."
        )
    returning = [pointer for pointer in chosen if stored is not None and stored.find(pointer) is not None]
    # From the end, so that the places of what still has to go stay what they are.
    leaving = [pointer for pointer in reversed(chosen) if pointer not in returning]
    for pointer in (*returning, *leaving):
        live = _spliced(live, stored, pointer)
    return b"" if live is None else live.text.encode("utf-8", "surrogateescape")


def value_at(stored: Document, pointer: Pointer) -> object:
    """What a pointer names, decoded; None where there is nothing."""
    found = stored.find(pointer)
    return None if found is None else found[1].value


def _spliced(live: Document | None, stored: Document | None, pointer: Pointer) -> Document:
    wanted = None if stored is None else stored.find(pointer)
    holder = None if live is None else live.parent(pointer)
    present = None if live is None or holder is None else live.member(holder, pointer, pointer[-1])
    if wanted is None and present is None:
        raise RollbackError(
            Code.NOT_FOUND,
            f"{keypaths.pointer(*pointer)} is neither in the live file nor in the backup's.",
            "see `compare` for the keys that differ.",
        )
    if live is None or holder is None:
        raise _no_place(pointer, whole_file=live is None or len(pointer) == 1)
    if stored is None or wanted is None:
        return _without(live, holder, holder.members.index(present)) if present is not None else live
    container, member = wanted
    value = stored.text[member.value_start : member.end]
    if present is not None:
        is_same = keypaths.is_same(present.value, member.value)
        return live if is_same else _with(live, present.value_start, present.end, value)
    if not holder.is_object and pointer[-1] != str(len(holder.members)):
        raise _no_place(pointer, whole_file=False)
    if holder.is_object:
        spelt = (
            stored.text[member.start : member.value_start] if container.is_object else f"{json.dumps(pointer[-1])}: "
        )
        value = spelt + value
    return _inserted(live, holder, stored, container, member, value)


def _no_place(pointer: Pointer, *, whole_file: bool) -> RollbackError:
    above = "the whole file" if whole_file else f"#{keypaths.pointer(*pointer[:-1])}"
    return RollbackError(
        Code.NOT_FOUND,
        f"the live file has no place for {keypaths.pointer(*pointer)}: what should hold it is missing.",
        f"bring back {above}.",
    )


def _with(live: Document, start: int, end: int, text: str) -> Document:
    made = live.text[:start] + text + live.text[end:]
    return Document(made.encode("utf-8", "surrogateescape"), live.name)


def _without(live: Document, holder: _Container, place: int) -> Document:
    """Take a member out with one comma: the following one takes its place, else the one before becomes the last."""
    members = holder.members
    if place + 1 < len(members):
        return _with(live, members[place].start, members[place + 1].start, "")
    if place:
        return _with(live, members[place - 1].end, members[place].end, "")
    return _with(live, holder.start, holder.end, "")


def _inserted(
    live: Document, holder: _Container, stored: Document, container: _Container, member: _Member, text: str
) -> Document:
    """Put a member behind the one that it follows in the backup, spaced as its new neighbours are."""
    members = holder.members
    if not members:
        return _filled(live, holder, stored, container, text)
    lead = live.text[holder.start : members[0].start]
    # One neighbour: on a line of its own it shows how the next one begins, else the backup does.
    one = [f",{lead}"] if "\n" in lead else [*_gaps(stored, container), ","]
    gaps = _gaps(live, holder) or one
    place = _place(holder, container, member)
    if place == 0:
        return _with(live, members[0].start, members[0].start, text + gaps[0])
    return _with(live, members[place - 1].end, members[place - 1].end, gaps[min(place, len(gaps)) - 1] + text)


def _gaps(document: Document, container: _Container) -> list[str]:
    """What stands between members: a comma, and space."""
    return [document.text[one.end : two.start] for one, two in pairwise(container.members)]


def _filled(live: Document, holder: _Container, stored: Document, container: _Container, text: str) -> Document:
    """The first member of an empty object or list: spaced as in the backup, unless the live file has lines there."""
    space = live.text[holder.start : holder.end]
    lead = stored.text[container.start : container.members[0].start]
    tail = space or stored.text[container.members[-1].end : container.end]
    return _with(live, holder.start, holder.end, lead + text + tail)


def _place(holder: _Container, container: _Container, member: _Member) -> int:
    """How many of the live members stand before a new one: up to the nearest that precedes it in the backup too."""
    if not holder.is_object or not container.is_object:
        return len(holder.members)
    places = {live.name: place for place, live in enumerate(holder.members)}
    before = container.members[: container.members.index(member)]
    return next((places[earlier.name] + 1 for earlier in reversed(before) if earlier.name in places), 0)
