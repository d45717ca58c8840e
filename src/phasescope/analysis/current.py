"""Which phase is open, as far as the last events tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .spans import scope_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SPEAK_OF_NONE = ("sample", "start", "stop")
"""These events name the open phase where there is one; without a name they say that none is open."""


def current_phase(events: Iterable[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """The path of the innermost phase open after these events, oldest first; None where none is, or nothing
    tells.

    The newest event that tells wins, whatever thread it speaks of.
    """
    path: tuple[str, ...] | None = None
    for event in events:
        scope = scope_of(event)
        if scope is not None:
            path = scope.path[:-1] if scope.action == "exit" else scope.path
        elif event.get("event_type") in _SPEAK_OF_NONE:
            path = None
    return path or None
