"""Intel devices behind torch, over a fake."""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from phasescope.backends.protocol import DeviceCounters
from phasescope.backends.torch_xpu import Xpu
from support.fakes.fake_torch import GIB, FakeXpu
from support.torch_files import torch_source

if TYPE_CHECKING:
    from phasescope.backends.protocol import Backend

MIB = 2**20
pytestmark = pytest.mark.neutral


@pytest.fixture
def xpu(monkeypatch: pytest.MonkeyPatch) -> FakeXpu:
    return FakeXpu().install(monkeypatch)


def test_it_is_ready_once_the_training_initialised_the_device(xpu: FakeXpu) -> None:
    xpu.initialised = False
    backend: Backend = Xpu()
    assert not backend.ready()
    for ask in (backend.allocator, backend.device):
        with pytest.raises(RuntimeError, match="not initialised"):
            ask(0)
    assert xpu.initialisations == 0
    xpu.initialised = True
    assert backend.ready()


def test_all_but_the_inactive_is_known(xpu: FakeXpu) -> None:
    xpu.use(1, 300 * MIB, reserved=512 * MIB)
    backend = Xpu()
    assert backend.allocator(1) == (300 * MIB, 512 * MIB, 300 * MIB, None)
    assert backend.unavailable == ("allocator_inactive_bytes",)
    assert backend.device(1) == DeviceCounters(None, None, 47 * GIB)
    assert backend.identity(1) is None


def test_devices_are_those_that_ever_reserved_memory(xpu: FakeXpu) -> None:
    backend = Xpu()
    assert list(backend.devices()) == []
    xpu.use(1, MIB)
    xpu.use(1, 0)
    xpu.current = 1
    assert (list(backend.devices()), backend.current_device()) == ([1], 1)


def test_peaks_and_what_was_asked_for(xpu: FakeXpu) -> None:
    backend = Xpu()
    xpu.use(0, 9 * MIB)
    xpu.use(0, 4 * MIB)
    assert backend.peak(0) == 9 * MIB
    backend.reset_peak(0)
    assert backend.peak(0) == 4 * MIB
    assert backend.extra(0) == {"requested_bytes": 0}


def test_another_build_is_never_asked_again(xpu: FakeXpu) -> None:
    vars(xpu.core)["_has_xpu"] = False
    backend = Xpu()
    assert not backend.ready()
    assert backend.never
    reason = backend.why_not()
    assert reason is not None
    assert "without XPU support" in reason.reason


def test_the_fake_has_the_signatures_of_the_installed_torch() -> None:
    def parameters(path: str) -> dict[str, list[str]]:
        nodes = [node for node in ast.parse(torch_source(path)).body if isinstance(node, ast.FunctionDef)]
        return {node.name: [argument.arg for argument in node.args.args] for node in nodes}

    def faked(module: Any) -> dict[str, list[str]]:
        functions = {name: value for name, value in vars(module).items() if inspect.isfunction(value)}
        return {name: list(inspect.signature(value).parameters) for name, value in functions.items()}

    core, python = parameters("_C/__init__.pyi"), parameters("xpu/__init__.py") | parameters("xpu/memory.py")
    for name, wanted in faked(FakeXpu().core).items():
        assert core.get(name) == wanted
    for name, wanted in faked(FakeXpu().xpu).items():
        assert python.get(name) == wanted
