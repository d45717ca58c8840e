"""What it costs to know what memory is made of, and who keeps what grows: a share of the run, with what was found.

A few microseconds in a step of 5 ms are less than the noise of any step. So the time within the calls that count is
taken, call by call, over real steps, and of the censuses the difference of whole runs whose steps do nothing else.
All of it is processor time of the thread that trains: what others take of the machine is not in it.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import ours
from benchmarks.measure import (
    Series,
    Subject,
    all_missing,
    combined,
    in_fresh_process,
    interleave,
    ratio,
    reason,
    scaled,
    series_from,
    with_names,
)
from benchmarks.report import Result, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WINDOW_S = 5.0
"""Long enough for the looks of the first steps, and for those once a second."""

STEP_S = 0.005
_A_LOOK = 5
"""With more than this multiple of the usual cost there was a look in the step."""

MUST_CATEGORIES = 0.1
MUST_CENSUS = 0.2
OBJECTS = 500_000
STEPS = 400
RUN_S = 120.0
"""400 steps of 300 ms: a run with that many objects is no shorter, or it has fewer of them to count."""

CENSUS_STEPS = frozenset({8, 16, 32, 64, 128, 256})


def run(rounds: int) -> Result:
    """Return the rows about categories and the census."""
    rows: list[Row] = []
    notes: list[str] = []
    for what, process, others in (
        (
            "categories, plain torch",
            "torch_process",
            {"MemTracker": "torch's MemTracker, a step under it to one without"},
        ),
        ("categories, note_pytrees of JAX", "jax_process", {}),
    ):
        measured = _measured(process, rounds, ("share", *others))
        rows.append(Row(f"{what}: their share of a run of steps of 5 ms", measured["share"], MUST_CATEGORIES))
        rows += [Row(name, measured[other]) for other, name in others.items()]
        notes += measured["notes"]
    measured = _measured("census_process", rounds, ("bare", "census", "counter"))
    percent = 100 / (RUN_S * 1e9)
    for name, what, must in (
        ("census", f"the census: its share of a run of {STEPS} steps of 300 ms, {OBJECTS:,} objects", MUST_CENSUS),
        ("counter", "a Counter over the types of gc.get_objects() at the same six steps, the same", None),
    ):
        share = combined(name, "%", lambda with_it, bare: (with_it - bare) * percent, measured[name], measured["bare"])
        rows.append(Row(what, share, must))
    return Result(rows, notes + measured["notes"])


def _measured(process: str, rounds: int, names: tuple[str, ...]) -> dict[str, Any]:
    try:
        answer = in_fresh_process("benchmarks.made_of", process, rounds)
    except RuntimeError as error:
        return {**all_missing(names, "%", reason(error)), "notes": []}
    notes = answer.pop("notes")
    return {**series_from(answer), "notes": notes}


class _Timer:
    """Adds up the time within the calls of functions; a call inside of another counts once."""

    def __init__(self) -> None:
        self.ns = self.calls = self._depth = 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self._depth += 1
            time.thread_time_ns()  # after a step's work the kernel's part of it is cold, and is not the function's
            began_ns = time.thread_time_ns()
            try:
                return function(*args, **kwargs)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.calls += 1
                    self.ns += time.thread_time_ns() - began_ns

        return call


def _share(timer: _Timer, step: Callable[[], None]) -> float:
    """Return the time within the timed calls over a window of steps, as a percentage of steps of 5 ms.

    What most steps cost is set against 5 ms, and the looks, of which there is so much in a second, against the window.
    """
    costs: list[int] = []
    empty: list[float] = []  # of the timer alone, in the same state of the caches
    nothing = timer.around(lambda: None)
    began_ns = time.perf_counter_ns()
    while time.perf_counter_ns() - began_ns < WINDOW_S * 1e9:
        timer.ns = timer.calls = 0
        step()
        costs.append(timer.ns)
        calls, timer.ns = timer.calls, 0
        nothing()
        empty.append(timer.ns * calls)
    usual = max(0.0, statistics.median(costs) - statistics.median(empty))
    looks = sum(cost for cost in costs if cost > _A_LOOK * statistics.median(costs))
    return usual * 100 / (STEP_S * 1e9) + looks * 100 / (time.perf_counter_ns() - began_ns)


def _made_of(session: Any) -> str:
    return "found: " + "; ".join(
        f"{row.label}: " + ", ".join(f"{part.label} {part.size_bytes:,} B" for part in row.categories.parts)
        for row in session.summary().devices
        if row.categories is not None
    )


def torch_process(rounds: int) -> dict[str, Any]:
    """In a fresh process, time the looks at a real training of torch's, and one step under MemTracker."""
    from phasescope.integrations import _torch_looks
    from phasescope.integrations.torch import instrument

    from benchmarks.integrations import five_milliseconds

    training, _ = five_milliseconds()
    timer, shares, notes = _Timer(), [], [""]
    looks = _torch_looks.looks
    for name in ("forward_begins", "forward_ended", "backward_begins", "step_ended"):
        setattr(looks, name, timer.around(getattr(looks, name)))
    for _ in range(rounds):
        with ours.session("cpu") as names, instrument(training.model, training.optimizer, training.batches) as marked:
            shares.append(_share(timer, training._replace(batches=iter(marked.loader or ())).step))
            notes[0] = f"Categories, plain torch, {_made_of(names['session'])}."
    subjects = [Subject("bare", "", 1, with_names(step=training.step))]
    subjects.append(Subject("MemTracker", "", 1, partial(_under_mem_tracker, training)))
    tracked = interleave(subjects, rounds, _one_step)
    return {
        "share": Series("share", "%", shares),
        "MemTracker": ratio(tracked["MemTracker"], tracked["bare"]),
        "notes": notes,
    }


