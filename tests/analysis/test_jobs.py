"""Several ranks as one job: what belongs together, who uses the most, who is behind, and whose clock is off."""

from __future__ import annotations

import json
from typing import Any

import pytest

from phasescope.analysis.event_fields import scope_of
from phasescope.analysis.jobs.clock_skew import Boundaries, compare
from phasescope.analysis.jobs.grouping import group
from phasescope.analysis.jobs.job import Job, Member, job
from phasescope.analysis.session_view import SessionView
from support.events import MIB, MS, MadeSession

SECOND = 1000 * MS


def constants(rank: int, started_s: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "rank": rank,
        "world_size": 4,
        "job_id": "job",
        "host": "a",
        "pid": 100 + rank,
        "session_id": f"s{rank}",
        "started_ns": started_s * SECOND,
        **more,
    }


def training(*, steps: int, ms: int = 5, change: int = MIB, skew_ns: int = 0) -> MadeSession:
    session = MadeSession()
    session.now_ns += skew_ns
    epoch = session.enter("epoch")
    for step in range(steps):
        inner = session.enter("epoch", "step", parent=epoch)
        session.now_ns += ms * MS + (step % 3) * 10_000
        session.allocated += change
        inner.exit()
        session.allocated -= change
    return session


def member(rank: int, session: MadeSession, *, state: str = "running", missed: int = 0, **more: Any) -> Member:
    view = SessionView()
    view.feed(session.events)
    return Member(constants(rank, **more), view, view.summary(missed), view.ending(state))


def of(*members: Member) -> Job:
    made = job(members)
    json.dumps(made.to_dict())
    return made


def test_sessions_of_one_job_are_one_group_by_rank() -> None:
    known = [constants(rank, started_s=rank) for rank in (2, 0, 3, 1)]
    assert group(known) == [[1, 3, 0, 2]]


def test_a_session_without_ranks_is_alone() -> None:
    known = [constants(0, world_size=1), constants(0, world_size=1, started_s=5)]
    assert group(known) == [[1], [0]]


def test_a_rank_that_comes_again_begins_another_run() -> None:
    known = [constants(rank, started_s=start + rank) for start in (0, 100) for rank in range(2)]
    assert group(known) == [[2, 3], [0, 1]]


def test_without_a_job_id_hosts_and_far_starts_are_kept_apart() -> None:
    one: dict[str, Any] = {"job_id": None}
    other: dict[str, Any] = {"job_id": "none", "host": "b"}
    known = [constants(0, **one), constants(1, **one), constants(1, **other), constants(2, 7200, **one)]
    assert sorted(map(sorted, group(known))) == [[0, 1], [2], [3]]


def test_one_job_on_several_hosts_is_one_group_whatever_their_clocks() -> None:
    known = [constants(0), constants(1, 86_400, host="b")]
    assert group(known) == [[0, 1]]


def test_odd_constants_are_grouped_without_raising() -> None:
    odd: list[dict[str, Any]] = [
        {},
        {"rank": "x", "world_size": True, "job_id": 7},
        {"world_size": 2**70},
        {"world_size": 2, "host": []},
    ]
    assert sorted(at for run in group(odd) for at in run) == [0, 1, 2, 3]


def test_the_fattest_and_the_one_behind_are_named() -> None:
    made = of(
        member(1, training(steps=20, change=9 * MIB)),
        member(0, training(steps=20)),
        member(3, training(steps=15)),
    )
    assert [row.rank for row in made.ranks] == [0, 1, 3]
    assert made.missing == (2,)
    assert (made.fattest, made.ranks[1].peak_allocated_bytes) == (1, 9 * MIB)
    assert made.step_path == ("epoch", "step")
    assert (made.behind, made.ranks[2].steps, made.ranks[2].steps_behind) == (2, 15, 5)
    assert made.ranks[0].phase == ("epoch",)


def test_a_step_of_difference_is_the_moment_of_looking() -> None:
    made = of(member(0, training(steps=20)), member(1, training(steps=19)))
    assert made.behind is None
    assert made.ranks[1].steps_behind == 1


def test_where_events_were_lost_steps_are_not_counted() -> None:
    made = of(member(0, training(steps=20)), member(1, training(steps=5), missed=30))
    assert (made.step_path, made.behind) == (None, None)
    assert [row.sequence for row in made.ranks] == [41, 11]


def test_phases_stand_beside_each_other_by_rank() -> None:
    extra = training(steps=6, ms=15)
    extra.run("epoch", "checkpoint")
    made = of(member(0, training(steps=6)), member(1, training(steps=6)), member(2, extra))
    step = next(row for row in made.phases if row.path == ("epoch", "step"))
    assert step.slowest == 2
    assert step.slowdown == pytest.approx(3.0, rel=0.02)
    assert [cell.count for cell in step.cells if cell is not None] == [6, 6, 6]
    checkpoint = next(row for row in made.phases if row.path == ("epoch", "checkpoint"))
    assert checkpoint.cells[:2] == (None, None)
    assert checkpoint.slowest is None
    assert [row.path for row in made.phases] == [("epoch",), ("epoch", "step"), ("epoch", "checkpoint")]


def boundaries(session: MadeSession) -> Boundaries:
    kept = Boundaries()
    for event in session.events:
        kept.take(event, scope_of(event))
    return kept


def test_a_clock_that_is_clearly_off_is_aligned_and_it_is_said() -> None:
    told = compare(
        {"a": boundaries(training(steps=50)), "b": boundaries(training(steps=40, skew_ns=3200 * MS + 12345))}
    )
    assert told.aligned
    assert told.shift_ns == {"a": 0, "b": 3200 * MS + 12345}
    assert told.text == "clocks aligned to a by matching phases (b: -3.20 s, spread 0 ns)"


def test_clocks_that_agree_as_far_as_can_be_told_are_left_alone() -> None:
    told = compare({"a": boundaries(training(steps=50)), "b": boundaries(training(steps=50, skew_ns=300_000))})
    assert (told.aligned, told.shift_ns["b"]) == (False, 0)
    assert told.text == "clocks shown as they are (b: within 300 µs)"


def test_ranks_that_did_different_things_are_not_aligned() -> None:
    other = MadeSession()
    other.now_ns += 5000 * MS
    for _ in range(100):
        other.run("evaluate")
    told = compare({"a": boundaries(training(steps=100)), "b": boundaries(other)})
    assert not told.aligned
    assert "in common" in told.text


def test_long_sessions_keep_few_boundaries_and_the_same_ones() -> None:
    long, longer = boundaries(training(steps=4000)), boundaries(training(steps=9000, skew_ns=9000 * MS))
    assert len(long.times) <= 1024
    assert compare({"a": long, "b": longer}).shift_ns["b"] == 9000 * MS


def test_a_job_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="members"):
        job([])
