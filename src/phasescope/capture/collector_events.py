"""The events of a session about its collectors and drivers: one stops answering, and answers again."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from phasescope._log import logger
from phasescope.capture.exception_info import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from phasescope.capture.collector import Collector, CollectorHealth

T = TypeVar("T")


class CollectorEvents:
    """Asks what may fail, and reports failures and recoveries.

    `event` is called for each of them: with its type, the collector that it is about, and a line for a person.
    """

    def __init__(self, monotonic_ns: Callable[[], int], event: Callable[[str, Collector, str], None]) -> None:
        self.now_ns = monotonic_ns
        self._event = event

    def ask(self, health: CollectorHealth, collector: Collector, name: str, question: Callable[[], T]) -> T | None:
        """Return the answer, or None if it raises or is not to be asked now."""
        if not health.due(self.now_ns()):
            return None
        try:
            answer = question()
        except Exception as error:
            self.down(health, collector, name, error)
            return None
        if health.recover(self.now_ns()):
            self.report("collector_recovered", collector, f"{name} answers again")
        return answer

    def down(self, health: CollectorHealth, collector: Collector, name: str, error: Exception) -> None:
        """Note a failure, and report the first one."""
        if health.fail(self.now_ns()):
            self.report("collector_degraded", collector, f"{name} stopped answering: {one_line(type(error), error)}")

    def report(self, event_type: str, collector: Collector, text: str) -> None:
        """Report an event of a collector. A failure to report must not keep the collector from being marked."""
        try:
            self._event(event_type, collector, text)
        except Exception as error:
            logger.debug("%s could not be reported: %s", event_type, type(error).__name__)

    def end(self) -> None:
        """Let go of the listener: phases may outlive their session."""
        self._event = _nobody


def _nobody(_event_type: str, _collector: Collector, _text: str) -> None:
    pass
