"""A `Module.__call__` that marks: torch's own, with two questions put in, and not to be distinguished from it.

It does itself what torch's does, so that the stack is as deep as without it. It also has the name, the file and the
lines of torch's: `torch.jit.trace` writes the stack into what it saves, and programs print tracebacks.
"""

from __future__ import annotations

import ast
import dis
import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from ._failures import is_failure_of_ours
from ._torch_around import around, guarded, leave_uncompiled, unseen_by_compilers
from ._torch_here import here, is_compiling

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from ._torch_calls import Marker

_COMPILED, _PLAIN = "_compiled_call_impl", "_call_impl"
_ALL_OUTERMOST = "here.busy or is_compiling() or (scope := begins(self, args, kwargs)) is None"
_ALL_CHOSEN = "(of := ask(id(self))) is None or is_compiling() or (scope := begins(of, self, args, kwargs)) is None"
_CALL = """
def {name}(self, *args, **kwargs):
    compiled = self._compiled_call_impl
    if {is_unmarked}:
        return self._call_impl(*args, **kwargs) if compiled is None else compiled(*args, **kwargs)
    try:
        result = self._call_impl(*args, **kwargs) if compiled is None else compiled(*args, **kwargs)
    except BaseException as error:
        ends(scope, error)
        raise
    ends(scope, None)
    return result
"""


def outermost(theirs: Callable[..., Any], marker: Marker) -> Callable[..., Any]:
    """Return a `Module.__call__` that asks the marker about calls in no marked one. Inner ones cost one test."""
    begins, ends = guarded(marker.call_begins), guarded(marker.call_ends)
    own = _with_questions(theirs, _ALL_OUTERMOST, begins=begins, ends=ends)
    return own or around(theirs, lambda args, given: None if here.busy else begins(args[0], args[1:], given), ends)


def chosen(theirs: Callable[..., Any], marks: dict[int, Marker]) -> Callable[..., Any]:
    """Return a `Module.__call__` that asks the marker of this very module, by its id, if there is one."""
    ask = marks.get

    # Guarded here, and not by a function around each: a step pays for every call.
    def begins(marker: Marker, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            scope = marker.call_begins(module, args, kwargs)
        except Exception as error:
            if not is_failure_of_ours(error):
                raise
            return None
        return None if scope is None else (marker, scope)

    def ends(begun: tuple[Marker, Any], error: BaseException | None) -> None:
        try:
            begun[0].call_ends(begun[1], error)
        except Exception as failure:
            if not is_failure_of_ours(failure):
                raise

    for each in (begins, ends):
        leave_uncompiled(each, and_what_it_calls=True)
    own = _with_questions(theirs, _ALL_CHOSEN, ask=ask, begins=begins, ends=ends)
    return own or around(
        theirs, lambda args, given: (m := ask(id(args[0]))) and begins(m, args[0], args[1:], given), ends
    )


def _with_questions(theirs: Any, is_unmarked: str, **asked: Any) -> Callable[..., Any] | None:
    """Return the function, as if torch had written it; None if its own does something else than we know."""
    code: CodeType | None = getattr(theirs, "__code__", None)
    if code is None or code.co_names != (_COMPILED, _PLAIN):
        return None
    places = _places_of_calls(code)
    if places.keys() != {_COMPILED, _PLAIN}:
        return None
    tree = ast.parse(_CALL.format(name=code.co_name, is_unmarked=is_unmarked))
    _put(tree, places[_PLAIN])
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "compiled":
            _put(node, places[_COMPILED])
        elif isinstance(node, ast.FunctionDef):
            _put_one(node, _FilePosition(code.co_firstlineno, code.co_firstlineno, 0, 0))
    names = {"here": here, "is_compiling": is_compiling, "__name__": theirs.__module__, **asked}
    exec(compile(tree, code.co_filename, "exec"), names)
    call: Any = names[code.co_name]
    if hasattr(code, "co_qualname"):
        call.__code__ = call.__code__.replace(co_qualname=code.co_qualname)
    return unseen_by_compilers(functools.update_wrapper(call, theirs), theirs)


class _FilePosition(NamedTuple):
    """In a file: lines from 1, columns from 0."""

    lineno: int
    end_lineno: int
    col_offset: int
    end_col_offset: int


def _places_of_calls(code: CodeType) -> dict[str, _FilePosition]:
    """Return the place of each call of a method of `self`."""
    places: dict[str, _FilePosition] = {}
    asked, line = "", code.co_firstlineno
    for instruction in dis.get_instructions(code):
        line = _line_of(instruction) or line
        if instruction.argval in (_COMPILED, _PLAIN):
            asked = instruction.argval
        elif instruction.opname.startswith("CALL"):
            places[asked] = _place_of(instruction, line)
    return places


def _line_of(instruction: Any) -> int | None:
    """Return the line that begins with it; Python 3.12's field for that means something else from 3.13 on."""
    positions = getattr(instruction, "positions", None)
    line: int | None = instruction.starts_line if positions is None else positions.lineno
    return line


def _place_of(instruction: Any, line: int) -> _FilePosition:
    positions = getattr(instruction, "positions", None)
    if positions is None or None in positions:
        return _FilePosition(line, line, 0, 0)
    return _FilePosition(positions.lineno, positions.end_lineno, positions.col_offset, positions.end_col_offset)


def _put(tree: ast.AST, place: _FilePosition) -> None:
    for node in ast.walk(tree):
        _put_one(node, place)


def _put_one(node: ast.AST, place: _FilePosition) -> None:
    if "lineno" in node._attributes:
        for name, value in place._asdict().items():
            setattr(node, name, value)
