"""The end of the function that a child of multiprocessing's runs, its target: it has returned or raised.

Multiprocessing catches what a target raises, prints it, and exits as if nothing had been. Before Python 3.13 it runs
its finalizers while that exception is still on its way. Since then they come after it, and the sign of the end is the
first line that multiprocessing itself executes after the target, seen by `sys.monitoring`, in that one function.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from phasescope.capture.exception_class import traceback_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

_NAME = "phasescope"
_FREE_TOOLS = (4, 3)  # the ids that Python reserves for no kind of tool
_FIRST = 0  # before multiprocessing waits for this child's own children
_calls: list[Callable[[BaseException | None], None]] = []
_watched_in = 0  # the child process whose target is watched


def is_child() -> bool:
    """Return whether this process is a child of multiprocessing's."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def call_at_end_of_target(call: Callable[[BaseException | None], None]) -> None:
    """Call this once with the exception that ends this child's target, None if it returns; elsewhere do nothing.

    The newest is called first. Nothing is called if the end cannot be seen: others hold the ids of `sys.monitoring`.
    """
    global _watched_in
    if not is_child():
        return
    if _watched_in != os.getpid():
        _watched_in = os.getpid()
        _calls.clear()
        _watch(sys.modules["multiprocessing.process"].BaseProcess._bootstrap.__code__)
    if call not in _calls:
        _calls.append(call)


def is_missed() -> bool:
    """Return whether this process is at its end, and its target's end was not seen."""
    return bool(_calls) and _watched_in == os.getpid()


def _watch(bootstrap: CodeType) -> None:
    if "_exit_function" in bootstrap.co_names:
        finalize = sys.modules["multiprocessing.util"].Finalize
        finalize(None, _at_finalizers, args=(bootstrap,), exitpriority=_FIRST)
        return
    monitoring = _monitoring()
    tool = _tool_named(_NAME)  # the parent's, if it was watched as it forked
    if tool is None:
        tool = _tool_named(None)
        if tool is None:
            return
        monitoring.use_tool_id(tool, _NAME)
    monitoring.register_callback(tool, monitoring.events.LINE, _at_line)
    monitoring.set_local_events(tool, bootstrap, monitoring.events.LINE)


def _monitoring() -> Any:
    return sys.monitoring  # type: ignore[attr-defined]  # of Python 3.12


def _tool_named(name: str | None) -> int | None:
    return next((tool for tool in _FREE_TOOLS if _monitoring().get_tool(tool) == name), None)


def _at_finalizers(bootstrap: CodeType) -> None:
    error = sys.exc_info()[1]
    trace = traceback_of(error)
    has_left_target = trace is not None and trace.tb_frame.f_code is bootstrap
    _ended(error if has_left_target else None)  # else it is what the parent was handling as it forked


def _at_line(bootstrap: CodeType, _line: int) -> None:
    with contextlib.suppress(Exception):
        monitoring, tool = _monitoring(), _tool_named(_NAME)
        if tool is not None:
            monitoring.set_local_events(tool, bootstrap, 0)
            monitoring.register_callback(tool, monitoring.events.LINE, None)
            monitoring.free_tool_id(tool)
        frame, error = sys._getframe(1), sys.exc_info()[1]
        if os.getpid() == _watched_in and "exitcode" not in frame.f_locals:  # else a thread has outlived the target
            trace = traceback_of(error)
            _ended(error if trace is not None and trace.tb_frame is frame else None)


def _ended(error: BaseException | None) -> None:
    while _calls:
        with contextlib.suppress(Exception):
            _calls.pop()(error)
