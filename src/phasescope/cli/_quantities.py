"""Sizes and times as they are written on a command line: `500MB`, `2GiB`, `0.5`."""

from __future__ import annotations

import argparse
import math
import re
import threading
from typing import TYPE_CHECKING

from phasescope.analysis.formatting import size_text

if TYPE_CHECKING:
    from collections.abc import Callable

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmgt]?i?)b?", re.IGNORECASE)

LEAST_RECORDING_BYTES, MOST_RECORDING_BYTES = 1 << 20, 1 << 50


def size_between(least_bytes: int, most_bytes: int) -> Callable[[str], int]:
    """Return the parser of an argument that is a size within these limits."""

    def parse(text: str) -> int:
        match = _SIZE.fullmatch(text.strip())
        if match and match["unit"].lower() != "i":
            size = float(match["number"]) * _UNITS[match["unit"].lower()]
            if least_bytes <= size <= most_bytes:
                return int(size)
        limits = f"{size_text(least_bytes)} to {size_text(most_bytes)}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a size from {limits}, such as 500MB or 2GiB")

    return parse


def seconds(*, most_s: float = threading.TIMEOUT_MAX, zero: bool = True) -> Callable[[str], float]:
    """Return the parser of an argument that is a number of seconds up to `most_s`; 0 counts only if `zero`."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 <= number <= most_s or (not zero and not number):
            limits = "" if most_s == threading.TIMEOUT_MAX else f" from 0 to {most_s:.0f}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds{limits}")
        return number

    return parse


def whole(most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from 1 to `most`, for argparse."""

    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and 1 <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most:,}")

    return parse
