"""Findings of a device beside its cause: retries of the allocator, and contexts that nobody uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.analysis.diagnosis.evidence import evidence
from phasescope.analysis.diagnosis.explanation import explain
from support.events import MIB, MadeSession

if TYPE_CHECKING:
    from collections.abc import Iterable

GIB = 1 << 30


def held(session: MadeSession, state: str = "running") -> tuple[str, ...]:
    return explain(evidence(session.events, state)).held


def sampled(session: MadeSession, device: int, allocated: int, process: int, **metadata: Any) -> None:
    session.event(
        "sample",
        device_id=device,
        allocator_allocated_bytes=allocated,
        allocator_reserved_bytes=allocated,
        device_used_bytes=40 * GIB,
        device_free_bytes=40 * GIB,
        device_total_bytes=80 * GIB,
        metadata={"process_used_bytes": process, "other_processes_bytes": GIB, **metadata},
    )


def said(lines: Iterable[str], words: str) -> list[str]:
    return [line for line in lines if words in line]


def test_retries_are_told_of_a_session_that_goes_on() -> None:
    session = MadeSession()
    session.event("start")
    for retries in (0, 1, 3):
        sampled(session, 0, 30 * GIB, 31 * GIB, num_alloc_retries=retries)
    (line,) = said(held(session), "gave back its cache")
    assert line.startswith(
        "cuda:0: the allocator gave back its cache 3 times since the process began, and then had room"
    )


def test_a_request_that_failed_has_tried_again_itself_and_is_no_finding() -> None:
    """torch counts both. The device may be nearly empty, and the request absurd."""
    session = MadeSession()
    session.event("start")
    for failures in (0, 2):
        sampled(session, 0, 30 * GIB, 31 * GIB, num_alloc_retries=failures, num_ooms=failures)
    assert said(held(session), "gave back its cache") == []
    sampled(session, 0, 30 * GIB, 31 * GIB, num_alloc_retries=3, num_ooms=2)
    (line,) = said(held(session), "gave back its cache")
    assert "its cache once since" in line or "its cache 1 time since" in line


def test_no_retries_are_no_finding() -> None:
    session = MadeSession()
    sampled(session, 0, 30 * GIB, 31 * GIB, num_alloc_retries=0)
    sampled(session, 0, 30 * GIB, 31 * GIB, num_alloc_retries="many")
    assert said(held(session), "gave back its cache") == []


def test_a_context_without_use_is_told_with_its_rank() -> None:
    session = MadeSession(rank=3)
    sampled(session, 0, 0, 530 * MIB)
    sampled(session, 3, 30 * GIB, 31 * GIB)
    (line,) = said(held(session), "without using it")
    assert line.startswith("cuda:0: rank 3 holds 530 MiB on it without using it: a context")


def test_the_only_device_and_one_in_use_are_not_stray() -> None:
    session = MadeSession()
    sampled(session, 0, 0, 530 * MIB)  # nothing was allocated yet
    assert said(held(session), "without using it") == []
    sampled(session, 1, 30 * GIB, 31 * GIB)
    sampled(session, 0, 2 * GIB, 3 * GIB)
    assert said(held(session), "without using it") == []


def test_what_is_not_told_is_no_finding() -> None:
    session = MadeSession()
    session.event("sample", device_id=0, allocator_allocated_bytes=0, allocator_reserved_bytes=0)
    sampled(session, 1, 30 * GIB, 31 * GIB)
    assert said(held(session), "without using it") == []
