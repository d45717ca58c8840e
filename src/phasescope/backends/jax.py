"""JAX's devices, by their runtime's figures of its allocator (`Device.memory_stats()`).

JAX initialises all its platforms at the first `jax.devices()`, and on a GPU takes three quarters of its memory then. So
nothing is called before the training has done that; whether it has is read from JAX's own record of it. JAX keeps no
statistics for the host's processors: there only the host's own memory can be measured.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from phasescope import _packages
from phasescope.backends import cuda_driver, this_process
from phasescope.backends.protocol import DeviceCounters, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phasescope.backends.protocol import AllocatorCounters, DeviceIdentity, Variable

_modules = sys.modules
_BRIDGE = "jax._src.xla_bridge"
_INSTALL = 'pip install "jax[cuda13]", or the extra for your device: https://docs.jax.dev/en/latest/installation.html'
_RESERVED = "pool_bytes"


class Jax:
    """The devices of this process whose memory JAX knows, by their `id`, which is unique over all processes."""

    name = "jax"

    def __init__(self) -> None:
        self._here = this_process.process
        self._client: Any = None
        self._devices: dict[int, Any] = {}
        self._knows_reserved = False

    def why_not(self) -> Unavailable | None:
        """Return whether JAX is installed with support for anything but the host. Imports and initialises nothing."""
        if not _packages.is_installed("jax"):
            return Unavailable("JAX is not installed", _INSTALL)
        client = getattr(_modules.get(_BRIDGE), "_default_backend", None)
        if client is None:
            from importlib import metadata  # brings in half of `email`, and is wanted only here

            names_one = bool(metadata.entry_points(group="jax_plugins"))
            used = names_one or _packages.is_there("jax_plugins") or _packages.is_installed("libtpu")
        else:
            used = self.ready()
        return None if used else Unavailable("JAX runs on the host here, and keeps no statistics of it", _INSTALL)

    @property
    def unavailable(self) -> tuple[str, ...]:
        """Reserved too, if the runtime does not report the size of its pool."""
        always = ("allocator_active_bytes", "allocator_inactive_bytes")
        return always if self._knows_reserved else ("allocator_reserved_bytes", *always)

    def ready(self) -> bool:
        """Return whether this process has initialised JAX, with a device that keeps statistics. Never imports it."""
        bridge = _modules.get(_BRIDGE)
        if bridge is None:
            return False
        client = getattr(bridge, "_default_backend", None)
        if client is not self._client and self._here is this_process.process:
            self._find_devices(bridge, client)
        return bool(self._devices) and self._here is this_process.process

    def awaited(self) -> Sequence[Variable] | None:
        """Return JAX's variable of the platform that it has initialised."""
        bridge = _modules.get(_BRIDGE)
        return () if bridge is None else ((vars(bridge), "_default_backend"),)

    def devices(self) -> Sequence[int]:
        """Return those that keep statistics."""
        self._in_use()
        return tuple(self._devices)

    def current_device(self) -> int:
        """Return the device of `jax.default_device(...)` in the calling thread, else the first, as JAX itself
        chooses."""
        devices = self._in_use()
        chosen = _modules["jax"].config.jax_default_device
        identifier: int | None = getattr(chosen, "id", None)
        return next(iter(devices)) if identifier is None or identifier not in devices else identifier

    def allocator(self, device: int) -> AllocatorCounters:
        """Return (in use, the allocator's pool, None, None) in bytes.

        Raises RuntimeError if JAX is not initialised, KeyError if there is no such device.
        """
        stats = self._in_use()[device].memory_stats()
        return stats["bytes_in_use"], stats[_RESERVED] if self._knows_reserved else 0, None, None

    def device(self, device: int) -> DeviceCounters:
        """Return nothing: JAX knows only its own allocator."""
        return DeviceCounters()

    def identity(self, device: int) -> DeviceIdentity | None:
        """Return the CUDA driver's answer, for an NVIDIA device; else None."""
        device_in_use = self._in_use()[device]
        if "cuda" not in device_in_use.client.platform_version.lower():
            return None
        return cuda_driver.identity(device_in_use.local_hardware_id)

    def extra(self, device: int) -> dict[str, int]:
        """Return how far the allocator may grow, the largest block it has free, and its largest allocation ever."""
        stats = self._in_use()[device].memory_stats()
        names = ("bytes_limit", "largest_free_block_bytes", "largest_alloc_size")
        ours = ("allocator_limit_bytes", "largest_free_block_bytes", "largest_allocation_bytes")
        return {ours: stats[name] for ours, name in zip(ours, names, strict=True) if stats.get(name, -1) >= 0}

    def close(self) -> None:
        """Let go of JAX's devices."""
        self._client, self._devices = None, {}

    def _in_use(self) -> dict[int, Any]:
        if not self.ready():
            raise RuntimeError("jax is not initialised in this process")
        return self._devices

    def _find_devices(self, bridge: Any, client: Any) -> None:
        """Find the devices that keep statistics, those of the default platform first; ids may repeat on another one."""
        devices: dict[int, Any] = {}
        clients = () if client is None else (client, *bridge._backends.values())
        for device in (device for client in clients for device in client.local_devices()):
            stats = device.memory_stats()
            if stats and stats.get("bytes_in_use", -1) >= 0:
                devices.setdefault(device.id, device)
        self._knows_reserved = bool(devices) and all(
            device.memory_stats().get(_RESERVED, -1) >= 0 for device in devices.values()
        )
        self._client, self._devices = client, devices
