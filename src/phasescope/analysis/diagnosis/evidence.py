"""The evidence for an explanation: everything in one session's events that bears on its memory, in one pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from phasescope.analysis.breakdown import breakdown, completed
from phasescope.analysis.devices import device_row
from phasescope.analysis.event_fields import scope_of, size_or_none
from phasescope.analysis.origin import command_under_run
from phasescope.analysis.summary.summary import SummaryFold

from . import few_steps
from .census import CensusFold
from .ending import (
    DEVICE_OUT_OF_MEMORY,
    EXCEPTION,
    HOST_OUT_OF_MEMORY,
    INTERRUPT,
    KILLED,
    EndingFold,
)
from .error_messages import (
    A_DEVICE,
    has_stated_figures_only,
    is_by_allocator,
    is_of_host,
    label_of,
    stated_figures,
    with_stated_figures,
    with_stated_figures_only,
)
from .growth import WORKERS, GrowthFold
from .heap import HeapFold
from .library_counts import Seen, SeenFold
from .lines import LinesFold
from .more_trained import TrainedFold
from .not_judged import SampledHost, why_not_judged
from .open_phase_rise import RiseFold
from .torch_settings import limit_by_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from phasescope.analysis.breakdown import Breakdown
    from phasescope.analysis.categories import Categories
    from phasescope.analysis.devices import DeviceRow
    from phasescope.analysis.event_fields import Scope
    from phasescope.analysis.spans import Span
    from phasescope.analysis.summary.summary import Summary

    from .census import NewestCensus
    from .ending import Ending
    from .few_looks import Unjudged
    from .growth import Growth
    from .heap import HeapLook
    from .lines import GrownLines
    from .open_phase_rise import Rise

_MAX_SETTINGS = 32


@dataclass(frozen=True)
class LastShortage:
    """The last time that memory ran out, as its `error` event states it. Bytes; None if unknown. `label` is how the
    device is called, as far as that is known. `free_bytes` was free at the failing allocation itself; `allowed_bytes`
    is the most that this process may have of the device; `private_pools_bytes` lie in pools that only CUDA graphs use.
    `is_measured_afterwards`: neither the error nor an observer has figures of the moment itself. `by_allocator`: the
    framework's own allocator asked, which draws on what it has reserved; not so a library beside it (NCCL, cuBLAS, the
    driver). `raised_at` is the place of the training's own `raise` statement that the error comes from."""

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
    free_bytes: int | None = None
    allowed_bytes: int | None = None
    private_pools_bytes: int | None = None
    by_allocator: bool = True
    is_measured_afterwards: bool = False
    raised_at: str | None = None


@dataclass(frozen=True)
class Evidence:
    """One session. `shortage` is the last one that bears on how it ended. `oom_kills` is by how many processes of its
    control group the kernel has killed for memory since it began; None if that is not known. `not_judged` says why
    nothing can be said of growth; None if something can. `rises` are of phases that were open at the end, or are
    now, the largest first. `unjudged_workers` took much, but were looked at too seldom to tell whether they grow.
    `mapped_bytes` of the resident set were pages of mapped files at the last sample of the host. `relieved` is how
    often a device's allocator gave back its cache and then had room, by its label. `run_command` is the command line
    if `phasescope run` began it: advice then names that command's options."""

    ending: Ending
    summary: Summary
    growth: tuple[Growth, ...]
    shortage: LastShortage | None
    shortages: int
    oom_kills: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    not_judged: str | None = None
    rises: tuple[Rise, ...] = ()
    seen: Seen = field(default_factory=Seen)
    unjudged_workers: Unjudged | None = None
    mapped_bytes: int | None = None
    relieved: Mapping[str, int] = field(default_factory=dict)
    run_command: Sequence[str] | None = None

    @property
    def categories(self) -> Categories | None:
        """The categories of the memory that ran out, if they are known."""
        label = None if self.shortage is None else self.shortage.label
        return next((device.categories for device in self.summary.devices if device.label == label), None)

    census: NewestCensus | None = None
    lines: GrownLines | None = None
    heap: tuple[HeapLook, ...] = ()


