"""Other allocators, streams and graphs: what the sampler must survive, and figures that are easily lost there."""

from __future__ import annotations

import ctypes
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import phasescope
from gpu_checks.rows import MIB, Row, Setting, compared, detailed_sample, exit_of, lacks, spread, timed_us, warm_up
from phasescope import phase, track

if TYPE_CHECKING:
    from collections.abc import Iterator

_POLL = """
import sys, threading, pynvml
pynvml.nvmlInit()
handle = pynvml.nvmlDeviceGetHandleByUUID(sys.argv[1])
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
print("ready", flush=True)
while not done.is_set():
    pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
"""
_ROUNDS = 40
_FIGURE = "a figure, compared with nothing"


def pollers(setting: Setting) -> Iterator[Row]:
    """Yield how long memory takes to be had from the driver and given back, while others list processes by NVML."""
    import torch

    why_not = lacks(torch, "cuda.empty_cache")
    if why_not:
        yield Row("cudaMalloc beside pollers", "", "", None, why_not)
        return
    warm_up(torch, setting.device)
    uuid = f"GPU-{torch.cuda.get_device_properties(setting.device).uuid}"
    for count in (0, 1, 8):
        others = [_poller(uuid) for _ in range(count)]
        try:
            for other in others:
                assert other.stdout is not None
                other.stdout.readline()
            taken = timed_us(lambda: _take_and_give(torch, setting), _ROUNDS)
        finally:
            for other in others:
                other.communicate("", timeout=60)
        yield Row(f"cudaMalloc and cudaFree, {count} processes poll NVML", spread(taken), "", None, _FIGURE)


def _poller(uuid: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _POLL, uuid]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _take_and_give(torch: Any, setting: Setting) -> None:
    kept = torch.empty(setting.size_bytes, dtype=torch.uint8, device=setting.place)
    del kept
    torch.cuda.empty_cache()


def callbacks(setting: Setting) -> Iterator[Row]:
    """Yield what comes of a pool whose allocator is Python, beside a sampler: if it hangs, this block has no answer."""
    import torch

    why_not = lacks(torch, "_C._cuda_customAllocator", "cuda.MemPool", "cuda.use_mem_pool")
    if why_not:
        yield Row("an allocator in Python beside the sampler", "", "", None, why_not)
        return
    warm_up(torch, setting.device)
    driver, calls = ctypes.CDLL("libcuda.so.1"), [0]

    def take(size: int, _device: int, _stream: int) -> int:
        calls[0] += 1
        time.sleep(0.0005)  # the interpreter's lock goes to another thread
        pointer = ctypes.c_void_p()
        driver.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer.value or 0

    def give(pointer: int, _size: int, _device: int, _stream: int) -> None:
        driver.cuMemFree_v2(ctypes.c_void_p(pointer))

    number, address, size = ctypes.c_int, ctypes.c_void_p, ctypes.c_ssize_t
    take_c = ctypes.CFUNCTYPE(address, size, number, address)(take)
    give_c = ctypes.CFUNCTYPE(None, address, size, number, address)(give)
    pointers = [ctypes.cast(function, address).value for function in (take_c, give_c)]
    pool = torch.cuda.MemPool(torch._C._cuda_customAllocator(*pointers))
    kept = []
    with phasescope.start(backends=["cuda"], interval_ms=1) as session, torch.cuda.use_mem_pool(pool):
        for _ in range(200):
            with phase("step"):
                kept.append(torch.empty(30 * MIB, dtype=torch.uint8, device=setting.place))
                kept[:] = kept[-4:]
        samples = sum(event["event_type"] == "sample" for event in session.events())
    del kept
    yield Row("an allocator in Python beside the sampler", f"{calls[0]} calls, {samples} samples", "it ends", True)


def side_stream(setting: Setting) -> Iterator[Row]:
    """Yield the device's time on a phase whose work is in a stream of its own, against the clock with waiting."""
    import torch

    why_not = lacks(torch, "cuda.Stream", "cuda.stream")
    if why_not:
        yield Row("device time in a side stream", "", "", None, why_not)
        return
    warm_up(torch, setting.device)
    matrix = torch.rand(4096, 4096, device=setting.place)
    matrix @ matrix
    torch.cuda.synchronize(setting.device)
    stream = torch.cuda.Stream(setting.device)
    with phasescope.start(backends=["cuda"], device_time=True) as session:
        begin = time.perf_counter_ns()
        with torch.cuda.stream(stream), phase("side"):
            for _ in range(50):
                matrix @ matrix
        torch.cuda.synchronize(setting.device)
        independent = time.perf_counter_ns() - begin
    told = [entry for event in session.events() for entry in event["metadata"].get("device_times", ())]
    measured = next((entry["duration_ns"] for entry in told if entry["path"][-1] == "side"), None)
    what, right = "device time in a side stream", f"{independent / 1e6:.2f} ms"
    if measured is None:
        yield Row(what, "unknown", right, False, "no device_time event")
    else:
        yield Row(what, f"{measured / 1e6:.2f} ms", right, abs(measured / independent - 1) <= 0.3, "to 30%")


