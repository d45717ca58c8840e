"""One write at a time, also where a signal handler or the garbage collector comes amid one, in the same thread.

The lock of a session's writer is reentrant and guarded by `_state`: what begins while this very thread is writing waits
in `_deferred` until that is done.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from phasescope import _native
from phasescope.capture.exception_info import is_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Callable

FREE, BUSY, CLOSED = range(3)
_MAX_DEFERRED = 1000


if TYPE_CHECKING or not _native.has_phases:

    class _Slots:
        __slots__ = (
            "_sequence",
            "_state",
            "asked",
            "collectors",
            "now",
            "offset_ns",
            "open",
            "ring",
            "watch",
            "watch_left",
            "watch_path",
        )

else:
    _Slots = _native.core.WriterSlots


class Turns(_Slots):
    """The lock of a writer, and what waits for it. `dropped` counts what was given up."""

    __slots__ = ("_deferred", "_flushing", "dropped", "lock")

    _state: int

    def __init__(self) -> None:
        self.dropped = 0
        self.lock = threading.RLock()
        self._deferred: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._flushing = False
        self._state = FREE

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._state == CLOSED

    def _not_now(self, method: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if self._state == CLOSED or len(self._deferred) >= _MAX_DEFERRED:
            self.dropped += 1
        else:
            self._deferred.append((method, arguments))

    def _write_deferred(self) -> None:
        if self._flushing:  # further out on this stack
            return
        self._flushing = True
        try:
            while self._deferred and self._state == FREE:
                method, arguments = self._deferred.popleft()
                try:
                    method(*arguments)
                except Exception as error:
                    self.dropped += 1
                    if is_from_signal_handler(error):
                        raise
        finally:
            self._flushing = False

    def abandon_in_child(self) -> None:
        """In a forked child, never write, whatever another thread of the parent was doing with the lock."""
        self.lock = threading.RLock()
        self._state = CLOSED
