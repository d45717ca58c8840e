"""Sessions come and go: found, read on, and let go of some time after their end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.exporters import live_sessions
from phasescope.exporters.live_sessions import LiveSessions
from phasescope.wire import ring_files
from support.fakes.made_rings import START_NS, made_ring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

S = 1_000_000_000

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="sessions lie in files only where they can be locked")


@pytest.fixture
def made(rings: Path) -> Iterator[Callable[..., LiveSessions]]:
    """Follows the rings of this test's directory, by a clock that stands at their start."""
    kept: list[LiveSessions] = []

    def make(**options: Any) -> LiveSessions:
        kept.append(LiveSessions(lambda: ring_files.find(rings), **{"now_ns": lambda: START_NS, **options}))
        return kept[-1]

    yield make
    for sessions in kept:
        sessions.close()


def names(sessions: LiveSessions) -> list[str]:
    return sorted(session.session_id for session in sessions)


def test_sessions_are_found_as_they_begin_and_read_once(rings: Path, made: Callable[..., LiveSessions]) -> None:
    sessions = made()
    assert sessions.poll() is False
    assert names(sessions) == []
    with made_ring(rings, session_id="a") as one, made_ring(rings, session_id="b", pid=2) as two:
        one.run(["step"], 1)
        two.run(["step"], 2)
        sessions.poll()
        one.run(["step"], 4)
        sessions.poll()
        assert names(sessions) == ["a", "b"]
        assert {s.session_id: s.figures.durations["step"].total_ns for s in sessions} == {
            "a": 5_000_000,
            "b": 2_000_000,
        }


def test_a_long_ring_is_read_in_pieces_to_its_end(
    rings: Path, made: Callable[..., LiveSessions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_sessions, "_BUDGET_S", 0.0)
    sessions, rounds = made(), 1
    with made_ring(rings) as ring:
        for _ in range(1000):
            ring.run(["step"], 1)
        while sessions.poll():
            rounds += 1
        (session,) = sessions
        assert rounds > 3
        assert sum(session.figures.durations["step"].counts) == 1000


def test_what_was_written_while_it_was_read_in_pieces_comes_before_the_end(
    rings: Path, made: Callable[..., LiveSessions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_sessions, "_BUDGET_S", 0.0)
    sessions, steps = made(), 3000
    with made_ring(rings) as ring:
        for _ in range(steps):
            ring.run(["step"], 1)
        while sessions.poll():
            ring.run(["step"], 1)  # is in none of the pieces that are left
            steps += 1
        (session,) = sessions
        assert sum(session.figures.durations["step"].counts) == steps


@pytest.mark.parametrize("end", ["stop", "die"])
def test_a_session_goes_away_the_documented_time_after_its_last_sign(
    rings: Path, made: Callable[..., LiveSessions], end: str
) -> None:
    now = [START_NS]
    sessions = made(now_ns=lambda: now[0], keep_ended_s=300)
    closed: list[str] = []
    sessions.closed.append(lambda session: closed.append(session.session_id))
    with made_ring(rings, session_id="a") as ring:
        ring.run(["step"], 1000)
        now[0] += 3600 * S
        sessions.poll()
        assert names(sessions) == ["a"]  # it runs, however silent it is
        getattr(ring, end)()
        now[0] = ring.now_ns + 300 * S
        sessions.poll()
        assert [session.state for session in sessions] == ["stopped" if end == "stop" else "dead"]
        now[0] += 1
        sessions.poll()
        assert (names(sessions), closed) == ([], ["a"])
        sessions.poll()
        assert (names(sessions), closed) == ([], ["a"])


def test_one_that_was_over_before_is_exported_within_that_time_only(
    rings: Path, made: Callable[..., LiveSessions]
) -> None:
    with made_ring(rings) as ring:
        ring.stop()
    late, soon = made(now_ns=lambda: START_NS + 301 * S), made(now_ns=lambda: START_NS + 299 * S)
    late.poll()
    soon.poll()
    assert (len(late), len(soon)) == (0, 1)


def test_only_what_is_wanted_is_exported(rings: Path, made: Callable[..., LiveSessions]) -> None:
    sessions = made(wanted=lambda constants: constants.get("job_id") == "7")
    with made_ring(rings, session_id="a", job_id="7"), made_ring(rings, session_id="b", job_id="8", pid=2):
        sessions.poll()
        assert names(sessions) == ["a"]


def test_a_copy_of_a_ring_and_a_file_that_is_none_do_not_count(rings: Path, made: Callable[..., LiveSessions]) -> None:
    sessions = made()
    with made_ring(rings, session_id="a") as ring:
        sessions.poll()
        shutil.copy(ring.path, rings / "node-4242-1.ring")
        (rings / "node-1-1.ring").write_bytes(b"no ring")
        sessions.poll()
        assert names(sessions) == ["a"]
        assert sessions.left_out == 0


def test_a_ring_that_is_shortened_is_let_go_of_and_the_others_stay(
    rings: Path, made: Callable[..., LiveSessions]
) -> None:
    sessions = made()
    with made_ring(rings, session_id="b", pid=2) as other:
        with made_ring(rings, session_id="a") as ring:
            sessions.poll()
            ring.die()
            Path(ring.path).chmod(0o600)
            os.truncate(ring.path, 64)
            other.run(["step"], 1)
            sessions.poll()
            assert names(sessions) == ["b"]


def test_beyond_the_limit_they_are_counted(
    rings: Path, made: Callable[..., LiveSessions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_sessions, "MOST", 1)
    sessions = made()
    with made_ring(rings, session_id="a") as one, made_ring(rings, session_id="b", pid=2, started_ns=START_NS + S):
        sessions.poll()
        assert (names(sessions), sessions.left_out) == (["b"], 1)
        one.run(["step"], 1)
