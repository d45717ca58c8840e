"""Requests from outside: the sampler looks for one at each tick, and answers what can be had without harm."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from phasescope._log import logger
from phasescope.wire import requests

if TYPE_CHECKING:
    from phasescope.capture.collectors import Collectors
    from phasescope.capture.event_writer import EventWriter
    from phasescope.capture.snapshot.tensors import AtStepEnd

SCHEMA_VERSION = 1
"""Of a snapshot; a key may be added without a new version."""

MOST_WAIT_MS = 600_000


class Requests:
    """The requests beside one ring. Used in the sampler's thread; it raises nothing."""

    def __init__(self, ring_path: str, writer: EventWriter, collectors: Collectors) -> None:
        self._path = requests.path_beside(ring_path)
        self._writer = writer
        self._collectors = collectors
        self._taken: requests.Taken | None = None
        self._told: dict[str, Any] = {}
        self._tensors: AtStepEnd | None = None

    @property
    def is_answering(self) -> bool:
        """Whether one was taken and is not answered yet."""
        return self._taken is not None

    @property
    def path(self) -> str:
        """Where a request lies that is to be taken."""
        return self._path

    def look(self) -> None:
        """Take a request, if there is one, or go on with the one that was taken."""
        if self._taken is None and not requests.is_there(self._path):
            return
        try:
            if self._taken is None:
                self._take()
            else:
                self._go_on()
        except Exception as error:
            self._let_go()
            logger.debug("a request could not be answered: %s", type(error).__name__, exc_info=True)

    def end(self) -> None:
        """Answer with what there is: the session ends."""
        if self._taken is not None:
            try:
                self._finish("the session ended before a step did")
            except Exception:
                self._let_go()

    def abandon_in_child(self) -> None:
        """Let go of the parent's, in a forked child."""
        self._let_go()

    def _let_go(self) -> None:
        if self._tensors is not None:
            self._tensors.cancel()
        taken, self._taken, self._tensors, self._told = self._taken, None, None, {}
        if taken is not None:
            taken.let_go()

    def _take(self) -> None:
        self._taken = requests.take(self._path)
        if self._taken is None:
            return
        from phasescope.capture.snapshot.parts import at_once, at_step_end  # for those who ask for it

        asked = self._taken.asked
        wait_ms = asked.get("wait_ms")
        wait_ms = min(wait_ms, MOST_WAIT_MS) if type(wait_ms) is int and wait_ms >= 0 else 0
        self._told = {"schema_version": SCHEMA_VERSION, "taken_ns": time.time_ns()}
        self._told |= at_once(self._writer, self._collectors)
        self._tensors = at_step_end(self._writer, wait_ms * 1_000_000, self._told)
        self._go_on()

    def _go_on(self) -> None:
        tensors = self._tensors
        if tensors is not None and tensors.done is None and self._taken is not None:
            if not self._taken.is_waited_for():
                self._let_go()
                return
            if time.monotonic_ns() < tensors.until_ns:
                return
        self._finish("no phase ended meanwhile, and only a thread that trains can count them, at the end of a step")

    def _finish(self, why_not: str) -> None:
        tensors, taken = self._tensors, self._taken
        if tensors is not None:
            tensors.cancel()
            self._told["tensors"] = tensors.done or {"why_not": why_not}
        self._told["answered_ns"] = time.time_ns()
        if taken is not None:
            taken.answer(json.dumps(self._told).encode())
        self._let_go()
