"""The parts of the costs: each thing that a phase cannot do without, timed alone, and the remainder above them.

Of the Python core, whose parts Python can time; the compiled one does the same in less time than some of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
import threading
import time
import zlib
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import ours
from benchmarks.envelope import RECORDS, phase_exit_events
from benchmarks.measure import Subject, in_fresh_process, interleave, scratch_directory, series_from, with_names
from benchmarks.phase import OURS, Empty
from benchmarks.report import Floor, Result, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBER = 50_000
PAYLOAD = bytes(range(130))
HEADER = struct.Struct("=IIQ")

_SCOPE = (7, 3, 14, 140_000_000_000_000, "MainThread", ("epoch", "forward"))
_COUNTERS = (2**28, 2**29, 2**28, 0, 0, 2**29, 2**30, 3 * 2**29)
FIELDS = ("phase_enter", 1_700_000_000_000_000_000, "cuda", 0, *_COUNTERS, 0, None, None, *_SCOPE)
"""About what a phase's first event holds."""


def run(rounds: int) -> Result:
    """Return a row for each primitive, and the parts of each target."""
    measured = series_from(in_fresh_process("benchmarks.floors", "without_core", rounds, PHASESCOPE_PURE_PYTHON="1"))
    event = [
        (2, measured["read a clock"]),
        (2, measured["take and release an RLock"]),
        (2, measured[f"encode {len(FIELDS)} fields (MessagePack)"]),
        (2, measured[f"CRC-32 of {len(PAYLOAD)} bytes"]),
        (2, measured["pack a record's header"]),
        (2, measured["write 146 bytes into a mapped file"]),
        (4, measured["store a word in a mapped file"]),
    ]
    no_session = Floor(
        "phase, no session, without the compiled core", measured["no session"], [(1, measured["empty class"])]
    )
    nesting = [(1, measured["empty class"]), (2, measured["ContextVar get and set"])]
    resident = [(2, measured["read /proc/self/statm"]), (2, measured["parse it"])]
    return Result(
        [Row(name, series) for name, series in measured.items() if name not in _MEASURED],
        floors=[
            Floor("phase, free counters, ring file, without the compiled core", measured["phase"], [*nesting, *event]),
            Floor("phase on `cpu`, without the compiled core", measured["phase, cpu"], [*nesting, *event, *resident]),
            no_session,
            Floor(
                "project one event, record_id read",
                measured["projection"],
                [(1, measured["an event as sorted JSON (msgspec)"]), (1, measured["SHA-256 of it"])],
            ),
        ],
    )


def without_core(rounds: int) -> dict[str, Any]:
    """In a fresh process, time the costs and their parts in the same rounds."""
    return dict(interleave([*_primitives(), *_measured()], rounds))


_MEASURED = ("phase", "phase, cpu", "no session", "projection")


def _measured() -> list[Subject]:
    """Return the costs themselves once more, in the same rounds as their parts."""
    project = "for record in records: project(record).record_id"
    return [
        Subject("phase", OURS, 5000, ours.session),
        Subject("phase, cpu", OURS, 3000, partial(ours.session, "cpu")),
        Subject("no session", OURS, 100_000, ours.no_session),
        Subject("projection", project, 10_000, _projection, operations=RECORDS),
    ]


def _primitives() -> list[Subject]:
    import msgspec

    context: ContextVar[object] = ContextVar("benchmark", default=None)
    packing = {"encode": msgspec.msgpack.Encoder().encode, "fields": FIELDS}
    crc32 = {"crc32": zlib.crc32, "payload": PAYLOAD}
    statm = b"40960 12345 2048 700 0 20000 0\n"
    return [
        Subject("read a clock", "now()", NUMBER, with_names(now=time.perf_counter_ns)),
        Subject("read the wall clock", "now()", NUMBER, with_names(now=time.time_ns)),
        Subject("empty class", "with Empty(): pass", NUMBER, with_names(Empty=Empty)),
        Subject("ContextVar get and set", "get(); set(1)", NUMBER, with_names(get=context.get, set=context.set)),
        Subject("take and release an RLock", "with lock: pass", NUMBER, with_names(lock=threading.RLock())),
        Subject(f"encode {len(FIELDS)} fields (MessagePack)", "encode(fields)", NUMBER, with_names(**packing)),
        Subject(f"CRC-32 of {len(PAYLOAD)} bytes", "crc32(payload, 7)", NUMBER, with_names(**crc32)),
        Subject("pack a record's header", "pack(130, 12345, 7)", NUMBER, with_names(pack=HEADER.pack)),
        Subject("write 146 bytes into a mapped file", "buffer[4096:4242] = record", NUMBER, _mapped_file),
        Subject("store a word in a mapped file", "words[8] = 4096", NUMBER, _mapped_file),
        Subject("read /proc/self/statm", "pread(fd, 256, 0)", NUMBER // 5, _statm),
        Subject("parse it", "int(statm.split(b' ', 2)[1]) * 4096", NUMBER, with_names(statm=statm)),
        Subject("an event as sorted JSON (msgspec)", "encode(event)", NUMBER // 5, _event_json),
        Subject("SHA-256 of it", "sha256(text).hexdigest()", NUMBER // 5, _event_json),
    ]


@contextlib.contextmanager
def _mapped_file() -> Iterator[dict[str, Any]]:
    with scratch_directory() as directory, (Path(directory) / "ring").open("w+b") as file:
        file.truncate(1 << 20)
        with mmap.mmap(file.fileno(), 1 << 20) as buffer, memoryview(buffer) as view, view.cast("Q") as words:
            yield {"buffer": buffer, "words": words, "record": bytes(146)}


@contextlib.contextmanager
def _statm() -> Iterator[dict[str, Any]]:
    fd = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        yield {"pread": os.pread, "fd": fd}
    finally:
        os.close(fd)


@contextlib.contextmanager
def _event_json() -> Iterator[dict[str, Any]]:
    import msgspec

    event = phase_exit_events()[0]
    encode = msgspec.json.Encoder(order="sorted").encode
    yield {"encode": encode, "event": event, "sha256": hashlib.sha256, "text": encode(event)}


@contextlib.contextmanager
def _projection() -> Iterator[dict[str, Any]]:
    import phasescope

    yield {"project": phasescope.project_telemetry_mapping, "records": phase_exit_events()}
