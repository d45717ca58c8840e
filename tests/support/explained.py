"""The explanation of a session in which a device had no room, and what is checked of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import phasescope
from phasescope import phase
from phasescope.analysis.formatting import size_text
from support.torch_messages import OutOfMemoryError

if TYPE_CHECKING:
    from phasescope.analysis.diagnosis.explanation import Explanation
    from phasescope.testing import FakeBackend

_NOT_THE_ALLOCATORS = ("CUDA error", "NCCL error", "NVML_SUCCESS", "cuDNN error")
_PARTS = {
    "live tensors": "allocated_bytes",
    "allocator slack": "slack_bytes",
    "other processes": "other_processes_bytes",
    "this process outside its allocator": "outside_bytes",
}


def explained(message: str, device: FakeBackend | None) -> Explanation:
    """Explain a session in whose step/backward torch raised this: what its allocator says is of a class of its own.

    Without a device there is no backend for it.
    """
    raised = RuntimeError if message.startswith(_NOT_THE_ALLOCATORS) else OutOfMemoryError
    backends: list[FakeBackend | str] = ["cpu"] if device is None else [device, "cpu"]
    with phasescope.start(backends=backends, interval_ms=3_600_000) as session:
        with pytest.raises(raised), phase("step"), phase("backward"):
            raise raised(message)
    with session.reader() as reader:
        return reader.explain()


def check_cause(answer: Explanation, kind: str, names: str, advice: str) -> None:
    """Check the kind of the cause, a part of its headline, and the first words of the advice."""
    assert answer.cause.kind == kind, str(answer)
    assert names in answer.cause.text
    assert answer.advice[0].startswith(advice), answer.advice


def check_held(answer: Explanation) -> None:
    """Check that what is held agrees with the figures of the cause."""
    held, figures = " ".join(answer.held), answer.cause.figures
    for part, figure in _PARTS.items():
        if figures.get(figure):
            assert f"{part} {size_text(int(figures[figure]))}" in held
