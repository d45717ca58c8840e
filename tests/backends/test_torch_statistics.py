"""The stand-in for torch's statistics that benchmarks use: it has the shape of the fake's, made afresh each time."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.backends.torch_cuda import Cuda
from support import built
from support.fakes.fake_cuda import FakeCuda

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).parent.parent / "support" / "fakes" / "torch_statistics.c"

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="built as on Linux"),
]


@pytest.fixture(scope="module")
def memory_stats(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int, int], dict[Any, Any]]:
    function: Callable[[int, int, int], dict[Any, Any]] = built.load(
        built.build(SOURCE, tmp_path_factory.mktemp("library"))
    ).memory_stats
    return function


@pytest.mark.parametrize("pools", [0, 50])
def test_it_has_all_that_the_backend_reads(
    pools: int, memory_stats: Callable[[int, int, int], dict[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda().install(monkeypatch)
    vars(cuda.core)["_cuda_memoryStats"] = lambda _device: memory_stats(100, 300, pools)
    backend = Cuda()
    assert backend.allocator(0)[:4] == (100, 100, 100, 2**20)
    assert backend.peak(0) == 300
    assert backend.extra(0)["private_pools_bytes"] == pools * 2**21


def test_each_answer_is_made_anew(memory_stats: Callable[[int, int, int], dict[Any, Any]]) -> None:
    first, second = memory_stats(100, 300, 1), memory_stats(100, 300, 1)
    assert first == second
    assert first["reserved_bytes_by_private_pools"] is not second["reserved_bytes_by_private_pools"]
    assert first["allocated_bytes"]["all"] is not second["allocated_bytes"]["all"]


def test_it_has_the_families_of_the_fake(
    memory_stats: Callable[[int, int, int], dict[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeCuda().install(monkeypatch).core._cuda_memoryStats(0)
    made = memory_stats(0, 0, 0)
    assert set(fake) <= set(made)
    assert set(fake["allocated_bytes"]["all"]) == set(made["allocated_bytes"]["all"])
