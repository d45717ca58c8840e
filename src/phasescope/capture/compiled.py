"""The replacement for a phase under torch.compile: nothing.

Dynamo follows Python code into the phases, and the things that it finds there with a session (context variables,
clocks, a ring) breaks the graph, which `fullgraph=True` makes an error. A function may name another one that dynamo
follows in its place: so does torch with its own wrappers. It is an attribute, so torch is not imported for it, and all
others call the function itself, at no cost.

Compiled code runs without its Python, so a phase in it would measure nothing; and a graph must not depend on whether a
session runs. Where dynamo gives up and Python runs the function, the phases are phases.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see phasescope/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])


def seen_as(twin: Callable[..., Any]) -> Callable[[F], F]:
    """Let dynamo follow `twin` wherever it comes upon the function that this decorates."""

    def mark(function: F) -> F:
        function._torchdynamo_inline = twin  # type: ignore[attr-defined]
        return function

    return mark


def begin(self: Any, name: object, /, *_: object, **_attributes: object) -> None:
    """Stand for a phase's `__init__`. The phase can be entered, since it may leave the compiled code first.

    Its attributes are not looked at: a number among them would become one that the graph is made for.
    """
    self.phase_name = name if isinstance(name, str) else "unnamed"
    self.phase_attributes = None
    self.is_open = False
    self.event_writer = None


def enter(self: Any) -> Any:
    """Stand for a phase's `__enter__`."""
    return self


def leave(_self: Any, _exc_type: object, _exc: object, _traceback: object) -> None:
    """Stand for a phase's `__exit__`."""


def suspend(self: Any, scope: Any) -> None:
    """Stand for the `__init__` of the object that holds a phase around a generator."""
    self._scope = scope


def track(self: Any, iterable: object, /, _name: object = None, **_attributes: object) -> None:
    """Stand for the `__init__` of `track()`."""
    self._iterable = iterable
    self._name = "data"
    self._attributes = None


def nothing(_self: Any, *_: object) -> None:
    """Stand for any other method."""
