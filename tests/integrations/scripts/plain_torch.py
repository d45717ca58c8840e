"""Scenarios of `phasescope.integrations.torch.instrument` in plain loops."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import io
import pickle
import threading
import weakref
from typing import TYPE_CHECKING, Any

import torch
from phasescope.integrations.torch import instrument
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

import phasescope
from phasescope import phase
from support.scenarios import notes, phases, scenario, tell_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

torch.set_num_threads(1)


class Block(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)
        self.fail: BaseException | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.fail is not None:
            raise self.fail
        return torch.relu(self.linear(inputs))


class Net(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, wrap: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.first = Block()
        self.rest = torch.nn.Sequential(Block(), torch.nn.Linear(8, 1))
        self.wrap = wrap
        self.unused: torch.nn.Module | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.wrap(self.first, inputs) if self.wrap else self.first(inputs)
        output: torch.Tensor = self.rest(hidden)
        return output


def made(seed: int = 0, **options: Any) -> tuple[Net, torch.optim.Optimizer, DataLoader[torch.Tensor]]:
    torch.manual_seed(seed)
    model = Net(**options)
    data: Any = torch.randn(4, 8)
    return model, torch.optim.Adam(model.parameters()), DataLoader(data, batch_size=2)


def train(model: Net, optimizer: torch.optim.Optimizer, loader: Any, epochs: int = 1) -> None:
    for _ in range(epochs):
        for inputs in loader:
            optimizer.zero_grad()
            model(inputs).sum().backward()
            optimizer.step()


@contextlib.contextmanager
def failing(block: Block, error: BaseException) -> Iterator[None]:
    block.fail = error
    try:
        with contextlib.suppress(type(error)):
            yield
    finally:
        block.fail = None


@scenario
def two_epochs_with_validation() -> Any:
    model, optimizer, loader = made()
    with phasescope.start() as session, instrument(model, optimizer, loader) as marked:
        for n in range(2):
            with phase("epoch", n=n):
                train(model, optimizer, marked.loader)
                with phase("validation"), torch.no_grad():
                    model(torch.randn(2, 8))
        return phases(session), notes(session)


@scenario
def gradient_accumulation() -> Any:
    model, optimizer, loader = made()
    with phasescope.start() as session, instrument(model, optimizer, loader) as marked:
        assert marked.loader is not None
        for inputs in marked.loader:
            model(inputs).sum().backward()
        optimizer.step()
        return phases(session), notes(session)


@scenario
def exceptions_and_then_on() -> Any:
    """In a submodule, in the loss, in the backward, in the step; each time the loop catches it and goes on."""
    model, optimizer, _ = made()
    inputs = torch.randn(2, 8)
    told = {}

    def in_backward(gradient: torch.Tensor) -> None:
        raise ValueError("in the backward")

    def in_step(*_arguments: Any) -> None:
        raise ValueError("in the step")

    with phasescope.start() as session, instrument(model, optimizer, depth=1):
        with phase("submodule"), failing(model.rest[0], ValueError("in the forward")):
            train(model, optimizer, [inputs])
        with phase("backward"), contextlib.suppress(ValueError):
            output = model(inputs)
            hook = model.first.linear.weight.register_hook(in_backward)
            output.sum().backward()
        hook.remove()
        step = optimizer.register_step_pre_hook(in_step)
        with phase("step"), contextlib.suppress(ValueError):
            train(model, optimizer, [inputs])
        step.remove()
        with phase("after"):
            train(model, optimizer, [inputs])
        told["phases"] = phases(session)
    return told


@scenario
def keyboard_interrupt_and_then_on() -> Any:
    model, optimizer, _ = made()
    inputs = torch.randn(2, 8)
    with phasescope.start() as session, instrument(model, optimizer):
        with failing(model.first, KeyboardInterrupt()):
            train(model, optimizer, [inputs])
        train(model, optimizer, [inputs])
        return phases(session)


@scenario
def instrumented_twice_over() -> Any:
    model, optimizer, loader = made()
    with phasescope.start() as session:
        for _ in range(2):
            with instrument(model, optimizer, loader) as marked:
                train(model, optimizer, marked.loader)
        train(model, optimizer, loader)
        return phases(session)


@scenario
def two_models() -> Any:
    """As a GAN: the gradient of one reaches the other, whose own parameters are frozen meanwhile."""
    maker, maker_step, _ = made()
    judge, judge_step, _ = made(1)
    maker.rest[1] = torch.nn.Linear(8, 8)
    maker_step = torch.optim.Adam(maker.parameters())
    with phasescope.start() as session, instrument(maker, maker_step), instrument(judge, judge_step):
        for _ in range(2):
            with phase("judge"):
                fake = maker(torch.randn(2, 8)).detach()
                (judge(fake) - judge(torch.randn(2, 8))).sum().backward()
                judge_step.step()
            with phase("maker"):
                judge.requires_grad_(False)
                judge(maker(torch.randn(2, 8))).sum().backward()
                maker_step.step()
                judge.requires_grad_(True)
        return phases(session), notes(session)


@scenario
def two_models_with_one_optimizer() -> Any:
    one, _, _ = made()
    two, _, _ = made(1)
    both = torch.optim.SGD([*one.parameters(), *two.parameters()], lr=0.1)
    with phasescope.start() as session:
        first, second = instrument(one, both), instrument(two, both)
        train(one, both, [torch.randn(2, 8)])
        first.undo()
        train(two, both, [torch.randn(2, 8)])
        second.undo()
        both.step()
        return phases(session)


@scenario
def weights() -> Any:
    """The final weights without, with, and with depth and a session, as text that keeps every bit."""

    def final(instrumented: bool) -> list[Any]:
        model, optimizer, loader = made()
        if not instrumented:
            train(model, optimizer, loader, 3)
        else:
            with phasescope.start(), instrument(model, optimizer, loader, depth=2) as marked:
                train(model, optimizer, marked.loader, 3)
        return [[value.hex() for value in parameter.flatten().tolist()] for parameter in model.parameters()]

    return final(False), final(True)


@scenario
def submodules() -> Any:
    model, optimizer, _ = made()
    with phasescope.start() as session:
        for depth in (1, 2):
            with instrument(model, optimizer, depth=depth):
                train(model, optimizer, [torch.randn(2, 8)])
        return phases(session)


@scenario
def compiled() -> Any:
    """`fullgraph=True` raises at a graph break."""
    model, optimizer, _ = made()
    step = torch.compile(model, fullgraph=True, backend="aot_eager")
    inputs = torch.randn(2, 8)
    with phasescope.start() as session:
        with instrument(step, optimizer, depth=2):
            train(step, optimizer, [inputs])
        of_compiled = phases(session)
        torch._dynamo.reset()
        with instrument(model, optimizer, depth=2):
            whole = torch.compile(lambda given: model(given).sum(), fullgraph=True, backend="aot_eager")
            whole(inputs).backward()
            optimizer.step()
            breaks = torch._dynamo.explain(model)(inputs).graph_break_count
        return of_compiled, phases(session)[len(of_compiled) :], breaks


@scenario
def checkpointed() -> Any:
    told = {}
    for reentrant in (False, True):
        model, optimizer, _ = made(
            wrap=lambda module, inputs, reentrant=reentrant: checkpoint(
                module, inputs.requires_grad_(), use_reentrant=reentrant
            )
        )
        with phasescope.start() as session, instrument(model, optimizer, depth=1):
            train(model, optimizer, [torch.randn(2, 8)] * 2)
            told[f"reentrant {reentrant}"] = phases(session), notes(session)
    model, optimizer, _ = made()
    with phasescope.start() as session, instrument(model, optimizer):
        checkpoint(model, torch.randn(2, 8), use_reentrant=False).sum().backward()
        optimizer.step()
        told["whole"] = phases(session), notes(session)
    return told


@scenario
def left_behind() -> Any:
    """What hangs on model, parameters, optimizer and a living output, before and after `undo`."""
    model, optimizer, loader = made()

    def hanging() -> int:
        holders = [*model.modules(), *model.parameters(), optimizer, output]
        names = (
            "_forward_hooks",
            "_forward_pre_hooks",
            "_forward_hooks_always_called",
            "_backward_hooks",
            "_backward_pre_hooks",
            "_post_accumulate_grad_hooks",
            "_optimizer_step_pre_hooks",
            "_optimizer_step_post_hooks",
        )
        return sum(len(getattr(holder, name, None) or ()) for holder in holders for name in names)

    output = torch.zeros(1)
    before = hanging()
    marked = instrument(model, optimizer, loader, depth=2)
    output = model(torch.randn(2, 8))
    during = hanging()
    marked.undo()
    marked.undo()
    return before, during, hanging()


@scenario
def kept_alive() -> Any:
    """Whether the model, its parameters, an output and a batch are gone as soon as nobody else holds them."""
    model, optimizer, loader = made()
    gc.collect()
    gc.disable()  # a cycle would be kept until the collector runs, with all its memory on the device
    marked = instrument(model, optimizer, loader, depth=2)
    with phasescope.start():
        assert marked.loader is not None
        for inputs in marked.loader:
            batch = weakref.ref(inputs)
            output = model(inputs)
            output.sum().backward()
            optimizer.step()
            break
        del inputs
        gone = [batch() is None]
        the_output = weakref.ref(output)
        del output
        gone.append(the_output() is None)
    references = [weakref.ref(model), weakref.ref(model.first.linear.weight)]
    del model, optimizer, marked, loader
    gc.enable()
    gc.collect()  # a model of torch's is itself no cycle, but its optimizer's step is
    return gone + [reference() is None for reference in references]


@scenario
def copies() -> Any:
    """Copies and saved models are no longer marked, and saving one warns of nothing."""

    def saved(what: Any) -> bytes:
        file = io.BytesIO()
        torch.save(what, file)
        return file.getvalue()

    model, optimizer, _ = made()
    inputs = torch.randn(2, 8)
    without = pickle.dumps(model), saved(model)
    with phasescope.start() as session, instrument(model, optimizer, depth=1):
        averaged = copy.deepcopy(model)
        loaded = pickle.loads(pickle.dumps(model))
        saved(model(inputs))
        marks = len(phases(session))
        averaged(inputs).sum().backward()
        loaded(inputs).sum().backward()
        as_without = {"pickled": pickle.dumps(model) == without[0], "saved": saved(model) == without[1]}
        return phases(session)[marks:], as_without


@scenario
def recursion() -> Any:
    class Nested(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)

        def forward(self, inputs: torch.Tensor, depth: int) -> torch.Tensor:
            return self.linear(self(inputs, depth - 1) if depth else inputs)

    model = Nested()
    with phasescope.start() as session, instrument(model):
        model(torch.randn(1, 4), 2).sum().backward()
        model(torch.randn(1, 4), 0)
        return phases(session)


@scenario
def own_call() -> Any:
    """A model and a part of it whose classes have a `__call__` that leaves out torch's."""

    class Base(torch.nn.Linear):  # type: ignore[misc]
        def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.forward(inputs)

    class Model(Base):
        def __init__(self) -> None:
            super().__init__(8, 2)
            self.part = Base(8, 8)

        def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().__call__(self.part(inputs))

    model = Model()
    optimizer = torch.optim.SGD(model.parameters())
    with phasescope.start() as session:
        with instrument(model, optimizer, depth=1):
            model(torch.randn(2, 8)).sum().backward()
            optimizer.step()
        model(torch.randn(2, 8))
        return phases(session)


