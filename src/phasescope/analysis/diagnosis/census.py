"""What the censuses of a session tell: which objects became more with the steps, and who keeps them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from phasescope.analysis.event_fields import size_or_none

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .growth import Growth

TENSORS, ITEMS, GRAPH, LARGER, VERSIONS = "tensors", "items", "graph", "larger", "versions"
TRACEBACK = "traceback"
VIEW = "view"
SAVED = "graph"
_KINDS = (TENSORS, ITEMS, GRAPH, LARGER, VERSIONS)
_MOST = 16
_LONGEST = 120
_WORTH_NAMING = 0.05  # of the growth
_EXPLAINS = 0.2  # of the growth: with less, something else grows
_MOST_OF_IT = 0.5
_MOST_KEEPERS = 64
_COVERS = 0.5  # of the steps: an earlier census knows nothing of what grew since
_EVERY_OTHER_STEP, _EVERY_THIRD_STEP = 0.5, 0.34
_MOST_NAMED = 3
_MUCH_BYTES = 16 << 20
_LARGEST_VERSION = 64 << 20
"""With more bytes than these for each version of a function it is something else that grows."""

_FEWEST_CENSUSES = 4
_COUNTED_WHOLE = (
    "float",
    "int",
    "str",
    "bytes",
    "bool",
    "complex",
    "NoneType",
    "tuple",
    "list",
    "dict",
    "set",
    "ndarray",
)
_HOST_DEVICES = ("cpu", "cpu:0", "host", "")


@dataclass(frozen=True)
class Keeper:
    """Who keeps objects: a `container` (its type), known as `expression`, of a function's variables (`scope` is
    `local`, of `function`) or a module's. `line` of `file` puts them there, None if that is not known. It has `length`
    items, `bound` at most. `through` is by what its items keep them: tracebacks, closures."""

    container: str
    expression: str
    scope: str
    function: str
    file: str
    line: int | None
    length: int | None
    bound: int | None
    through: str
    through_function: str
    through_variable: str


@dataclass(frozen=True)
class GrownObjects:
    """Objects that became more with the steps. `kind` is `tensors`, `items` of a container, or `graph`: one tensor's,
    of which `count` are the operations; `larger`: one object, whose `bytes` became more, `per_step` of them; or
    `versions` of a function that was compiled or traced again. `kept` of them are the keeper's. `bytes` are those of
    all of them, and `graph_saved_bytes` what the graph of each keeps for the backward pass besides."""

    kind: str
    library: str
    device: str
    dtype: str
    shape: tuple[int, ...] | None
    graph: bool
    of: str
    count: int
    kept: int
    bytes: int
    graph_saved_bytes: int
    since_step: int
    per_step: float
    censuses: int
    keeper: Keeper | None
    before: int = 0

    @property
    def bytes_per_step(self) -> float:
        """About how many bytes they became more by, from step to step."""
        if self.kind == LARGER:
            return self.per_step
        each = self.bytes / max(1, self.count)
        return self.per_step * (each + self.graph_saved_bytes)

    def risen(self) -> GrownObjects:
        """Return those alone that there were not at the first of these censuses: `kept` and `bytes` are theirs."""
        if self.kind not in (TENSORS, ITEMS, VERSIONS):
            return self
        count = max(0, self.count - self.before)
        return replace(self, count=count, kept=min(self.kept, count), bytes=self.bytes * count // max(1, self.count))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        fields = asdict(self)
        fields["shape"] = None if self.shape is None else list(self.shape)
        return fields


@dataclass(frozen=True)
class NewestCensus:
    """The newest census: the number of it, the step at the end of which it was taken, and what grew until then."""

    number: int
    step: int
    grown: tuple[GrownObjects, ...]


class CensusFold:
    """Takes events, and keeps the newest census.

    If there was no time in it to look for keepers, those that were found before are taken.
    """

    def __init__(self) -> None:
        self._newest: NewestCensus | None = None
        self._keepers: dict[tuple[object, ...], Keeper] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        if event.get("event_type") != "census":
            return
        metadata = event.get("metadata")
        fields = metadata.get("census") if isinstance(metadata, dict) else None
        if isinstance(fields, dict):
            number, step = size_or_none(fields.get("number")) or 0, size_or_none(fields.get("step")) or 0
            self._newest = NewestCensus(number, step, tuple(map(self._with_keeper, _grown(fields.get("grown")))))

    def _with_keeper(self, grown: GrownObjects) -> GrownObjects:
        kind: tuple[object, ...] = (grown.kind, grown.library, grown.device, grown.dtype, grown.graph, grown.of)
        kind += (grown.since_step, grown.before) if grown.kind == LARGER else (grown.shape,)
        if grown.keeper is None:
            return replace(grown, keeper=self._keepers.get(kind))
        if kind in self._keepers or len(self._keepers) < _MOST_KEEPERS:
            self._keepers[kind] = grown.keeper
        return grown

    def result(self) -> NewestCensus | None:
        """Return the newest census; None if none was taken."""
        return self._newest


def behind(growth: Growth, census: NewestCensus | None) -> tuple[GrownObjects, ...]:
    """Return what accounts for a growth, of which it is known who keeps it, the largest first."""
    if census is None or not growth.grows or growth.children is not None:
        return ()
    least = max(1.0, _WORTH_NAMING * growth.bytes_per_usual_step if growth.per is not None else 0.0)
    there = [each for each in census.grown if is_on(each, growth.device) and each.bytes_per_step >= least]
    return _named(there)


def without_keeper(growth: Growth, census: NewestCensus | None) -> tuple[GrownObjects, ...]:
    """Return what accounts for a growth, of which it was not found who keeps it, the largest first.

    If what is known to be kept accounts for most of it, nothing: the others may be what that keeps.
    """
    if census is None or not growth.grows or growth.per is None or growth.children is not None:
        return ()
    if is_explained(growth, census):
        return ()
    least = max(1.0, _EXPLAINS * growth.bytes_per_usual_step)
    there = [each for each in census.grown if each.keeper is None and is_on(each, growth.device)]
    large = sorted((each for each in there if each.bytes_per_step >= least), key=lambda each: -each.bytes_per_step)
    return tuple(large[:_MOST_NAMED])


def may_be_garbage(growth: Growth, census: NewestCensus | None) -> bool:
    """Return whether what has no keeper may wait for the garbage collector: not if a graph becomes longer, which keeps
    tensors that no name leads to."""
    is_by_graph = census is not None and any(each.kind == GRAPH for each in census.grown)
    return bool(without_keeper(growth, census)) and not is_by_graph


def small_ones(growth: Growth, census: NewestCensus | None) -> tuple[GrownObjects, ...]:
    """Return the tensors kept from step to step, and graphs that become longer, that account for little of a growth of
    the host's by their own bytes.

    Between large blocks that are freed, a small one that stays can keep the C library from using them again. Of a
    graph most is not counted.
    """
    if census is None or not growth.grows or growth.device != "host" or growth.per is None:
        return ()
    said = {each.keeper for each in behind(growth, census)}
    often = [each for each in census.grown if each.kind in (TENSORS, GRAPH) and each.per_step >= _EVERY_OTHER_STEP]
    often = [each for each in often if each.kind == GRAPH or each.bytes]  # a handle alone leaves nothing in pieces
    return _named([each for each in often if is_on(each, "host") and each.keeper not in said])


def compiled_again(growth: Growth, census: NewestCensus | None) -> tuple[GrownObjects, ...]:
    """Return the functions that are compiled or traced again and again while the host's memory grows, the one most
    often first. How much each version takes is not known: what is compiled lies outside of Python."""
    if census is None or not growth.grows or growth.device != "host" or growth.per is None or growth.rare:
        return ()
    least = growth.bytes_per_step / _LARGEST_VERSION
    often = [each for each in census.grown if each.kind == VERSIONS and each.per_step >= least]
    often.sort(key=lambda each: (each.keeper is None or each.keeper.line is None, -each.per_step))
    return tuple(often[:_MOST_NAMED])


def main_keeper(growth: Growth, census: NewestCensus | None) -> tuple[Keeper, bool] | None:
    """Return who keeps most of what accounts for a growth, and whether all that is kept is most of the growth; None if
    nobody is known."""
    keepers = [each.keeper for each in behind(growth, census) if each.keeper is not None]
    return (keepers[0], is_explained(growth, census)) if keepers else None


def is_explained(growth: Growth, census: NewestCensus | None) -> bool:
    """Return whether what is known to be kept accounts for most of a growth."""
    rate = sum(grown.bytes_per_step for grown in behind(growth, census))
    return growth.per is not None and rate >= _MOST_OF_IT * growth.bytes_per_usual_step


def is_kept_without_bound(growth: Growth, census: NewestCensus | None) -> bool:
    """Return whether most of a growth is kept by what is not merely filling: it has no bound."""
    unbounded = (each for each in behind(growth, census) if each.keeper is not None and each.keeper.bound is None)
    rate = sum(each.bytes_per_step for each in unbounded)
    return growth.per is not None and rate >= _MOST_OF_IT * growth.bytes_per_usual_step


def not_counted_whole(growth: Growth, census: NewestCensus | None) -> tuple[GrownObjects, ...]:
    """Return items that became more from step to step, while a growth of the host's memory is explained by nothing
    else: objects of which a C library may hold more than Python counts, such as pictures and tables."""
    if census is None or not growth.grows or growth.device != "host" or growth.per is None or growth.rare:
        return ()
    if behind(growth, census) or without_keeper(growth, census):
        return ()
    often = [each for each in census.grown if each.kind == ITEMS and each.per_step >= _EVERY_OTHER_STEP]
    return _named([each for each in often if each.of and each.of not in _COUNTED_WHOLE])


def seen_anyway(census: NewestCensus | None) -> tuple[GrownObjects, ...]:
    """Return what grew by much, in several censuses, if growth cannot be judged by the memory."""
    if census is None:
        return ()
    much = (
        each
        for each in census.grown
        if each.censuses >= _FEWEST_CENSUSES and each.bytes_per_step * (census.step - each.since_step) >= _MUCH_BYTES
    )
    return _named([each for each in much if each.keeper is not None and each.keeper.bound is None])


def is_outside_python(growth: Growth, census: NewestCensus | None) -> bool:
    """Return whether next to nothing of a growth of the host's memory is of objects that the censuses count."""
    if census is None or census.number < _FEWEST_CENSUSES or not growth.grows or growth.device != "host":
        return False
    if growth.per is None or growth.rare or census.step < _COVERS * growth.steps:  # it is of other steps
        return False
    if small_ones(growth, census) or compiled_again(growth, census) or any(each.kind == GRAPH for each in census.grown):
        return False
    rates = sum(each.bytes_per_step for each in census.grown if is_on(each, "host"))
    return rates < _EXPLAINS * growth.bytes_per_step


