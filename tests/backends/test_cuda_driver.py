"""Which device a CUDA ordinal is, over a fake of libcuda at its C interface."""

from __future__ import annotations

import ctypes
import uuid
from typing import Any

import pytest

from phasescope.backends import cuda_driver
from phasescope.backends.protocol import DeviceIdentity

pytestmark = pytest.mark.neutral
UUID = "737e2423-874a-23a4-1126-dfbe3e77c294"
NOT_INITIALISED, INVALID_DEVICE = 3, 101


class FakeDriver:
    """libcuda, with one device. Every function gives an error code, as the real ones do."""

    def __init__(self, *, initialised: bool = True, name: bytes = b"NVIDIA H100 80GB HBM3") -> None:
        self.initialised = initialised
        self.name = name

    def cuDeviceGet(self, device: Any, ordinal: Any) -> int:  # noqa: N802
        if not self.initialised:
            return NOT_INITIALISED
        device._obj.value = 40 + ordinal.value
        return 0 if ordinal.value == 0 else INVALID_DEVICE

    def cuDeviceGetUuid(self, raw: Any, device: Any) -> int:  # noqa: N802
        assert device.value == 40
        ctypes.memmove(raw._obj, uuid.UUID(UUID).bytes, 16)
        return 0

    def cuDeviceGetName(self, text: Any, length: int, device: Any) -> int:  # noqa: N802
        text.value = self.name
        return 0

    def cuDeviceGetPCIBusId(self, text: Any, length: int, device: Any) -> int:  # noqa: N802
        text.value = b"0000:DE:00.0"
        return 0


def use(monkeypatch: pytest.MonkeyPatch, driver: FakeDriver | None) -> None:
    monkeypatch.setattr(cuda_driver, "_driver", lambda: driver)


def test_it_is_written_as_nvml_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeDriver())
    assert cuda_driver.identity(0) == DeviceIdentity(f"GPU-{UUID}", "00000000:de:00.0")


def test_a_mig_slice_is_named_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeDriver(name=b"NVIDIA A100-SXM4-40GB MIG 1g.5gb"))
    identity = cuda_driver.identity(0)
    assert identity is not None
    assert identity.uuid == f"MIG-{UUID}"


@pytest.mark.parametrize("driver", [None, FakeDriver(initialised=False)])
def test_where_nobody_initialised_cuda_it_is_unknown(
    monkeypatch: pytest.MonkeyPatch, driver: FakeDriver | None
) -> None:
    use(monkeypatch, driver)
    assert cuda_driver.identity(0) is None


def test_an_ordinal_that_does_not_exist_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeDriver())
    assert cuda_driver.identity(1) is None


def test_a_driver_that_tells_nothing_leaves_it_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver()
    use(monkeypatch, driver)
    for name in ("cuDeviceGetUuid", "cuDeviceGetPCIBusId"):
        monkeypatch.setattr(driver, name, lambda *_: 1)
    assert cuda_driver.identity(0) is None
