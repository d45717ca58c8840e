"""Every event that a session emits is valid and has an envelope, whatever the training does."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import phasescope
from phasescope import phase, project_telemetry_mapping, track
from phasescope.testing import FakeClock, sample
from support.assertions import events_of
from support.fakes.failing import FailingBackend

if TYPE_CHECKING:
    from phasescope import Session


class Odd:
    """An attribute that cannot be described by its own means."""

    def __str__(self) -> str:
        raise AssertionError("asked")

    __repr__ = __str__


class Failure(Exception):
    """The training's own."""


NAMES = st.text(max_size=8) | st.sampled_from(["forward", "", " ", "a/b", "\ud800", "é" * 400, "\x00"])
VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=3)
    | st.builds(Odd)
    | st.lists(st.integers(), max_size=2)
    | st.complex_numbers()
)
ATTRIBUTES = st.dictionaries(st.text(max_size=5), VALUES, max_size=3)
EXCEPTIONS = st.sampled_from([Failure, MemoryError, KeyboardInterrupt, StopIteration, SystemExit])
BROKEN = st.sampled_from(["devices", "allocator", "device", "current_device", "ready"])
STEPS = st.recursive(
    st.one_of(
        st.tuples(st.just("advance"), st.floats(0, 5_000)),
        st.tuples(st.just("jump"), st.floats(-10_000, 10_000)),
        st.tuples(st.just("allocate"), st.integers(0, 2**62)),
        st.tuples(st.just("break"), BROKEN),
        st.tuples(st.just("mend"), st.none()),
        st.tuples(st.just("sample"), st.integers(0, 10**12)),
        st.tuples(st.just("raise"), EXCEPTIONS),
        st.tuples(st.just("abandon"), NAMES),
    ),
    lambda inner: st.one_of(
        st.tuples(st.just("phase"), st.tuples(NAMES, ATTRIBUTES, st.lists(inner, max_size=4))),
        st.tuples(st.just("track"), st.lists(inner, max_size=3)),
        st.tuples(st.just("thread"), st.lists(inner, max_size=3)),
        st.tuples(st.just("attempt"), st.lists(inner, max_size=3)),
    ),
    max_leaves=25,
)


class Program:
    """Does what hypothesis thought up, as a training would."""

    def __init__(self, session: Session, backend: FailingBackend, clock: FakeClock) -> None:
        self.session = session
        self.backend = backend
        self.clock = clock

    def run(self, steps: list[Any]) -> None:
        for kind, argument in steps:
            getattr(self, f"_{kind}")(argument)

    def _advance(self, ms: float) -> None:
        self.clock.advance(ms=ms)

    def _jump(self, seconds: float) -> None:
        self.clock.jump(seconds=seconds)

    def _allocate(self, size_bytes: int) -> None:
        self.backend.set(size_bytes, size_bytes // 2, active=size_bytes, inactive=0)

    def _break(self, name: str) -> None:
        self.backend.failing.add(name)

    def _mend(self, _: None) -> None:
        self.backend.failing.clear()

    def _sample(self, late_ns: int) -> None:
        sample(self.session, late_ns=late_ns)

    def _raise(self, kind: type[BaseException]) -> None:
        raise kind("\ud800\n no")

    def _abandon(self, name: str) -> None:
        phase(name).__enter__()

    def _phase(self, what: tuple[str, dict[str, Any], list[Any]]) -> None:
        name, attributes, inside = what
        with phase(name, **attributes):
            self.run(inside)

    def _track(self, inside: list[Any]) -> None:
        for _ in track(range(2)):
            self.run(inside)

    def _thread(self, inside: list[Any]) -> None:
        thread = threading.Thread(target=self._attempt, args=(inside,))
        thread.start()
        thread.join()

    def _attempt(self, inside: list[Any]) -> None:
        with contextlib.suppress(BaseException):
            self.run(inside)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=8))
def test_every_event_of_any_session_is_valid_and_has_an_envelope(steps: list[Any]) -> None:
    clock, backend = FakeClock(), FailingBackend("cuda", allocated=5, total=2**40)
    options: dict[str, Any] = {"capacity_bytes": 2**20, "interval_ms": 3_600_000, "report_exceptions": [Failure]}
    with phasescope.start(backends=[backend], clock=clock, **options) as session:
        Program(session, backend, clock)._attempt(steps)
    events = events_of(session)
    assert session.dropped == 0
    assert events[0]["event_type"] == "start"
    assert events[-1]["event_type"] == "stop"
    enters, exits = ([e for e in events if e["event_type"] == f"phase_{end}"] for end in ("enter", "exit"))
    assert len(enters) == len(exits), "what was entered was left"
    assert session.records() == [project_telemetry_mapping(event) for event in events]
    assert json.loads(json.dumps(events)) == events


def test_every_event_of_a_session_with_real_tensors_is_valid() -> None:
    """Odd attributes, threads, exceptions and out of memory, on the real host, the sampler on."""
    torch = pytest.importorskip("torch")

    model, tensor = torch.nn.Linear(4, 4), torch.ones(4, 4, requires_grad=True)
    attributes: dict[str, Any] = {"tensor": tensor, "model": model, "loss": tensor.sum(), "dtype": torch.float32}
    attributes |= {"shape": tensor.shape, "device": tensor.device, "nan": float("nan"), "bytes": b"\xff", "odd": Odd()}
    attributes |= {"huge": "x" * 10**6, "keys": {1: "a", "b": 2}, "self": None, "name": "not the phase's", "big": 2**99}

    def work() -> None:
        for _ in track(range(3)):
            with contextlib.suppress(RuntimeError), phase("step", **attributes):
                with phase("forward", **attributes):
                    model(tensor)
                with phase("too large"):
                    torch.empty(2**60, dtype=torch.uint8)

    with phasescope.start(interval_ms=1, warning_share=0.0001, critical_share=0.0002) as session:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
    kinds = [event["event_type"] for event in events_of(session)]
    assert kinds.count("phase_enter") == kinds.count("phase_exit") == 5 * (4 + 3 * 3)
    assert kinds.count("error") == 15
    assert "critical" in kinds
    assert session.dropped == 0