@scenario
def closure() -> Any:
    """An optimizer that calls forward and backward itself."""
    model, _, _ = made()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2, max_eval=2)
    inputs = torch.randn(2, 8)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value: torch.Tensor = model(inputs).pow(2).sum()
        value.backward()
        return value

    with phasescope.start() as session, instrument(model, optimizer):
        optimizer.step(loss)
        return phases(session), notes(session)


@scenario
def unused_parameters() -> Any:
    """A part of the model takes no gradient."""
    model, optimizer, _ = made()
    model.unused = torch.nn.Linear(8, 8)
    with phasescope.start() as session, instrument(model, optimizer):
        for _ in range(3):
            output = model(torch.randn(2, 8))
            with phase("mine"):
                output.sum().backward()
        return phases(session), notes(session)


@scenario
def at_the_end_of_a_pass() -> Any:
    """What another queues for the end of the pass while it runs, as data parallelism does with its last reduction."""
    model, _, _ = made()

    def reduce() -> None:
        with phase("reduction"):
            pass

    def queue(_gradient: Any) -> None:
        torch.autograd.Variable._execution_engine.queue_callback(reduce)

    with phasescope.start() as session, instrument(model):
        next(model.parameters()).register_hook(queue)
        model(torch.randn(2, 8)).sum().backward()
        return phases(session), notes(session)


