"""Timing events of CUDA and HIP, recorded by torch, and read by the driver itself without ever waiting for the device.

torch's own question whether an event is over goes through the runtime, which makes a context on the first device for a
thread that never chose one, such as the sampler's. The driver makes none; it is given the context that the training's
thread recorded in, and lets go of the interpreter meanwhile.

While any thread captures a graph, the driver forbids every other thread to ask an event whether it is over, and breaks
the capture of the one that did nothing wrong. A thread may lift that for itself (`cuThreadExchangeStreamCaptureMode`,
relaxed): asking is not recorded, so it can do the graph no harm. Where that cannot be done, nothing is timed at all,
nor with HIP before 7.2, which refuses the question all the same.
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

_NOT_READY = 600
"""CUDA_ERROR_NOT_READY, and HIP's of the same value."""

_LIBRARIES = {
    False: ("libcuda.so.1", "nvcuda.dll"),
    True: ("libamdhip64.so", "libamdhip64.so.7", "libamdhip64.so.6", "amdhip64.dll"),
}
_CUDA = {
    "exchange": "cuThreadExchangeStreamCaptureMode",
    "query": "cuEventQuery",
    "elapsed": "cuEventElapsedTime",
    "current": "cuCtxGetCurrent",
    "push": "cuCtxPushCurrent_v2",
    "pop": "cuCtxPopCurrent_v2",
}
_HIP = {
    "exchange": "hipThreadExchangeStreamCaptureMode",
    "query": "hipEventQuery",
    "elapsed": "hipEventElapsedTime",
}
"""HIP has no contexts of a thread's own."""

_OLDEST_HIP = (7, 2)


class DeviceMark(NamedTuple):
    """One event in a queue of a device."""

    device: int
    event: Any
    stream: int = 0


class TimingEvents:
    """Events of one process, used again once they were read: making one asks the driver for memory."""

    def __init__(self, cuda: Any, core: Any, *, hip: str | None) -> None:
        """Use `torch.cuda` and `torch._C`; `hip` is the version of HIP. Raises NotImplementedError if events could not
        be read."""
        self._event: Callable[..., Any] = cuda.Event
        self._current_stream: Callable[[int], Any] = cuda.current_stream
        self._is_capturing: Callable[[], bool] = getattr(core, "_cuda_isCurrentStreamCapturing", bool)
        self._driver = _functions(hip)
        self._context: ctypes.c_void_p | None = None
        self._free: defaultdict[int, list[Any]] = defaultdict(list)

    def record(self, device: int) -> DeviceMark | None:
        """Return a mark in the device's current stream; None while the calling thread captures a graph.

        An event recorded there would become part of the graph, and could never be read.
        """
        if self._is_capturing():
            return None
        try:
            event = self._free[device].pop()
        except IndexError:
            event = self._event(enable_timing=True)
        stream = self._current_stream(device)
        event.record(stream)
        if self._context is None:
            self._context = self._current_context()
        return DeviceMark(device, event, stream.cuda_stream)

    def between(self, begin: DeviceMark, end: DeviceMark) -> float | None:
        """Return milliseconds from one mark to the other, None while the device has not come to both."""
        with self._in_context(), self._relaxed():
            if not (self._is_over(end.event) and self._is_over(begin.event)):
                return None
            elapsed = ctypes.c_float()
            handles = ctypes.c_void_p(begin.event.cuda_event), ctypes.c_void_p(end.event.cuda_event)
            self._checked(self._driver["elapsed"](ctypes.byref(elapsed), *handles))
        for mark in (begin, end):
            self._free[mark.device].append(mark.event)
        return elapsed.value

    def _is_over(self, event: Any) -> bool:
        code = self._driver["query"](ctypes.c_void_p(event.cuda_event))
        if code == _NOT_READY:
            return False
        self._checked(code)
        return True

    @staticmethod
    def _checked(code: int) -> None:
        if code:
            raise RuntimeError(f"the driver answers with error {code}")

    def _current_context(self) -> ctypes.c_void_p | None:
        """Return the context of this thread, which has just recorded: it has one."""
        context = ctypes.c_void_p()
        if "current" not in self._driver or self._driver["current"](ctypes.byref(context)):
            return None
        return context if context.value else None

    @contextlib.contextmanager
    def _in_context(self) -> Iterator[None]:
        """Give this thread a context that is there already, which makes none."""
        if self._context is None:
            yield
            return
        self._checked(self._driver["push"](self._context))
        try:
            yield
        finally:
            self._driver["pop"](ctypes.byref(ctypes.c_void_p()))

    @contextlib.contextmanager
    def _relaxed(self) -> Iterator[None]:
        mode, exchange = ctypes.c_int(_RELAXED), self._driver["exchange"]
        if exchange(ctypes.byref(mode)):
            raise NotImplementedError("the driver does not let a thread relax its capture mode")
        try:
            yield
        finally:
            exchange(ctypes.byref(mode))


def _functions(hip: str | None) -> dict[str, Callable[..., int]]:
    """Return the driver's functions, out of the library that torch has loaded already."""
    if hip is not None and _version(hip) < _OLDEST_HIP:
        raise NotImplementedError(f"HIP {hip} may break a graph that is being captured")
    symbols = _CUDA if hip is None else _HIP
    for name in _LIBRARIES[hip is not None]:
        if name.endswith(".dll") == (os.name == "nt"):
            with contextlib.suppress(OSError, AttributeError, KeyError):
                library = load_library(name)
                return {ours: library[symbol] for ours, symbol in symbols.items()}
    raise NotImplementedError(f"{symbols['exchange']} is not to be found")


def _version(hip: str) -> tuple[int, ...]:
    return tuple(int(part) for part in hip.split(".")[:2] if part.isdecimal())


def load_library(name: str) -> ctypes.CDLL:
    """Return a shared library by its name. Raises OSError if there is none."""
    return ctypes.CDLL(name)
