"""Things that are held weakly and by identity: they may compare and hash as they like."""

from __future__ import annotations

import weakref
from typing import Any


def hold(held: dict[int, weakref.ref[Any]], thing: Any) -> bool:
    """Hold a thing weakly, by its identity. Return whether it is a new one."""
    ident = id(thing)
    ref = held.get(ident)
    if ref is not None and ref() is thing:
        return False

    def gone(reference: Any) -> None:
        if held.get(ident) is reference:
            del held[ident]

    held[ident] = weakref.ref(thing, gone)
    return True


def there(held: dict[int, weakref.ref[Any]]) -> list[Any]:
    """Return those that are still there."""
    return [thing for reference in list(held.values()) if (thing := reference()) is not None]
