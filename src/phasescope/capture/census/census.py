"""The census: taken at the ends of steps 8, 16, 32, 64, … by the thread that trains, and written as an event."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from phasescope import _native
from phasescope._log import logger
from phasescope.backends import host_heap
from phasescope.capture.census.budget import CensusBudget
from phasescope.capture.census.graphs import MOST_NODES, Graphs
from phasescope.capture.census.groups import Kinds, of_any_shape
from phasescope.capture.census.histories import MOST_LOOKS, Histories, in_proportion
from phasescope.capture.census.larger import SizeHistories, listed_types
from phasescope.capture.census.report import (
    Grown,
    census_event,
    of_container,
    of_graph,
    of_group,
    of_larger,
    of_versions,
)
from phasescope.capture.census.sources import Sources
from phasescope.capture.census.steps import StepFinder
from phasescope.capture.census.versions import Versions
from phasescope.capture.exception_info import is_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Hashable

    from phasescope.capture.census.graphs import Longest
    from phasescope.capture.census.groups import Group, Key
    from phasescope.capture.census.histories import Risen
    from phasescope.capture.census.larger import Held, Larger
    from phasescope.capture.collector import DeviceState
    from phasescope.capture.event_writer import EventWriter
    from phasescope.capture.scope import PhaseScope

FIRST_STEP = 8
_MOST_INVESTIGATED = 24
_PER_GROUP = 4
_MOST_OTHERS = 128  # tensors, any of which may be the one with a name
_MOST_PARAMETERS = 8
_DEAR = 10  # censuses, that it takes to search from all names there are
_SHORTEST = 8  # containers
_PER_EVENT = 1000  # bytes of the ring: an event takes less, so it is far from being overwritten
_QUIET_BOUNDARIES = 1000  # without an end of the step: another loop has begun


def can_count() -> bool:
    """Return whether this process can: the compiled core counts, under the interpreter's lock."""
    return bool(_native.has_phases)


