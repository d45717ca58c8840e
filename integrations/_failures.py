"""Failures of a mark: of this package's own, which the training never feels."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ._scopes import logger
from ._tracebacks import step_out

if TYPE_CHECKING:
    from collections.abc import Callable

_OURS = ("phasescope", "torch", "tensorflow", "keras", "weakref", "threading")


def is_failure_of_ours(error: BaseException) -> bool:
    """Return whether an exception is this package's own, and note it; else a signal handler of the training's raised
    it, and it must go on."""
    if not _is_ours(error):
        return False
    logger.debug("not marked (%s: %s)", type(error).__name__, error)
    return True


def _is_ours(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return where.partition(".")[0] in _OURS


def unfelt(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function of ours; if it fails, nothing is marked."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            if not is_failure_of_ours(error):
                raise
            return None

    return call


def with_scope(
    theirs: Callable[..., Any], begins: Callable[..., Any], ends: Callable[[Any, BaseException | None], Any]
) -> Callable[..., Any]:
    """Return the function with a scope around each call that `begins` gives one for; it gets the arguments.

    Neither of the two may fail: see `unfelt`.
    """

    @functools.wraps(theirs)
    def call(*args: Any, **kwargs: Any) -> Any:
        scope = begins(args, kwargs)
        try:
            result = theirs(*args, **kwargs)
        except BaseException as error:
            if scope is not None:
                ends(scope, error)
            step_out(error)
            raise
        if scope is not None:
            ends(scope, None)
        return result

    return call
