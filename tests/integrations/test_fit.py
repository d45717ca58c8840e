"""`phasescope fit` checked against the truth: predicted from batches of 8 and 16, measured at 64.

Real models train on the CPU; the allocator is a count of their live storages. What it counts as the peak is held
against torch's own MemTracker where that is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import phasescope

torch: Any = pytest.importorskip("torch")

from phasescope.integrations import _torch_storages  # noqa: E402
from phasescope.integrations.torch import instrument  # noqa: E402

from phasescope.analysis.fit.forecast import fit  # noqa: E402
from phasescope.analysis.fit.usage import Usage, UsageFold  # noqa: E402
from support.alive import Alive, Device  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

nn = torch.nn

WORDS, LENGTH, WIDTH = 50, 6, 8
TOLERANCE = 0.01
"""From two sessions; from one, the measured peak lies in the range that is given."""


class Transformer(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.block = nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, dropout=0.0, batch_first=True)
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, words: Any) -> Any:
        return self.head(self.block(self.embedding(words))).flatten(0, 1)


def convnet() -> Any:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    )


def images(size: int) -> tuple[Any, Any]:
    return torch.randn(size, 3, 8, 8), torch.randint(0, 5, (size,))


def words(size: int) -> tuple[Any, Any]:
    return torch.randint(0, WORDS, (size, LENGTH)), torch.randint(0, WORDS, (size * LENGTH,))


MODELS = {"convnet": (convnet, images), "transformer": (Transformer, words)}


def step(model: Any, optimizer: Any, inputs: Any, targets: Any) -> None:
    loss = nn.functional.cross_entropy(model(inputs), targets)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def trained(name: str, size: int) -> Usage:
    """Train three steps with batches of this size; the loss is computed outside of the model, as loops do."""
    make, data = MODELS[name]
    with Alive() as alive:
        model = make()
        optimizer = torch.optim.AdamW(model.parameters())
        with phasescope.start(backends=[Device(alive), "cpu"], peaks=True) as session, instrument(model, optimizer):
            for _ in range(3):
                step(model, optimizer, *data(size))
            fold = UsageFold()
            for event in session.events():
                fold.take(event)
    return fold.usages()[0]


def by_torch(name: str, size: int) -> int:
    """Return the peak of a step as torch's MemTracker counts it."""
    tracker = pytest.importorskip("torch.distributed._tools.mem_tracker").MemTracker()
    make, data = MODELS[name]
    model = make()
    optimizer = torch.optim.AdamW(model.parameters())
    tracker.track_external(model, optimizer)
    with tracker:
        for _ in range(2):
            step(model, optimizer, *data(size))
            tracker.reset_mod_stats()
    peak: int = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    return peak


@pytest.fixture(scope="module", params=MODELS)
def usages(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[int, Usage]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_torch_storages, "_name_of", lambda _device: "cuda:0")
        yield request.param, {size: trained(request.param, size) for size in (8, 16, 64)}


def test_two_sessions_predict_what_is_measured(usages: tuple[str, dict[int, Usage]]) -> None:
    _, of = usages
    found = fit([of[8], of[16]])
    assert found.is_exact
    least, most = found.growth.needs(64)
    measured = of[64].peak_bytes
    assert measured is not None
    assert least == most == pytest.approx(measured, rel=TOLERANCE)
    room = found.room.total_bytes - found.room.others_bytes
    assert found.largest_batch is not None
    assert found.growth.needs(found.largest_batch)[1] <= room < found.growth.needs(found.largest_batch + 1)[1]


def test_one_session_gives_a_range_with_the_measured_peak_in_it(usages: tuple[str, dict[int, Usage]]) -> None:
    _, of = usages
    for base, others in ((16, (8, 64)), (64, (8, 16))):
        growth = fit([of[base]]).growth
        for size in others:
            least, most = growth.needs(size)
            measured = of[size].peak_bytes
            assert measured is not None
            assert least * (1 - TOLERANCE) <= measured <= most * (1 + TOLERANCE), (base, size)


def test_the_peaks_are_those_of_torchs_own_tracker(usages: tuple[str, dict[int, Usage]]) -> None:
    name, of = usages
    assert of[64].peak_bytes == pytest.approx(by_torch(name, 64), rel=TOLERANCE)


def test_the_batch_size_is_the_one_that_was_noted(usages: tuple[str, dict[int, Usage]]) -> None:
    assert {size: usage.batch_sizes for size, usage in usages[1].items()} == {8: (8,), 16: (16,), 64: (64,)}
