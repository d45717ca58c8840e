"""Categories on a device whose allocator counts: they add up to its figure, and what a forward leaves is measured.

The device is the host's memory under another name; its allocator counts the storages that are alive, to the byte.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest

import phasescope

torch: Any = pytest.importorskip("torch")

from phasescope.integrations import _torch_looks, _torch_storages  # noqa: E402
from phasescope.integrations.torch import instrument  # noqa: E402

from support.alive import Alive, Device  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDING = ("parameters", "buffers", "gradients", "optimizer_state", "inputs", "other")
WIDTH, BATCH = 32, 8
FLOAT = 4


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Alive]:
    gc.collect()
    monkeypatch.setattr(_torch_storages, "_name_of", lambda _device: "cuda:0")
    monkeypatch.setattr(_torch_looks, "looks", _torch_looks.looks)
    with Alive() as counted:
        yield counted


def net() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh(), torch.nn.Linear(WIDTH, 1))


def looks_of(session: phasescope.Session) -> list[dict[str, Any]]:
    return [event for event in session.events() if event["event_type"] == "memory_categories"]


def sizes_in(event: dict[str, Any]) -> dict[str, int]:
    prefix, unit = "memory.category.", "_bytes"
    return {
        key[len(prefix) : -len(unit)]: value
        for key, value in event["metadata"].items()
        if key.startswith(prefix) and key.endswith(unit)
    }


def test_they_add_up_to_what_is_allocated(alive: Alive) -> None:
    model = net()
    optimizer = torch.optim.AdamW(model.parameters())
    kept = torch.ones(1000)
    with phasescope.start(backends=[Device(alive), "cpu"]) as session, instrument(model, optimizer):
        for _ in range(5):
            inputs = torch.ones(BATCH, WIDTH)
            optimizer.zero_grad()
            model(inputs).pow(2).sum().backward()
            optimizer.step()
        events = looks_of(session)
    assert len(events) == 3
    for event in events:
        sizes = sizes_in(event)
        assert sum(sizes.get(name, 0) for name in STANDING) == event["allocator_allocated_bytes"]
        assert sizes["other"] >= kept.untyped_storage().nbytes()
    own = sum(parameter.numel() * FLOAT for parameter in model.parameters())
    assert sizes["gradients"] == sizes["parameters"] == own
    assert sizes["optimizer_state"] == 2 * own + 4 * FLOAT
    assert sizes["inputs"] == BATCH * WIDTH * FLOAT
    assert sizes["other"] == kept.untyped_storage().nbytes()


def test_activations_are_what_the_forward_leaves_for_the_backward(alive: Alive) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with phasescope.start(backends=[Device(alive), "cpu"]) as session, instrument(model, optimizer):
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.ones(BATCH, WIDTH)).sum().backward()
            optimizer.step()
        with torch.no_grad():
            model(torch.ones(100 * BATCH, WIDTH))
        found = [sizes_in(event) for event in looks_of(session)]
    tanh_and_result = BATCH * WIDTH * FLOAT + BATCH * FLOAT
    assert [sizes.get("activations") for sizes in found[1:]] == [tanh_and_result] * 2
    assert "activations" not in found[0], "nothing was kept before the first step"


def test_of_several_small_batches_they_are_those_of_one(alive: Alive) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with phasescope.start(backends=[Device(alive), "cpu"]) as session, instrument(model, optimizer):
        for step in range(12):
            model(torch.ones(BATCH, WIDTH)).sum().backward()
            if step % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
        found = [sizes_in(event) for event in looks_of(session)]
    assert found[-1]["activations"] == BATCH * WIDTH * FLOAT + BATCH * FLOAT


def test_temporary_memory_is_what_a_phase_has_beyond_its_ends(alive: Alive) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def wasteful(module: Any, inputs: Any, output: Any) -> None:
        torch.ones(50_000)

    model.register_forward_hook(wasteful)
    with phasescope.start(backends=[Device(alive), "cpu"], peaks=True) as session, instrument(model, optimizer):
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.ones(BATCH, WIDTH)).sum().backward()
            optimizer.step()
        sizes = sizes_in(looks_of(session)[-1])
    assert sizes["temporary"] == 50_000 * FLOAT


def test_tensors_from_elsewhere_than_the_allocator_leave_the_rest_unknown(alive: Alive) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    device = Device(alive)
    alive.sizes.clear()
    with phasescope.start(backends=[device, "cpu"]) as session, instrument(model, optimizer):
        model(torch.ones(1, WIDTH)).sum().backward()
        (sizes,) = map(sizes_in, looks_of(session))
    assert "other" not in sizes
    assert sizes["parameters"]


def test_every_view_says_the_same(alive: Alive) -> None:
    model = net()
    optimizer = torch.optim.AdamW(model.parameters())
    with phasescope.start(backends=[Device(alive), "cpu"]) as session, instrument(model, optimizer):
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.ones(BATCH, WIDTH)).sum().backward()
            optimizer.step()
    line = "cuda:0 at the end of a step: parameters 4.25 KiB, gradients 4.25 KiB, optimizer state 8.52 KiB"
    (row,) = (row for row in session.summary().devices if row.label == "cuda:0")
    assert row.categories is not None
    assert row.categories.size_bytes("parameters") == 4356
    assert line in session.summary().table(width=None)
    assert line in str(session.explain())
    assert "; within a step also activations 1.03 KiB" in str(session.explain())


def test_what_memory_was_made_of_when_it_ran_out_and_what_follows(alive: Alive) -> None:
    """A forward that keeps much more than the weights: the remedy is one for activations, with the figures."""
    device = Device(alive, total=700_000)
    model = torch.nn.Sequential(*(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh()) for _ in range(4)))
    optimizer = torch.optim.AdamW(model.parameters())

    class RunsOut(torch.nn.Module):  # type: ignore[misc]
        armed = False

        def forward(self, inputs: Any) -> Any:
            if self.armed:
                device.set(device.alive.allocated_bytes)
                device.run_out(100_000)
            return inputs

    last = RunsOut()
    model.append(last)
    kept = torch.ones(100)
    with phasescope.start(backends=[device, "cpu"]) as session, instrument(model, optimizer):
        for size in (1, 1, 1, 4096):
            last.armed = size > 1
            optimizer.zero_grad()
            try:
                model(torch.ones(size, 8)).sum().backward()
            except RuntimeError:
                break
            optimizer.step()
    (row,) = (row for row in session.summary().devices if row.label == "cuda:0")
    found = row.categories
    assert found is not None
    assert found.moment == "failure"
    assert found.size_bytes("gradients") == 0
    assert found.since_step_bytes == 5 * 4096 * 8 * FLOAT, "the batch, and the result of each Tanh"
    explanation = session.explain()
    assert explanation.cause.kind == "too_large"
    assert "when memory ran out: parameters 1.12 KiB" in str(explanation)
    first = explanation.advice[0]
    assert first.startswith("activation checkpointing"), explanation.advice
    assert "activations take 640 KiB of 644 KiB, 99%" in first
    del kept
