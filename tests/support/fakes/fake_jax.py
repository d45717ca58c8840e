"""JAX with accelerators, as far as the backend looks, for machines without one.

Names are those of JAX 0.10; a test holds them against the installed one. `memory_stats` has the keys that XLA's
allocator gives; on the host it is None.
"""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

GIB = 1024**3


class FakeDevice:
    """`jaxlib._jax.Device`. Without `stats` it keeps none, as the host's does not."""

    def __init__(self, client: FakeClient, identifier: int, stats: dict[str, int] | None) -> None:
        self.client = client
        self.id = identifier
        self.local_hardware_id = identifier % 8
        self.platform = client.platform
        self.stats = stats
        self.is_lost = False

    def memory_stats(self) -> dict[str, int] | None:
        if self.is_lost:
            raise RuntimeError("INTERNAL: the device is lost")
        return None if self.stats is None else dict(self.stats)


class FakeClient:
    """`jaxlib._jax.Client`: one platform and its devices."""

    def __init__(self, platform: str = "gpu", devices: int = 2, *, first: int = 0, pool: bool = True) -> None:
        self.platform = platform
        self.platform_version = "PJRT C API\ncuda 13000" if platform == "gpu" else platform
        self.made = [FakeDevice(self, first + number, _stats(platform, pool=pool)) for number in range(devices)]

    def local_devices(self) -> list[FakeDevice]:
        return list(self.made)

    def use(self, identifier: int, size: int) -> None:
        """Set the bytes that the device's allocator has handed out."""
        stats = next(device.stats for device in self.made if device.id == identifier)
        assert stats is not None
        stats.update(bytes_in_use=size, peak_bytes_in_use=max(size, stats["peak_bytes_in_use"]))


class FakeJax:
    """The modules around it."""

    def __init__(self, *clients: FakeClient) -> None:
        self.clients = clients or (FakeClient(),)
        self.bridge = ModuleType("jax._src.xla_bridge")
        vars(self.bridge).update(_default_backend=None, _backends={})
        self.config = SimpleNamespace(jax_default_device=None)
        self.jax = ModuleType("jax")
        self.jax.__spec__ = importlib.machinery.ModuleSpec("jax", None)
        vars(self.jax)["config"] = self.config

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeJax:
        """Put it in the place of JAX, imported but not initialised."""
        for name in [name for name in sys.modules if name == "jax" or name.startswith("jax.")]:
            monkeypatch.delitem(sys.modules, name)
        for module in (self.jax, self.bridge):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        return self

    def initialise(self) -> FakeClient:
        """Initialise it as the training's first use does."""
        backends: dict[str, Any] = {client.platform: client for client in self.clients}
        vars(self.bridge).update(_default_backend=self.clients[0], _backends=backends)
        return self.clients[0]


def _stats(platform: str, *, pool: bool) -> dict[str, int] | None:
    if platform == "cpu":
        return None
    stats = dict.fromkeys(("num_allocs", "bytes_in_use", "peak_bytes_in_use", "largest_alloc_size"), 0)
    stats |= {"bytes_limit": 60 * GIB, "bytes_reserved": 0, "largest_free_block_bytes": 0}
    return stats | ({"pool_bytes": 60 * GIB, "peak_pool_bytes": 60 * GIB} if pool else {})
