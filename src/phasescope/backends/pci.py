"""PCI bus ids as the kernel and the drivers write them, and what the kernel says of a device's maker."""

from __future__ import annotations

from pathlib import Path

SYS = Path("/sys")
NVIDIA = 0x10DE
AMD = 0x1002


def normal(bus_id: str) -> str | None:
    """ "dddddddd:bb:dd.f" in lower case, as in `DeviceIdentity`; None for what is no bus id."""
    domain, _, rest = bus_id.strip().lower().partition(":")
    try:
        return f"{int(domain, 16):08x}:{rest}"
    except ValueError:
        return None


def vendor(bus_id: str) -> int | None:
    """The maker's number, None where the kernel does not say: no Linux, no such device, /sys not mounted."""
    domain, _, rest = bus_id.partition(":")
    try:
        name = f"{int(domain, 16):04x}:{rest}"
        return int((SYS / "bus" / "pci" / "devices" / name / "vendor").read_text("ascii"), 16)
    except (OSError, ValueError):
        return None
