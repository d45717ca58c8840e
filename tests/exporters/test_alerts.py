"""Conditions that come true in sessions that the test writes: once per cause, and again only when they were over."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.exporters.alert_conditions import condition_of
from phasescope.exporters.alerts import Watching
from phasescope.exporters.live_sessions import LiveSessions
from phasescope.wire import ring_files
from support.fakes.made_rings import GIB, START_NS, MadeRing, grows, made_ring

if TYPE_CHECKING:
    from pathlib import Path

if not hasattr(os, "getuid"):
    pytest.skip("sessions lie in files only where they can be locked", allow_module_level=True)

HOSTILE = "x\"}\n\x1b[2J{a='b\\"


class Watched:
    """Sessions that are watched, without a thread: the test says when, and what time it is."""

    def __init__(self, rings: Path, *conditions: str) -> None:
        self.now_s = 0.0
        self.sessions = LiveSessions(lambda: ring_files.find(rings), now_ns=lambda: START_NS)
        self.watching = Watching(self.sessions, [condition_of(text) for text in conditions], lambda: self.now_s)

    def look(self) -> list[dict[str, Any]]:
        """Read what is new; the alerts."""
        while self.sessions.poll():
            pass
        return [alert.to_dict() for alert in self.watching.due()]


def fill(ring: MadeRing, share: float) -> None:
    """Let so much of the device be in use, and write a sample."""
    ring.allocated = round(ring.total * share) - GIB
    ring.event("sample")


def test_a_threshold_is_said_once_until_the_figure_is_back(rings: Path) -> None:
    watched = Watched(rings, "used>90%")
    with made_ring(rings, session_id="a", job_id="7", rank=3, world_size=8) as ring:
        fill(ring, 0.5)
        assert watched.look() == []
        for share in (0.95, 0.97, 0.89, 0.96):  # 0.89 is below, but not by a twentieth
            fill(ring, share)
        (alert,) = watched.look()
        assert (alert["condition"], alert["device"], alert["text"]) == (
            *("used>90%", "cuda:0"),
            "used on cuda:0 is 76.0 GiB (95%), used>90%",
        )
        assert alert["value_bytes"] > alert["limit_bytes"] == round(0.9 * 80 * GIB)
        assert alert["session"]["job_id"] == "7"
        fill(ring, 0.5)
        fill(ring, 0.95)
        assert [each["condition"] for each in watched.look()] == ["used>90%"]


def test_what_was_before_is_said_only_if_it_still_holds(rings: Path) -> None:
    with made_ring(rings, session_id="a") as ring, made_ring(rings, session_id="b", pid=2) as other:
        fill(ring, 0.95)
        fill(ring, 0.5)
        fill(other, 0.95)
        other.event("error", context="out of memory", extra={"out_of_memory": True})
        watched = Watched(rings, "used>90%", "free<10GiB", "oom")
        found = watched.look()
        assert {(each["session"]["session_id"], each["condition"]) for each in found} == {
            *(("b", "used>90%"), ("b", "free<10GiB"))
        }
        assert watched.look() == []


def test_out_of_memory_is_said_and_no_name_breaks_a_line(rings: Path) -> None:
    watched = Watched(rings, "oom")
    with made_ring(rings, session_id="a") as ring:
        assert watched.look() == []
        ring.event("error", context=f"no {HOSTILE}", extra={"out_of_memory": True})
        ring.event("error", context="another one", extra={})
        (alert,) = watched.look()
        assert re.fullmatch(r"out of memory: no [^\x00-\x1f]+", alert["text"])


@pytest.mark.parametrize(("end", "expected"), [("die", ["died"]), ("stop", [])])
def test_a_process_that_disappears_is_said_and_one_that_stops_is_not(
    rings: Path, end: str, expected: list[str]
) -> None:
    watched = Watched(rings, "died")
    with made_ring(rings, session_id="a") as ring:
        assert watched.look() == []
        getattr(ring, end)()
        assert [each["condition"] for each in watched.look()] == expected
        assert watched.look() == []


def test_a_session_without_a_sign_of_life_is_said_once(rings: Path) -> None:
    watched = Watched(rings, "silent")
    with made_ring(rings, session_id="a") as ring:
        ring.event("sample")  # of the year in which the test was written
        (alert,) = watched.look()
        assert alert["text"].startswith("no sign of life for")
        assert watched.look() == []


def test_growth_is_said_once_with_the_phase_that_keeps_it(rings: Path) -> None:
    watched = Watched(rings, "growth")
    with made_ring(rings, session_id="a") as ring:
        assert watched.look() == []
        found = []
        for _ in range(3):
            grows(ring, 104)
            watched.now_s += 10
            found += watched.look()
    (alert,) = found
    assert (alert["condition"], alert["device"], alert["phase"]) == ("growth", "cuda:0", "step")
    assert "1.00 MiB" in alert["text"]


WRONG = ["", "used>190%", "used=3", "used>3", "free<1e9B", "growth!", "used>90%; rm", "x>1GiB"]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not one of growth|at most 100%"):
        condition_of(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("free<2GiB", 2 << 30), ("used > 1.5 GB", 1_500_000_000), ("reserved>512B", 512)]
)
def test_sizes_have_units(text: str, size_bytes: int) -> None:
    threshold = condition_of(text).threshold
    assert threshold is not None
    assert threshold.limit_bytes(None) == size_bytes
