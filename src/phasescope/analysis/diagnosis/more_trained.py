"""Whether a rise is of gradients and an optimizer's state alone, of parameters that were there before.

Layers that are frozen at first, and trained from some step on, have a gradient from then on, and a state of the
optimizer's. Where they are unfrozen one after another that rises like a leak, and stops with the last of them. The
training counts both itself now and then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from phasescope.analysis.categories import categories
from phasescope.analysis.event_fields import device_label, device_of, int_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .growth import Growth

_MOST_DEVICES = 64
_MOST_LOOKS = 64  # of one device, that found something else than the look before
_NO_MORE = 1.01  # times the parameters that there were
_AT_MOST = 8  # times the parameters: gradients, two or three states of full precision and a copy, beside half precision
_MOST_OF_IT = 0.5  # of the rise
_LEAST_SHARE = 0.2  # of the time: that long there were looks
_NS_PER_HOUR = 3.6e12


class _TrainedBytes(NamedTuple):
    """The bytes of one device at one moment. `trained_bytes` are gradients and the optimizer's state."""

    time_ns: int
    parameter_bytes: int
    trained_bytes: int


class TrainedFold:
    """Takes events, in bounded memory."""

    def __init__(self) -> None:
        self._looks: dict[str, list[_TrainedBytes]] = {}
        self._last_ns: dict[str, int] = {}
        self._newest_ns = 0

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        time_ns = int_or_none(event.get("timestamp_ns"))
        if time_ns is None:
            return
        self._newest_ns = time_ns
        if event.get("event_type") != "memory_categories":
            return
        device, counted = device_of(event), categories(event)
        if device is None or counted is None or counted.moment != "step":
            return
        sizes = [counted.size_bytes(name) for name in ("parameters", "gradients", "optimizer_state")]
        parameters, gradients, state = (size or 0 for size in sizes)
        self._note(device_label(*device), _TrainedBytes(time_ns, parameters, gradients + state))

    def _note(self, label: str, look: _TrainedBytes) -> None:
        looks = self._looks.get(label)
        if looks is None:
            if len(self._looks) == _MOST_DEVICES:
                return
            looks = self._looks[label] = []
        self._last_ns[label] = look.time_ns
        if looks and looks[-1][1:] == look[1:]:
            return
        if len(looks) == _MOST_LOOKS:
            del looks[1::2]
        looks.append(look)

    def explains(self, growth: Growth) -> bool:
        """Return whether most of a growth is of gradients and an optimizer's state, while there were no more
        parameters and less of it than they can have.

        It is compared for the recent half; where no look came then, for as long as there were looks.
        """
        looks = self._looks.get(growth.device)
        if not looks or not growth.grows or not growth.bytes_per_hour or growth.per is None or growth.rare:
            return False
        bytes_per_ns = growth.bytes_per_hour / _NS_PER_HOUR
        began_ns = self._newest_ns - growth.bytes_per_step * growth.steps / bytes_per_ns
        recent_ns = self._newest_ns - growth.bytes_per_step * growth.recent_steps / bytes_per_ns
        last_ns, last = self._last_ns[growth.device], looks[-1]
        since_ns = recent_ns if last_ns > recent_ns else looks[0].time_ns
        if last_ns - since_ns < _LEAST_SHARE * (self._newest_ns - began_ns):
            return False
        before = next((look for look in reversed(looks) if look.time_ns <= since_ns), looks[0])
        if last.parameter_bytes > _NO_MORE * before.parameter_bytes:
            return False
        rise = last.trained_bytes - before.trained_bytes
        if last.trained_bytes > _AT_MOST * last.parameter_bytes:
            return False
        return rise >= _MOST_OF_IT * bytes_per_ns * (last_ns - since_ns)
