"""Real ring files with contents that follow from the sequence number, a model of where they lie, and writers in
processes that can be killed."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from phasescope.wire import ring, ring_files
from phasescope.wire.record_reader import RecordReader
from support.waiting import CEILING_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONSTANTS = (
    b'{"session_id": "5b0e6a3e-5a0c-4e7f-8a55-0f1d7c9a1b2c", "pid": 4242, "host": "node-07", "rank": 0, '
    b'"local_rank": 0, "world_size": 1, "job_id": null, "sampling_interval_ms": 100}'
)
HEADER_BYTES = 16


def payload_of(sequence: int) -> bytes:
    """Return the content of record number `sequence`: of every length that makes trouble, and no two alike."""
    length = (sequence * 2654435761 >> 5) % 300
    if sequence % 50 == 0:
        length = (sequence * 40503) % (ring.MAX_PAYLOAD_BYTES + 1)
    text = b"%d," % sequence
    return (text * (length // len(text) + 1))[:length]


class MemoryRing:
    """A ring in memory and its writer; `data` is the content of its file."""

    def __init__(self, capacity_bytes: int = ring.MIN_CAPACITY_BYTES, constants: bytes = CONSTANTS) -> None:
        self.layout = ring.plan(constants, capacity_bytes)
        self.buffer = mmap.mmap(-1, self.layout.size)
        self.writer = ring.RingWriter(self.buffer, self.layout, constants)

    def read(self, size: int, offset: int) -> bytes:
        return self.buffer[offset : offset + size]

    @property
    def data(self) -> bytes:
        return self.buffer[:]

    def reader(self) -> RecordReader:
        return RecordReader(self.read, self.layout.size)

    def write(self, count: int) -> None:
        """Write the next `count` records, each as `payload_of` has it."""
        for _ in range(count):
            self.writer.append(payload_of(self.writer.sequence + 1))


def reader_of(data: bytes) -> RecordReader:
    """Return a reader of these bytes. Raises RingError."""
    return RecordReader(lambda size, offset: data[offset : offset + size], len(data))


def read_all(reader: RecordReader) -> list[tuple[int, bytes]]:
    """Return all records that are there now."""
    return [record for batch in reader.batches() for record in batch]


def oldest_kept(lengths: list[int], layout: ring.Layout) -> int:
    """Return the number of the oldest record that a ring still holds after records of these lengths.

    This is the format, written down a second time, with nothing but arithmetic.
    """
    segments = [1]  # the number of the first record in each segment that was ever begun
    room = layout.segment
    for number, length in enumerate(lengths, 1):
        if HEADER_BYTES + length > room:
            segments.append(number)
            room = layout.segment
        room -= HEADER_BYTES + length
    return segments[-(layout.capacity // layout.segment) :][0]


class Writer(NamedTuple):
    """A process that writes until it is killed. Through `acknowledged[i]` it says which calls have returned."""

    pid: int
    acknowledged: memoryview

    def wait_for(self, value: int, slot: int = 0) -> None:
        """Wait until it has acknowledged `value`."""
        until(lambda: self.acknowledged[slot] >= value, pause_s=0.0002)

    def kill(self) -> None:
        """Send SIGKILL, and wait until it is gone. Fails the test if it had ended by itself."""
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        assert os.WIFSIGNALED(status), f"the writer ended by itself, with status {status}"

    def join(self) -> None:
        """Wait until it has ended, well."""
        _, status = os.waitpid(self.pid, 0)
        assert status == 0, f"the writer failed: {status}"


def forked(function: Callable[[memoryview], Any], slots: int = 8) -> Writer:
    """Fork a process that runs `function(acknowledged)`, 64-bit numbers that both processes see."""
    shared = memoryview(mmap.mmap(-1, 8 * slots)).cast("Q")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and newer: fork beside threads
        pid = os.fork()
    if pid == 0:
        _run(function, shared)
    return Writer(pid, shared)


def _run(function: Callable[[memoryview], Any], shared: memoryview) -> NoReturn:
    status = 1
    try:
        signal.alarm(int(CEILING_S))
        function(shared)
        status = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(status)


def new_file(
    directory: Path, capacity_bytes: int = ring.MIN_CAPACITY_BYTES, name: str = "node-1-1"
) -> ring_files.RingFile:
    """Create a real ring file."""
    return ring_files.create(CONSTANTS, capacity_bytes, str(directory), name)


@contextlib.contextmanager
def ring_of(path: Path | str) -> Iterator[RecordReader]:
    """Yield a reader of a real file, as it is now and goes on to be."""
    fd = os.open(path, os.O_RDONLY)
    try:
        yield RecordReader(lambda size, offset: os.pread(fd, size, offset), os.fstat(fd).st_size)
    finally:
        os.close(fd)


def let_go(file: ring_files.RingFile) -> None:
    """Let go of the ring as a process does when it ends."""
    file.writer.release()
    file.buffer.close()
    if file.fd is not None:
        os.close(file.fd)
