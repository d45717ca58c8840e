"""The end of this process, or of a child of multiprocessing's: the last exception, and the moment to stop with it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from phasescope.capture import exception_info, target_end

if TYPE_CHECKING:
    from collections.abc import Callable

REPLACED = "another program took the process's place (os.exec)"
LEFT_AT_ONCE = "the process left by os._exit"
_AFTER_ALL_ELSE = -100
_OUTERMOST = ("<module>", "_run_module_as_main")
_called_in = 0  # the child process in which something is called at its end


def last_error() -> BaseException | None:
    """Return the exception that the interpreter exits after, or None if there is none."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return None if hasattr(sys, "ps1") else error  # if a person types, the session went on after it


def has_ended_script(error: BaseException | None) -> bool:
    """Return whether it left the script itself: a test runner keeps there as well exceptions that it has caught."""
    trace = exception_info.traceback_of(error)
    return trace is not None and trace.tb_frame.f_code.co_name in _OUTERMOST


def exit_context(error: BaseException | None) -> str:
    """Describe the exit. A child of multiprocessing's exits as if nothing had been, whatever its target has raised:
    hence it is named."""
    if error is not None:
        how = f" after {type(error).__name__}"
    else:
        how = "; how its target ended is not known" if target_end.is_missed() else ""
    return f"the interpreter{' of a child process' if target_end.is_child() else ''} exited{how}"


def call_at_end_of_child(call: Callable[[], None]) -> None:
    """Call this at the end of a child of multiprocessing's, once; elsewhere do nothing.

    A forked child leaves by `os._exit`, and only functions that are registered with multiprocessing itself run then.
    """
    global _called_in
    if _called_in != os.getpid() and target_end.is_child():
        _called_in = os.getpid()
        sys.modules["multiprocessing.util"].Finalize(None, call, exitpriority=_AFTER_ALL_ELSE)
