"""Tensors that no Python object refers to, and that stay all the same: torch itself keeps them.

A view (`batch[0]`) keeps the whole tensor that it is a part of, and a graph what it saved for the backward pass. Both
are found by the memory that they have in common with a tensor whose keeper is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.capture.census.budget import CensusBudget
    from phasescope.capture.census.graphs import Graphs
    from phasescope.capture.census.report import Grown

VIEW, SAVED = "view", "graph"
_MOST = 5_000
_SHARE = 1 / 3  # of the rise


def find_keepers(grown: Sequence[Grown], graphs: Graphs, budget: CensusBudget) -> None:
    """Name the keeper of tensors that were not found to have one, if what it keeps has their memory."""
    unknown = [each for each in grown if each.is_of_torch and not each.is_kept]
    kept_ones = sorted(
        (each for each in grown if each.is_of_torch and each.is_kept), key=lambda each: each.is_less_exact
    )
    for kept in kept_ones if unknown else ():
        saved, walked = graphs.saved_storages(kept.members[-_MOST:])
        for each in unknown:
            if each.is_kept:
                continue
            if budget.left_ns() <= 0:
                return
            own, themselves = _storages(each.members, graphs), {id(member) for member in each.members}
            views = _storages([member for member in kept.members if id(member) not in themselves], graphs)
            for by, there, part in ((VIEW, views, 1.0), (SAVED, saved.keys(), walked / max(1, len(kept.members)))):
                share = min(1.0, len(own & there) / max(1, len(own)) / (part or 1.0))
                if share and share * each.count >= each.rise * _SHARE:
                    each.keep_through(kept, by, round(share * each.count))
                    break


def _storages(tensors: Sequence[Any], graphs: Graphs) -> set[int]:
    """Return the identities of the tensors' memory; of many tensors those of the last ones."""
    storages = (graphs.storage(tensor) for tensor in tensors[-_MOST:])
    return {storage[0] for storage in storages if storage is not None}
