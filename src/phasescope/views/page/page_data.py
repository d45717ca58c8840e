"""The data of a session for the web page and the report: JSON types, bounded, with nothing in it that is markup.

Times are ms since the session's `origin_ms` (wall clock, ms since the epoch), durations ns, memory bytes; null is: not
known. Names and texts are as the training gave them: the page shows them as text only.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from phasescope.analysis.categories import LABELS, made_of
from phasescope.analysis.diagnosis.verdict import verdict
from phasescope.analysis.event_fields import device_label, int_or_none, scope_of
from phasescope.analysis.summary.allocator_remarks import allocator_remarks
from phasescope.analysis.text.commands import what_runs
from phasescope.analysis.text.job_text import rank_remarks
from phasescope.analysis.text.state_word import state_word
from phasescope.analysis.timeline.time_series import RECENT_WIDTH_NS, thinned
from phasescope.views.missing_phases import missing_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from phasescope.analysis.devices import DeviceRow
    from phasescope.analysis.diagnosis.explanation import Explanation
    from phasescope.analysis.jobs.imbalance import Ranks
    from phasescope.analysis.summary.phase_tree import Row
    from phasescope.analysis.timeline.bands import Band
    from phasescope.analysis.timeline.time_series import Point
    from phasescope.analysis.timeline.timeline import DeviceLine, Mark
    from phasescope.views.live_session import Followed

MAX_ROWS = 250
MAX_BANDS = 900
MAX_STRIPS = 1500
MAX_EVENTS = 60
MAX_POINTS = 4000
"""Of all devices together; each has at least a sixteenth of them."""
MAX_LOOKS = 1024
"""At what memory is made of, of all devices together."""

_BUCKET_MS = RECENT_WIDTH_NS // 1_000_000
_FIGURES = ("_bytes", "_percent", "_celsius", "_milliwatts")
_LONGEST_TEXT = 300
_MAX_WORDS = 60
_MAX_PATH = 16


def snapshot(followed: Followed, *, now_ns: int | None = None) -> dict[str, Any]:
    """Return all that a page shows of a session."""
    view = followed.view
    now_ns = time.time_ns() if now_ns is None else now_ns
    origin_ms = origin_ms_of(followed)
    lines = view.timeline.devices[:16]
    most = max(MAX_POINTS // 16, MAX_POINTS // max(1, len(lines)))
    return {
        "kind": "snapshot",
        "origin_ms": origin_ms,
        "bucket_ms": _BUCKET_MS,
        "session": facts(followed.reader.constants),
        "series": {line.label: _columns(thinned(line.series.points(), most), origin_ms) for line in lines},
        "categories": _categories(lines, origin_ms),
        "category_labels": LABELS,
        "bands": [_band(band, origin_ms) for band in _fitting(view.timeline.bands(view.open_spans()))],
        "threads": {str(number): name for number, name in view.timeline.threads.items()},
        "marks": [_mark(mark, origin_ms) for mark in view.timeline.marks],
        "phases": phases(followed),
        "strips": _strips(followed, origin_ms),
        "events": [_event(event, origin_ms) for event in list(view.recent)[-MAX_EVENTS:]],
        **_present(followed, origin_ms, now_ns),
    }


def delta(
    followed: Followed, since_ns: int, marks_seen: int, *, with_phases: bool, now_ns: int | None = None
) -> dict[str, Any]:
    """Return the data after `since_ns` and after the first `marks_seen` marks.

    Points of buckets that are not over yet come again.
    """
    view = followed.view
    now_ns = time.time_ns() if now_ns is None else now_ns
    origin_ms = origin_ms_of(followed)
    whole_bucket_ns = since_ns // RECENT_WIDTH_NS * RECENT_WIDTH_NS
    new_bands = [
        band
        for band in view.timeline.bands(view.open_spans(), since_ns)
        if band.end_ns is None or band.end_ns > since_ns
    ]
    new_marks = view.timeline.marked - marks_seen
    lines = view.timeline.devices[:16]
    news = {
        "kind": "delta",
        "series": {line.label: _columns(line.series.recent(whole_bucket_ns), origin_ms) for line in lines},
        "categories": _categories(lines, origin_ms, since_ns),
        "bands": [_band(band, origin_ms) for band in _fitting(new_bands)],
        "threads": {str(number): name for number, name in view.timeline.threads.items()},
        "marks": [_mark(mark, origin_ms) for mark in list(view.timeline.marks)[-new_marks:]] if new_marks > 0 else [],
        "events": [_event(event, origin_ms) for event in list(view.recent)[-MAX_EVENTS:]],
        **_present(followed, origin_ms, now_ns),
    }
    return {**news, "phases": phases(followed), "strips": _strips(followed, origin_ms)} if with_phases else news


def answer_data(answer: Explanation) -> dict[str, Any]:
    """Return the verdict and after it everything that `explain` says, line by line."""
    return {"verdict": verdict(answer).to_dict(), "lines": str(answer).splitlines()}


def job_data(compared: Ranks) -> dict[str, Any]:
    """Return the ranks side by side, and the outliers among them in the words of `phasescope ranks`."""
    job = compared.job.to_dict()
    for row, rank in zip(compared.job.ranks, job["ranks"], strict=True):
        rank["ending"]["word"] = state_word(row.ending)
    return {**job, "remarks": rank_remarks(compared)}


def origin_ms_of(followed: Followed) -> int:
    """Return the time that all others are counted from."""
    first_ms = (followed.view.timeline.first_ns or 0) // 1_000_000
    return first_ms // _BUCKET_MS * _BUCKET_MS


def facts(constants: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts in a session's constants, of the right types and lengths: it may be any file that has some."""
    command = constants.get("command")
    words = command if isinstance(command, list) else [command]
    shown: dict[str, Any] = {"command": " ".join(_text(word) for word in words[:_MAX_WORDS] if isinstance(word, str))}
    shown["what"] = _text(what_runs(constants))
    for key in ("session_id", "host", "job_id", "python", "version"):
        value = constants.get(key)
        shown[key] = _text(value) if isinstance(value, str) else None
    for key in ("pid", "rank", "local_rank", "world_size", "sampling_interval_ms", "started_ns"):
        shown[key] = int_or_none(constants.get(key))
    return shown


