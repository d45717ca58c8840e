"""start(peaks=True): exact peaks per phase, that nest, whatever order phases come in."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import phasescope
from phasescope import phase
from phasescope.capture.measurements import PeakTrack
from phasescope.testing import FakeBackend, sample
from support.assertions import scopes
from support.fakes.fake_cuda import GIB, FakeCuda
from support.waiting import CEILING_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phasescope import Session

pytestmark = pytest.mark.neutral

MIB = 2**20


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend("cuda", allocated=10 * MIB)


@pytest.fixture
def session(backend: FakeBackend) -> Iterator[Session]:
    with phasescope.start(backends=[backend], peaks=True) as session:
        yield session


def spike(backend: FakeBackend, mib: int) -> None:
    backend.allocate(mib * MIB)
    backend.allocate(-mib * MIB)


def peaks(session: Session) -> dict[str, int]:
    return {scope["name"]: scope["peak_allocated_bytes"] // MIB for scope in scopes(session)}


def test_a_spike_between_two_boundaries_is_in_the_peak(session: Session, backend: FakeBackend) -> None:
    with phase("forward"):
        spike(backend, 200)
    with phase("backward"):
        spike(backend, 5)
    assert peaks(session) == {"forward": 210, "backward": 15}
    forward = session.summary().rows[0]
    assert forward.peak_is_exact
    assert forward.peak_allocated_bytes == 210 * MIB


def test_peaks_nest_and_do_not_reset_each_other(session: Session, backend: FakeBackend) -> None:
    with phase("step"):
        spike(backend, 300)
        with phase("forward"):
            spike(backend, 100)
            with phase("attention"):
                spike(backend, 50)
        with phase("backward"):
            pass
    assert peaks(session) == {"attention": 60, "forward": 110, "backward": 10, "step": 310}


def test_an_inner_peak_is_the_outer_ones_too(session: Session, backend: FakeBackend) -> None:
    with phase("step"), phase("forward"):
        spike(backend, 70)
    assert peaks(session) == {"forward": 80, "step": 80}


def test_a_phase_that_an_exception_leaves_has_its_peak(session: Session, backend: FakeBackend) -> None:
    with pytest.raises(MemoryError), phase("forward"):
        spike(backend, 40)
        raise MemoryError
    assert peaks(session) == {"forward": 50}


def test_a_phase_closed_by_the_end_of_the_session_has_its_peak(backend: FakeBackend) -> None:
    session = phasescope.start(backends=[backend], peaks=True)
    with phase("forward"):
        spike(backend, 30)
        phasescope.stop()
    assert peaks(session) == {"forward": 40}


def test_interleaved_threads_each_see_what_happened_while_their_phase_was_open(
    session: Session, backend: FakeBackend
) -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with phase("other"):
            entered.set()
            leave.wait(CEILING_S)

    thread = threading.Thread(target=other)
    with phase("before"):
        spike(backend, 90)
    thread.start()
    entered.wait(CEILING_S)
    with phase("mine"):
        spike(backend, 20)
    leave.set()
    thread.join()
    assert peaks(session) == {"before": 100, "mine": 30, "other": 30}


def test_without_the_option_nothing_is_reset(backend: FakeBackend) -> None:
    with phasescope.start(backends=[backend]) as session:
        with phase("forward"):
            spike(backend, 25)
        assert backend.peak(0) == 35 * MIB
        assert "peak_allocated_bytes" not in scopes(session)[0]


def test_a_backend_that_has_no_peaks_reports_none() -> None:
    class Plain(FakeBackend):
        reset_peak = None  # type: ignore[assignment]

    backend = Plain("cuda")
    with phasescope.start(backends=[backend], peaks=True) as session:
        with phase("forward"):
            pass
        assert "peak_allocated_bytes" not in scopes(session)[0]


def test_a_peak_that_could_not_be_read_all_the_time_is_not_reported(session: Session, backend: FakeBackend) -> None:
    with phase("step"):
        with phase("broken"):
            backend.fail_with = RuntimeError("the device is lost")
        backend.fail_with = None
    with phase("after"):
        pass
    assert all("peak_allocated_bytes" not in scope for scope in scopes(session))
    assert session.dropped == 0


def test_peaks_come_back_when_the_source_answers_again(backend: FakeBackend) -> None:
    from phasescope.testing import FakeClock

    clock = FakeClock()
    with phasescope.start(backends=[backend], peaks=True, clock=clock) as session:
        backend.fail_with = RuntimeError("the device is lost")
        with phase("broken"):
            pass
        backend.fail_with = None
        clock.advance(ms=2000)
        sample(session)
        with phase("after"):
            spike(backend, 5)
        assert [scope.get("peak_allocated_bytes") for scope in scopes(session)] == [None, 15 * MIB]


class Allocator:
    """One peak, one reset, as torch has it."""

    def __init__(self) -> None:
        self.allocated = self.top = 0

    def change(self, allocated: int) -> None:
        self.allocated = allocated
        self.top = max(self.top, allocated)

    def peak(self, _device: int) -> int:
        return self.top

    def reset(self, _device: int) -> None:
        self.top = self.allocated


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.just(0)),
        st.tuples(st.just("exit"), st.integers(0, 5)),
        st.tuples(st.just("allocate"), st.integers(0, 1000)),
    ),
    max_size=60,
)


@given(_STEPS)
def test_every_peak_is_the_largest_figure_while_its_phase_was_open(steps: list[tuple[str, int]]) -> None:
    allocator = Allocator()
    track = PeakTrack(allocator.peak, allocator.reset, 0)
    open_phases: list[tuple[int, list[int]]] = []  # any of them may end next, as threads do
    for what, value in steps:
        if what == "allocate":
            allocator.change(value)
            for _, seen in open_phases:
                seen.append(value)
        elif what == "enter":
            mark = track.enter(allocator.allocated, not open_phases)
            open_phases.append((mark, [allocator.allocated]))
        elif open_phases:
            mark, seen = open_phases.pop(value % len(open_phases))
            assert track.exit(mark, allocator.allocated) == max(seen)


def test_memory_that_only_falls_stays_within_a_bound() -> None:
    allocator = Allocator()
    track = PeakTrack(allocator.peak, allocator.reset, 0)
    allocator.change(100_000)
    outer = track.enter(allocator.allocated, True)
    inner = []
    for allocated in range(100_000, 80_000, -1):
        allocator.change(allocated)
        inner.append((allocated, track.exit(track.enter(allocated, False), allocated)))
    assert all(peak in (allocated, None) for allocated, peak in inner)
    assert sum(peak is None for _, peak in inner) < 10
    assert track.exit(outer, allocator.allocated) is None  # given up rather than kept without bound
    assert len(track._peaks) <= 4096


def test_the_option_is_checked() -> None:
    wrong: Any = "yes"
    with pytest.raises(TypeError, match="peaks must be True or False"):
        phasescope.start(peaks=wrong)
    assert phasescope.current() is None


def test_a_phase_reads_torchs_statistics_once_at_each_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCuda().install(monkeypatch)
    fake.use(0, GIB, GIB, GIB)
    calls: list[str] = []
    counted = ("_cuda_memoryStats", "_cuda_resetPeakMemoryStats")
    for name in counted:
        monkeypatch.setitem(vars(fake.core), name, noted(name, vars(fake.core)[name], calls))
    with phasescope.start(backends=["cuda", "cpu"], peaks=True, interval_ms=3_600_000) as session:
        with phase("warm"):
            pass
        calls.clear()
        with phase("forward"):
            fake.use(0, 5 * GIB, 5 * GIB, 5 * GIB)
            fake.use(0, 2 * GIB, 5 * GIB, 2 * GIB)
        assert calls == [*counted, *counted]
        peaks = [scope["peak_allocated_bytes"] for scope in scopes(session, "exit")]
    assert peaks[-1] == 5 * GIB


def noted(name: str, function: Callable[[int], Any], calls: list[str]) -> Callable[[int], Any]:
    def call(device: int) -> Any:
        calls.append(name)
        return function(device)

    return call
