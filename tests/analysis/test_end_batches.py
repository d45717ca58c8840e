"""Ends of phases that come together give the same as one by one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from phasescope.analysis.diagnosis.growth import Growth, GrowthFold
from support.events import MIB, MadeSession

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.analysis.diagnosis.end_batches import EndFigures

Path = tuple[str, ...]


def ends(steps: int, chance: random.Random) -> Iterator[tuple[Path, EndFigures]]:
    """Those of a training whose batches differ, and in which `step` keeps 1 MiB each time; an epoch has 50 steps."""
    level, place, epoch_began = 1024 * MIB, 0, 1024 * MIB
    for step in range(steps):
        began = level
        activations = chance.randrange(500) * MIB
        for path, change in (
            (("epoch", "step", "forward"), activations),
            (("epoch", "step", "backward"), -activations),
            (("epoch", "step"), None),
            (("epoch",), None),
        ):
            if path == ("epoch",) and step % 50 != 49:
                continue
            entered = level if change is not None else began if path[-1] == "step" else epoch_began
            level += change or 0
            level += MIB if path == ("epoch", "step") else 0
            place += 1
            yield path, (place, level, level - entered, place * 1_000_000, 900_000)
            epoch_began = level if path == ("epoch",) else epoch_began


def host_sample(fold: GrowthFold, time_ns: int, shared: int = 100 * MIB) -> None:
    session = MadeSession(backend="cpu", device_id=-1)
    session.now_ns, session.allocated = time_ns, 1024 * MIB
    fold.add(session.event("sample", metadata={"shared_bytes": shared}))


def judged(label: str, steps: int, most: int, *, with_samples: bool) -> list[Growth]:
    """Judge them in batches of at most `most`."""
    fold, chance = GrowthFold(), random.Random(7)
    sizes = random.Random(11)
    waiting: dict[Path, list[EndFigures]] = {}
    room = 1
    for number, (path, end) in enumerate(ends(steps, chance)):
        if with_samples and number % 64 == 0:
            fold.ended(label, list(waiting.items()))
            waiting.clear()
            host_sample(fold, number * 1_000_000)
        waiting.setdefault(path, []).append(end)
        room -= 1
        if room <= 0:
            fold.ended(label, list(waiting.items()))
            waiting.clear()
            room = sizes.randint(1, most)
    fold.ended(label, list(waiting.items()))
    return fold.result()


@pytest.mark.parametrize("steps", [60, 300, 2500])
@pytest.mark.parametrize("most", [7, 100, 1000])
def test_batches_change_nothing(steps: int, most: int) -> None:
    (one_by_one,) = judged("cuda:0", steps, 1, with_samples=False)
    assert one_by_one.grows
    assert judged("cuda:0", steps, most, with_samples=False) == [one_by_one]


def test_batches_that_wait_for_a_sample_change_nothing() -> None:
    one_by_one = judged("host", 400, 1, with_samples=True)
    assert one_by_one[0].steps > 300
    assert judged("host", 400, 40, with_samples=True) == one_by_one


def test_nor_does_it_matter_if_more_come_between_two_samples_than_may_wait() -> None:
    """As in a loop of a few microseconds: what a ring and a recording of one session say must not differ."""

    def bounds(most: int) -> list[tuple[float, float, float]]:
        fold, chance = GrowthFold(), random.Random(3)
        level, place = 1024 * MIB, 0
        for number in range(3):
            host_sample(fold, place * 1_000, shared=(100 + chance.randrange(9)) * MIB)
            told: list[EndFigures] = []
            for _ in range(5000 + number):
                place, level = place + 1, level + chance.choice((0, 0, 4096, -4096))
                told.append((place, level, 0, place * 1_000, 900))
            for at in range(0, len(told), most):
                fold.ended("host", [(("step",), told[at : at + most])])
        host_sample(fold, place * 1_000, shared=104 * MIB)
        growths = fold.result()
        return [(each.bytes_per_step, each.low_bytes_per_step, each.high_bytes_per_step) for each in growths]

    assert bounds(1) == bounds(700) == bounds(100_000)