def phases(followed: Followed) -> dict[str, Any]:
    """Return the phase table: its first rows, how many more there are, and the totals of all."""
    summed, ending = followed.summary(), followed.ending()
    missing = missing_in(followed.reader, summed, is_over=ending.is_over, ended_well=ending.is_good)
    return {
        "rows": [_row(row) for row in summed.rows[:MAX_ROWS]],
        "more": max(0, len(summed.rows) - MAX_ROWS),
        "observed_ns": summed.observed_ns,
        "missing": missing,
        "remarks": [_text(line) for line in allocator_remarks(summed.rows)],
    }


def _present(followed: Followed, origin_ms: int, now_ns: int) -> dict[str, Any]:
    view = followed.view
    fared = followed.ending(now_ns)
    ending = {**fared.to_dict(), "word": state_word(fared)}
    for key in ("text", "context", "error_type"):
        ending[key] = None if ending[key] is None else _text(ending[key])
    lines = {line.label: line for line in view.timeline.devices}
    return {
        "now_ms": now_ns // 1_000_000 - origin_ms,
        "last_ms": _ms(view.timeline.last_ns, origin_ms),
        "ending": {**ending, "last_ms": _ms(ending["last_ns"], origin_ms)},
        "current": [
            {"path": _path(span.path), "since_ms": _ms(span.start_ns, origin_ms)} for span in view.current()[-8:]
        ],
        "counts": {
            "events": view.events,
            "missed": followed.missed,
            "damaged": followed.damaged,
            "dropped": followed.reader.dropped,
        },
        "devices": [_device(row, lines.get(row.label), origin_ms) for row in view.devices()[:16]],
    }


def _device(row: DeviceRow, line: DeviceLine | None, origin_ms: int) -> dict[str, Any]:
    parts = row.breakdown.parts if row.breakdown is not None else ()
    peak = None if line is None else line.peak
    return {
        **{key: value for key, value in asdict(row).items() if key.endswith(_FIGURES)},
        "label": _text(row.label),
        "peak": None
        if peak is None
        else {
            "at_ms": _ms(peak.timestamp_ns, origin_ms),
            "allocated_bytes": peak.allocated_bytes,
            "path": None if peak.path is None else _path(peak.path),
        },
        "parts": [{"name": part.name, "label": part.label, "size_bytes": part.size_bytes} for part in parts],
        "fragmented_bytes": None if row.breakdown is None else row.breakdown.fragmented_bytes,
        "made_of": next(made_of([row]), None),
    }


def _columns(points: Sequence[Point], origin_ms: int) -> dict[str, Any]:
    """Return the largest of each figure; of allocated the smallest too, if that differs."""
    allocated = [point.allocated_bytes for point in points]
    least = [figure.min for figure in allocated]
    most = [figure.max for figure in allocated]
    return {
        "t": [round(point.timestamp_ns / 1e6 - origin_ms, 1) for point in points],
        "allocated": most,
        "least": None if least == most else least,
        "reserved": [point.reserved_bytes.max for point in points],
        "used": [point.used_bytes.max for point in points],
        "total": next((point.total_bytes.last for point in reversed(points) if point.total_bytes.last), None),
    }


