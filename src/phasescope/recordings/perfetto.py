"""Perfetto's own trace format, written with the little of protobuf that it needs.

https://perfetto.dev/docs/reference/trace-packet-proto and docs/instrumentation/track-events describe it: a file is a
sequence of `TracePacket`s, each field 1 of a `Trace`. Field numbers stand here by their names.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from phasescope.recordings.trace_model import Begin, End, Instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import BinaryIO

    from phasescope.recordings.trace_model import (
        Counter,
        Item,
        Process,
        Track,
    )

_TRACE_PACKET = 1
_PACKET = {
    "clock_snapshot": 6,
    "timestamp": 8,
    "trusted_packet_sequence_id": 10,
    "track_event": 11,
    "sequence_flags": 13,
    "track_descriptor": 60,
}
_CLOCKS, _CLOCK_ID, _CLOCK_TIME = 1, 1, 2
_REALTIME, _BOOTTIME = 1, 6
_DESCRIPTOR = {"uuid": 1, "name": 2, "process": 3, "thread": 4, "parent_uuid": 5, "counter": 8}
_PROCESS = {"pid": 1, "cmdline": 2, "process_name": 6}
_THREAD = {"pid": 1, "tid": 2, "thread_name": 5}
_COUNTER_UNIT, _BYTES = 3, 3
_EVENT = {"debug_annotations": 4, "type": 9, "track_uuid": 11, "name": 23, "counter_value": 30}
_BEGIN, _END, _INSTANT, _COUNTER = 1, 2, 3, 4
_ANNOTATION = {"bool": 2, "int": 4, "double": 5, "str": 6, "name": 10}
_SEQUENCE = 1
_STATE_CLEARED = 1
_COUNTERS_FROM = 1 << 32  # uuids of counter tracks, apart from those of processes and threads
_TIDS_FROM = 1 << 22  # above all that Linux gives
_BUFFER = 1 << 18


def write(items: Iterable[Item], file: BinaryIO) -> None:
    """Write the items as a trace. Raises OSError."""
    buffer = bytearray()
    for packet in _Packets().of(items):
        buffer += _field(_TRACE_PACKET, packet)
        if len(buffer) > _BUFFER:
            file.write(buffer)
            buffer.clear()
    file.write(buffer)


class _Packets:
    """The packets of a trace; every track is described before it is first spoken of."""

    def __init__(self) -> None:
        self._described: set[int] = set()
        self._counters: dict[tuple[int, str, str], int] = {}
        self._uuids = count(_COUNTERS_FROM)
        self._tids = count(_TIDS_FROM)
        self._begun = False

    def of(self, items: Iterable[Item]) -> Iterator[bytes]:
        for item in items:
            if not self._begun:
                self._begun = True
                yield _clocks(item.time_ns)
            if isinstance(item, Begin):
                yield from self._track(item.track)
                yield _event(item.time_ns, _BEGIN, item.track.key, item.name, item.arguments)
            elif isinstance(item, End):
                yield _event(item.time_ns, _END, item.track.key, None, item.arguments)
            elif isinstance(item, Instant):
                yield from self._process(item.process)
                yield _event(item.time_ns, _INSTANT, item.process.key, item.name, item.arguments)
            else:
                yield from self._counter(item)

    def _process(self, process: Process) -> Iterator[bytes]:
        if process.key in self._described:
            return
        self._described.add(process.key)
        command = b"".join(_text(_PROCESS["cmdline"], word) for word in process.command)
        about = _int(_PROCESS["pid"], process.pid) + command + _text(_PROCESS["process_name"], process.name)
        yield _descriptor(_int(_DESCRIPTOR["uuid"], process.key) + _field(_DESCRIPTOR["process"], about))

    def _track(self, track: Track) -> Iterator[bytes]:
        if track.key in self._described:
            return
        yield from self._process(track.process)
        self._described.add(track.key)
        uuid = _int(_DESCRIPTOR["uuid"], track.key)
        if track.lane:
            parent = _int(_DESCRIPTOR["parent_uuid"], track.process.key)
            yield _descriptor(uuid + parent + _text(_DESCRIPTOR["name"], f"{track.thread} ({track.lane + 1})"))
            return
        # Python's thread idents are addresses, too long for a tid; that of a main thread is its pid.
        tid = track.process.pid if track.thread == "MainThread" else next(self._tids)
        about = _int(_THREAD["pid"], track.process.pid) + _int(_THREAD["tid"], tid)
        yield _descriptor(uuid + _field(_DESCRIPTOR["thread"], about + _text(_THREAD["thread_name"], track.thread)))

    def _counter(self, item: Counter) -> Iterator[bytes]:
        key = (item.process.key, item.device, item.name)
        uuid = self._counters.get(key)
        if uuid is None:
            yield from self._process(item.process)
            uuid = self._counters[key] = next(self._uuids)
            yield _descriptor(
                _int(_DESCRIPTOR["uuid"], uuid)
                + _int(_DESCRIPTOR["parent_uuid"], item.process.key)
                + _text(_DESCRIPTOR["name"], f"{item.device} {item.name.removesuffix('_bytes')}")
                + _field(_DESCRIPTOR["counter"], _int(_COUNTER_UNIT, _BYTES))
            )
        value = _int(_EVENT["counter_value"], item.value_bytes)
        yield _packet(item.time_ns, _int(_EVENT["type"], _COUNTER) + _int(_EVENT["track_uuid"], uuid) + value)


def _clocks(time_ns: int) -> bytes:
    """Return the trace's own clock counts like the wall clock; so a viewer can show the time of day."""
    clocks = b"".join(
        _field(_CLOCKS, _int(_CLOCK_ID, clock) + _int(_CLOCK_TIME, time_ns)) for clock in (_REALTIME, _BOOTTIME)
    )
    return (
        _field(_PACKET["clock_snapshot"], clocks)
        + _int(_PACKET["trusted_packet_sequence_id"], _SEQUENCE)
        + _int(_PACKET["sequence_flags"], _STATE_CLEARED)
    )


def _descriptor(body: bytes) -> bytes:
    return _field(_PACKET["track_descriptor"], body) + _int(_PACKET["trusted_packet_sequence_id"], _SEQUENCE)


def _event(time_ns: int, kind: int, track: int, name: str | None, arguments: Mapping[str, Any]) -> bytes:
    body = _int(_EVENT["type"], kind) + _int(_EVENT["track_uuid"], track)
    if name is not None:
        body += _text(_EVENT["name"], name)
    for key, value in arguments.items():
        body += _field(_EVENT["debug_annotations"], _text(_ANNOTATION["name"], key) + _value(value))
    return _packet(time_ns, body)


def _packet(time_ns: int, event: bytes) -> bytes:
    return (
        _int(_PACKET["timestamp"], time_ns)
        + _field(_PACKET["track_event"], event)
        + _int(_PACKET["trusted_packet_sequence_id"], _SEQUENCE)
    )


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        return _int(_ANNOTATION["bool"], int(value))
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return _int(_ANNOTATION["int"], value)
    return _text(_ANNOTATION["str"], value if isinstance(value, str) else str(value))


def _int(field: int, value: int) -> bytes:
    """Return a field of wire type 0; a negative number is written as its 64-bit two's complement."""
    return _varint(field << 3) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _text(field: int, text: str) -> bytes:
    return _field(field, text.encode("utf-8", "replace"))


def _field(field: int, body: bytes) -> bytes:
    """Return a field of wire type 2: bytes, text, or another message."""
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
