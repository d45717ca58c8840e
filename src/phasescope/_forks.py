"""Forks of the training beside threads of ours: each finds them at rest, and Python does not warn of them.

In a child only the thread goes on that forked. What another held at that moment, such as a driver's lock or that of a
module which it was importing, is held there for ever. So a thread of ours does each piece of its work under a lock of
its own, and a fork takes that lock first; it does not wait long, for a driver may hold the thread as long as it likes.

Where all threads but the one that forks are ours, and rest, `_fork_warning` leaves out what Python says of them. They
are not ended instead, and begun again: 3.12 counts only after the hooks that would begin them, the kernel counts a
thread for a while after it was joined, and a fork that joins a thread waits for whatever that waits for.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from phasescope import _fork_hooks, _fork_warning, _os_compat

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE_S = 0.05


class WorkingThread(threading.Thread):
    """A daemon thread that works piece by piece, each inside of `with thread.work`; it waits outside of that."""

    def __init__(self, run: Callable[[], object], name: str) -> None:
        super().__init__(target=run, name=name, daemon=True)
        self.work = Work()

    def start(self) -> None:
        """Start it. Raises RuntimeError if there can be no more threads."""
        super().start()
        _threads.append(self)


class Work:
    """A piece of work, which a fork waits for, or which waits for a fork."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # it knows who holds it, even if an exception left a hook half done
        self._piece = self._given_up = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._piece += 1
        _fork_warning.withdraw_if_late()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def pause(self, deadline: float) -> bool:
        """Wait for the piece under way, and let no other begin; return False if it takes too long, at once if it did
        so before."""
        if self._lock.acquire(blocking=False):
            return True
        piece = self._piece
        if piece == self._given_up:
            return False
        if self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return True
        self._given_up = piece
        return False

    def go_on(self) -> None:
        """Let the next piece begin, if this thread has paused the work."""
        try:
            self._lock.release()
        except RuntimeError:  # it gave up, or another thread forks
            return


_threads: list[WorkingThread] = []
"""Those that the kernel may still count, though they have ended."""


def _before() -> None:
    if not _threads:
        return
    if not all(thread.is_alive() for thread in _threads):
        counted = _os_compat.threads_of_kernel()
        _threads[:] = [each for each in _threads if each.is_alive() or str(each.native_id) in counted]
    deadline = time.monotonic() + _PATIENCE_S
    rest = [thread.work.pause(deadline) for thread in _threads]
    _fork_warning.withdraw()
    if rest and all(rest):
        _fork_warning.leave_out(_all_others_are_ours, sys._getframe(1).f_globals)


def _in_parent() -> None:
    for thread in _threads:
        thread.work.go_on()


def _in_child() -> None:
    _threads.clear()
    _fork_warning.withdraw()


def _all_others_are_ours() -> bool:
    """Return whether this process would have one thread without ours. A thread of ours that has ended, and is still
    counted, is ours."""
    counted = _os_compat.threads_of_kernel()
    return bool(counted) and counted == {str(threading.get_native_id())} | {
        number for thread in _threads if (number := str(thread.native_id)) in counted
    }


_fork_hooks.around_fork(_before, _in_parent, _in_child)
