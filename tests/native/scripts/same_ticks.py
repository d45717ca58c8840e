"""Lets time pass over a host that is made up, whichever core is in use, and prints where the ring lies.

Its arguments are a directory, a seed, and how many ticks. Besides the ring it prints how many of them the core did.

The files that stand for the kernel's are written again between ticks: the resident set, the machine's memory, a group
that limits it or does not; some lack a figure, and some are closed. Phases are opened and closed, on two threads, and
left open; memory passes thresholds; the wall clock jumps.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import phasescope
from phasescope import phase
from phasescope.backends import library_counters
from phasescope.backends.cgroup import MemoryCgroup
from phasescope.backends.cpu import Cpu
from phasescope.backends.host_details import HostExtra
from phasescope.backends.library_counters import Libraries
from phasescope.backends.meminfo import MachineMemory
from phasescope.capture import scope
from phasescope.capture.sampler import Sampler
from phasescope.testing import FakeClock, sample

HOME, ELSEWHERE = 7, 8
scope.threading = SimpleNamespace(  # type: ignore[assignment, attr-defined]
    get_ident=lambda: HOME if threading.current_thread() is threading.main_thread() else ELSEWHERE,
    enumerate=threading.enumerate,
)
library_counters._python_blocks = lambda: 4711

MACHINE_KIB = 24_684_092
PAGES = [0, 1, 31, 32, 8192, 2**19, 2**31]


def no_time() -> int:
    return 0


class Kernel:
    """The files that stand for the kernel's."""

    def __init__(self, folder: Path, seed: int, clock: FakeClock) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.group = folder / "cgroup"
        self.own = folder / "proc" / str(os.getpid())
        (self.own / "task" / str(os.getpid())).mkdir(parents=True)
        self.group.mkdir()
        (folder / "membership").write_text("0::/\n")
        self.set_statm()
        self.set_machine()
        self.set_limit()
        self.set_use()
        self.set_details()
        self.backend = Cpu(
            statm=self.own / "statm",
            cgroup=MemoryCgroup(self.group, folder / "membership", clock.monotonic_ns),
            monotonic_ns=clock.monotonic_ns,
        )
        self.backend._machine = MachineMemory(folder / "meminfo")
        self.backend._extra = HostExtra(folder / "proc", 4096, clock.monotonic_ns, no_time)
        self.backend._libraries = Libraries({"torch": None}, clock.monotonic_ns, no_time)

    def set_statm(self) -> None:
        resident, shared = self.random.choice(PAGES), self.random.choice([*PAGES, *PAGES, "x"])
        (self.own / "statm").write_text(f"{2**34} {resident} {shared} 1 0 5 0\n")

    def set_machine(self) -> None:
        kib = self.random.choice([0, 1, 1000, MACHINE_KIB // 2, MACHINE_KIB // 20, MACHINE_KIB, MACHINE_KIB + 1])
        total = self.random.choice([MACHINE_KIB] * 9 + [MACHINE_KIB + 4])
        (self.folder / "meminfo").write_text(
            f"MemTotal:       {total} kB\nMemFree:  1 kB\nMemAvailable:   {kib} kB\nCached: 5 kB\n"
        )

    def set_limit(self) -> None:
        limit = self.random.choice(["max", "1073741824", "1073741824", "4096", str(2**62)])
        (self.group / "memory.max").write_text(f"{limit}\n")

    def set_use(self) -> None:
        use = self.random.choice([0, 4096, 2**20, 2**29, 2**30, 2**31])
        (self.group / "memory.current").write_text(f"{use}\n")
        cached = self.random.choice(["inactive_file 4096\n", "inactive_file 0\n", "xinactive_file 9\n", ""])
        (self.group / "memory.stat").write_text(f"anon 5\n{cached}slab 1\n")

    def set_details(self) -> None:
        (self.own / "status").write_text(f"RssShmem:\t{self.random.choice(PAGES)} kB\nVmSwap:\t0 kB\n")
        (self.own / "task" / str(os.getpid()) / "children").write_text("")


class Days:
    """All that may happen between two ticks."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.clock = FakeClock()
        self.kernel = Kernel(folder, seed, self.clock)
        self.random = self.kernel.random
        self.open: list[phase] = []

    def enter(self) -> None:
        opened = phase(self.random.choice(["forward", "größe", "n" * 199]), **self.random.choice([{}, {"batch": 8}]))
        opened.__enter__()
        self.open.append(opened)

    def leave(self) -> None:
        if self.open:
            self.open.pop().__exit__(None, None, None)

    def enter_elsewhere(self) -> None:
        def enter() -> None:
            phase("elsewhere").__enter__()

        thread = threading.Thread(target=enter, name="other")
        thread.start()
        thread.join()

    def lose(self) -> None:
        """Close what the backend holds open, as a daemon does, or take away a file."""
        if self.random.random() < 0.5:
            self.kernel.backend._machine.close()
        else:
            self.kernel.backend.close()

    def wait(self) -> None:
        self.clock.advance(ms=self.random.choice([1, 50, 100, 900, 1000]))

    def jump(self) -> None:
        self.clock.jump(seconds=self.random.choice([-5, 0.002, 1]))

    def one(self) -> None:
        kernel = self.kernel
        happenings = [
            *[kernel.set_statm, kernel.set_machine, kernel.set_use] * 4,
            *[self.enter, self.leave] * 3,
            *(kernel.set_limit, kernel.set_details, self.enter_elsewhere, self.lose, self.wait, self.jump),
        ]
        for happening in self.random.sample(happenings, self.random.choice([0, 0, 1, 1, 2, 5])):
            with contextlib.suppress(OSError):
                happening()


def main(directory: str, seed: int, count: int) -> None:
    folder = Path(directory) / "kernel"
    folder.mkdir()
    in_core = 0
    tick_in_core = Sampler._tick_in_core

    def counted(self: Sampler, late_ns: int) -> bool:
        nonlocal in_core
        is_done = tick_in_core(self, late_ns)
        in_core += is_done
        return is_done

    Sampler._tick_in_core = counted  # type: ignore[assignment, method-assign]
    days = Days(folder, seed)
    session = phasescope.start(
        backends=[days.kernel.backend],
        clock=days.clock,
        interval_ms=3_600_000,
        directory=directory,
        capacity_bytes=2**17,
        warning_bytes=days.random.choice([None, 2**29]),
    )
    session._sampler._home_thread = HOME
    for number in range(count):
        days.one()
        days.clock.advance(ms=100)
        sample(session, late_ns=days.random.choice([0, 127, 128, 100_000, 2**40]))
        if number % 50 == 0 and days.open:
            days.leave()
    heartbeat_ns = session.reader().heartbeat_ns
    phasescope.stop()
    print(session.path, in_core, session.written, session.dropped, heartbeat_ns)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
