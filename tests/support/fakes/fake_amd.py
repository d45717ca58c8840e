"""AMD devices for machines without one: the kernel's files in a folder, and amdsmi as a module.

`FakeSmi` has the signatures, return shapes and errors of amdsmi 7.0. `WITHOUT_ROCM` does what importing the real one
does if ROCm's library is missing.
"""

from __future__ import annotations

import enum
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from phasescope.backends import pci

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

GIB = 1024**3
AMD, NVIDIA = "0x1002", "0x10de"

WITHOUT_ROCM = """
_libraries = {}
print("libamd_smi.so: cannot open shared object file: No such file or directory")
print("Unable to find libamd_smi.so library try installing amd-smi-lib from your package manager")
_libraries["libamd_smi.so"]
"""


class FakeSysfs:
    """/sys below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "class" / "drm").mkdir(parents=True)
        (root / "bus" / "pci" / "devices").mkdir(parents=True)
        (root / "class" / "drm" / "version").write_text("drm 1.1.0 20060810")

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeSysfs:
        """Put it in the place of the real one."""
        monkeypatch.setattr(pci, "SYS", self.root)
        return self

    def add(self, bus_id: str, used: int | None = None, total: int = 64 * GIB, vendor: str = AMD) -> Path:
        """Add a graphics device and its outputs; one without `used` has no memory of its own. Return its folder."""
        folder = self.root / "devices" / "pci0000:00" / bus_id
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (self.root / "bus" / "pci" / "devices" / bus_id).symlink_to(folder)
        drm = self.root / "class" / "drm"
        number = sum(1 for card in drm.glob("card*") if "-" not in card.name)
        for name in (f"card{number}", f"card{number}-DP-1", f"renderD{128 + number}"):
            (drm / name).mkdir()
            (drm / name / "device").symlink_to(folder if "-" not in name else drm / f"card{number}")
        if used is not None:
            (folder / "mem_info_vram_total").write_text(f"{total}\n")
            (folder / "mem_info_vram_used").write_text(f"{used}\n")
        return folder


class MemoryType(enum.IntEnum):
    """`amdsmi.AmdSmiMemoryType`."""

    VRAM = 0
    VIS_VRAM = 1
    GTT = 2


class TemperatureType(enum.IntEnum):
    """`amdsmi.AmdSmiTemperatureType`."""

    EDGE = 0
    HOTSPOT = 1
    JUNCTION = 1
    VRAM = 2


class TemperatureMetric(enum.IntEnum):
    """`amdsmi.AmdSmiTemperatureMetric`."""

    CURRENT = 0
    MAX = 1


class AmdSmiException(Exception):
    """`amdsmi.AmdSmiException`."""


class AmdSmiLibraryException(AmdSmiException):
    """With the text of the real one, which has several lines."""

    def __init__(self, err_code: int) -> None:
        super().__init__(err_code)
        self.err_code = abs(err_code)

    def __str__(self) -> str:
        return f"Error code:\n\t{self.err_code} | AMDSMI_STATUS_NOT_SUPPORTED - Feature not supported"


class FakeSmi:
    """The driver's state: for each device its (used, total) in bytes by PCI bus id, and the processes' memory."""

    def __init__(self, devices: dict[str, tuple[int, int]]) -> None:
        self.devices = devices
        self.processes: dict[int, int] = {}
        self.activity: dict[str, Any] = {"gfx_activity": 73, "umc_activity": 12, "mm_activity": "N/A"}
        self.temperatures = {TemperatureType.JUNCTION: 61}
        self.power: dict[str, Any] = {
            "socket_power": 717,
            "current_socket_power": 717,
            "average_socket_power": "N/A",
            "gfx_voltage": "N/A",
            "power_limit": 750,
        }
        """Degrees and watts of an MI300X, which has no sensor at its edge."""
        self.failing: set[str] = set()
        self.calls: list[str] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeSmi:
        """Put it in the place of the module `amdsmi`."""
        module = ModuleType("amdsmi")
        vars(module).update(
            {name: self._recorded(name) for name in dir(self) if name.startswith("amdsmi_")},
            AmdSmiMemoryType=MemoryType,
            AmdSmiTemperatureType=TemperatureType,
            AmdSmiTemperatureMetric=TemperatureMetric,
            AmdSmiException=AmdSmiException,
            AmdSmiLibraryException=AmdSmiLibraryException,
        )
        monkeypatch.setitem(sys.modules, "amdsmi", module)
        return self

    def amdsmi_init(self, flag: int = 2) -> None: ...

    def amdsmi_get_processor_handles(self) -> list[Any]:
        return list(self.devices)

    def amdsmi_get_gpu_device_bdf(self, processor_handle: Any) -> str:
        return str(processor_handle)

    def amdsmi_get_gpu_asic_info(self, processor_handle: Any) -> dict[str, Any]:
        return {"market_name": "AMD Instinct MI300X", "vendor_id": "0x1002"}

    def amdsmi_get_gpu_memory_usage(self, processor_handle: Any, mem_type: Any) -> int:
        assert mem_type is MemoryType.VRAM
        return self.devices[processor_handle][0]

    def amdsmi_get_gpu_memory_total(self, processor_handle: Any, mem_type: Any) -> int:
        assert mem_type is MemoryType.VRAM
        return self.devices[processor_handle][1]

    def amdsmi_get_gpu_process_list(self, processor_handle: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": "python3",
                "pid": pid,
                "mem": held,
                "engine_usage": {"gfx": 0, "enc": 0},
                "memory_usage": {"gtt_mem": 0, "cpu_mem": 0, "vram_mem": held},
                "cu_occupancy": "N/A",
            }
            for pid, held in self.processes.items()
        ]

    def amdsmi_get_gpu_activity(self, processor_handle: Any) -> dict[str, Any]:
        return dict(self.activity)

    def amdsmi_get_power_info(self, processor_handle: Any) -> dict[str, Any]:
        return dict(self.power)

    def amdsmi_get_temp_metric(self, processor_handle: Any, sensor_type: Any, metric: Any) -> int:
        assert metric is TemperatureMetric.CURRENT
        if sensor_type not in self.temperatures:
            raise AmdSmiLibraryException(2)
        return self.temperatures[sensor_type]

    def _recorded(self, name: str) -> Any:
        answer = getattr(self, name)

        def recorded(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            if name in self.failing:
                raise AmdSmiLibraryException(2)
            return answer(*arguments, **named)

        return recorded
