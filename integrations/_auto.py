"""The integrations of `phasescope run`: each framework that the script imports gets its integration unasked.

Unlike the integrations themselves, which only use hooks, this puts functions of its own around a few of the
frameworks': a script that names no callback and no model leaves no other way.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import phasescope

from ._imports import when_imported
from ._scopes import logger
from ._tracebacks import step_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType

_PHASES = ("phase", "track")


def instrument_imports() -> None:
    """Instrument torch, TensorFlow, Lightning, transformers and Keras as the script imports them."""
    _own_phases.watch()
    when_imported(
        {
            "torch": _on_torch,
            "lightning.pytorch.trainer.trainer": _on_lightning,
            "pytorch_lightning.trainer.trainer": _on_lightning,
            "transformers.trainer": _on_transformers,
            "keras": _on_keras,
            "tensorflow": _on_tensorflow,
        }
    )


def _after(cls: Any, name: str, then: Callable[[Any], None]) -> None:
    """Call `then` with its object after each call of the method; an exception that it raises is logged."""
    method = getattr(cls, name)

    @functools.wraps(method)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            result = method(self, *args, **kwargs)
        except BaseException as error:
            step_out(error)
            raise
        try:
            then(self)
        except Exception as error:
            logger.warning("a %s is not instrumented (%s: %s)", cls.__name__, type(error).__name__, error)
        return result

    setattr(cls, name, called)


def _on_lightning(module: ModuleType) -> None:
    def made(trainer: Any) -> None:
        from .lightning import PhaseCallback

        if not any(isinstance(callback, PhaseCallback) for callback in trainer.callbacks):
            trainer.callbacks.insert(0, PhaseCallback())

    _after(module.Trainer, "__init__", made)


def _on_transformers(module: ModuleType) -> None:
    def made(trainer: Any) -> None:
        from .transformers import PhaseCallback

        if not any(isinstance(callback, PhaseCallback) for callback in trainer.callback_handler.callbacks):
            trainer.add_callback(PhaseCallback())

    _after(module.Trainer, "__init__", made)


def _on_keras(module: ModuleType) -> None:
    from .keras import PhaseCallback

    def made(callbacks: Any) -> None:
        if not any(isinstance(callback, PhaseCallback) for callback in callbacks.callbacks):
            callback = PhaseCallback()
            callback.set_params(callbacks.params)
            callback.set_model(vars(callbacks).get("_model"))  # its property has JAX put the whole state back
            callbacks.callbacks.append(callback)

    _after(module.callbacks.CallbackList, "__init__", made)
    if module.backend.backend() == "torch":
        from ._torch_run import everything

        everything.meet_optimizers(module.optimizers.Optimizer, "apply")
    elif module.backend.backend() == "tensorflow":
        from ._tensorflow_run import marks

        marks.meet_keras(module)


def _on_torch(_module: ModuleType) -> None:
    from ._torch_run import everything

    _begin_loops()
    everything.begin()


def _on_tensorflow(_module: ModuleType) -> None:
    from ._tensorflow_run import marks

    _begin_loops()
    marks.begin()


def _begin_loops() -> None:
    from ._run_loops import loops

    if loops.begin():
        _at_the_end.append(loops.leave)
        _own_phases.then(loops.leave_to_the_script)


def script_ended(error: BaseException | None) -> None:
    """End the phases around the script's loop; with an error, as ended by that."""
    for end in _at_the_end:
        end(error)


_at_the_end: list[Callable[[BaseException | None], None]] = []


class _OwnPhases:
    """Tells whether the script has phases of its own: once somebody outside of this package takes `phase` from it."""

    def __init__(self) -> None:
        self._are_there = False
        self._calls: list[Callable[[], None]] = []

    def then(self, call: Callable[[], None]) -> None:
        """Call it when the script has, now if that was so already."""
        self._calls.append(call)
        if self._are_there:
            call()

    def watch(self) -> None:
        """Look who asks. A module that this package takes is not left where the script would find it without asking."""
        ours = vars(phasescope)
        get = ours["__getattr__"]

        def __getattr__(name: str) -> object:  # noqa: N807
            value = get(name)
            if name in _PHASES:
                if _asking() == "phasescope":
                    ours.pop(name, None)
                else:
                    self._found()
            return value

        ours["__getattr__"] = __getattr__
        for name in _PHASES:
            ours.pop(name, None)

    def _found(self) -> None:
        self._are_there = True
        for call in self._calls:
            call()


_own_phases = _OwnPhases()


def _asking() -> str:
    """Return the package whose code asks a module for an attribute, be it by an import."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package != "importlib":
            return package
        frame = frame.f_back
    return ""
