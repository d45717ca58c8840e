"""The devices as their drivers see them here, whoever uses them: a part of `phasescope doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from phasescope.analysis.breakdown import Breakdown, Part, breakdown
from phasescope.analysis.formatting import Column, size_text, table
from phasescope.analysis.text.summary_text import holders

if TYPE_CHECKING:
    from phasescope.backends.driver_only import Surveyed
    from phasescope.cli._output import Terminal

_COLUMNS = (
    Column("device", right=False, flexible=True),
    Column("driver", right=False),
    Column("bus id", right=False),
    Column("used"),
    Column("free"),
    Column("total"),
)
_ALLOCATOR = ("allocated", "reserved", "active", "inactive", "change")


def surveyed_devices() -> list[dict[str, Any]]:
    """Return one mapping a device, each device once; drivers that do not answer have none."""
    from phasescope.backends import DRIVERS_ALONE
    from phasescope.capture import backend_selection

    devices: dict[tuple[str | None, str | None], dict[str, Any]] = {}
    for driver, path in DRIVERS_ALONE.items():
        try:
            surveyed = backend_selection.load(path).survey()
        except Exception:  # why not is said of the source
            continue
        for device in surveyed:
            devices.setdefault(tuple(device.present.identity), _described(driver, device))
    return list(devices.values())


def _described(driver: str, device: Surveyed) -> dict[str, Any]:
    who = breakdown(_as_event(driver, device))
    return {
        "name": device.present.name,
        "driver": driver,
        **device.present.identity._asdict(),
        **device.counters._asdict(),
        **device.extra,
        "breakdown": None if who is None else asdict(who),
    }


def _as_event(driver: str, device: Surveyed) -> dict[str, Any]:
    """Return as much of an event as says who holds a device's memory."""
    unknown = [f"allocator_{name}_bytes" for name in _ALLOCATOR]
    counters = {f"device_{name}": figure for name, figure in device.counters._asdict().items()}
    return {**counters, "metadata": {"backend": driver, "unavailable": unknown, **device.extra}}


def show(out: Terminal, devices: list[dict[str, Any]]) -> None:
    """Show the table, and the holders; nothing if there is no device."""
    if not devices:
        return
    out.line()
    title, *lines = table(_COLUMNS, map(_cells, devices), out.width)
    out.line(title, "bold")
    for line in lines:
        out.line(line)
    for line in holders(((_called(device), _parts(device)) for device in devices), out.width):
        out.line(line)


def _called(device: dict[str, Any]) -> str:
    return device["name"] or device["pci_bus_id"] or device["uuid"] or "a device"


def _cells(device: dict[str, Any]) -> list[str]:
    sizes = (size_text(device[f"{name}_bytes"]) for name in ("used", "free", "total"))
    return [_called(device), device["driver"], device["pci_bus_id"] or "", *sizes]


def _parts(device: dict[str, Any]) -> Breakdown | None:
    breakdown = device["breakdown"]
    return (
        None
        if breakdown is None
        else Breakdown(**{**breakdown, "parts": tuple(Part(**part) for part in breakdown["parts"])})
    )
