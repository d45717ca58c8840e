"""How far two figures of the same phase may lie apart by chance: what a comparison of any kind allows for."""

from __future__ import annotations

import math

_TIME_FLOOR = 0.05  # two runs of one program on one machine differ by so much, whatever their steps' own scatter
_ONE_ENTRY = 0.4  # so much may a single entry lie off: what few of them show of their scatter is too little to go by
_MEMORY_FLOOR, _LEAST_BYTES = 0.01, 1 << 20
_HOST_FLOOR, _HOST_LEAST_BYTES = 0.05, 8 << 20  # the resident set moves with page faults and the C library's moods
_SIGMAS = 3.0
_MEDIAN_OF_IQR = 1.2533 / 1.349  # the standard error of a median is so many interquartile ranges, over sqrt(n)


def median_error_ns(p25_ns: int | None, p75_ns: int | None, count: int | None) -> float:
    """The standard error of a phase's median time, by the scatter of its entries; 0 where that is not known."""
    if p25_ns is None or p75_ns is None or not count:
        return 0.0
    return _MEDIAN_OF_IQR * (p75_ns - p25_ns) / math.sqrt(count)


def time_noise_ns(usual_ns: int, *errors_ns: float) -> int:
    """Of medians with these standard errors: three of them, and at least 5 % of the usual figure."""
    return round(max(_TIME_FLOOR * abs(usual_ns), _SIGMAS * math.hypot(*errors_ns)))


def least_time_noise_ns(usual_ns: int, entries: int) -> int:
    """How far two runs' times of a phase of so many entries lie apart, whatever these entries' own scatter."""
    return round(max(_TIME_FLOOR, _ONE_ENTRY / math.sqrt(max(1, entries))) * abs(usual_ns))


def memory_noise_bytes(usual_bytes: int, *, on_host: bool) -> int:
    """Of figures of a device or of the host's resident set, by the usual figure."""
    share, least = (_HOST_FLOOR, _HOST_LEAST_BYTES) if on_host else (_MEMORY_FLOOR, _LEAST_BYTES)
    return round(max(share * abs(usual_bytes), least))
