"""Devices without memory of their own: what the host's programs hold is not free for them either.

Their drivers often tell no figures of the pool (GB10, Jetson). Then the host's are theirs, if the two totals are alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .event_fields import size_or_none, unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALIKE_SHARE = 0.15
_USED, _FREE, _TOTAL = (f"device_{name}_bytes" for name in ("used", "free", "total"))


def with_hosts_figures(event: Mapping[str, Any], host: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return a device's event with the host's use of the pool, if it has none of its own and the host's is known."""
    unknown, total = unavailable(event), size_or_none(event.get(_TOTAL))
    if host is None or _USED not in unknown or not total:
        return event
    hidden, keys = unavailable(host), (_USED, _FREE, _TOTAL)
    used, free, whole = (None if key in hidden else size_or_none(host.get(key)) for key in keys)
    if used is None or not whole or abs(whole - total) > _ALIKE_SHARE * max(whole, total):
        return event
    figures = {_USED: min(used, total)}
    if free is not None:
        figures[_FREE] = min(free, total - figures[_USED])
    left = [name for name in event["metadata"].get("unavailable", ()) if name not in figures]
    return {**event, **figures, "metadata": {**event["metadata"], "unavailable": left}}
