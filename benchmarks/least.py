"""The least that a phase can be which does what ours promises: the measure for the other costs.

At both ends it reads the clock and this process's resident set, packs an event and writes it, with its checksum, into
a mapped file: four calls that cannot be left out. It knows no nesting, no thread, no attribute, no error, no reader
and no end of the file, so nothing that is of use can cost less.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import threading
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE_BYTES = 16 * 2**20
HEADER = struct.Struct("=IIQ")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
REST = ("cpu", -1, None, None, 0, 2**33, 2**34, 2**35, 0, None, None, 7, 3, 14, 140_000_000_000_000, "MainThread")
"""What else an event holds, here the same for all."""


@contextlib.contextmanager
def least_phase() -> Iterator[dict[str, Any]]:
    """Yield a `phase` of that kind, for a subject."""
    fd = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        with scratch_directory() as directory, (Path(directory) / "least").open("w+b") as file:
            file.truncate(SIZE_BYTES)
            with mmap.mmap(file.fileno(), SIZE_BYTES) as buffer, memoryview(buffer) as view:
                with view.cast("Q") as words:
                    yield {"phase": _make_phase(fd, buffer, words)}
    finally:
        os.close(fd)


def _make_phase(fd: int, buffer: mmap.mmap, words: memoryview) -> Callable[[str], Any]:
    import msgspec

    encode = msgspec.msgpack.Encoder().encode
    now, pread, crc32, pack, lock = time.perf_counter_ns, os.pread, zlib.crc32, HEADER.pack, threading.RLock()
    head = 4096

    def write(fields: tuple[Any, ...]) -> None:
        nonlocal head
        with lock:
            payload = encode(fields)
            length = len(payload)
            record = pack(length, crc32(payload), head) + payload
            if head > SIZE_BYTES - 4096:
                head = 4096
            buffer[head : head + length + 16] = record
            head += (length + 23) & ~7
            words[8] = head

    class Least:
        __slots__ = ("entered_ns", "name")

        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            self.entered_ns = entered = now()
            used = int(pread(fd, 64, 0).split()[1]) * PAGE_BYTES
            write(("phase_enter", entered, used, used, *REST, self.name))

        def __exit__(self, *_: object) -> None:
            left = now()
            used = int(pread(fd, 64, 0).split()[1]) * PAGE_BYTES
            write(("phase_exit", left, used, used, *REST, self.name, left - self.entered_ns, "ok"))

    return Least