def compiled(setting: Setting) -> Iterator[Row]:
    """Yield what torch.compile's graphs give under phases: the same result, and their pools."""
    import torch

    why_not = lacks(torch, "compile", "nn.Linear", "no_grad")
    if why_not:
        yield Row("graphs of torch.compile", "", "", None, why_not)
        return
    warm_up(torch, setting.device)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1024, 4096), torch.nn.Linear(4096, 1024)).to(setting.place)
    inputs = torch.randn(64, 1024, device=setting.place)
    made = torch.compile(model, mode="reduce-overhead")
    with torch.no_grad():
        for _ in range(4):
            plain = made(inputs).clone()
        with phasescope.start(backends=["cuda"], device_time=True, peaks=True) as session:
            for _ in range(50):
                with phase("step"):
                    under = made(inputs).clone()
            sample = detailed_sample(session, setting.device)
    is_same = bool(torch.equal(plain, under))
    yield Row("a compiled model under phases", "the same" if is_same else "another", "the same", is_same, "to the bit")
    pools = sample["metadata"].get("private_pools_bytes", 0)
    yield Row("pools of its graphs", f"{pools:,} B", "more than 0", pools > 0)


def snapshot(setting: Setting) -> Iterator[Row]:
    """Yield how large the snapshot of a failing allocation is, and what it takes."""
    import torch

    why_not = lacks(torch, "cuda.memory._record_memory_history")
    if why_not:
        yield Row("a snapshot of memory that ran out", "", "", None, why_not)
        return
    warm_up(torch, setting.device)
    asked = 4 * torch.cuda.get_device_properties(setting.device).total_memory
    with tempfile.TemporaryDirectory() as folder:
        with phasescope.start(backends=["cuda"], oom_snapshot=folder):
            kept = [torch.empty(MIB, dtype=torch.uint8, device=setting.place) for _ in range(2000)]
            begin = time.perf_counter()
            try:
                with phase("too much"):
                    torch.empty(asked, dtype=torch.uint8, device=setting.place)
            except torch.OutOfMemoryError:
                pass
            took = time.perf_counter() - begin
            del kept
        files = [file.stat().st_size for file in Path(folder).iterdir()]
    figure = f"{sum(files):,} B in {took:.2f} s"
    yield Row("a snapshot of memory that ran out", figure, "one file", len(files) == 1, "2000 blocks")


def asynchronous(setting: Setting) -> Iterator[Row]:
    """Yield the counters under `backend:cudaMallocAsync`, and that what it does not count is not called 0."""
    import torch

    warm_up(torch, setting.device)
    with phasescope.start(backends=["cuda"]) as session:
        with phase("kept"):
            kept = torch.empty(setting.size_bytes, dtype=torch.uint8, device=setting.place)
        leave, live = exit_of(session, "kept"), torch.cuda.memory_allocated(setting.device)
        sample = detailed_sample(session, setting.device)
        del kept
    yield compared("allocated under cudaMallocAsync", leave["allocator_allocated_bytes"], live)
    counted = "num_alloc_retries" in sample["metadata"]
    backend = getattr(torch._C, "_cuda_getAllocatorBackend", str)()
    holds = not counted if backend == "cudaMallocAsync" else None  # this torch may not have taken the setting
    yield Row("its retries", "counted" if counted else "unknown", backend, holds, "it keeps no count of them")


def loader(setting: Setting) -> Iterator[Row]:
    """Yield pinned memory, and a loader of forked workers that fill it."""
    import torch

    why_not = lacks(torch, "utils.data.DataLoader", "cuda.host_memory_stats")
    if why_not:
        yield Row("pinned memory and a loader", "", "", None, why_not)
        return
    warm_up(torch, setting.device)
    data = torch.utils.data.TensorDataset(torch.zeros(256, 4096))
    batches = torch.utils.data.DataLoader(data, batch_size=16, num_workers=2, pin_memory=True)
    with phasescope.start(backends=["cuda", "cpu"]) as session:
        count = sum(1 for (batch,) in track(batches) if batch.to(setting.place, non_blocking=True) is not None)
        kept = torch.empty(setting.size_bytes, dtype=torch.uint8, pin_memory=True)
        sample = detailed_sample(session, setting.device)
        independent = torch.cuda.host_memory_stats()["allocated_bytes.current"]
        del kept
    yield Row("batches of a loader with pinned memory", str(count), "16", count == 16)
    yield compared("pinned memory", sample["metadata"].get("pinned_bytes", -1), independent)


def cost_of_counts(setting: Setting) -> Iterator[Row]:
    """Yield what the newest boundary costs beside the one before it that had nothing to tell."""
    import torch

    warm_up(torch, setting.device)
    with phasescope.start(backends=["cuda"]):
        quiet = timed_us(_pass, 500)
        told = timed_us(lambda: _pass_and_take(torch, setting), 50)
    yield Row("a phase with nothing new", f"{statistics.median(quiet):.1f} µs", "", None, _FIGURE)
    yield Row("a phase that goes to the device", spread(told), "", None, _FIGURE)


def _pass() -> None:
    with phase("step"):
        pass


def _pass_and_take(torch: Any, setting: Setting) -> None:
    with phase("step"):
        kept = torch.empty(30 * MIB, dtype=torch.uint8, device=setting.place)
    del kept
