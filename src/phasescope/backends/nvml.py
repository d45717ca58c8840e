"""NVIDIA devices as their driver sees them, by NVML: what all processes together use, and what each of them does."""

from __future__ import annotations

import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

from phasescope.backends import nvml_queries
from phasescope.backends.nvml_activity import Activity
from phasescope.backends.nvml_details import NvmlDetails
from phasescope.backends.protocol import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phasescope.backends.nvml_queries import NvmlDevice
    from phasescope.backends.protocol import DeviceCounters, DeviceIdentity, Present

    T = TypeVar("T")


class Nvml:
    """The driver, by `nvidia-ml-py` (imported as `pynvml`), started at the first question.

    All but `why_not()` raise `pynvml.NVMLError` if there is no driver, ImportError if the library is missing.
    `in_use`: whoever asks uses the device that it asks about; a framework does.
    """

    name = "nvml"

    def __init__(self, *, in_use: bool = True, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._in_use = in_use
        self._monotonic_ns = monotonic_ns
        self._details: dict[DeviceIdentity, NvmlDetails] = {}
        self._activity: dict[DeviceIdentity, Activity] = {}
        self._used: dict[DeviceIdentity, int | None] = {}
        self._nvml: Any = None
        self._lock = threading.Lock()
        self._found: dict[DeviceIdentity, NvmlDevice | None] = {}

    def why_not(self) -> Unavailable | None:
        """Return why NVML does not answer here, and what would change that, or None if it does."""
        try:
            count = self._started().nvmlDeviceGetCount()
        except ImportError:
            return Unavailable("nvidia-ml-py is not installed", "pip install nvidia-ml-py")
        except Exception as error:
            return _explain(error)
        return None if count else Unavailable("the NVIDIA driver sees no device", _PASS_IN)

    def device(self, identity: DeviceIdentity) -> DeviceCounters | None:
        """Return total and free as NVML gives them, used as the rest: the driver's own part counts as used.

        None if NVML knows no such device, and at once where the kernel says that it is another maker's. Every
        figure None if NVML knows the device but no figures for it: it shares the host's memory, or is a GPU cut
        into MIG slices of which the identity names none. Raises `pynvml.NVMLError` otherwise; the device is then
        looked up again at the next call.
        """
        counters = self._ask(identity, nvml_queries.memory)
        self._used[identity] = None if counters is None else counters.used_bytes
        return counters

    def extra(self, identity: DeviceIdentity) -> dict[str, int]:
        """Return `device_reserved_bytes`, the driver's own part; `process_used_bytes` and
        `other_processes_bytes`, what it counts for this process and for the others that it lists.

        Each is left out if it is not known, or was not asked for now: processes are listed every few seconds, or when
        what `device` found in use has moved. Raises as `device` does.
        """
        details = self._details.setdefault(identity, NvmlDetails(self._monotonic_ns, in_use=self._in_use))

        def ask(nvml: Any, device: NvmlDevice) -> dict[str, int]:
            return {} if device.in_slices else details.ask(nvml, device.handle, self._used.get(identity))

        return self._ask(identity, ask) or {}

    def activity(self, identity: DeviceIdentity) -> dict[str, int]:
        """Return `utilization_percent`, `temperature_celsius` and `power_milliwatts`, each left out if it is not known.

        Raises as `device` does.
        """
        activity = self._activity.setdefault(identity, Activity())

        def ask(nvml: Any, device: NvmlDevice) -> dict[str, int]:
            return {} if device.in_slices else activity.ask(nvml, device.handle)

        return self._ask(identity, ask) or {}

    def present(self) -> Sequence[Present]:
        """Return every GPU by NVML's index; where one is cut into MIG slices, the slices in its place."""
        return self._guarded(nvml_queries.present)

    def visible(self) -> Sequence[Present]:
        """Return what `CUDA_VISIBLE_DEVICES` leaves of them. Its numbers count GPUs in PCI order, as CUDA itself does
        on a machine with GPUs of one kind, or where `CUDA_DEVICE_ORDER` is `PCI_BUS_ID`. Of a GPU that is cut into
        slices it is the first one, which is what CUDA would take.
        """
        return self._guarded(nvml_queries.visible)

    def _guarded(self, question: Callable[[Any], T]) -> T:
        nvml = self._started()
        try:
            return question(nvml)
        except nvml.NVMLError_Uninitialized:  # another library shut NVML down: no handle is good any more
            self._found.clear()
            self._nvml = None
            raise

    def _ask(self, identity: DeviceIdentity, question: Callable[[Any, NvmlDevice], T]) -> T | None:
        """Return the answer to a question about one device; None if NVML knows no such device."""
        if identity not in self._found and nvml_queries.is_anothers(identity):
            self._found[identity] = None
        if identity in self._found and self._found[identity] is None:
            return None
        return self._guarded(lambda nvml: self._ask_driver(nvml, identity, question))

    def _ask_driver(self, nvml: Any, identity: DeviceIdentity, question: Callable[[Any, NvmlDevice], T]) -> T | None:
        try:
            if identity not in self._found:
                self._found[identity] = nvml_queries.find(nvml, identity)
            device = self._found[identity]
            return None if device is None else question(nvml, device)
        except nvml.NVMLError:  # a lost device's handle never works again
            self._found.pop(identity, None)
            self._details.pop(identity, None)
            self._activity.pop(identity, None)
            raise

    def _started(self) -> Any:
        if self._nvml is None:
            with self._lock:
                if self._nvml is None:
                    nvml = _import_pynvml()
                    nvml.nvmlInit()
                    self._nvml = nvml
        return self._nvml


def _import_pynvml() -> Any:
    """Return pynvml, without the FutureWarning that the deprecated package of that name gives at import."""
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
