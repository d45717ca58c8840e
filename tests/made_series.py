"""Memory from step to step as trainings show it, with and without a leak: what the growth detector is measured on.

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
    """Each step's figure remembers the last one's."""
    value, found = 0.0, []
    for _ in range(steps):
        value = 0.8 * value + rng.gauss(0, 30)
        found.append(value)
    return _bytes(found)


def sawtooth(rng: Random, steps: int) -> list[int]:
    """A cache that fills and is emptied, every 5 to 80 steps."""
    period, height, begin = rng.uniform(5, 80), rng.uniform(50, 1000), rng.uniform(0, 80)
    return _bytes([height * ((step + begin) % period) / period + rng.gauss(0, 2) for step in range(steps)])


def garbage(rng: Random, steps: int) -> list[int]:
    """What piles up until the collector comes, after amounts that differ."""
    value, limit, found = 0.0, rng.uniform(200, 900), []
    for _ in range(steps):
        value += rng.expovariate(1 / 10)
        if value > limit:
            value, limit = 0.0, rng.uniform(200, 900)
        found.append(value)
    return _bytes(found)


def warm_up(rng: Random, steps: int) -> list[int]:
    """Rises towards a level, ever slower: a fifth of the steps, at most, to come within a third of it."""
    pace, height, scatter = rng.uniform(2, steps / 5), rng.uniform(50, 4000), rng.choice([0, 0.1, 1, 10])
    return _bytes([height * (1 - math.exp(-step / pace)) + rng.gauss(0, scatter) for step in range(steps)])


def ramp(rng: Random, steps: int) -> list[int]:
    """Rises steadily for up to half of the steps, and then no more."""
    length, height = rng.randint(10, steps // 2), rng.uniform(50, 4000)
    scatter = rng.choice([0, 0.1, 1, 10, 50])
    return _bytes([height * min(1, step / length) + rng.gauss(0, scatter) for step in range(steps)])


def creeping(share: float) -> Make:
    """Rises steadily for this share of the steps; then some pages come on top, every twentieth of the run."""

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
    """A buffer of up to 60 % of the steps fills with entries of one size or of many, and then drops the oldest.

    The process gives back what is dropped, or, as a resident set does, never does.
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
    """Rises towards a level at a pace of 5 to 30 % of the steps: of the slowest, 4 % of the way is left at the end."""
    pace, height, scatter = rng.uniform(0.05, 0.3) * steps, rng.uniform(50, 4000), rng.choice([0, 0.1, 1, 10])
    return _bytes([height * (1 - math.exp(-step / pace)) + rng.gauss(0, scatter) for step in range(steps)])


def at_intervals(rng: Random, steps: int) -> list[int]:
    """A leak of 100 MiB every so many steps, up to an eighth of them: at each evaluation, say."""
    period, begin, scatter = rng.randint(5, max(6, steps // 8)), rng.randint(0, steps), rng.choice([0, 1, 5])
    return _bytes([100 * ((step + begin) // period) + rng.gauss(0, scatter) for step in range(steps)])


def stairs(rng: Random, steps: int) -> list[int]:
    """A few jumps in the first half: a first evaluation, a first checkpoint."""
    jumps = [rng.randint(0, steps // 2) for _ in range(rng.randint(2, 5))]
    scatter = rng.choice([0, 1, 10])
    return _bytes([200 * sum(step >= jump for jump in jumps) + rng.gauss(0, scatter) for step in range(steps)])


def periodic(rng: Random, steps: int) -> list[int]:
    """An evaluation every so many steps."""
    period, height, scatter = rng.choice([10, 25, 50, 100]), rng.uniform(100, 3000), rng.choice([0, 1, 20])
    length = rng.randint(1, period // 3)
    return _bytes([height * (step % period < length) + rng.gauss(0, scatter) for step in range(steps)])


def leaking(make: Make, mib_per_step: float) -> Make:
    """The same with a leak."""

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
