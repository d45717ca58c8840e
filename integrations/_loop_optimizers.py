"""The optimizers of a run, and whose loop each is of: a thread waits for its own, and for no other's.

An optimizer is its maker's, until another thread trains with it. Once a loop has stepped, another optimizer mostly
means another training (a fold, a trial): those before it are retired, until they go on. All are held weakly.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

_NONE: frozenset[int] = frozenset()


class _MadeOptimizer:
    """An optimizer that was made."""

    __slots__ = ("is_of", "is_retired", "owner")

    def __init__(self, optimizer: Any, owner: object) -> None:
        self.is_of = weakref.ref(optimizer)
        self.owner = owner
        self.is_retired = False


class Optimizers:
    """All that were made and are still there, by their keys. An owner is any object that stands for a loop."""

    def __init__(self) -> None:
        self._made: dict[int, _MadeOptimizer] = {}
        self._owned: dict[object, set[int]] = {}

    def add(self, key: int, optimizer: Any, owner: object) -> bool:
        """Note that an optimizer was made. Return whether there was none of this key."""
        record = self._made.get(key)
        if record is not None:
            self._disown(key, record)
        self._made[key] = _MadeOptimizer(optimizer, owner)
        self._owned.setdefault(owner, set()).add(key)
        return record is None or record.is_of() is None

    def all(self) -> list[tuple[int, Any]]:
        """Return each that is still there. The others are forgotten."""
        living = []
        for key, made in list(self._made.items()):
            optimizer = made.is_of()
            if optimizer is None:
                self._made.pop(key, None)
                self._disown(key, made)
            else:
                living.append((key, optimizer))
        return living

    def of(self, owner: object) -> AbstractSet[int]:
        """Return the keys of a loop's own."""
        return self._owned.get(owner, _NONE)

    def awaited(self, owner: object) -> set[int]:
        """Return the keys of those that a loop's steps may wait for."""
        return {key for key, made in self._records(self.of(owner)) if not made.is_retired and made.is_of() is not None}

    def beside(self, keys: Iterable[int]) -> set[int]:
        """Return the keys of those that belong to the same training as these."""
        owners = {made.owner for _, made in self._records(keys)}
        return {key for owner in owners for key, made in self._records(self.of(owner)) if not made.is_retired}

    def retire(self, owner: object, but: AbstractSet[int] = _NONE) -> None:
        """Note that a loop has stepped with those that it has, and makes another: an exception, or the next."""
        for key, made in self._records(self.of(owner)):
            made.is_retired = made.is_retired or key not in but

    def called(self, keys: Iterable[int], owner: object) -> None:
        """Note that a loop calls a model that these train, or steps with them.

        They go on, unless one that came later has taken over.
        """
        made = self._records(keys)
        goes_on = all(one.is_retired for _, one in made)
        for key, one in made:
            if one.owner is not owner:
                self._disown(key, one)
                one.owner = owner
                self._owned.setdefault(owner, set()).add(key)
            if goes_on:
                one.is_retired = False

    def _records(self, keys: Iterable[int]) -> list[tuple[int, _MadeOptimizer]]:
        """Return those of the keys, taken at once: other threads add and take meanwhile."""
        return [(key, made) for key in tuple(keys) if (made := self._made.get(key)) is not None]

    def _disown(self, key: int, made: _MadeOptimizer) -> None:
        own = self._owned.get(made.owner)
        if own is not None:
            own.discard(key)
            if not own:
                self._owned.pop(made.owner, None)
