"""Why torch cannot use a device, said in words, over fakes of all that can be missing."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from phasescope.backends import torch_diagnosis
from phasescope.backends.torch_cuda import Cuda, Rocm
from support.fakes.fake_cuda import FakeCuda, without_torch
from support.fakes.fake_nvml import FakeDriver, FakeGpu
from support.fakes.processes import in_forked_child

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.neutral


class TestWhyNot:
    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeDriver:
        """One with a driver and a device, whatever the real one has."""
        for variable in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
            monkeypatch.delenv(variable, raising=False)
        node = tmp_path / "kfd"
        node.touch()
        monkeypatch.setattr(torch_diagnosis, "_AMD_NODE", node)
        monkeypatch.setattr(torch_diagnosis, "_NVIDIA_NODES", (tmp_path / "missing",))
        monkeypatch.setattr(sys, "platform", "linux")
        return FakeDriver([FakeGpu()]).install(monkeypatch)

    def reason(self, backend: Cuda) -> str:
        answer = backend.why_not()
        assert answer is not None
        assert answer.remedy
        assert "\n" not in answer.reason + answer.remedy
        return answer.reason

    def test_there_is_no_reason_where_the_device_may_yet_be_used(self, cuda: FakeCuda) -> None:
        cuda.initialised = False
        assert Cuda().why_not() is None
        assert cuda.initialisations == 0

    def test_there_is_none_where_it_is_in_use_whatever_else_is_missing(
        self, cuda: FakeCuda, machine: FakeDriver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        machine.gpus.clear()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert Cuda().why_not() is None

    def test_torch_is_not_installed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        without_torch(monkeypatch)
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        assert self.reason(Cuda()) == "PyTorch is not installed"

    @pytest.mark.parametrize(
        "source",
        ["import a_module_that_is_missing", "raise OSError('libcudart.so.13: cannot open')", "raise ImportError"],
    )
    def test_torch_is_broken(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str) -> None:
        without_torch(monkeypatch)
        (tmp_path / "torch.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        assert "cannot be imported" in self.reason(Cuda())

    def test_torch_is_built_for_the_cpu(self, cuda: FakeCuda) -> None:
        vars(cuda.core).pop("_cuda_getDeviceCount")
        cuda.initialised = False
        assert "CPU only" in self.reason(Cuda())

    def test_torch_is_built_for_the_other_kind_of_device(self, cuda: FakeCuda) -> None:
        assert self.reason(Rocm()) == "this PyTorch is built for CUDA, not ROCm"

    def test_torch_is_built_for_rocm(self, rocm: FakeCuda) -> None:
        assert self.reason(Cuda()) == "this PyTorch is built for ROCm, not CUDA"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    def test_the_process_was_forked(self, cuda: FakeCuda) -> None:
        assert "was forked" in in_forked_child(lambda: self.reason(Cuda()))

    @pytest.mark.parametrize("value", ["", "-1"])
    def test_the_devices_are_hidden(self, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        cuda.initialised = False
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert self.reason(Cuda()) == "CUDA_VISIBLE_DEVICES hides every device"

    def test_the_devices_are_hidden_on_rocm(self, rocm: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
        rocm.initialised = False
        assert Rocm().why_not() is None
        monkeypatch.setenv("HIP_VISIBLE_DEVICES", "-1")
        assert "HIP_VISIBLE_DEVICES" in self.reason(Rocm())

    def test_there_is_no_driver(self, cuda: FakeCuda, machine: FakeDriver) -> None:
        cuda.initialised = False
        machine.fail("NVML_ERROR_LIBRARY_NOT_FOUND")
        assert self.reason(Cuda()) == "no NVIDIA driver answers: NVML Shared Library Not Found"

    def test_a_device_file_without_nvml_is_no_reason(
        self, cuda: FakeCuda, machine: FakeDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """As on a Jetson."""
        cuda.initialised = False
        machine.fail("NVML_ERROR_LIBRARY_NOT_FOUND")
        (tmp_path / "nvmap").touch()
        monkeypatch.setattr(torch_diagnosis, "_NVIDIA_NODES", (tmp_path / "nvmap",))
        assert Cuda().why_not() is None

    def test_the_driver_sees_no_device(self, cuda: FakeCuda, machine: FakeDriver) -> None:
        cuda.initialised = False
        machine.gpus.clear()
        assert self.reason(Cuda()) == "the NVIDIA driver sees no device"
        assert machine.started == 0

    def test_without_pynvml_the_device_files_tell(self, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda.initialised = False
        monkeypatch.setitem(sys.modules, "pynvml", None)
        assert self.reason(Cuda()) == "no NVIDIA device files"

    def test_there_is_no_amd_driver(self, rocm: FakeCuda, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        rocm.initialised = False
        monkeypatch.setattr(torch_diagnosis, "_AMD_NODE", tmp_path / "missing")
        assert "no AMD driver" in self.reason(Rocm())