def _one_step(subject: Subject) -> float:
    with subject.opened() as names:
        began_ns = time.perf_counter_ns()
        names["step"]()
        return time.perf_counter_ns() - began_ns


@contextlib.contextmanager
def _under_mem_tracker(training: Any) -> Iterator[dict[str, Any]]:
    """Of one step: it raises at the second."""
    from torch.distributed._tools.mem_tracker import MemTracker

    tracker = MemTracker()
    tracker.track_external(training.model, training.optimizer)
    with tracker:
        yield {"step": training.step}


def jax_process(rounds: int) -> dict[str, Any]:
    """In a fresh process, time `note_pytrees` between steps that compute, with the trees of an MLP and its moments."""
    import jax
    import jax.numpy as jnp
    from phasescope.integrations.jax import note_pytrees

    parameters = [{"weight": jnp.ones((128, 128)), "bias": jnp.ones(128)} for _ in range(24)]
    state = [jax.tree.map(jnp.zeros_like, parameters) for _ in range(2)]
    batch = jnp.ones((32, 128))
    timer, shares, notes = _Timer(), [], [""]
    note = timer.around(note_pytrees)

    matrix = jnp.ones((256, 256))

    def step() -> None:
        until_ns = time.perf_counter_ns() + STEP_S * 1e9
        while time.perf_counter_ns() < until_ns:
            (matrix @ matrix).block_until_ready()
        note(parameters=parameters, optimizer_state=state, inputs=batch)

    for _ in range(rounds):
        with ours.session("cpu") as names:
            shares.append(_share(timer, step))
            notes[0] = f"Categories, JAX, 48 arrays and their moments, {_made_of(names['session'])}."
    return {"share": Series("share", "%", shares), "notes": notes}


def census_process(rounds: int) -> dict[str, Any]:
    """In a fresh process, time runs of steps that only keep an array, among many objects: bare, and with each count."""
    import numpy

    others = [[number] for number in range(OBJECTS)]
    notes: list[str] = [""]

    def block(subject: Subject) -> float:
        kept: list[Any] = []
        gc.unfreeze()  # the objects are there to be counted
        with subject.opened() as names:
            gc.collect()
            phase, count = names["phase"], names.get("count")
            began_ns = time.thread_time_ns()
            for step in range(1, STEPS + 1):
                with phase("step"):
                    kept.append(numpy.ones(1000))
                if count is not None and step in CENSUS_STEPS:
                    count()
            took_ns = time.thread_time_ns() - began_ns
            if names.get("census"):
                notes[0] = f"The censuses, {_kept_by(names['session'])}."
        return took_ns

    subjects = [Subject("bare", "", 1, partial(_session, census=False))]
    subjects.append(Subject("census", "", 1, partial(_session, census=True)))
    subjects.append(Subject("counter", "", 1, partial(_session, census=False, count=_count_types)))
    series = interleave(subjects, rounds, block)
    others.clear()
    return {**{name: scaled(figures, 1, "ns") for name, figures in series.items()}, "notes": notes}


def _count_types() -> None:
    Counter(type(each) for each in gc.get_objects()).most_common(10)


@contextlib.contextmanager
def _session(*, census: bool, count: Callable[[], None] | None = None) -> Iterator[dict[str, Any]]:
    import phasescope
    from benchmarks.measure import scratch_directory

    with scratch_directory() as directory:
        session = phasescope.start(backends=["cpu"], directory=directory, census=census)
        try:
            yield {"phase": phasescope.phase, "session": session, "census": census, "count": count}
        finally:
            phasescope.stop()


def _kept_by(session: Any) -> str:
    taken = [event["metadata"]["census"] for event in session.events() if event["event_type"] == "census"]
    if not taken:
        return "found: none was taken"
    grown = [each for each in taken[-1]["grown"] if "keeper" in each]
    keepers = (f"{each['count']} in {each['keeper']['container']} `{each['keeper']['expression']}`" for each in grown)
    return (
        f"{len(taken)} of them, of {taken[-1]['objects']:,} objects, found to grow: {', '.join(keepers) or 'nothing'}"
    )
