"""Makes the same calls whichever core is in use, and prints where the ring lies.

Its arguments are a directory, a seed, and how many calls.

Nothing in the records depends on the process: clock, thread and counters are made up. What is called is chosen by the
seed: nested phases and those that are left in the wrong order, entered again, left by exceptions, decorated, tracked,
with names and attributes of every kind, on backends that fail and recover.
"""

from __future__ import annotations

import contextlib
import random
import sys
import threading
from types import SimpleNamespace
from typing import Any

import phasescope
from phasescope import phase, track
from phasescope.capture import irregular_exits, oom_message, scope
from phasescope.testing import FakeBackend, FakeClock

for module in (scope, irregular_exits):
    module.threading = SimpleNamespace(get_ident=lambda: 7, enumerate=threading.enumerate)  # type: ignore[attr-defined]
oom_message.mappings = lambda proc="": {}

NAMES = ["forward", "backward", "", "  ", "größe", "名前", "\ud800lone", "n" * 199, "n" * 201, "é" * 150, "x" * 5000]
VALUES: list[Any] = [
    *(0, 1, 127, 128, 255, 256, 65535, 65536, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**70),
    *(-1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1, -(2**63) + 1, -(2**63)),
    *(0.0, -0.0, 1.5, 1e300, float("nan"), float("inf"), True, False, None),
    *("", "short", "s" * 31, "s" * 32, "s" * 200, "s" * 201, "ünder", "ü" * 100, "\udfff", b"bytes", [1, 2], object),
]
COUNTERS = [0, 1, 127, 128, 2**16, 2**28, 2**32, 2**40, 2**61, 2**62]


class Calls:
    """All that is called; what is open is remembered, so that it can be left in any order."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = FakeClock()
        self.host = FakeBackend("cpu", allocated=2**20, used=1, free=2, total=3)
        self.device = FakeBackend("cuda", allocated=5, reserved=7, active=3, inactive=0, used=4, total=2**33)
        self.open: list[phase] = []
        self.kept = phase("kept", n=1)

    def attributes(self) -> dict[str, Any]:
        count = self.random.choice([0, 0, 0, 1, 2, 5, 15, 16, 17, 30])
        names = ["n", "größe", "k" * 210, *(f"a{number}" for number in range(count))]
        return {name: self.random.choice(VALUES) for name in self.random.sample(names, count)}

    def enter(self) -> None:
        scope = phase(self.random.choice(NAMES), **self.attributes())
        scope.__enter__()
        self.open.append(scope)

    def leave(self) -> None:
        if self.open:
            self.open.pop().__exit__(None, None, None)

    def leave_any(self) -> None:
        if self.open:
            self.open.pop(self.random.randrange(len(self.open))).__exit__(None, None, None)

    def leave_twice(self) -> None:
        if self.open:
            scope = self.open.pop()
            scope.__exit__(None, None, None)
            scope.__exit__(None, None, None)

    def leave_with(self) -> None:
        kind = self.random.choice([ValueError, GeneratorExit, StopIteration, MemoryError, KeyboardInterrupt])
        with contextlib.suppress(BaseException), phase("raises", n=1):
            raise kind("text")

    def again(self) -> None:
        with self.kept, self.kept:
            self.set_counters()

    def plain(self) -> None:
        for number in range(self.random.choice([1, 5, 40])):
            with phase("step", number=number):
                self.clock.advance(ms=0.25)
                with phase("forward"):
                    self.set_counters()
                with phase("backward"):
                    pass

    def loop(self) -> None:
        for _ in track(range(3), "batch", n=2):
            self.clock.advance(ms=1)

    def generate(self) -> None:
        @phase("generator")
        def generator() -> Any:
            yield 1
            yield 2

        for _ in generator():
            with phase("between"):
                pass
        next(generator())  # and close it in the middle

    def set_counters(self) -> None:
        for backend in (self.host, self.device):
            active = None if self.random.random() < 0.5 else self.random.choice(COUNTERS)
            backend.set(self.random.choice(COUNTERS), self.random.choice(COUNTERS), active=active, inactive=active)

    def break_backend(self) -> None:
        self.device.fail_with = RuntimeError("no answer")
        with phase("broken"):
            self.clock.advance(ms=1)
        self.device.fail_with = None

    def leave_behind(self) -> None:
        """Let the session see a phase that nobody closes."""
        phase("left behind").__enter__()

    def jump(self) -> None:
        self.clock.jump(seconds=self.random.choice([-5, 1, 3600]))

    def one(self) -> None:
        calls = [
            *[self.enter] * 6,
            *[self.leave] * 6,
            *[self.plain] * 4,
            *(self.leave_any, self.leave_twice, self.leave_with, self.again, self.loop, self.generate),
            *(self.set_counters, self.break_backend, self.leave_behind, self.jump),
        ]
        self.random.choice(calls)()
        if len(self.open) > 70:
            for scope in reversed(self.open):
                scope.__exit__(None, None, None)
            self.open.clear()


def main(directory: str, seed: int, count: int) -> None:
    calls = Calls(seed)
    backends = [calls.device, calls.host] if seed % 2 else [calls.host]
    capacity = calls.random.choice([2**16, 2**20])
    session = phasescope.start(
        backends=backends, clock=calls.clock, interval_ms=3_600_000, directory=directory, capacity_bytes=capacity
    )
    for _ in range(count):
        calls.one()
        calls.clock.advance(ms=0.5)
    phasescope.stop()
    print(session.path, session.written, session.dropped, session.irregular)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
