"""Machines that several tests of backends stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.fakes.fake_cuda import FakeCuda


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """A machine with two devices of NVIDIA's, and torch in this process."""
    from support.fakes.fake_cuda import FakeCuda  # not before the calls that another system lacks are taken away

    return FakeCuda().install(monkeypatch)


@pytest.fixture
def rocm(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """The same of AMD's."""
    from support.fakes.fake_cuda import FakeCuda

    return FakeCuda(hip="6.4.43482").install(monkeypatch)
