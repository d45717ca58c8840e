"""Situations posted in the last year, figures changed, end in what their threads found."""

from __future__ import annotations

import pytest

from support.explained import check_cause, check_held, explained
from support.posted_situations import Case, Driver, Gpu
from support.torch_messages import GIB, MIB, older, this, torch

pytestmark = pytest.mark.neutral

REFUSED, BATCH, WHO, PIECES = (
    "look for a limit outside", "a smaller batch", "see who holds the device", "PYTORCH_ALLOC_CONF=expandable_segments"
)  # fmt: skip
SHAPE, OTHERS = "check the shape", "find them with nvidia-smi"
PLAIN = "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call"


def npu(asked: str, total: str, live: str, active: str, free: str, reserved: str) -> str:
    return (
        f"NPU out of memory. Tried to allocate {asked} (NPU 2; {total} total capacity; {live} already allocated; "
        f"{active} current active; {free} free; {reserved} reserved in total by PyTorch).If reserved memory is >> "
        "allocated memory try setting max_split_size_mb to avoid fragmentation."
    )


CASES = {
    "a video model in pieces": Case(
        torch("34.90 GiB", "79.33 GiB", "25.70 GiB", "12.10 GiB", "40.80 GiB", processes=this("53.60 GiB")),
        "fragmentation", "40.8 GiB are reserved and unused, more than the 34.9 GiB", PIECES),
    "two Intel cards": Case(
        "XPU out of memory. Tried to allocate 512 bytes. GPU 0 has a total capacity of 11.93 GiB. Of the allocated "
        "memory 0 bytes is allocated by PyTorch, and 0 bytes is reserved by PyTorch but unallocated.",
        "unknown", "who holds the rest is not known", WHO, "xpu"),
    "two Intel cards, newer torch": Case(
        torch("512 bytes", "11.93 GiB", "11.30 GiB", "0 bytes", "0 bytes").replace("CUDA", "XPU"),
        "refused_although_free", "11.3 GiB free of 11.9 GiB", REFUSED, "xpu"),
    "WSL, a large card": Case(
        torch("12.00 GiB", "95.59 GiB", "51.20 GiB", "42.00 GiB", "310.00 MiB", processes=this("17179869184.00 GiB")),
        "refused_although_free", "51.2 GiB free of 95.6 GiB", REFUSED),
    "a tuned model on an L4": Case(
        torch("6.10 GiB", "22.17 GiB", "5.60 GiB", "15.80 GiB", "298.00 MiB", processes=this("16.60 GiB")),
        "too_large", "15.8 GiB of 22.2 GiB are live", BATCH),
    "a server on a V100, with graphs": Case(
        torch("550.00 MiB", "15.77 GiB", "498.00 MiB", "13.80 GiB", "721.00 MiB", processes=this("15.20 GiB"),
            pools="44.00 MiB"),
        "too_large", "13.8 GiB of 15.8 GiB are live", BATCH),
    "a server that warms up its sampler": Case(
        torch("1.30 GiB", "93.02 GiB", "1.12 GiB", "90.50 GiB", "131.00 MiB", processes=this("91.80 GiB"),
            pools="74.00 MiB"),
        "too_large", "90.5 GiB of 93.0 GiB are live", BATCH),
    "attention over a whole film": Case(
        torch("1190.40 GiB", "79.14 GiB", "22.10 GiB", "55.80 GiB", "640.00 MiB"),
        "too_large", "One request is for more than cuda:0 has", SHAPE),
    "points that overflowed": Case(
        torch("66109892.10 GiB", "47.41 GiB", "42.60 GiB", "3.90 GiB", "410.00 MiB"),
        "too_large", "One request is for more than cuda:0 has", SHAPE),
    "all of a card is live": Case(
        torch("24.00 MiB", "44.43 GiB", "17.00 MiB", "43.80 GiB", "161.00 MiB", processes=this("44.30 GiB")),
        "too_large", "43.8 GiB of 44.4 GiB are live", BATCH),
    "two cards that serve a long context": Case(
        torch("48.00 MiB", "23.56 GiB", "19.80 MiB", "22.80 GiB", "92.00 MiB", processes=this("23.20 GiB"),
            pools="22.00 MiB"),
        "too_large", "22.8 GiB of 23.6 GiB are live", BATCH),
    "a server whose graphs found no room": Case(
        torch("512.00 MiB", "139.80 GiB", "470.00 MiB", "135.40 GiB", "2.10 GiB", processes=this("139.30 GiB"),
            pools="1.20 GiB"),
        "too_large", "135 GiB of 140 GiB are live", BATCH),
    "WSL, most of the card free": Case(PLAIN, "unknown", "were free a moment later", "page-locked memory is the host's",
        driver=Driver(7 * GIB, 8 * GIB, 22 * GIB, 32 * GIB, 9 * GIB, 0)),
    "Ascend, full": Case(
        npu("70.00 MiB", "61.27 GiB", "56.20 GiB", "56.20 GiB", "11.10 MiB", "58.30 GiB"),
        "too_large", "56.2 GiB of 61.3 GiB are live", BATCH, None),
    "Ascend, in pieces": Case(
        npu("5.10 GiB", "60.96 GiB", "49.30 GiB", "49.30 GiB", "1.30 GiB", "57.60 GiB"),
        "fragmentation", "8.30 GiB are reserved and unused", "PYTORCH_NPU_ALLOC_CONF=expandable_segments", None),
    "Ascend, another server on it": Case(
        npu("24.00 MiB", "60.97 GiB", "10.30 GiB", "10.30 GiB", "18.60 MiB", "10.70 GiB"),
        "unknown", "who holds the rest is not known", WHO, None),
    "a small model on a shared card": Case(
        older("20.00 MiB", "7.93 GiB", "2.74 GiB", "23.10 MiB", "3.01 GiB"), "other_processes",
        "Other processes hold 4.40 GiB", OTHERS,
        driver=Driver(2806 * MIB, 3082 * MIB, 23 * MIB, int(7.93 * GIB), 3520 * MIB, int(4.4 * GIB))),
    "a run that was killed and still holds the card": Case(
        older("220.00 MiB", "7.92 GiB", "71.00 MiB", "23.90 MiB", "88.00 MiB"), "unknown",
        "who holds the rest is not known", WHO,
        driver=Driver(71 * MIB, 88 * MIB, 24 * MIB, int(7.92 * GIB), 560 * MIB, 0)),
    "five that infer on one card": Case(
        torch("20.00 MiB", "14.75 GiB", "13.10 MiB", "2.40 GiB", "61.00 MiB",
            processes="".join(f"Process {pid} has 2.94 GiB memory in use. " for pid in (911, 912, 913, 914))
            + this("2.90 GiB")),
        "other_processes", "Other processes hold 11.8 GiB", OTHERS),
    "a film that is too long for its card": Case(
        torch("27.90 GiB", "14.74 GiB", "9.10 GiB", "5.20 GiB", "120.00 MiB"),
        "too_large", "One request is for more than cuda:0 has", f"{BATCH} or a shorter sequence"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_situation_ends_in_what_its_thread_found(case: Case) -> None:
    answer = explained(case.message, Gpu.of(case))
    check_cause(answer, case.kind, case.names, case.advice)
    check_held(answer)
