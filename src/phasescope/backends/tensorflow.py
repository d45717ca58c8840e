"""TensorFlow's allocators, one per device, as `tf.config.experimental.get_memory_info` reports them.

That call creates TensorFlow's eager context, which on a GPU takes all of its memory, so it is made only where the
training has created the context itself. What is asked is a method of that very context.

TensorFlow's accelerators have the ids 0, 1 … in the order in which it lists them: for GPUs alone that is their number
in "GPU:1". Its allocator for host memory has the host's id. It is not the process's memory, only what oneDNN's
allocator hands out, and many processors and settings have none; so phases speak of it only where the user asked
for `tensorflow` by name and there is no accelerator.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from phasescope import _packages
from phasescope.backends import cuda_driver, this_process
from phasescope.backends.protocol import HOST_DEVICE, DeviceCounters, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from phasescope.backends.protocol import AllocatorCounters, DeviceIdentity, Variable

_modules = sys.modules
_CONTEXT = "tensorflow.python.eager.context"
_NAME = re.compile(r"(?:/job:(\w+))?(?:/replica:\d+)?(?:/task:(\d+))?/device:(\w+):(\d+)")
_NO_MEMORY = ("TPU_SYSTEM", "XLA_CPU", "XLA_GPU", "XLA_CPU_JIT", "XLA_GPU_JIT", "COMPOSITE")
"""Types of devices that compute, or only coordinate, in the memory of another one."""


class Tensorflow:
    """The devices of TensorFlow's eager context. It does not report what its allocators hold in reserve."""

    name = "tensorflow"
    unavailable: tuple[str, ...] = (
        "allocator_reserved_bytes",
        "allocator_active_bytes",
        "allocator_inactive_bytes",
    )

    def __init__(self) -> None:
        self.asked_for = False
        self._here = this_process.process
        self._context: Any = None
        self._names: dict[int, str] = {}
        self._ids: dict[tuple[str, str], int] = {}

    def why_not(self) -> Unavailable | None:
        """Return whether TensorFlow is installed. Does not import it, which would take seconds."""
        if not _packages.is_installed("tensorflow"):
            return Unavailable("TensorFlow is not installed", "pip install tensorflow")
        return None

    def ready(self) -> bool:
        """Return whether this process has created TensorFlow's eager context, and that has a device which can be
        measured."""
        module = _modules.get(_CONTEXT)
        if module is None:
            return False
        context = getattr(module, "_context", None)
        if context is None or not context._initialized or self._here is not this_process.process:
            return False
        if context is not self._context:
            self._find_devices(context)
        return bool(self._names)

    def awaited(self) -> Sequence[Variable] | None:
        """Return TensorFlow's variable of its context, and the context's flag that it is complete."""
        module = _modules.get(_CONTEXT)
        if module is None:
            return ()
        context = getattr(module, "_context", None)
        variables: tuple[Variable, ...] = ((vars(module), "_context"),)
        return variables if context is None else (*variables, (vars(context), "_initialized"))

    def leads(self) -> bool:
        """Return whether there is an accelerator, or the user wants to hear of the host's allocator."""
        return self.asked_for or any(device != HOST_DEVICE for device in self._names)

    def devices(self) -> Sequence[int]:
        """Return those that tell what they hold. The accelerators first."""
        self._in_use()
        return tuple(self._names)

    def current_device(self) -> int:
        """Return the device of the `tf.device(...)` around the calling code, else the first, as TensorFlow itself
        chooses.

        Inside of a graph or under a strategy TensorFlow places operations as it likes; this is then the first one.
        """
        name = self._in_use().device_name
        first = next(iter(self._names))
        if not name:
            return first
        named = _NAME.search(name)
        device = self._ids.get((named[3], named[4]), first) if named else first
        return first if device == HOST_DEVICE else device  # preparing data on the host does not change the device

    def allocator(self, device: int) -> AllocatorCounters:
        """Return (in use, 0, None, None) in bytes; the reserve is unknown.

        Raises RuntimeError if there is no context, KeyError or ValueError if there is no such device.
        """
        return self._info(device)["current"], 0, None, None

    def device(self, device: int) -> DeviceCounters:
        """Return nothing: TensorFlow knows only its own allocator."""
        return DeviceCounters()

    def identity(self, device: int) -> DeviceIdentity | None:
        """Return the CUDA driver's answer, for a GPU of a CUDA build; else None."""
        context = self._in_use()
        named = _NAME.search(self._names[device])
        if named is None or named[3] != "GPU" or not _is_cuda_build():
            return None
        ordinal = _ordinal(context, int(named[4]))
        return None if ordinal is None else cuda_driver.identity(ordinal)

    def peak(self, device: int) -> int:
        """Return the most that was in use since the peak was reset, in bytes. Raises as `allocator` does."""
        return int(self._info(device)["peak"])

    def reset_peak(self, device: int) -> None:
        """Set TensorFlow's own peak of the device back. Raises as `allocator` does."""
        self._in_use().reset_memory_stats(self._names[device])

    def _info(self, device: int) -> dict[str, int]:
        info: dict[str, int] = self._in_use().get_memory_info(self._names[device])
        return info

    def _in_use(self) -> Any:
        if not self.ready():
            raise RuntimeError("tensorflow has no eager context in this process")
        return self._context

    def _find_devices(self, context: Any) -> None:
        """Find the devices of this process that report their memory, by their ids; the context's list never changes."""
        names: dict[int, str] = {}
        ids: dict[tuple[str, str], int] = {}
        host = None
        for name, kind, number in _local_devices(context):
            if kind == "CPU":
                host = host or (name, (kind, number))
            elif _answers(context, name):
                ids[kind, number] = len(names)
                names[len(names)] = name
        if host is not None and _answers(context, host[0]):
            names[HOST_DEVICE] = host[0]
            ids[host[1]] = HOST_DEVICE
        self._context, self._names, self._ids = context, names, ids


def _local_devices(context: Any) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and number of each device of this process; in a cluster, TensorFlow lists all of them."""
    cluster = context._server_def or context._collective_ops_server_def
    for device in context.list_logical_devices():
        named = _NAME.search(device.name)
        if named is None or named[3] in _NO_MEMORY:
            continue
        if named[1] is None or (cluster and (named[1], named[2]) == (cluster.job_name, str(cluster.task_index))):
            yield device.name, named[3], named[4]


def _answers(context: Any, name: str) -> bool:
    try:
        return "current" in context.get_memory_info(name)
    except Exception:  # ValueError where it keeps no statistics; a pluggable device may raise anything
        return False


def _is_cuda_build() -> bool:
    module = _modules.get("tensorflow.python.platform.build_info")
    return bool(getattr(module, "build_info", {}).get("is_cuda_build", False))


def _ordinal(context: Any, index: int) -> int | None:
    """Return the number, as CUDA counts, of the device behind "GPU:index": some may be hidden, others split in
    several."""
    for device in context.get_visible_devices("GPU"):
        parts = len(context.get_logical_device_configuration(device) or (None,))
        if index < parts:
            return int(device.name.rpartition(":")[2])
        index -= parts
    return None
