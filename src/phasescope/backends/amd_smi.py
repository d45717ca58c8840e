"""AMD devices as their driver sees them, by AMD SMI: what all processes together use, and what each of them does.

`amdsmi` comes with ROCm. Without ROCm its import prints two lines and raises KeyError; here it is made in silence, at
most once in a process, and only where the kernel knows an AMD device. Where it is not there, the kernel's own files
are asked (`amd_sysfs`).
"""

from __future__ import annotations

import functools
import sys
import threading
from typing import TYPE_CHECKING, Any, TextIO

from phasescope.backends import driver_processes, pci
from phasescope.backends.protocol import (
    DeviceCounters,
    DeviceIdentity,
    Present,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_MOST_PERCENT, _MOST_CELSIUS, _MOST_WATTS = 100, 200, 10_000


class AmdSmi:
    """The driver, by `amdsmi`, started at the first question about an AMD device.

    `in_use`: whoever asks uses the device that it asks about; a framework does. What AMD SMI raises
    (`amdsmi.AmdSmiException`) is passed on, and the device looked up again at the next call.
    """

    name = "amdsmi"

    def __init__(self, *, in_use: bool = True) -> None:
        self._in_use = in_use
        self._lock = threading.Lock()
        self._smi: Any = None
        self._handles: dict[str, Any] = {}

    def why_not(self) -> Unavailable | None:
        """Return why amdsmi does not work, and a remedy, or None if it works."""
        smi = _imported()
        if isinstance(smi, Unavailable):
            return smi
        try:
            shown = self.present()
        except Exception as error:
            return Unavailable(f"AMD SMI does not start: {_one_line(error)}", "see what amd-smi says")
        return None if shown else Unavailable("the AMD driver shows no device", _PASS_IN)

    def device(self, identity: DeviceIdentity) -> DeviceCounters | None:
        """Return used and total video memory; free is the rest.

        None if amdsmi cannot be imported, and where it has no device of this PCI bus id.
        """
        handle = self._handle(identity.pci_bus_id)
        if handle is None:
            return None
        vram = self._smi.AmdSmiMemoryType.VRAM
        try:
            used, total = (
                int(ask(handle, vram))
                for ask in (self._smi.amdsmi_get_gpu_memory_usage, self._smi.amdsmi_get_gpu_memory_total)
            )
        except Exception:
            self._forget()
            raise
        return DeviceCounters(used, total - used, total) if total else DeviceCounters()  # an APU: it has none

    def extra(self, identity: DeviceIdentity) -> dict[str, int]:
        """Return `process_used_bytes` and `other_processes_bytes`, each left out if it is not known."""
        handle = self._handle(identity.pci_bus_id)
        if handle is None:
            return {}
        try:
            listed = self._smi.amdsmi_get_gpu_process_list(handle)
        except self._smi.AmdSmiException:  # not for this user, or not by this version
            return {}
        sizes = {process["pid"]: process["memory_usage"]["vram_mem"] for process in listed}
        held = {pid: size if isinstance(size, int) else None for pid, size in sizes.items()}  # or "N/A"
        return driver_processes.shares(held, in_use=self._in_use)

    def activity(self, identity: DeviceIdentity) -> dict[str, int]:
        """Return `utilization_percent`, `temperature_celsius` and `power_milliwatts`, each left out if it is not
        known."""
        handle = self._handle(identity.pci_bus_id)
        if handle is None:
            return {}
        figures = {
            "utilization_percent": _first(self._smi, _busy(self._smi, handle), _MOST_PERCENT),
            "temperature_celsius": _first(self._smi, _temperatures(self._smi, handle), _MOST_CELSIUS),
        }
        watts = _first(self._smi, _powers(self._smi, handle), _MOST_WATTS)
        figures["power_milliwatts"] = None if watts is None else 1000 * watts
        return {name: figure for name, figure in figures.items() if figure is not None}

    def present(self) -> Sequence[Present]:
        """Return every device, in AMD SMI's order."""
        smi = self._started()
        if smi is None:
            return []
        return [
            Present(_name(smi, handle), DeviceIdentity(None, pci.normal(smi.amdsmi_get_gpu_device_bdf(handle))))
            for handle in smi.amdsmi_get_processor_handles()
        ]

    def visible(self) -> Sequence[Present]:
        """Return the same list: the number by which ROCm knows a device is not known here."""
        return self.present()

    def _handle(self, bus_id: str | None) -> Any:
        if bus_id is None or (bus_id not in self._handles and pci.vendor(bus_id) != pci.AMD):
            return None
        smi = self._started()
        if smi is None:
            return None
        if bus_id not in self._handles:
            handles = {pci.normal(smi.amdsmi_get_gpu_device_bdf(handle)): handle for handle in _all(smi)}
            self._handles[bus_id] = handles.get(bus_id)
        return self._handles[bus_id]

    def _started(self) -> Any:
        with self._lock:
            if self._smi is None:
                smi = _imported()
                if isinstance(smi, Unavailable):
                    return None
                smi.amdsmi_init()
                self._smi = smi
        return self._smi

    def _forget(self) -> None:
        """Start and look up again: what fails may be gone for good."""
        self._handles.clear()
        self._smi = None


def _busy(smi: Any, handle: Any) -> Iterator[Any]:
    yield lambda: smi.amdsmi_get_gpu_activity(handle)["gfx_activity"]


def _temperatures(smi: Any, handle: Any) -> Iterator[Any]:
    """Yield the hottest place of the chip, which all have that measure any, then its edge, which cards have."""
    for sensor in ("JUNCTION", "EDGE"):
        yield lambda sensor=sensor: smi.amdsmi_get_temp_metric(
            handle, getattr(smi.AmdSmiTemperatureType, sensor), smi.AmdSmiTemperatureMetric.CURRENT
        )


def _powers(smi: Any, handle: Any) -> Iterator[Any]:
    """Yield the socket's power by the names that it has: MI300 tells the current one, MI200 the average alone, and
    ROCm 7 has a name for either."""
    power = functools.cache(lambda: smi.amdsmi_get_power_info(handle))
    for name in ("socket_power", "current_socket_power", "average_socket_power"):
        yield lambda name=name: power()[name]


def _first(smi: Any, questions: Iterator[Any], most: int) -> int | None:
    """Return the first answer that is a figure: what a device lacks is "N/A", a number beyond all, or an error."""
    for question in questions:
        try:
            figure = question()
        except (smi.AmdSmiException, LookupError, AttributeError):
            continue
        if isinstance(figure, (int, float)) and 0 <= figure <= most:
            return int(figure)
    return None


def _all(smi: Any) -> list[Any]:
    handles: list[Any] = smi.amdsmi_get_processor_handles()
    return handles


def _name(smi: Any, handle: Any) -> str | None:
    try:
        name = smi.amdsmi_get_gpu_asic_info(handle)["market_name"]
    except (smi.AmdSmiException, KeyError):
        return None
    return name if isinstance(name, str) else None


_PASS_IN = "in a container, pass in /dev/kfd and /dev/dri"
_NO_ROCM = Unavailable("amdsmi does not find ROCm's libamd_smi.so", "install ROCm's amd-smi-lib package")
_NOT_INSTALLED = Unavailable(
    "amdsmi is not installed", "install the amdsmi that comes with ROCm (/opt/rocm/share/amd_smi)"
)


@functools.cache
def _imported() -> Any:
    """Return amdsmi, or why there is none. Tried once: if it fails, it fails again, and prints."""
    with _Silence():
        try:
            import amdsmi
        except ModuleNotFoundError as error:
            return _NOT_INSTALLED if error.name == "amdsmi" else _broken(error)
        except (KeyError, OSError):
            return _NO_ROCM
        except Exception as error:
            return _broken(error)
    return amdsmi


def _broken(error: Exception) -> Unavailable:
    return Unavailable(f"amdsmi cannot be imported: {_one_line(error)}", "repair its installation")


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


class _Silence:
    """Standard output in which this thread is not heard; what other threads print goes through."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._stream: TextIO | None = None

    def __enter__(self) -> None:
        self._stream = sys.stdout
        sys.stdout = self

    def __exit__(self, *_: object) -> None:
        if sys.stdout is self:  # else another thread has put its own there meanwhile
            sys.stdout = self._stream

    def write(self, text: str) -> int:
        """Write to the stream behind, unless this is the silent thread."""
        if self._stream is None or threading.get_ident() == self._thread:
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
