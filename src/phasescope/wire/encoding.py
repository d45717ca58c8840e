"""An event to a ring payload: the side that writes. `codec` turns payloads back, and has the names of their values.

The compiled core encodes without `msgspec`, which takes longer to load than all of phasescope that a training needs.
"""

from __future__ import annotations

from phasescope import _native

TYPE_CHECKING = False  # as `typing` has it, which takes longer to load than this
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MASKED_COUNTERS = (
    "allocator_allocated_bytes",
    "allocator_reserved_bytes",
    "allocator_active_bytes",
    "allocator_inactive_bytes",
    "allocator_change_bytes",
    "device_used_bytes",
    "device_free_bytes",
    "device_total_bytes",
)
"""The counters that can be unavailable; in a payload they are one bit each, the first the lowest."""


NO_ALLOCATOR = 0b11111
"""The mask of an event for which the allocator was not asked."""

if TYPE_CHECKING or _native.has_phases:
    Raw = bytes  # encoded already: copied into a payload as it is
    _encode: Callable[[object], bytes] = _native.core.encode
else:
    import msgspec

    Raw = msgspec.Raw
    _encode = msgspec.msgpack.Encoder().encode

encode = _encode
"""A tuple in the order of `codec.Wire` to a payload. Raises TypeError, OverflowError, ValueError on what has no
place."""

EXTRA, PATH, ATTRIBUTES = 9, 14, 15
"""The places of these values in a payload."""

_SHORT_TEXT = 100
_SHORT_PATH = 16


def mask_of(counters: tuple[str, ...] | list[str] | set[str] | frozenset[str]) -> int:
    """Return the bits of these counters. Raises ValueError for a name that is not a counter's."""
    return sum(1 << MASKED_COUNTERS.index(counter) for counter in set(counters))


def encode_device(backend: str, device_id: int, used: int, free: int | None, total: int | None, mask: int) -> Raw:
    """Return the `DeviceWire` part of a payload, made once per sample instead of once per event."""
    return Raw(encode((backend, device_id, used, free, total, mask)))


def shortened(fields: tuple[Any, ...], path: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the same event, certain to have room and to be encodable: texts cut and cleaned, attributes left out.

    `path` is the one of its phase, if it has one.
    """
    short = [_short(value) if isinstance(value, str) else value for value in fields]
    short[EXTRA] = {"shortened": True}
    if len(short) > PATH:
        short[PATH] = [_short(name) for name in (*path[:-1][: _SHORT_PATH - 1], path[-1])]
    if len(short) > ATTRIBUTES:
        short[ATTRIBUTES] = None
    return tuple(short)


def _short(text: str) -> str:
    """Cut the text to `_SHORT_TEXT` characters and replace lone surrogates, which UTF-8 has no form for."""
    return text[:_SHORT_TEXT].encode("utf-8", "replace").decode()
