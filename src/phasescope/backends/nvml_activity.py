"""A device at work, as NVML reports it: how busy it is, how warm, and how much power it draws.

`nvml` is pynvml throughout, started. The driver averages all three itself, over a sixth of a second to a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.backends import nvml_queries

if TYPE_CHECKING:
    from collections.abc import Callable

_QUESTIONS: dict[str, tuple[Callable[[Any, Any], int], int]] = {
    "utilization_percent": (lambda nvml, handle: nvml.nvmlDeviceGetUtilizationRates(handle).gpu, 100),
    "temperature_celsius": (lambda nvml, handle: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU), 200),
    "power_milliwatts": (lambda nvml, handle: nvml.nvmlDeviceGetPowerUsage(handle), 10_000_000),
}
"""Each with the most that it can be: NVML's number for "not available" is above."""

_TROUBLE = ("Uninitialized", "GpuIsLost", "ResetRequired", "DriverNotLoaded")


class Activity:
    """One device. A question that this device, driver or user is not made for is asked once."""

    def __init__(self) -> None:
        self._questions = dict(_QUESTIONS)

    def ask(self, nvml: Any, handle: Any) -> dict[str, int]:
        """Return what is known now. Raises `pynvml.NVMLError` if the device or the driver is gone."""
        trouble = tuple(getattr(nvml, f"NVMLError_{name}") for name in _TROUBLE)
        figures = {}
        for name, (question, most) in list(self._questions.items()):
            try:
                figure = int(question(nvml, handle))
            except (*nvml_queries.unanswered(nvml), nvml.NVMLError_InvalidArgument):  # of a slice
                del self._questions[name]
            except trouble:
                raise
            except nvml.NVMLError:  # not just now
                continue
            else:
                if 0 <= figure <= most:
                    figures[name] = figure
        return figures
