"""The costs of the answers over a million events that a real session wrote: `summary` and `explain`, ring and JSONL."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import NamedTuple

from benchmarks.measure import Series
from benchmarks.report import Result, Row

EVENTS = 1_000_000
MUST_S = {"summary": {"ring": 0.8, "JSONL": 2.5}, "explain": {"ring": 1.2, "JSONL": 3.0}}
AIM_S = {"summary": {"ring": 0.4, "JSONL": 1.5}, "explain": {"ring": 0.6, "JSONL": 2.0}}
MUST_MIB = 300.0
ANSWERS = (0, 4)
"""`explain` ends with 4 if it finds something: the training below leaks."""

TRAINING = """
import sys
import phasescope
from phasescope import phase
from phasescope.testing import FakeBackend

events, directory = int(sys.argv[1]), sys.argv[2]
gpu = FakeBackend("cuda", allocated=2**30, total=2**37, used=2**32, free=2**36)
with phasescope.start(backends=[gpu], directory=directory, capacity_bytes=2**28) as session:
    for _ in range(events // 10):
        with phase("step"):
            with phase("data"):
                pass
            with phase("forward"):
                gpu.allocate(2**20)
            with phase("backward"):
                gpu.allocate(-(2**20) + 512)
            with phase("optimizer"):
                pass
print(session.path)
"""

COMMAND = """
import sys, time
from phasescope import cli

code = cli.main(sys.argv[1:])
if code in (0, 4):  # else its own last line is the reason
    with open("/proc/self/status") as status:
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    print(time.process_time(), peak, file=sys.stderr)
sys.exit(code)
"""


class _Cost(NamedTuple):
    seconds: float
    mebibytes: float


def run(rounds: int) -> Result:
    """Return the rows: whole processes from start to exit.

    Their figures are the processor time, and the largest resident set, the interpreter's own included.
    """
    times: dict[tuple[str, str], list[float]] = {}
    peaks: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="phasescope-bench-") as folder:
        ring = write_ring(EVENTS, folder)
        recording = write_jsonl(ring, folder)
        subjects = [
            (command, kind, path) for command in MUST_S for kind, path in (("ring", ring), ("JSONL", recording))
        ]
        for _ in range(rounds):
            for command, kind, path in subjects:
                cost = _cost(command, path, "--json")
                times.setdefault((command, kind), []).append(cost.seconds)
                peaks.setdefault((command, kind), []).append(cost.mebibytes)
    rows = []
    for (command, kind), values in times.items():
        name = f"`{command}` of {EVENTS:,} events, {kind}"
        rows.append(Row(name, Series(command, "s", values), MUST_S[command][kind], AIM_S[command][kind]))
        rows.append(Row(f"{name}: memory", Series(command, "MiB", peaks[command, kind]), MUST_MIB))
    return Result(
        rows, [f"The {EVENTS:,} events are a session's own, of five phases a step; times are the processor's."]
    )


def write_ring(events: int, folder: str) -> str:
    """Return the path of a ring that a session of that many events left in the folder."""
    return _python(TRAINING, str(events), folder).stdout.strip()


def write_jsonl(ring: str, folder: str) -> str:
    """Return the path of the same session as JSONL."""
    path = f"{folder}/run.jsonl"
    _cost("convert", ring, path)
    return path


def _cost(*arguments: str) -> _Cost:
    """Return the cost of one command. Raises RuntimeError if it fails."""
    seconds, kibibytes = _python(COMMAND, *arguments).stderr.split()[-2:]
    return _Cost(float(seconds), int(kibibytes) / 1024)


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    if done.returncode not in ANSWERS:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done
