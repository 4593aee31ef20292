"""One value of a JSON file brought back: every other byte stays, and the result means what was asked."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from support.config import USER_SETTINGS

from stravinsky_rollback_mcp.core.pointer import Pointer, parse
from stravinsky_rollback_mcp.core.splice import MAX_POINTERS, document, splice, value_at
from stravinsky_rollback_mcp.errors import Code, RollbackError


def spliced(live: bytes | None, stored: bytes | None, *pointers: Pointer) -> bytes:
    """The live bytes with these values as the stored bytes have them."""
    return splice(document(live, "live"), document(stored, "stored"), pointers)


def code(live: bytes | None, stored: bytes | None, *pointers: str) -> Code:
    """The code with which that is refused; the refusal holds no value and says what to do."""
    with pytest.raises(RollbackError) as refused:
        spliced(live, stored, *map(parse, pointers))
    assert refused.value.hint
    assert "s3cret" not in str(refused.value)
    return refused.value.code


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a decoded value is an object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether a decoded value is a list."""
    return isinstance(value, list)


# --- JSON as anybody may write it ----------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "c", "", "é", "a/b", "~", "0", "1", "x\ny"])
scalars = st.sampled_from([None, True, False, 0, 1, -1, 1.5, 10**400, "", "text", "ünï", "\ud800", '"\\', "}"])
values = st.recursive(
    scalars,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(names, children, max_size=4),
    max_leaves=8,
)
documents = st.dictionaries(names, values, min_size=0, max_size=5)
spaces = st.sampled_from(["", "", " ", "\n", "\r\n  ", "\t", "\n\n    "])


class Written:
    """A value as a text in any spelling that JSON allows, and where each part of it lies: the oracle of these tests."""

    def __init__(self, value: Any, space: Callable[[], str], *, bom: bool, ascii_only: bool) -> None:
        self.spans: dict[Pointer, tuple[int, int]] = {}
        self._space = space
        self._ascii = ascii_only
        self._text = ("\ufeff" if bom else "") + space()
        self._write(value, ())
        self._text += space()
        self.content = self._text.encode("utf-8", "surrogatepass")

    def bytes_before(self, pointer: Pointer) -> bytes:
        """What comes before a value."""
        return self._text[: self.spans[pointer][0]].encode("utf-8", "surrogatepass")

    def bytes_behind(self, pointer: Pointer) -> bytes:
        """What comes after a value."""
        return self._text[self.spans[pointer][1] :].encode("utf-8", "surrogatepass")

    def bytes_of(self, pointer: Pointer) -> bytes:
        """A value as it is spelt here."""
        start, end = self.spans[pointer]
        return self._text[start:end].encode("utf-8", "surrogatepass")

    def _write(self, value: Any, pointer: Pointer) -> None:
        start = len(self._text)
        if is_object(value):
            self._between("{}", [(name, child) for name, child in value.items()], pointer)
        elif is_list(value):
            self._between("[]", [(None, child) for child in value], pointer)
        else:
            # Half a surrogate pair cannot be written as UTF-8.
            self._text += json.dumps(value, ensure_ascii=self._ascii or value == "\ud800")
        self.spans[pointer] = (start, len(self._text))

    def _between(self, brackets: str, members: list[tuple[str | None, Any]], pointer: Pointer) -> None:
        self._text += brackets[0] + self._space()
        for place, (name, child) in enumerate(members):
            self._text += "," + self._space() if place else ""
            if name is not None:
                self._text += json.dumps(name, ensure_ascii=self._ascii) + self._space() + ":" + self._space()
            self._write(child, (*pointer, str(place) if name is None else name))
            self._text += self._space()
        self._text += brackets[1]


@st.composite
def written(draw: st.DrawFn, value: Any) -> Written:
    """A value in some spelling."""
    return Written(value, lambda: draw(spaces), bom=draw(st.booleans()), ascii_only=draw(st.booleans()))


def all_pointers(value: Any, above: Pointer = ()) -> Iterator[Pointer]:
    """Every pointer into a value but the empty one."""
    children = value.items() if is_object(value) else enumerate(value) if is_list(value) else ()
    for name, child in children:
        yield (*above, str(name))
        yield from all_pointers(child, (*above, str(name)))


MISSING = object()


def at(value: Any, pointer: Pointer) -> Any:
    """What a pointer names in a decoded value."""
    for name in pointer:
        if is_object(value) and name in value:
            value = value[name]
        elif is_list(value) and name in map(str, range(len(value))):
            value = value[int(name)]
        else:
            return MISSING
    return value


