"""warning and critical: once per crossing, with hysteresis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope.backends.protocol import DeviceCounters
from phasescope.capture.collector import Collector
from phasescope.capture.thresholds import Thresholds
from phasescope.testing import FakeBackend, sample
from support.assertions import events_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope import Session
    from phasescope.capture.collector import DeviceState
    from phasescope.capture.thresholds import Crossing

pytestmark = pytest.mark.neutral

GIB = 2**30


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend("cuda", used=10 * GIB, total=100 * GIB)


@pytest.fixture
def session(backend: FakeBackend) -> Iterator[Session]:
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        yield session


def fill(session: Session, backend: FakeBackend, *used_gib: float) -> None:
    """Let the device be sampled with each of these in use."""
    for used in used_gib:
        backend.figures = DeviceCounters(int(used * GIB), None, 100 * GIB)
        sample(session)


def levels(session: Session) -> list[str]:
    """Of the device: the real host beside it may be full as well."""
    told = [event for event in events_of(session) if event["device_id"] >= 0]
    return [event["event_type"] for event in told if event["event_type"] in ("warning", "critical")]


def test_a_small_container_is_told_in_mib(session: Session, backend: FakeBackend) -> None:
    total, used = 700 << 20, 655 << 20
    backend.figures = DeviceCounters(used, total - used, total)
    sample(session)
    event = next(event for event in events_of(session, "warning") if event["device_id"] >= 0)
    assert event["context"] == "655.0 MiB of 700.0 MiB in use, above 630.0 MiB"


def test_each_threshold_is_told_once_per_crossing(session: Session, backend: FakeBackend) -> None:
    fill(session, backend, 50, 91, 92, 95, 98, 99, 98)
    assert levels(session) == ["warning", "critical"]
    event = events_of(session, "warning")[0]
    assert event["device_used_bytes"] == 91 * GIB
    assert event["context"] == "91.0 GiB of 100.0 GiB in use, above 90.0 GiB"
    assert event["metadata"]["threshold_bytes"] == 90 * GIB
    assert event["metadata"]["figure"] == "device_used_bytes"


def test_a_figure_that_swings_around_the_threshold_is_one_crossing(session: Session, backend: FakeBackend) -> None:
    fill(session, backend, *[89.9, 90.1] * 20)
    assert levels(session) == ["warning"]


def test_well_below_it_is_armed_again(session: Session, backend: FakeBackend) -> None:
    fill(session, backend, 91, 85, 91, 86, 91)
    assert levels(session) == ["warning", "warning"]


def test_a_jump_past_both_says_the_worse_only(session: Session, backend: FakeBackend) -> None:
    fill(session, backend, 99, 99)
    assert levels(session) == ["critical"]


@pytest.mark.parametrize("begin", [0, 80, 87, 92, 99, 100])
def test_figures_are_quiet_exactly_where_they_change_nothing(backend: FakeBackend, begin: int) -> None:
    def passed(*used: int) -> tuple[Thresholds, DeviceState, Crossing | None]:
        """Return what is left, and the last answer, after these figures in turn."""
        thresholds, state, crossing = (
            Thresholds((0.97, 0.9), (None, 85 * GIB)),
            Collector(backend, print).state(0),
            None,
        )
        for figure in used:
            state.set_figures(DeviceCounters(figure, None, 100 * GIB))
            crossing = thresholds.crossed(state, (0, 0, None, None))
        return thresholds, state, crossing

    thresholds, state, _ = passed(begin * GIB)
    total, lowest, below = thresholds.quiet(state)
    assert total == 100 * GIB
    for figure in {0, lowest - 1, lowest, below - 1, below, 50 * GIB, 100 * GIB}:
        if 0 <= figure <= total:
            after, _, crossing = passed(begin * GIB, figure)
            assert (lowest <= figure < below) == (crossing is None and after._above == thresholds._above)


def test_thresholds_can_be_sizes() -> None:
    backend = FakeBackend("cuda", used=1 * GIB)
    options: dict[str, Any] = {"warning_bytes": 2 * GIB, "critical_bytes": 3 * GIB, "warning_share": None}
    with phasescope.start(backends=[backend], interval_ms=3_600_000, **options) as session:
        for used in (1, 2, 3):
            backend.figures = DeviceCounters(used * GIB)  # the total is not known
            sample(session)
        assert levels(session) == ["warning", "critical"]


def test_where_the_device_is_not_known_reserved_is_what_counts() -> None:
    backend = FakeBackend("cuda", total=10 * GIB)
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        backend.set(1 * GIB, 9 * GIB)
        sample(session)
        assert levels(session) == ["warning"]
        assert events_of(session, "warning")[0]["metadata"]["figure"] == "allocator_reserved_bytes"


def test_where_nothing_is_known_nothing_is_said() -> None:
    backend = FakeBackend("cuda", allocated=50 * GIB)
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        sample(session)
        assert levels(session) == []


def test_devices_are_told_apart() -> None:
    backend = FakeBackend("cuda", devices=[0, 1], used=95 * GIB, total=100 * GIB)
    with phasescope.start(backends=[backend], interval_ms=3_600_000) as session:
        sample(session)
        assert [event["device_id"] for event in events_of(session, "warning") if event["device_id"] >= 0] == [0, 1]


def test_none_switches_them_off(backend: FakeBackend) -> None:
    off: dict[str, Any] = {"warning_share": None, "critical_share": None}
    with phasescope.start(backends=[backend], interval_ms=3_600_000, **off) as session:
        fill(session, backend, 99.9)
        assert levels(session) == []


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"warning_share": 90}, ValueError, "warning_share must be above 0 and at most 1, not 90"),
        ({"critical_share": "90%"}, TypeError, "critical_share must be a share of the device's memory such as 0.9"),
        ({"warning_bytes": 1.5}, TypeError, "warning_bytes must be an int"),
        ({"warning_share": 0.99}, ValueError, "warning_share .0.99. must not be above critical_share .0.97."),
    ],
)
def test_wrong_thresholds_raise_at_once(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        phasescope.start(**options)
    assert phasescope.current() is None
