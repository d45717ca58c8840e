"""After a kernel has failed every call of the process fails: the training ends in its own error, and in no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import phase
from phasescope.backends import torch_timing
from phasescope.testing import sample
from support.assertions import events_of, paths
from support.fakes.fake_cuda import AcceleratorError, FakeCuda

if TYPE_CHECKING:
    from phasescope import Session

pytestmark = pytest.mark.neutral

GIB = 1 << 30


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda().install(monkeypatch)
    monkeypatch.setattr(torch_timing, "load_library", {"libcuda.so.1": fake.driver}.__getitem__)
    fake.use(0, GIB, 2 * GIB, GIB)
    return fake


def train(cuda: FakeCuda) -> Session:
    """Return a session whose training goes on for two phases after a kernel has failed, and then sees it."""
    session = phasescope.start(backends=["cuda", "cpu"], device_time=True, peaks=True, interval_ms=3_600_000)
    with pytest.raises(AcceleratorError, match="device-side assert triggered") as caught, session, phase("step"):
        with phase("forward"):
            cuda.fail_on_device()
        with phase("backward"):
            sample(session)
        cuda.reach_device()
    assert caught.value.__context__ is None
    assert session.dropped == 0
    return session


def test_phases_go_on_and_the_training_ends_in_its_own_error(cuda: FakeCuda) -> None:
    session = train(cuda)
    assert paths(session) == ["step/forward", "step/backward", "step"]
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.cause.kind == "exception"
    assert "device-side assert triggered" in answer.cause.text
    assert answer.evidence.shortages == 0


def test_what_ended_with_the_device_is_said_once(cuda: FakeCuda) -> None:
    said = [event["context"] for event in events_of(train(cuda), "collector_degraded")]
    said = [text for text in said if not text.startswith("nvml ")]  # there may be none on this machine
    assert said
    assert len(said) == len(set(said))
    assert all("device-side assert triggered" in text or "error 710" in text for text in said), said
