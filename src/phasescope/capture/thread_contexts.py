"""From Python 3.14 on a thread may begin with a copy of the context of whoever started it.

So it does in free-threaded builds, and elsewhere with `-X thread_inherit_context=1`. A thread's phases are its own all
the same: that it was started inside of a phase does not put its work there. A context that somebody runs code in on
purpose, as `asyncio.to_thread` does, does.
"""

from __future__ import annotations

import sys
import threading
from contextvars import Context, ContextVar

IS_ON = bool(getattr(sys.flags, "thread_inherit_context", False))

_mark: ContextVar[object] = ContextVar("phasescope_mark", default=None)


def is_in_first_context() -> bool:
    """Return whether the calling code runs in the context that its thread began with."""
    ident = threading.get_ident()
    try:
        thread = next(thread for thread in threading.enumerate() if thread.ident == ident)
        context = object.__getattribute__(thread, "_context")
    except Exception:  # no thread of `threading`, which then began with an empty one
        return False
    if type(context) is not Context:
        return False
    mark = object()
    token = _mark.set(mark)
    try:
        return context.get(_mark) is mark
    finally:
        _mark.reset(token)
