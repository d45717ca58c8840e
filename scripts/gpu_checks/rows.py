"""What the blocks of the check are made of: rows of its table, events, a second process, nvidia-smi."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import phasescope

    Event = dict[str, Any]

MIB = 2**20
ROUNDING = 512
"""torch's allocator gives out memory in multiples of this, in bytes."""

CHILD_MIB = 512
_WAIT_S = 10.0
_SCRIPT = str(Path(__file__).parents[1] / "gpu_check.py")


class Row(NamedTuple):
    """One line of the table. `holds` None is: could not be compared here, for the reason in `note`."""

    what: str
    measured: str
    independent: str
    holds: bool | None
    note: str = ""


class Setting(NamedTuple):
    """What the command line gave."""

    device: int
    size_bytes: int
    budget_us: float

    @property
    def place(self) -> str:
        """The device, as torch names it."""
        return place_of(self.device)


def place_of(device: int) -> str:
    """Return the device as torch names it; -1 is the host, on which tests run what needs no GPU."""
    return "cpu" if device < 0 else f"cuda:{device}"


def compared(what: str, measured: int, independent: int, within: int = 0, note: str = "") -> Row:
    """Return a row about two sizes in bytes that may differ by `within`."""
    allowed = f"to {within / MIB:,.0f} MiB" if within else "exactly"
    return Row(what, f"{measured:,} B", f"{independent:,} B", abs(measured - independent) <= within, note or allowed)


def rounded(size: int) -> int:
    """Round as torch's allocator does."""
    return -(-size // ROUNDING) * ROUNDING


def warm_up(torch: Any, device: int) -> None:
    """Make a context on the device, current in this thread, and a first block in the allocator."""
    torch.cuda.set_device(device)
    torch.empty(1, dtype=torch.uint8, device=f"cuda:{device}")


def exit_of(session: phasescope.Session, name: str) -> Event:
    """Return the exit of the phase with this name."""
    return wait_for(session, lambda event: event["event_type"] == "phase_exit" and path_of(event)[-1:] == [name])


def path_of(event: Event) -> list[str]:
    """Return the path of the phase that an event names."""
    path: list[str] = event["metadata"].get("phase_scope", {}).get("path", [])
    return path


def peak_of(event: Event) -> int:
    """Return the exact peak of a phase; -1 where the event has none, which is never right."""
    peak: int = event["metadata"]["phase_scope"].get("peak_allocated_bytes", -1)
    return peak


def detailed_sample(session: phasescope.Session, device: int) -> Event:
    """Return a sample of the device, taken from now on, with what the driver knows besides."""
    seen = len(session.events())
    deadline = time.monotonic() + 7  # processes are listed every 5 s; a driver may not list them: then any will do
    return wait_for(
        session,
        lambda event: (
            event["event_type"] == "sample"
            and event["device_id"] == device
            and ("process_used_bytes" in event["metadata"] or time.monotonic() > deadline)
        ),
        after=seen,
    )


def wait_for(session: phasescope.Session, wanted: Callable[[Event], bool], after: int = 0) -> Event:
    """Return the first such event after the first `after`. Raises TimeoutError."""
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        for event in session.events()[after:]:
            if wanted(event):
                return event
        time.sleep(0.02)
    raise TimeoutError(f"no such event within {_WAIT_S:.0f} s")


class holding_child:  # noqa: N801
    """Another process that holds memory of the device; gives the bytes that its allocator reserved."""

    def __init__(self, device: int, mib: int = CHILD_MIB) -> None:
        self._command = [sys.executable, _SCRIPT, "--hold", str(device), "--hold-mib", str(mib)]

    def __enter__(self) -> int:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def __exit__(self, *_: object) -> None:
        self._process.communicate("\n", timeout=60)


def hold(device: int, mib: int) -> None:
    """Do the work of that process."""
    import torch

    warm_up(torch, device)
    kept = torch.empty(mib * MIB, dtype=torch.uint8, device=f"cuda:{device}")
    torch.cuda.synchronize(device)
    print(torch.cuda.memory_reserved(device), flush=True)
    sys.stdin.readline()
    del kept


def nvidia_smi(what: str, columns: tuple[str, ...], uuid: str) -> list[list[str]]:
    """Return its rows about one device, sizes in MiB; empty if it does not answer."""
    command = ["nvidia-smi", f"--query-{what}={','.join(columns)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    return [row for row in rows if row[0] == uuid]


def timed_us(call: Callable[[], object], times: int) -> list[float]:
    """Return how long each of `times` calls took, in microseconds."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - begin) / 1000)
    return taken


def spread(taken: Sequence[float], unit: str = "µs") -> str:
    """Return the median and the 99th percentile."""
    ordered = sorted(taken)
    high = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return f"p50 {statistics.median(ordered):.1f}, p99 {high:.1f} {unit}"


def lacks(torch: Any, *names: str) -> str:
    """Return which of these this torch does not have, for a row that cannot be compared; empty if it has all."""
    missing = []
    for name in names:
        found = torch
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is None:
            missing.append(f"torch.{name}")
    return f"this torch has no {', '.join(missing)}" if missing else ""
