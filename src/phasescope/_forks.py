"""Forks of the training beside threads of ours: each finds them at rest, and Python does not warn of them.

In a child only the thread goes on that forked. What another held at that moment, such as a driver's lock or that of a
module which it was importing, is held there for ever. So a thread of ours does each piece of its work under a lock of
its own, and a fork takes that lock first; it does not wait long, for a driver may hold the thread as long as it likes.

Python 3.12 and newer warn a program that forks while it has several threads. Where all but one are ours, and rest, the
warning would be untrue, and without us it would not be given: it is left out. The threads are not ended instead, and
begun again: 3.12 counts only after the hooks that would begin them, the kernel counts a thread for a while after it was
joined, and a fork that joins a thread waits for whatever that waits for.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

from phasescope import _os_compat

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE_S = 0.05
_FORKS_WITHIN_S = 1.0
_WARNS = sys.version_info >= (3, 12)
_COUNTS_FIRST = sys.version_info >= (3, 14, 1) or (3, 13, 10) <= sys.version_info < (3, 14)
"""Whether Python counts the threads before it calls the hooks in the parent, some of which start threads."""

_REGISTRY = "__warningregistry__"


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
        untrue = _untrue
        if untrue is not None and time.monotonic() > untrue.until:
            untrue.withdraw()  # nobody was warned: `subprocess` calls the hooks of forks too, and never warns

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


class _Untrue:
    """What the text of a warning is compared with: fits the one of a fork whose other threads are ours, once."""

    def __init__(self, filters: list[Any], names: dict[str, Any]) -> None:
        self.until = time.monotonic() + _FORKS_WITHIN_S
        self._thread = threading.get_ident()
        self._text = f"This process (pid={os.getpid()}) is multi-threaded, use of fork"
        self._names = None if _REGISTRY in names else names
        self._filters = filters
        self._filter = ("ignore", self, DeprecationWarning, None, 0)
        # Not by `warnings.filterwarnings`, after which every warning that was shown once is shown once more.
        filters.insert(0, self._filter)

    def match(self, text: str) -> bool:
        """Return whether the warning is to be left out. Called by Python, in place of a pattern's method."""
        try:
            if threading.get_ident() != self._thread or not text.startswith(self._text):
                return False
            if not (_COUNTS_FIRST or _all_others_are_ours()):
                self.until = 0.0  # not withdrawn here: Python goes through the list by index, and would leave one out
                return False
            self.withdraw()
            self._remove_registry()
        except Exception:
            return False
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a pattern that fits nothing: joblib and scikit-learn send the filters to their workers."""
        return re.compile, ("(?!)",)

    def withdraw(self) -> None:
        """Take it back: from the list where it is, and from a copy that has taken that one's place."""
        global _untrue
        if _untrue is self:
            _untrue = None
        now: Any = warnings.filters
        for filters in (self._filters, now):
            index = next((index for index, each in enumerate(filters) if each is self._filter), None)
            if index is not None:
                with contextlib.suppress(Exception):  # a tuple, or whatever else a program may have put there
                    del filters[index]

    def _remove_registry(self) -> None:
        """Remove what Python has just made to note the warning in, beside the names of the module that forks."""
        if self._names is not None and self._names.get(_REGISTRY, {}).keys() == {"version"}:
            del self._names[_REGISTRY]


_threads: list[WorkingThread] = []
"""Those that the kernel may still count, though they have ended."""

_untrue: _Untrue | None = None


def _before() -> None:
    global _untrue
    if not _threads:
        return
    if not all(thread.is_alive() for thread in _threads):
        counted = _os_compat.threads_of_kernel()
        _threads[:] = [each for each in _threads if each.is_alive() or str(each.native_id) in counted]
    deadline = time.monotonic() + _PATIENCE_S
    rest = [thread.work.pause(deadline) for thread in _threads]
    _withdraw()
    if _WARNS and rest and all(rest) and type(warnings.filters) is list and _all_others_are_ours():
        _untrue = _Untrue(warnings.filters, sys._getframe(1).f_globals)


def _in_parent() -> None:
    for thread in _threads:
        thread.work.go_on()


def _in_child() -> None:
    _threads.clear()
    _withdraw()


def _withdraw() -> None:
    untrue = _untrue
    if untrue is not None:
        untrue.withdraw()


def _all_others_are_ours() -> bool:
    """Return whether this process would have one thread without ours. A thread of ours that has ended, and is still
    counted, is ours."""
    counted = _os_compat.threads_of_kernel()
    return bool(counted) and counted == {str(threading.get_native_id())} | {
        number for thread in _threads if (number := str(thread.native_id)) in counted
    }


_os_compat.around_fork(_before, _in_parent, _in_child)
