"""NVIDIA devices as their driver sees them, by NVML: what all processes together use."""

from __future__ import annotations

import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.backends.protocol import DeviceCounters, Unavailable

if TYPE_CHECKING:
    from phasescope.backends.protocol import DeviceIdentity


class Nvml:
    """The driver, by `nvidia-ml-py` (imported as `pynvml`), started at the first question.

    `device()` raises `pynvml.NVMLError` where there is no driver, ImportError where the library is missing.
    """

    name = "nvml"

    def __init__(self) -> None:
        self._nvml: Any = None
        self._lock = threading.Lock()
        self._found: dict[DeviceIdentity, _Found | None] = {}

    def why_not(self) -> Unavailable | None:
        """Why NVML does not answer here, and what would change that, or None where it does."""
        try:
            count = self._started().nvmlDeviceGetCount()
        except ImportError:
            return Unavailable("nvidia-ml-py is not installed", "pip install nvidia-ml-py")
        except Exception as error:
            return _explain(error)
        return None if count else Unavailable("the NVIDIA driver sees no device", _PASS_IN)

    def device(self, identity: DeviceIdentity) -> DeviceCounters | None:
        """Total and free as NVML gives them, used as the rest: what the driver keeps counts as used.

        None where NVML knows no such device. Every figure None where it knows the device but no figures for
        it: it shares the host's memory, or is a GPU cut into MIG slices of which the identity names none.
        Raises `pynvml.NVMLError` otherwise; the device is then looked up anew at the next call.
        """
        nvml = self._started()
        try:
            return self._read(nvml, identity)
        except nvml.NVMLError_Uninitialized:  # another library shut NVML down: no handle is good any more
            self._found.clear()
            self._nvml = None
            raise
        except nvml.NVMLError:  # a lost device's handle never works again
            self._found.pop(identity, None)
            raise

    def _read(self, nvml: Any, identity: DeviceIdentity) -> DeviceCounters | None:
        if identity not in self._found:
            self._found[identity] = _find(nvml, identity)
        found = self._found[identity]
        if found is None or found.in_slices:
            return None if found is None else DeviceCounters()
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(found.handle)
        except nvml.NVMLError_NotSupported:
            return DeviceCounters()
        return DeviceCounters(memory.total - memory.free, memory.free, memory.total)

    def _started(self) -> Any:
        if self._nvml is None:
            with self._lock:
                if self._nvml is None:
                    nvml = _import_pynvml()
                    nvml.nvmlInit()
                    self._nvml = nvml
        return self._nvml


class _Found(NamedTuple):
    handle: Any
    in_slices: bool


def _find(nvml: Any, identity: DeviceIdentity) -> _Found | None:
    """By UUID, a MIG slice's too, else by PCI bus id. Raises `pynvml.NVMLError` but for "no such device"."""
    for look_up, key in (
        (nvml.nvmlDeviceGetHandleByUUID, identity.uuid),
        (nvml.nvmlDeviceGetHandleByPciBusId, identity.pci_bus_id),
    ):
        if key is None:
            continue
        try:
            handle = look_up(key)
        except (nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument):
            continue
        return _Found(handle, in_slices=not key.startswith("MIG-") and _is_sliced(nvml, handle))
    return None


def _is_sliced(nvml: Any, handle: Any) -> bool:
    """Whether MIG is on: a process then uses one slice, and the whole device's figures would mislead."""
    try:
        current, _pending = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:
        return False  # no such mode on this device, or an older driver
    return bool(current == nvml.NVML_DEVICE_MIG_ENABLE)


def _import_pynvml() -> Any:
    """pynvml, without the FutureWarning that the deprecated package of that name gives at import."""
    if "pynvml" in sys.modules:
        import pynvml

        return pynvml
    # For that moment this changes the filters of the whole process, hence only where it is needed.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pynvml

    return pynvml


_PASS_IN = "in a container, pass the devices in (docker run --gpus all)"
_REASONS = {
    "LibraryNotFound": "the NVIDIA driver's library (libnvidia-ml) is not found",
    "DriverNotLoaded": "the NVIDIA driver is not loaded",
    "NoPermission": "this user may not talk to the NVIDIA driver",
    "LibRmVersionMismatch": "the NVIDIA driver was updated while its old version is still loaded",
    "GpuIsLost": "an NVIDIA device fell off the bus",
    "ResetRequired": "an NVIDIA device needs a reset",
    "IrqIssue": "an NVIDIA device's interrupts do not arrive",
}
_REMEDIES = {
    "LibraryNotFound": f"install the NVIDIA driver; {_PASS_IN}",
    "DriverNotLoaded": "load the driver (modprobe nvidia), where the machine has an NVIDIA device",
    "NoPermission": "give this user access to /dev/nvidia*",
    "LibRmVersionMismatch": "restart the machine, or reload the driver's kernel modules",
    "GpuIsLost": "restart the machine",
    "ResetRequired": "reset the device (nvidia-smi --gpu-reset) or restart the machine",
    "IrqIssue": "see the kernel's log (dmesg)",
}


def _explain(error: Exception) -> Unavailable:
    kind = type(error).__name__.removeprefix("NVMLError_")
    reason = _REASONS.get(kind, f"NVML does not start: {error}")
    return Unavailable(reason, _REMEDIES.get(kind, "see what nvidia-smi says"))
