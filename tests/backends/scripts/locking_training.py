"""A training over an allocator that calls Python with its lock held: `locking_training.py LIBRARY NAME`.

NAME is `told` where the library that does so is imported, `untold` where nobody can know, `slow` where an allocation
takes long. Prints what came of it, and a dot ahead of each allocation; the process that hangs is ended by the one that
started it.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
from types import ModuleType
from typing import Any

import pytest

import phasescope
from phasescope import phase
from support.fakes.fake_cuda import GIB, FakeCuda

ALLOCATIONS = 1000


def loaded(path: str) -> Any:
    """The library as a module."""
    spec = importlib.util.spec_from_file_location("locking_allocator", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(path: str, name: str) -> None:
    locks, fake, asked = loaded(path), FakeCuda().install(pytest.MonkeyPatch()), [0]
    fake.use(0, GIB, GIB, GIB)
    statistics = fake.core._cuda_memoryStats

    def memory_stats(device: int) -> Any:
        asked[0] += threading.current_thread().name == "phasescope-sampler"
        locks.memory_stats(device)
        return statistics(device)

    vars(fake.core)["_cuda_memoryStats"] = memory_stats
    if name == "told":
        sys.modules["vllm.device_allocator.cumem"] = ModuleType("vllm.device_allocator.cumem")
    with phasescope.start(backends=["cuda", "cpu"], interval_ms=1) as session:
        with phase("step"):
            fake.use(0, 3 * GIB, 3 * GIB, 3 * GIB)
        if name == "slow":
            for _ in range(4):
                locks.hold(0.25)
                time.sleep(0.02)
        else:
            for _ in range(ALLOCATIONS):
                print(end=".", file=sys.stderr, flush=True)
                locks.allocate(lambda: time.sleep(0.0005))  # lets go of the interpreter, as a call of the driver does
        samples = [event for event in session.events() if event["event_type"] == "sample"]
    of_device = [event["allocator_allocated_bytes"] for event in samples if event["device_id"] == 0]
    slow = max((event["metadata"].get("slow_readings", 0) for event in samples), default=0)
    print(json.dumps({"asked": asked[0], "allocated": of_device[-1], "samples": len(of_device), "slow": slow}))


if __name__ == "__main__":
    main(*sys.argv[1:])
