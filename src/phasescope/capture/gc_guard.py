"""Before Python 3.12 the garbage collector may run in the middle of anything, a context variable's `set()` included.

Setting one then, in a callback of `gc.callbacks`, a finalizer or a generator that the collector closes, frees what the
interrupted `set()` is still reading, and the interpreter crashes (python/cpython#148891). From 3.12 on the collector
waits for a safe point. Python does not say whether a collection runs, so the collector is asked to say when one begins.
"""

from __future__ import annotations

import gc
import sys

TYPE_CHECKING = False  # see phasescope/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable

    _Callback = Callable[[str, dict[str, int]], None]

IS_NEEDED = sys.implementation.name == "cpython" and sys.version_info < (3, 12)


class Collections:
    """Calls `begin` before each garbage collection and `end` after it, in the thread that collects.

    Around every other callback: the first and the last of `gc.callbacks`, put there again if others came around.
    `compiled` are two that do the same without a line of Python: a signal handler runs between those, and the
    KeyboardInterrupt that it raises within a callback is printed and lost.
    """

    def __init__(
        self, begin: Callable[[], None], end: Callable[[], None], compiled: tuple[_Callback, _Callback] | None = None
    ) -> None:
        self._begin, self._end = begin, end
        # One object each: a method is a new object at each access.
        self._first, self._last = compiled or (self._at_start, self._at_stop)

    def watch(self) -> None:
        """Call both from now on."""
        self.unwatch()
        gc.callbacks.insert(0, self._first)
        gc.callbacks.append(self._last)

    def unwatch(self) -> None:
        """Call them no more."""
        for callback in (self._first, self._last):
            if callback in gc.callbacks:
                gc.callbacks.remove(callback)

    def _at_start(self, stage: str, _info: dict[str, int]) -> None:
        if stage == "start":
            self._begin()
            # The list is being walked by index, and no callback after this one was called yet: each still is, once.
            if gc.callbacks[0] is not self._first or gc.callbacks[-1] is not self._last:
                self.watch()

    def _at_stop(self, stage: str, _info: dict[str, int]) -> None:
        if stage == "stop":
            self._end()
