"""The marks of `instrument` on a model and its optimizers. None of it changes a value, and nothing hangs on the model.

Forward and backward are seen by functions around torch's own (`_torch_calls`), a step by the optimizer's public hooks,
which it neither saves nor copies.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from phasescope import phase

from ._scopes import UnseenError, leave
from ._torch_calls import calls
from ._torch_here import here, is_compiling, is_for_shapes, is_traced
from ._torch_looks import looks
from ._torch_modules import smallest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    import torch

_EARLY_STOP = "_StopRecomputationError"  # how activation checkpointing leaves a recomputed forward that did enough


def ended_with(error: BaseException | None) -> BaseException | None:
    """Return the error that a call ended with, as its phase states it."""
    return None if error is not None and type(error).__name__ == _EARLY_STOP else error


class _MarkThreads(threading.local):
    def __init__(self) -> None:
        self.opened: list[tuple[str, phase]] = []


class Forwards:
    """The calls of one model, and on request of its submodules; and every backward pass meanwhile."""

    def __init__(
        self, model: torch.nn.Module, depth: int, before: Callable[[], None], activations: bool = False
    ) -> None:
        self._before = before
        # Hooks around a compiled forward would have it compiled again.
        self._counts_saved = activations and type(model).__name__ != "OptimizedModule"
        self._threads = _MarkThreads()
        self._modules: dict[int, tuple[weakref.ref[Any], str]] = {}
        for name, module in model.named_modules():
            if not name or name.count(".") < depth:
                self._mark(module, name)
        calls.add(self)
        looks.know_model(model)
        parts = smallest(name for _, name in self._modules.values())
        if parts:
            looks.modules.know(model, [(name, ref) for ref, name in self._modules.values() if name in parts])

    def _mark(self, module: torch.nn.Module, name: str) -> None:
        ident = id(module)
        calls.meet(type(module))

        def gone(_reference: Any) -> None:
            if not calls:  # the interpreter has emptied this module already
                return
            self._modules.pop(ident, None)
            if calls.marks.get(ident) is self:
                del calls.marks[ident]
            if not self._modules:
                calls.remove(self)

        self._modules[ident] = weakref.ref(module, gone), name
        if not name or ident not in calls.marks:  # else it is a model of its own to somebody
            calls.marks[ident] = self

    def is_of(self, module: torch.nn.Module) -> bool:
        """Return whether it is this model that is marked, and not as a part of one."""
        the_module, name = self._modules[id(module)]
        return the_module() is module and not name

    def remove(self, error: BaseException | None) -> None:
        """Mark nothing any more, and close the open phases of the calling thread."""
        calls.remove(self)
        for ident in list(self._modules):
            if calls.marks.get(ident) is self:
                del calls.marks[ident]
        for the_module, name in self._modules.values():
            if not name:
                looks.forget_model(the_module())
        self._modules.clear()
        while self._threads.opened:
            leave(self._threads.opened.pop()[1], error)

    def call_begins(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Open the phase of this call; its scope also keeps whether the thread was in a marked call before."""
        the_module, name = self._modules[id(module)]
        if the_module() is not module or is_traced() or is_for_shapes(args, kwargs):
            return None
        opened = self._threads.opened
        is_looked_at, saved = False, None
        if name:
            scope = phase(_name_below(opened[-1][0] if opened else None, name))
        else:
            self._before()
            if looks.is_watching and not (here.busy or here.in_backward):
                is_looked_at, saved = True, self._look_at(args, kwargs)
            scope = phase("forward")
        scope.__enter__()
        was_busy, here.busy = here.busy, True
        opened.append((name, scope))
        return scope, was_busy, is_looked_at, saved

    def call_ends(self, begun: Any, error: BaseException | None) -> None:
        """Close it, and the phases still open inside."""
        scope, here.busy, is_looked_at, saved = begun
        opened = self._threads.opened
        try:
            if error is None and opened and opened[-1][1] is scope:  # nearly always
                opened.pop()[1].__exit__(None, None, None)
            else:
                while any(scope is each for _, each in opened):
                    leave(opened.pop()[1], ended_with(error))
        finally:
            if is_looked_at:
                looks.forward_ended(saved, error)
        if error is not None:
            looks.failed(error)

    def _look_at(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        opened = self._threads.opened
        return looks.forward_begins((args, kwargs), self._counts_saved, lambda: opened[-1][0] if opened else "")

    def backward_begins(self) -> Any:
        """Open the phase of a backward pass."""
        self._before()
        if looks.is_watching:
            looks.backward_begins()
        here.in_backward = True
        scope = phase("backward")
        scope.__enter__()
        return scope

    def backward_ends(self, scope: Any, error: BaseException | None) -> None:
        """Close it."""
        here.in_backward = False
        if error is None:
            scope.__exit__(None, None, None)
            return
        leave(scope, error)
        looks.failed(error)


def is_instrumented(model: torch.nn.Module) -> bool:
    """Return whether this model, and not only one that it is a part of, is marked."""
    marker = calls.marks.get(id(model))
    return isinstance(marker, Forwards) and marker.is_of(model)


class OptimizerSteps:
    """The steps of one optimizer, whichever models share it."""

    _of: ClassVar[weakref.WeakKeyDictionary[torch.optim.Optimizer, OptimizerSteps]] = weakref.WeakKeyDictionary()

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.scope: phase | None = None
        """The step that has begun, until it ends."""

        self._users = 0
        self._key = id(optimizer)
        looks.know_optimizer(optimizer)
        self._handles = [
            optimizer.register_step_pre_hook(self._begin),
            optimizer.register_step_post_hook(self._end),
        ]

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer) -> OptimizerSteps:
        """Return the steps of this optimizer, hooked at the first call; `release` them as often."""
        steps = cls._of.get(optimizer)
        if steps is None:
            steps = cls._of[optimizer] = cls(optimizer)
        steps._users += 1
        return steps

    def release(self) -> None:
        """Note that one model needs them no more. With the last, the hooks are taken away."""
        self._users -= 1
        if self._users == 0:
            for handle in self._handles:
                handle.remove()
            self.end_unless_running()
            for optimizer, steps in list(self._of.items()):
                if steps is self:
                    del self._of[optimizer]
                    looks.forget_optimizer(optimizer)

    def end_unless_running(self) -> None:
        """End a step that an exception left: no hook is called then. A closure's forward is inside of one that runs."""
        if self.scope is not None and not is_below("torch.optim.optimizer"):
            self._leave(UnseenError())

    def _begin(self, *_arguments: Any) -> None:
        if is_compiling() or here.in_backward:  # a step of one parameter, when its gradient is there
            return
        if self.scope is not None:
            self._leave(UnseenError())
        self.scope = phase("optimizer")
        self.scope.__enter__()

    def _end(self, *_arguments: Any) -> None:
        scope = self.scope
        if scope is not None and not is_compiling():
            self.scope = None
            scope.__exit__(None, None, None)
            looks.step_ended(self._key)

    def _leave(self, error: BaseException) -> None:
        scope, self.scope = self.scope, None
        if scope is not None:
            leave(scope, error)


def is_below(module: str) -> bool:
    """Return whether a function of that module is on the calling thread's stack."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == module:
            return True
        frame = frame.f_back
    return False


def _name_below(outer: str | None, name: str) -> str:
    """Name a submodule's phase by its path from the module around it that has a phase."""
    return name[len(outer) + 1 :] if outer and name.startswith(f"{outer}.") else name
