"""One training per vendor over its fake: with all that a test needs to hold and free memory on anybody's device."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from support.fakes.fake_cuda import FakeCuda
from support.fakes.fake_jax import FakeJax
from support.fakes.fake_tensorflow import FakeTensorflow
from support.fakes.fake_torch import FakeMps, FakeXpu

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class Vendor(NamedTuple):
    """A fake in use. `hold` makes the device's live objects this large; `unknown` are the counters nobody knows."""

    backend: str
    hold: Callable[[int], object]
    device: int
    unknown: list[str]
    source_kind: str


def install(name: str, monkeypatch: pytest.MonkeyPatch) -> Vendor:
    """Put the vendor's fake in the place of its framework, already used by the training."""
    vendor = _MAKERS[name](monkeypatch)
    vendor.hold(1)
    return vendor


def _cuda(monkeypatch: pytest.MonkeyPatch, hip: str | None = None) -> Vendor:
    fake = FakeCuda(hip=hip).install(monkeypatch)
    fake.thread.device = 1
    name = "cuda" if hip is None else "rocm"
    return Vendor(name, lambda size: fake.use(1, size, size, size), 1, [*_DEVICE[:2]], name)


def _rocm(monkeypatch: pytest.MonkeyPatch) -> Vendor:
    return _cuda(monkeypatch, "6.4.43482")


def _xpu(monkeypatch: pytest.MonkeyPatch) -> Vendor:
    fake = FakeXpu().install(monkeypatch)
    return Vendor("xpu", lambda size: fake.use(0, size), 0, [_ALLOCATOR[2], *_DEVICE[:2]], "gpu")


def _mps(monkeypatch: pytest.MonkeyPatch) -> Vendor:
    fake = FakeMps().install(monkeypatch)
    return Vendor("mps", fake.use, 0, [*_ALLOCATOR[1:], *_DEVICE[:2]], "mps")


def _tensorflow(monkeypatch: pytest.MonkeyPatch) -> Vendor:
    fake = FakeTensorflow().install(monkeypatch)
    fake.context.device_name = "/job:localhost/replica:0/task:0/device:GPU:1"
    return Vendor(
        "tensorflow", lambda size: fake.context.use("/device:GPU:1", size), 1, [*_ALLOCATOR, *_DEVICE], "tensorflow"
    )


def _jax(monkeypatch: pytest.MonkeyPatch) -> Vendor:
    client = FakeJax().install(monkeypatch).initialise()
    return Vendor("jax", lambda size: client.use(0, size), 0, [*_ALLOCATOR[1:], *_DEVICE], "gpu")


_ALLOCATOR = ("allocator_reserved_bytes", "allocator_active_bytes", "allocator_inactive_bytes")
_DEVICE = ("device_used_bytes", "device_free_bytes", "device_total_bytes")
_MAKERS = {"cuda": _cuda, "rocm": _rocm, "xpu": _xpu, "mps": _mps, "tensorflow": _tensorflow, "jax": _jax}
VENDORS = tuple(_MAKERS)
