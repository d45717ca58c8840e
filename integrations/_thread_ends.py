"""Threads that end by an exception: once it has left their function, nothing else shows it."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading
    import weakref
    from collections.abc import Callable

    _End = Callable[[BaseException | None], None]


def when_thread_fails(thread: threading.Thread, then: weakref.WeakMethod[_End]) -> None:
    """Call it, in this thread, with the exception that ends it, before that is printed."""
    hook = vars(thread).get("_invoke_excepthook")
    if hook is None:
        return

    def _invoke_excepthook(*arguments: Any) -> Any:
        with contextlib.suppress(Exception):
            call = then()
            if call is not None:
                call(sys.exc_info()[1])
        return hook(*arguments)

    thread._invoke_excepthook = _invoke_excepthook  # type: ignore[attr-defined]
