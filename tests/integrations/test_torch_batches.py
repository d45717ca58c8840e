"""The size of a batch: known by the shapes that a model is called with, and unknown where they leave a doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import phasescope

torch: Any = pytest.importorskip("torch")

from phasescope.integrations._torch_batches import Shapes, is_batch_first, size_fetched  # noqa: E402
from phasescope.integrations.torch import instrument  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

of = torch.zeros

GIVEN: dict[str, tuple[Callable[[], Any], int | None, int | None]] = {
    # what it is called with (arguments, keywords), what the loader gives at once, the size
    "one tensor": (lambda: ((of(4, 3),), {}), None, 4),
    "images and time steps": (lambda: ((of(4, 3, 8, 8), of(4)), {}), None, 4),
    "a number beside it": (lambda: ((of(4, 3), of(()), 0.5), {}), None, 4),
    "keywords of a tokenizer": (lambda: ((), {"input_ids": of(8, 5), "attention_mask": of(8, 5)}), None, 8),
    "a dict": (lambda: (({"pixels": of(8, 3, 2, 2), "labels": of(8)},), {}), None, 8),
    "a mask of the sequence": (lambda: ((of(4, 7, 3), of(7, 7)), {}), None, None),
    "a mask of the sequence, and a loader": (lambda: ((of(4, 7, 3), of(7, 7)), {}), 4, 4),
    "a loader that gives something else": (lambda: ((of(4, 7, 3), of(7, 7)), {}), 16, None),
    "nodes and edges of a graph": (lambda: ((of(30, 4), of(2, 90)), {}), None, None),
    "images of several sizes": (lambda: (([of(3, 8, 8), of(3, 9, 9)],), {}), None, None),
    "images of several sizes, and a loader": (lambda: (([of(3, 8, 8), of(3, 9, 9)],), {}), 2, 2),
    "nothing": (lambda: ((), {}), 4, None),
}


@pytest.mark.parametrize("name", GIVEN)
def test_the_size_is_said_where_it_is_sure(name: str) -> None:
    given, fetched, expected = GIVEN[name]
    assert Shapes(given()).batch_size(fetched, is_batch_first=True) == expected


def test_a_batch_by_itself_is_the_same_as_its_parts() -> None:
    shapes = Shapes(([of(6, 3), of(6)],))  # as Lightning hands it on
    assert (shapes.batch_size(None, is_batch_first=True), shapes.elements) == (6, 24)


def test_a_sequence_before_the_batch_leaves_a_doubt_that_only_the_loader_clears() -> None:
    lstm = torch.nn.LSTM(3, 5)
    assert not is_batch_first([torch.nn.Sequential(lstm)])
    assert is_batch_first([torch.nn.LSTM(3, 5, batch_first=True), torch.nn.Linear(2, 2)])
    shapes = Shapes(((of(20, 4, 3),), {}))
    assert shapes.batch_size(None, is_batch_first=False) is None
    assert shapes.batch_size(4, is_batch_first=False) == 4


def test_a_loader_says_what_it_gives_at_once() -> None:
    assert size_fetched(torch.utils.data.DataLoader(of(10, 3), batch_size=4)) == 4
    assert size_fetched(torch.utils.data.DataLoader(of(10, 3), batch_size=None)) is None
    assert size_fetched([1, 2, 3]) is None


def test_each_look_has_the_size_of_its_own_step() -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with phasescope.start() as session, instrument(model, optimizer):
        for size in (4, 4, 2):  # the last batch of an epoch is smaller
            with torch.no_grad():
                model(of(64, 3))  # an evaluation is not of the step
            model(of(size, 3)).sum().backward()
            model(of(size, 3)).sum().backward()  # gradients add up
            optimizer.step()
        looks = [event["metadata"] for event in session.events() if event["event_type"] == "memory_categories"]
        (row,) = session.summary().devices
    assert [look.get("memory.category.batch_size") for look in looks] == [None, 4, 2]
    assert row.categories is not None
    assert (row.categories.batch_size, row.categories.batch_elements) == (2, 6)


def test_steps_of_forwards_that_differ_say_none() -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with phasescope.start() as session, instrument(model, optimizer):
        for size in (4, 8):
            model(of(size, 3)).sum().backward()
        optimizer.step()
        (row,) = session.summary().devices
    assert row.categories is not None
    assert (row.categories.batch_size, row.categories.batch_elements) == (None, 24)
