"""Which physical device a CUDA ordinal is, for frameworks that do not say it themselves (TensorFlow, JAX).

The CUDA driver in this process knows under any `CUDA_VISIBLE_DEVICES`. It is asked only what needs no context, and does
not answer at all in a process where nobody has initialised it: nothing here does.
"""

from __future__ import annotations

import ctypes
import functools
import os

from phasescope.backends.protocol import DeviceIdentity

LIBRARY = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
_NAME_BYTES = 256


def identity(ordinal: int) -> DeviceIdentity | None:
    """Return UUID and PCI bus id of the device that has this number in CUDA; None if the driver does not answer."""
    driver = _driver()
    if driver is None:
        return None
    device = ctypes.c_int()
    if driver.cuDeviceGet(ctypes.byref(device), ctypes.c_int(ordinal)):
        return None
    identity = DeviceIdentity(_uuid(driver, device), _pci_bus_id(driver, device))
    return None if identity == (None, None) else identity


@functools.cache
def _driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        return None


def _uuid(driver: ctypes.CDLL, device: ctypes.c_int) -> str | None:
    """Return the UUID as NVML writes it. Under MIG the second version of the call gives the slice's own."""
    raw = (ctypes.c_ubyte * 16)()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    get = getattr(driver, "cuDeviceGetUuid_v2", None) or getattr(driver, "cuDeviceGetUuid", None)
    if get is None or get(ctypes.byref(raw), device) or driver.cuDeviceGetName(name, _NAME_BYTES, device):
        return None
    digits = bytes(raw).hex()
    kind = "MIG" if b" MIG " in name.value else "GPU"
    return "-".join((kind, digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _pci_bus_id(driver: ctypes.CDLL, device: ctypes.c_int) -> str | None:
    text = ctypes.create_string_buffer(_NAME_BYTES)
    if driver.cuDeviceGetPCIBusId(text, _NAME_BYTES, device):
        return None
    domain, _, rest = text.value.decode("ascii", "replace").lower().partition(":")
    return f"{domain.rjust(8, '0')}:{rest}"
