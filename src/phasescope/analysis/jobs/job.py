"""Several ranks as one job: how they differ, which uses the most, and which one is behind."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from phasescope.analysis.event_fields import int_or_none
from phasescope.analysis.steps import step_of_all

from .clock_skew import Clocks, compare
from .grouping import NO_JOB, rank_of
from .member import Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from phasescope.analysis.diagnosis.ending import Ending
    from phasescope.analysis.summary.phase_tree import Row

__all__ = ["Job", "Member", "PhaseByRank", "PhaseCell", "RankRow", "job"]

_BEHIND_STEPS = 2
_MAX_PHASES = 512


@dataclass(frozen=True)
class RankDevice:
    """A device as one rank sees it, in bytes; `peak_allocated_bytes` is the most that was seen."""

    label: str
    allocated_bytes: int | None
    reserved_bytes: int | None
    peak_allocated_bytes: int | None


@dataclass(frozen=True)
class RankRow:
    """One rank. `steps` are the ended entries of the job's `step_path`, `sequence` the number of its last phase
    boundary, `phase` the innermost one open. `steps_behind` is against the rank that is furthest."""

    rank: int | None
    host: str | None
    pid: int | None
    session_id: str | None
    ending: Ending
    devices: tuple[RankDevice, ...]
    peak_allocated_bytes: int | None
    phase: tuple[str, ...] | None
    sequence: int | None
    steps: int | None
    steps_behind: int | None


@dataclass(frozen=True)
class PhaseCell:
    """A phase in one rank."""

    count: int
    mean_ns: int | None
    p95_ns: int | None
    peak_allocated_bytes: int | None
    allocated_delta_bytes: int | None


@dataclass(frozen=True)
class PhaseByRank:
    """A phase in all `ranks`, `cells` in their order (None: it has not run there).

    `slowest` and `fattest` are positions in that order. `slowdown` is the slowest's mean duration over the median of
    all ranks' means.
    """

    path: tuple[str, ...]
    ranks: tuple[int | None, ...]
    cells: tuple[PhaseCell | None, ...]
    slowest: int | None
    slowdown: float | None
    fattest: int | None


@dataclass(frozen=True)
class Job:
    """The ranks of one job, by rank. `fattest` and `behind` are positions in `ranks`; None: none stands out, or it is
    not known. `missing` ranks have no session here."""

    job_id: str | None
    world_size: int | None
    hosts: tuple[str, ...]
    ranks: tuple[RankRow, ...]
    missing: tuple[int, ...]
    phases: tuple[PhaseByRank, ...]
    step_path: tuple[str, ...] | None
    fattest: int | None
    behind: int | None
    clocks: Clocks

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON types."""
        return {
            **{key: getattr(self, key) for key in ("job_id", "world_size", "fattest", "behind")},
            "hosts": list(self.hosts),
            "missing": list(self.missing),
            "step_path": None if self.step_path is None else list(self.step_path),
            "clocks": {
                "aligned": self.clocks.aligned,
                "text": self.clocks.text,
                "shift_ns": dict(self.clocks.shift_ns),
            },
            "ranks": [
                {
                    **{key: getattr(row, key) for key in RankRow.__dataclass_fields__},
                    "ending": row.ending.to_dict(),
                    "devices": [asdict(device) for device in row.devices],
                    "phase": None if row.phase is None else list(row.phase),
                }
                for row in self.ranks
            ],
            "phases": [
                {**asdict(phase), "path": list(phase.path), "cells": list(map(_cell, phase.cells))}
                for phase in self.phases
            ],
        }


def _cell(cell: PhaseCell | None) -> dict[str, Any] | None:
    return None if cell is None else asdict(cell)


