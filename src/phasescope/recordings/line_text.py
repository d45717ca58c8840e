"""The text of an event in a recording."""

from __future__ import annotations

import json
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


def line_of(event: dict[str, Any]) -> bytes:
    """Return the event as one line of ASCII: there are readers that take U+2028 and its like for the end of a line."""
    return text_of(event) + b"\n"


def text_of(value: Any) -> bytes:
    """Return the value as such a line has it."""
    text = _encode(value)
    return text if text.isascii() else json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
