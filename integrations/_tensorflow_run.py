"""The marks of `phasescope run` on TensorFlow: every outermost call of a model or a compiled function, every gradient,
step and fetch of a loop that is written by hand.

What runs while a function is traced is no work of the loop's, and is never marked: it only shows what a call of that
function does. Nothing is attached to a model, a function or a tape; the functions stand in TensorFlow's and Keras's
classes.
"""

from __future__ import annotations

import functools
import importlib
import threading
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.python import pywrap_tfe

from phasescope import phase, track

from ._failures import unfelt, with_scope
from ._loop_code import trains
from ._role import ModelNames, Role
from ._run_loops import loops
from ._scopes import leave, logger
from ._tensorflow_functions import CalledFunctions, KnownFunction, is_of_the_framework, name_of, name_of_model
from ._tracebacks import step_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_REPLICA = "_MirroredReplicaThread"
_IN_THE_CALLING_THREAD = ("_DefaultDistributionStrategy", "OneDeviceStrategy")
_ON_BATCH = ("train_on_batch", "test_on_batch", "predict_on_batch")
_END = (StopIteration, tf.errors.OutOfRangeError)


class _ThreadState(threading.local):
    """The state of the calling thread."""

    busy = False  # a marked call: calls inside belong to it
    fetching = False
    call: KnownFunction | None = None  # what is known of the function that is being called


here = _ThreadState()
_fits: list[Callable[[], bool]] = []  # that tell whether one of Keras's is running: it marks itself
_threads: dict[int, threading.Thread] = vars(threading).get("_active", {})
_calls: list[KnownFunction] = []  # that run; replicas of one trace in threads of their own


