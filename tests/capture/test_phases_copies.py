"""A phase object that is kept, in a module for instance: it is copied and saved with whatever keeps it."""

from __future__ import annotations

import copy
import functools
import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import phase
from phasescope.testing import FakeBackend
from support.assertions import paths, scopes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from phasescope import Session


@pytest.fixture
def session() -> Iterator[Session]:
    with phasescope.start(backends=[FakeBackend()]) as session:
        yield session


def pickled(protocol: int, thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing, protocol))


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {number}": functools.partial(pickled, number) for number in range(pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_has_the_name_and_attributes_and_is_closed(session: Session, how: str) -> None:
    kept = phase("forward", model="mlp", **{f"a{number}": number for number in range(20)})
    with kept:
        made = COPIES[how](kept)
        with made:
            again = COPIES[how](made)
    with again:
        pass
    assert paths(session) == ["forward/forward", "forward", "forward"]
    (attributes,) = {json.dumps(scope["attributes"]) for scope in scopes(session)}
    assert json.loads(attributes)["…"] == "<5 more>"
    assert session.dropped == 0


class Numbered(phase):
    """One of the training's own, with more than a phase has."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_ones_own_kind_of_phase_stays_one(session: Session, how: str) -> None:
    kept = Numbered(3, "forward")
    with kept:
        made = COPIES[how](kept)
    assert type(made) is Numbered
    assert made.number == 3
    with made:
        pass
    assert paths(session) == ["forward", "forward"]


class Described(phase):
    """Keeps under plain names what it was made with, as a subclass of the training's does."""

    def __init__(self, name: str) -> None:
        super().__init__(f"described {name}")
        self.name, self.path, self.parent, self.thread = name, "a path", "a parent", "a thread"
        self.device, self.writer, self.attributes, self.closed = "cuda:0", "a writer", "attributes", "closed"

    def close(self) -> None:
        raise AssertionError("the training's own")


def test_what_a_phase_needs_does_not_get_in_the_way_of_what_a_subclass_keeps(session: Session) -> None:
    described = Described("forward")
    before = dict(vars(described))
    with described, described:
        assert vars(described) == before
    abandoned = Described("backward")
    abandoned.__enter__()
    session.stop()
    assert vars(described) == before
    assert paths(session) == ["described forward/described forward", "described forward", "described backward"]


def test_what_holds_a_twin_is_copied_as_well(session: Session) -> None:
    shared = phase("level")
    with shared, shared:
        found: list[Any] = copy.deepcopy(list(session._writer.open))
    for twin in found:
        with twin:
            pass
    assert paths(session) == ["level/level", "level", "level", "level"]


def test_a_pickle_holds_nothing_but_the_name_and_the_attributes(session: Session) -> None:
    kept = phase("forward", n=1)
    before = pickle.dumps(kept)
    with kept:
        inside = pickle.dumps(kept)
    assert before == inside == pickle.dumps(kept)
    assert len(before) < 200


@pytest.fixture
def model() -> Any:
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(4, 4)
            self.ph = phase("forward")

        def forward(self, x: Any) -> Any:
            with self.ph:
                return self.inner(x)

    Model.__qualname__ = "Model"
    globals()["Model"] = Model  # where pickle finds it
    model = Model()
    model(torch.zeros(2, 4))
    return model


def test_a_module_that_keeps_one_is_copied_averaged_and_saved(session: Session, model: Any, tmp_path: Path) -> None:
    import torch

    x = torch.ones(2, 4)
    expected = model(x)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    with model.ph:  # as it is while a callback of a forward saves
        torch.save(model, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    for other in (copy.deepcopy(model), averaged, loaded):
        before = len(paths(session))
        assert torch.equal(other(x), expected)
        assert paths(session)[before:] == ["forward"]
    assert session.dropped == 0
