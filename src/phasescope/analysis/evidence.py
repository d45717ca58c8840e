"""What an explanation stands on: everything in one session's events that bears on its memory, in one pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .breakdown import breakdown
from .devices import device_row
from .ending import EndingFold
from .growth import GrowthFold
from .spans import scope_of, size_or_none
from .summary import SummaryFold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .breakdown import Breakdown
    from .devices import DeviceRow
    from .ending import Ending
    from .growth import Growth
    from .summary import Summary

_MAX_SETTINGS = 32


@dataclass(frozen=True)
class Shortage:
    """The last time that memory ran out, as its `error` event tells. Bytes; None is: not known."""

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
    """One session. `oom_kills` is by how many processes of its control group the kernel has killed for memory since
    it began; None where that is not known."""

    ending: Ending
    summary: Summary
    growth: tuple[Growth, ...]
    shortage: Shortage | None
    shortages: int
    oom_kills: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def evidence(
    events: Iterable[Mapping[str, Any]],
    state: str = "stopped",
    *,
    heartbeat_ns: int | None = None,
    now_ns: int | None = None,
    oom_kills: int | None = None,
    missed: Callable[[], tuple[int, int]] = lambda: (0, 0),
) -> Evidence:
    """Of one session's events, the oldest first. `state` is the reader's: `running`, `stopped` or `dead`.

    `missed` is asked at the end for how many events could not be read: those overwritten, those damaged.
    """
    summary, ending, growth = SummaryFold(), EndingFold(), GrowthFold()
    last: Mapping[str, Any] | None = None
    shortages = 0
    for event in events:
        scope, span = summary.add(event)
        ending.take(event, scope, span)
        growth.add(event)
        if event.get("event_type") == "error" and _says_out_of_memory(event):
            last, shortages = event, shortages + 1
    return Evidence(
        ending=ending.ending(state, summary.open_spans(), heartbeat_ns=heartbeat_ns, now_ns=now_ns),
        summary=summary.summary(*missed()),
        growth=tuple(growth.result()),
        shortage=None if last is None else _shortage(last, summary.device_rows()),
        shortages=shortages,
        oom_kills=oom_kills,
        settings={} if last is None else _settings(last["metadata"]),
    )


def _says_out_of_memory(event: Mapping[str, Any]) -> bool:
    metadata = event.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("out_of_memory") is not True:
        return False
    return isinstance(metadata.get("backend"), str) and isinstance(event.get("device_id"), int)


def _shortage(event: Mapping[str, Any], devices: Iterable[DeviceRow]) -> Shortage:
    row, scope, metadata = device_row(event), scope_of(event), event["metadata"]
    inactive = None
    if "allocator_inactive_bytes" not in metadata.get("unavailable", ()):
        inactive = size_or_none(event.get("allocator_inactive_bytes"))
    snapshot = metadata.get("snapshot")
    sampled = next((device.breakdown for device in devices if device.label == row.label), None)
    return Shortage(
        device=row,
        breakdown=_finer(breakdown(event), sampled),
        path=() if scope is None else scope.path,
        on_host=metadata.get("memory") == "host" or row.label == "host",
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
