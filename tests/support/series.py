"""Memory from step to step as trainings show it, with and without a leak: the measure for the growth detector.

Each takes a random generator and a number of steps, and gives bytes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    Make = Callable[[Random, int], list[int]]

MIB = 2**20
PAGE = 4096
_LEVEL = 4000 * MIB


def _bytes(mib: list[float]) -> list[int]:
    return [_LEVEL + int(value * MIB) for value in mib]


def flat(rng: Random, steps: int) -> list[int]:
    return [_LEVEL] * steps


def noisy(rng: Random, steps: int) -> list[int]:
    return _bytes([rng.gauss(0, 50) for _ in range(steps)])


def uniform(rng: Random, steps: int) -> list[int]:
    return _bytes([rng.uniform(0, 200) for _ in range(steps)])


def correlated(rng: Random, steps: int) -> list[int]:
    """Make a series in which each step's figure remembers the last one's."""
    value, figures = 0.0, []
    for _ in range(steps):
        value = 0.8 * value + rng.gauss(0, 30)
        figures.append(value)
    return _bytes(figures)


def sawtooth(rng: Random, steps: int) -> list[int]:
    """Make a cache that fills and is emptied, every 5 to 80 steps."""
    period, height, begin = rng.uniform(5, 80), rng.uniform(50, 1000), rng.uniform(0, 80)
    return _bytes([height * ((step + begin) % period) / period + rng.gauss(0, 2) for step in range(steps)])


def garbage(rng: Random, steps: int) -> list[int]:
    """Make garbage that piles up until the collector comes, after amounts that differ."""
    value, limit, figures = 0.0, rng.uniform(200, 900), []
    for _ in range(steps):
        value += rng.expovariate(1 / 10)
        if value > limit:
            value, limit = 0.0, rng.uniform(200, 900)
        figures.append(value)
    return _bytes(figures)


def warm_up(rng: Random, steps: int) -> list[int]:
    """Rise towards a level, ever slower: a fifth of the steps, at most, to come within a third of it."""
    pace, height, scatter = rng.uniform(2, steps / 5), rng.uniform(50, 4000), rng.choice([0, 0.1, 1, 10])
    return _bytes([height * (1 - math.exp(-step / pace)) + rng.gauss(0, scatter) for step in range(steps)])


def ramp(rng: Random, steps: int) -> list[int]:
    """Rise steadily for up to half of the steps, and then no more."""
    length, height = rng.randint(10, steps // 2), rng.uniform(50, 4000)
    scatter = rng.choice([0, 0.1, 1, 10, 50])
    return _bytes([height * min(1, step / length) + rng.gauss(0, scatter) for step in range(steps)])


def creeping(share: float) -> Make:
    """Rise steadily for this share of the steps; then some pages come on top, every twentieth of the run."""

    def made(rng: Random, steps: int) -> list[int]:
        length, height, pages, scatter = (
            int(share * steps),
            rng.uniform(5, 2000),
            rng.choice([1, 4]),
            rng.choice([0, 1]),
        )
        every = max(1, steps // 20)
        crept = [pages * (max(0, step - length) // every) * PAGE / MIB for step in range(steps)]
        return _bytes([height * min(1, step / length) + crept[step] + rng.gauss(0, scatter) for step in range(steps)])

    return made


def fifo(rng: Random, steps: int) -> list[int]:
    """Fill a buffer of up to 60 % of the steps with entries of one size or of many, and then drop the oldest.

    The process gives the dropped memory back, or, as a resident set does, never does.
    """
    held, entry, differ = int(rng.uniform(0.05, 0.6) * steps), rng.uniform(0.1, 8), rng.choice([0, 0.02, 0.3])
    keeps, scatter = rng.choice([True, False]), rng.choice([0, 0.05, 1, 10])
    sizes = [entry * max(0.05, rng.gauss(1, differ)) for _ in range(steps)]
    found, total, most = [], 0.0, 0.0
    for step, size in enumerate(sizes):
        total += size - (sizes[step - held] if step >= held else 0)
        most = max(most, total)
        found.append((most if keeps else total) + rng.gauss(0, scatter))
    return _bytes(found)


def saturating(rng: Random, steps: int) -> list[int]:
    """Rise towards a level at a pace of 5 to 30 % of the steps: of the slowest, 4 % of the way is left at the end."""
    pace, height, scatter = rng.uniform(0.05, 0.3) * steps, rng.uniform(50, 4000), rng.choice([0, 0.1, 1, 10])
    return _bytes([height * (1 - math.exp(-step / pace)) + rng.gauss(0, scatter) for step in range(steps)])


def at_intervals(rng: Random, steps: int) -> list[int]:
    """Leak 100 MiB every few steps, up to an eighth of them: at each evaluation, say."""
    period, begin, scatter = rng.randint(5, max(6, steps // 8)), rng.randint(0, steps), rng.choice([0, 1, 5])
    return _bytes([100 * ((step + begin) // period) + rng.gauss(0, scatter) for step in range(steps)])


def stairs(rng: Random, steps: int) -> list[int]:
    """Jump a few times in the first half: a first evaluation, a first checkpoint."""
    jumps = [rng.randint(0, steps // 2) for _ in range(rng.randint(2, 5))]
    scatter = rng.choice([0, 1, 10])
    return _bytes([200 * sum(step >= jump for jump in jumps) + rng.gauss(0, scatter) for step in range(steps)])


def periodic(rng: Random, steps: int) -> list[int]:
    """Evaluate every few steps."""
    period, height, scatter = rng.choice([10, 25, 50, 100]), rng.uniform(100, 3000), rng.choice([0, 1, 20])
    length = rng.randint(1, period // 3)
    return _bytes([height * (step % period < length) + rng.gauss(0, scatter) for step in range(steps)])


def start_up(rng: Random, steps: int) -> list[int]:
    """Load imports, compile, run the first batches: most in a few steps, some of it given back, the rest in jumps."""
    length, height, scatter = rng.randint(2, steps // 4), rng.uniform(200, 4000), rng.choice([0, 0.1, 1, 10])
    back, jumps = rng.uniform(0, 0.6), sorted(rng.random() ** 2 * length * 2 for _ in range(rng.randint(3, 12)))
    figures = []
    for step in range(steps):
        loaded = height * min(1, step / length) - (height * back if step > length else 0)
        figures.append(loaded + 40 * sum(step >= jump for jump in jumps) + rng.gauss(0, scatter))
    return _bytes(figures)


def loading(rng: Random, steps: int) -> list[int]:
    """Read a data set in shards of many sizes during the first 5 to 45 % of the steps.

    Beside it a cache fills and is emptied.
    """
    length, shard, cache = rng.uniform(0.05, 0.45) * steps, rng.uniform(5, 100), rng.uniform(0, 50)
    period = rng.randint(3, max(4, steps // 10))
    total, figures = 0.0, []
    for step in range(steps):
        total += shard * rng.lognormvariate(0, 0.7) if step < length else 0
        figures.append(total + cache * (step % period) / period + rng.gauss(0, 0.5))
    return _bytes(figures)


def mapped(rng: Random, steps: int) -> list[int]:
    """Read a mapped file in bursts, taken off by samples that come every few steps.

    The rest is how far the true figure lies from the line between two of them.
    """
    every, burst, chance = rng.randint(2, 20), rng.uniform(1, 200), rng.uniform(0.05, 1)
    read, total = [], 0.0
    for _ in range(steps + every):
        total += burst * rng.expovariate(1) if rng.random() < chance else 0
        read.append(total)
    figures = []
    for step in range(steps):
        before = step - step % every
        line = read[before] + (read[before + every] - read[before]) * (step - before) / every
        figures.append(read[step] - line + rng.gauss(0, 1))
    return _bytes(figures)


def waves(rng: Random, steps: int) -> list[int]:
    """Make garbage of three generations: the young is collected often, the old in waves of up to a quarter of all."""
    periods = rng.randint(2, 6), rng.randint(8, 20), rng.randint(max(8, steps // 12), max(9, steps // 4))
    heights = rng.uniform(1, 20), rng.uniform(10, 100), rng.uniform(50, 900)
    begins = [rng.randint(0, period) for period in periods]
    figures = []
    for step in range(steps):
        parts = zip(periods, heights, begins, strict=True)
        wave = sum(height * ((step + begin) % period) / period for period, height, begin in parts)
        figures.append(wave + rng.gauss(0, 1))
    return _bytes(figures)


def spikes(rng: Random, steps: int) -> list[int]:
    """Evaluate at many sizes. The memory of the first stays in part: a resident set gives back only some."""
    period, stays, height = rng.randint(8, max(9, steps // 4)), rng.uniform(0, 0.5), rng.uniform(100, 3000)
    most, figures = 0.0, []
    for step in range(steps):
        spike = height * rng.uniform(0.7, 1) if step % period == period - 1 else 0.0
        most = max(most, spike)
        figures.append(max(spike, stays * most) + rng.gauss(0, 1))
    return _bytes(figures)


def lengths(rng: Random, steps: int) -> list[int]:
    """Take sequences of many lengths up to a cut, ever longer during the first 40 % of the steps.

    The memory of the longest so far stays in part.
    """
    middle, differ, stays = rng.uniform(50, 500), rng.uniform(0.2, 0.8), rng.uniform(0, 0.9)
    curriculum = rng.choice([0, rng.uniform(0.05, 0.4) * steps])
    most, figures = 0.0, []
    for step in range(steps):
        longer = min(1, (step + 1) / curriculum) if curriculum else 1
        size = middle * longer * min(math.exp(1.5 * differ), rng.lognormvariate(0, differ))
        most = max(most, size)
        figures.append(max(size, stays * most) + rng.gauss(0, 1))
    return _bytes(figures)


def filled_cache(rng: Random, steps: int) -> list[int]:
    """Fill a cache with entries of many sizes, drawn at random until nearly all are in: `lru_cache`, tokenizers."""
    pace, size = rng.uniform(0.02, 0.2) * steps, rng.uniform(0.5, 10)
    total, figures = 0.0, []
    for step in range(steps):
        total += size * rng.lognormvariate(0, 1) if rng.random() < math.exp(-step / pace) else 0
        figures.append(total + rng.gauss(0, 0.2))
    return _bytes(figures)


def late_start(rng: Random, steps: int) -> list[int]:
    """Begin once or twice, at any step, what takes memory and keeps it: layers that are trained from then on have
    gradients and an optimizer's state, averaged weights are a copy.

    It takes a few steps to be there, and the heap some more to settle.
    """
    begins = [rng.randint(1, steps) for _ in range(rng.randint(1, 2))]
    heights, pace = [rng.uniform(10, 1000) for _ in begins], rng.uniform(0.1, 8)
    settles, scatter = rng.choice([0, 0.05, 0.2]), rng.choice([0, 0.1, 1, 10])
    figures = []
    for step in range(steps):
        taken = 0.0
        for begin, height in zip(begins, heights, strict=True):
            since = max(0, step - begin)
            taken += height * ((1 - settles) * (since > 0) + settles * (1 - math.exp(-since / pace)))
        figures.append(taken + rng.gauss(0, scatter))
    return _bytes(figures)


def arenas(rng: Random, steps: int) -> list[int]:
    """Run threads with arenas of their own, some of which begin late.

    Each keeps the most that was ever in it, of needs that differ by up to a half, and some is given back at times.
    """
    usual, back = rng.uniform(2, 40), rng.choice([0, 0.02])
    begins = [rng.choice([0, rng.uniform(0, 0.3) * steps]) for _ in range(rng.choice([2, 8, 32, 64]))]
    most, figures = [0.0] * len(begins), []
    for step in range(steps):
        for index, begin in enumerate(begins):
            if step >= begin:
                most[index] = max(most[index] * (1 - rng.random() * back), usual * rng.uniform(0.5, 1))
        figures.append(sum(most) + rng.gauss(0, 0.5))
    return _bytes(figures)


def leaking(make: Make, mib_per_step: float) -> Make:
    """Return the same with a leak."""

    def made(rng: Random, steps: int) -> list[int]:
        return [value + int(mib_per_step * MIB * step) for step, value in enumerate(make(rng, steps))]

    return made


HEALTHY: dict[str, Make] = {
    "flat": flat,
    "noise, 50 MiB": noisy,
    "uniform noise over 200 MiB": uniform,
    "correlated noise": correlated,
    "sawtooth (a cache)": sawtooth,
    "garbage collection": garbage,
    "warm-up that dies away": warm_up,
    "ramp, then flat": ramp,
    "stairs, then flat": stairs,
    **{f"ramp for {share:.0%}, then pages": creeping(share) for share in (0.25, 0.4, 0.45, 0.6)},
    "first-in-first-out buffer that fills": fifo,
    "exponential saturation": saturating,
    "periodic evaluation": periodic,
    "start-up": start_up,
    "loading": loading,
    "mapped files, taken off": mapped,
    "waves of garbage": waves,
    "evaluation spikes that stay in part": spikes,
    "growing sequence lengths": lengths,
    "filled caches": filled_cache,
    "arenas": arenas,
    "training that begins late": late_start,
}
LEAKING: dict[str, Make] = {
    "1 MiB per step": leaking(flat, 1),
    "1 MiB per step under noise of 50 MiB": leaking(noisy, 1),
    "1 MiB per step under uniform noise over 200 MiB": leaking(uniform, 1),
    "1 MiB per step under correlated noise": leaking(correlated, 1),
    "1 MiB per step under periodic evaluation": leaking(periodic, 1),
    "1 MiB per step after a warm-up": leaking(warm_up, 1),
    "1 MiB per step under a sawtooth of up to 1000 MiB": leaking(sawtooth, 1),
    "1 MiB per step under garbage of up to 900 MiB": leaking(garbage, 1),
    "10 KiB per step": leaking(flat, 0.01),
    "100 MiB now and then": at_intervals,
    "1 MiB per step after a ramp of up to half of the steps": leaking(ramp, 1),
}