def is_seldom(grown: GrownObjects) -> bool:
    """Return whether one comes with every third step at the most: with each epoch or evaluation, say."""
    return grown.kind in (TENSORS, ITEMS) and 0 < grown.per_step <= _EVERY_THIRD_STEP


def _named(grown: Sequence[GrownObjects]) -> tuple[GrownObjects, ...]:
    """Return those of which the keeper is known, each keeper once."""
    named: dict[tuple[str, str], GrownObjects] = {}
    for each in sorted(grown, key=lambda each: (-each.bytes_per_step, each.shape is None)):
        if each.keeper is not None:
            named.setdefault((each.keeper.expression, each.keeper.file), each)
    return tuple(named.values())[:_MOST_NAMED]


def is_on(grown: GrownObjects, device: str) -> bool:
    """Return whether objects take memory of this device."""
    if grown.kind == GRAPH:
        return True
    if grown.kind in (ITEMS, VERSIONS) or grown.device in _HOST_DEVICES:
        return device == "host"
    kind, _, number = grown.device.partition(":")
    kinds = (kind, grown.library, "rocm" if kind == "cuda" else kind)
    return device in {f"{each}:{number or 0}" for each in kinds}


def tensors_of(entries: object, most: int) -> Iterator[GrownObjects]:
    """Yield groups of tensors as a snapshot lists them: how many there are, not what they became more by."""
    listed = entries[:most] if isinstance(entries, (list, tuple)) else ()
    yield from _grown([{**entry, "kind": TENSORS} for entry in listed if isinstance(entry, dict)], most)


