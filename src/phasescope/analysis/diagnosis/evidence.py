"""What an explanation stands on: everything in one session's events that bears on its memory, in one pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from phasescope.analysis.breakdown import breakdown
from phasescope.analysis.devices import device_row
from phasescope.analysis.spans import scope_of, size_or_none
from phasescope.analysis.summary.summary import SummaryFold

from .ending import (
    DEVICE_OUT_OF_MEMORY,
    HOST_OUT_OF_MEMORY,
    KILLED,
    EndingFold,
)
from .error_messages import (
    A_DEVICE,
    is_of_host,
    is_only_told,
    label_of,
    told_event,
)
from .growth import GrowthFold
from .library_counts import Seen, SeenFold
from .open_phase_rise import RiseFold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from phasescope.analysis.breakdown import Breakdown
    from phasescope.analysis.devices import DeviceRow
    from phasescope.analysis.spans import Scope, Span
    from phasescope.analysis.summary.summary import Summary

    from .ending import Ending
    from .few_looks import Unjudged
    from .growth import Growth
    from .open_phase_rise import Rise

_MAX_SETTINGS = 32


@dataclass(frozen=True)
class Shortage:
    """The last time that memory ran out, as its `error` event tells. Bytes; None is: not known. `label` is how the
    device is called, as far as that is known."""

    label: str
    device: DeviceRow
    breakdown: Breakdown | None
    path: tuple[str, ...]
    on_host: bool
    requested_bytes: int | None
    inactive_bytes: int | None
    error: str
    settings: Mapping[str, Any]
    snapshot: str | None


@dataclass(frozen=True)
class Evidence:
    """One session. `shortage` is the last one that bears on how it ended. `oom_kills` is by how many processes of its
    control group the kernel has killed for memory since it began; None where that is not known. `not_judged` says why
    nothing can be said of growth; None where something can. `rises` are of phases that were open at the end, or are
    now, the largest first. `unjudged_workers` took much, but were looked at too seldom to tell whether they grow.
    `mapped_bytes` of the resident set were pages of mapped files at the last sample of the host."""

    ending: Ending
    summary: Summary
    growth: tuple[Growth, ...]
    shortage: Shortage | None
    shortages: int
    oom_kills: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    not_judged: str | None = None
    rises: tuple[Rise, ...] = ()
    seen: Seen = field(default_factory=Seen)
    unjudged_workers: Unjudged | None = None
    mapped_bytes: int | None = None


class EvidenceFold:
    """Takes events beside the fold that sums them up, in bounded memory."""

    def __init__(self) -> None:
        self._ending = EndingFold()
        self._growth = GrowthFold()
        self._rise = RiseFold()
        self._seen = SeenFold()
        self._last: Mapping[str, Any] | None = None
        self._shortages = 0
        self.raised = self._ending.raised
        self.ended = self._growth.ended
        self.note_time = self._ending.note_time

    def take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> None:
        """The next event with its `scope_of` and the span that it ends, if any."""
        self._ending.take(event, scope, span)
        self._growth.take(event, scope)
        self._rise.take(event, span)
        self._seen.take(event)
        if event.get("event_type") == "error" and _says_out_of_memory(event):
            self._last, self._shortages = event, self._shortages + 1

    def evidence(
        self,
        fold: SummaryFold,
        state: str,
        *,
        heartbeat_ns: int | None = None,
        now_ns: int | None = None,
        oom_kills: int | None = None,
        missed: tuple[int, int] = (0, 0),
    ) -> Evidence:
        """What is known now, with what `fold` made of the same events. `state` is the reader's: `running`, `stopped`,
        `dead` or `unknown`. `missed` are the events that could not be read: those overwritten, those damaged."""
        last = self._last
        open_spans = fold.open_spans()
        ending = self._ending.ending(state, open_spans, heartbeat_ns=heartbeat_ns, now_ns=now_ns)
        shortage = None if last is None else _shortage(last, fold.device_rows())
        summary = fold.summary(*missed)
        return Evidence(
            ending=ending,
            summary=summary,
            growth=tuple(self._growth.result(is_over=ending.is_over)),
            unjudged_workers=self._growth.unjudged_workers(),
            mapped_bytes=self._growth.mapped_bytes,
            shortage=shortage if shortage is not None and _bears_on(ending, shortage) else None,
            shortages=self._shortages,
            oom_kills=oom_kills,
            settings={} if last is None else _settings(last["metadata"]),
            not_judged=self._growth.why_not_judged(),
            seen=self._seen.result(),
            rises=self._rise.result(
                open_spans,
                ending.path,
                ending.last_ns if ending.is_over else now_ns,
                (row.path for row in summary.rows if row.count),
            ),
        )


def evidence(
    events: Iterable[Mapping[str, Any]],
    state: str = "stopped",
    *,
    heartbeat_ns: int | None = None,
    now_ns: int | None = None,
    oom_kills: int | None = None,
    missed: Callable[[], tuple[int, int]] = lambda: (0, 0),
) -> Evidence:
    """Of one session's events, the oldest first; the rest as of `EvidenceFold.evidence`, `missed` asked at the end."""
    summary, fold = SummaryFold(), EvidenceFold()
    for event in events:
        fold.take(event, *summary.add(event))
    return fold.evidence(summary, state, heartbeat_ns=heartbeat_ns, now_ns=now_ns, oom_kills=oom_kills, missed=missed())


def _bears_on(ending: Ending, shortage: Shortage) -> bool:
    """Not so where memory ran out again in the end, or the process died, and this one had been caught before."""
    is_other = ending.kind in (DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY, KILLED) and ending.path != shortage.path
    return not is_other


def _says_out_of_memory(event: Mapping[str, Any]) -> bool:
    metadata = event.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("out_of_memory") is not True:
        return False
    return isinstance(metadata.get("backend"), str) and isinstance(event.get("device_id"), int)


def _shortage(event: Mapping[str, Any], devices: Iterable[DeviceRow]) -> Shortage:
    label, on_host = label_of(event) or A_DEVICE, is_of_host(event)
    if is_only_told(event):
        event = told_event(event)
    row, scope, metadata = device_row(event), scope_of(event), event["metadata"]
    inactive = None
    if "allocator_inactive_bytes" not in metadata.get("unavailable", ()):
        inactive = size_or_none(event.get("allocator_inactive_bytes"))
    snapshot = metadata.get("snapshot")
    sampled = next((device.breakdown for device in devices if device.label == label), None)
    return Shortage(
        label=label,
        device=row,
        breakdown=_finer(breakdown(event), sampled),
        path=() if scope is None else scope.path,
        on_host=on_host,
        requested_bytes=size_or_none(metadata.get("requested_bytes")),
        inactive_bytes=inactive,
        error=event["context"] if isinstance(event.get("context"), str) else "",
        settings=_settings(metadata),
        snapshot=snapshot if isinstance(snapshot, str) else None,
    )


def _finer(at_the_error: Breakdown | None, sampled: Breakdown | None) -> Breakdown | None:
    """Who holds what is told by samples only, a little before; without it the event's own figures are what there is."""
    told = () if sampled is None else [part.name for part in sampled.parts]
    return sampled if "other_processes" in told or at_the_error is None else at_the_error


def _settings(metadata: Mapping[str, Any]) -> dict[str, Any]:
    settings = metadata.get("settings")
    if not isinstance(settings, dict):
        return {}
    kept = [(key, value) for key, value in settings.items() if isinstance(key, str) and isinstance(value, (str, int))]
    return dict(kept[:_MAX_SETTINGS])
