"""Instructions instead of seconds: valgrind's callgrind counts those of a process, whatever else the machine does.

The same count comes out at each run to within a few in a thousand. What the kernel does for a call is not in it, nor
what a cache that misses costs: it says whether code became longer, not how long it takes.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import sys
import timeit
from functools import partial
from tempfile import TemporaryDirectory

from benchmarks import analysis, ours, peers
from benchmarks.least import least_phase
from benchmarks.measure import UNROLL, Series, Subject, with_names
from benchmarks.phase import OURS, STORMLOG, Named
from benchmarks.report import Result, Row

UNIT = "instructions"
NEVER_MS = 3_600_000
"""Between two samples: they would be counted with the phases."""

FEW_EVENTS, MANY_EVENTS = 20_000, 120_000
LIMIT_S = 600
_LOOPS = 300
"""As many of a subject's blocks of ten are counted; three quarters as many again come before, to warm up."""

_COUNT = re.compile(r"Collected : (\d+)")

SUBJECTS = [
    Subject("an empty class that takes the name", "with Named('forward'): pass", 0, with_names(Named=Named)),
    Subject("phase, no session", OURS, 0, ours.no_session),
    Subject("phase, free counters", OURS, 0, partial(ours.session, interval_ms=NEVER_MS)),
    Subject("phase on `cpu`", OURS, 0, partial(ours.session, "cpu", interval_ms=NEVER_MS)),
    Subject("the least Python phase that does what it promises", OURS, 0, least_phase),
    Subject("Stormlog, no sink", STORMLOG, 0, partial(peers.stormlog, "free", sink=False)),
    Subject("Stormlog's CPU tracker, no sink", STORMLOG, 0, partial(peers.stormlog, "cpu", sink=False)),
]
_TWINS = ("phase, free counters", "phase on `cpu`")


class _Failed(RuntimeError):
    """A command under callgrind failed, or there is no valgrind."""


def run(rounds: int) -> Result:
    """Return the rows: instructions of one phase, and of one event that an answer reads. One round says it all."""
    del rounds
    rows = [Row(subject.name, _counted(subject.name, partial(_of_a_phase, subject.name))) for subject in SUBJECTS]
    for name in _TWINS:
        what = f"without the compiled core: {name}"
        rows.append(Row(what, _counted(what, partial(_of_a_phase, name, PHASESCOPE_PURE_PYTHON="1"))))
    for command in analysis.MUST_S:
        for kind in ("ring", "JSONL"):
            what = f"`{command}`, {kind}: each event"
            rows.append(Row(what, _counted(what, partial(_of_an_event, command, kind))))
    return Result(rows, ["Counted by callgrind, in user space: what the kernel does for a call is not in it."])


def _counted(what: str, count: partial[float]) -> Series:
    try:
        return Series(what, UNIT, [count()])
    except (_Failed, OSError, subprocess.SubprocessError) as error:
        return Series(what, UNIT, [], str(error))


def _of_a_phase(name: str, **environment: str) -> float:
    """Return the instructions of one phase: those of a process with them, less those of one with the warm-up only."""
    few, many = (_under_callgrind("-m", __name__, name, str(loops), **environment) for loops in (0, _LOOPS))
    return (many - few) / (_LOOPS * UNROLL)


def _of_an_event(command: str, kind: str) -> float:
    """Return the instructions of one event: those for many of them less those for a few."""
    counts = []
    for events in (FEW_EVENTS, MANY_EVENTS):
        with TemporaryDirectory(prefix="phasescope-bench-") as folder:
            path = analysis.write_ring(events, folder)
            if kind == "JSONL":
                path = analysis.write_jsonl(path, folder)
            counts.append(_under_callgrind("-c", analysis.COMMAND, command, path, "--json"))
    return (counts[1] - counts[0]) / (MANY_EVENTS - FEW_EVENTS)


def _under_callgrind(*arguments: str, **environment: str) -> int:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise _Failed("there is no valgrind")
    with TemporaryDirectory() as folder:
        done = subprocess.run(
            [valgrind, "--tool=callgrind", f"--callgrind-out-file={folder}/out", sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            env={**os.environ, "PYTHONHASHSEED": "0", **environment},
        )
    counted = _COUNT.search(done.stderr)
    if done.returncode not in analysis.ANSWERS or counted is None:
        said = [line for line in done.stderr.strip().splitlines() if not line.startswith("==")]
        raise _Failed((said or ["callgrind said nothing"])[-1])
    return int(counted.group(1))


def main(name: str, loops: int) -> None:
    """Warm a subject up, and run it as often."""
    (subject,) = (each for each in SUBJECTS if each.name == name)
    with subject.opened() as names:
        timer = timeit.Timer("\n".join([subject.statement] * UNROLL), globals=names)
        gc.collect()
        gc.disable()
        timer.timeit(_LOOPS * 3 // 4)
        timer.timeit(loops)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
