"""Explain why PyTorch is missing, or cannot use a CUDA or ROCm device, in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from phasescope.backends.hidden_devices import hidden_by
from phasescope.backends.protocol import Unavailable

_BUILDS = {False: "CUDA", True: "ROCm"}
_VISIBLE = {
    False: ("CUDA_VISIBLE_DEVICES",),
    True: ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
}
_INSTALL = "install a build for this machine's devices: https://pytorch.org/get-started/locally/"
_REPAIR = "repair the installation of torch"
_NVIDIA = "install the NVIDIA driver; in a container, pass the devices in (docker run --gpus all)"
_AMD = "install the amdgpu driver; in a container, pass in /dev/kfd and /dev/dri"
_AMD_NODE = Path("/dev/kfd")
_NVIDIA_NODES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/nvmap"))
"""A GPU's device files on Linux, under WSL, and on a Jetson, some of which have no NVML."""


def why_not(*, hip: bool) -> Unavailable | None:
    """Return the first reason found, or None. Imports torch, which takes seconds; initialises no device."""
    torch = import_torch(_INSTALL)
    if isinstance(torch, Unavailable):
        return torch
    wrong = _wrong_build(torch, hip)
    if wrong or torch.cuda.is_initialized():
        return wrong
    return _forked(torch) or hidden_by(_VISIBLE[hip]) or (_no_amd_driver() if hip else _no_nvidia_driver())


def import_torch(install: str) -> Any:
    """Return torch, or the `Unavailable` that says why it cannot be imported; `install` is the remedy."""
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name == "torch":
            return Unavailable("PyTorch is not installed", install)
        return Unavailable(f"PyTorch cannot be imported: {error}", _REPAIR)
    except Exception as error:  # a missing shared library is an OSError, a broken one can be anything
        return Unavailable(f"PyTorch cannot be imported: {error}", _REPAIR)
    return torch


def is_compiled(core: Any) -> bool:
    """Return whether `torch._C` is of a build with CUDA or ROCm, by torch's own test."""
    return hasattr(core, "_cuda_getDeviceCount")


def is_hip(version: Any) -> bool:
    """Return whether `torch.version` is that of a ROCm build."""
    return getattr(version, "hip", None) is not None


def _wrong_build(torch: Any, hip: bool) -> Unavailable | None:
    if not is_compiled(torch._C):
        return Unavailable("this PyTorch is built for the CPU only", _INSTALL)
    if is_hip(torch.version) == hip:
        return None
    return Unavailable(f"this PyTorch is built for {_BUILDS[not hip]}, not {_BUILDS[hip]}", _INSTALL)


def _forked(torch: Any) -> Unavailable | None:
    if not getattr(torch.cuda, "_is_in_bad_fork", bool)():
        return None
    return Unavailable(
        "this process was forked from one that already used the device",
        "start workers with the 'spawn' or 'forkserver' method",
    )


def _no_amd_driver() -> Unavailable | None:
    if not sys.platform.startswith("linux") or _AMD_NODE.exists() or Path("/dev/dxg").exists():
        return None
    return Unavailable(f"no AMD driver: {_AMD_NODE} is missing", _AMD)


def _no_nvidia_driver() -> Unavailable | None:
    """Ask NVML, which initialises no device; return None if it does not know."""
    try:
        import pynvml
    except ImportError:
        return _no_nvidia_node("no NVIDIA device files")
    try:
        pynvml.nvmlInit()
        try:
            count = pynvml.nvmlDeviceGetCount()
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return _no_nvidia_node(f"no NVIDIA driver answers: {error}")
    return None if count else Unavailable("the NVIDIA driver sees no device", _NVIDIA)


def _no_nvidia_node(reason: str) -> Unavailable | None:
    """Return the reason, unless there is a device file: without NVML that may still be a working device."""
    if not sys.platform.startswith("linux") or any(node.exists() for node in _NVIDIA_NODES):
        return None
    return Unavailable(reason, _NVIDIA)
