"""A snapshot of a running training, for a person: what its threads do, what is live, and who keeps it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from phasescope.analysis.diagnosis.census import tensors_of
from phasescope.analysis.diagnosis.census_text import grown_text
from phasescope.analysis.event_fields import int_or_none, size_or_none
from phasescope.analysis.formatting import count_text, duration_text, path_text, plural, printable, size_text
from phasescope.analysis.text.commands import what_runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_SHOWN = 12
_MOST_THREADS = 16
_HOST = {
    "anonymous_bytes": "its own",
    "mapped_file_bytes": "mapped files",
    "shared_memory_bytes": "shared memory",
}
_HEAP = {
    "heap_used_bytes": "in use",
    "heap_free_bytes": "free between blocks in use",
    "heap_mapped_bytes": "large blocks of their own",
}


def snapshot_lines(snapshot: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines; a part that the training could not give says why."""
    yield _headline(snapshot)
    yield from _threads(snapshot.get("threads"))
    yield from _tensors(_part(snapshot, "tensors"))
    yield from _objects(_part(snapshot, "objects"))
    yield from _traced(_part(snapshot, "traced"))
    yield from _devices(snapshot.get("devices"))
    yield from _host(_part(snapshot, "host"))


def _headline(snapshot: Mapping[str, Any]) -> str:
    session = _part(snapshot, "session")
    taken_ns = int_or_none(snapshot.get("taken_ns"))
    taken = ""
    if taken_ns is not None and 0 < taken_ns < 1 << 62:
        taken = f", taken at {datetime.fromtimestamp(taken_ns / 1e9, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    words = what_runs(session)
    return f"pid {printable(session.get('pid'))}: {words}{taken}"


def _threads(threads: object) -> Iterator[str]:
    if isinstance(threads, dict):
        yield f"threads: not known: {printable(threads.get('why_not'))}"
        return
    listed = threads if isinstance(threads, list) else []
    yield f"threads: {len(listed)}"
    for thread in listed[:_MOST_THREADS]:
        phase = thread.get("phase") if isinstance(thread, dict) else None
        if not isinstance(thread, dict):
            continue
        within = f", in {path_text([str(name) for name in phase])}" if isinstance(phase, list) and phase else ""
        yield f"  {printable(thread.get('name') or 'a thread without a name')}{within}"
        frames = thread.get("frames")
        for frame in (frames if isinstance(frames, list) else [])[:MOST_SHOWN]:
            if isinstance(frame, dict):
                yield f"    {printable(frame.get('function'))} ({place(frame)})"
        more = len(frames) - MOST_SHOWN if isinstance(frames, list) else 0
        if more > 0:
            yield f"    and {more} further out"
    if len(listed) > _MOST_THREADS:
        yield f"  and {len(listed) - _MOST_THREADS} more"


def _tensors(part: Mapping[str, Any]) -> Iterator[str]:
    if "tensors" not in part:
        yield f"tensors: not counted: {printable(part.get('why_not'))}"
        return
    phase_names = part.get("at")
    path = path_text([str(name) for name in phase_names]) if isinstance(phase_names, list) else ""
    size = size_text(size_or_none(part.get("tensor_bytes")))
    moment = f", at the end of {path}" if path else ""
    yield f"tensors: {count_text(size_or_none(part.get('tensors')) or 0)} ({size}){moment}"
    for group in tensors_of(part.get("largest"), MOST_SHOWN):
        device = "" if group.device in ("cpu", "") else f"{printable(group.device)}: "
        yield f"  {device}{grown_text(group)}"


def _objects(part: Mapping[str, Any]) -> Iterator[str]:
    if "types" not in part:
        yield f"objects: not counted: {printable(part.get('why_not'))}"
        return
    yield f"objects: {count_text(size_or_none(part.get('objects')) or 0)}"
    types = part.get("types")
    for entry in (types if isinstance(types, list) else [])[:MOST_SHOWN]:
        if isinstance(entry, list) and len(entry) == 2:
            yield f"  {count_text(size_or_none(entry[1]) or 0)} {printable(entry[0])}"


def _traced(part: Mapping[str, Any]) -> Iterator[str]:
    if "lines" not in part:
        yield f"lines that allocated: not known: {printable(part.get('why_not'))}"
        return
    yield f"lines that allocated: {size_text(size_or_none(part.get('traced_bytes')))} since tracemalloc began"
    yield from _lines(part)


def _lines(part: Mapping[str, Any]) -> Iterator[str]:
    lines = part.get("lines")
    for entry in (lines if isinstance(lines, list) else [])[:MOST_SHOWN]:
        if isinstance(entry, dict):
            blocks = plural(size_or_none(entry.get("count")) or 0, "block")
            yield f"  {size_text(size_or_none(entry.get('bytes')))} in {blocks}: {place(entry)}"


def _devices(devices: object) -> Iterator[str]:
    for part in devices if isinstance(devices, list) else []:
        if not isinstance(part, dict):
            continue
        name = printable(part.get("device"))
        if "live_bytes" not in part:
            yield f"{name}: not known: {printable(part.get('why_not'))}"
            continue
        live, reserved = (size_text(size_or_none(part.get(key))) for key in ("live_bytes", "reserved_bytes"))
        blocks = plural(size_or_none(part.get("live_blocks")) or 0, "block")
        largest = size_text(size_or_none(part.get("largest_free_bytes")))
        yield f"{name}: {live} live in {blocks}, {reserved} reserved, the largest free block {largest}"
        if part.get("lines"):
            yield from _lines(part)
        else:
            yield "  by which lines is not recorded: start(sites=True) has torch record it"


def _host(part: Mapping[str, Any]) -> Iterator[str]:
    if "resident_bytes" in part:
        yield f"host: {size_text(size_or_none(part.get('resident_bytes')))} resident: {_named(part, _HOST)}"
    if "heap_used_bytes" in part:
        yield f"  the C library's heap: {_named(part, _HEAP)}"


def _named(part: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return ", ".join(f"{size_text(size_or_none(part.get(key)))} {name}" for key, name in names.items() if key in part)


def place(entry: Mapping[str, Any]) -> str:
    """Return a line as `train.py:41`."""
    file = str(entry.get("file") or "?").replace("\\", "/").rpartition("/")[2]
    return f"{printable(file)}:{printable(entry.get('line'))}"


def took_text(snapshot: Mapping[str, Any]) -> str:
    """Return what it cost."""
    took = _part(snapshot, "took_ns")
    each = [value for value in took.values() if type(value) is int and value >= 0]
    tensors_ns = size_or_none(_part(snapshot, "tensors").get("took_ns")) or 0
    return f"it took {duration_text(sum(each) + tensors_ns)} of the training's processor time"


def _part(snapshot: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = snapshot.get(name)
    return part if isinstance(part, dict) else {}
