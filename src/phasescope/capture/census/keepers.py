"""Who keeps objects that have become more: one that all ways to them go through, by a name that a person knows."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope import _native
from phasescope.capture.census import base, names
from phasescope.capture.census.lines import CodeLine, line_that_adds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.capture.census.sources import Sources

SAMPLES = 6
_SHARE = 1 / 3  # of the samples, and of the rise, that one keeper accounts for
_MOST_VISITED = 2_000_000
_MOST_OWN = 200_000
_MOST_BELOW = 100_000
_MOST_COUNTED = 5_000


class GroupKeeper(NamedTuple):
    """Who keeps a group, and how many of it."""

    keeper: dict[str, Any]
    members: int
    keeper_id: int


class Keepers:
    """Finds keepers by the names as of one moment. `let_go()` drops what it found."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._ways: dict[int, list[Any]] = {}
        self._sampled: list[Any] = []

    def let_go(self) -> None:
        """Drop all references."""
        self._ways.clear()
        self._sampled.clear()

    def search(self, samples: Sequence[Any], everywhere: bool) -> None:
        """Search for the shortest ways to these: from the training's own names, then, `everywhere`, from all others."""
        self._sampled += samples
        self._find(samples, everywhere=False)
        missing = [sample for sample in samples if id(sample) not in self._ways]
        if everywhere and missing:
            self._find(missing, everywhere=True)

    def _find(self, targets: Sequence[Any], *, everywhere: bool) -> None:
        begin, closed = self._sources.names_of(everywhere), self._sources.closed(everywhere)
        ways = _native.core.ways(begin, list(targets), closed, _MOST_VISITED if everywhere else _MOST_OWN)
        for target, way in zip(targets, ways, strict=True):
            if way is not None:
                self._ways[id(target)] = way

    def of_many(self, members: Sequence[Any], samples: Sequence[Any], risen: int) -> GroupKeeper | None:
        """Return who keeps most of these, of which there are `risen` more than there were; None if nobody does.

        `samples` are some of them that were searched for."""
        ways = [self._ways[id(sample)] for sample in samples if id(sample) in self._ways]
        keeper_way = _deepest_common(ways, len(samples))
        if keeper_way is None:
            return None
        counted = list(members[-_MOST_COUNTED:])
        kept = self._below(keeper_way, counted)
        share = kept / len(counted)
        counted.clear()
        fields = None if share * len(members) < risen * _SHARE else self._described(keeper_way)
        if fields is None:
            return None
        example = next(way for way in ways if any(node is keeper_way[-1] for node in way))
        by = names.through(example[len(keeper_way) :])
        if by is not None:
            fields["through"] = by
        return GroupKeeper(fields, round(share * len(members)), id(keeper_way[-1]))

    def knows(self, target: Any) -> bool:
        """Return whether a way to an object was found that was searched for."""
        return id(target) in self._ways

    def of_one(self, target: Any, *, remade: bool = False) -> dict[str, Any] | None:
        """Return by which name an object is known that was searched for; None if by none.

        `remade`: it is another one each time, made of the one before."""
        way = self._ways.get(id(target))
        return None if way is None or len(way) < 2 else self._described(way, remade=remade)

    def _below(self, way: list[Any], targets: list[Any]) -> int:
        """Return how many of the targets are kept by the last object of the way."""
        closed = [*self._sources.closed(everywhere=False), *self._sources.names_of(everywhere=False), *way[:-1]]
        ways = _native.core.ways([way[-1]], targets, closed, _MOST_BELOW)
        count = sum(1 for each in ways if each is not None)
        ways.clear()
        return count

    def _described(self, way: list[Any], *, remade: bool = False) -> dict[str, Any] | None:
        source = self._sources.of(way[0])
        if source is None or len(way) < 2:
            return None
        keeper = way[-1]
        text, last_name = names.expression(way)
        if type(keeper) is dict and len(way) >= 3 and _is_inside(keeper, way[-2]):
            keeper = way[-2]
        fields: dict[str, Any] = {"container": base.container_name(keeper), "expression": text}
        sizes = {"length": base.length_of(keeper), "bound": base.bound_of(keeper)}
        fields |= {name: size for name, size in sizes.items() if size is not None}
        if source.frame is not None:
            fields["scope"], fields["function"] = "local", source.frame.f_code.co_name[:60]
            fields["file"] = names.short_file(source.file)
        else:
            fields["scope"] = "global"
            fields["module"] = source.module[:60]
            fields["file"] = names.short_file(source.file)
        fields["own"] = source.is_own
        line = _line_of(keeper) or (
            None if last_name is None else line_that_adds(last_name, self._sources, remade=remade)
        )
        if line is not None:
            fields["line"], fields["line_file"], fields["line_function"] = line.line, line.file, line.function[:60]
        return fields


def _is_inside(attributes: Any, owner: Any) -> bool:
    """Return whether a dict is a nameless part of its owner: an instance's attributes, an lru_cache's results."""
    return type(owner) is base.LruCache or base.attributes_of(owner) is attributes


def _deepest_common(ways: Sequence[list[Any]], samples: int) -> list[Any] | None:
    """Return the way to the last object that many ways go through, other than those that are searched for."""
    counts: dict[int, int] = {}
    for way in ways:
        for node in way[:-1]:
            counts[id(node)] = counts.get(id(node), 0) + 1
    best: list[Any] | None = None
    for way in ways:
        for depth in range(len(way) - 2, 0, -1):
            if counts[id(way[depth])] >= max(2 if samples > 1 else 1, _SHARE * samples):
                if best is None or depth + 1 > len(best):
                    best = way[: depth + 1]
                break
    return best


def _line_of(keeper: Any) -> CodeLine | None:
    """Return where a function is whose results are kept."""
    if type(keeper) is not base.LruCache:
        return None
    function = dict.get(base.attributes_of(keeper) or {}, "__wrapped__")
    if type(function) is not types.FunctionType:
        return None
    code = function.__code__
    return CodeLine(names.short_file(code.co_filename), code.co_firstlineno, code.co_name)
