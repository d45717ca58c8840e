"""Which tensors there are, and who keeps them: counted once, by a thread that trains, at the end of a step.

In another thread the references that the counting holds for a moment would keep memory from being freed, and the last
of them could run the end of an object in a thread that it does not belong to.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from phasescope import _native
from phasescope.capture.census.groups import Kinds
from phasescope.capture.census.keepers import Keepers
from phasescope.capture.census.report import fields_of, members_spread
from phasescope.capture.census.sources import Sources
from phasescope.capture.census.steps import StepFinder
from phasescope.capture.exception_info import is_from_signal_handler

if TYPE_CHECKING:
    from phasescope.capture.census.groups import Group, Key
    from phasescope.capture.event_writer import EventWriter
    from phasescope.capture.phase_paths import Path
    from phasescope.capture.scope import PhaseScope

MOST_GROUPS = 40
_MOST_KEEPERS = 16
_NO_LENGTHS = 1 << 60
_HASTY = 0.5  # of the time to wait: with no step by then, the end of any phase will do


class AtStepEnd:
    """Counts at the end of the next step, in the thread that ends it. `done` has it then; `cancel()` if it is late."""

    def __init__(self, writer: EventWriter, wait_ns: int) -> None:
        self.done: dict[str, Any] | None = None
        self._writer = writer
        self._step: Path | None = writer.watch_path  # the census has found it
        self._finder = StepFinder()
        now_ns = time.monotonic_ns()
        self._hasty_ns, self.until_ns = now_ns + round(wait_ns * _HASTY), now_ns + wait_ns
        self._is_over = False
        writer.asked = self._ended

    def cancel(self) -> None:
        """Count no more."""
        self._is_over = True
        self._writer.asked = None

    def _ended(self, scope: PhaseScope) -> None:
        """Take the end of a phase, in the thread that trains."""
        if self._is_over:
            return
        try:
            if self._step is None:
                self._step = self._finder.take(scope.phase_path)
            is_step = scope.phase_path is self._step
            if is_step or time.monotonic_ns() > self._hasty_ns:
                self.cancel()
                self.done = {"at": list(scope.phase_path.names), "is_step_end": is_step, **tensors()}
        except Exception as error:
            self.cancel()
            if is_from_signal_handler(error):
                raise
            self.done = {"why_not": f"counting them failed: {type(error).__name__}"}


def tensors() -> dict[str, Any]:
    """Return the groups of tensors with most bytes, and who keeps them. All references are dropped."""
    began_ns = time.thread_time_ns()
    kinds = Kinds()
    kinds.update()
    objects: list[Any] = _native.core.census(kinds.all, deque, None, _NO_LENGTHS, 1)[2]
    groups: dict[Key, Group] = {}
    try:
        groups = kinds.group(objects)
        largest = sorted(groups.items(), key=lambda each: -each[1].bytes)[:MOST_GROUPS]
        counted = {
            "tensors": sum(group.count for group in groups.values()),
            "tensor_bytes": sum(group.bytes for group in groups.values()),
            "largest": _with_keepers(largest),
        }
    finally:
        for group in groups.values():
            group.forget()
        objects.clear()
    return {**counted, "took_ns": time.thread_time_ns() - began_ns}


def _with_keepers(largest: list[tuple[Key, Group]]) -> list[dict[str, Any]]:
    sources = Sources(sys._getframe())
    keepers = Keepers(sources)
    listed: list[dict[str, Any]] = []
    samples = [members_spread(group.members) for _, group in largest[:_MOST_KEEPERS]]
    try:
        keepers.search([member for some in samples for member in some], everywhere=False)
        for place, (key, group) in enumerate(largest):
            entry = {**fields_of(key), "trains": key.trains, "count": group.count, "bytes": group.bytes}
            kept = keepers.of_many(group.members, samples[place], group.count) if place < len(samples) else None
            if kept is not None:
                entry["keeper"] = {**kept.keeper, "kept": kept.members}
            listed.append(entry)
    finally:
        samples.clear()
        keepers.let_go()
        sources.let_go()
    return listed
