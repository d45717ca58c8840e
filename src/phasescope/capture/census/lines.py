"""The line that puts something into a container: found in the code of the training's own functions, by its name."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.capture.census import base
from phasescope.capture.census.names import short_file
from phasescope.capture.own_files import is_own_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from phasescope.capture.census.sources import Sources

_PUTS = frozenset({"append", "extend", "add", "update", "appendleft", "insert", "setdefault", "put"})
_MOST_CODES = 3000
_MOST_DISASSEMBLED = 24
_WINDOW = 8  # instructions between a container's name and what is done with it
_LOADS, _STORES = ("LOAD_",), ("STORE_",)
_WRITES = frozenset({"write", "writelines", "frombytes", "fromlist"})
_ENDS = ("STORE_", "POP_TOP", "RETURN_", "POP_JUMP")  # of a statement, or of a part that gives nothing to the rest


class CodeLine(NamedTuple):
    """A line of a file, and the function that it is in."""

    file: str
    line: int
    function: str


def line_that_adds(name: str, sources: Sources, *, remade: bool = False) -> CodeLine | None:
    """Return the line that adds to what has this name; None if none is found. `remade`: also one that gives the name to
    another object, made of the one that had it (`x = torch.cat([x, y])`)."""
    import dis

    lines: dict[CodeLine, None] = {}
    disassembled = 0
    for code in _codes(sources):
        names = (code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars)
        if not any(name in each for each in names):
            continue
        disassembled += 1
        if disassembled > _MOST_DISASSEMBLED:
            break
        for line in _adding(dis.get_instructions(code), name, _PUTS | _WRITES if remade else _PUTS, remade=remade):
            lines[CodeLine(short_file(code.co_filename), line, code.co_name)] = None
    return next(iter(lines), None)


def _adding(instructions: Iterator[Any], name: str, puts: Collection[str], *, remade: bool) -> Iterator[int]:
    line = 0
    since_load, was_in_place, is_loaded = _WINDOW + 1, False, False
    for instruction in instructions:
        begins = instruction.starts_line
        if type(begins) is int and not isinstance(begins, bool):
            line = begins
        elif begins is True:
            line = getattr(instruction, "line_number", line) or line
        operation, value = instruction.opname, instruction.argval
        names = value if type(value) is tuple else (value,)
        since_load += 1
        if operation.startswith(_STORES) and name in names and (was_in_place or (remade and is_loaded)):
            yield line
        if operation.startswith(_ENDS):
            is_loaded = False
        if operation in ("BINARY_OP", "INPLACE_ADD"):
            was_in_place = operation == "INPLACE_ADD" or "=" in str(instruction.argrepr)
        elif operation not in ("SWAP", "ROT_TWO", "ROT_THREE", "COPY", "CACHE"):
            was_in_place = False
        is_put = operation == "STORE_SUBSCR" or (operation in ("LOAD_METHOD", "LOAD_ATTR") and value in puts)
        if is_put and since_load <= _WINDOW:
            yield line
            since_load = _WINDOW + 1
        if operation.startswith(_LOADS) and name in names:
            since_load, is_loaded = 0, True


def _codes(sources: Sources) -> Iterator[types.CodeType]:
    """Yield the codes of the training's own: first of what runs, then of the functions of its modules and classes."""
    seen: set[int] = set()
    for code in _outermost(sources):
        for each in _with_inner(code):
            if id(each) not in seen:
                seen.add(id(each))
                if len(seen) > _MOST_CODES:
                    return
                yield each


def _outermost(sources: Sources) -> Iterator[types.CodeType]:
    yield from (source.frame.f_code for source in sources.own if source.frame is not None)
    yield from sources.modules_running
    for source in sources.own:
        if source.frame is None:
            yield from list(_of_namespace(source.variables, source.file))


def _of_namespace(namespace: Any, file: str, depth: int = 0) -> Iterator[types.CodeType]:
    for value in list(dict.values(namespace)):
        kind = type(value)
        if kind is types.FunctionType:
            if is_own_file(value.__code__.co_filename):
                yield value.__code__
        elif kind is staticmethod or kind is classmethod or kind is property:
            inner = value.fget if kind is property else value.__func__
            if type(inner) is types.FunctionType:
                yield inner.__code__
        elif kind is base.LruCache:
            inner = dict.get(base.attributes_of(value) or {}, "__wrapped__")
            if type(inner) is types.FunctionType:
                yield inner.__code__
        elif issubclass(kind, type) and depth == 0 and is_own_file(file):
            yield from _of_namespace(dict(base.namespace_of(value)), file, 1)


def _with_inner(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            yield from _with_inner(constant)