def job(members: Sequence[Member]) -> Job:
    """Return the ranks side by side. Raises ValueError without any."""
    if not members:
        raise ValueError("members must name at least one session")
    members = sorted(members, key=lambda member: rank_of(member.constants))
    tables = [{row.path: row for row in member.summary.rows if row.path} for member in members]
    complete = not any(member.summary.missed for member in members)
    step_path = step_of_all([member.view.entries for member in members]) if complete else None
    steps = [None if step_path is None else member.view.entries[step_path].count for member in members]
    furthest = max((count for count in steps if count is not None), default=None)
    rows = tuple(
        _rank_row(member, count, None if count is None or furthest is None else furthest - count)
        for member, count in zip(members, steps, strict=True)
    )
    first = members[0].constants
    world_size = int_or_none(first.get("world_size"))
    job_id = first.get("job_id")
    present = {row.rank for row in rows}
    hosts: dict[str, Any] = {}
    for member in members:
        hosts.setdefault(str(member.constants.get("host")), member.view.boundaries)
    return Job(
        job_id=job_id if isinstance(job_id, str) and job_id not in NO_JOB else None,
        world_size=world_size,
        hosts=tuple(hosts),
        ranks=rows,
        # A damaged file may claim any world size: only as many are named as there could be sessions for.
        missing=tuple(rank for rank in range(min(world_size or 0, 65_536)) if rank not in present),
        phases=tuple(_phases(tables, tuple(row.rank for row in rows))),
        step_path=step_path,
        fattest=_largest([row.peak_allocated_bytes for row in rows]),
        behind=_behind(rows),
        clocks=compare(hosts),
    )


def _rank_row(member: Member, steps: int | None, steps_behind: int | None) -> RankRow:
    peaks = member.view.peaks
    devices = tuple(
        RankDevice(row.label, row.allocated_bytes, row.reserved_bytes, peaks.get(row.label))
        for row in member.summary.devices
    )
    accelerators = [device for device in devices if device.label != "host"] or list(devices)
    peaks_known = [device.peak_allocated_bytes for device in accelerators if device.peak_allocated_bytes is not None]
    host, session_id = member.constants.get("host"), member.constants.get("session_id")
    current = member.view.current()
    return RankRow(
        rank=int_or_none(member.constants.get("rank")),
        host=host if isinstance(host, str) else None,
        pid=int_or_none(member.constants.get("pid")),
        session_id=session_id if isinstance(session_id, str) else None,
        ending=member.ending,
        devices=devices,
        peak_allocated_bytes=sum(peaks_known) if peaks_known else None,
        phase=current[-1].path if current else None,
        sequence=member.view.sequence,
        steps=steps,
        steps_behind=steps_behind,
    )


def _phases(tables: Sequence[Mapping[tuple[str, ...], Row]], ranks: tuple[int | None, ...]) -> Iterable[PhaseByRank]:
    paths: dict[tuple[str, ...], None] = {}
    for table in tables:
        paths.update(dict.fromkeys(table))
    order = {path: index for index, path in enumerate(paths)}
    # In tree order, children after their parents, as they were first seen in any rank.
    for path in sorted(paths, key=lambda path: [order.get(path[: end + 1], 0) for end in range(len(path))])[
        :_MAX_PHASES
    ]:
        cells = tuple(_phase_cell(table.get(path)) for table in tables)
        means = [None if cell is None else cell.mean_ns for cell in cells]
        slowest = _largest(means)
        means_known = [mean for mean in means if mean is not None]
        middle = median(means_known) if means_known else 0
        slowdown = None if slowest is None or not middle else max(means_known) / middle
        fattest = _largest([None if cell is None else cell.peak_allocated_bytes for cell in cells])
        yield PhaseByRank(path, ranks, cells, slowest, slowdown, fattest)


def _phase_cell(row: Row | None) -> PhaseCell | None:
    if row is None:
        return None
    return PhaseCell(row.count, row.mean_ns, row.p95_ns, row.peak_allocated_bytes, row.allocated_delta_bytes)


def _largest(values: Sequence[int | None]) -> int | None:
    """Return the place of the largest; None if fewer than two are known, or all are the same."""
    figures = [value for value in values if value is not None]
    return values.index(max(figures)) if len(figures) > 1 and max(figures) > min(figures) else None


def _behind(rows: Sequence[RankRow]) -> int | None:
    """Return the one with the fewest steps. One step of difference may be no more than the moment of looking."""
    lags = [row.steps_behind or 0 for row in rows]
    most = max(lags)
    return lags.index(most) if most >= _BEHIND_STEPS else None
