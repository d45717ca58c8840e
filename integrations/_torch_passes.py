"""Passes over a loader whose one iterator never ends: each begins where the loader's own `__iter__` is called.

So it is with loaders that keep their workers (timm's, Ultralytics'): the iterator is asked on and on, and gives no end.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from ._run_loops import loops
from ._torch_around import guarded
from ._torch_classes import mark_method
from ._tracebacks import step_out

if TYPE_CHECKING:
    from collections.abc import Callable


def watch_passes() -> None:
    """Meet the class of each loader that makes an iterator."""
    loaders: Any = torch.utils.data.DataLoader
    loaders._get_iterator = _met(loaders._get_iterator)


def _met(get_iterator: Callable[..., Any]) -> Callable[..., Any]:
    meet = guarded(_meet)

    @functools.wraps(get_iterator)
    def _get_iterator(loader: Any) -> Any:
        meet(type(loader))
        try:
            return get_iterator(loader)
        except BaseException as error:
            step_out(error)
            raise

    return _get_iterator


def _meet(cls: type) -> None:
    for owner in cls.__mro__:
        if owner is torch.utils.data.DataLoader:
            return
        mark_method(owner, "__iter__", _pass_begins, _ended)


def _begun(args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    sampler = vars(args[0]).get("batch_sampler")
    if sampler is not None and loops.are_there and not loops.are_silent():
        loops.current().pass_begins(id(sampler))


_pass_begins = guarded(_begun)


def _ended(_scope: Any, _error: BaseException | None) -> None:
    pass
