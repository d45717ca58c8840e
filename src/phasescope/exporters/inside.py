"""The exporters of one session in its own process: `start(export=...)`. The training learns nothing of what they meet.

They read the ring like those of another process do. The training pays only for the turns of their threads.
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from phasescope._log import logger, warn
from phasescope.exporters.live_sessions import LiveSessions
from phasescope.exporters.outlets import CannotListenError, TrackerError, WrongVariableError, outlets_of
from phasescope.exporters.quiet_threads import end_of_quiet, quiet_this_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from phasescope.exporters.outlets import Outlet
    from phasescope.exporters.targets import Targets
    from phasescope.readers.ring_reader import RingReader

_PAUSE_S, _YIELD_S = 0.5, 0.02
_BUDGET_S = 0.005
"""It shares Python's lock with the training: many short turns instead of a long one."""

_LAST_READING_S = 2.0
_HURRY_S = 0.5
_PLACE = Path("this session")


class ExporterInside:
    """A thread that reads one session's ring for its outlets, until the session ends."""

    def __init__(self, targets: Targets, open_reader: Callable[[], RingReader], local_rank: int) -> None:
        """Import what is needed here, not in the thread: a child that is forked meanwhile would wait for ever for its
        import. Raises ExtraMissingError; whatever else prevents it is a warning. Of several ranks each listens at a
        port of its own.
        """
        targets.check_extras()
        if targets.prometheus is not None and targets.prometheus.port:
            own = targets.prometheus._replace(port=targets.prometheus.port + local_rank)
            targets = targets._replace(prometheus=own)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._sessions = LiveSessions(lambda: [_PLACE], open_ring=lambda _: open_reader(), inside=True)
        self._outlets: list[Outlet] = []
        try:
            self._outlets = outlets_of(targets, self._sessions, self._lock, _say, inside=True)
        except (CannotListenError, WrongVariableError, TrackerError) as error:
            warn(f"nothing is exported: {error}", stacklevel=5)
        except Exception as error:  # of a library; its text may hold an address with a password
            warn(f"nothing is exported: {type(error).__name__}", stacklevel=5)
        self._thread = threading.Thread(target=self._run, name="phasescope-exporter", daemon=True)

    def start(self) -> None:
        """Start the thread. If there can be no more threads nothing is exported."""
        if not self._outlets:
            return
        try:
            self._thread.start()
        except RuntimeError as error:
            _say(f"nothing is exported: {error}")

    def finish(self) -> bool:
        """Note that the session has ended; wait until all of it is exported, for some seconds at most, and return
        whether it is."""
        self._over.set()
        timeout_s = max((outlet.patience_s for outlet in self._outlets), default=0.0)
        with contextlib.suppress(RuntimeError):  # it never started
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                for outlet in self._outlets:
                    outlet.hurry()
                self._thread.join(_HURRY_S)
        return not self._thread.is_alive()

    def abandon_in_child(self) -> None:
        """In a forked child, let go of the ports: they are the parent's."""
        for outlet in self._outlets:
            outlet.abandon_in_child()

    def discard(self) -> None:
        """Let go of everything: the session never began."""
        self.abandon_in_child()

    def _run(self) -> None:
        quiet_this_thread()
        try:
            for outlet in self._outlets:
                outlet.start()
            self._read_until_over()
            for outlet in self._outlets:
                outlet.close()
                for remark in outlet.remarks():
                    _say(remark)
        except Exception as error:
            _say(f"ended by {type(error).__name__}")  # its text may hold an address with a password
        finally:
            with self._lock, contextlib.suppress(Exception):
                self._sessions.close()
            end_of_quiet()

    def _read_until_over(self) -> None:
        behind = False
        while not self._over.wait(_YIELD_S if behind else _PAUSE_S):
            behind = self._poll()
        deadline = time.monotonic() + _LAST_READING_S
        while self._poll() and time.monotonic() < deadline:
            pass

    def _poll(self) -> bool:
        with self._lock:
            return self._sessions.poll(_BUDGET_S)


def _say(line: str) -> None:
    """Log a line that nobody sees who has not asked for it: the training's output stays as it is."""
    with contextlib.suppress(Exception):  # a handler of the training's may raise
        logger.info("export: %s", line)
