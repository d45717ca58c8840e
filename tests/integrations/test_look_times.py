"""When it is asked whether what a training's memory is made of has changed, by a clock that the test sets."""

from __future__ import annotations

from phasescope.integrations._look_times import ALWAYS, LookTimes

STEP_NS = 5_000_000
A_SECOND = 1_000_000_000 // STEP_NS


class Training:
    """Steps of 5 ms, a look at the end of each that is due; no look takes any time."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.state = self.asked = 0
        self.times = LookTimes(lambda: self.now_ns)
        self.times.begin("a session")

    def step(self) -> bool:
        """Return whether there was a look."""
        self.now_ns += STEP_NS
        if not self.times.is_due(self._outline):
            return False
        self.times.look_begins()
        self.times.look_ended(self.state)
        return True

    def _outline(self) -> object:
        self.asked += 1
        return self.state

    def asked_in(self, steps: int) -> int:
        """Return how often it was asked in so long a time."""
        before = self.asked
        for _ in range(steps):
            self.step()
        return self.asked - before


def test_the_longer_nothing_changes_the_less_often_it_is_asked() -> None:
    training = Training()
    assert [training.step() for _ in range(ALWAYS)] == [True] * ALWAYS
    assert 4 <= training.asked_in(A_SECOND) <= 6, "after 50 ms, then 100, then 200 ..."
    assert training.asked_in(10 * A_SECOND) <= 20


def test_a_change_is_seen_within_a_second_and_the_next_one_at_once() -> None:
    training = Training()
    training.asked_in(20 * A_SECOND)
    training.state = 1
    assert any(training.step() for _ in range(A_SECOND + 1))
    training.state = 2
    assert any(training.step() for _ in range(12)), "it may go on changing: 50 ms"
