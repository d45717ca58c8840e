"""Allocators that call Python are noticed, whoever made them; an ordinary torch is not taken for one."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

from phasescope.backends.torch_pluggable import allocates_by_python
from support.fakes.processes import in_new_python

PLAIN = """
import torch
from phasescope.backends.torch_pluggable import allocates_by_python
cls = torch.cuda.memory.CUDAPluggableAllocator
made = {made}
print(allocates_by_python())
"""
# The build of torch for tests has no constructor for it: the object is made without.
INSTANCE = "object.__new__(cls)"
CALLBACK = (
    "__import__('ctypes').CFUNCTYPE(*(getattr(__import__('ctypes'), name) for name in "
    "('c_void_p', 'c_ssize_t', 'c_int', 'c_void_p')))(lambda size, device, stream: 0)"
)


@pytest.mark.parametrize(
    ("made", "found"),
    [
        ("None; del cls", False),
        (INSTANCE, True),
        ("cls", True),  # the name is imported: that cannot be distinguished from an instance
        (CALLBACK + "; del cls", True),
        ("torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]); del cls", False),
    ],
)
def test_in_a_process_with_torch(made: str, found: bool) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    assert in_new_python(PLAIN.format(made=made)).strip() == str(found)


@pytest.mark.parametrize(
    "name", ["vllm.device_allocator.cumem", "vllm.device_allocator.xpumem", "vllm.cumem_allocator"]
)
def test_those_known_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert allocates_by_python()
