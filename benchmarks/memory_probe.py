"""Prints the bytes by which the resident set grows from the import until EVENTS events: `... NAME EVENTS DIRECTORY`.

It imports nothing else: the modules that the profiler loads when it starts must not be there already.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    name, events, directory = sys.argv[1:]
    probe = {"phasescope": _phasescope, "Stormlog": _stormlog}[name]
    print(probe(int(events) // 2, directory))


def _phasescope(phases: int, directory: str) -> int:
    import phasescope

    before = _resident_bytes()
    from phasescope.testing import FakeBackend

    session = phasescope.start(backends=[FakeBackend("cuda", allocated=2**28)], directory=directory)
    phase = phasescope.phase
    for _ in range(phases):
        with phase("forward"):
            pass
    grown = _resident_bytes() - before
    if session.path is None or session.written < 2 * phases:
        raise RuntimeError(f"{session.written} events written to {session.path}")
    phasescope.stop()
    return grown


def _stormlog(phases: int, directory: str) -> int:
    from stormlog import CPUMemoryTracker

    before = _resident_bytes()
    tracker = CPUMemoryTracker(sampling_interval=0.1)
    tracker.start_tracking()
    for _ in range(phases):
        with tracker.phase("forward"):
            pass
    grown = _resident_bytes() - before
    tracker.stop_tracking()
    return grown


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - pathlib is not to be imported here
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import psutil

        return psutil.Process().memory_info().rss


if __name__ == "__main__":
    main()
