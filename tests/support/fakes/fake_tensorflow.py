"""TensorFlow's eager context with accelerators, as far as the backend looks, for machines without one.

Names, signatures and errors are those of TensorFlow 2.21; a test holds them against the installed one. Asking for
memory initialises the context, as the real one does: `initialisations` counts that.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

MIB = 2**20


class FakeContext:
    """`tensorflow.python.eager.context.Context`. `memory` has [current, peak] of each device that keeps statistics."""

    def __init__(self, devices: list[str], visible: list[int] | None = None) -> None:
        self._initialized = True
        self._server_def: Any = None
        self._collective_ops_server_def: Any = None
        self.initialisations = 0
        self.device_name: str | None = ""
        self.names = devices
        self.memory = {name: [0, 0] for name in devices if "CPU" not in name}
        self.splits: dict[int, int] = {}
        self.visible = visible if visible is not None else list(range(len(self.memory)))

    def use(self, name: str, size: int) -> None:
        """Set the bytes that the device's allocator has handed out."""
        peak = self.memory.get(name, [0, 0])[1]
        self.memory[name] = [size, max(size, peak)]

    def _ensure(self) -> None:
        if not self._initialized:
            self.initialisations += 1
            self._initialized = True

    def list_logical_devices(self, device_type: str | None = None) -> list[SimpleNamespace]:
        self._ensure()
        return [SimpleNamespace(name=name, device_type=name.split(":")[-2]) for name in self.names]

    def get_memory_info(self, dev: str) -> dict[str, int]:
        self._ensure()
        if dev not in self.names:
            raise ValueError(f"No matching devices found for '{dev}'")
        if dev not in self.memory:
            raise ValueError(f"Allocator stats not available for device '{dev}'")
        current, peak = self.memory[dev]
        return {"current": current, "peak": peak}

    def reset_memory_stats(self, dev: str) -> None:
        self._ensure()
        self.memory[dev][1] = self.memory[dev][0]

    def get_visible_devices(self, device_type: str | None = None) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=f"/physical_device:GPU:{number}", device_type="GPU") for number in self.visible]

    def get_logical_device_configuration(self, dev: Any) -> list[object] | None:
        parts = self.splits.get(int(dev.name.rpartition(":")[2]))
        return None if parts is None else [object()] * parts


class FakeTensorflow:
    """The module around it. `context` None: not created yet."""

    def __init__(
        self, devices: list[str] | None = None, *, cuda: bool = True, visible: list[int] | None = None
    ) -> None:
        names = ["/device:CPU:0", "/device:GPU:0", "/device:GPU:1"] if devices is None else devices
        self.context = FakeContext(names, visible)
        self.module = ModuleType("tensorflow.python.eager.context")
        vars(self.module)["_context"] = self.context
        self.build_info = ModuleType("tensorflow.python.platform.build_info")
        vars(self.build_info)["build_info"] = {"is_cuda_build": cuda, "is_rocm_build": False}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeTensorflow:
        """Put it in the place of TensorFlow."""
        for module in (self.module, self.build_info):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        return self

    def renew(self, devices: list[str]) -> FakeContext:
        """Begin again, as after `context._reset_context()` and a new use."""
        self.context = FakeContext(devices)
        vars(self.module)["_context"] = self.context
        return self.context
