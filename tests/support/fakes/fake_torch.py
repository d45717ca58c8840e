"""torch with Intel (`FakeXpu`) or Apple (`FakeMps`) devices, as far as the backends look.

Signatures, shapes and errors are those of torch 2.13; tests hold the signatures against the installed one.
"""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

GIB = 1024**3
_POOLS = ("all", "small_pool", "large_pool")


def install(monkeypatch: pytest.MonkeyPatch, core: ModuleType, **modules: ModuleType) -> None:
    """Put `torch._C` and these modules of torch in the place of the real ones, imported in full."""
    version = ModuleType("torch.version")
    vars(version).update(hip=None, cuda=None)
    torch = ModuleType("torch")
    torch.__spec__ = importlib.machinery.ModuleSpec("torch", None)
    parts = {"_C": core, "version": version, **modules}
    vars(torch).update(parts)
    for name in [name for name in sys.modules if name == "torch" or name.startswith("torch.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", torch)
    for name, module in parts.items():
        monkeypatch.setitem(sys.modules, f"torch.{name}", module)


def module_of(name: str, namespace: dict[str, Any]) -> ModuleType:
    """Return a module with these functions."""
    module = ModuleType(name)
    vars(module).update({key: value for key, value in namespace.items() if key not in ("self", "__class__")})
    return module


class FakeXpu:
    """Intel devices. `initialised` is the training's doing, `initialisations` must stay 0."""

    def __init__(self, devices: int = 2) -> None:
        self.devices = devices
        self.initialised = True
        self.initialisations = 0
        self.current = 0
        self.has_xpu = True
        self.stats = [
            {
                f"{name}_bytes": {pool: dict.fromkeys(("current", "peak", "allocated", "freed"), 0) for pool in _POOLS}
                for name in ("allocated", "reserved", "active", "requested")
            }
            for _ in range(devices)
        ]
        self.core = self._core()
        self.xpu = self._xpu()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeXpu:
        """Put it in the place of torch."""
        install(monkeypatch, self.core, xpu=self.xpu)
        return self

    def use(self, device: int, allocated: int, reserved: int | None = None) -> None:
        """Set the bytes that the device's allocator holds."""
        reserved = allocated if reserved is None else reserved
        for name, size in (("allocated", allocated), ("active", allocated), ("reserved", reserved)):
            stat = self.stats[device][f"{name}_bytes"]["all"]
            stat.update(current=size, peak=max(stat["peak"], size))

    def _core(self) -> ModuleType:
        def _xpu_memoryStats(device: int) -> dict[str, Any]:  # noqa: N802
            if not self.initialised or not 0 <= device < self.devices:
                raise RuntimeError(f"Allocator not initialized for device {device}: did you call init?")
            return self.stats[device]

        def _xpu_resetPeakMemoryStats(device: int) -> None:  # noqa: N802
            for family in self.stats[device].values():
                for stat in family.values():
                    stat["peak"] = stat["current"]

        def _xpu_getDevice() -> int:  # noqa: N802
            return self.current

        def _xpu_getDeviceCount() -> int:  # noqa: N802
            return self.devices

        core = module_of("torch._C", locals())
        vars(core).update(_has_xpu=self.has_xpu, _has_mps=False)
        return core

    def _xpu(self) -> ModuleType:
        def is_initialized() -> bool:
            return self.initialised

        def get_device_properties(device: Any = None) -> SimpleNamespace:
            if not self.initialised:
                self.initialisations += 1
            return SimpleNamespace(total_memory=(48 - device) * GIB)

        def memory_stats_as_nested_dict(device: Any = None) -> dict[str, Any]:
            return dict(self.core._xpu_memoryStats(device))

        return module_of("torch.xpu", locals())


class FakeMps:
    """A Mac's one device.

    `lookups` counts calls that would look it up; if there is none, `crashes` counts those that would crash.
    """

    def __init__(self, *, available: bool = True, keeps_peak: bool = True) -> None:
        self.available = available
        self.keeps_peak = keeps_peak
        self.allocated = 0
        self.reserved = 0
        self.peak = 0
        self.lookups = 0
        self.crashes = 0
        self.core = self._core()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeMps:
        """Put it in the place of torch, on a Mac with Apple silicon."""
        install(monkeypatch, self.core)
        monkeypatch.setattr("phasescope.backends.torch_mps._is_apple_silicon", lambda: True)
        return self

    def use(self, allocated: int, reserved: int | None = None) -> None:
        """Set the bytes that the allocator holds."""
        self.allocated = allocated
        self.reserved = max(self.reserved, allocated) if reserved is None else reserved
        self.peak = max(self.peak, allocated)

    def _asked(self) -> None:
        self.lookups += 1
        if not self.available:
            self.crashes += 1

    def _core(self) -> ModuleType:
        def _mps_is_available() -> bool:
            self.lookups += 1
            return self.available

        def _mps_currentAllocatedMemory() -> int:  # noqa: N802
            self._asked()
            return self.allocated

        def _mps_driverAllocatedMemory() -> int:  # noqa: N802
            self._asked()
            return self.reserved

        def _mps_recommendedMaxMemory() -> int:  # noqa: N802
            self._asked()
            return 48 * GIB

        def _accelerator_getDeviceStats(device_index: int) -> dict[str, Any]:  # noqa: N802
            if not self.keeps_peak:
                raise RuntimeError("Allocator for mps is not a DeviceAllocator.")
            return {"allocated_bytes": {"all": {"current": self.allocated, "peak": self.peak}}}

        def _accelerator_resetPeakStats(device_index: int) -> None:  # noqa: N802
            self.peak = self.allocated

        core = module_of("torch._C", locals())
        vars(core).update(_has_xpu=False, _has_mps=True)
        return core
