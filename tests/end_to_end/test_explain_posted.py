"""Posted situations, figures changed, end in what their threads found, with `held` and advice that agree."""

from __future__ import annotations

from typing import Any

import pytest

import phasescope
from phasescope import phase
from phasescope.testing import FakeBackend
from support.explained import check_cause, check_held, explained
from support.posted_situations import Case, Driver, Gpu
from support.torch_messages import GIB, MIB, OutOfMemoryError, older, oldest, this, torch

pytestmark = pytest.mark.neutral

NCCL = (
    "NCCL error in: NCCLUtils.cpp:94, unhandled cuda error, NCCL version 2.27.5\nncclUnhandledCudaError: Call to CUDA "
    "function failed.\nLast error:\nFailed to CUDA calloc async 16777216 bytes"
)
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
ASYNC = (
    "Allocation on device 0 would exceed allowed memory. (out of memory)\nCurrently allocated     : {live}\n"
    "Requested               : 172.00 MiB\nDevice limit            : 15.77 GiB\nFree (according to CUDA): {free}\n"
    "PyTorch limit (set by user-supplied memory fraction)\n                        : {limit}"
)
REFUSED, BATCH, WHO = "look for a limit outside", "a smaller batch", "see who holds the device"


CASES = {
    "a laptop": Case(older("2.31 GiB", "6.00 GiB", "795.10 MiB", "3.11 GiB", "1.21 GiB"), "refused_although_free",
        "3.11 GiB free of 6.00 GiB", REFUSED),
    "the host was full": Case(oldest("52.00 MiB", "6.00 GiB", "688.10 MiB", "3.88 GiB", "19.40 MiB"),
        "refused_although_free", "3.88 GiB free of 6.00 GiB", REFUSED),
    "a driver": Case(oldest("12.75 MiB", "10.92 GiB", "8.61 MiB", "9.31 GiB", "4.72 MiB"), "refused_although_free",
        "9.31 GiB free of 10.9 GiB", REFUSED),
    "Windows, a free card": Case(torch("964.00 MiB", "23.99 GiB", "15.40 GiB", "6.80 GiB", "78.10 MiB"),
        "refused_although_free", "15.4 GiB free of 24.0 GiB", REFUSED),
    "nothing allocated yet": Case(torch("2.00 GiB", "4.00 GiB", "2.75 GiB", "0 bytes", "0 bytes"),
        "refused_although_free", "2.75 GiB free of 4.00 GiB", REFUSED),
    "large images": Case(oldest("4.40 GiB", "7.93 GiB", "4.75 GiB", "2.38 GiB", "11.40 MiB"), "too_large",
        "4.75 GiB of 7.93 GiB are live", BATCH),
    "a card of 2 GiB": Case(older("94.00 MiB", "1.96 GiB", "1.45 GiB", "16.20 MiB", "1.51 GiB"), "too_large",
        "1.45 GiB of 1.96 GiB are live", BATCH),
    "a card of 1 GiB": Case(oldest("26.00 MiB", "1024.00 MiB", "440.10 MiB", "23.90 MiB", "26.10 MiB"), "too_large",
        "440 MiB of 1.00 GiB are live", BATCH),
    "a batch just too large": Case(older("1.10 GiB", "15.77 GiB", "13.50 GiB", "1.04 GiB", "13.51 GiB"), "too_large",
        "13.5 GiB of 15.8 GiB are live", BATCH),
    "a wrong grid": Case(torch("54.80 GiB", "12.00 GiB", "9.05 GiB", "988.10 MiB", "461.20 MiB"), "too_large",
        "One request is for more than cuda:0 has", "check the shape"),
    "an index that overflowed": Case(older("1048470.10 GiB", "23.69 GiB", "2.10 GiB", "19.80 GiB", "2.31 GiB"),
        "too_large", "the 1.00 PiB that were asked for", "check the shape"),
    "Windows, over its card": Case(older("2.10 GiB", "8.00 GiB", "19.80 GiB", "0 bytes", "22.20 GiB"), "too_large",
        "lies in the host's memory", BATCH),
    "WSL, over its card": Case(
        torch("770.00 MiB", "31.84 GiB", "0 bytes", "52.90 GiB", "33.10 MiB", processes=this("17179869184.00 GiB")),
        "too_large", "lies in the host's memory", BATCH),
    "WSL, a fraction in pieces": Case(
        torch("3.96 GiB", "31.84 GiB", "16.28 GiB", "6.76 GiB", "7.01 GiB", processes=this("17179869184.00 GiB"),
            allowed="17.51 GiB"),
        "fragmentation", "This process may have 17.5 GiB", "PYTORCH_ALLOC_CONF=expandable_segments"),
    "others unseen": Case(older("38.00 MiB", "10.76 GiB", "990.10 MiB", "8.70 MiB", "1004.00 MiB"), "unknown",
        "who holds the rest is not known", WHO),
    "others seen by the driver": Case(older("38.00 MiB", "10.76 GiB", "990.10 MiB", "8.70 MiB", "1004.00 MiB"),
        "other_processes", "Other processes hold 9.20 GiB", "find them with nvidia-smi",
        driver=Driver(990 * MIB, 1004 * MIB, 9 * MIB, int(10.76 * GIB), 1400 * MIB, int(9.2 * GIB))),
    "a time-sliced card": Case(older("20.00 MiB", "14.76 GiB", "4.35 GiB", "14.60 MiB", "4.42 GiB"), "other_processes",
        "Other processes hold 9.30 GiB", "find them with nvidia-smi",
        driver=Driver(4 * GIB, int(4.42 * GIB), 15 * MIB, int(14.76 * GIB), int(5.2 * GIB), int(9.3 * GIB))),
    "ranks that loaded onto the first device": Case(
        torch("700.00 MiB", "10.76 GiB", "110.00 MiB", "7.80 GiB", "120.00 MiB",
            processes="".join(f"Process {pid} has 725.00 MiB memory in use. " for pid in (4011, 4012, 4013))
            + this("8.40 GiB")),
        "other_processes", "Other processes hold 2.12 GiB", "find them with nvidia-smi"),
    "a desktop that is not listed": Case(
        torch("1.16 GiB", "7.75 GiB", "1.17 GiB", "4.79 GiB", "19.10 MiB", processes=this("5.00 GiB")),
        "unknown", "who holds the rest is not known", WHO),
    "XLA in the same process": Case(
        torch("160.00 MiB", "15.77 GiB", "79.80 MiB", "3.26 GiB", "229.10 MiB",
            processes="Process 32460 has 15.69 GiB memory in use. "),
        "outside_allocator", "12.2 GiB of cuda:0 outside of its allocator", "another library of this process"),
    "an APU at its page limit": Case(
        torch("1.07 GiB", "62.47 GiB", "766.10 MiB", "61.40 GiB", "139.10 MiB").replace("CUDA", "HIP"),
        "too_large", "61.4 GiB of 62.5 GiB are live", BATCH, "rocm"),
    "Intel, in the processor": Case(
        "XPU out of memory. Tried to allocate 34.00 MiB. GPU 0 has a total capacity of 28.30 GiB. Of the allocated "
        "memory 4.25 GiB is allocated by PyTorch, and 101.00 MiB is reserved by PyTorch but unallocated. Please use",
        "unknown", "who holds the rest is not known", WHO, "xpu"),
    "NCCL finds no room beside torch's cache": Case(NCCL, "allocator_cache", "keeps 56.0 GiB of cuda:0",
        "torch.cuda.empty_cache() before step/backward",
        driver=Driver(57 * GIB, 113 * GIB, 4 * MIB, 140 * GIB, 139 * GIB, 0)),
    "cuBLAS finds no room beside torch's cache": Case(CUBLAS, "allocator_cache", "too little is left for the request",
        "torch.cuda.empty_cache() before step/backward",
        driver=Driver(20 * GIB, 77 * GIB, 4 * MIB, 79 * GIB, 78 * GIB, 0)),
    "cuBLAS finds no room on a full card": Case(CUBLAS, "too_large", "75.0 GiB of 79.0 GiB are live", BATCH,
        driver=Driver(75 * GIB, 77 * GIB, 4 * MIB, 79 * GIB, 78 * GIB, 0)),
    "cudaMallocAsync, full": Case(ASYNC.format(live="14.95 GiB", free="10.31 MiB", limit="17179869184.00 GiB"),
        "too_large", "14.9 GiB of 15.8 GiB are live", BATCH),
    "cudaMallocAsync, limited": Case(ASYNC.format(live="7.80 GiB", free="7.31 GiB", limit="7.88 GiB"),
        "limit_of_device", "7.88 GiB of cuda:0", "raise or drop the limit",
        driver=Driver(GIB, GIB, 14 * GIB, int(15.77 * GIB), GIB, 0)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_situation_ends_in_what_its_thread_found(case: Case) -> None:
    answer = explained(case.message, Gpu.of(case))
    check_cause(answer, case.kind, case.names, case.advice)
    check_held(answer)
    if case.driver is None:
        assert "60.0 GiB" not in " ".join(answer.held)  # what was measured afterwards


def test_of_a_full_host_is_told_where_a_free_device_refuses() -> None:
    host = FakeBackend("cpu", used=int(15.5 * GIB), free=GIB // 2, total=16 * GIB)
    with phasescope.start(backends=[FakeBackend("cuda"), host], interval_ms=3_600_000) as session:
        with pytest.raises(OutOfMemoryError), phase("step"):
            raise OutOfMemoryError(CASES["the host was full"].message)
    with session.reader() as reader:
        advice = reader.explain().advice
    assert advice[0].startswith("the host was nearly full (15.5 GiB of 16.0 GiB), and the driver wants room there too")
    assert advice[1].startswith(REFUSED)


def test_an_error_raised_from_torchs_with_advice_of_its_own_keeps_torchs_figures() -> None:
    """As vLLM does it."""
    words = torch("2.00 GiB", "79.15 GiB", "300.00 MiB", "75.00 GiB", "200.00 MiB")
    with phasescope.start(backends=[FakeBackend("cuda"), "cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(RuntimeError), phase("warm up"):
            try:
                raise OutOfMemoryError(words)
            except OutOfMemoryError as error:
                raise RuntimeError("CUDA out of memory occurred when warming up. Please try lowering ...") from error
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.cause.kind == "too_large"
    assert answer.cause.figures["requested_bytes"] == 2 * GIB
    assert "75.0 GiB of 79.1 GiB are live" in answer.cause.text


def test_the_pools_of_graphs_are_no_fragmentation_although_the_counters_look_like_it() -> None:
    """torch counts what is free in them as allocated in its message, and as reserved and unused in its counters."""
    words = torch("2.00 GiB", "47.53 GiB", "900.00 MiB", "44.10 GiB", "150.00 MiB", pools="38.20 GiB")

    class Graphs(FakeBackend):
        def failure(self, device: int, requested_bytes: int) -> dict[str, Any]:
            live, reserved = int(5.9 * GIB), int(44.25 * GIB)
            return {"allocated_bytes": live, "slack_bytes": reserved - live, "free_bytes": 900 * MIB}

    with phasescope.start(backends=[Graphs("cuda"), "cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(OutOfMemoryError), phase("step"):
            raise OutOfMemoryError(words)
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.cause.kind == "too_large"
    assert answer.cause.text.endswith("; 38.2 GiB lie in pools that only CUDA graphs use.")
    assert answer.advice[0].startswith("38.2 GiB lie in pools of their own: fewer shapes")


def test_what_phases_leave_on_the_host_is_no_advice_for_another_device() -> None:
    words = (
        "MLU out of memory. Tried to allocate 256.00 MiB (MLU 2; 79.13 GiB total capacity; 74.00 GiB already "
        "allocated; 74.50 GiB reserved in total by PyTorch)"
    )
    host = FakeBackend("cpu", allocated=GIB, total=64 * GIB, free=60 * GIB, used=4 * GIB)
    with phasescope.start(backends=[host], interval_ms=3_600_000) as session:
        with pytest.raises(RuntimeError), phase("step"):
            with phase("forward"):
                host.set(3 * GIB, 3 * GIB)
            raise RuntimeError(words)
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.cause.kind == "too_large"
    assert not any("behind" in line for line in (*answer.advice, *answer.phases)), str(answer)


def test_page_locked_memory_that_a_host_with_room_refuses_is_called_so() -> None:
    host = FakeBackend("cpu", allocated=GIB, total=64 * GIB, free=60 * GIB, used=4 * GIB)
    with phasescope.start(backends=[host], interval_ms=3_600_000) as session:
        with pytest.raises(RuntimeError), phase("step"):
            raise RuntimeError("CUDA error: out of memory (cudaHostAlloc of 8589934592 bytes)")
    with session.reader() as reader:
        answer = reader.explain()
    assert "on the host, in step, which was not full" in answer.cause.text
    assert answer.advice[0].startswith("it was page-locked memory: pin less")
