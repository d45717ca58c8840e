"""When a session counts as silent, and what is said of a process that disappeared."""

from __future__ import annotations

import pytest

from phasescope.analysis.liveness import disappeared_text, silence_ns

SECOND = 1_000_000_000
BEAT = 100 * SECOND


@pytest.mark.parametrize(
    ("interval_ms", "since_ns", "is_silent"),
    [
        (100, 5 * SECOND, False),
        (100, 5 * SECOND + 1, True),
        (1000, 10 * SECOND, False),
        (1000, 10 * SECOND + 1, True),
    ],
)
def test_it_is_silent_after_ten_intervals_and_five_seconds(interval_ms: int, since_ns: int, is_silent: bool) -> None:
    assert silence_ns("running", BEAT, interval_ms, BEAT + since_ns) == (since_ns if is_silent else None)


def test_only_one_that_runs_can_be_silent_and_only_where_its_beat_is_known() -> None:
    assert silence_ns("dead", BEAT, 100, BEAT + 60 * SECOND) is None
    assert silence_ns("running", None, 100, BEAT) is None
    assert silence_ns("running", 0, 100, BEAT) is None
    assert silence_ns("running", BEAT, None, BEAT + 60 * SECOND) is None
    assert silence_ns("running", BEAT, 100, None) is None


def test_a_process_is_named_where_it_is_known() -> None:
    assert disappeared_text() == "killed or crashed: its process ended without stopping the session"
    assert disappeared_text(7) == "killed or crashed: process 7 ended without stopping the session"
