"""When to count what a training's memory is made of: at the end of a step, if something has changed, and else rarely.

A step that is looked at is watched from its beginning: what its forward leaves behind, and which tensors it is given.
Everything here runs in the training's own thread, between its calls; models, optimizers and inputs are held weakly.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import torch

import phasescope

from ._held import hold, there
from ._look_times import ALWAYS, AT_LEAST_NS, ONE_PART_IN, Pause
from ._torch_around import guarded_method
from ._torch_batches import Shapes, is_batch_first
from ._torch_modules import Modules
from ._torch_saved import Saved
from ._torch_storages import (
    Storages,
    buffers_of,
    given_to,
    gradients_of,
    outline_of,
    parameters_of,
    state_of,
    tensors_in,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MAX_INPUTS = 64
_MAX_FORWARDS = 64
_MAX_STEPS = 64
_MAX_FAILURES = 8


class Looks:
    """The models and optimizers of this process, and the looks at them."""

    def __init__(self, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self.is_watching = True
        """Whether the forwards and backward passes of the present step are to be reported."""

        self.fetched: int | None = None
        """The number of samples that the loader gives at once from which was fetched last, None if it says none."""

        self._now_ns = now_ns
        self._models: dict[int, weakref.ref[Any]] = {}
        self._optimizers: dict[int, weakref.ref[Any]] = {}
        self.modules = Modules()
        self._session_id: str | None = None
        self._begin(None)

    def _begin(self, session_id: str | None) -> None:
        self._session_id = session_id
        self._began_ns = self._due_ns = self._has_time_ns = self._now_ns()
        self._asked_again_ns = 0
        self._pause = Pause()
        self._looks = self._spent_ns = self._steps = 0
        self._failure: int | None = None
        self._failures = 0
        self._seen: object = None
        self._devices: list[str] = []
        self._watch(None)

    def _watch(self, optimizer: int | None) -> None:
        """Watch a step from now on, until this optimizer has stepped again; None: until any has."""
        self.is_watching = True
        self._until = optimizer
        self._watched = 0
        self._thread = threading.get_ident()
        self._inputs: list[weakref.ref[Any]] = []
        self._shapes: list[Shapes] = []
        self._before: dict[str, int] | None = None
        self._is_exact = False
        self._since_backward: dict[str, int] = {}
        self._kept: dict[str, int] = {}
        self.modules.watch()

    # Whose memory

    def know_model(self, model: Any) -> None:
        """Count a model from now on, as long as it is there."""
        if hold(self._models, model):
            self.is_watching = True

    def forget_model(self, model: Any) -> None:
        """Count it no more."""
        self._models.pop(id(model), None)
        self.modules.forget(model)

    def know_optimizer(self, optimizer: Any) -> None:
        """Count an optimizer's parameters and state from now on, as long as it is there."""
        if hold(self._optimizers, optimizer):
            self.is_watching = True

    def forget_optimizer(self, optimizer: Any) -> None:
        """Count it no more."""
        self._optimizers.pop(id(optimizer), None)

    # What happens in the training

    @guarded_method
    def forward_begins(
        self, given: Iterable[Any], exactly: bool = False, module: Callable[[], str] | None = None
    ) -> Saved | None:
        """Note that an outermost forward begins, with these arguments, if a step is watched.

        exactly: count what autograd saves, instead of what is allocated before and after; `module` returns the name
        of the submodule that runs. What does that is returned, for `forward_ended`: it must be ended whatever becomes
        of this session and its steps meanwhile.
        """
        session = self._session()
        if session is None or not self.is_watching or threading.get_ident() != self._thread:
            return None
        if not self._looks or (not self._steps and self._now_ns() >= self._due_ns):  # nobody may tell of steps
            self._look(session, "forward")
        if len(self._inputs) < _MAX_INPUTS:
            for each in given:
                self._inputs += [weakref.ref(tensor) for tensor in tensors_in(each, depth=3)]
        if not torch.is_grad_enabled():
            return None
        if len(self._shapes) < _MAX_FORWARDS:
            with torch._C.DisableTorchFunction():
                self._shapes.append(Shapes(given))
        if exactly:
            saved = Saved(module)
            saved.begin()
            return saved
        self._before = self._allocated(session)
        return None

    @guarded_method
    def forward_ended(self, saved: Saved | None = None, error: BaseException | None = None) -> None:
        """Note its end, with what `forward_begins` returned, and the exception that it ended with."""
        if saved is not None:
            saved.end()
        session = self._session()
        if session is None or threading.get_ident() != self._thread:
            return
        before, self._before = self._before, None
        if error is not None:  # what it has made so far goes with the exception
            return
        left = {}
        if saved is not None:
            self._is_exact = True
            left = saved.sizes(self._known_tensors())
            self.modules.add(saved.sizes_by_module(self._known_tensors()))
        elif before is not None:
            now = self._allocated(session)
            left = {device: max(0, now[device] - before[device]) for device in now.keys() & before.keys()}
        for device, size in left.items():
            self._since_backward[device] = self._since_backward.get(device, 0) + size

    @guarded_method
    def backward_begins(self) -> None:
        """Note that a backward pass begins: it frees what the forwards before it have left."""
        if threading.get_ident() == self._thread:
            for device, left in self._since_backward.items():
                self._kept[device] = max(left, self._kept.get(device, 0))
            self._since_backward = {}
            self.modules.backward_begins()

    def step_ended(self, optimizer: int) -> None:
        """Note that an optimizer has stepped, by a number that distinguishes it from others."""
        if self.is_watching or self._now_ns() >= self._asked_again_ns:
            self._step_ended(optimizer)

    @guarded_method
    def _step_ended(self, optimizer: int) -> None:
        session = self._session()
        if session is None:
            return
        self._steps += 1
        if self.is_watching:
            self._watched += 1
            is_whole = self._until is None or self._until == optimizer or self._watched >= _MAX_STEPS
            if is_whole and threading.get_ident() == self._thread:
                self._look(session, "step")
                self.is_watching = False
        elif self._is_due(self._now_ns()):
            self._watch(optimizer)

    @guarded_method
    def failed(self, error: BaseException) -> None:
        """Note that an exception is about to leave a forward, a backward pass or a step: if memory ran out, look."""
        if type(error).__name__ != "OutOfMemoryError" or id(error) == self._failure or self._failures >= _MAX_FAILURES:
            return
        session = self._session()
        if session is not None:
            self._failure = id(error)  # the calls around this one tell of it again
            self._failures += 1
            self._kept = {}
            self._look(session, "failure")

    def _session(self) -> phasescope.Session | None:
        session = phasescope.current()
        if session is None or not (self._models or self._optimizers):
            return None
        if session.session_id != self._session_id:
            self._begin(session.session_id)
        return session

    def _is_due(self, now_ns: int) -> bool:
        # The first three are at the first forward, after the first step, and after one that is like all others.
        if self._looks < ALWAYS or now_ns >= self._due_ns:
            return True
        if now_ns < self._has_time_ns:
            self._asked_again_ns = self._has_time_ns
            return False
        has_changed = self._state() != self._seen
        self._asked_again_ns = min(self._due_ns, now_ns + self._pause.after(has_changed))
        return has_changed

    def _state(self) -> object:
        """Return what changes when the set of tensors does, as far as that can be found out in a microsecond or two."""
        with torch._C.DisableTorchFunction():
            return len(self._models), [outline_of(optimizer) for optimizer in there(self._optimizers)]

    # The looks

    def _look(self, session: phasescope.Session, moment: str) -> None:
        began_ns = self._now_ns()
        try:
            sizes = self._count()
            self._devices = list(sizes)
            self._looks += 1
            batch_size, batch_elements = self._batch()
            session.note_categories(
                sizes,
                moment=moment,
                activations_are_exact=self._is_exact,
                looks=self._looks,
                looks_ns=self._spent_ns,
                batch_size=batch_size,
                batch_elements=batch_elements,
                modules=self.modules.sizes(there(self._optimizers)),
            )
            self._seen = self._state()
        finally:
            now_ns = self._now_ns()
            took_ns = now_ns - began_ns
            self._spent_ns += took_ns
            self._has_time_ns = self._began_ns + (self._spent_ns + took_ns) * ONE_PART_IN  # for one more of them
            self._due_ns = max(now_ns + AT_LEAST_NS, self._has_time_ns)

    def _count(self) -> dict[str, dict[str, int]]:
        storages = Storages()
        with torch._C.DisableTorchFunction():
            models, optimizers = there(self._models), there(self._optimizers)
            parameters = [one for model in models for one in parameters_of(model)]
            parameters += [one for optimizer in optimizers for one in given_to(optimizer)]
            storages.add("parameters", parameters)
            if models:
                storages.add("buffers", (one for model in models for one in buffers_of(model)))
            storages.add("gradients", gradients_of(parameters))
            if optimizers:
                storages.add("optimizer_state", (one for optimizer in optimizers for one in state_of(optimizer)))
            if self._inputs:
                storages.add("inputs", (one for ref in self._inputs if (one := ref()) is not None))
        for device, sizes in storages.sizes.items():
            floats = storages.float32.get(device, {})
            sizes |= {f"{category}_float32": floats.get(category, 0) for category in sizes}
        for device, left in self._kept.items():
            storages.sizes.setdefault(device, {})["activations"] = left
        return storages.sizes

    def _batch(self) -> tuple[int | None, int | None]:
        """Return the size of the step's batches and the elements of the largest, None where that is not sure."""
        if not self._shapes:
            return None, None
        batch_first = is_batch_first(there(self._models))
        sizes = {shapes.batch_size(self.fetched, batch_first) for shapes in self._shapes}
        size = next(iter(sizes)) if len(sizes) == 1 else None
        return size, max(shapes.elements for shapes in self._shapes)

    def _known_tensors(self) -> list[Any]:
        """Return the tensors that a forward keeps besides its activations."""
        models = there(self._models)
        own = [one for model in models for of in (parameters_of, buffers_of) for one in of(model)]
        return own + [one for ref in self._inputs if (one := ref()) is not None]

    def _allocated(self, session: phasescope.Session) -> dict[str, int]:
        """Return what is allocated on each device that the models lie on, as far as that is known."""
        allocated = {}
        for device in self._devices:
            size = session.allocated_bytes(device)
            if size is not None:
                allocated[device] = size
        return allocated


looks = Looks()
