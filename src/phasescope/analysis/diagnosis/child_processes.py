"""The child processes of a session, DataLoader workers above all: the ones that grow, and the ones left behind.

They are followed by what each holds for itself alone. Those that were started together are a crew, and it is judged by
its sum, while all of them live: children that come and go (the workers of an epoch, a compiler) are not growth. If many
crews that have not ended pile up, a loader with persistent workers, made again in each epoch, leaves its workers
behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.event_fields import int_or_none, size_or_none

from .between_looks import BetweenLooks
from .few_looks import ENOUGH, CrewLooks, Unjudged
from .phase_ends import Timed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.analysis.statistics.trend import Trend

_MAX_CREWS = 64
_TOGETHER = 3  # samples within which they started
_LEFT_BEHIND = 4  # crews of data workers: three loaders, for training, validation and test, are nothing unusual
_NOT_NEW = 0.3  # of their growth
_GROWN_SHARE = 0.5  # a worker grows if it took this part of the crew's average


class Worker(NamedTuple):
    """One child in a sample: the memory that it has for itself, in bytes."""

    pid: int
    size: int
    is_data_worker: bool


class GrownChildren(NamedTuple):
    """The children's growth. `trend` is that of those that grow most, or of all if there are many crews, none of which
    ended; `timed` its series. `alive` and `crews` are how many there are and how often some were started. `copy_pages`:
    the growth is copies of pages that they shared, since their resident sets do not. `new_memory`: it is memory that
    they took themselves, since their resident sets rise with it."""

    trend: Trend
    timed: Timed
    alive: int
    crews: int
    are_data_workers: bool
    growing: tuple[int, ...]
    left_behind: bool
    copy_pages: bool = False
    new_memory: bool = False


class _Crew:
    """Children that were started together and are of one kind."""

    def __init__(self, workers: list[Worker]) -> None:
        self.are_data_workers = workers[0].is_data_worker
        self.first = {worker.pid: worker.size for worker in workers}
        self.latest = {worker.pid: worker for worker in workers}
        self.timed = Timed()
        self.looks = CrewLooks()
        self._between = BetweenLooks()
        self._resident: list[int] = []  # of all children, at the first sample and the last
        self._is_alone = True  # there are no other children

    @property
    def samples(self) -> int:
        return self.timed.series.steps

    def add(self, time_ns: int | None, resident: int | None, children: int) -> None:
        """Add the next sample, of that number of `children`, after `latest` was set."""
        self._is_alone = self._is_alone and children == len(self.latest)
        if resident:
            self._resident = [*self._resident[:1], resident]
            self._between.take(resident)
        sizes = {pid: worker.size for pid, worker in self.latest.items()}
        self.timed.add(sum(sizes.values()), time_ns)
        self.looks.take(sizes)

    def trend(self) -> Trend | None:
        """Return the trend of its samples, as growth only if the looks are enough for a verdict."""
        return _judged(self.timed.series.trend(), are_enough=self._are_enough())

    def _are_enough(self) -> bool:
        is_explained = self._is_alone and self._between.explain(self.timed.series)
        return self.looks.are_enough(self.samples) and not is_explained

    @property
    def risen(self) -> int:
        return sum(worker.size - self.first[pid] for pid, worker in self.latest.items())

    @property
    def copy_pages(self) -> bool:
        """Whether it grows and the resident sets hardly do: then the memory of each was shared before."""
        return len(self._resident) == 2 and self._resident[1] - self._resident[0] <= _NOT_NEW * self.risen

    @property
    def new_memory(self) -> bool:
        """Whether it grows and the resident sets with it: then nothing was shared before."""
        risen = self._resident[-1] - self._resident[0] if self._resident else 0
        return self._is_alone and risen >= max(1, (1 - _NOT_NEW) * self.risen)

    @property
    def is_known(self) -> bool:
        """Whether it was looked at often enough to call it healthy."""
        if self.are_data_workers and self.looks.unjudged(self.risen, self.samples):
            return False
        trend = self.timed.series.trend()
        return trend is None or not trend.grows or self._are_enough()

    def growing(self) -> tuple[int, ...]:
        rises = {pid: worker.size - self.first[pid] for pid, worker in self.latest.items()}
        least = _GROWN_SHARE * sum(rises.values()) / len(rises)
        return tuple(pid for pid, rise in rises.items() if rise >= max(1, least))


class Crews:
    """Takes the samples of the host, in bounded memory."""

    def __init__(self) -> None:
        self._crews: list[_Crew] = []
        self._ended: list[_Crew] = []  # since some were started last
        self._left: GrownChildren | None = None  # the growth of those that ended, when the first of them did
        self._all = Timed()  # together, since the first of those that are there now
        self._resident = Timed()  # if only the sum of their resident sets is known
        self._count: int | None = None
        self._alive = 0

    def take(self, event: Mapping[str, Any]) -> None:
        """Take a sample of the host."""
        metadata, time_ns = event["metadata"], int_or_none(event.get("timestamp_ns"))
        count = size_or_none(metadata.get("children"))
        self._alive = count or self._alive
        resident = size_or_none(metadata.get("children_resident_bytes"))
        private = metadata.get("children_private_bytes", metadata.get("children_unshared_bytes"))
        if private is not None:
            self._take_each({worker.pid: worker for worker in _workers(private)}, time_ns, resident)
        elif count == 0:
            self._take_each({}, time_ns, resident)
        if resident:  # 0 says that there are none now, for example between two epochs
            if count != self._count:
                self._resident, self._count = Timed(), count
            self._resident.add(resident, time_ns)

    def _take_each(self, workers: dict[int, Worker], time_ns: int | None, resident: int | None) -> None:
        self._let_go(workers)
        followed = {pid for crew in self._crews for pid in crew.latest}
        for kind in (True, False):
            self._join([new for pid, new in workers.items() if pid not in followed and new.is_data_worker is kind])
        for crew in self._crews:
            crew.latest = {pid: workers[pid] for pid in crew.latest}
            crew.add(time_ns, resident, len(workers))
        if not self._crews:
            self._all = Timed()
        elif workers:
            self._all.add(sum(worker.size for worker in workers.values()), time_ns)

    def _let_go(self, workers: Mapping[int, Worker]) -> None:
        """Stop following those that have ended.

        Their growth is kept until others are started: at the end of a session they end first.
        """
        still = [(crew, _still(crew, workers)) for crew in self._crews]
        ended = [crew for crew, kept in still if kept is not crew]
        if ended:
            self._left = self._left or self._left_behind()
            self._ended = [*self._ended, *ended][-_MAX_CREWS:]
            self._crews = [kept for _, kept in still if kept is not None]

    def _join(self, new: list[Worker]) -> None:
        """Add the children that were not there before: they belong to those that were started just now, if any."""
        if not new:
            return
        self._ended, self._left = [], None
        for crew in self._crews[-2:]:
            if crew.samples <= _TOGETHER and crew.are_data_workers is new[0].is_data_worker:
                self._crews.remove(crew)
                new += crew.latest.values()
        if len(self._crews) < _MAX_CREWS:
            self._crews.append(_Crew(new))

    def unjudged(self) -> Unjudged | None:
        """Return those that took most of the children of which it is not known whether they grow."""
        unjudged = [crew for crew in (*self._crews, *self._ended) if not crew.is_known]
        most = max(unjudged, key=lambda crew: crew.risen, default=None)
        if most is None:
            return None
        return Unjudged(len(most.latest), most.looks.count, most.risen, most.copy_pages, most.are_data_workers)

    def grown(self) -> GrownChildren | None:
        """Return those that grow, else those with the clearest trend; None if there is none."""
        crews = [*self._crews, *self._ended]
        trends = [(trend, crew) for crew in crews if (trend := crew.trend()) is not None]
        growing = [(trend, crew) for trend, crew in trends if trend.grows]
        left = self._left_behind() or self._left
        if left is not None and not growing:
            return left
        if not trends:
            return None if crews else self._by_resident_sets()
        trend, crew = max(growing or trends, key=lambda entry: entry[0].slope)
        pids = crew.growing() if trend.grows else ()
        alive = max(self._alive, len(crew.latest))
        copy, new = trend.grows and crew.copy_pages, trend.grows and crew.new_memory
        return GrownChildren(trend, crew.timed, alive, len(crews), crew.are_data_workers, pids, False, copy, new)

    def _left_behind(self) -> GrownChildren | None:
        left, trend = [crew for crew in self._crews if crew.are_data_workers], self._all.series.trend()
        if len(left) < _LEFT_BEHIND or trend is None:
            return None
        rate = (self._all.series.last - sum(left[0].first.values())) / self._all.series.steps
        trend = trend._replace(
            slope=rate, low=min(rate, trend.low), high=max(rate, trend.high), grows=rate > 0, recent_steps=trend.steps
        )
        return GrownChildren(trend, self._all, sum(len(crew.latest) for crew in left), len(left), True, (), trend.grows)

    def _by_resident_sets(self) -> GrownChildren | None:
        trend = _judged(self._resident.series.trend(), are_enough=self._resident.series.steps >= ENOUGH)
        return None if trend is None else GrownChildren(trend, self._resident, self._alive, 1, False, (), False)


def _judged(trend: Trend | None, *, are_enough: bool) -> Trend | None:
    """Return the trend, as no growth where the looks are too few to tell it from a cache that fills."""
    return None if trend is None else trend._replace(grows=trend.grows and are_enough)


def _still(crew: _Crew, workers: Mapping[int, Worker]) -> _Crew | None:
    """Return the crew as it was while all of it lives; those that are left of it begin a new one.

    So do those that turn out to be of the other kind: a data worker is called so only once it has begun.
    """
    left = [
        workers[pid] for pid in crew.latest if pid in workers and workers[pid].is_data_worker is crew.are_data_workers
    ]
    if len(left) == len(crew.latest):
        return crew
    return _Crew(left) if left else None


def _workers(listed: object) -> list[Worker]:
    """Return the well-formed entries."""
    entries = listed if isinstance(listed, (list, tuple)) else ()
    workers = []
    for entry in entries:
        if isinstance(entry, (list, tuple)) and len(entry) >= 2:
            pid, size = size_or_none(entry[0]), size_or_none(entry[1])
            if pid is not None and size is not None:
                workers.append(Worker(pid, size, entry[2:] in ([True], (True,))))
    return workers
