"""Sessions of processes that started each other: which is above which, and which of them a person means."""

from __future__ import annotations

from typing import Any

from phasescope.analysis.jobs.families import above, in_order, meant, over_since, parents

SECOND = 1_000_000_000


def session(pid: int, parent: int | None = None, at_s: int | None = None, **more: Any) -> dict[str, Any]:
    link = {} if parent is None else {"parent_pid": parent, "parent_start_ticks": 1000 + parent}
    started_ns = (pid if at_s is None else at_s) * SECOND
    return {"host": "a", "pid": pid, "process_start_ticks": 1000 + pid, "started_ns": started_ns, **link, **more}


def of(*sessions: dict[str, Any], over: dict[int, int] | None = None) -> list[int | None]:
    return parents(sessions, [(over or {}).get(index) for index in range(len(sessions))])


def test_a_child_is_below_the_process_that_started_it() -> None:
    known = [session(1), session(2, parent=1), session(3, parent=2), session(4), session(5, parent=99)]
    assert of(*known) == [None, 0, 1, None, None]
    assert above(2, of(*known)) == [1, 0]


def test_another_process_of_the_same_pid_or_on_another_host_is_no_parent() -> None:
    child = session(2, parent=1)
    assert of(session(1, process_start_ticks=7), child) == [None, None]
    assert of(session(1, host="b"), child) == [None, None]
    assert of(session(1, at_s=3), child) == [None, None], "it had not begun"
    assert of(session(1, process_start_ticks=0), child) == [None, 0], "where the system does not say"


def test_of_a_parents_sessions_it_is_the_one_that_ran() -> None:
    child = session(9, parent=1, at_s=50)
    former, then, later = (session(1, at_s=at_s) for at_s in (10, 40, 60))
    assert of(former, then, later, child)[3] == 1
    assert of(former, then, child, over={0: 20 * SECOND, 1: 45 * SECOND})[2] is None, "both were over"


def test_when_a_session_is_over() -> None:
    assert over_since("running", 5) is over_since("dead", None) is over_since("stopped", 0) is None
    assert over_since("stopped", 5) == 5
    assert over_since("dead", 5) > 5 * SECOND  # type: ignore[operator]


def test_files_that_lie_make_no_circle() -> None:
    hostile = [session(1, parent=2, at_s=5), session(2, parent=1, at_s=5), session(3, parent=3)]
    odd: dict[str, Any] = {"host": [], "pid": {}, "parent_pid": [], "started_ns": "x", "process_start_ticks": None}
    assert of(*hostile, odd, {**odd, "host": "a", "pid": 7, "parent_pid": 7}) == [None] * 5


def chosen(known: list[dict[str, Any]], newest: int, phases: set[int], running: set[int] | None = None) -> int:
    return meant(newest, of(*known), lambda index: running is None or index in running, phases.__contains__)


def test_the_training_is_meant_not_what_works_for_it() -> None:
    known = [session(1), session(2, parent=1), session(3, parent=2)]
    assert chosen(known, 2, phases={0, 1, 2}) == 0
    assert chosen(known, 2, phases={0}) == 0
    assert chosen(known, 2, phases=set()) == 0
    assert chosen(known, 0, phases={1, 2}) == 0, "it began last itself"


def test_below_a_launcher_what_trains_is_meant() -> None:
    known = [session(4, parent=1), session(3, parent=1), session(2, parent=1), session(1)]
    assert chosen(known, 0, phases={0, 1, 2}) == 0
    assert chosen(known, 0, phases={1, 2}) == 1
    assert chosen([session(1), session(2, parent=1), session(3, parent=2)], 2, phases={1, 2}) == 1


def test_what_is_over_does_not_stand_for_what_runs() -> None:
    assert chosen([session(1), session(2, parent=1)], 1, phases={0, 1}, running={1}) == 1


def test_jobs_stand_below_what_started_them() -> None:
    known = [session(1), session(2, parent=1), session(3, parent=1), session(4, parent=3), session(5), session(6)]
    runs = [[5], [4], [3], [1, 2], [0]]  # the newest first; one job has two ranks
    assert in_order(runs, of(*known)) == [([5], 0), ([4], 0), ([0], 0), ([1, 2], 1), ([3], 2)]


def test_a_rank_that_starts_the_others_stays_with_them() -> None:
    known = [session(1), session(2, parent=1)]
    assert in_order([[0, 1]], of(*known)) == [([0, 1], 0)]