class Census:
    """Watches the ends of phases in one session, and counts at some of them. It is bounded, and raises nothing."""

    def __init__(self, writer: EventWriter, *, one_part_in: int | None = None) -> None:
        """Watch a session. `one_part_in` is the part of the run's time that it may take, if not the usual one."""
        self._writer = writer
        self._pid = os.getpid()
        self._budget = CensusBudget() if one_part_in is None else CensusBudget(one_part_in)
        self._kinds = Kinds()
        self._steps: StepFinder | None = StepFinder()
        self._histories = Histories()
        self._sizes = SizeHistories()
        self._containers: dict[int, tuple[type, list[tuple[int, int]]]] = {}
        self._lengths: Any = None
        self._taken = 0
        self._step, self._due, self._last_step = 0, FIRST_STEP, 0
        self._busy = threading.Lock()
        self._seen = (0, 0)
        self._longest_grew = 0
        self._newest: tuple[DeviceState, dict[str, Any]] | None = None
        self._written_at = 0

    def begin(self) -> None:
        """Watch the ends of phases from now on."""
        self._writer.watch = self._ended

    def end(self) -> None:
        """Watch no more."""
        self._writer.watch = None
        self._lengths = None

    @property
    def taken(self) -> int:
        """The number of censuses so far."""
        return self._taken

    @property
    def knows_step(self) -> bool:
        """Whether it is known which phase is the step."""
        return self._steps is None

    def steps_so_far(self) -> int:
        """Return the number of steps that have ended, counted from when the step was known."""
        return max(0, self._due - max(0, self._writer.watch_left))

    def look_again(self) -> None:
        """Look for the step again if it has not come for long: another loop has begun. For the sampler's thread.

        Also write the newest census again before the ring has no room for it any more."""
        writer = self._writer
        if writer.watch is None or writer.watch_path is None:
            return
        newest = self._newest
        if newest is not None and writer.ring.sequence - self._written_at > writer.ring.layout.capacity // _PER_EVENT:
            self._written_at = writer.ring.sequence
            writer.note("census", newest[0], None, None, None, {"census": newest[1]})
        left, sequence = writer.watch_left, writer._sequence
        if left != self._seen[0]:
            self._seen = (left, sequence)
        elif sequence - self._seen[1] > _QUIET_BOUNDARIES and self._busy.acquire(blocking=False):
            try:
                self._restart()
            finally:
                self._busy.release()

    def _restart(self) -> None:
        self._steps = StepFinder()
        self._histories.clear()
        self._sizes.clear()
        self._containers.clear()
        self._lengths = None
        self._step, self._due, self._last_step = 0, FIRST_STEP, 0
        self._seen = (0, self._writer._sequence)
        self._writer.watch_path = None

    def _ended(self, scope: PhaseScope) -> None:
        """Take the end of a phase: learn which is the step, or count. In the thread that trains."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            if self._steps is not None:
                self._learn(scope)
            elif scope.phase_path is self._writer.watch_path:
                self._step = self._due
                if self._pid == os.getpid() and self._budget.allows():
                    self._take(scope)
                    self._wait_until(2 * self._step)
                else:
                    self._wait_until(self._step + max(1, self._step // 8))
        except Exception as error:
            if is_from_signal_handler(error):
                raise
            self._writer.dropped += 1
            logger.debug("a census failed: %s", type(error).__name__, exc_info=True)
            self._wait_until(2 * max(1, self._step))
        finally:
            self._busy.release()

    def _learn(self, scope: PhaseScope) -> None:
        assert self._steps is not None
        step = self._steps.take(scope.phase_path)
        if step is not None:
            self._steps = None
            self._seen = (0, self._writer._sequence)
            self._wait_until(FIRST_STEP)
            self._writer.watch_path = step

    def _wait_until(self, step: int) -> None:
        self._due = step
        self._writer.watch_left = step - self._step

    def _take(self, scope: PhaseScope) -> None:
        """Count, look into what grew, and write the event. All references are dropped, whatever happens."""
        self._budget.begin()
        self._kinds.update()
        least_more = max(4, (self._step - self._last_step) // 4)
        total, types, objects, longer, lengths = _native.core.census(
            self._kinds.all, deque, self._lengths, _SHORTEST, least_more
        )
        self._budget.counted()
        groups: dict[Key, Group] = {}
        shapes: dict[Key, Group] = {}
        grown: list[Grown] = []
        plain: list[Any] = []
        held: list[Held] = []
        larger: list[Larger] = []
        sources = Sources(sys._getframe())
        try:
            plain, held = sources.reachable(_SHORTEST, listed_types())
            self._lengths = lengths
            groups = self._kinds.group(objects)
            shapes = of_any_shape(groups)
            larger = self._sizes.larger(held, self._step, sources, self._kinds)
            versions = Versions()
            versions.read(objects)
            longer = [each for each in longer if id(each[0]) not in versions.containers]
            again, tensors = self._grown(groups, shapes, versions)
            grown = [*again, *tensors, *map(of_larger, larger), *self._longer(longer, plain)]
            self._look_into(grown, sources)
            self._taken += 1
            event = census_event(self._taken, self._step, total, types, groups, grown)
            heap = host_heap.heap()
            if heap:
                event["heap"] = heap
            event["spent_ns"] = self._budget.spent_ns + self._budget.running_ns()
            self._newest = scope.device_state, event
            self._written_at = self._writer.ring.sequence
            self._writer.note("census", scope.device_state, None, scope, None, {"census": event})
        finally:
            for group in (*groups.values(), *shapes.values()):
                group.forget()
            for each in grown:
                each.forget()
            objects.clear()
            longer.clear()
            plain.clear()
            held.clear()
            larger.clear()
            sources.let_go()
            self._last_step = self._step
            self._budget.end()

    def _grown(
        self, groups: dict[Key, Group], shapes: dict[Key, Group], versions: Versions
    ) -> tuple[list[Grown], list[Grown]]:
        """Return the functions compiled again, and the tensors that became more with the steps, what has most bytes
        first, and before them a graph."""
        graphs = Graphs()
        longest = _longest(graphs, groups)
        counts: dict[Hashable, int] = {key: group.count for key, group in {**groups, **shapes}.items()}
        if longest is not None:
            counts["graph"] = longest.nodes
            if longest.nodes >= MOST_NODES and self._longest_grew:
                counts["graph"] = self._longest_grew * self._step // max(1, self._last_step)  # longer than was looked
        self._histories.add(self._step, counts | versions.counts)
        grown: list[Grown] = []
        for key, group in groups.items():
            risen = self._histories.risen(key)
            if risen is not None:
                grown.append(of_group(key, group, risen, graphs))
        explained = {each.key._replace(shape=None): each.rise for each in grown if each.key is not None}
        for key, group in shapes.items():
            risen = self._histories.risen(key)
            if risen is not None and explained.get(key, 0) < (group.count - risen.before) / 2:
                grown.append(of_group(key, group, risen, graphs))
        grown.sort(key=lambda each: (each.key is None or not each.key.graph, -each.bytes_risen))
        risen = self._histories.risen("graph")
        self._longest_grew = counts["graph"] if risen is not None else 0
        if longest is not None and risen is not None:
            grown.insert(0, of_graph(longest, risen, graphs, _carrying(groups)))
        compiled = ((each, count, self._histories.risen(each)) for each, count in versions.counts.items())
        again = [of_versions(each, count, risen) for each, count, risen in compiled if risen is not None]
        return sorted(again, key=lambda each: -each.rise), grown

    def _longer(self, longer: list[Any], plain: list[Any]) -> list[Grown]:
        """Return the containers that became longer with the steps, those with most items first."""
        tracked: dict[int, tuple[type, list[tuple[int, int]]]] = {}
        grown: list[Grown] = []
        lengths = [*longer, *((container, None, length) for container, length in plain)]
        for container, before, length in lengths:
            kind = type(container)
            noted = self._containers.get(id(container))
            looks = noted[1] if noted is not None and noted[0] is kind and before in (None, noted[1][-1][1]) else []
            if not looks and before is not None:
                looks = [(self._last_step, before)]
            looks = [*looks, (self._step, length)][-MOST_LOOKS:]
            tracked[id(container)] = (kind, looks)
            risen: Risen | None = in_proportion(looks)
            if risen is not None:
                grown.append(of_container(container, length, risen))
        lengths.clear()
        self._containers = tracked
        return sorted(grown, key=lambda each: -each.rise)

    def _look_into(self, grown: list[Grown], sources: Sources) -> None:
        """Find out who keeps what grew, as far as the time allows."""
        looked = [each for each in grown if not each.is_kept][:_MOST_INVESTIGATED]
        if not looked:
            return
        from phasescope.capture.census import shared_memory
        from phasescope.capture.census.keepers import Keepers

        keepers = Keepers(sources)
        samples: list[Any] = []
        try:
            for each in looked:
                samples += each.samples()
            keepers.search(samples, self._budget.left_ns() > _DEAR * self._budget.running_ns())
            for each in looked:
                if self._budget.left_ns() <= 0:
                    break
                each.find_keeper(keepers)
            shared_memory.find_keepers(looked, Graphs(), self._budget)
        finally:
            samples.clear()
            keepers.let_go()


def _carrying(groups: dict[Key, Group]) -> list[Any]:
    """Return tensors that carry a graph, those of the smallest groups first."""
    alike = sorted((group for key, group in groups.items() if key.library == "torch" and key.graph), key=_count)
    return [member for group in alike for member in group.members][:_MOST_OTHERS]


def _count(group: Group) -> int:
    return group.count


def _longest(graphs: Graphs, groups: dict[Key, Group]) -> Longest | None:
    """Return the longest graph of some tensors of each group, those of the smallest groups first."""
    carrying: list[Any] = []
    parameters: list[Any] = []
    for key, group in sorted(groups.items(), key=lambda each: each[1].count):
        members = group.members
        if key.library == "torch":
            some = members[:: max(1, len(members) // _PER_GROUP)][:_PER_GROUP]
            if key.graph:
                carrying += some
            elif key.trains:
                parameters += some[:1]
    try:
        return graphs.longest(carrying, parameters[:_MOST_PARAMETERS])
    finally:
        carrying.clear()
        parameters.clear()
