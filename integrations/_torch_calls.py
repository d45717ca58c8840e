"""Functions around torch's own, through which every call of a module and every backward pass goes.

They are set in classes and modules of torch, and nothing of them is attached to a model, a tensor or an optimizer: the
objects that a training saves, copies, scripts or exports are the same as without them. Compilers trace torch's own
functions instead of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch

from ._failures import is_failure_of_ours
from ._torch_around import around, guarded
from ._torch_classes import mark_method
from ._torch_here import here, is_below_autograd, is_pass_of_a_function
from ._torch_module_call import chosen, outermost
from ._torch_own_calls import all_past_torchs, past_torchs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MAX_OCCASIONS = 128


class Marker(Protocol):
    """The marker of calls. A scope is whatever `begins` gives, and is handed back at the end; None: not marked."""

    def call_begins(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], /) -> Any: ...
    def call_ends(self, scope: Any, error: BaseException | None, /) -> None: ...
    def backward_begins(self) -> Any: ...
    def backward_ends(self, scope: Any, error: BaseException | None, /) -> None: ...


class Calls:
    """The functions that are set in torch: its own, those for chosen modules, or those that see every call.

    If somebody else has put a function around one of these meanwhile, it stays in place, and does nothing.
    """

    def __init__(self) -> None:
        self.marks: dict[int, Marker] = {}
        self.before_choosing: list[Callable[[], None]] = []
        self._choosing: list[Marker] = []
        self._everywhere: Marker | None = None
        self._choosing_call: tuple[Any, Any] | None = None  # torch's own function, and the one made for chosen modules
        self._placed: dict[str, tuple[Any, Any]] = {}  # by name: torch's own function, and the present one
        self._occasions = 0
        self._own_begins, self._own_ends = guarded(self._own_call_begins), guarded(self._own_call_ends)

    @property
    def are_chosen(self) -> bool:
        """Whether somebody chose modules: then nothing is marked that was not asked for."""
        return bool(self._choosing)

    def watch_everything(self, marker: Marker) -> None:
        """Mark every outermost call and every backward pass from now on, while nobody chooses modules."""
        self._everywhere = marker
        self._place_all()

    def add(self, marker: Marker) -> None:
        """Mark the modules in `marks` from now on, and backward passes by the marker that came last."""
        for call in self.before_choosing:
            call()
        self._choosing.append(marker)
        self._place_all()

    def remove(self, marker: Marker) -> None:
        """Undo `add`. A second time does nothing."""
        if marker in self._choosing:
            self._choosing.remove(marker)
            self._place_all()

    def meet(self, cls: type) -> None:
        """Mark the calls of a class of modules also if it has a `__call__` that does not come to torch's."""
        self._mark_own(past_torchs(cls))

    def look_for_own(self) -> None:
        """Mark those of every class of that kind. Looked at on the 1st, 2nd, 4th … occasion, and at last no more."""
        self._occasions += 1
        if self._occasions <= _MAX_OCCASIONS and self._occasions & (self._occasions - 1) == 0:
            self._mark_own(all_past_torchs())

    def _mark_own(self, classes: Iterable[type]) -> None:
        for cls in classes:
            mark_method(cls, "__call__", self._own_begins, self._own_ends)

    def _own_call_begins(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = args[0]
        if here.own_call == id(module):  # the `__call__` of a class that this one's inherits from
            return None
        marker = self.marks.get(id(module)) if self._choosing else None if here.busy else self._everywhere
        scope = None if marker is None else marker.call_begins(module, args[1:], kwargs)
        if marker is None or scope is None:
            return None
        around_it, here.own_call = here.own_call, id(module)
        return marker, scope, around_it

    def _own_call_ends(self, begun: tuple[Marker, Any, Any], error: BaseException | None) -> None:
        marker, scope, here.own_call = begun
        marker.call_ends(scope, error)

    def _place_all(self) -> None:
        marker = self._choosing[-1] if self._choosing else self._everywhere
        _place(self._placed, torch.nn.Module, "__call__", lambda theirs: self._call_for(theirs))
        for name, hides in (("backward", _is_inside_a_pass), ("grad", _is_no_pass_of_a_loss)):
            _place(self._placed, torch.autograd, name, _pass_for(marker, hides))

    def _call_for(self, theirs: Any) -> Any:
        if self._choosing:
            if self._choosing_call is None or self._choosing_call[0] is not theirs:
                self._choosing_call = theirs, chosen(theirs, self.marks)  # a millisecond: each fit of Keras begins so
            return self._choosing_call[1]
        return theirs if self._everywhere is None else outermost(theirs, self._everywhere)


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
    begins, ends = marker.backward_begins, guarded(marker.backward_ends)

    def begun(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if hides(args, kwargs):
            return None
        try:
            return begins()
        except Exception as error:
            if not is_failure_of_ours(error):
                raise
            return None

    return lambda theirs: around(theirs, begun, ends)


def _is_inside_a_pass(_args: tuple[Any, ...], _kwargs: dict[str, Any]) -> bool:
    return is_below_autograd()


def _is_no_pass_of_a_loss(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether the pass is not a loss's: a gradient that is itself differentiated, or taken in a forward.

    Such a one belongs to the loss: a penalty, an equation. `torch.func` has all of its own differentiated again.
    """
    is_of_a_loss = bool(kwargs.get("create_graph", args[4] if len(args) > 4 else False)) and not is_pass_of_a_function()
    return here.busy or is_of_a_loss or is_below_autograd()


calls = Calls()
