"""What people met, fed in as the message that the library gave, ends in the right cause, with figures that agree.

The figures are after posted reports, changed. The backend measures after unwinding, when much is free again: it must
not be believed against the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

import phasescope
from phasescope import phase
from phasescope.analysis.formatting import size_text
from phasescope.testing import FakeBackend
from support.explained import check_cause, check_held, explained
from support.torch_messages import GIB, OutOfMemoryError, this, torch

if TYPE_CHECKING:
    from phasescope.analysis.diagnosis.explanation import Explanation

pytestmark = pytest.mark.neutral


class Case(NamedTuple):
    """A message, the cause it is of, what the headline names, and the first words of advice."""

    message: str
    kind: str
    names: str
    advice: str
    backend: str = "cuda"


CASES = {
    "live before unwinding": Case(
        torch("8.00 GiB", "79.15 GiB", "7.62 GiB", "70.10 GiB", "317.00 MiB", processes=this("71.50 GiB")),
        "too_large",
        "70.1 GiB of 79.1 GiB are live",
        "a smaller batch",
    ),
    "a fraction": Case(
        torch("996.00 MiB", "23.64 GiB", "9.02 GiB", "16.60 GiB", "310.00 MiB", allowed="17.69 GiB"),
        "limit_of_device",
        "17.7 GiB of cuda:0",
        "raise or drop the limit",
    ),
    "a fraction, before 2.1": Case(
        "CUDA out of memory. Tried to allocate 12.00 MiB (GPU 0; 47.54 GiB total capacity; 23.61 GiB already "
        "allocated; 23.40 GiB free; 23.77 GiB allowed; 23.77 GiB reserved in total by PyTorch) If reserved memory is",
        "limit_of_device",
        "23.8 GiB of cuda:0",
        "raise or drop the limit",
    ),
    "a fraction in pieces": Case(
        torch("1.00 GiB", "79.15 GiB", "39.00 GiB", "30.00 GiB", "9.40 GiB", allowed="39.50 GiB"),
        "fragmentation",
        "9.40 GiB are reserved and unused",
        "PYTORCH_ALLOC_CONF=expandable_segments",
    ),
    "a fraction that is not the reason": Case(
        torch("2.00 GiB", "79.15 GiB", "300.00 MiB", "75.00 GiB", "200.00 MiB", allowed="78.00 GiB"),
        "too_large",
        "75.0 GiB of 79.1 GiB are live",
        "a smaller batch",
    ),
    "refused on a large one": Case(
        torch("2.00 MiB", "287.98 GiB", "203.10 GiB", "82.00 GiB", "1.40 GiB"),
        "refused_although_free",
        "203 GiB free of 288 GiB",
        "look for a limit outside of this process",
    ),
    "refused on a laptop": Case(
        torch("20.00 MiB", "4.00 GiB", "2.35 GiB", "803.11 MiB", "224.89 MiB"),
        "refused_although_free",
        "2.35 GiB free of 4.00 GiB",
        "look for a limit outside of this process",
    ),
    "another library of this process": Case(
        torch("2.50 GiB", "79.15 GiB", "1.10 GiB", "29.00 GiB", "700.00 MiB", processes=this("77.60 GiB")),
        "outside_allocator",
        "outside of its allocator",
        "another library of this process",
    ),
    "others hold just what lacks": Case(
        torch(
            "17.00 GiB",
            "79.15 GiB",
            "1.00 GiB",
            "59.90 GiB",
            "400.00 MiB",
            processes=f"Process 4711 has 16.00 GiB memory in use. {this('61.60 GiB')}",
        ),
        "other_processes",
        "Other processes hold 16.0 GiB of cuda:0, 20%",
        "find them with nvidia-smi",
    ),
    "others hold a little": Case(
        torch(
            "2.00 GiB",
            "79.15 GiB",
            "200.00 MiB",
            "76.00 GiB",
            "500.00 MiB",
            processes=f"Process 4711 has 530.00 MiB memory in use. {this('78.10 GiB')}",
        ),
        "too_large",
        "76.0 GiB of 79.1 GiB are live",
        "a smaller batch",
    ),
    "a full card with a little slack": Case(
        torch("158.00 MiB", "23.69 GiB", "31.00 MiB", "21.60 GiB", "920.00 MiB"),
        "too_large",
        "920 MiB that are reserved and unused are fragmented",
        "a smaller batch",
    ),
    "in pieces": Case(
        torch("1.22 GiB", "23.69 GiB", "300.00 MiB", "14.20 GiB", "7.90 GiB", processes=this("23.30 GiB")),
        "fragmentation",
        "7.90 GiB are reserved and unused, more than",
        "PYTORCH_ALLOC_CONF=expandable_segments",
    ),
    "in pieces, with what is free": Case(
        torch("9.00 GiB", "79.15 GiB", "3.00 GiB", "67.00 GiB", "8.00 GiB"),
        "fragmentation",
        "with the free memory enough for",
        "PYTORCH_ALLOC_CONF=expandable_segments",
    ),
    "graphs": Case(
        torch(
            "2.00 MiB",
            "47.53 GiB",
            "896.00 KiB",
            "47.00 GiB",
            "149.10 MiB",
            processes="Process 1686436 has 47.51 GiB memory in use. ",
            pools="46.22 GiB",
        ),
        "too_large",
        "47.0 GiB of 47.5 GiB are live",
        "46.2 GiB lie in pools of their own",
    ),
    "a wrong shape": Case(
        torch("1649.76 GiB", "8.00 GiB", "5.23 GiB", "1.53 GiB", "115.13 MiB"),
        "too_large",
        "One request is for more than cuda:0 has",
        "check the shape",
    ),
    "nobody known": Case(
        torch("6.00 GiB", "79.15 GiB", "1.00 GiB", "30.00 GiB", "200.00 MiB"),
        "unknown",
        "who holds the rest is not known",
        "see who holds the device",
    ),
    "more live than there is, on WSL": Case(
        torch("96.00 MiB", "12.00 GiB", "0 bytes", "19.87 GiB", "4.10 MiB"),
        "too_large",
        "lies in the host's memory",
        "a smaller batch",
    ),
    "pieces and free memory that do not suffice together": Case(
        torch("21.90 GiB", "31.47 GiB", "12.10 GiB", "9.60 GiB", "9.30 GiB", processes=this("19.30 GiB")),
        "too_large",
        "9.60 GiB of 31.5 GiB are live",
        "a smaller batch",
    ),
    "a server that takes all": Case(
        torch("240.00 MiB", "23.60 GiB", "150.00 MiB", "22.80 GiB", "190.00 MiB", processes=this("23.40 GiB")),
        "too_large",
        "22.8 GiB of 23.6 GiB are live",
        "a smaller batch",
    ),
    "an APU's small share": Case(
        torch("18.00 GiB", "15.30 GiB", "15.10 GiB", "0 bytes", "0 bytes").replace("CUDA", "HIP"),
        "too_large",
        "One request is for more than rocm:0 has",
        "a smaller batch or a shorter sequence",
        "rocm",
    ),
    "an APU with more free than there is": Case(
        torch("14.00 GiB", "15.50 GiB", "80.10 GiB", "1.70 GiB", "8.10 GiB").replace("CUDA", "HIP"),
        "refused_although_free",
        "rocm:0 had 80.1 GiB free, and yet",
        "look for a limit outside of this process",
        "rocm",
    ),
    "an APU that the host's programs fill": Case(
        torch("3.40 GiB", "128.00 GiB", "790.00 MiB", "58.20 GiB", "80.00 MiB").replace("CUDA", "HIP"),
        "unknown",
        "who holds the rest is not known",
        "see who holds the device",
        "rocm",
    ),
    "a limit of the kernel's on an APU": Case(
        torch("12.60 GiB", "127.00 GiB", "18.10 GiB", "98.80 GiB", "110.00 MiB").replace("CUDA", "HIP"),
        "refused_although_free",
        "18.1 GiB free of 127 GiB",
        "look for a limit outside of this process",
        "rocm",
    ),
    "one allocation too large for Intel's runtime": Case(
        torch("4.70 GiB", "5.70 GiB", "5.70 GiB", "190.00 KiB", "1.80 MiB").replace("CUDA", "XPU"),
        "refused_although_free",
        "5.70 GiB free of 5.70 GiB",
        "look for a limit outside of this process",
        "xpu",
    ),
    "Metal, full": Case(
        "MPS backend out of memory (MPS allocated: 15.60 GiB, other allocations: 2.60 MiB, max allowed: 18.10 GiB). "
        "Tried to allocate 5.90 GiB on private pool.",
        "too_large",
        "15.6 GiB of 18.1 GiB are live",
        "a smaller batch",
        "mps",
    ),
    "Metal, over its limit": Case(
        "MPS backend out of memory (MPS allocated: 15.90 GB, other allocations: 3.20 GB, max allowed: 18.10 GB). "
        "Tried to allocate 512 bytes on shared pool.",
        "outside_allocator",
        "2.20 GiB of mps:0 outside of its allocator",
        "torch.mps.empty_cache()",
        "mps",
    ),
    "Metal": Case(
        "MPS backend out of memory (MPS allocated: 9.40 GiB, other allocations: 17.35 GiB, max allowed: 27.20 GiB). "
        "Tried to allocate 512.00 MiB on private pool.",
        "outside_allocator",
        "17.3 GiB of mps:0 outside of its allocator",
        "torch.mps.empty_cache()",
        "mps",
    ),
    "Intel": Case(
        "XPU out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of 16.50 GiB. Of the allocated "
        "memory 16.30 GiB is allocated by PyTorch, and 0 bytes is reserved by PyTorch but unallocated. Please use",
        "too_large",
        "16.3 GiB of 16.5 GiB are live",
        "a smaller batch",
        "xpu",
    ),
}


def answer_to(case: Case) -> Explanation:
    return explained(case.message, FakeBackend(case.backend, allocated=GIB, reserved=60 * GIB))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_message_ends_in_its_cause(case: Case) -> None:
    answer = answer_to(case)
    check_cause(answer, case.kind, case.names, case.advice)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_held_agrees_with_the_cause(case: Case) -> None:
    answer = answer_to(case)
    check_held(answer)
    held, figures = " ".join(answer.held), answer.cause.figures
    if figures.get("allowed_bytes"):
        assert f"limit on it: {size_text(int(figures['allowed_bytes']))}" in held
    assert "60.0 GiB" not in held  # what was measured afterwards


def test_graphs_pools_are_advised() -> None:
    assert any("46.2 GiB lie in pools of their own" in line for line in answer_to(CASES["graphs"]).advice)


def test_the_device_is_that_of_the_message_not_that_of_the_phase() -> None:
    backend = FakeBackend("cuda", allocated=GIB, devices=(0, 3))
    message = CASES["in pieces"].message.replace("GPU 0", "GPU 3")
    with phasescope.start(backends=[backend, "cpu"], interval_ms=3_600_000) as session:
        with pytest.raises(OutOfMemoryError), phase("step"):
            raise OutOfMemoryError(message)
    with session.reader() as reader:
        answer = reader.explain()
    assert answer.happened.startswith("out of memory on cuda:3")
    assert answer.cause.text.startswith("cuda:3 is fragmented")
