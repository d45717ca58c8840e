"""The beginning and end of a Hugging Face trainer's forward and backward, for which it has no events.

For the time of a training, the trainer's `compute_loss` and its accelerator's `backward` are called through functions
of ours, which hide the methods as attributes of these two objects alone: a subclass keeps its own.
"""

from __future__ import annotations

import dis
import functools
import inspect
import itertools
import weakref
from typing import TYPE_CHECKING, Any

from ._torch_looks import looks
from ._tracebacks import step_out

if TYPE_CHECKING:
    from ._scopes import Scopes


class Parts:
    """The parts of a step that can be separated, for one training: `forward` and `backward`, or both as one."""

    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes
        self._trainer: weakref.ref[Any] | None = None
        self._tells_forward = self._tells_backward = False
        self._before: list[_Before] = []
        self._handles: list[Any] = []

    def begin(self, trainer: Any, training_step: Any) -> None:
        """Prepare for a training that is about to begin; `training_step` is the framework's own."""
        self.end()
        called = _called(type(trainer), training_step)
        self._trainer = weakref.ref(trainer)
        self._tells_backward = "accelerator.backward" in called
        self._tells_forward = self._tells_backward and "compute_loss" in called
        self.stand_before()

    def stand_before(self) -> None:
        """Prepare again when the loop begins: a search for hyperparameters has made a new accelerator by then."""
        trainer = None if self._trainer is None else self._trainer()
        if trainer is None:
            return
        if self._tells_forward:
            self._stand_before(trainer, "compute_loss", "forward")
        if self._tells_backward:
            self._stand_before(trainer.accelerator, "backward", "backward")

    def _stand_before(self, thing: Any, name: str, phase: str) -> None:
        if not isinstance(vars(thing).get(name), _Before):
            self._before.append(_Before(thing, name, phase, self._scopes))

    def batch(self) -> None:
        """Note that a batch of a step begins."""
        if not self._tells_backward:
            self._scopes.enter("forward_backward")
        elif not self._tells_forward:
            self._scopes.enter("forward")

    def hook_steps(self, optimizer: Any) -> None:
        """Set hooks on the optimizer's steps, for versions of transformers that have no event for them."""
        inner = getattr(optimizer, "optimizer", optimizer)
        if self._handles or not hasattr(inner, "register_step_pre_hook"):
            return

        self._handles = [
            inner.register_step_pre_hook(self.optimizer_begins),
            inner.register_step_post_hook(self.optimizer_ended),
        ]

    def optimizer_begins(self, *_: Any) -> None:
        """Note that a step of the optimizer begins."""
        self._scopes.leave_inside("step")
        self._scopes.enter("optimizer")

    def optimizer_ended(self, *_: Any) -> None:
        """Note that it has ended."""
        self._scopes.leave("optimizer")
        looks.step_ended(id(self))

    def end(self) -> None:
        """Take everything away again."""
        for each in self._before:
            each.give_way()
        self._before.clear()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __reduce__(self) -> tuple[type[Parts], tuple[Scopes]]:
        return (Parts, (self._scopes,))


class _Before:
    """Stands before a method as an attribute of its object. A copy of the object has the method itself."""

    def __init__(self, thing: Any, name: str, phase: str, scopes: Scopes) -> None:
        self._thing, self._name, self._phase, self._scopes = weakref.ref(thing), name, phase, scopes
        self._own = vars(thing).get(name)
        self._method = self._own if self._own is not None else getattr(type(thing), name)
        functools.update_wrapper(self, self._method)
        setattr(thing, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        method = self._method if self._own is not None else self._method.__get__(self._thing())
        scopes, name = self._scopes, self._phase
        inside = scopes.innermost
        is_part = inside == "step" or (inside == "forward" and name != "forward")
        if is_part:
            scopes.leave_inside("step")
            if looks.is_watching:
                looks.forward_begins((args, kwargs)) if name == "forward" else looks.backward_begins()
            scopes.enter(name)
        try:
            result = method(*args, **kwargs)
        except BaseException as error:
            if is_part:
                scopes.leave(name, error)
            step_out(error)
            raise
        if is_part:
            scopes.leave(name)
            if looks.is_watching and name == "forward":
                looks.forward_ended()
        return result

    def give_way(self) -> None:
        thing = self._thing()
        if thing is None or vars(thing).get(self._name) is not self:
            return
        if self._own is None:
            delattr(thing, self._name)
        else:
            setattr(thing, self._name, self._own)

    def __reduce__(self) -> tuple[Any, ...]:
        return (getattr, (self._thing(), self._name)) if self._own is None else (functools.partial, (self._own,))


def _called(trainer: type, framework_step: Any) -> set[str]:
    """Return the names that a step of these trainers calls: the framework's own step, or that of a subclass without it.

    It is read off the code of the functions, before any of them runs.
    """
    for cls in trainer.__mro__:
        step = vars(cls).get("training_step")
        names = set() if step is None else _names(getattr(inspect.unwrap(step), "__code__", None))
        if step is not None and (step is framework_step or "training_step" not in names):
            return names
    return set()


def _names(code: Any) -> set[str]:
    """Return the names in a function's code, and `accelerator.backward` if that is looked up: losses have one too."""
    if code is None:
        return set()
    pairs = itertools.pairwise(dis.get_instructions(code))
    of_accelerator = any((first.argval, then.argval) == ("accelerator", "backward") for first, then in pairs)
    return {*code.co_names, *(["accelerator.backward"] if of_accelerator else [])}
