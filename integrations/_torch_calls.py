"""Functions around torch's own, through which every call of a module and every backward pass goes.

They stand in classes and modules of torch, and nothing of them hangs on a model, a tensor or an optimizer: what a
training saves, copies, scripts or exports is what it would be without them. Compilers trace torch's own functions
instead of these.
"""

from __future__ import annotations

import functools
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

import torch

from ._scopes import logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_SYMBOLIC = ("KerasTensor", "FakeTensor")
_CALL_NAMES = ("_compiled_call_impl", "_call_impl")  # all that torch's own `Module.__call__` touches


# What not every version has is looked up once.
is_compiling: Callable[[], bool] = getattr(getattr(torch, "compiler", None), "is_compiling", bool)
_tracing_state: Callable[[], Any] = getattr(torch._C, "_get_tracing_state", bool)
_pass_of_this_thread: Callable[[], int] = getattr(torch._C, "_current_graph_task_id", lambda: -1)
_frames: Any = getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None)


class Here(threading.local):
    """What the calling thread is in."""

    busy = False  # a marked call, or a backward pass: what is called inside belongs to it
    in_backward = False


here = Here()


class Marker(Protocol):
    """Who marks. A scope is whatever `begins` gives, and is handed back at the end; None: this is not marked."""

    def call_begins(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], /) -> Any: ...
    def call_ends(self, scope: Any, error: BaseException | None, /) -> None: ...
    def backward_begins(self) -> Any: ...
    def backward_ends(self, scope: Any, error: BaseException | None, /) -> None: ...


_codes: set[Any] = set()  # of the functions that stand around torch's, and have set `busy` where they run


def settle() -> None:
    """After an exception in the middle of a mark (Ctrl-C) a thread may seem to be in a call that it has left."""
    if not here.busy:
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code in _codes:
            return
        frame = frame.f_back
    here.busy = here.in_backward = False


def is_traced() -> bool:
    """Whether a graph is recorded from what runs here."""
    return is_compiling() or bool(_tracing_state())


