"""What a training's memory is made of, by category: to the byte, over the ways in which people train with torch."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from support.scenarios import results_of

torch: Any = pytest.importorskip("torch")

from phasescope.integrations import _look_times, _torch_looks  # noqa: E402
from phasescope.integrations.torch import instrument  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

STANDING = ("parameters", "buffers", "gradients", "optimizer_state", "inputs")
WIDTH = 16


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Leave no model of a test to the next one."""
    yield
    gc.collect()


class Net(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.first = torch.nn.Linear(WIDTH, WIDTH)
        self.norm = torch.nn.BatchNorm1d(WIDTH)
        self.last = torch.nn.Linear(WIDTH, WIDTH)
        if tied:
            self.last.weight = self.first.weight

    def forward(self, inputs: Any) -> Any:
        return self.last(torch.relu(self.norm(self.first(inputs))))


def own_bytes(tensors: Iterable[Any]) -> int:
    """Return the bytes of tensors that share no memory, counted in the plainest way."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def looks_of(session: phasescope.Session, device: str = "cpu") -> list[dict[str, int]]:
    """Return each look at a device, by category, oldest first."""
    events = [event for event in session.events() if event["event_type"] == "memory_categories"]
    return [
        {
            key.removeprefix("memory.category.").removesuffix("_bytes"): value
            for key, value in event["metadata"].items()
            if key.startswith("memory.category.") and key.endswith("_bytes")
        }
        for event in events
        if event["metadata"]["backend"] == device
    ]


def train(model: Any, optimizer: Any, steps: int = 3, zero: bool = True) -> dict[str, int]:
    """Train, and return the last look at it. Gradients are still there when a step ends."""
    with phasescope.start() as session, instrument(model, optimizer):
        for _ in range(steps):
            inputs = torch.ones(4, WIDTH)
            if zero:
                optimizer.zero_grad()
            model(inputs).pow(2).sum().backward()
            optimizer.step()
        found = looks_of(session)
        assert session.dropped == 0
    return found[-1]


def state_tensors(optimizer: Any) -> list[Any]:
    return [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "SGD with momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "Adam": torch.optim.Adam,
    "AdamW foreach": lambda parameters: torch.optim.AdamW(parameters, foreach=True),
    "AdamW fused": lambda parameters: torch.optim.AdamW(parameters, fused=True),
    "AdamW capturable learning rate": lambda parameters: torch.optim.AdamW(parameters, lr=torch.tensor(0.1)),
    "Adafactor": torch.optim.Adafactor,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_they_are_the_tensors_own_bytes(name: str) -> None:
    model = Net()
    optimizer = OPTIMIZERS[name](model.parameters())
    found = train(model, optimizer)
    rates = [group["lr"] for group in optimizer.param_groups if torch.is_tensor(group["lr"])]
    assert found == {
        "parameters": own_bytes(model.parameters()),
        "buffers": own_bytes(model.buffers()),
        "gradients": own_bytes(p.grad for p in model.parameters()),
        "optimizer_state": own_bytes([*state_tensors(optimizer), *rates]),
        "inputs": 4 * WIDTH * 4,
    }


def test_lbfgs_keeps_its_directions_in_lists() -> None:
    model = Net()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    inputs = torch.ones(4, WIDTH)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (model(inputs) - torch.arange(WIDTH)).pow(2).sum()
        loss.backward()
        return loss

    with phasescope.start() as session, instrument(model, optimizer):
        for _ in range(3):
            optimizer.step(closure)
        found = looks_of(session)[-1]
    (state,) = optimizer.state.values()
    kept = {
        one.untyped_storage().data_ptr(): one.untyped_storage().nbytes()
        for value in state.values()
        for one in (value if isinstance(value, list) else [value])
        if torch.is_tensor(one)
    }
    assert len(state["old_dirs"]) > 1
    assert found["optimizer_state"] == sum(kept.values())


def test_before_the_first_step_there_are_parameters_and_no_more() -> None:
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    with phasescope.start() as session, instrument(model, optimizer):
        model(torch.ones(4, WIDTH))
        (found,) = looks_of(session)
    assert found["parameters"] == own_bytes(model.parameters())
    assert found["gradients"] == found["optimizer_state"] == 0


def test_what_is_not_known_is_left_out() -> None:
    model = Net()
    with phasescope.start() as session, instrument(model):
        model(torch.ones(4, WIDTH)).sum().backward()
        (found,) = looks_of(session)
    assert set(found) == {"parameters", "buffers", "gradients"}
    with phasescope.start() as session:
        model(torch.ones(4, WIDTH)).sum().backward()
        assert looks_of(session) == []
        assert session.summary().devices[-1].categories is None


def test_tied_weights_count_once() -> None:
    model = Net(tied=True)
    found = train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert found["parameters"] == own_bytes(model.parameters())
    assert found["parameters"] < own_bytes(Net().parameters())


def test_views_of_one_storage_count_once_and_whole() -> None:
    flat = torch.zeros(2 * WIDTH * WIDTH)
    model = torch.nn.ModuleList(torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(2))
    for layer, part in zip(model, flat.chunk(2), strict=True):
        layer.weight = torch.nn.Parameter(part.view(WIDTH, WIDTH))
    net = torch.nn.Sequential(*model)
    found = train(net, torch.optim.SGD(net.parameters(), lr=0.1))
    assert found["parameters"] == own_bytes([flat])


def test_frozen_parts_have_no_gradients_and_no_state() -> None:
    model = Net()
    model.first.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained)
    found = train(model, optimizer)
    assert found["parameters"] == own_bytes(model.parameters())
    assert found["gradients"] == own_bytes(trained)
    assert found["optimizer_state"] == own_bytes(state_tensors(optimizer))


def test_adapters_beside_a_frozen_model() -> None:
    class Adapted(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(WIDTH, WIDTH).requires_grad_(False)
            self.down = torch.nn.Linear(WIDTH, 2, bias=False)
            self.up = torch.nn.Linear(2, WIDTH, bias=False)

        def forward(self, inputs: Any) -> Any:
            return self.inner(inputs) + self.up(self.down(inputs))

    model = Adapted()
    adapters = [*model.down.parameters(), *model.up.parameters()]
    found = train(model, torch.optim.SGD(adapters, lr=0.1))
    assert found["gradients"] == own_bytes(adapters)
    assert found["parameters"] == own_bytes(model.parameters())


def test_two_models_and_two_optimizers() -> None:
    maker, judge = Net(), Net()
    of_maker, of_judge = torch.optim.Adam(maker.parameters()), torch.optim.SGD(judge.parameters(), lr=0.1)
    with phasescope.start() as session, instrument(maker, of_maker), instrument(judge, of_judge):
        for _ in range(6):
            of_judge.zero_grad()
            judge(maker(torch.ones(4, WIDTH)).detach()).sum().backward()
            of_judge.step()
            of_maker.zero_grad()
            judge(maker(torch.ones(4, WIDTH))).sum().backward()
            of_maker.step()
        found = looks_of(session)[-1]
    both = [*maker.parameters(), *judge.parameters()]
    assert found["parameters"] == own_bytes(both)
    assert found["gradients"] == own_bytes(both)
    assert found["optimizer_state"] == own_bytes(state_tensors(of_maker))


def test_gradients_that_a_training_sets_to_none_in_its_step_are_gone() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *_: optimizer.zero_grad(set_to_none=True))
    assert train(model, optimizer)["gradients"] == 0
    other = torch.optim.SGD(model.parameters(), lr=0.1)
    other.register_step_post_hook(lambda *_: other.zero_grad(set_to_none=False))
    assert train(model, other)["gradients"] == own_bytes(model.parameters())


def test_accumulated_gradients_are_there_once() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with phasescope.start() as session, instrument(model, optimizer):
        for step in range(8):
            model(torch.ones(4, WIDTH)).sum().backward()
            if step % 2:
                optimizer.step()
                optimizer.zero_grad()
        found = looks_of(session)[-1]
    assert found["gradients"] == own_bytes(model.parameters())


def test_sparse_gradients_count_their_values_and_indices() -> None:
    model = torch.nn.Embedding(32, WIDTH, sparse=True)
    optimizer = torch.optim.SparseAdam(model.parameters())
    with phasescope.start() as session, instrument(model, optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.arange(4)).sum().backward()
            optimizer.step()
        found = looks_of(session)[-1]
    gradient = model.weight.grad
    assert found["gradients"] == own_bytes([gradient._values(), gradient._indices()])


def test_checkpointed_activations_leave_the_rest_as_it_is() -> None:
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(Net):
        def forward(self, inputs: Any) -> Any:
            return self.last(checkpoint(self.first, inputs, use_reentrant=False))

    model = Checkpointed()
    found = train(model, torch.optim.Adam(model.parameters()))
    assert found["parameters"] == own_bytes(model.parameters())
    assert found["inputs"] == 4 * WIDTH * 4


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return results_of("categories.py", tmp_path_factory.mktemp("categories"))


def test_compiled_models(told: dict[str, Any]) -> None:
    found, own = told["compiled"]
    assert {name: found[name] for name in own} == own


@pytest.mark.parametrize("how", ["ddp", "ddp, gradients in buckets", "fsdp"])
def test_each_rank_has_its_own_part(told: dict[str, Any], how: str) -> None:
    ranks = told["ranks"]
    for rank in ("0", "1"):
        found, own = ranks[rank][how]
        assert {name: found[name] for name in own} == own
    if how == "fsdp":
        whole = ranks["0"]["ddp"][1]["parameters"]
        assert sum(ranks[rank]["fsdp"][1]["parameters"] for rank in ("0", "1")) == whole


def test_a_copy_that_averages_counts_once_it_is_instrumented_too() -> None:
    model = Net()
    average = torch.optim.swa_utils.AveragedModel(model)
    alone = train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with instrument(average):
        both = train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert both["parameters"] == 2 * alone["parameters"]
    assert both["buffers"] == alone["buffers"] + own_bytes(average.buffers())


def test_a_model_that_changes_its_type_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_torch_looks, "ONE_PART_IN", 0)  # a look is always within its budget
    monkeypatch.setattr(_look_times, "_COMPARE_NS", 0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with phasescope.start() as session, instrument(model, optimizer):
        for step in range(8):
            if step == 4:
                model.double()
            optimizer.zero_grad()
            model(torch.ones(4, WIDTH, dtype=next(model.parameters()).dtype)).sum().backward()
            optimizer.step()
        sizes = [found["parameters"] for found in looks_of(session)]
    assert sizes[0] * 2 == sizes[-1] == own_bytes(model.parameters())


def test_meta_and_quantised_and_wrapped_tensors() -> None:
    class Wrapped(torch.Tensor):  # type: ignore[misc]
        """Two tensors that act as one; whoever asks it anything of its own fails."""

        @staticmethod
        def __new__(cls, data: Any, scale: Any) -> Any:
            return torch.Tensor._make_wrapper_subclass(cls, data.shape, dtype=torch.float32)

        def __init__(self, data: Any, scale: Any) -> None:
            self.data_, self.scale = data, scale

        @classmethod
        def __torch_function__(cls, *arguments: Any, **given: Any) -> Any:
            raise AssertionError("the training's own code was called")

        @classmethod
        def __torch_dispatch__(cls, *arguments: Any, **given: Any) -> Any:
            raise AssertionError("the training's own code was called")

        def __repr__(self) -> str:
            raise AssertionError("the training's own code was called")

    model = Net()
    data, scale = torch.zeros(WIDTH, WIDTH, dtype=torch.int8), torch.ones(WIDTH)
    model._buffers["quantised"] = Wrapped(data, scale)
    model._buffers["nowhere"] = torch.empty(10, device="meta")
    before = own_bytes([model.norm.running_mean, model.norm.running_var, model.norm.num_batches_tracked])
    found = train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert found["buffers"] == before + own_bytes([data, scale])


def test_none_of_the_models_own_code_is_called() -> None:
    asked: list[str] = []

    class Proud(Net):
        def __getattribute__(self, name: str) -> Any:
            asked.append(name)
            return super().__getattribute__(name)

        def parameters(self, recurse: bool = True) -> Any:
            asked.append("parameters")
            return super().parameters(recurse)

        def __eq__(self, other: object) -> bool:
            asked.append("equal")
            return self is other

        def __hash__(self) -> int:
            asked.append("hash")
            return 1

    class ProudAdam(torch.optim.Adam):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            asked.append(name)
            return super().__getattribute__(name)

    from phasescope.integrations._torch_looks import Looks

    model = Proud()
    optimizer = ProudAdam(list(Net.parameters(model)))
    looks = Looks()
    asked.clear()
    looks.know_model(model)
    looks.know_optimizer(optimizer)
    with phasescope.start() as session:
        looks.forward_begins(())
        assert looks_of(session)[0]["parameters"] == own_bytes(Net().parameters())
    assert asked == []


def test_nothing_is_kept_alive() -> None:
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    inputs = torch.ones(4, WIDTH)
    gone = [weakref.ref(each) for each in (model, optimizer, inputs, model.first.weight)]
    with phasescope.start() as session:
        marked = instrument(model, optimizer)
        for _ in range(3):
            model(inputs).sum().backward()
            optimizer.step()
        gone += [weakref.ref(model.first.weight.grad), weakref.ref(optimizer.state[model.first.weight]["exp_avg"])]
        assert looks_of(session)[-1]["inputs"]
        del marked, model, optimizer, inputs
        gc.collect()
        assert [each() for each in gone] == [None] * len(gone)


def test_the_weights_are_the_same_to_the_bit() -> None:
    def weights(instrumented: bool) -> list[bytes]:
        torch.manual_seed(0)
        model = Net()
        optimizer = torch.optim.AdamW(model.parameters())
        if instrumented:
            train(model, optimizer, steps=5)
        else:
            for _ in range(5):
                inputs = torch.ones(4, WIDTH)
                optimizer.zero_grad()
                model(inputs).pow(2).sum().backward()
                optimizer.step()
        return [parameter.detach().numpy().tobytes() for parameter in model.parameters()]

    assert weights(True) == weights(False)


class Counted(_torch_looks.Looks):  # type: ignore[misc]
    """Looks that take 5 ms each by a clock that the test sets, and find nothing."""

    def __init__(self) -> None:
        self.now = 0
        super().__init__(lambda: self.now)

    def _count(self) -> dict[str, dict[str, int]]:
        self.now += 5_000_000
        return {}


def test_the_looks_of_a_long_run_take_a_2500th_of_it_at_most() -> None:
    looks, model = Counted(), Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    looks.know_model(model)
    looks.know_optimizer(optimizer)
    with phasescope.start():
        looks.forward_begins(())
        for _ in range(20_000):
            looks.now += 5_000_000
            looks.step_ended(1)
        assert 6 <= looks._looks <= 8
        assert looks._spent_ns <= looks.now / 2500


def test_a_change_of_the_set_is_looked_at_as_soon_as_there_is_time() -> None:
    looks, model = Counted(), Net()
    optimizer = torch.optim.SGD(model.first.parameters(), lr=0.1)
    looks.know_model(model)
    looks.know_optimizer(optimizer)
    with phasescope.start():
        looks.forward_begins(())
        for _ in range(10_000):
            looks.now += 5_000_000
            looks.step_ended(1)
        before, looks._due_ns = looks._looks, looks.now + (1 << 60)
        looks.now += 20_000_000_000
        looks.step_ended(1)
        looks.step_ended(1)
        assert looks._looks == before, "nothing has changed"
        optimizer.add_param_group({"params": list(model.last.parameters())})
        looks.now += 1_000_000_000
        looks.step_ended(1)
        looks.step_ended(1)
        assert looks._looks == before + 1


def test_a_step_in_between_costs_next_to_nothing() -> None:
    """No look, no allocation counter, no tensor is asked: the step is reported, and that is all."""
    looks, model = Counted(), Net()
    looks.know_model(model)
    with phasescope.start():
        for _ in range(10):
            looks.step_ended(1)
        done, looks._due_ns = looks._looks, 1 << 60
        for _ in range(1000):
            looks.step_ended(1)
        assert (looks._looks, looks.is_watching) == (done, False)


def saved_by(model: Any, loss: Callable[[Any], Any] = lambda result: result.sum(), **options: Any) -> dict[str, int]:
    """Return the last look at three steps of a model whose saved tensors are counted."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with phasescope.start() as session, instrument(model, optimizer, activations=True, **options):
        for _ in range(3):
            optimizer.zero_grad()
            loss(model(torch.ones(4, WIDTH))).backward()
            optimizer.step()
        assert session.dropped == 0
        return looks_of(session)[-1]


def test_activations_are_what_autograd_saves() -> None:
    linear, width = torch.nn.Linear, WIDTH
    result = 4 * WIDTH * 4
    assert saved_by(torch.nn.Sequential(linear(width, width)))["activations"] == 0, "the input is none"
    assert saved_by(torch.nn.Sequential(linear(width, width), torch.nn.Tanh()))["activations"] == result
    one = torch.nn.Sequential(linear(width, width), torch.nn.Tanh(), linear(width, width))
    assert saved_by(one)["activations"] == result, "the Tanh and the layer behind it keep one and the same"
    normed = torch.nn.Sequential(linear(width, width), torch.nn.BatchNorm1d(width))
    assert saved_by(normed)["activations"] == result + 2 * WIDTH * 4, "what goes in, its mean and its deviation"
    softened = torch.nn.Sequential(linear(width, width), torch.nn.Softmax(1), torch.nn.Dropout(0.5))
    assert saved_by(softened)["activations"] > result


def test_a_checkpointed_part_shows_what_it_keeps() -> None:
    from torch.utils.checkpoint import checkpoint

    class Deep(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, checkpointed: bool) -> None:
            super().__init__()
            self.first = torch.nn.Linear(WIDTH, WIDTH)
            self.deep = torch.nn.Sequential(*(torch.nn.Tanh() for _ in range(8)))
            self.checkpointed = checkpointed

        def forward(self, inputs: Any) -> Any:
            hidden = self.first(inputs)
            return checkpoint(self.deep, hidden, use_reentrant=False) if self.checkpointed else self.deep(hidden)

    result = 4 * WIDTH * 4
    assert saved_by(Deep(checkpointed=False))["activations"] == 8 * result
    assert saved_by(Deep(checkpointed=True))["activations"] == result, "what goes into it"


def test_what_a_forward_lets_go_again_is_no_activation() -> None:
    class Wasteful(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(WIDTH, WIDTH)

        def forward(self, inputs: Any) -> Any:
            self.layer(inputs).tanh().exp()
            return self.layer(inputs).tanh()

    assert saved_by(Wasteful())["activations"] == 4 * WIDTH * 4


def test_counting_what_is_saved_changes_no_bit_and_leaves_no_hook() -> None:
    def weights(activations: bool) -> list[bytes]:
        torch.manual_seed(0)
        model = Net()
        optimizer = torch.optim.AdamW(model.parameters())
        with phasescope.start(), instrument(model, optimizer, activations=activations):
            for _ in range(5):
                optimizer.zero_grad()
                model(torch.randn(4, WIDTH)).pow(2).sum().backward()
                optimizer.step()
        return [parameter.detach().numpy().tobytes() for parameter in model.parameters()]

    assert weights(True) == weights(False)
    seen: list[Any] = []
    with torch.autograd.graph.saved_tensors_hooks(seen.append, lambda packed: packed):
        Net()(torch.ones(4, WIDTH))
    assert seen


def test_a_forward_that_raises_leaves_no_hook() -> None:
    class Failing(Net):
        def forward(self, inputs: Any) -> Any:
            super().forward(inputs)
            raise ValueError("of its own")

    model = Failing()
    with phasescope.start(), instrument(model, activations=True):
        with pytest.raises(ValueError, match="of its own"):
            model(torch.ones(4, WIDTH))
        assert torch._C._autograd._top_saved_tensors_default_hooks(True) is None
    with pytest.raises(TypeError, match="activations must be True or False, not a int"):
        instrument(model, activations=1)


@pytest.mark.parametrize("backward", [True, False], ids=["backward", "no backward"])
def test_saved_tensors_die_with_their_graph(backward: bool) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh())
    with phasescope.start(), instrument(model, activations=True):
        result = model(torch.ones(4, WIDTH))
        memory = weakref.ref(result.untyped_storage())
        loss = result.sum()
        del result
        assert memory() is not None, "the Tanh needs it"
        if backward:
            loss.backward()
        del loss
        assert memory() is None


def test_no_hook_is_left_whatever_becomes_of_the_session_in_the_middle_of_a_forward() -> None:
    class Restarts(Net):
        def forward(self, inputs: Any) -> Any:
            phasescope.stop()
            phasescope.start()
            _torch_looks.looks.step_ended(1)
            return super().forward(inputs)

    model = Restarts()
    with instrument(model, activations=True):
        phasescope.start()
        model(torch.ones(4, WIDTH))
        assert torch._C._autograd._top_saved_tensors_default_hooks(True) is None
        phasescope.stop()


def test_a_forward_that_is_tried_again_counts_once() -> None:
    class Flaky(Net):
        tries = 0

        def forward(self, inputs: Any) -> Any:
            result = super().forward(inputs)
            self.tries += 1
            if self.tries % 2:
                raise RuntimeError("once more")
            return result

    def loss(model: Any, inputs: Any) -> Any:
        try:
            return model(inputs).sum()
        except RuntimeError:
            return model(inputs).sum()

    steady = saved_by(Net())["activations"]
    model = Flaky()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with phasescope.start() as session, instrument(model, optimizer, activations=True):
        for _ in range(3):
            optimizer.zero_grad()
            loss(model, torch.ones(4, WIDTH)).backward()
            optimizer.step()
        assert looks_of(session)[-1]["activations"] == steady
