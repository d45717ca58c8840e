"""The parts of a snapshot: those that the sampler's thread can take at once, and the one for the thread that trains.

A part that fails, or that cannot be had, says why, and the others are there all the same.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from phasescope import _native
from phasescope.backends import host_heap
from phasescope.capture.exception_info import is_from_signal_handler
from phasescope.capture.snapshot import traced
from phasescope.capture.snapshot.stacks import threads
from phasescope.capture.snapshot.types import types

if TYPE_CHECKING:
    from collections.abc import Callable

    from phasescope.capture.collectors import Collectors
    from phasescope.capture.event_writer import EventWriter
    from phasescope.capture.snapshot.tensors import AtStepEnd


def at_once(writer: EventWriter, collectors: Collectors) -> dict[str, Any]:
    """Return what can be had in any thread."""
    parts: dict[str, Callable[[], Any]] = {
        "threads": lambda: threads(writer),
        "host": lambda: {**host_heap.pages(), **host_heap.heap()},
        "devices": lambda: devices(collectors),
        "objects": types,
        "traced": traced.traced,
    }
    answers: dict[str, Any] = {}
    took_ns: dict[str, int] = {}
    for name, part in parts.items():
        began_ns = time.thread_time_ns()
        try:
            answers[name] = part()
        except Exception as error:
            if is_from_signal_handler(error):
                raise
            answers[name] = {"why_not": f"it failed: {type(error).__name__}"}
        took_ns[name] = time.thread_time_ns() - began_ns
    return {**answers, "took_ns": took_ns}


def at_step_end(writer: EventWriter, wait_ns: int, parts: dict[str, Any]) -> AtStepEnd | None:
    """Have the tensors counted at the end of a step; None, with the reason in `parts`, if they cannot be."""
    if not _native.has_phases:
        parts["tensors"] = {
            "why_not": f"counting them needs the compiled core ({_native.why_not or 'no phases in it'})"
        }
    elif not wait_ns:
        parts["tensors"] = {"why_not": "nobody waits for the end of a step"}
    else:
        from phasescope.capture.snapshot.tensors import AtStepEnd

        return AtStepEnd(writer, wait_ns)
    return None


def devices(collectors: Collectors) -> list[dict[str, Any]]:
    """Return what the frameworks' allocators have handed out, as far as each can say."""
    listed: list[dict[str, Any]] = []
    for collector in collectors.admitted:
        read = getattr(collector.backend, "live_blocks", None)
        if read is None:
            continue
        try:
            described = read()
        except NotImplementedError as error:
            listed.append({"device": collector.name, "why_not": str(error)})
            continue
        listed += [{"device": f"{collector.name}:{each.pop('index')}", **each} for each in described]
    return listed
