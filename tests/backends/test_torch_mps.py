"""Apple's GPUs behind torch, over a fake, since Macs have them alone."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from typing import TYPE_CHECKING

import pytest

from phasescope.backends.protocol import DeviceCounters
from phasescope.backends.torch_mps import Mps
from support.fakes.fake_torch import GIB, FakeMps
from support.fakes.processes import in_forked_child
from support.torch_files import torch_source

if TYPE_CHECKING:
    from phasescope.backends.protocol import Backend

MIB = 2**20
pytestmark = pytest.mark.neutral


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> FakeMps:
    return FakeMps().install(monkeypatch)


def test_it_is_ready_once_tensors_lie_on_the_device_and_stays_so(mps: FakeMps) -> None:
    backend: Backend = Mps()
    assert not backend.ready()
    mps.use(MIB)
    assert backend.ready()
    mps.use(0)
    assert backend.ready()
    assert (list(backend.devices()), backend.current_device()) == ([0], 0)


def test_reserved_is_what_the_driver_holds_and_the_total_what_metal_recommends(mps: FakeMps) -> None:
    mps.use(300 * MIB, reserved=512 * MIB)
    backend = Mps()
    assert backend.allocator(0) == (300 * MIB, 512 * MIB, None, None)
    assert backend.device(0) == DeviceCounters(None, None, 48 * GIB)
    assert backend.identity(0) is None


def test_before_it_is_in_use_nothing_answers(mps: FakeMps) -> None:
    backend = Mps()
    for ask in (backend.allocator, backend.device, backend.peak, backend.reset_peak):
        with pytest.raises(RuntimeError, match="not in use"):
            ask(0)


def test_where_torch_finds_no_device_none_of_the_calls_that_would_crash_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mps = FakeMps(available=False).install(monkeypatch)
    backend = Mps()
    assert not backend.ready()
    assert backend.never
    assert mps.crashes == 0
    reason = backend.why_not()
    assert reason is not None
    assert reason.reason == "PyTorch finds no MPS device"


def test_a_build_without_mps_is_never_asked_again(mps: FakeMps) -> None:
    vars(mps.core)["_has_mps"] = False
    backend = Mps()
    assert not backend.ready()
    assert backend.never
    assert mps.lookups == 0


def test_it_does_not_look_before_torch_is_imported_in_full(mps: FakeMps) -> None:
    backend = Mps()
    spec = sys.modules["torch"].__spec__
    assert spec is not None
    spec._initializing = True  # type: ignore[attr-defined]
    assert not backend.ready()
    assert mps.lookups == 0


def test_peaks_are_torchs_own(mps: FakeMps) -> None:
    backend = Mps()
    mps.use(500 * MIB)
    mps.use(100 * MIB)
    assert backend.peak(0) == 500 * MIB
    backend.reset_peak(0)
    assert backend.peak(0) == 100 * MIB


@pytest.mark.parametrize("is_old", [True, False])
def test_a_torch_that_keeps_no_peak_says_so(monkeypatch: pytest.MonkeyPatch, is_old: bool) -> None:
    mps = FakeMps(keeps_peak=False).install(monkeypatch)
    if is_old:
        del vars(mps.core)["_accelerator_getDeviceStats"]
    mps.use(MIB)
    with pytest.raises(NotImplementedError, match="keeps no peak"):
        Mps().peak(0)


def test_on_another_machine_it_gives_up_and_says_why() -> None:
    if sys.platform == "darwin":
        pytest.skip("a Mac")
    backend = Mps()
    assert backend.never
    assert not backend.ready()
    reason = backend.why_not()
    assert reason is not None
    assert "Apple silicon" in reason.reason


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_refused(mps: FakeMps) -> None:
    mps.use(MIB)
    backend = Mps()
    assert backend.ready()
    assert in_forked_child(backend.ready) is False


def test_the_fake_has_the_signatures_of_the_installed_torch() -> None:
    stub = ast.parse(torch_source("_C/__init__.pyi")).body
    real = {node.name: [a.arg for a in node.args.args] for node in stub if isinstance(node, ast.FunctionDef)}
    functions = {name: value for name, value in vars(FakeMps().core).items() if inspect.isfunction(value)}
    assert functions
    for name, function in functions.items():
        assert list(inspect.signature(function).parameters) == real.get(name), name
