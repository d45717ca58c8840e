"""Functions around methods in classes that are not torch's own: an optimizer's `step`, a model's `__call__`."""

from __future__ import annotations

from operator import itemgetter
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from ._scopes import logger
from ._torch_around import around

if TYPE_CHECKING:
    from collections.abc import Callable

_OURS = "phasescope_marks"  # an attribute of a function, and of those that `functools.wraps` puts around it
_SCRIPT = "__main__"


def mark_method(
    owner: type, name: str, begins: Callable[..., Any], ends: Callable[[Any, BaseException | None], Any]
) -> None:
    """Put a function with a scope around each call in the place of a method that this very class defines, once."""
    theirs = vars(owner).get(name)
    if not isinstance(theirs, FunctionType) or hasattr(theirs, _OURS):
        return
    ours = around(theirs, begins, ends)
    setattr(ours, _OURS, True)
    try:
        setattr(owner, name, _Apart(ours, theirs) if owner.__module__ == _SCRIPT else ours)
    except (AttributeError, TypeError) as error:
        logger.debug("%s of a %s is not marked (%s)", name, owner.__name__, error)


class _Apart:
    """A marked method in a class of the script's own, which cloudpickle and dill pickle whole: they find theirs."""

    def __init__(self, ours: Callable[..., Any], theirs: FunctionType) -> None:
        self._ours = ours
        self._theirs = theirs

    def __get__(self, instance: object, _owner: type | None = None) -> Callable[..., Any]:
        return self._ours if instance is None else MethodType(self._ours, instance)

    def __reduce__(self) -> tuple[Any, ...]:
        return itemgetter(0), ((self._theirs,),)
