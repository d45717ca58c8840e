"""The holders of a device, as NVML reports them, asked for no more often than it changes.

A list of processes takes the driver milliseconds under a lock of its own, for which every rank on the machine waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.backends import driver_processes, nvml_queries

if TYPE_CHECKING:
    from collections.abc import Callable

_PERIOD_NS = 5_000_000_000
_MOVED_BYTES = 64 << 20
_AT_MOST_NS = 900_000_000  # however much moves
_OTHER_LISTS = ("nvmlDeviceGetGraphicsRunningProcesses", "nvmlDeviceGetMPSComputeRunningProcesses")


class NvmlDetails:
    """One device. What was not asked for now is not in the answer, so that it is never of another moment."""

    def __init__(self, monotonic_ns: Callable[[], int], *, in_use: bool) -> None:
        self._monotonic_ns = monotonic_ns
        self._in_use = in_use
        self._reserved: int | None = None
        self._is_reserved_asked = False
        self._listed_at_ns: int | None = None
        self._listed_with: int | None = None
        self._other_lists: tuple[str, ...] = _OTHER_LISTS

    def ask(self, nvml: Any, handle: Any, used_bytes: int | None) -> dict[str, int]:
        """Return what is known; `used_bytes` are in use on the device, by the last look at it.

        What the driver keeps for itself is asked once. The compute processes are listed every few seconds, or sooner
        where what is in use has moved; those that draw, or go by way of MPS, once, and again if there were any.
        """
        details = {}
        if not self._is_reserved_asked:
            self._reserved = nvml_queries.reserved(nvml, handle)
            self._is_reserved_asked = True
        if self._reserved is not None:
            details["device_reserved_bytes"] = self._reserved
        now_ns = self._monotonic_ns()
        if self._is_due(now_ns, used_bytes):
            self._listed_at_ns, self._listed_with = now_ns, used_bytes
            listed = nvml_queries.listed(nvml, handle)
            if listed is not None:
                self._add_others(nvml, handle, listed)
                details.update(driver_processes.shares(listed, in_use=self._in_use))
        return details

    def _is_due(self, now_ns: int, used_bytes: int | None) -> bool:
        if self._listed_at_ns is None or now_ns - self._listed_at_ns >= _PERIOD_NS:
            return True
        if now_ns - self._listed_at_ns < _AT_MOST_NS or used_bytes is None or self._listed_with is None:
            return False
        return abs(used_bytes - self._listed_with) >= _MOVED_BYTES

    def _add_others(self, nvml: Any, handle: Any, listed: dict[int, int | None]) -> None:
        asked = self._other_lists
        lists = {name: nvml_queries.listed_by(nvml, handle, name) for name in asked}
        self._other_lists = tuple(name for name in asked if lists[name])
        for processes in lists.values():
            for pid, used in processes.items():
                listed.setdefault(pid, used)  # the same figure where it is in both lists
