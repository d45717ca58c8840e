"""What `phasescope run` marks of torch: every outermost call of a model, every backward pass, step and fetch.
Only outermost ones: what a model calls inside, what a backward pass computes anew, the step that a gradient sets off in
it, an optimizer that steps another one, all are part of what is marked already.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import torch

import phasescope
from phasescope import phase, track

from ._scopes import FitSession, leave
from ._torch_calls import calls, guarded, here, is_below_autograd, is_traced
from ._torch_marks import ended_with
from ._torch_optimizers import OptimizerClasses
from ._torch_roles import Roles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Unmarked:
    """The scope of what is not marked, nor anything inside of it."""

    def __exit__(self, *_arguments: object) -> None:
        pass


_UNMARKED: Any = _Unmarked()


def is_silent() -> bool:
    """Whether nothing is to be marked: no session runs, or a framework's fit does, or the script instruments itself."""
    return calls.are_chosen or FitSession.is_any_open() or phasescope.current() is None


class Everything:
    """Marks whatever a plain loop does."""

    def __init__(self) -> None:
        self._roles = Roles()
        self._optimizers = OptimizerClasses(self._step_begins, self._step_ends)

    def call_begins(self, module: Any) -> Any:
        """Open the phase of an outermost call of a model; a module without parameters is none."""
        if is_silent() or is_traced() or is_below_autograd():
            here.busy = True
            return _UNMARKED
        role = self._roles.of(module)
        if role.name is None:
            return None
        scope = phase(role.name)
        scope.__enter__()
        here.busy = True
        return scope

    def call_ends(self, scope: Any, error: BaseException | None) -> None:
        """Close it."""
        here.busy = False
        leave(scope, ended_with(error))

    def backward_begins(self) -> Any:
        """Open the phase of a backward pass. What runs inside of it is in no phase of its own."""
        was_busy, here.busy = here.busy, True
        here.in_backward = True
        scope: Any = _UNMARKED
        if not is_silent():
            self._optimizers.look_around()
            scope = phase("backward")
            scope.__enter__()
        return scope, was_busy

    def backward_ends(self, begun: Any, error: BaseException | None) -> None:
        """Close it."""
        scope, here.busy = begun
        here.in_backward = False
        leave(scope, error)

    def optimizer_made(self, optimizer: Any) -> None:
        """What is called from now on is named by what this one trains."""
        self._roles.add(optimizer)
        self._optimizers.meet(type(optimizer))

    def _step_begins(self, _optimizer: Any) -> Any:
        if _threads.stepping or is_below_autograd() or is_silent():
            return None
        _threads.stepping = True
        scope = phase("optimizer")
        scope.__enter__()
        return scope

    def _step_ends(self, scope: Any, error: BaseException | None) -> None:
        _threads.stepping = False
        leave(scope, error)

    def fetched(self, fetch: Callable[[Any], Any], iterator: Any) -> Any:
        """The next batch of a loader."""
        if is_silent():
            return fetch(iterator)
        return next(iter(track(_Fetch(fetch, iterator))))


class _Threads(threading.local):
    stepping = False  # an optimizer that steps another one, or its parent's `step`, is one step


_threads = _Threads()


class _Fetch:
    """One fetch from an iterator, as the iterable that `track` takes."""

    def __init__(self, fetch: Callable[[Any], Any], iterator: Any) -> None:
        self._fetch = fetch
        self._iterator = iterator

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._fetch(self._iterator)


def mark_everything() -> None:
    """Mark what torch does in this process, from now on."""
    everything = Everything()
    calls.watch_everything(everything)
    _tell_of_optimizers(everything.optimizer_made)
    iterators: Any = torch.utils.data.dataloader._BaseDataLoaderIter
    fetch = iterators.__next__

    @functools.wraps(fetch)
    def __next__(self: Any) -> Any:  # noqa: N807
        return everything.fetched(fetch, self)

    iterators.__next__ = __next__


def _tell_of_optimizers(made: Callable[[Any], None]) -> None:
    initialise = torch.optim.Optimizer.__init__
    tell = guarded(made)

    @functools.wraps(initialise)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        initialise(self, *args, **kwargs)
        tell(self)

    torch.optim.Optimizer.__init__ = __init__