def _grown(entries: object, most: int = _MOST) -> Iterator[GrownObjects]:
    for entry in entries[:most] if isinstance(entries, (list, tuple)) else ():
        if not isinstance(entry, dict) or entry.get("kind") not in _KINDS:
            continue
        count = size_or_none(entry.get("count")) or 0
        keeper = _keeper(entry.get("keeper"))
        kept = size_or_none(entry["keeper"].get("kept")) if keeper is not None else None
        per_step = entry.get("per_step")
        yield GrownObjects(
            kind=entry["kind"],
            library=_text(entry.get("library")),
            device=_text(entry.get("device")),
            dtype=_text(entry.get("dtype")),
            shape=_shape(entry.get("shape")),
            graph=entry.get("graph") is True,
            of=_text(entry.get("of")),
            count=count,
            kept=min(count, count if kept is None else kept),
            bytes=size_or_none(entry.get("bytes")) or 0,
            graph_saved_bytes=size_or_none(entry.get("graph_saved_bytes")) or 0,
            since_step=size_or_none(entry.get("since_step")) or 0,
            per_step=float(per_step) if isinstance(per_step, (int, float)) and 0 <= per_step < 1e12 else 0.0,
            censuses=size_or_none(entry.get("censuses")) or 0,
            keeper=keeper,
            before=size_or_none(entry.get("before")) or 0,
        )


def _keeper(fields: object) -> Keeper | None:
    if not isinstance(fields, dict) or not _text(fields.get("expression")):
        return None
    through = fields.get("through")
    through = through if isinstance(through, dict) else {}
    line = size_or_none(fields.get("line"))
    return Keeper(
        container=_text(fields.get("container")),
        expression=_text(fields.get("expression")),
        scope=_text(fields.get("scope")),
        function=_text(fields.get("function")),
        file=_text(fields.get("file" if line is None else "line_file")),
        line=line,
        length=size_or_none(fields.get("length")),
        bound=size_or_none(fields.get("bound")),
        through=_text(through.get("kind")),
        through_function=_text(through.get("function")),
        through_variable=_text(through.get("variable")),
    )


def _text(value: object) -> str:
    return value[:_LONGEST] if isinstance(value, str) else ""


def _shape(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, (list, tuple)) or not all(type(length) is int for length in value):
        return None
    return tuple(value[:_MOST])
