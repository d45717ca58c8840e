"""AMD devices as the kernel sees them, by the files of the amdgpu driver: what all processes together use.

They need no library of ROCm, and are there in containers too. Each device is a folder that `/sys/class/drm` links to,
named by its PCI bus id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.backends import pci
from phasescope.backends.protocol import (
    DeviceCounters,
    DeviceIdentity,
    Present,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_USED, _TOTAL = "mem_info_vram_used", "mem_info_vram_total"


class AmdSysfs:
    """The driver's files. A device that is unplugged, or whose driver is taken away, raises OSError."""

    name = "amd_sysfs"

    def __init__(self) -> None:
        self._folders: dict[str, Path] = {}

    def why_not(self) -> Unavailable | None:
        """Return why there is no such device, or None if there is one."""
        if self.present():
            return None
        where = pci.SYS / "class" / "drm"
        remedy = "install the amdgpu driver, where the machine has an AMD device"
        return Unavailable(f"no AMD device with memory of its own in {where}", remedy)

    def device(self, identity: DeviceIdentity) -> DeviceCounters | None:
        """Return used and total from their files; free is the rest. None if no AMD device has this PCI bus id, every
        figure None if it has no memory of its own (MI300A).

        Raises OSError or ValueError if a file cannot be read, or holds no number.
        """
        folder = self._folder(identity.pci_bus_id)
        if folder is None:
            return None
        used, total = (int((folder / name).read_text("ascii")) for name in (_USED, _TOTAL))
        return DeviceCounters(used, total - used, total) if total else DeviceCounters()  # an APU: it has none

    def present(self) -> Sequence[Present]:
        """Return every AMD device with memory of its own, in PCI order."""
        devices = {}
        for card in (pci.SYS / "class" / "drm").glob("card*"):
            folder = (card / "device").resolve()
            bus_id = pci.normal(folder.name)
            if bus_id is not None and (folder / _TOTAL).exists():
                devices[bus_id] = folder
        self._folders = devices
        return [Present(None, DeviceIdentity(None, bus_id)) for bus_id in sorted(devices)]

    def visible(self) -> Sequence[Present]:
        """Return the same list: the number by which ROCm knows a device is not known here."""
        return self.present()

    def _folder(self, bus_id: str | None) -> Path | None:
        if bus_id is None:
            return None
        if bus_id not in self._folders and pci.vendor(bus_id) in (None, pci.AMD):
            self.present()
        return self._folders.get(bus_id)
