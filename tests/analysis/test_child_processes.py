"""Which children grow, which are left behind, and which merely come and go: on samples made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from phasescope.analysis.diagnosis.child_processes import Crews
from phasescope.analysis.diagnosis.evidence import evidence
from phasescope.analysis.diagnosis.explanation import explain
from phasescope.analysis.diagnosis.few_looks import Unjudged
from phasescope.analysis.diagnosis.growth import WORKERS, growth
from phasescope.analysis.diagnosis.growth_text import called, where_it_stays
from support.events import MIB, MadeSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from phasescope.analysis.diagnosis.child_processes import GrownChildren
    from phasescope.analysis.diagnosis.growth import Growth

SAMPLES = 120

Each = dict[int, int]
"""What each child has for itself in bytes, by its pid."""


def session_of(
    children: Callable[[int], Each], *, are_data_workers: bool = True, steps: int = 60, new: bool = False
) -> MadeSession:
    """A session of `steps` samples a second apart. `new`: what the children have was not shared before."""
    session = MadeSession()
    for _ in range(steps):
        session.run("step")
    for second in range(SAMPLES):
        session.now_ns += 1_000_000_000
        told = [[pid, size, True] if are_data_workers else [pid, size] for pid, size in children(second).items()]
        resident = (900 * MIB + sum(children(second).values())) if new else 900 * MIB
        metadata = {"children": len(told), "children_resident_bytes": resident, "children_private_bytes": told}
        session.event("sample", backend="cpu", device_id=-1, allocator_allocated_bytes=MIB, metadata=metadata)
    return session


def found(children: Callable[[int], Each], *, are_data_workers: bool = True) -> GrownChildren | None:
    crews = Crews()
    for event in session_of(children, are_data_workers=are_data_workers).events:
        if event["event_type"] == "sample":
            crews.take(event)
    return crews.grown()


def of_workers(session: MadeSession) -> Growth:
    return next(found for found in growth(session.events) if found.device == WORKERS)


def test_workers_that_copy_what_they_share_are_named() -> None:
    """Their resident sets stay what they were."""
    told = of_workers(session_of(lambda second: {7: (50 + second) * MIB, 8: (50 + second) * MIB, 9: 50 * MIB}))
    assert told.grows
    assert told.bytes_per_step == pytest.approx(2 * MIB)
    assert called(told) == "the memory of its data workers"
    assert where_it_stays(told) == (
        ": 2 of 3 (pid 7, 8), by copying pages that they had shared, since their resident sets stay"
    )


@pytest.mark.parametrize(
    ("new", "first"), [(False, "large lists, dicts and strings"), (True, "look in the dataset's __get")]
)
def test_advice_goes_by_whether_workers_copy_or_keep(*, new: bool, first: str) -> None:
    session = session_of(lambda second: {7: (50 + second) * MIB}, new=new)
    answer = explain(evidence(session.events))
    growing = next(found for found in answer.evidence.growth if found.device == WORKERS)
    assert growing.children is not None
    assert growing.children.copy_pages is not new
    assert growing.children.new_memory is new
    assert answer.advice[0].startswith(first)
    assert "by what they keep themselves" in answer.cause.text or not new


def test_whose_memory_rose_is_not_said_where_the_resident_sets_are_of_other_children_too() -> None:
    session = session_of(lambda second: {7: (50 + second) * MIB, **({9: 80 * MIB} if second > 60 else {})}, new=True)
    growing = of_workers(session)
    assert growing.children is not None
    assert not growing.children.new_memory


def test_workers_of_one_epoch_after_the_other_do_not_grow() -> None:
    """Each epoch's are started again, and are gone with it."""
    told = found(lambda second: {second // 20 * 10: (second % 20) * MIB})
    assert told is None or not told.trend.grows


def test_workers_that_are_left_behind_in_each_epoch_are_counted() -> None:
    def children(second: int) -> Each:
        return dict.fromkeys(range(4 * (second // 12 + 1)), 30 * MIB)

    told = of_workers(session_of(children))
    assert told.grows
    assert where_it_stays(told) == (
        ": 40 are there, started at 10 different times, and none of them has ended: they are left behind"
    )


def test_what_is_to_be_said_of_workers_stays_when_the_session_ends_and_they_do_first() -> None:
    def children(second: int) -> Each:
        return {} if second == SAMPLES - 1 else dict.fromkeys(range(SAMPLES - second)[:2], (50 + second) * MIB)

    told = of_workers(session_of(children))
    assert told.grows
    assert where_it_stays(told) == (
        ": 2 of 2 (pid 0, 1), by copying pages that they had shared, since their resident sets stay"
    )


def test_three_loaders_with_persistent_workers_are_nothing_unusual() -> None:
    def children(second: int) -> Each:
        return dict.fromkeys(range(4 * min(3, second // 12 + 1)), 30 * MIB)

    told = found(children)
    assert told is not None
    assert not told.trend.grows


def test_a_pool_of_compilers_that_starts_beside_steady_workers_does_not_grow() -> None:
    def children(second: int) -> Each:
        return dict.fromkeys(range(min(32, second)), 200 * MIB)

    told = found(children, are_data_workers=False)
    assert told is None or not told.trend.grows


def test_children_that_are_no_data_workers_are_not_called_so() -> None:
    told = of_workers(session_of(lambda second: {7: (50 + second) * MIB}, are_data_workers=False))
    assert called(told) == "the memory of its child processes"


def test_a_worker_that_is_called_so_only_after_a_while_is_one() -> None:
    crews = Crews()
    for second in range(SAMPLES):
        told: list[Any] = [[7, second * MIB], [8, 5 * MIB]] if second < 2 else [[7, second * MIB, True], [8, 5 * MIB]]
        crews.take({"metadata": {"children": 2, "children_private_bytes": told}, "timestamp_ns": second})
    grown = crews.grown()
    assert grown is not None
    assert grown.are_data_workers
    assert grown.growing == (7,)


def test_before_there_are_steps_nothing_is_said_of_children() -> None:
    assert growth(session_of(lambda second: {7: (50 + second) * MIB}, steps=10).events) == []


@pytest.mark.parametrize("told", [7, [7], [[7]], [[7, -1]], ["ab"], [[None, 3]], [[7, 3, 9]]])
def test_what_is_ill_formed_is_passed_over(told: object) -> None:
    Crews().take({"metadata": {"children_private_bytes": told}})


def looked_at(
    sizes: Callable[[int], Each], looks: int, apart: int = 1, resident: Callable[[int], int] | None = None
) -> Crews:
    """Crews of which each worker is measured every `apart` seconds: between that its figure is as it was.

    `resident` is what their resident sets are in each second, if that is known.
    """
    crews = Crews()
    for second in range(looks * apart):
        told = [[pid, size, True] for pid, size in sizes(second // apart * apart).items()]
        metadata: dict[str, Any] = {"children": len(told), "children_private_bytes": told}
        if resident is not None:
            metadata["children_resident_bytes"] = resident(second)
        crews.take({"metadata": metadata, "timestamp_ns": second * 1_000_000_000})
    return crews


def test_a_steady_rise_is_growth_from_a_hundred_looks_on() -> None:
    """A cache that fills, or garbage that waits for its collector, may rise like that for up to eighty."""
    crews = looked_at(lambda second: {7: (20 + second) * MIB, 8: (20 + second) * MIB}, 103)
    grown = crews.grown()
    assert grown is not None
    assert not grown.trend.grows
    assert crews.unjudged() == Unjudged(2, 103, 204 * MIB)

    crews = looked_at(lambda second: {7: (20 + second) * MIB, 8: (20 + second) * MIB}, 104)
    grown = crews.grown()
    assert grown is not None
    assert grown.trend.slope == pytest.approx(2 * MIB)
    assert grown.growing == (7, 8)
    assert crews.unjudged() is None


def test_of_workers_that_are_measured_in_turn_more_looks_are_needed() -> None:
    """Eight, one a second: where all empty a cache at once, the sum of what was seen of them goes on rising for some
    looks."""

    def seen(of_each: Callable[[int], int], looks: int) -> bool:
        crews, latest = Crews(), dict.fromkeys(range(8), of_each(0))
        for second in range(looks):
            latest[second % 8] = of_each(second)
            told = [[pid, size * MIB, True] for pid, size in latest.items()]
            metadata = {"children": 8, "children_private_bytes": told}
            crews.take({"metadata": metadata, "timestamp_ns": second * 1_000_000_000})
        grown = crews.grown()
        return grown is not None and grown.trend.grows

    assert not any(seen(lambda second: 20 + 8 * (second % 100), looks) for looks in (101, 104, 106, 110, 127, 128))
    assert (seen(lambda second: 20 + second, 118), seen(lambda second: 20 + second, 128)) == (False, True)


def test_a_rise_that_is_seldom_seen_is_growth_after_ten_minutes() -> None:
    """A look in ten seconds, or memory that is only taken now and then."""

    def seen(looks: int) -> bool:
        grown = looked_at(lambda second: {7: (20 + 3 * second) * MIB}, looks, apart=10).grown()
        return grown is not None and grown.trend.grows

    assert (seen(59), seen(60)) == (False, True)


def test_a_cache_that_is_emptied_between_two_looks_is_not_growth() -> None:
    """Each look meets it a little fuller; the resident sets, which are in every sample, fall back each time."""

    def cache(second: int) -> int:
        return (20 + round(60 * (second % 9.9))) * MIB

    crews = looked_at(
        lambda second: {7: cache(second)}, 60, apart=10, resident=lambda second: 300 * MIB + cache(second)
    )
    grown, unjudged = crews.grown(), crews.unjudged()
    assert grown is not None
    assert not grown.trend.grows
    assert grown.trend.slope > 0
    assert unjudged is not None
    assert unjudged.looks == 60


RESIDENT: dict[str, Callable[[int], int]] = {
    "rise with it": lambda second: 300 + second // 2,
    "rise with it, under batches that come and go": lambda second: 300 + second // 2 + 400 * (second % 7) // 7,
    "stay, since pages were shared": lambda second: 300,
    "stay, but for small batches": lambda second: 300 + 20 * (second % 7),
}


@pytest.mark.parametrize("name", RESIDENT)
def test_a_leak_that_is_seldom_seen_is_one_whatever_resident_sets_do(name: str) -> None:
    crews = looked_at(
        lambda second: {7: (20 + second // 2) * MIB}, 60, apart=10, resident=lambda second: RESIDENT[name](second) * MIB
    )
    grown = crews.grown()
    assert grown is not None
    assert grown.trend.grows


def test_resident_sets_of_others_say_nothing_of_one_crew() -> None:
    """A compiler comes and goes beside a worker that grows."""
    crews = Crews()
    for second in range(120):
        told: list[Any] = [[7, (20 + second) * MIB, True], *([[8, 200 * MIB]] if second % 10 > 5 else [])]
        metadata = {"children_private_bytes": told, "children_resident_bytes": 300 * MIB * len(told)}
        crews.take({"metadata": metadata, "timestamp_ns": second * 1_000_000_000})
    grown = crews.grown()
    assert grown is not None
    assert grown.growing == (7,)


def test_other_children_that_rise_in_a_few_looks_are_not_called_healthy_either() -> None:
    told = session_of(lambda second: {7: (50 + second) * MIB} if second < 80 else {}, are_data_workers=False)
    answer = explain(evidence(told.events))
    assert answer.cause.text == (
        "Its own memory does not grow, and no phase ended by running out of it; "
        "whether its 1 child process grows is not known: "
        "79.0 MiB more since the start, copies of pages that they had shared, seen in 80 looks, "
        "too few to tell a leak from a cache that fills; a longer run will tell."
    )


HARMLESS: dict[str, Callable[[int], int]] = {
    "imports": lambda second: 20 + 30 * min(3, second),
    "a queue that fills and stays": lambda second: 20 + 30 * min(4, second),
    "a warm-up that dies away": lambda second: round(200 * (1 - 0.7**second)),
    "batches that come and go": lambda second: 50 + 60 * (second % 2),
    "a wave of garbage": lambda second: 20 + 15 * (second % 6),
    "a jump": lambda second: 20 if second < 8 else 120,
    "a late jump": lambda second: 20 + (second >= 11) * 90,
    "a cache that fills for eighty looks": lambda second: 20 + 5 * (second % 80),
    "garbage that is collected after seventy": lambda second: 20 + second % 70 * (second % 70) // 8,
}


@pytest.mark.parametrize("looks", [8, 20, 47, 80, 120])
@pytest.mark.parametrize("name", HARMLESS)
def test_what_a_start_or_a_cache_does_is_no_growth(name: str, looks: int) -> None:
    crews = looked_at(lambda second: {7: HARMLESS[name](second) * MIB}, looks)
    grown = crews.grown()
    assert grown is None or not grown.trend.grows


def test_of_workers_that_took_much_in_a_few_looks_it_is_not_known() -> None:
    found = looked_at(lambda second: {7: (20 + 8 * second) * MIB, 8: 20 * MIB}, 5).unjudged()
    assert found is not None
    assert found == Unjudged(2, 5, 32 * MIB)


@pytest.mark.parametrize("looks", [2, 3, 6, 12, 23])
def test_what_a_worker_takes_while_it_starts_is_no_cause_for_doubt(looks: int) -> None:
    """Imports, the first batches, pages that it shared as it was forked."""
    assert looked_at(lambda second: {7: (20 + 75 * (second > 0)) * MIB + second * 2**16}, looks).unjudged() is None


def test_of_workers_that_still_rise_unevenly_it_is_not_known_until_there_is_a_trend() -> None:
    """As on a machine that is busy with other work for seconds at a time."""
    uneven = {second: 20 + 2 * min(second, 12) + 2 * max(0, second - 20) for second in range(36)}
    levelled = {second: 20 + 4 * min(second, 12) for second in range(36)}
    found = looked_at(lambda second: {7: uneven[second] * MIB + second}, 36).unjudged()
    assert found is not None
    assert found.looks == 36
    assert looked_at(lambda second: {7: levelled[second] * MIB + second}, 36).unjudged() is None


def test_figures_that_are_merely_repeated_are_no_looks() -> None:
    """Sixty samples, in which the worker's turn came six times."""
    crews = looked_at(lambda second: {7: (20 + 3 * second) * MIB}, 6, apart=10)
    grown, found = crews.grown(), crews.unjudged()
    assert grown is None or not grown.trend.grows
    assert found == Unjudged(1, 6, 150 * MIB)


def test_workers_that_hold_what_they_held_are_healthy() -> None:
    assert looked_at(lambda second: {7: (20 + second % 3) * MIB}, 12).unjudged() is None


def test_a_healthy_verdict_does_not_speak_for_workers_that_are_not_known() -> None:
    session = session_of(lambda second: {7: (20 + 8 * min(5, second)) * MIB} if second < 6 else {})
    answer = explain(evidence(session.events))
    assert answer.cause.text == (
        "Its own memory does not grow, and no phase ended by running out of it; "
        "whether its 1 data worker grows is not known: "
        "40.0 MiB more since the start, copies of pages that they had shared, seen in 6 looks, "
        "too few to tell a leak from a cache that fills; a longer run will tell."
    )
    assert not answer.cause.certain
