"""The marks of `phasescope run` on torch: every outermost call of a model, every backward pass, step and fetch.

Only outermost ones: the calls inside a model, the forward that a backward pass repeats, the step that a gradient sets
off in it, an optimizer that steps another one, all are part of what is marked already.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import TYPE_CHECKING, Any

import torch

from phasescope import phase, track

from ._attributes import attributes_of
from ._run_loops import loops
from ._scopes import leave
from ._torch_around import guarded, guarded_method
from ._torch_batches import size_fetched
from ._torch_calls import calls
from ._torch_here import here, is_below_autograd, is_for_shapes, is_traced, note_function, settle
from ._torch_looks import looks
from ._torch_marks import ended_with
from ._torch_optimizers import OptimizerClasses, is_around_another
from ._torch_passes import watch_passes
from ._torch_roles import Roles, key_of
from ._torch_storages import parameters_of
from ._tracebacks import step_out

if TYPE_CHECKING:
    from collections.abc import Callable


class _Unmarked:
    """The scope of a call that is not marked, nor anything inside it."""

    def __exit__(self, *_arguments: object) -> None:
        pass


_UNMARKED: Any = _Unmarked()


def is_silent() -> bool:
    """Return whether nothing is to be marked.

    That is so if no session runs, if a framework's fit does, or if the script instruments itself.
    """
    return calls.are_chosen or loops.are_silent()


class _RunThreads(threading.local):
    """The scopes that the calling thread is in."""

    stepping = False  # an optimizer that steps another one, or its parent's `step`, is one step
    fetching = False


_roles = Roles(loops.optimizers)
_threads = _RunThreads()


class Everything:
    """Marks whatever a plain loop does."""

    def __init__(self) -> None:
        self._optimizers = OptimizerClasses(self._step_begins, self._step_ends)

    def begin(self) -> None:
        """Mark torch's work in this process from now on."""
        calls.watch_everything(self)
        _tell_of_optimizers(self.optimizer_made)
        calls.before_choosing.append(loops.leave)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget_calls)
        iterators: Any = torch.utils.data.dataloader._BaseDataLoaderIter
        iterators.__next__ = self._marked_fetch(iterators.__next__)
        watch_passes()

    # Calls of models

    def call_begins(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Open the phase of an outermost call of a model; a module without parameters is not a model."""
        if is_silent() or is_traced() or is_below_autograd() or "_is_replica" in vars(module):
            here.busy = True
            return _UNMARKED
        loops.latest.goes_on()
        role = _roles.of(module)
        if role.name is None:
            return None
        if is_for_shapes(args, kwargs):
            here.busy = True
            return _UNMARKED
        note_function(lambda: parameters_of(module))
        if loops.are_there and not _threads.stepping:
            is_graded = torch.is_grad_enabled() and kwargs.get("training") is not False  # as Keras's models are told
            loops.current().forward_begins(module, role, is_graded=is_graded)
        looks.know_model(module)
        if looks.is_watching:
            looks.forward_begins((args, kwargs))
        scope = phase(role.name)
        scope.__enter__()
        here.busy = True
        return scope

    def call_ends(self, scope: Any, error: BaseException | None) -> None:
        """Close it."""
        here.busy = False
        self._leave(scope, ended_with(error))
        if looks.is_watching and scope is not _UNMARKED:
            looks.forward_ended(None, error)

    # Backward passes

    def backward_begins(self) -> Any:
        """Open the phase of a backward pass. Code inside it is in no phase of its own."""
        was_busy, here.busy = here.busy, True
        here.in_backward, here.differentiates = True, False
        scope: Any = _UNMARKED
        if not is_silent():
            self._optimizers.look_around()
            calls.look_for_own()
            if loops.are_there and not (was_busy or _threads.stepping):
                loops.current().backward_begins()
            if looks.is_watching and not was_busy:
                looks.backward_begins()
            scope = phase("backward")
            scope.__enter__()
        return scope, was_busy

    def backward_ends(self, begun: Any, error: BaseException | None) -> None:
        """Close it."""
        scope, here.busy = begun
        here.in_backward = False
        self._leave(scope, error)

    # Steps

    def optimizer_made(self, optimizer: Any) -> None:
        """Note a new optimizer: calls from now on are named by the modules that it trains."""
        calls.look_for_own()
        loops.current().optimizer_made(key_of(optimizer))
        _roles.add(optimizer, loops.latest.owner)
        self._optimizers.meet(type(optimizer))
        looks.know_optimizer(optimizer)

    def meet_optimizers(self, cls: type, method: str) -> None:
        """Mark the steps of a class that has another name for them."""
        self._optimizers.meet(cls, method)

    def _step_begins(self, optimizer: Any) -> Any:
        if _threads.stepping or is_silent() or is_around_another(optimizer):
            return None
        key = key_of(optimizer)
        if is_below_autograd():  # a step of one parameter, when its gradient is there
            loops.latest.optimizer_stepped(key)
            return None
        if loops.are_there and not here.busy:
            loops.current().optimizer_begins(key)
        _threads.stepping = True
        scope = phase("optimizer")
        scope.__enter__()
        return scope, key

    def _step_ends(self, begun: Any, error: BaseException | None) -> None:
        _threads.stepping = False
        self._leave(begun[0], error)
        if error is None:
            loops.latest.optimizer_stepped(begun[1])
            looks.step_ended(begun[1])

    def _leave(self, scope: Any, error: BaseException | None) -> None:
        leave(scope, error)
        if error is not None:
            loops.latest.failed()
            looks.failed(error)

    # Fetches

    def _marked_fetch(self, fetch: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the `__next__` of a loader's iterator, with each of its batches in a phase."""

        @functools.wraps(fetch)
        def __next__(iterator: Any) -> Any:  # noqa: N807
            scope = self._fetch_begins(iterator)
            try:
                batch = fetch(iterator)
            except BaseException as error:
                if scope is not None:
                    self._fetch_ends(scope, error)
                step_out(error)
                raise
            if scope is not None:
                self._fetch_ends(scope, None)
            return batch

        return __next__

    @guarded_method
    def _fetch_begins(self, iterator: Any) -> Any:
        settle()
        if _threads.fetching or is_silent():
            return None
        if loops.are_there and not here.busy:
            loops.current().fetch_begins(iterator, is_graded=torch.is_grad_enabled())
        if looks.is_watching:
            looks.fetched = size_fetched(attributes_of(iterator).get("_index_sampler"))
        scope = phase("data")
        scope.__enter__()
        _threads.fetching = True
        return scope

    @guarded_method
    def _fetch_ends(self, scope: Any, error: BaseException | None) -> None:
        _threads.fetching = False
        if isinstance(error, StopIteration):
            leave(scope, track.Exhausted())
            loops.latest.fetch_found_the_end()
        else:
            self._leave(scope, error)


def begin_anew() -> None:
    """Forget the loop of the calling thread: this is a forked child."""
    loops.begin_anew()
    _forget_calls()


def _forget_calls() -> None:
    _threads.stepping = _threads.fetching = here.busy = here.in_backward = here.differentiates = False
    here.own_call = 0


def _tell_of_optimizers(made: Callable[[Any], None]) -> None:
    initialise = torch.optim.Optimizer.__init__
    tell = guarded(made)

    @functools.wraps(initialise)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            initialise(self, *args, **kwargs)
        except BaseException as error:
            step_out(error)
            raise
        tell(self)

    torch.optim.Optimizer.__init__ = __init__


everything = Everything()
