"""How the C library's heap stands, and what kinds of pages the process has: no figure of these is a leak by itself.

`mallinfo2` (glibc 2.33) walks over the blocks that are free, arena by arena, each under the arena's lock: it is asked
when a census is taken or a snapshot is asked for, not at every sample.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope.backends.host_private import labelled

if TYPE_CHECKING:
    from collections.abc import Callable

_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
_STATUS = Path("/proc/self/status")
_PAGES = {"anonymous_bytes": b"RssAnon:", "mapped_file_bytes": b"RssFile:", "shared_memory_bytes": b"RssShmem:"}
_ANOTHER_ALLOCATOR = 1 << 20
"""With less than this in its heap the C library's allocator is not the one in use (jemalloc, tcmalloc)."""


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in _FIELDS)


def heap() -> dict[str, int]:
    """Return the bytes of the C library's heap: `heap_used_bytes` and `heap_free_bytes` in what its arenas have,
    `heap_mapped_bytes` in blocks of their own. Nothing if it does not say, or another allocator is in its place.

    What is free there may be resident still: between blocks that are in use it cannot be given back.
    """
    ask = _mallinfo2()
    if ask is None:
        return {}
    arenas = ask()
    if arenas.arena + arenas.hblkhd < _ANOTHER_ALLOCATOR:
        return {}
    return {
        "heap_used_bytes": arenas.uordblks,
        "heap_free_bytes": arenas.fordblks,
        "heap_mapped_bytes": arenas.hblkhd,
    }


def pages() -> dict[str, int]:
    """Return the bytes of the resident set by kind, as far as the system tells them."""
    try:
        status = _STATUS.read_bytes()
        sizes = {name: labelled(status, label) for name, label in _PAGES.items()}
    except (OSError, ValueError):
        return {}
    return {"resident_bytes": sum(sizes.values()), **sizes}


@functools.cache
def _mallinfo2() -> Callable[[], Any] | None:
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows, an older glibc
        return None
    ask.argtypes = ()
    ask.restype = _Mallinfo2
    return ask
