"""Real ring files written at speed: a session of an hour in seconds, and names that no training would choose."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from phasescope.wire import encoding, ring_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_NS = 1_763_900_000_000_000_000
MS = 1_000_000
MIB = 1024 * 1024
GIB = 1024 * MIB

MADE_OF = {
    "memory.category.looks": 1,
    "memory.category.moment": "step",
    **{
        f"memory.category.{name}_bytes": size * GIB
        for name, size in {"parameters": 9, "optimizer_state": 18, "other": 13, "activations": 20, "buffers": 0}.items()
    },
}
"""What a look at the memory of a step finds."""


class MadeRing:
    """A ring that the test writes; its clock is `now_ns`. It is running until `stop` or `die`.

    `unavailable` has a bit for each counter that cannot be measured.
    """

    def __init__(self, directory: Path, *, capacity_bytes: int = 4 * MIB, **constants: Any) -> None:
        told = {
            "session_id": "5b0e6a3e5a0c4e7f8a550f1d7c9a1b2c",
            "host": "node-07",
            "pid": 4242,
            "started_ns": START_NS,
            "command": ["python", "train.py"],
            "rank": 0,
            "local_rank": 0,
            "world_size": 1,
            "job_id": None,
            "sampling_interval_ms": 100,
            **constants,
        }
        directory.mkdir(mode=0o700, exist_ok=True)
        name = f"node-{told['pid']}-{told['started_ns'] // MS}"
        self._ring = ring_files.create(json.dumps(told).encode(), capacity_bytes, str(directory), name)
        self._sequence = 0
        self._closed = False
        self.now_ns = START_NS
        self.allocated = GIB
        self.total = 80 * GIB
        self.unavailable = 0
        self.path = str(self._ring.path)

    def event(
        self, event_type: str, *scope: Any, context: str | None = None, extra: dict[str, Any] | None = None
    ) -> None:
        """Write any event of the device `cuda:0`; `scope` is the rest of a payload."""
        device = ["cuda", 0, self.allocated + GIB, self.total - self.allocated - GIB, self.total, self.unavailable]
        counters = (self.allocated, self.allocated + GIB // 2, None, None, 0)
        self._ring.writer.append(encoding.encode((event_type, self.now_ns, device, *counters, context, extra, *scope)))
        self._ring.writer.beat(self.now_ns, 0)

    def enter(self, path: list[str], parent: int | None = None, attributes: dict[str, Any] | None = None) -> int:
        """Begin a phase; return its number."""
        self._sequence += 1
        self.event("phase_enter", self._sequence, None, parent, [1, "MainThread"], path, attributes)
        return self._sequence

    def leave(
        self,
        number: int,
        path: list[str],
        parent: int | None,
        duration_ns: int,
        status: str = "ok",
        *,
        delta_bytes: int = 0,
    ) -> None:
        """End the phase that was entered with this number."""
        self._sequence += 1
        thread = [1, "MainThread"]
        how = (duration_ns, status, None, delta_bytes)
        self.event("phase_exit", self._sequence, number, parent, thread, path, None, *how)

    def run(self, path: list[str], ms: float, parent: int | None = None) -> None:
        """Run a phase of `ms`."""
        number = self.enter(path, parent)
        self.now_ns += int(ms * MS)
        self.leave(number, path, parent, int(ms * MS))

    def stop(self, context: str | None = None) -> None:
        """End the session as it should."""
        self.event("stop", context=context)
        self._ring.writer.stop()
        self.die()

    def die(self) -> None:
        """Let its process disappear."""
        if not self._closed and self._ring.fd is not None:
            self._closed = True
            self._ring.writer.release()
            self._ring.buffer.close()
            os.close(self._ring.fd)


@contextlib.contextmanager
def made_ring(directory: Path, **constants: Any) -> Iterator[MadeRing]:
    """Yield a ring that is let go of in the end."""
    ring = MadeRing(directory, **constants)
    try:
        yield ring
    finally:
        ring.die()


def grows(ring: MadeRing, steps: int) -> None:
    """Write `steps` steps of a second, each of which leaves 1 MiB behind."""
    ring.event("start")
    for _ in range(steps):
        number = ring.enter(["step"])
        ring.allocated += MIB
        ring.now_ns += 1000 * MS
        ring.leave(number, ["step"], None, 1000 * MS, delta_bytes=MIB)
        ring.event("sample")


def an_hour(ring: MadeRing, *, step_ms: float = 200.0) -> int:
    """Write an hour of training; return how many events those are.

    Epochs of five minutes, steps of four phases, samples, and one spike of a single sample.
    """
    ring.event("start")
    events, end_ns, spike = 1, START_NS + 3600 * 1000 * MS, False
    while ring.now_ns < end_ns:
        epoch = ring.enter(["epoch"])
        began_ns = epoch_ns = ring.now_ns
        while ring.now_ns < epoch_ns + 300_000 * MS:
            step_ns, step = ring.now_ns, ring.enter(["epoch", "step"], epoch)
            for share, name, change in (
                (0.1, "data", 0),
                (0.3, "forward", 4),
                (0.5, "backward", -4),
                (0.1, "optimizer", 0),
            ):
                ring.allocated += change * GIB
                ring.run(["epoch", "step", name], step_ms * share, step)
            ring.leave(step, ["epoch", "step"], epoch, ring.now_ns - step_ns)
            events += 10
            if (ring.now_ns - began_ns) // MS >= 1000:
                began_ns = ring.now_ns
                if not spike and ring.now_ns > START_NS + 1_234_000 * MS:
                    spike, ring.allocated = True, ring.allocated + 60 * GIB
                    ring.event("sample")
                    ring.allocated -= 60 * GIB
                    events += 1
                ring.event("sample")
                events += 1
        ring.leave(epoch, ["epoch"], None, ring.now_ns - epoch_ns)
        events += 2
    return events
