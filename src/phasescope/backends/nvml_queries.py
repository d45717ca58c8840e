"""The questions that are asked of NVML, each with its answer where a device, driver or user is not made for it.

`nvml` is pynvml throughout, started. What is not said to be None or empty raises `pynvml.NVMLError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.backends import cuda_visible_devices, pci
from phasescope.backends.protocol import DeviceCounters, DeviceIdentity, Present

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class NvmlDevice(NamedTuple):
    """A device by NVML's handle. `in_slices`: it is cut into MIG slices, and which one is meant is not known."""

    handle: Any
    in_slices: bool = False


def is_anothers(identity: DeviceIdentity) -> bool:
    """Return whether the kernel says that the device is not NVIDIA's: then NVML did not fail."""
    if identity.uuid is not None or identity.pci_bus_id is None:
        return False
    return pci.vendor(identity.pci_bus_id) not in (None, pci.NVIDIA)


def find(nvml: Any, identity: DeviceIdentity) -> NvmlDevice | None:
    """Return the device by UUID, a MIG slice's too, else by PCI bus id.

    Raises `pynvml.NVMLError` but for "no such device".
    """
    for look_up, key in (
        (nvml.nvmlDeviceGetHandleByUUID, identity.uuid),
        (nvml.nvmlDeviceGetHandleByPciBusId, identity.pci_bus_id),
    ):
        handle = None if key is None else _or_none(nvml, look_up, key)
        if handle is None:
            continue
        if (key is not None and key.startswith("MIG-")) or not _is_sliced(nvml, handle):
            return NvmlDevice(handle)
        slices = list(_slices(nvml, handle))
        return NvmlDevice(slices[0]) if len(slices) == 1 else NvmlDevice(handle, in_slices=True)
    return None


def _or_none(nvml: Any, look_up: Callable[[str], Any], key: str) -> Any:
    try:
        return look_up(key)
    except (nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument):
        return None


def _is_sliced(nvml: Any, handle: Any) -> bool:
    """Return whether MIG is on: a process then uses one slice, and the whole device's figures would mislead."""
    try:
        current, _pending = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:
        return False  # no such mode on this device, or an older driver
    return bool(current == nvml.NVML_DEVICE_MIG_ENABLE)


def _slices(nvml: Any, handle: Any) -> Iterator[Any]:
    """Iterate over the handles of a GPU's MIG slices, as far as this process may see them."""
    try:
        most = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except nvml.NVMLError:
        return
    for index in range(most):
        try:
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except nvml.NVMLError:  # no slice at this place, or not for this user
            continue


def memory(nvml: Any, device: NvmlDevice) -> DeviceCounters:
    """Return used, free and total; every figure None if the device has none of its own, or a slice's are not these."""
    if device.in_slices:
        return DeviceCounters()
    try:
        figures = nvml.nvmlDeviceGetMemoryInfo(device.handle)
    except nvml.NVMLError_NotSupported:
        return DeviceCounters()
    return DeviceCounters(figures.total - figures.free, figures.free, figures.total)


def reserved(nvml: Any, handle: Any) -> int | None:
    """Return what the driver and its firmware keep for themselves, in bytes; None if it does not say (before 510)."""
    version = getattr(nvml, "nvmlMemory_v2", None)
    if version is None:
        return None
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle, version).reserved)
    except unanswered(nvml):
        return None


def listed(nvml: Any, handle: Any) -> dict[int, int | None] | None:
    """Return what each compute process holds, in bytes, by its number; None if the driver does not list them."""
    held: dict[int, int | None] = {}
    try:
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            before, used = held.get(process.pid, 0), process.usedGpuMemory
            held[process.pid] = None if used is None or before is None else before + used
    except unanswered(nvml):
        return None
    return held


def listed_by(nvml: Any, handle: Any, name: str) -> dict[int, int | None]:
    """Return the same of another of NVML's lists; nothing if the driver does not have it."""
    try:
        return {process.pid: process.usedGpuMemory for process in getattr(nvml, name)(handle)}
    except unanswered(nvml):
        return {}


def unanswered(nvml: Any) -> tuple[type[Exception], ...]:
    """Return what NVML raises where this one question has no answer here: device, driver or user are not made for
    it."""
    names = ("NotSupported", "FunctionNotFound", "NoPermission", "ArgumentVersionMismatch")
    errors = [getattr(nvml, f"NVMLError_{name}", None) for name in names]
    errors.append(getattr(nvml, "NVMLLibraryMismatchError", None))
    return (AttributeError, *(error for error in errors if error is not None))


def present(nvml: Any) -> list[Present]:
    """Return every GPU by NVML's index; where one is cut into slices that this process may see, those in its place."""
    return [part for handle in _handles(nvml) for part in _shown(nvml, handle)]


def visible(nvml: Any) -> list[Present]:
    """Return what `CUDA_VISIBLE_DEVICES` leaves, in its order; of a GPU that is cut into slices the first one."""
    whole = {nvml.nvmlDeviceGetUUID(handle): handle for handle in _handles(nvml)}
    entries = cuda_visible_devices.wanted()

    def exists(uuid: str) -> bool:
        return _or_none(nvml, nvml.nvmlDeviceGetHandleByUUID, uuid) is not None

    chosen = list(whole) if entries is None else cuda_visible_devices.chosen(entries, list(whole), exists)
    return [
        _shown(nvml, whole[uuid])[0] if uuid in whole else _present(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid))
        for uuid in chosen
    ]


def _handles(nvml: Any) -> Iterator[Any]:
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            yield nvml.nvmlDeviceGetHandleByIndex(index)
        except (nvml.NVMLError_NoPermission, nvml.NVMLError_GpuIsLost):
            continue  # not passed into this container, or fallen off the bus


def _shown(nvml: Any, handle: Any) -> list[Present]:
    slices = list(_slices(nvml, handle)) if _is_sliced(nvml, handle) else []
    return [_present(nvml, part) for part in slices or [handle]]


def _present(nvml: Any, handle: Any) -> Present:
    try:
        name = nvml.nvmlDeviceGetName(handle)
    except nvml.NVMLError:
        name = None
    try:
        bus_id = pci.normal(_text(nvml.nvmlDeviceGetPciInfo(handle).busId))
    except nvml.NVMLError:  # a slice has none of its own
        bus_id = None
    return Present(name, DeviceIdentity(nvml.nvmlDeviceGetUUID(handle), bus_id))


def _text(value: str | bytes) -> str:
    """Return the text of a structure's field, which older versions of pynvml leave as bytes."""
    return value if isinstance(value, str) else value.decode("ascii", "replace")
