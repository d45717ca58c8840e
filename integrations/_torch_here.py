"""The state of the calling thread: the call that it is in, and whether anything is computed there at all."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

_SYMBOLIC = ("KerasTensor", "FakeTensor")

# Functions that not every version has are looked up once.
is_compiling: Callable[[], bool] = getattr(getattr(torch, "compiler", None), "is_compiling", bool)
_tracing_state: Callable[[], Any] = getattr(torch._C, "_get_tracing_state", lambda: None)
_is_a_mode_on: Callable[[], bool] = getattr(torch._C, "_is_torch_function_mode_enabled", lambda: True)
_transforms: Callable[[], Any] = getattr(getattr(torch._C, "_functorch", None), "get_interpreter_stack", lambda: None)
_pass_of_this_thread: Callable[[], int] = getattr(torch._C, "_current_graph_task_id", lambda: -1)


class Here(threading.local):
    """The state of the calling thread."""

    busy = False  # a marked call, or a backward pass: calls inside belong to it
    own_call = 0  # the id of the module whose `__call__`, not torch's, is the innermost that is marked
    in_backward = False
    differentiates = False  # a function of a model's parameters, by `torch.func`, since the last backward pass


here = Here()

marking_codes: set[Any] = set()
"""The functions that stand around torch's, and set `busy` while they run."""


def settle() -> None:
    """Clear `busy` if the thread is in no such call: an exception amid a mark (Ctrl-C) may have left it set."""
    if not here.busy:
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code in marking_codes:
            return
        frame = frame.f_back
    here.busy = here.in_backward = False
    here.own_call = 0


def is_traced() -> bool:
    """Return whether a graph is recorded from the code that runs here, other than by `torch.compile`."""
    return _tracing_state() is not None


def is_for_shapes(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether a call computes nothing but the shapes of its results: Keras building a model, say."""
    for given in (*args, *kwargs.values()):
        if type(given) is list or type(given) is tuple:
            for one in given:
                if _has_no_data(one):
                    return True
        elif _has_no_data(given):
            return True
    return False


def _has_no_data(given: Any) -> bool:
    if type(given) is not torch.Tensor:
        return type(given).__name__ in _SYMBOLIC
    if not _is_a_mode_on():
        return bool(given.is_meta)
    with torch._C.DisableTorchFunction():  # a mode is code of the training's
        return bool(given.is_meta)


def note_function(parameters: Callable[[], Iterable[Any]]) -> None:
    """Note that a model is about to be called, with these parameters; they are only asked for in a transform."""
    if _transforms() and not here.differentiates:
        here.differentiates = any(torch._C._functorch.is_gradtrackingtensor(each) for each in parameters())


def is_pass_of_a_function() -> bool:
    """Return whether `torch.func` differentiates by a model's parameters, and nothing of its differentiates that."""
    kinds = [str(transform.key()) for transform in _transforms() or ()] if here.differentiates else []
    return sum(kind.endswith("Grad") for kind in kinds) == 1


def is_below_autograd() -> bool:
    """Return whether this runs in a backward pass, be it in a thread of autograd's own."""
    return here.in_backward or _pass_of_this_thread() != -1
