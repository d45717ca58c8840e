"""Classes of modules with a `__call__` of their own that never comes to torch's, as GPyTorch's have."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIBRARIES = ("torch", "keras", "phasescope")  # their calls come to torch's, in ways that the code does not show
_TORCHS = frozenset({"__call__", "_call_impl", "_wrapped_call_impl"})


def past_torchs(cls: type) -> Iterator[type]:
    """Yield the class and those that it inherits from, as far as they define a `__call__` that is not torch's.

    None if each hands over to the next, and the last to torch.
    """
    defining = [owner for owner in cls.__mro__ if isinstance(vars(owner).get("__call__"), FunctionType)]
    own = [owner for owner in defining if owner.__module__.partition(".")[0] not in _LIBRARIES]
    if any(_ends_there(vars(owner)["__call__"]) for owner in own):
        yield from own


def all_past_torchs() -> Iterator[type]:
    """Yield every class of that kind that there is by now."""
    seen: set[type] = set()
    ahead = type.__subclasses__(torch.nn.Module)
    while ahead:
        cls = ahead.pop()
        if cls not in seen:
            seen.add(cls)
            ahead += type.__subclasses__(cls)
            if "__call__" in vars(cls):
                yield from past_torchs(cls)


def _ends_there(call: FunctionType) -> bool:
    """Return whether a `__call__` neither is torch's own nor calls the next one."""
    code = call.__code__
    return code.co_name not in _TORCHS - {"__call__"} and not _TORCHS.intersection(code.co_names)
