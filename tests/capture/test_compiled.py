"""Phases in code that torch compiles, exports or traces: one graph, one result, with a session and without."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase, track
from phasescope.testing import FakeBackend
from support.assertions import paths

torch = pytest.importorskip("torch")
dynamo = pytest.importorskip("torch._dynamo")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phasescope import Session


def nested(x: Any) -> Any:
    with phase("first", n=1, x=x):
        y = x * 2
    with phase("second") as outer, phase("inner"):
        y = y + 1
    assert outer is not None
    return y


@phase("decorated", n=2)
def decorated(x: Any) -> Any:
    return x + 3


def calls_decorated(x: Any) -> Any:
    return decorated(x) * 2


def decorates_inside(x: Any) -> Any:
    @phase("inside")
    def plus(y: Any) -> Any:
        return y + 1

    return plus(x)


def raises_inside(x: Any) -> Any:
    try:
        with phase("raises"):
            y = x + 1
            raise ValueError("mine")
    except ValueError:
        return y * 2


def counts_up(x: Any) -> Any:
    for number in range(3):
        with phase(f"layer {number}", number=number):
            x = x + number
    return x


@phase("generator")
def generator(x: Any) -> Iterator[Any]:
    yield x
    yield x + 1


def reads_generator(x: Any) -> Any:
    return sum(item * 2 for item in generator(x))


def tracks(x: Any) -> Any:
    total = x
    for item in track([x, x + 1], "data", n=1):
        total = total + item
    return total


class Decorated(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)

    @phase("forward")
    def forward(self, x: Any) -> Any:
        return self.inner(x)


class Keeping(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)
        self.ph = phase("kept")

    def forward(self, x: Any) -> Any:
        with self.ph:
            return self.inner(x)


SHAPES: list[Callable[[], Any]] = [
    *(lambda function=function: function for function in (nested, decorated, calls_decorated, decorates_inside)),
    *(lambda function=function: function for function in (raises_inside, counts_up, reads_generator, tracks)),
    Decorated,
]
NAMES = ["nested", "decorated", "calls", "decorates", "raises", "counts", "generator", "track", "module"]


class Plain:
    """A context manager of nobody's."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def with_plain(x: Any) -> Any:
    with Plain():
        return x + 1


def torch_compiles_context_managers() -> bool:
    try:
        torch.compile(with_plain, backend="eager", fullgraph=True)(torch.ones(1))
    except Exception:
        return False
    return True


pytestmark = pytest.mark.skipif(
    not torch_compiles_context_managers(), reason="this torch compiles no context manager of Python's (2.3 does not)"
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)  # torch shows progress with it, and a thread of it stays
    dynamo.reset()
    yield
    dynamo.reset()


@pytest.fixture
def x() -> Any:
    return torch.ones(2, 4)


def session(running: bool) -> contextlib.AbstractContextManager[Session | None]:
    return phasescope.start(backends=[FakeBackend()]) if running else contextlib.nullcontext()


def compiled(function: Any, **options: Any) -> Any:
    return torch.compile(function, backend="eager", fullgraph=True, **options)


traced = pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
running = pytest.mark.parametrize("running", [True, False], ids=["with a session", "without one"])


@running
@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_a_phase_breaks_no_graph_and_is_none_there(x: Any, shape: Callable[[], Any], running: bool) -> None:
    function = shape()
    expected = function(x)
    with session(running) as its:
        assert torch.equal(compiled(function)(x), expected)
        assert its is None or (paths(its), its.dropped) == ([], 0)


@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_nothing_is_compiled_again_because_a_session_begins_or_ends(x: Any, shape: Callable[[], Any]) -> None:
    function = shape()
    made = compiled(function)
    made(x)
    with dynamo.config.patch(error_on_recompile=True):
        for _ in range(2):
            with session(running=True):
                made(x)
            made(x)


def test_an_attribute_that_counts_up_makes_no_graph_for_each_number(x: Any) -> None:
    graphs = []

    def backend(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    def step(x: Any, number: int) -> Any:
        with phase("step", number=number):
            return x + 1

    made = torch.compile(step, backend=backend, fullgraph=True)
    with session(running=True):
        for number in range(8):
            assert torch.equal(made(x, number), x + 1)
    assert len(graphs) <= 2  # for the first one, and for any other


def test_where_the_graph_breaks_inside_a_phase_it_is_one(x: Any) -> None:
    def step(x: Any) -> Any:
        with phase("step", n=1):
            dynamo.graph_break()
            return x + 1

    with session(running=True) as its:
        assert torch.equal(torch.compile(step, backend="eager")(x), x + 1)
        assert its is not None
        assert paths(its) == ["step"]


def test_a_phase_that_leaves_compiled_code_keeps_its_name(x: Any) -> None:
    def make(x: Any) -> Any:
        return phase("made", n=1), x + 1

    with session(running=True) as its:
        made, _ = compiled(make)(x)
        with made:
            pass
        assert its is not None
        assert paths(its) == ["made"]
        assert its.dropped == 0


@traced
@running
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[6], SHAPES[8]], ids=["nested", "generator", "module"])
def test_what_is_exported_or_traced_is_the_same(shape: Callable[[], Any], running: bool, x: Any) -> None:
    function = shape()
    expected = function(x)

    class Module(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return function(x)

    module = function if isinstance(function, torch.nn.Module) else Module()
    with session(running):
        for strict in (True, False):
            assert torch.equal(torch.export.export(module, (x,), strict=strict).module()(x), expected)
        assert torch.equal(torch.jit.trace(module, (x,))(x), expected)


@running
@pytest.mark.parametrize("shape", SHAPES[:2], ids=NAMES[:2])
def test_transforms_of_functions_work_as_without_phases(shape: Callable[[], Any], running: bool, x: Any) -> None:
    function = shape()

    def loss(x: Any) -> Any:
        return function(x).sum()

    for transform in (torch.func.vmap, lambda it: torch.func.grad(lambda x: it(x).sum()), torch.func.jacrev):
        expected = transform(function)(x)
        with session(running):
            assert torch.equal(transform(function)(x), expected)
            assert torch.equal(compiled(transform(function))(x), expected)


@traced
@running
def test_a_phase_kept_in_a_module_fares_as_any_context_manager_does(x: Any, running: bool) -> None:
    """Torch 2.13 compiles none that comes from outside of what it compiles."""
    model = Keeping()
    expected = model(x)
    with session(running):
        assert torch.equal(torch.compile(model, backend="eager")(x), expected)
        assert torch.equal(torch.export.export(model, (x,), strict=False).module()(x), expected)
        assert torch.equal(torch.jit.trace(model, (x,))(x), expected)
