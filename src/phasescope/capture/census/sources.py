"""Where names begin: the variables of functions that are running, and the modules' globals."""

from __future__ import annotations

import sys
import threading
import types
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope import _native
from phasescope.capture.other_threads import frame_and_callers, frames_of_threads
from phasescope.capture.own_files import is_own_file
from phasescope.capture.own_frames import is_ours

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.capture.census.larger import Held

_MOST_FRAMES = 200
_MOST_REACHED = 30_000  # objects, in the search for dicts
_globals_of: Any = types.ModuleType.__dict__["__dict__"].__get__  # type: ignore[index]
_PACKAGE = __name__.partition(".")[0]
_SCRIPT = ("__main__", "__mp_main__")


class Source(NamedTuple):
    """Names and what they refer to. `frame` is the running function that has them, None if they are globals, of
    `module`."""

    variables: dict[str, Any]
    file: str
    frame: types.FrameType | None
    module: str
    is_own: bool


class Sources:
    """The names of the training's own code, and those of the libraries, which are searched only if the former lead
    nowhere. `let_go()` drops all references."""

    def __init__(self, frame: types.FrameType | None) -> None:
        self.own: list[Source] = []
        self.modules_running: list[types.CodeType] = []  # their own code: a script's loop is often in no function
        self._others: list[Source] = []
        self._ours: list[Any] = []
        self._globals: list[Any] = []  # of the libraries: no object is made for each, or the collector would run
        self._library_names: dict[int, str] = {}
        running: list[Source] = []
        for each in _running(frame):
            code = each.f_code
            is_own = is_own_file(code.co_filename)
            if code.co_flags & 3 == 3:  # optimised, with variables of its own
                running.append(Source(variables_of(each), code.co_filename, each, "", is_own))
            elif is_own and code.co_name == "<module>":
                self.modules_running.append(code)
        modules: list[Source] = []
        for name, module in zip(list(sys.modules), list(sys.modules.values()), strict=False):
            if type(name) is not str or not issubclass(type(module), types.ModuleType):
                continue
            variables = _globals_of(module)
            if name.partition(".")[0] == _PACKAGE:
                self._ours += [module, variables]
                continue
            file = dict.get(variables, "__file__")
            if name in _SCRIPT or (type(file) is str and is_own_file(file)):
                modules.append(Source(variables, file if type(file) is str else "", None, name, True))
            else:
                self._globals.append(variables)
                self._library_names[id(variables)] = name
        for source in (*running, *sorted(modules, key=lambda source: source.module not in _SCRIPT)):
            (self.own if source.is_own else self._others).append(source)

    def names_of(self, everywhere: bool) -> list[Any]:
        """Return the dicts of names to begin at: of the training's own code, or `everywhere`."""
        begin = [source.variables for source in self.own]
        return [*begin, *(source.variables for source in self._others), *self._globals] if everywhere else begin

    def closed(self, everywhere: bool) -> list[Any]:
        """Return what no way leads through from there: this package, and the libraries' names if not `everywhere`."""
        ours = self._ours
        return list(ours) if everywhere else [*ours, *(source.variables for source in self._others), *self._globals]

    def of(self, variables: Any) -> Source | None:
        """Return the source whose names these are; None if they are of none."""
        for source in (*self.own, *self._others):
            if source.variables is variables:
                return source
        name = self._library_names.get(id(variables))
        return None if name is None else Source(variables, _file_of(variables), None, name, False)

    def reachable(self, least: int, types: tuple[type, ...]) -> tuple[list[tuple[Any, int]], list[Held]]:
        """Return what the training's own names lead to and the collector does not list: the dicts with plain values
        (numbers, text, numpy's arrays) that have `least` items, each with its length; and instances of the types."""
        reached: tuple[list[tuple[Any, int]], list[Held]] = _native.core.reachable(
            self.names_of(everywhere=False), self.closed(everywhere=False), _MOST_REACHED, least, types
        )
        return reached

    def let_go(self) -> None:
        """Drop the references, also to what running functions have."""
        for source in (*self.own, *self._others):
            if source.frame is not None:
                source.variables.clear()
        self.own.clear()
        self.modules_running.clear()
        self._others.clear()
        self._ours.clear()
        self._globals.clear()
        self._library_names.clear()


def _file_of(variables: Any) -> str:
    file = dict.get(variables, "__file__")
    return file if type(file) is str else ""


def _running(innermost: types.FrameType | None) -> Iterator[types.FrameType]:
    """Yield the frames that are not ours: those of this thread, from the innermost on, and then of all others."""
    threads = frames_of_threads()
    threads.pop(threading.get_ident(), None)
    for frames in (frame_and_callers(innermost), *threads.values()):
        yield from (frame for frame in frames[:_MOST_FRAMES] if not is_ours(frame))


def variables_of(frame: types.FrameType) -> dict[str, Any]:
    """Return a running function's variables, in a dict of our own."""
    if _native.core is not None:
        variables: dict[str, Any] = _native.core.frame_variables(frame)
        return variables
    if sys.version_info >= (3, 13):
        return dict(frame.f_locals)
    return {}  # its `f_locals` would be kept by the frame, and change what `locals()` returned
