"""Whether the clocks of several hosts agree, by the phases that their ranks went through in the same order."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from phasescope.analysis.event_fields import int_or_none
from phasescope.analysis.formatting import duration_text, plural, printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from phasescope.analysis.event_fields import Scope

_MOST = 1024
_FEWEST = 16
_SAME_SHARE = 0.8
_CLEARLY = 3
_LEAST_NS = 1_000_000


class Boundaries:
    """When a session passed some of its phase boundaries: those whose number is a multiple of a power of two, so that
    every rank of one program keeps the same ones."""

    def __init__(self) -> None:
        self.times: dict[int, tuple[int, str, tuple[str, ...]]] = {}
        self._stride = 1

    def take(self, event: Mapping[str, Any], scope: Scope | None) -> None:
        """Take the next event with its `scope_of`."""
        if scope is None or scope.action is None:
            return
        number = int_or_none(scope.fields.get("sequence"))
        if number is None or number % self._stride:
            return
        time_ns = int_or_none(event.get("timestamp_ns"))
        if time_ns is None:
            return
        self.times[number] = (time_ns, scope.action, scope.path)
        while len(self.times) > _MOST:
            self._stride *= 2
            self.times = {kept: boundary for kept, boundary in self.times.items() if not kept % self._stride}


class Clocks(NamedTuple):
    """How the hosts' clocks compare. A time of a host less its `shift_ns` is the time on the first host's clock;
    `aligned` says whether any is shifted, and `text` says it for a person."""

    shift_ns: Mapping[str, int]
    aligned: bool
    text: str


def compare(hosts: Mapping[str, Boundaries]) -> Clocks:
    """Compare the hosts' clocks with the first one's; each host by the boundaries of one of its ranks.

    The ranks' own differences, waiting for each other or not, cannot be separated from those of their clocks.
    So a clock is shifted only if the difference is clear: at least 16 common boundaries, at least 80 % of them
    the same phases, and a median of three times their spread.
    """
    first, *others = hosts
    shifts = dict.fromkeys(hosts, 0)
    remarks = []
    for host in others:
        shift_ns, remark = _shift(hosts[first].times, hosts[host].times)
        shifts[host] = shift_ns
        remarks.append(f"{printable(host)}: {remark}")
    if not others:
        return Clocks(shifts, False, "one clock")
    aligned = any(shifts.values())
    how = f"aligned to {printable(first)} by matching phases" if aligned else "shown as they are"
    return Clocks(shifts, aligned, f"clocks {how} ({'; '.join(remarks)})")


_Times = dict[int, tuple[int, str, tuple[str, ...]]]


def _shift(ours: _Times, theirs: _Times) -> tuple[int, str]:
    common = ours.keys() & theirs.keys()
    same = [number for number in common if ours[number][1:] == theirs[number][1:]]
    if len(same) < _FEWEST or len(same) < _SAME_SHARE * len(common):
        return 0, f"only {plural(len(same), 'phase boundary').replace('boundarys', 'boundaries')} in common"
    differences = [theirs[number][0] - ours[number][0] for number in same]
    middle = round(median(differences))
    spread = round(median(abs(difference - middle) for difference in differences))
    if abs(middle) < max(_CLEARLY * spread, _LEAST_NS):
        return 0, f"within {duration_text(max(abs(middle), spread))}"
    sign = "-" if middle > 0 else "+"
    return middle, f"{sign}{duration_text(abs(middle))}, spread {duration_text(spread)}"
