"""Sources of counters, one file each; a new one is a file here and a line below.

They may import one another, `_native` and `_packages`.
"""

from __future__ import annotations

BACKENDS = {
    "cuda": "phasescope.backends.torch_cuda:Cuda",
    "rocm": "phasescope.backends.torch_cuda:Rocm",
    "mps": "phasescope.backends.torch_mps:Mps",
    "xpu": "phasescope.backends.torch_xpu:Xpu",
    "tensorflow": "phasescope.backends.tensorflow:Tensorflow",
    "jax": "phasescope.backends.jax:Jax",
    "cpu": "phasescope.backends.cpu:Cpu",
}
"""Allocators, as `module:class`. Phases measure the first one in this order that the process uses."""

DEVICE_SOURCES = {
    "nvml": "phasescope.backends.nvml:Nvml",
    "amdsmi": "phasescope.backends.amd_smi:AmdSmi",
    "amd_sysfs": "phasescope.backends.amd_sysfs:AmdSysfs",
}
"""Drivers, as `module:class`. The first one that knows a device measures it."""

DRIVERS_ALONE = {
    "nvml": "phasescope.backends.driver_only:NvmlAlone",
    "amdsmi": "phasescope.backends.driver_only:AmdSmiAlone",
    "amd_sysfs": "phasescope.backends.driver_only:AmdSysfsAlone",
}
"""Drivers as backends, for processes without a framework. Used by name only, never by "auto"."""