class EvidenceFold:
    """Takes events beside the fold that sums them up, in bounded memory."""

    def __init__(self) -> None:
        self._ending = EndingFold()
        self._growth = GrowthFold()
        self._rise = RiseFold()
        self._seen = SeenFold()
        self._census = CensusFold()
        self._lines = LinesFold()
        self._heap = HeapFold()
        self._trained = TrainedFold()
        self._host = SampledHost()
        self._last: Mapping[str, Any] | None = None
        self._shortages = 0
        self.raised = self._ending.raised
        self.ended = self._growth.ended
        self.note_time = self._ending.note_time

    def take(self, event: Mapping[str, Any], scope: Scope | None, span: Span | None) -> None:
        """Take the next event with its `scope_of` and the span that it ends, if any."""
        self._ending.take(event, scope, span)
        self._growth.take(event, scope)
        self._rise.take(event, span)
        self._seen.take(event)
        self._census.take(event)
        self._lines.take(event)
        self._heap.take(event)
        self._trained.take(event)
        self._host.take(event)
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
        constants: Mapping[str, Any] | None = None,
    ) -> Evidence:
        """Return the evidence as known now, with the summary that `fold` made of the same events.

        `state` is the reader's: `running`, `stopped`, `dead` or `unknown`. `missed` are the events that could not be
        read: those overwritten, those damaged. `constants` are the session's.
        """
        last = self._last
        open_spans = fold.open_spans()
        ending = self._ending.ending(state, open_spans, heartbeat_ns=heartbeat_ns, now_ns=now_ns)
        shortage = None if last is None else _shortage(last, fold.device_rows())
        summary = fold.summary(*missed)
        census, seen = self._census.result(), self._seen.result()
        is_oom_killed = ending.kind == KILLED and bool(oom_kills)
        growths = self._growth.result()
        growth = tuple(
            few_steps.judged(each, ending, census, seen, self._trained, is_oom_killed=is_oom_killed) for each in growths
        )
        is_judged = any(each.device != WORKERS for each in growth)
        why_not = None
        if not is_judged:
            waiting = self._growth.waiting
            failed = ending.kind == EXCEPTION and ending.error_type != INTERRUPT
            why_not = why_not_judged(summary.rows, waiting, is_over=ending.is_over, has_failed=failed, host=self._host)
        return Evidence(
            ending=ending,
            summary=summary,
            growth=growth,
            unjudged_workers=self._growth.unjudged_workers(),
            mapped_bytes=self._growth.mapped_bytes,
            shortage=shortage if shortage is not None and _bears_on(ending, shortage) else None,
            shortages=self._shortages,
            oom_kills=oom_kills,
            settings={} if last is None else _settings(last["metadata"]),
            not_judged=why_not,
            seen=seen,
            relieved=fold.relieved(),
            run_command=command_under_run(constants or {}),
            census=census,
            lines=self._lines.result(),
            heap=self._heap.result(),
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
    constants: Mapping[str, Any] | None = None,
) -> Evidence:
    """Return the evidence of one session's events, the oldest first.

    The rest is as for `EvidenceFold.evidence`; `missed` is asked at the end.
    """
    summary, fold = SummaryFold(), EvidenceFold()
    for event in events:
        fold.take(event, *summary.add(event))
    return fold.evidence(
        summary,
        state,
        heartbeat_ns=heartbeat_ns,
        now_ns=now_ns,
        oom_kills=oom_kills,
        missed=missed(),
        constants=constants,
    )


def _bears_on(ending: Ending, shortage: LastShortage) -> bool:
    """Return whether this shortage ended the session.

    It did not if memory ran out again in the end, or the process died, after this one had been caught.
    """
    is_other = ending.kind in (DEVICE_OUT_OF_MEMORY, HOST_OUT_OF_MEMORY, KILLED) and ending.path != shortage.path
    return not is_other


def _says_out_of_memory(event: Mapping[str, Any]) -> bool:
    metadata = event.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("out_of_memory") is not True:
        return False
    return isinstance(metadata.get("backend"), str) and isinstance(event.get("device_id"), int)


def _shortage(event: Mapping[str, Any], devices: Iterable[DeviceRow]) -> LastShortage:
    label, on_host = label_of(event) or A_DEVICE, is_of_host(event)
    stated = {} if on_host else stated_figures(event)
    sampled = next((device.breakdown for device in devices if device.label == label), None)
    if has_stated_figures_only(event):
        event = with_stated_figures_only(event)
    elif not on_host:
        event = _with_others(with_stated_figures(event), sampled)
    row, scope, metadata = device_row(event), scope_of(event), event["metadata"]
    held = completed(breakdown(event), sampled) or (sampled if on_host else None)
    if held is not None and sampled is not None and sampled.is_hosts_memory:
        held = replace(held, is_hosts_memory=True)
    inactive = None
    if "allocator_inactive_bytes" not in metadata.get("unavailable", ()):
        inactive = size_or_none(event.get("allocator_inactive_bytes"))
    snapshot, raised_at = metadata.get("snapshot"), metadata.get("raised_at")
    return LastShortage(
        label=label,
        device=row,
        breakdown=held,
        path=() if scope is None else scope.path,
        on_host=on_host,
        requested_bytes=size_or_none(metadata.get("requested_bytes")),
        inactive_bytes=inactive,
        error=event["context"] if isinstance(event.get("context"), str) else "",
        settings=_settings(metadata),
        snapshot=snapshot if isinstance(snapshot, str) else None,
        free_bytes=stated.get("free_bytes"),
        allowed_bytes=stated.get("allowed_bytes")
        or size_or_none(metadata.get("allocator_limit_bytes"))
        or limit_by_settings(_settings(metadata), row.total_bytes),
        private_pools_bytes=stated.get("private_pools_bytes") or size_or_none(metadata.get("private_pools_bytes")),
        by_allocator=is_by_allocator(event, stated),
        is_measured_afterwards=not on_host and "allocated_bytes" not in stated,
        raised_at=raised_at if isinstance(raised_at, str) else None,
    )


def _with_others(event: Mapping[str, Any], sampled: Breakdown | None) -> Mapping[str, Any]:
    """Return the event with the others' memory of the last sample that has it, if its own figures leave room."""
    metadata = event["metadata"]
    if sampled is None or "process_used_bytes" in metadata:
        return event
    parts = {part.name: part.size_bytes for part in sampled.parts}
    figures = {}
    if "driver" in parts:
        figures["device_reserved_bytes"] = parts["driver"]
    if "other_processes" in parts and "process_outside" in parts:
        row = device_row(event)
        held = row.allocated_bytes if row.reserved_bytes is None else row.reserved_bytes
        figures["process_used_bytes"] = (held or 0) + parts["process_outside"]
        figures["other_processes_bytes"] = parts["other_processes"]
    return {**event, "metadata": {**metadata, **figures}}


def _settings(metadata: Mapping[str, Any]) -> dict[str, Any]:
    settings = metadata.get("settings")
    if not isinstance(settings, dict):
        return {}
    kept = [(key, value) for key, value in settings.items() if isinstance(key, str) and isinstance(value, (str, int))]
    return dict(kept[:_MAX_SETTINGS])
