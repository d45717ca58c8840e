"""The loops in a function's code. Its bytecode shows which there are: by what it comes back to. Lines and columns show
where each ends in the text: a `raise`, or what comes before a `break`, never comes back and belongs to it."""

from __future__ import annotations

import dis
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import CodeType

_MAX_KNOWN = 64
_MOST_BYTES = 200_000  # of code: some programs write their own, and none of those has the loop in it
_NEVER_GO_ON = frozenset(
    (
        *("JUMP_FORWARD", "JUMP_ABSOLUTE", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"),
        *("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE"),
    )
)


class CodeLoop(NamedTuple):
    """A loop: the code's instructions in it, by their offsets."""

    of_code: tuple[int, ...]
    own: frozenset[int]

    def has(self, offset: int) -> bool:
        """Return whether this is in an instruction of the loop's; after it may be room for a cache."""
        return self.of_code[max(0, bisect_right(self.of_code, offset) - 1)] in self.own


_known: dict[int, tuple[CodeType, tuple[CodeLoop, ...]]] = {}


def loops_of(code: CodeType) -> tuple[CodeLoop, ...]:
    """Return the loops in a code object, the inner before those around them."""
    entry = _known.get(id(code))
    if entry is not None:  # the code is kept with them, so that its id stays its own
        return entry[1]
    while len(_known) >= _MAX_KNOWN:
        _known.pop(next(iter(_known)), None)
    loops = _loops_in(code) if len(code.co_code) <= _MOST_BYTES else ()
    _known[id(code)] = code, loops
    return loops


def names_in_broken_off(code: CodeType, offset: int) -> set[str] | None:
    """Return the names in the body of the `for` loop whose FOR_ITER this is, if nothing in it comes back to that.

    None if something does, as in nearly every loop.
    """
    if len(code.co_code) > _MOST_BYTES:
        return None
    instructions = list(dis.get_instructions(code))
    end = next((one.argval for one in instructions if one.offset == offset), offset)
    heads = {offset}
    for one in reversed(instructions):
        if one.opname == "EXTENDED_ARG" and one.offset + 2 in heads:  # what is in front of it is what is jumped to
            heads.add(one.offset)
    if any(one.opcode in _JUMPS and one.argval in heads and one.offset > offset for one in instructions):
        return None
    return {one.argval for one in instructions if offset < one.offset < end and isinstance(one.argval, str)}


def _loops_in(code: CodeType) -> tuple[CodeLoop, ...]:
    instructions = list(dis.get_instructions(code))
    after = _blocks(code, instructions)
    starts = tuple(sorted(after))
    before: dict[int, set[int]] = {start: set() for start in starts}
    for start, followers in after.items():
        for follower in followers:
            before[follower].add(start)
    bodies: dict[int, set[int]] = {}
    for start, followers in after.items():
        for head in followers:
            if head <= start and start not in _reached((starts[0],), after, but=head):
                bodies.setdefault(head, {head}).update(_reached((start,), before, but=head))
    offsets = tuple(one.offset for one in instructions)
    places = _places(instructions)
    loops = [
        CodeLoop(offsets, _text_of(body, starts, places) | _unplaced(body, starts, offsets, places))
        for body in bodies.values()
    ]
    return tuple(sorted(loops, key=lambda loop: len(loop.own)))


def _places(instructions: Sequence[dis.Instruction]) -> dict[int, tuple[int, int | None]]:
    """Return the line and the column of each instruction that has a line, by its offset. Columns came with Python 3.11,
    and those that the compiler adds, as where a handler begins, have no line since."""
    places: dict[int, tuple[int, int | None]] = {}
    line = 0
    for one in instructions:
        positions: Any = getattr(one, "positions", None)
        if positions is None:
            line = one.starts_line or line
            places[one.offset] = line, None
        elif positions.lineno is not None:
            places[one.offset] = positions.lineno, positions.col_offset
    return places


def _text_of(body: set[int], starts: tuple[int, ...], places: dict[int, tuple[int, int | None]]) -> frozenset[int]:
    """Return the instructions in the text of a loop with these blocks: its lines, and those after, as far indented."""
    lines: dict[int, int] = {}  # the indentation of each that has columns
    for line, column in places.values():
        if column is not None:
            lines[line] = min(column, lines.get(line, column))
    inside = {line for offset, (line, _) in places.items() if starts[bisect_right(starts, offset) - 1] in body}
    first, last = min(inside), max(inside)
    indented = min((lines[line] for line in inside if line > first and line in lines), default=None)
    if indented is not None:
        for line in sorted(line for line in lines if line > last):
            if lines[line] < indented:
                break
            last = line
    return frozenset(offset for offset, (line, _) in places.items() if first <= line <= last)


def _unplaced(
    body: set[int], starts: tuple[int, ...], offsets: tuple[int, ...], places: dict[int, tuple[int, int | None]]
) -> frozenset[int]:
    """Return the instructions in these blocks that have no line: a jump back is one, in which a thread often waits."""
    return frozenset(
        offset for offset in offsets if offset not in places and starts[bisect_right(starts, offset) - 1] in body
    )


def _reached(begin: Iterable[int], ways: dict[int, set[int]], *, but: int) -> set[int]:
    """Return the blocks that are reached from these, themselves included, on ways around one of them."""
    reached: set[int] = set()
    left = [start for start in begin if start != but]
    while left:
        start = left.pop()
        if start not in reached:
            reached.add(start)
            left += [other for other in ways[start] if other != but]
    return reached


def _blocks(code: CodeType, instructions: Sequence[dis.Instruction]) -> dict[int, set[int]]:
    """Return the blocks of code without jumps in or out, by their first offset: which come after each."""
    jumps = {one.offset: one.argval for one in instructions if one.opcode in _JUMPS and isinstance(one.argval, int)}
    entries = getattr(dis.Bytecode(code), "exception_entries", ())  # before Python 3.11 they are instructions
    starts = {instructions[0].offset, *jumps.values()}
    for entry in entries:
        starts.update((entry.start, entry.end, entry.target))
    for one, following in pairwise(instructions):
        if one.offset in jumps or one.opname in _NEVER_GO_ON:
            starts.add(following.offset)
    after: dict[int, set[int]] = {}
    block = instructions[0].offset
    previous = None
    for one in instructions:
        if one.offset in starts:
            if previous is not None and previous.opname not in _NEVER_GO_ON:
                after[block].add(one.offset)
            block = one.offset
            after[block] = {entry.target for entry in entries if entry.start <= block < entry.end}
        if one.offset in jumps:
            after[block].add(jumps[one.offset])
        previous = one
    return {start: {follower for follower in followers if follower in after} for start, followers in after.items()}


_JUMPS = frozenset((*dis.hasjrel, *dis.hasjabs))
