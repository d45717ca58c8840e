"""A device without memory of its own is shown as one pool with the host."""

from __future__ import annotations

from typing import Any

import pytest

from phasescope.analysis.diagnosis.evidence import evidence
from phasescope.analysis.diagnosis.explanation import explain
from phasescope.analysis.summary.summary import summarize
from support.events import MadeSession

GIB = 1 << 30


def machine(host_total: int = 122 * GIB, shared: int | None = 1) -> MadeSession:
    """GB10, by its driver's answer "not supported" for memory."""
    session = MadeSession()
    session.event(
        "sample",
        device_id=-1,
        backend="cpu",
        allocator_allocated_bytes=2 * GIB,
        allocator_reserved_bytes=2 * GIB,
        device_used_bytes=70 * GIB,
        device_free_bytes=host_total - 70 * GIB,
        device_total_bytes=host_total,
    )
    unknown: dict[str, Any] = {"unavailable": ["device_used_bytes", "device_free_bytes"]}
    told = {} if shared is None else {"shares_host_memory": shared}
    for extra in (told, {}):  # it comes once a second
        session.event(
            "sample",
            allocator_allocated_bytes=40 * GIB,
            allocator_reserved_bytes=44 * GIB,
            device_used_bytes=0,
            device_total_bytes=120 * GIB,
            metadata={**unknown, **extra},
        )
    return session


def test_what_is_in_use_is_the_hosts_and_it_is_called_one_pool() -> None:
    summary = summarize(machine().events)
    row = next(row for row in summary.devices if row.backend == "cuda")
    assert (row.used_bytes, row.free_bytes) == (70 * GIB, 50 * GIB)
    text = " ".join(str(summary).split())
    assert "cuda:0 of 120 GiB, one pool with the host: live tensors 40.0 GiB, allocator slack 4.00 GiB" in text
    assert "free 50.0 GiB" in text


@pytest.mark.parametrize("session", [machine(shared=None), machine(shared=0), machine(host_total=500 * GIB)])
def test_another_devices_or_another_pools_figures_are_not_taken(session: MadeSession) -> None:
    row = next(row for row in summarize(session.events).devices if row.backend == "cuda")
    assert (row.used_bytes, row.free_bytes) == (None, None)


def test_when_it_is_full_the_hosts_programs_are_named() -> None:
    session = machine()
    told = {"total_bytes": 120 * GIB, "free_bytes": GIB, "allocated_bytes": 60 * GIB, "slack_bytes": GIB}
    out = {"out_of_memory": True, "memory": "device", "requested_bytes": 4 * GIB, "told": told}
    session.event("error", context="CUDA out of memory.", metadata={**out, "phase_scope": {"path": ["step"]}})
    answer = explain(evidence(session.events, "stopped"))
    assert answer.advice[0].startswith("it and the host use one pool")
    assert "one pool with the host" in answer.held[0]
