"""Functions with a scope around each call, which neither a compiler, a traceback nor a failure of ours gives away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ._failures import unfelt, with_scope
from ._scopes import logger
from ._torch_here import is_compiling, marking_codes

if TYPE_CHECKING:
    from collections.abc import Callable

_frames: Any = getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None)


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the function as `unfelt` does, and keep `torch.compile` from it."""
    call = unfelt(function)
    leave_uncompiled(call, and_what_it_calls=True)
    return call


def guarded_method(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method, as `guarded` does."""
    call = guarded(function)

    def method(self: Any, *arguments: Any) -> Any:
        return call(self, *arguments)

    return method


def around(
    function: Callable[..., Any], begins: Callable[..., Any], ends: Callable[[Any, BaseException | None], Any]
) -> Callable[..., Any]:
    """Return the function with a scope around each call, as `with_scope` does; compilers see the function itself."""

    def begun(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return None if is_compiling() else begins(args, kwargs)

    for each in (begun, ends):
        leave_uncompiled(each, and_what_it_calls=True)
    return unseen_by_compilers(with_scope(function, begun, ends), function)


def unseen_by_compilers(ours: Callable[..., Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    """Have `torch.compile` go into `theirs` when it comes upon `ours`, and never compile `ours` by itself."""
    ours._torchdynamo_inline = theirs  # type: ignore[attr-defined]
    marking_codes.add(ours.__code__)
    leave_uncompiled(ours, and_what_it_calls=False)
    return ours


def leave_uncompiled(function: Any, *, and_what_it_calls: bool) -> None:
    """Keep `torch.compile` from the function.

    After a graph break it tries every function that is called; torch's own are left out in the same way.
    """
    try:
        if hasattr(_frames, "set_code_exec_strategy"):
            skip, default = _frames._FrameAction.SKIP, _frames._FrameAction.DEFAULT
            strategy = _frames._FrameExecStrategy(skip, skip if and_what_it_calls else default)
            _frames.set_code_exec_strategy(function.__code__, strategy)
        elif hasattr(_frames, "skip_code"):
            _frames.skip_code(function.__code__)
    except Exception as error:  # compiled as anything else is
        logger.debug("%s may be compiled (%s)", function.__name__, type(error).__name__)