class Marks:
    """Marks whatever a loop by hand does."""

    def __init__(self) -> None:
        self._functions = CalledFunctions()
        self._names = ModelNames()

    def begin(self) -> None:
        """Mark TensorFlow's work in this process from now on."""
        _put_around(tf.GradientTape, "gradient", self._gradient_begins, self._ends)
        for cls in _there("eager.polymorphic_function.polymorphic_function", "Function"):
            _put_around(cls, "__call__", self._function_begins, self._function_ends)
        for cls in _there("distribute.distribute_lib", "StrategyBase"):
            _put_around(cls, "run", self._run_begins, self._function_ends)
        iterators = _there("data.ops.iterator_ops", "OwnedIterator")
        for cls in (*iterators, *_there("distribute.input_lib", "DistributedIteratorBase")):
            for method in ("__next__", "get_next"):
                _put_around(cls, method, self._fetch_begins, self._fetch_ends)

    def meet_keras(self, keras: ModuleType) -> None:
        """Mark Keras's models and optimizers."""
        from .keras import is_in_a_call

        _fits.append(is_in_a_call)
        keras.Model.__call__ = _marked(_inherited_call(keras.Model), self._model_begins, self._ends)
        for method in _ON_BATCH:
            _put_around(keras.Model, method, self._on_batch(method), self._function_ends)
        base = next(cls for cls in keras.optimizers.Optimizer.__mro__ if "apply" in vars(cls))
        for cls in (base, keras.optimizers.LossScaleOptimizer):
            _put_around(cls, "apply", self._step_begins, self._step_ends)
        _put_around(base, "__init__", lambda args, _kwargs: args[:1], self._optimizer_made)

    # Functions that are compiled

    def _function_begins(self, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
        if not _is_outermost() or is_of_the_framework(args[0]) or args[0]._run_functions_eagerly:
            return None
        function = args[0]
        says = trains(function._python_function)
        return self._call_begins(self._functions.of(function), name_of(function), presumably_trains=says)

    def _run_begins(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not _is_outermost() or type(args[0]).__name__ in _IN_THE_CALLING_THREAD:
            return None
        function = args[1] if len(args) > 1 else kwargs.get("fn")
        return self._call_begins(self._functions.of(function), name_of(function), presumably_trains=trains(function))

    def _on_batch(self, method: str) -> Callable[..., Any]:
        def begins(args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
            if not _is_outermost():
                return None
            known = self._functions.of_method(args[0], method)
            return self._call_begins(known, method, presumably_trains=method == _ON_BATCH[0])

        return begins

    def _call_begins(self, known: KnownFunction, name: str, *, presumably_trains: bool = False) -> Any:
        is_training = known.trains if known.is_known else presumably_trains or None
        if loops.are_there:
            loops.current().compiled_begins(trains=is_training, looks=known.looks)
        here.busy, here.call = True, known
        _calls.append(known)
        scope = phase(f"call ({name})")
        scope.__enter__()
        return scope, known, is_training is not None

    def _function_ends(self, begun: Any, error: BaseException | None) -> None:
        scope, known, was_known = begun
        here.busy, here.call = False, None
        _calls.remove(known)
        _leave(scope, error)
        if error is None:
            known.is_known = True
            if loops.are_there:
                loops.latest.compiled_ended(
                    known.optimizers, trains=known.trains, looks=known.looks, was_known=was_known
                )

    # Calls of models

    def _model_begins(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not _is_outermost():
            _learn(looks=True)
            return None
        if _is_symbolic(args[1:], kwargs):
            return None
        name = "forward"
        if loops.are_there:
            loop = loops.current()
            loop.goes_on()
            if len(loops.optimizers.awaited(loop.owner)) > 1:
                name = f"forward ({self._names.of(args[0], name_of_model(args[0]))})"
            loop.forward_begins(args[0], Role(name, True), is_graded=_is_recording())
        return _enter(name)

    # Gradients

    def _gradient_begins(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not _is_of_variables(args[2] if len(args) > 2 else kwargs.get("sources")):
            return None
        if not _is_outermost():
            _learn(trains=True)
            return None
        tape = args[0]
        if tape._persistent if tape._recording else _is_recording():
            return None  # it is differentiated itself, and belongs to the loss
        if loops.are_there:
            loops.current().backward_begins()
        return _enter("backward")

    # Steps

    def _optimizer_made(self, made: tuple[Any], error: BaseException | None) -> None:
        if error is None:
            key = id(made[0])
            loops.current().optimizer_made(key)
            loops.optimizers.add(key, made[0], loops.latest.owner)

    def _step_begins(self, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
        key = id(args[0])
        if not _is_outermost():
            _learn(trains=True, optimizer=key)
            return None
        if loops.are_there:
            loops.current().optimizer_begins(key)
        return _enter("optimizer"), key

    def _step_ends(self, begun: Any, error: BaseException | None) -> None:
        self._ends(begun[0], error)
        if error is None:
            loops.latest.optimizer_stepped(begun[1])

    # Fetches

    def _fetch_begins(self, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
        if here.fetching or not _is_outermost():
            return None
        if loops.are_there:
            loops.current().fetch_begins(args[0])
        here.fetching = True
        scope = phase("data")
        scope.__enter__()
        return scope

    def _fetch_ends(self, scope: Any, error: BaseException | None) -> None:
        here.fetching = False
        if isinstance(error, _END):
            leave(scope, track.Exhausted())
            loops.latest.fetch_found_the_end()
        else:
            _leave(scope, error)

    def _ends(self, scope: Any, error: BaseException | None) -> None:
        here.busy = False
        _leave(scope, error)


def _enter(name: str) -> Any:
    here.busy = True
    scope = phase(name)
    scope.__enter__()
    return scope


def _leave(scope: Any, error: BaseException | None) -> None:
    leave(scope, error)
    if error is not None:
        loops.latest.failed()


def _is_outermost() -> bool:
    """Return whether a call is the loop's own, and to be marked."""
    if here.busy or not tf.executing_eagerly() or loops.are_silent():
        return False
    if any(is_running() for is_running in _fits):
        return False
    # One that Python has not begun is TensorFlow's own, for a generator or a `tf.py_function`.
    return _kind_of_thread() not in (_REPLICA, "NoneType")


def _kind_of_thread() -> str:
    """Return the class of the calling thread, and do not make an object for one that has none."""
    return type(_threads.get(threading.get_ident())).__name__


def _learn(*, trains: bool = False, looks: bool = False, optimizer: int | None = None) -> None:
    """Note what the function does that is being called, or traced."""
    known = here.call
    if known is None and _calls and _kind_of_thread() == _REPLICA:
        known = _calls[-1]
    if known is None:
        return
    known.trains = known.trains or trains
    known.looks = known.looks or looks
    if optimizer is not None:
        known.optimizers.add(optimizer)


def _is_recording() -> bool:
    """Return whether any tape records in this thread."""
    return not pywrap_tfe.TFE_Py_TapeSetIsEmpty()


def _is_of_variables(sources: Any) -> bool:
    """Return whether a gradient is that of a loss by what is trained: by an input it is a part of some other loss."""
    while issubclass(type(sources), (list, tuple)) and sources:
        sources = sources[0]
    if issubclass(type(sources), dict) and sources:
        return _is_of_variables(next(iter(sources.values())))
    return hasattr(type(sources), "assign")


def _is_symbolic(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether a call computes no more than the shapes of its results: a model that is put together."""
    for given in (*args, *kwargs.values()):
        many = given.values() if type(given) is dict else given if type(given) in (list, tuple) else (given,)
        if any(type(one).__name__ == "KerasTensor" for one in many):
            return True
    return False


def _inherited_call(model: Any) -> Callable[..., Any]:
    """Return a `__call__` for the class of models, which has none but that of all layers: each of them would pay."""

    @functools.wraps(model.__call__)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        try:
            return super(model, self).__call__(*args, **kwargs)
        except BaseException as error:
            step_out(error)
            raise

    return __call__


def _there(module: str, name: str) -> list[Any]:
    """Return the class, or nothing: it is not public, and another version may have another."""
    try:
        return [getattr(importlib.import_module(f"tensorflow.python.{module}"), name)]
    except (ImportError, AttributeError) as error:
        logger.debug("not marked: %s of TensorFlow (%s)", name, error)
        return []


def _put_around(cls: Any, method: str, begins: Callable[..., Any], ends: Callable[..., Any]) -> None:
    setattr(cls, method, _marked(getattr(cls, method), begins, ends))


def _marked(theirs: Callable[..., Any], begins: Callable[..., Any], ends: Callable[..., Any]) -> Callable[..., Any]:
    return with_scope(theirs, unfelt(begins), unfelt(ends))


marks = Marks()
