"""How long the entries of a phase take, one after the other, as real machines have it: the measure for `compare`.

Each takes a random generator and a number of entries, and gives ns.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from phasescope.analysis.summary.phase_tree import PhaseTree
from phasescope.analysis.summary.summary import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    Make = Callable[[Random, int], list[int]]

_USUAL_NS = 10_000_000


def times(*, resembles: float = 0.0, scatter: float = 0.2, outliers: float = 0.0, first: float = 1.0) -> Make:
    """Return lognormal times with this `scatter`, each entry remembering a part (`resembles`) of the last one.

    The share `outliers` takes four times as long and more, with no bound, and the first entry up to `first` times as
    long.
    """

    def made(rng: Random, count: int) -> list[int]:
        mood, durations = rng.gauss(0, 1), []
        for number in range(count):
            mood = resembles * mood + math.sqrt(1 - resembles**2) * rng.gauss(0, 1)
            taken = _USUAL_NS * math.exp(scatter * mood)
            if rng.random() < outliers:
                taken *= 1 + 3 * rng.paretovariate(1.5)
            if number == 0:
                taken *= rng.uniform(1, first)
            durations.append(int(taken))
        return durations

    return made


STEADINESS: dict[str, Make] = {
    "independent": times(),
    "with outliers": times(outliers=0.04, first=100),
    "like their neighbours, with outliers": times(resembles=0.5, outliers=0.02, first=100),
    "much like their neighbours, with outliers": times(resembles=0.9, outliers=0.02, first=100),
    "widely scattered, with outliers": times(resembles=0.5, scatter=0.6, outliers=0.06, first=100),
}


def summary_of(durations_ns: Sequence[int]) -> dict[str, Any]:
    """Return the data of a summary whose phase "step" took these times, as far as a comparison asks for it."""
    tree = PhaseTree()
    tree.node(("step",)).ended(len(durations_ns), durations_ns, ())
    (row,) = tree.rows((), None, None)
    phase = {name: getattr(row, name) for name in row.__dataclass_fields__}
    return {"schema_version": SCHEMA_VERSION, "phases": [{**phase, "path": list(row.path), "devices": []}]}