def is_for_shapes(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call computes nothing, and only tells the shapes of what it would: Keras building a model, say."""
    for given in (*args, *kwargs.values()):
        if any(_has_no_data(one) for one in (given if type(given) in (list, tuple) else (given,))):
            return True
    return False


def _has_no_data(given: Any) -> bool:
    if type(given) is not torch.Tensor:
        return type(given).__name__ in _SYMBOLIC
    with torch._C.DisableTorchFunction():  # a mode is code of the training's
        return bool(given.is_meta)


def is_below_autograd() -> bool:
    """Whether this runs in a backward pass, be it in a thread of autograd's own."""
    return here.in_backward or _pass_of_this_thread() != -1


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function; where it fails nothing is marked, and the training feels nothing."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            if not _is_ours(error):
                raise  # from a signal handler of the training's
            logger.debug("not marked (%s: %s)", type(error).__name__, error)
            return None

    _leave_uncompiled(call, and_what_it_calls=True)
    return call


def guarded_method(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `guarded`, for a method."""
    call = guarded(function)

    def method(self: Any, *arguments: Any) -> Any:
        return call(self, *arguments)

    return method


def _is_ours(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return where.partition(".")[0] in ("phasescope", "torch", "weakref", "threading")


def around(
    function: Callable[..., Any], begins: Callable[..., Any], ends: Callable[[Any, BaseException | None], Any]
) -> Callable[..., Any]:
    """The function, with a scope around each call; `begins` gets what it is called with."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_compiling() or (scope := begins(args, kwargs)) is None:
            return function(*args, **kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            ends(scope, error)
            raise
        ends(scope, None)
        return result

    for each in (begins, ends):
        _leave_uncompiled(each, and_what_it_calls=True)
    return _unseen_by_compilers(call, function)


def _unseen_by_compilers(ours: Callable[..., Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    """Have `torch.compile` go into `theirs` where it comes upon `ours`, and never compile `ours` by itself."""
    ours._torchdynamo_inline = theirs  # type: ignore[attr-defined]
    _codes.add(ours.__code__)
    _leave_uncompiled(ours, and_what_it_calls=False)
    return ours


def _leave_uncompiled(function: Any, *, and_what_it_calls: bool) -> None:
    """After a graph break `torch.compile` tries every function that is called; torch's own are left out as here."""
    try:
        if hasattr(_frames, "set_code_exec_strategy"):
            skip, default = _frames._FrameAction.SKIP, _frames._FrameAction.DEFAULT
            strategy = _frames._FrameExecStrategy(skip, skip if and_what_it_calls else default)
            _frames.set_code_exec_strategy(function.__code__, strategy)
        elif hasattr(_frames, "skip_code"):
            _frames.skip_code(function.__code__)
    except Exception as error:  # compiled as anything else is
        logger.debug("%s may be compiled (%s)", function.__name__, type(error).__name__)


def _is_torchs_own(call: Any) -> bool:
    return getattr(getattr(call, "__code__", None), "co_names", None) == _CALL_NAMES


def _outermost(theirs: Callable[..., Any], marker: Marker) -> Callable[..., Any]:
    """A `Module.__call__` that asks the marker about calls that lie in no marked one. Inner ones cost one test.

    It does itself what torch's does, so that the stack is as deep as without it.
    """
    begins, ends = guarded(marker.call_begins), guarded(marker.call_ends)
    if not _is_torchs_own(theirs):
        return around(theirs, lambda args, kwargs: None if here.busy else begins(args[0], args[1:], kwargs), ends)

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        compiled = self._compiled_call_impl
        if here.busy or is_compiling() or (scope := begins(self, args, kwargs)) is None:
            return self._call_impl(*args, **kwargs) if compiled is None else compiled(*args, **kwargs)
        try:
            result = self._call_impl(*args, **kwargs) if compiled is None else compiled(*args, **kwargs)
        except BaseException as error:
            ends(scope, error)
            raise
        ends(scope, None)
        return result

    return _unseen_by_compilers(__call__, theirs)


def _chosen(theirs: Callable[..., Any], marks: dict[int, Marker]) -> Callable[..., Any]:
    """A `Module.__call__` that asks the marker of this very module, by its id, if there is one."""
    ask = marks.get

    @guarded
    def begins(marker: Marker, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        scope = marker.call_begins(module, args, kwargs)
        return None if scope is None else (marker, scope)

    @guarded
    def ends(begun: tuple[Marker, Any], error: BaseException | None) -> None:
        begun[0].call_ends(begun[1], error)

    if not _is_torchs_own(theirs):
        return around(theirs, lambda args, given: (m := ask(id(args[0]))) and begins(m, args[0], args[1:], given), ends)

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        compiled = self._compiled_call_impl
        marker = ask(id(self))
        if marker is None or is_compiling() or (scope := begins(marker, self, args, kwargs)) is None:
            return self._call_impl(*args, **kwargs) if compiled is None else compiled(*args, **kwargs)
        try:
            result = self._call_impl(*args, **kwargs) if compiled is None else compiled(*args, **kwargs)
        except BaseException as error:
            ends(scope, error)
            raise
        ends(scope, None)
        return result

    return _unseen_by_compilers(__call__, theirs)


class Calls:
    """Which functions stand in torch: its own, those for chosen modules, or those that see every call.

    Where somebody else has put a function around one of these meanwhile it stays where it is, and does nothing.
    """

    def __init__(self) -> None:
        self.marks: dict[int, Marker] = {}
        self.before_choosing: list[Callable[[], None]] = []
        self._choosing: list[Marker] = []
        self._everywhere: Marker | None = None
        self._placed: dict[str, tuple[Any, Any]] = {}  # by name: torch's own, and what stands there now

    @property
    def are_chosen(self) -> bool:
        """Whether somebody chose modules: then nothing is marked that was not asked for."""
        return bool(self._choosing)

    def watch_everything(self, marker: Marker) -> None:
        """From now on every outermost call and every backward pass is marked, while nobody chooses."""
        self._everywhere = marker
        self._place_all()

    def add(self, marker: Marker) -> None:
        """From now on the modules in `marks` are marked, and backward passes by the marker that came last."""
        for call in self.before_choosing:
            call()
        self._choosing.append(marker)
        self._place_all()

    def remove(self, marker: Marker) -> None:
        """Undo `add`. A second time does nothing."""
        if marker in self._choosing:
            self._choosing.remove(marker)
            self._place_all()

    def _place_all(self) -> None:
        marker = self._choosing[-1] if self._choosing else self._everywhere
        _place(self._placed, torch.nn.Module, "__call__", lambda theirs: self._call_for(theirs))
        for name, hides in (("backward", _is_inside_a_pass), ("grad", _is_no_pass_of_a_loss)):
            _place(self._placed, torch.autograd, name, _pass_for(marker, hides))

    def _call_for(self, theirs: Any) -> Any:
        if self._choosing:
            return _chosen(theirs, self.marks)
        return theirs if self._everywhere is None else _outermost(theirs, self._everywhere)


def _place(placed: dict[str, tuple[Any, Any]], owner: Any, name: str, made: Callable[[Any], Any]) -> None:
    there = getattr(owner, name)
    theirs, ours = placed.get(name, (there, there))
    if there is not ours:
        return
    placed[name] = theirs, (now := made(theirs))
    setattr(owner, name, now)


def _pass_for(marker: Marker | None, hides: Callable[[tuple[Any, ...], dict[str, Any]], bool]) -> Callable[[Any], Any]:
    if marker is None:
        return lambda theirs: theirs
    begins, ends = guarded(marker.backward_begins), guarded(marker.backward_ends)

    def begun(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return None if hides(args, kwargs) else begins()

    return lambda theirs: around(theirs, begun, ends)


def _is_inside_a_pass(_args: tuple[Any, ...], _kwargs: dict[str, Any]) -> bool:
    return is_below_autograd()


def _is_no_pass_of_a_loss(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """A gradient that is itself differentiated, or taken in a forward, belongs to the loss: a penalty, an equation."""
    return here.busy or bool(kwargs.get("create_graph", args[4] if len(args) > 4 else False)) or is_below_autograd()


calls = Calls()
