"""PCI bus ids as the kernel and the drivers write them, and what the kernel says of a device's maker."""

from __future__ import annotations

from pathlib import Path

SYS = Path("/sys")
NVIDIA = 0x10DE
AMD = 0x1002
INTEL = 0x8086

DEV = Path("/dev")
_NODES = ("nvidia*", "nvhost*", "nvmap", "kfd", "dxg", "dri/renderD*", "accel*", "vfio/*")
_CLASSES = ("0x03", "0x12")  # display controllers, processing accelerators


def normal(bus_id: str) -> str | None:
    """Return `dddddddd:bb:dd.f` in lower case, as in `DeviceIdentity`; None for a text that is not a bus id."""
    domain, _, rest = bus_id.strip().lower().partition(":")
    try:
        return f"{int(domain, 16):08x}:{rest}"
    except ValueError:
        return None


def is_divided(bus_id: str) -> bool:
    """Return whether the kernel says that this AMD device is divided into several (MI300, modes DPX to CPX).

    They have one location together, and a driver's figures are of one of them or of all.
    """
    domain, _, rest = bus_id.partition(":")
    try:
        folder = SYS / "bus" / "pci" / "devices" / f"{int(domain, 16):04x}:{rest}"
        return (folder / "current_compute_partition").read_text("ascii").strip().upper() not in ("SPX", "")
    except (OSError, ValueError):
        return False


def vendor(bus_id: str) -> int | None:
    """Return the maker's number, None if the kernel does not say: no Linux, no such device, /sys not mounted."""
    domain, _, rest = bus_id.partition(":")
    try:
        name = f"{int(domain, 16):04x}:{rest}"
        return int((SYS / "bus" / "pci" / "devices" / name / "vendor").read_text("ascii"), 16)
    except (OSError, ValueError):
        return None


def accelerator_seen() -> bool | None:
    """Return whether the kernel shows a device that a source of counters could speak of; None if it shows none of its
    devices. A container sees those of its machine that were not passed in, too."""
    if any(next(DEV.glob(pattern), None) is not None for pattern in _NODES):
        return True
    folders = list((SYS / "bus" / "pci" / "devices").glob("*"))
    return any(_is_accelerator(folder) for folder in folders) if folders else None


def _is_accelerator(folder: Path) -> bool:
    try:
        kind, maker = ((folder / name).read_text("ascii").strip() for name in ("class", "vendor"))
        return kind.startswith(_CLASSES) and int(maker, 16) in (NVIDIA, AMD, INTEL)
    except (OSError, ValueError):
        return True  # it may be one
