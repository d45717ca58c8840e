"""The purpose of the batches of a loop's loaders: training or not, from the use of those before."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

from ._places import is_begun_anew_by_itself, is_for_one_batch, path_here, site_here

_MAX_PATHS = 256  # loaders may be made again in each epoch


class Batches:
    """The use of an iterator's batches. `trains` is None as long as none of them was used."""

    def __init__(self, iterator: Any) -> None:
        self.is_of = weakref.ref(iterator)
        held = vars(iterator)
        sampler = held.get("_index_sampler")
        self.is_without_mode = sampler is None  # of `tf.data`: no model's mode speaks for it
        if sampler is not None:
            self.dataset = id(held.get("_dataset"))
            self.loader = id(sampler)  # each loader has one of its own, and its iterators share it
        else:
            self.dataset = self.loader = _number_of(held.get("_dataset", iterator))
        self.trains: bool | None = None
        self.site: tuple[tuple[int, int], ...] = ()  # the call that fetches
        self.path = 0  # all the calls around that one
        self.is_begun_anew = False  # by the code that fetches: where the data end, its caller notices nothing
        self.is_a_look = False  # that code wants one batch, and comes to it once: a picture, a sampler's state
        self.goes_over_anew = False  # the loader has begun another pass with this same iterator
        self.fetches = self.fetches_of_pass = 0
        self.is_exhausted = False
        self.is_unsorted = False  # the first was fetched, and nothing spoke for either
        self.was_looked_at = False  # there was a forward without gradients since the last fetch
        self.is_without_gradients = False  # the last fetch was: that speaks for itself, the next time as well

    @property
    def begins(self) -> bool:
        """Whether the next fetch is the first of a pass over the data."""
        return not self.fetches or self.is_exhausted or self.goes_over_anew

    def goes_on_after(self, last: Batches | None) -> bool:
        """Return whether this is the next pass over data that just ended, which the same code begins by itself."""
        if last is None or last.loader != self.loader or not (last.is_exhausted and last.is_begun_anew):
            return False
        return self.is_begun_anew and bool(last.site and self.site) and last.site[0][0] == self.site[0][0]


_numbers: dict[int, tuple[weakref.ref[Any], int]] = {}
_next_number = itertools.count(-1, -1)  # no `id` is negative


def _number_of(dataset: Any) -> int:
    """Return a number that no other dataset ever has: many are made for one loop, and their `id` is soon another's."""
    ident = id(dataset)
    known = _numbers.get(ident)
    if known is None or known[0]() is not dataset:
        gone = weakref.ref(dataset, lambda ref: _numbers.pop(ident, None) if _is_of(ident, ref) else None)
        known = _numbers[ident] = gone, next(_next_number)
    return known[1]


def _is_of(ident: int, ref: weakref.ref[Any]) -> bool:
    known = _numbers.get(ident)
    return known is not None and known[0] is ref


class Loaders:
    """All that one loop fetches from."""

    def __init__(self) -> None:
        self.last: Batches | None = None
        self._iterators: dict[int, Batches] = {}
        # By loader and by dataset, since loaders may be made again, and by the call that fetches, since datasets may:
        # whether it trains, in which mode of the model.
        self._uses: dict[int, tuple[bool, bool | None]] = {}
        self._by_site: dict[object, tuple[bool, bool | None] | None] = {}
        # By loader and path: whether it trains. None: now this, now that.
        self._by_path: dict[tuple[int, int], bool | None] = {}
        self._trained_on: set[int] = set()
        self._unproven: list[Batches] = []  # fetched from since the purpose was last plain

    def of(self, iterator: Any) -> Batches:
        """Return the use of this iterator's batches."""
        ident = id(iterator)
        batches = self._iterators.get(ident)
        if batches is None or batches.is_of() is not iterator:
            for gone in [each for each, its_batches in self._iterators.items() if its_batches.is_of() is None]:
                del self._iterators[gone]
            batches = self._iterators[ident] = Batches(iterator)
        return batches

    def go_over_anew(self, loader: int) -> None:
        """Note that this loader begins a pass; not if each is for one batch."""
        for batches in list(self._iterators.values()):
            if batches.loader == loader:
                batches.goes_over_anew = batches.goes_over_anew or batches.fetches_of_pass > 1
                batches.fetches_of_pass = 0

    def fetch(self, batches: Batches, trains: bool | None, *, is_graded: bool) -> None:
        """Note that the next batch is fetched, for this presumed purpose."""
        begins = batches.begins
        batches.fetches = 1 if begins else batches.fetches + 1
        batches.fetches_of_pass += 1
        batches.is_exhausted = batches.was_looked_at = batches.goes_over_anew = False
        batches.is_unsorted = begins and trains is None
        batches.is_without_gradients = not is_graded
        self.last = batches
        if batches.trains is None and batches not in self._unproven:
            self._unproven.append(batches)

    def are_for_training(self, batches: Batches, mode: bool | None) -> bool | None:
        """Return the evidence for it, with a model in this mode; None if nothing speaks for either."""
        if batches.trains is not None:
            return batches.trains
        if batches.was_looked_at:
            return False
        if batches.begins:
            batches.site, batches.path = site_here(), path_here()
            batches.is_begun_anew = is_begun_anew_by_itself()
        if batches.begins or batches.is_a_look:
            batches.is_a_look = is_for_one_batch()
        by_path = self._by_path.get((batches.loader, batches.path))
        if by_path is not None:
            return by_path
        if batches.is_a_look:
            return None
        uses = self._uses
        use = uses.get(batches.loader) or uses.get(batches.dataset) or self._by_site.get(batches.site)
        if use is not None and (use[1] == mode or batches.goes_on_after(self.last)):
            return use[0]
        # The mode is that of the model called last, which may not be the one that comes: folds that take turns.
        if mode is False and batches.dataset in self._trained_on and self._by_site.get(batches.site) == (True, True):
            return True
        # Where others are known to be for training, one that is not may be for anything.
        return None if mode and use is None and any(trains for trains, _ in self._uses.values()) else mode

    def are_others_trained_on(self, batches: Batches) -> bool:
        """Return whether others are known to be for training, and nothing is known of these."""
        known = self._uses.get(batches.loader) or self._uses.get(batches.dataset) or self._by_site.get(batches.site)
        return known is None and any(trains for trains, _ in self._uses.values())

    def doubt_last(self) -> None:
        """Note that the batch fetched last is not proven to be for training."""
        if self.last is not None and not self.last.trains and self.last not in self._unproven:
            self._unproven.append(self.last)

    def prove(self, mode: bool | None, *, trains: bool) -> None:
        """Note that the batches fetched lately were for this."""
        for batches in self._unproven:
            if batches.is_a_look and batches is not self.last:
                continue
            batches.trains = trains
            if trains:
                self._trained_on.add(batches.dataset)
            if trains or not batches.is_without_gradients:
                use = trains, mode
                self._uses[batches.loader] = self._uses[batches.dataset] = use
                # One call may serve both, a function that trains or evaluates by an argument: then it tells nothing.
                earlier = self._by_site.get(batches.site, use)
                is_same = earlier is not None and (earlier == use or earlier[1] != mode)
                self._by_site[batches.site] = use if is_same else None
                self._prove_path(batches, trains=trains)
        self._unproven.clear()

    def _prove_path(self, batches: Batches, *, trains: bool) -> None:
        if len(self._by_path) >= _MAX_PATHS:
            self._by_path.clear()
        if batches.path:
            path = batches.loader, batches.path
            self._by_path[path] = trains if self._by_path.get(path, trains) is trains else None