def _categories(lines: Sequence[DeviceLine], origin_ms: int, since_ns: int = 0) -> dict[str, Any]:
    """Return what each device's memory was made of since a time; nothing for those of which it is unknown."""
    by_label = {
        line.label: line.categories.columns(since_ns, MAX_LOOKS // len(lines))
        for line in lines
        if line.categories is not None
    }
    return {
        label: {
            "t": [_ms(time_ns, origin_ms) for time_ns in columns.pop("timestamp_ns")],
            "sizes": {name.removesuffix("_bytes"): sizes for name, sizes in columns.items()},
        }
        for label, columns in by_label.items()
    }


def _fitting(bands: Sequence[Band]) -> Sequence[Band]:
    """Return at most `MAX_BANDS`: those that went wrong, the last ones, and of the others the longest."""
    if len(bands) <= MAX_BANDS:
        return bands
    late = len(bands) - MAX_BANDS // 3
    kept = [index for index, band in enumerate(bands) if index >= late or band.status != "ok"][-MAX_BANDS // 2 :]
    rest = sorted(set(range(len(bands))) - set(kept), key=lambda index: bands[index].length_ns, reverse=True)
    return [bands[index] for index in sorted([*kept, *rest[: MAX_BANDS - len(kept)]])]


def _band(band: Band, origin_ms: int) -> list[Any]:
    """Return start, end (null: open), path, thread and status."""
    thread = None if band.thread_id is None else str(band.thread_id)
    return [_ms(band.start_ns, origin_ms), _ms(band.end_ns, origin_ms), _path(band.path), thread, band.status]


def _strips(followed: Followed, origin_ms: int) -> list[list[Any]]:
    """Return start, end, path, thread and busy share; empty if every band has its own."""
    view = followed.view
    if view.timeline.bands_dropped == 0 and view.timeline.ended < MAX_BANDS:
        return []
    strips = view.timeline.strips()[:MAX_STRIPS]
    return [
        [
            max(0, _ms(strip.start_ns, origin_ms) or 0),
            _ms(strip.end_ns, origin_ms),
            _path(strip.path),
            None if strip.thread_id is None else str(strip.thread_id),
            round(strip.busy_ns / max(1, strip.end_ns - strip.start_ns), 3),
        ]
        for strip in strips
    ]


def _mark(mark: Mark, origin_ms: int) -> dict[str, Any]:
    return {
        "t": _ms(mark.timestamp_ns, origin_ms),
        "type": _text(mark.event_type),
        "device": _text(mark.device),
        "context": None if mark.context is None else _text(mark.context),
        "path": None if mark.path is None else _path(mark.path),
        "out_of_memory": mark.out_of_memory,
    }


def _event(event: Mapping[str, Any], origin_ms: int) -> dict[str, Any]:
    scope = scope_of(event)
    fields = {} if scope is None or scope.action is None else scope.fields
    context, attributes = event.get("context"), fields.get("attributes")
    return {
        "t": _ms(int_or_none(event.get("timestamp_ns")), origin_ms),
        "type": _text(event.get("event_type")),
        "path": None if scope is None else _path(scope.path),
        "allocated_bytes": int_or_none(event.get("allocator_allocated_bytes")),
        "duration_ns": int_or_none(fields.get("duration_ns")),
        "delta_bytes": int_or_none(fields.get("allocated_delta_bytes")),
        "device": _device_of(event),
        "status": fields["status"] if fields.get("status") in ("error", "abandoned") else None,
        "context": _text(context) if isinstance(context, str) else None,
        "attributes": _attributes(attributes) if isinstance(attributes, dict) else None,
    }


def _device_of(event: Mapping[str, Any]) -> str | None:
    metadata, device_id = event.get("metadata"), int_or_none(event.get("device_id"))
    backend = metadata.get("backend") if isinstance(metadata, dict) else None
    return None if device_id is None or not isinstance(backend, str) else _text(device_label(backend, device_id))


def _attributes(attributes: Mapping[Any, Any]) -> str:
    return _text(" ".join(f"{key}={value}" for key, value in list(attributes.items())[:16]))


def _row(row: Row) -> dict[str, Any]:
    return {**asdict(row), "path": _path(row.path), "devices": [_text(device) for device in row.devices]}


def _path(path: Iterable[str]) -> list[str]:
    return [_text(name) for name in path][:_MAX_PATH]


def _text(value: object) -> str:
    text = value if isinstance(value, str) else f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _ms(time_ns: int | None, origin_ms: int) -> float | None:
    """Return milliseconds since the origin, to a microsecond."""
    return None if time_ns is None else round((time_ns - origin_ms * 1_000_000) / 1e6, 3)
