"""The event of a census: small, and without an object of the training's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.capture.census import base
from phasescope.capture.census.contents import contents
from phasescope.capture.census.keepers import SAMPLES
from phasescope.capture.census.shared_memory import SAVED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from phasescope.capture.census.graphs import Graphs, Longest
    from phasescope.capture.census.groups import Group, Key
    from phasescope.capture.census.histories import Risen
    from phasescope.capture.census.keepers import Keepers
    from phasescope.capture.census.larger import Larger
    from phasescope.capture.census.versions import Compiled

_MOST_GROUPS = 8
_MOST_GROWN = 10
_MOST_UNKNOWN = 2  # of those whose keeper is not known
_SAMPLED_GRAPHS = 8
_NEARLY = 0.8  # as long


class Grown:
    """Something that became more with the steps. `forget()` drops the objects."""

    def __init__(self, kind: str, count: int, bytes_now: int | None, risen: Risen) -> None:
        self.kind, self.count, self.bytes, self.risen = kind, count, bytes_now, risen
        self.key: Key | None = None
        self.container_id = 0
        self.keeper_id = 0
        self._members: list[Any] = []
        self._others: list[Any] = []
        self._fields: dict[str, Any] = {}
        self._keeper: dict[str, Any] | None = None
        self._graphs: Graphs | None = None
        self._samples: list[Any] | None = None
        self._suffix = ""
        self._is_saved_by_graphs = False

    @property
    def rise(self) -> int:
        """By how many there are more."""
        return self.count - self.risen.before

    @property
    def bytes_risen(self) -> int:
        """By about how many bytes."""
        return 0 if not self.bytes or not self.count else self.bytes * self.rise // self.count

    @property
    def is_kept(self) -> bool:
        """Whether it is known who keeps it."""
        return self._keeper is not None

    @property
    def is_of_torch(self) -> bool:
        """Whether it stands for torch's tensors."""
        return self.key is not None and self.key.library == "torch"

    @property
    def members(self) -> Sequence[Any]:
        """Those that are still there."""
        return self._members

    @property
    def is_less_exact(self) -> bool:
        """Whether it stands for tensors of all shapes, or for items that tensors stand for as well."""
        return self.kind == "items" or (self.key is not None and self.key.shape is None)

    def is_told_better_by(self, other: Grown) -> bool:
        """Return whether another with the same keeper says more: it is more exact, or its graphs keep this one."""
        if self.is_less_exact:
            return not other.is_less_exact
        return self._is_saved_by_graphs and "graph_saved_bytes" in other._fields

    def forget(self) -> None:
        """Drop the references."""
        self._members.clear()
        self._others.clear()
        self._samples = None

    def samples(self) -> list[Any]:
        """Return some of them, from all over, whose keeper will do for all."""
        if self._samples is None:
            self._samples = [*members_spread(self._members), *self._others]
        return self._samples

    def find_keeper(self, keepers: Keepers) -> None:
        """Find out who keeps it, once the samples were searched for, and what else is kept with it."""
        if self.kind == "tensors":
            kept = keepers.of_many(self._members, self.samples(), self.rise)
            if kept is not None:
                self._keeper, self.keeper_id = {**kept.keeper, "kept": kept.members}, kept.keeper_id
                if self._graphs is not None:
                    self._note_saved(self._graphs, self._members)
            return
        if self.kind == "graph":
            self._choose_named(keepers)
        self._keeper = keepers.of_one(self._members[0], remade=self.kind in ("graph", "larger"))
        self.keeper_id = self.container_id
        if self._graphs is not None and self._keeper is not None:
            self._keeper["expression"] += self._suffix
            saved = self._graphs.saved_bytes(self._members)
            if saved is not None:
                self.bytes = saved

    def _choose_named(self, keepers: Keepers) -> None:
        """Take another tensor whose graph is nearly as long, if that has a name and this one has none, or is made of
        itself and this one is not: a loss comes of the state that is never detached."""
        if self._graphs is None or _has_line(keepers.of_one(self._members[0], remade=True)):
            return
        is_known = keepers.knows(self._members[0])
        for other in self._others:
            if not keepers.knows(other) or len(self._graphs.nodes(other)) < _NEARLY * self.count:
                continue
            if _has_line(keepers.of_one(other, remade=True)):
                self._members[0] = other
                return
            if not is_known:
                self._members[0], is_known = other, True

    def keep_through(self, other: Grown, by: str, members: int) -> None:
        """Note that the keeper of another group keeps that many of these, by its views or its graphs."""
        self._keeper = {**(other._keeper or {}), "kept": members, "through": {"kind": by}}
        self.keeper_id = other.keeper_id
        self._is_saved_by_graphs = by == SAVED

    def _note_saved(self, graphs: Graphs, members: list[Any]) -> None:
        """Note what the graph of one of them keeps besides."""
        stride = max(1, len(members) // _SAMPLED_GRAPHS)
        sampled = members[::stride][:_SAMPLED_GRAPHS]
        saved = graphs.saved_bytes(sampled)
        if saved is not None:
            self._fields["graph_saved_bytes"] = saved // len(sampled)

    def with_graphs(self, graphs: Graphs) -> Grown:
        """Have the graphs looked into as well."""
        self._graphs = graphs
        return self

    def holds(self, *members: Any, **fields: Any) -> Grown:
        """Set what it is about."""
        self._members += members
        self._fields.update(fields)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        fields: dict[str, Any] = {"kind": self.kind, **self._fields, "count": self.count}
        if self.bytes is not None:
            fields["bytes"] = self.bytes
        fields |= {
            "before": self.risen.before,
            "since_step": self.risen.since_step,
            "per_step": round(self.risen.per_step, 4),
            "censuses": self.risen.censuses,
        }
        if self._keeper is not None:
            fields["keeper"] = self._keeper
        return fields


def _has_line(keeper: dict[str, Any] | None) -> bool:
    return keeper is not None and "line" in keeper


def members_spread(members: list[Any]) -> list[Any]:
    """Return some members of a group, from all over."""
    count = len(members)
    places = {count * (2 * place + 1) // (2 * SAMPLES) for place in range(SAMPLES)}
    return [members[place] for place in sorted(places)]


def of_group(key: Key, group: Group, risen: Risen, graphs: Graphs) -> Grown:
    """Return a group of tensors or arrays as something that grew."""
    grown = Grown("tensors", group.count, group.bytes, risen).holds(*group.members, **fields_of(key))
    grown.key = key
    return grown.with_graphs(graphs) if key.graph else grown


def of_graph(longest: Longest, risen: Risen, graphs: Graphs, others: list[Any]) -> Grown:
    """Return a tensor's graph that became longer. Of the others one may be the same a step ago: what a model returns
    just now has no name yet."""
    grown = Grown("graph", longest.nodes, None, risen).holds(longest.owner).with_graphs(graphs)
    grown._suffix = ".grad" if longest.is_gradient else ""
    grown._others += [] if longest.is_gradient else others
    return grown


def of_container(container: Any, length: int, risen: Risen) -> Grown:
    """Return a container that became longer."""
    fields = contents(container, length)
    size = fields.pop("bytes")
    grown = Grown("items", length, size, risen).holds(container, container=base.container_name(container), **fields)
    grown.container_id = id(container)
    return grown


def of_larger(larger: Larger) -> Grown:
    """Return an object that became larger: what rises are its bytes."""
    grown = Grown("larger", 1, larger.bytes, larger.risen).holds(larger.target, of=base.type_name(type(larger.target)))
    grown.container_id = id(larger.target)
    if larger.key is not None:
        return grown.holds(**fields_of(larger.key))
    if grown._fields["of"] == "ndarray":
        grown.holds(library="numpy", dtype=str(larger.target.dtype)[:40], shape=list(larger.target.shape))
    return grown


def of_versions(compiled: Compiled, count: int, risen: Risen) -> Grown:
    """Return a function that was compiled or traced again and again; it keeps what came of that."""
    grown = Grown("versions", count, None, risen).holds(library=compiled.library)
    grown._keeper = compiled.as_keeper(count)
    grown.keeper_id = -1 - abs(hash(compiled))  # no object's
    return grown


def fields_of(key: Key) -> dict[str, Any]:
    """Return what the tensors of a group have in common as JSON types."""
    fields: dict[str, Any] = {"library": key.library, "device": key.device, "dtype": key.dtype}
    fields["shape"] = None if key.shape is None else list(key.shape)
    if key.graph:
        fields["graph"] = True
    return fields


def census_event(
    number: int, step: int, total: int, types: list[tuple[type, int]], groups: Mapping[Key, Group], grown: list[Grown]
) -> dict[str, Any]:
    """Return the census as JSON types: the largest groups, the commonest types, and what grew."""
    largest = sorted(groups.items(), key=lambda each: -each[1].bytes)[:_MOST_GROUPS]
    return {
        "number": number,
        "step": step,
        "objects": total,
        "tensors": sum(group.count for group in groups.values()),
        "tensor_bytes": sum(group.bytes for group in groups.values()),
        "largest": [{**fields_of(key), "count": group.count, "bytes": group.bytes} for key, group in largest],
        "types": [[base.type_name(kind), count] for kind, count in types],
        "grown": [each.to_dict() for each in _to_tell(grown)],
    }


def _to_tell(grown: list[Grown]) -> list[Grown]:
    """Return what is worth telling: each keeper once, by what weighs most of what it keeps, and a few without one."""
    by_keeper: dict[int, Grown] = {}
    unknown: list[Grown] = []
    for each in grown:
        if not each.is_kept:
            unknown.append(each)
        elif each.keeper_id not in by_keeper or by_keeper[each.keeper_id].is_told_better_by(each):
            by_keeper[each.keeper_id] = each
    return [*list(by_keeper.values())[:_MOST_GROWN], *unknown[:_MOST_UNKNOWN]]