@scenario
def outputs() -> Any:
    """Outputs of every kind that a gradient can come back through."""

    @dataclasses.dataclass
    class Output:
        loss: torch.Tensor
        name: str = "x"

    kinds: list[Callable[[torch.Tensor], Any]] = [
        lambda y: (y, None),
        lambda y: {"a": [y, y + 1]},
        lambda y: Output(y),
        lambda y: None,
    ]
    told = []
    for kind in kinds:

        class Wrapped(torch.nn.Module):  # type: ignore[misc]
            def __init__(self, kind: Any) -> None:
                super().__init__()
                self.linear = torch.nn.Linear(4, 1)
                self.kind = kind

            def forward(self, inputs: torch.Tensor) -> Any:
                self.last = self.linear(inputs).sum()
                return self.kind(self.last)

        model = Wrapped(kind)
        with phasescope.start() as session, instrument(model):
            model(torch.randn(1, 4))
            model.last.backward()
            told.append(phases(session))
    return told


@scenario
def backward_in_another_thread() -> Any:
    """Called there by the training."""
    model, optimizer, _ = made()
    with phasescope.start() as session, instrument(model, optimizer):
        with phase("step"):
            loss = model(torch.randn(2, 8)).sum()
            in_thread(loss.backward)
            optimizer.step()
        return phases(session), notes(session)


def in_thread(function: Callable[[], Any]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@scenario
def syncs() -> Any:
    """How often a value is taken to the host in a step, without and with."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):  # type: ignore[misc]
        calls = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            Count.calls += "_local_scalar_dense" in str(function) or "is_nonzero" in str(function)
            return function(*args, **(kwargs or {}))

    def counted(instrumented: bool) -> int:
        model, _, loader = made()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        Count.calls = 0
        with phasescope.start(), Count():
            if instrumented:
                with instrument(model, optimizer, loader, depth=2) as marked:
                    train(model, optimizer, marked.loader)
            else:
                train(model, optimizer, loader)
        return Count.calls

    return counted(False), counted(True)


tell_all()
