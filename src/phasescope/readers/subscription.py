"""session.subscribe(): envelopes handed to a callback, from a thread that reads the ring like any other reader."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from phasescope._log import logger
from phasescope.wire.envelope import project_owned_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phasescope.readers.ring_reader import RingReader
    from phasescope.wire.envelope import ProjectedTelemetryRecord


class Subscription:
    """A callback and the thread that calls it, until the session ends. `errors` counts the calls that raised."""

    def __init__(self, reader: RingReader, callback: Callable[[ProjectedTelemetryRecord], object]) -> None:
        self.errors = 0
        self._reader = reader
        self._callback = callback
        self._closed = threading.Event()
        reader._pause = self._closed.wait  # so that `close` ends the thread at once, not at the next event
        # The place to begin is taken here, not in the thread: nothing that comes after this call is left out.
        events = reader.follow()
        self._thread = threading.Thread(target=self._run, args=(events,), name="phasescope-subscription", daemon=True)
        self._thread.start()

    @property
    def missed(self) -> int:
        """The number of envelopes that were overwritten before the callback could have them."""
        return self._reader.missed

    @property
    def running(self) -> bool:
        """Whether the callback may still be called."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop calling the callback. Do not wait for a call that is under way."""
        self._closed.set()

    def join(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` until the session is over and the callback has had everything; return if so."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self.running

    def _run(self, events: Iterator[dict[str, Any]]) -> None:
        try:
            for event in events:
                if self._closed.is_set():
                    break
                self._hand_over(event)
        except Exception as error:  # the file was damaged, or is out of reach
            logger.warning("a subscription ended: %s", type(error).__name__)
        finally:
            self._reader.close()

    def _hand_over(self, event: dict[str, Any]) -> None:
        try:
            self._callback(project_owned_event(event))
        except BaseException as error:  # `sys.exit` ends the thread that calls it, and this one is not the callback's
            self.errors += 1
            if self.errors == 1:
                logger.warning("a subscriber raised %s; it stays subscribed", type(error).__name__)
