"""The C library's own count of its heap, against memory that is really held and freed; the kinds of resident pages."""

from __future__ import annotations

import ctypes
import sys

import pytest

from phasescope.backends import host_heap

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="as Linux and its C library tell it")
MIB = 1 << 20


def test_blocks_that_are_freed_between_others_are_counted_as_free() -> None:
    before = host_heap.heap()
    if not before:
        pytest.skip("this C library does not report it, or another allocator is in its place")
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.free.argtypes = (ctypes.c_void_p,)
    # Below the size that is mapped, and all of one size: others would go where the process has room already, and what
    # is free at the heap's end is given back.
    blocks = [(libc.malloc(100_000), libc.malloc(100_000)) for _ in range(400)]
    held = host_heap.heap()
    for first, _ in blocks:
        libc.free(first)
    freed = host_heap.heap()
    for _, between in blocks:
        libc.free(between)
    assert held["heap_used_bytes"] - before["heap_used_bytes"] > 60 * MIB
    assert held["heap_used_bytes"] - freed["heap_used_bytes"] > 30 * MIB
    assert freed["heap_free_bytes"] - held["heap_free_bytes"] > 30 * MIB


def test_the_pages_add_up_to_the_resident_set() -> None:
    pages = host_heap.pages()
    kinds = ("anonymous_bytes", "mapped_file_bytes", "shared_memory_bytes")
    assert pages["resident_bytes"] == sum(pages[kind] for kind in kinds)
    assert pages["anonymous_bytes"] > MIB


def test_without_such_a_call_or_with_another_allocator_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_heap, "_mallinfo2", lambda: None)
    assert host_heap.heap() == {}
    monkeypatch.setattr(host_heap, "_mallinfo2", lambda: host_heap._Mallinfo2)
    assert host_heap.heap() == {}
