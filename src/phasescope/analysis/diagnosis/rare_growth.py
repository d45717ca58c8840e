"""Growth that happens at the entries of a phase rarer than the steps, told by these entries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .kept_memory import accounting_for, enclosing, is_outside
from .occasions import RARE, Occasion, entries_of, few_occasions, occasions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .growth import Growth
    from .kept_memory import Moments
    from .phase_ends import Noted, Path, Phases

_LEAST_FEW_BYTES = 8 << 20
_INSIDE = 0.7  # of the rise
_ONE_IN = 8  # of the rises, sorted: one in eight lies outside of the bounds on either side


def by_entries(growth: Growth, phases: Phases) -> Growth:
    """Return the same growth per entry of the phase at whose entries it happens, if that is not the step."""
    noted = phases.noted()
    rates = None if noted is None else noted.kept.rates()
    if not growth.grows or noted is None or rates is None:
        return growth
    moments = noted.kept.moments(recent=True)
    by_path = {noted.paths[each.phase]: each for each in occasions(moments, rates.level)}
    path = _chosen(by_path, noted.step, enclosing(growth.phases))
    if path is None:
        return _by_keeper(growth, phases, noted, moments)
    rises, entries = sorted(by_path[path].rises), by_path[path].entries
    rise = sum(rises) / entries
    times = _steps_per_entry(moments, entries, noted)
    retained = tuple((phase, own / entries) for phase, own in zip(noted.paths, moments.own, strict=False))
    return replace(
        growth,
        rare=True,
        per=path,
        steps=phases.ends[path].count,
        recent_steps=entries,
        bytes_per_step=rise,
        low_bytes_per_step=min(rise, rises[len(rises) // _ONE_IN]),
        high_bytes_per_step=max(rise, rises[-1 - len(rises) // _ONE_IN]),
        phases=accounting_for(rise, retained, phases.rare()),
        retained_bytes=retained,
        outside=is_outside(rise, retained),
        steps_per_entry=times,
    )


def _by_keeper(growth: Growth, phases: Phases, noted: Noted, moments: Moments) -> Growth:
    """Return the same per entry of the outermost rare phase in which all those lie that keep the memory.

    So it is known of a training so long that each moment stands for several epochs.
    """
    within, ends = enclosing(growth.phases), _ends_of(moments)
    for length in range(1, len(within) + 1):
        path = within[:length]
        if noted.step[:length] == path or path not in noted.paths:
            continue
        entries = entries_of(moments, noted.paths.index(path))
        if 0 < entries <= RARE * ends:
            times = _steps_per_entry(moments, entries, noted)
            return replace(
                growth,
                rare=True,
                per=path,
                steps=phases.ends[path].count,
                recent_steps=entries,
                bytes_per_step=growth.bytes_per_step * times,
                low_bytes_per_step=growth.low_bytes_per_step * times,
                high_bytes_per_step=growth.high_bytes_per_step * times,
                retained_bytes=tuple((phase, kept * times) for phase, kept in growth.retained_bytes),
                steps_per_entry=times,
            )
    return growth


def _ends_of(moments: Moments) -> int:
    """Return how often the phase ended at whose ends the moments were noted."""
    return (len(moments.levels) - 1) * moments.stride


def _steps_per_entry(moments: Moments, entries: int, noted: Noted) -> float:
    return _ends_of(moments) / entries / noted.per_step


def by_few_entries(growth: Growth, phases: Phases) -> Growth:
    """Return the same as unclear, if memory rose at each entry of a phase that ended too seldom to tell."""
    noted = phases.noted()
    if noted is None or growth.grows or growth.unclear:
        return growth
    moments = noted.kept.moments(recent=False)
    few = {noted.paths[each.phase]: each for each in few_occasions(moments)}
    few = {path: each for path, each in few.items() if sum(each.rises) >= _LEAST_FEW_BYTES}
    path = _chosen(few, noted.step, _where(few, moments, noted))
    if path is None:
        return growth
    return replace(
        growth,
        rare=True,
        unclear=True,
        per=path,
        steps=phases.ends[path].count,
        recent_steps=few[path].entries,
        bytes_per_step=few[path].rise,
        low_bytes_per_step=min(few[path].rises),
        high_bytes_per_step=max(few[path].rises),
        retained_bytes=(),
    )


def _chosen(by_path: Mapping[Path, Occasion], step: Path, kept_in: Path) -> Path | None:
    """Return the outermost phase that also keeps the memory; else one around the step, which is between the others.

    Else the outermost at all: at least it coincides.
    """
    around = [path for path in by_path if step[: len(path)] == path]
    beside = [path for path in by_path if path not in around]
    keeping = [path for path in beside if kept_in[: len(path)] == path]
    if keeping:
        return min(keeping, key=len)
    return max(around, key=len, default=None) or min(beside, key=len, default=None)


def _where(few: Mapping[Path, Occasion], moments: Moments, noted: Noted) -> Path:
    """Return the phase in which these rises are kept, by what all those inside it kept; empty if there is none."""
    for path, occasion in sorted(few.items(), key=lambda entry: len(entry[0])):
        if noted.step[: len(path)] == path:
            continue
        inside = sum(own for phase, own in zip(noted.paths, moments.own, strict=False) if phase[: len(path)] == path)
        if inside >= _INSIDE * sum(occasion.rises):
            return path
    return ()