def expected(live: Any, stored: Any, pointer: Pointer) -> Any:
    """The live value with one value brought back, on the level of JSON; MISSING where that is not possible."""
    live = json.loads(json.dumps(live))
    holder, wanted, name = at(live, pointer[:-1]), at(stored, pointer), pointer[-1]
    present = at(live, pointer)
    if present is MISSING and wanted is MISSING:
        return MISSING
    if is_object(holder):
        holder[name] = wanted
        if wanted is MISSING:
            del holder[name]
        return live
    if not is_list(holder):
        return MISSING
    if wanted is MISSING:
        del holder[int(name)]
    elif present is not MISSING:
        holder[int(name)] = wanted
    elif name == str(len(holder)):
        holder.append(wanted)
    else:
        return MISSING
    return live


def decoded(content: bytes) -> Any:
    """What bytes mean."""
    return json.loads(content.decode("utf-8-sig", "surrogatepass"))


def canonical(value: Any) -> str:
    """Equal for what is equal as JSON, and only then: to Python, true is 1."""
    return json.dumps(value, sort_keys=True)


@st.composite
def related(draw: st.DrawFn) -> tuple[Any, Any]:
    """Two documents that have most in common, as two states of one file do."""
    stored = draw(documents)
    live = json.loads(json.dumps(stored))
    for pointer in draw(st.lists(st.sampled_from(list(all_pointers(stored))), max_size=3)) if stored else ():
        holder = at(live, pointer[:-1])
        if is_object(holder) and pointer[-1] in holder:
            if draw(st.booleans()):
                del holder[pointer[-1]]
            else:
                holder[pointer[-1]] = draw(values)
        elif is_list(holder) and draw(st.booleans()):
            holder.append(draw(values))
    live.update(draw(st.dictionaries(names, values, max_size=2)))
    return live, stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A live and a stored file in spellings of their own, and a pointer into either or next to it."""

    live: Any
    stored: Any
    live_text: Written
    stored_text: Written
    pointer: Pointer


@st.composite
def cases(draw: st.DrawFn, *, in_both: bool = False) -> Case:
    """A case; with ``in_both`` the pointer names something in both files."""
    live, stored = draw(related())
    here, there = set(all_pointers(live)), set(all_pointers(stored))
    known = sorted(here & there if in_both else here | there)
    assume(known)
    pointer = draw(st.sampled_from(known))
    if not in_both and draw(st.integers(0, 9)) == 0:
        pointer = (*pointer[:-1], draw(st.sampled_from(["new", "-", "7", "00"])))
    return Case(
        live=live,
        stored=stored,
        live_text=draw(written(live)),
        stored_text=draw(written(stored)),
        pointer=pointer,
    )


@given(cases())
def test_the_result_means_the_live_file_with_that_value_as_it_was(case: Case) -> None:
    """Whatever the spelling: brought back, taken out in one piece or, where there is no place for it, refused."""
    live, stored, pointer = case.live, case.stored, case.pointer
    wanted = expected(live, stored, pointer)
    if wanted is MISSING:
        with pytest.raises(RollbackError) as refused:
            spliced(case.live_text.content, case.stored_text.content, pointer)
        assert refused.value.code is Code.NOT_FOUND
        return
    result = spliced(case.live_text.content, case.stored_text.content, pointer)
    assert canonical(decoded(result)) == canonical(wanted)
    if at(live, pointer) is MISSING:
        assert is_longer_by_one_piece(case.live_text.content, result)
    elif at(stored, pointer) is MISSING:
        assert is_longer_by_one_piece(result, case.live_text.content)


def is_longer_by_one_piece(shorter: bytes, longer: bytes) -> bool:
    """Whether one text is the other with something in one place."""
    same = next((place for place, byte in enumerate(shorter) if byte != longer[place]), len(shorter))
    return len(longer) > len(shorter) and any(longer.endswith(shorter[place:]) for place in range(same + 1))


@given(cases(in_both=True))
def test_every_byte_outside_a_value_stays_and_splicing_back_is_the_file_again(case: Case) -> None:
    """A value that is replaced is the backup's, byte for byte, in the live file's own bytes; there and back is home."""
    live, stored, pointer = case.live_text, case.stored_text, case.pointer
    result = spliced(live.content, stored.content, pointer)
    if canonical(at(case.live, pointer)) == canonical(at(case.stored, pointer)):
        assert result == live.content
    else:
        assert result == live.bytes_before(pointer) + stored.bytes_of(pointer) + live.bytes_behind(pointer)
    assert spliced(result, live.content, pointer) == live.content
    assert spliced(result, stored.content, pointer) == result


STYLES: Mapping[str, Callable[[Any], bytes]] = {
    "two spaces": lambda value: json.dumps(value, indent=2).encode() + b"\n",
    "four spaces, CRLF": lambda value: json.dumps(value, indent=4).encode().replace(b"\n", b"\r\n"),
    "tabs, BOM": lambda value: b"\xef\xbb\xbf" + json.dumps(value, indent="\t").encode(),
    "one line": lambda value: json.dumps(value).encode(),
    "no space": lambda value: json.dumps(value, separators=(",", ":")).encode() + b"\n\n",
}


@given(documents, st.data(), st.sampled_from(list(STYLES)))
@example(USER_SETTINGS, None, "two spaces")
def test_what_was_lost_comes_back_where_it_was(value: Any, data: st.DataObject | None, style: str) -> None:
    """In a file of one style, taking a key out and bringing it back leaves no trace."""
    stored = STYLES[style](value)
    pointers = [pointer for pointer in all_pointers(value) if not is_list(at(value, pointer[:-1]))]
    assume(pointers)
    for pointer in pointers if data is None else [data.draw(st.sampled_from(pointers))]:
        lost = json.loads(json.dumps(value))
        del at(lost, pointer[:-1])[pointer[-1]]
        assert spliced(STYLES[style](lost), stored, pointer) == stored
        assert spliced(stored, STYLES[style](lost), pointer) == STYLES[style](lost)


@given(related(), st.data())
def test_several_values_come_back_as_if_one_after_the_other(pair: tuple[Any, Any], data: st.DataObject) -> None:
    """Whatever the order in which they are named, also where elements of a list go."""
    live, stored = pair
    known = sorted({*all_pointers(live), *all_pointers(stored)})
    assume(known)
    chosen = data.draw(st.lists(st.sampled_from(known), unique=True, max_size=4))
    content, other = json.dumps(live).encode(), json.dumps(stored).encode()
    assume(all(is_object(at(live, pointer[:-1])) for pointer in chosen))
    result = spliced(content, other, *chosen)
    assert result == spliced(content, other, *reversed(chosen))
    for pointer in chosen:
        covering = next(other for other in chosen if pointer[: len(other)] == other)
        if at(stored, covering) is not MISSING:
            assert at(decoded(result), covering) == at(stored, covering)


# --- examples ------------------------------------------------------------------------------------------------------

LIVE = b"""{
  "model": "opus",
  "ratio": 1.10,

  "permissions": {"deny": ["Read(./.env)"],   "allow": []},
  "hooks": {
    "Stop": [ {"hooks": []} ]
  }
}
"""

MANY = b"9" * 5000  # digits; Python alone would not read such a number

EXAMPLE_CASES = {
    "replaced": (LIVE, b'{"model":"sonnet"}', "/model", LIVE.replace(b'"opus"', b'"sonnet"')),
    "equal as JSON": (LIVE, b'{"ratio": 1.1}', "/ratio", LIVE),
    "true is not 1": (b'{"a": 1}', b'{"a": true}', "/a", b'{"a": true}'),
    "taken out": (LIVE, b"{}", "/ratio", LIVE.replace(b'"ratio": 1.10,\n\n  ', b"")),
    "no backup's file": (LIVE, None, "/model", LIVE.replace(b'"model": "opus",\n  ', b"")),
    "last taken out": (b'{"a": 1 , "b": 2 }', b"{}", "/b", b'{"a": 1 }'),
    "only one taken out": (b'{"a": {\n  "b": 1\n}}', b"{}", "/a/b", b'{"a": {}}'),
    "in the middle": (LIVE, b'{"ratio":1,"new":[1,\n2],"x":3}', "/new",
                      LIVE.replace(b"1.10,\n\n", b'1.10,\n\n  "new":[1,\n2],\n\n')),
    "in front": (b'{ "b" : 1 ,  "c": 2}', b'{"a": 0, "b": 1}', "/a", b'{ "a": 0 ,  "b" : 1 ,  "c": 2}'),
    "behind the last": (LIVE, b'{"hooks":{"Stop":[],"Start":[]}}', "/hooks/Start",
                        LIVE.replace(b'{"hooks": []} ]\n', b'{"hooks": []} ],\n    "Start":[]\n')),
    "into what is empty": (b'{\n  "hooks": {}\n}', b'{\n  "hooks": {\n    "Stop": []\n  }\n}', "/hooks/Stop",
                           b'{\n  "hooks": {\n    "Stop": []\n  }\n}'),
    "between empty lines": (b'{"hooks": {\n}}', b'{\n "hooks": {\n   "Stop": []}}', "/hooks/Stop",
                            b'{"hooks": {\n   "Stop": []\n}}'),
    "element appended": (b'{"a": [1, 2]}', b'{"a":[1,2,3]}', "/a/2", b'{"a": [1, 2, 3]}'),
    "element taken out": (b'{"a": [1, 2, 3]}', b'{"a":[1]}', "/a/1", b'{"a": [1, 3]}'),
    "escaped name": (rb'{"\u0061/b": 1}', b'{"a/b": 2}', "/a~1b", rb'{"\u0061/b": 2}'),
    "twice elsewhere": (b'{"a": 1, "b": 1, "b": 2}', b'{"a": 3}', "/a", b'{"a": 3, "b": 1, "b": 2}'),
    "bytes that are no text": (b'{"a": "caf\xe9", "b": 1}', b'{"b": "\xff"}', "/b", b'{"a": "caf\xe9", "b": "\xff"}'),
    "many digits": (b'{"a": %s, "b": 1}' % MANY, b'{"b": 2}', "/b", b'{"a": %s, "b": 2}' % MANY),
    "byte order mark": (b'\xef\xbb\xbf{"a": 1}\r\n', b'{"a": 2}', "/a", b'\xef\xbb\xbf{"a": 2}\r\n'),
}  # fmt: skip


@pytest.mark.parametrize(("live", "stored", "pointer", "result"), EXAMPLE_CASES.values(), ids=EXAMPLE_CASES.keys())
def test_each_case_by_example(live: bytes, stored: bytes | None, pointer: str, result: bytes) -> None:
    """Threat model, row 46: indentation, order, line ends, byte order mark and spelling of numbers stay."""
    assert spliced(live, stored, parse(pointer)) == result


REFUSED = {
    "neither has it": (LIVE, LIVE, "/env", Code.NOT_FOUND),
    "no live file": (None, LIVE, "/model", Code.NOT_FOUND),
    "blank live file": (b"\xef\xbb\xbf \r\n", LIVE, "/model", Code.NOT_FOUND),
    "no file at all": (None, None, "/model", Code.NOT_FOUND),
    "no parent": (b'{"a": "s3cret"}', LIVE, "/hooks/Stop", Code.NOT_FOUND),
    "a parent that holds nothing": (b'{"hooks": "s3cret"}', LIVE, "/hooks/Stop", Code.NOT_FOUND),
    "behind the end of a list": (b'{"a": []}', b'{"a": [1, 2]}', "/a/1", Code.NOT_FOUND),
    "no place of a list": (b'{"a": [1]}', b'{"a": [1]}', "/a/00", Code.NOT_FOUND),
    "after the last": (b'{"a": [1]}', b'{"a": [1, 2]}', "/a/-", Code.NOT_FOUND),
    "broken live file": (b'{"a": "s3cret",}', LIVE, "/model", Code.VALIDATION_FAILED),
    "broken backup": (LIVE, b'{"a": s3cret}', "/model", Code.VALIDATION_FAILED),
    "a comment": (b'{"a": 1 // s3cret\n}', LIVE, "/model", Code.VALIDATION_FAILED),
    "two documents": (b'{"a": 1} {"a": 2}', LIVE, "/model", Code.VALIDATION_FAILED),
    "not a number": (b'{"a": NaN}', LIVE, "/model", Code.VALIDATION_FAILED),
    "twice in the live file": (b'{"model": 1, "mod\\u0065l": 2}', LIVE, "/model", Code.VALIDATION_FAILED),
    "twice on the way": (b'{"hooks": {}, "hooks": {}}', LIVE, "/hooks/Stop", Code.VALIDATION_FAILED),
    "twice in the backup": (LIVE, b'{"model": 1, "model": 2}', "/model", Code.VALIDATION_FAILED),
    "too deep": (b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}", LIVE, "/model", Code.VALIDATION_FAILED),
    "far too deep": (b"[" * 100_000, LIVE, "/model", Code.VALIDATION_FAILED),
    "too large": (b'{"a": "%s"}' % (b"x" * 2**21), LIVE, "/model", Code.VALIDATION_FAILED),
}


@pytest.mark.parametrize(("live", "stored", "pointer", "refusal"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_told_apart_is_refused(
    live: bytes | None, stored: bytes | None, pointer: str, refusal: Code
) -> None:
    """Nothing is guessed and nothing is mended on the way; the refusal holds no value."""
    assert code(live, stored, pointer) is refusal


def test_too_many_keys_of_a_file_are_refused() -> None:
    """Each is a pass over the file: the work of one call stays bounded."""
    assert code(b"{}", b"{}", *(f"/{number}" for number in range(MAX_POINTERS + 1))) is Code.INVALID_ARGUMENT


def test_a_value_can_be_looked_at() -> None:
    """What is about to come back, decoded; nothing where there is nothing."""
    stored = document(LIVE, "stored")
    assert stored is not None
    assert value_at(stored, ("permissions", "deny", "0")) == "Read(./.env)"
    assert value_at(stored, ("permissions", "deny", "1")) is None
