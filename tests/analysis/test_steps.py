"""What a step is: growth, the ranks of a job and the shares in `top` say the same of the same events."""

from __future__ import annotations

import pytest

from phasescope.analysis.diagnosis.growth import growth
from phasescope.analysis.jobs.imbalance import ranks
from phasescope.analysis.jobs.job import Member
from phasescope.analysis.session_view import SessionView
from phasescope.analysis.steps import Ended, Path, likely_step_of, round_of, step_of_all
from phasescope.views.top.step_shares import step_shares
from support.events import MIB, MS, MadeSession


def looped(outer: int, inner: int, *names: str) -> MadeSession:
    """A loop in a loop, the outer one around the inner one."""
    session = MadeSession()
    for _ in range(outer):
        around = session.enter(names[0])
        for _ in range(inner):
            session.run(*names, ms=5, change=MIB)
        around.exit()
    return session


def loaded(files: int, steps: int) -> MadeSession:
    """A loop that loads, takes longer altogether, and is over before the other begins."""
    session = MadeSession()
    for _ in range(files):
        session.run("load", ms=50)
    for _ in range(steps):
        session.run("step", ms=10, change=MIB)
    return session


SESSIONS = [
    pytest.param(looped(80, 4, "step", "micro"), ("step",), id="micro batches inside of a step"),
    pytest.param(looped(60, 5, "epoch", "step"), ("epoch", "step"), id="many epochs"),
    pytest.param(loaded(60, 80), ("step",), id="a loop that loads, before it"),
]


@pytest.mark.parametrize(("session", "step"), SESSIONS)
def test_growth_goes_by_it(session: MadeSession, step: tuple[str, ...]) -> None:
    assert {found.per for found in growth(session.events)} == {step}


@pytest.mark.parametrize(("session", "step"), SESSIONS)
def test_the_ranks_of_a_job_go_by_it(session: MadeSession, step: tuple[str, ...]) -> None:
    members = []
    for rank in range(2):
        view = SessionView()
        view.feed(session.events)
        constants = {"rank": rank, "world_size": 2, "session_id": f"s{rank}"}
        members.append(Member(constants, view, view.summary(), view.ending("running")))
    compared = ranks(members)
    row = next(row for row in members[0].summary.rows if row.path == step)
    assert compared.job.step_path == step
    assert [rank.steps for rank in compared.job.ranks] == [row.count, row.count]
    assert compared.step_ns == (row.p50_ns, row.p50_ns)


@pytest.mark.parametrize(("session", "step"), SESSIONS)
def test_the_shares_are_of_it(session: MadeSession, step: tuple[str, ...]) -> None:
    view = SessionView()
    view.feed(session.events)
    assert round_of(view.ended.entries) == (step,)
    assert step_shares(view.summary().rows, round_of(view.ended.entries))[step] == 1.0


def test_a_batch_of_an_evaluation_is_no_step_however_long_it_takes() -> None:
    view = SessionView()
    session = MadeSession()
    for _ in range(12):
        for _ in range(20):
            session.run("step", ms=10)
        evaluation = session.enter("evaluate")
        for _ in range(8):
            session.run("evaluate", "forward", ms=300)
        evaluation.exit()
    view.feed(session.events)
    assert likely_step_of(view.ended.entries) == ("step",)


def test_before_there_are_enough_it_is_what_repeats_so_far() -> None:
    view = SessionView()
    view.feed(looped(10, 2, "step", "micro").events)
    assert round_of(view.ended.entries) == (("step",),)
    assert round_of(SessionView().ended.entries) == ()


def test_a_fetch_that_only_found_the_end_is_no_entry() -> None:
    session = MadeSession()
    session.run("data", exhausted=True)
    view = SessionView()
    view.feed(session.events)
    assert round_of(view.ended.entries) == ()


def test_of_several_ranks_it_is_what_all_of_them_have() -> None:
    one: dict[Path, Ended] = {("warm_up",): Ended(90, 900 * MS), ("step",): Ended(60, 600 * MS)}
    other: dict[Path, Ended] = {("step",): Ended(50, 500 * MS)}
    assert step_of_all([one, other]) == ("step",)
    assert likely_step_of(one) == ("warm_up",)
    assert step_of_all([one, {}]) is None
