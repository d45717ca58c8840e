"""The clocks of a session, in one place, so that a test can bring its own (`phasescope.testing.FakeClock`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable


class Clock(Protocol):
    """The source of a session's times."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds that only ever grow; durations come from it."""

    def wall_ns(self) -> int:
        """Return nanoseconds since the Unix epoch; it may jump."""

    def wait_until(self, event: threading.Event, due_ns: int) -> bool:
        """Wait until the event is set or `monotonic_ns` has come to `due_ns`; whether the event is set."""


class SystemClock:
    """The machine's own. Attributes that are functions, not methods: they are called at every boundary."""

    def __init__(self) -> None:
        self.monotonic_ns: Callable[[], int] = time.perf_counter_ns
        self.wall_ns: Callable[[], int] = time.time_ns

    def wait_until(self, event: threading.Event, due_ns: int) -> bool:
        return event.wait(max(0, due_ns - self.monotonic_ns()) / 1e9)
