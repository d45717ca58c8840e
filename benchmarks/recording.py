"""Recordings of a million events: the time of commands over them, and the cost of being recorded to a training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Series, ratio
from benchmarks.report import Result, Row
from phasescope.wire import ring_files
from phasescope.wire.encoding import Raw, encode, encode_device
from phasescope.wire.record_reader import RecordReader

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = 1_000_000
RATE_PER_S = 10_000
WINDOW_S = 60.0
_QUICK_ROUNDS, _QUICK_WINDOW_S = 2, 5.0

COMMAND = """
import sys, time
from phasescope import cli

code = cli.main(sys.argv[1:])
if code == 0:  # else its own last line is the reason
    print(time.process_time(), file=sys.stderr)
sys.exit(code)
"""

TRAINING = """
import sys, time
import phasescope
from phasescope import phase

seconds, per_second = float(sys.argv[1]), int(sys.argv[2])
session = phasescope.start(backends=["cpu"])
print(session.pid, flush=True)
sys.stdin.readline()
began, spent, count = time.perf_counter(), time.process_time_ns(), 0
while (passed := time.perf_counter() - began) < seconds:
    while count < passed * per_second / 2:
        with phase("step"):
            count += 1
    time.sleep(0.005)
spent = time.process_time_ns() - spent
session.stop()
print(spent / count / 2, session.written, flush=True)
"""


def run(rounds: int) -> Result:
    """Return the rows about recordings.

    Commands are whole processes, from start to exit, by the processor time they take: on a machine of one's own the
    wall clock says the same, on a shared one it shows who else is there.
    """
    series: dict[str, Series] = {}
    window_s = _QUICK_WINDOW_S if rounds <= _QUICK_ROUNDS else WINDOW_S
    with tempfile.TemporaryDirectory(prefix="phasescope-bench-") as folder:
        recording = Path(folder) / "run.jsonl"
        source = _ring(Path(folder))
        _command("convert", str(source), str(recording))
        for _ in range(rounds):
            for name, path in (("ring", source), ("JSONL", recording)):
                table = Path(folder) / "run.parquet"
                _add(series, f"Parquet from a {name}", "s", _command("convert", str(path), str(table)))
                table.unlink()
    for number in range(rounds):
        for recorded in (True, False) if number % 2 else (False, True):
            cost_ns, lost = _training(recorded, window_s)
            _add(series, "recorded" if recorded else "alone", "ns", cost_ns)
            if recorded:
                _add(series, "lost", "events", lost)
    return Result(
        [
            Row(f"`convert` of {EVENTS:,} events to Parquet, from a ring", series["Parquet from a ring"], 2.5, 1),
            Row(f"`convert` of {EVENTS:,} events to Parquet, from JSONL", series["Parquet from a JSONL"]),
            Row(f"events lost by `record` at {RATE_PER_S:,} a second for {window_s:.0f} s", series["lost"], 0),
            Row(
                "processor time of an event, recorded from outside or not",
                ratio(series["recorded"], series["alone"]),
                ours=series["recorded"],
                theirs=series["alone"],
            ),
        ]
    )


def _add(series: dict[str, Series], name: str, unit: str, value: float) -> None:
    series.setdefault(name, Series(name, unit, [])).values.append(value)


def _command(*arguments: str) -> float:
    """Return the processor time of one command in s. Raises RuntimeError if it fails."""
    done = subprocess.run([sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"phasescope {arguments[0]}: {done.stderr.strip()}")
    return float(done.stderr.split()[-1])


def _training(recorded: bool, window_s: float) -> tuple[float, float]:
    """Return the processor time of one event in ns, and how many events are not in the recording."""
    with tempfile.TemporaryDirectory(prefix="phasescope-bench-") as folder:
        environment = {**os.environ, "PHASESCOPE_DIR": f"{folder}/rings"}
        path = Path(folder) / "run.jsonl"
        training = _start(environment, "-c", TRAINING, str(window_s), str(RATE_PER_S))
        recorder = None
        if recorded:
            recorder = _start(environment, "-m", "phasescope", "record", training[1].strip(), "-o", str(path))
        answer, _ = training[0].communicate("go\n", timeout=window_s + 60)
        cost_ns, written = answer.split()
        if recorder is None:
            return float(cost_ns), 0
        recorder[0].communicate(timeout=60)
        return float(cost_ns), int(written) - sum(map(_events_in, path.parent.glob(f"{path.stem}*")))


def _events_in(part: Path) -> int:
    """Count the events of one part of a recording, which begins with a line of its own."""
    with part.open("rb") as lines:
        return sum(json.loads(line)["event_type"] != "recording" for line in lines)


def _start(environment: dict[str, str], *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start a process; return it, and the first line that it prints."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    return process, process.stdout.readline()


def _ring(folder: Path) -> Path:
    """Write a session of `EVENTS` events, as a training of epochs and steps does."""
    constants = {
        "session_id": "5b0e6a3e5a0c4e7f8a550f1d7c9a1b2c",
        "pid": 4242,
        "host": "node-07",
        "job_id": None,
        "rank": 0,
        "local_rank": 0,
        "world_size": 1,
        "sampling_interval_ms": 100,
        "started_ns": 1_763_900_000_000_000_000,
        "command": ["train.py"],
    }
    (folder / "rings").mkdir(mode=0o700)
    file = ring_files.create(json.dumps(constants).encode(), 300 * EVENTS, str(folder / "rings"), "node-07-4242-1")
    for payload in _payloads():
        file.writer.append(payload)
    file.writer.stop()
    file.writer.release()
    assert file.fd is not None
    assert file.path is not None
    os.close(file.fd)
    with Path(file.path).open("rb") as kept:
        size_bytes = Path(file.path).stat().st_size
        reader = RecordReader(lambda size, offset: os.pread(kept.fileno(), size, offset), size_bytes)
        assert reader.last_sequence() == EVENTS
    return Path(file.path)


def _payloads() -> Iterator[bytes]:
    paths = {name: Raw(encode(["epoch", "step", name])) for name in ("data", "forward", "backward", "optimizer")}
    step_path, thread = Raw(encode(["epoch", "step"])), Raw(encode((1, "MainThread")))
    device: Any = None
    time_ns, allocated, number = 1_763_900_000_000_000_000, 1 << 30, 0

    def boundary(event_type: str, path: Raw, scope: int | None, parent: int | None) -> bytes:
        nonlocal time_ns, allocated, number
        number += 1
        time_ns += 20_000 + number * 31 % 9000
        allocated += number * 7919 % 1000 - 499
        head = (event_type, time_ns, device, allocated, allocated + (1 << 20), allocated, 0, 5, None, None, number)
        if scope is None:
            return encode((*head, None, parent, thread, path, None))
        return encode((*head, scope, parent, thread, path, None, 20_000 + number * 31 % 9000, "ok", None, 100, None))

    while True:
        if number % 1000 == 0:
            device = encode_device("cuda", 0, (10 << 30) + number, (6 << 30) - number, 16 << 30, 0)
        yield boundary("phase_enter", step_path, None, None)
        step = number
        for path in paths.values():
            yield boundary("phase_enter", path, None, step)
            yield boundary("phase_exit", path, number, step)
        yield boundary("phase_exit", step_path, step, None)
        if number >= EVENTS:
            return
