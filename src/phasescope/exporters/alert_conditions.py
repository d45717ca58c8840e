"""What an alert is raised for, as `phasescope watch --when` takes it: `growth`, `died`, `used>90%`, `free<2GiB`."""

from __future__ import annotations

import re
from typing import NamedTuple

GROWTH, OOM, DIED, SILENT = "growth", "oom", "died", "silent"
KINDS = (GROWTH, OOM, DIED, SILENT)

FIGURES = {
    "used": "device_used_bytes",
    "free": "device_free_bytes",
    "allocated": "allocator_allocated_bytes",
    "reserved": "allocator_reserved_bytes",
}
"""The figures of a device that a threshold may be about, with their fields in an event."""

HYSTERESIS = 0.05
"""A threshold that was passed is armed again once the figure is back by this share of the threshold."""

_UNITS = {"%": 0, "B": 1, **{f"{letter}iB": 1 << 10 * (n + 1) for n, letter in enumerate("KMGT")}}
_UNITS |= {f"{letter}B": 1000 ** (n + 1) for n, letter in enumerate("KMGT")}
_THRESHOLD = re.compile(
    rf"({'|'.join(FIGURES)})\s*([<>])\s*(\d{{1,15}}(?:\.\d{{1,6}})?)\s*({'|'.join(_UNITS)})", re.ASCII
)


class Threshold(NamedTuple):
    """A bound of one figure of a device: in bytes, or as a share of the device's memory."""

    figure: str
    is_above: bool
    share: float | None
    size_bytes: int | None

    def limit_bytes(self, total_bytes: int | None) -> float | None:
        """Return the bound in bytes; None if the size of the device is not known."""
        if self.share is None:
            return self.size_bytes
        return None if not total_bytes else self.share * total_bytes

    def is_passed(self, size_bytes: int, limit_bytes: float) -> bool:
        """Return whether the figure is beyond the bound."""
        return size_bytes > limit_bytes if self.is_above else size_bytes < limit_bytes

    def is_back(self, size_bytes: int, limit_bytes: float) -> bool:
        """Return whether the figure is so far back that passing the bound again is news."""
        if self.is_above:
            return size_bytes < limit_bytes * (1 - HYSTERESIS)
        return size_bytes > limit_bytes * (1 + HYSTERESIS)


class Condition(NamedTuple):
    """One `--when`. `threshold` is None for the others; `text` is how it was written."""

    text: str
    kind: str
    threshold: Threshold | None = None


def condition_of(text: str) -> Condition:
    """Return the condition that a text names. Raises ValueError with what there is."""
    word = text.strip()
    if word in KINDS:
        return Condition(word, word)
    match = _THRESHOLD.fullmatch(word)
    if match is None:
        kinds = ", ".join(KINDS)
        raise ValueError(f"{text!r:.80} is not one of {kinds}, nor a threshold such as used>90% or free<2GiB")
    figure, sign, number, unit = match.groups()
    share = float(number) / 100 if unit == "%" else None
    if share is not None and share > 1:
        raise ValueError(f"{text!r:.80}: a share is at most 100%")
    size_bytes = None if share is not None else round(float(number) * _UNITS[unit])
    return Condition("".join(word.split()), "threshold", Threshold(figure, sign == ">", share, size_bytes))
