"""Timing events of CUDA and HIP, recorded and read without ever waiting for the device.

While any thread captures a graph, the driver forbids every other thread to ask an event whether it is over, and breaks
the capture of the one that did nothing wrong. A thread may lift that for itself (`cuThreadExchangeStreamCaptureMode`,
relaxed): asking is not recorded, so it can do the graph no harm. Where that can not be done, nothing is timed at all.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RELAXED = 2
"""CU_STREAM_CAPTURE_MODE_RELAXED, and HIP's of the same value."""

_HIP = ("libamdhip64.so", "libamdhip64.so.7", "libamdhip64.so.6", "amdhip64.dll")
_EXCHANGE = {
    False: (("libcuda.so.1", "nvcuda.dll"), "cuThreadExchangeStreamCaptureMode"),
    True: (_HIP, "hipThreadExchangeStreamCaptureMode"),
}


class Mark(NamedTuple):
    """One event in the queue of a device."""

    device: int
    event: Any


class Marks:
    """Events of one process, used again once they were read: making one asks the driver for memory."""

    def __init__(self, cuda: Any, core: Any, *, hip: bool) -> None:
        """`cuda` is `torch.cuda`, `core` is `torch._C`. Raises NotImplementedError where events could not be read."""
        self._event: Callable[..., Any] = cuda.Event
        self._current_stream: Callable[[int], Any] = cuda.current_stream
        self._is_capturing: Callable[[], bool] = getattr(core, "_cuda_isCurrentStreamCapturing", bool)
        self._exchange = _exchange(hip=hip)
        self._free: defaultdict[int, list[Any]] = defaultdict(list)

    def record(self, device: int) -> Mark | None:
        """A mark in the device's current stream; None while the calling thread captures a graph.

        An event recorded there would become part of the graph, and could never be read.
        """
        if self._is_capturing():
            return None
        try:
            event = self._free[device].pop()
        except IndexError:
            event = self._event(enable_timing=True)
        event.record(self._current_stream(device))
        return Mark(device, event)

    def between(self, begin: Mark, end: Mark) -> float | None:
        """Milliseconds from one mark to the other, None while the device has not come to both."""
        with self._relaxed():
            if not (begin.event.query() and end.event.query()):
                return None
            elapsed_ms = float(begin.event.elapsed_time(end.event))
        for mark in (begin, end):
            self._free[mark.device].append(mark.event)
        return elapsed_ms

    @contextlib.contextmanager
    def _relaxed(self) -> Iterator[None]:
        mode = ctypes.c_int(_RELAXED)
        if self._exchange(ctypes.byref(mode)):
            raise NotImplementedError("the driver does not let a thread relax its capture mode")
        try:
            yield
        finally:
            self._exchange(ctypes.byref(mode))


def _exchange(*, hip: bool) -> Callable[[Any], int]:
    """The driver's function, out of the library that torch has loaded already."""
    names, symbol = _EXCHANGE[hip]
    for name in names:
        if name.endswith(".dll") == (os.name == "nt"):
            with contextlib.suppress(OSError, AttributeError):
                return load_library(name)[symbol]
    raise NotImplementedError(f"{symbol} is not to be found")


def load_library(name: str) -> ctypes.CDLL:
    """A shared library by its name. Raises OSError where there is none."""
    return ctypes.CDLL(name)
