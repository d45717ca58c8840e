"""A few figures of the phases that just ended, for the logger of a trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import phasescope

_MAX_EVENTS = 512

Event = dict[str, Any]


def figures(session: phasescope.Session | None, names: Iterable[str]) -> dict[str, float]:
    """Return the figures of the last entry of each named phase, as `phasescope/<figure>/<phase>`.

    `peak_allocated_bytes`: exact if the session measured it; else a lower bound, the largest figure seen at its
    boundaries, in the phases inside it and in the samples meanwhile, of the phase's own device. `duration_ms`: its wall
    time. Only the last 512 events are looked at. An unknown figure is left out.
    """
    if session is None:
        return {}
    by_name: dict[str, float] = {}
    inside: dict[str, Event] = {}  # the exit of each phase whose events are being read, backwards
    wanted = set(names)
    for event in reversed(session.events(last=_MAX_EVENTS)):
        scope = event["metadata"].get("phase_scope")
        if scope is None:
            continue
        name = scope["name"]
        if scope.get("action") == "exit" and name in wanted:
            wanted.discard(name)
            inside[name] = event
            by_name[f"phasescope/duration_ms/{name}"] = scope["duration_ns"] / 1e6
        for around in scope["path"]:
            if around in inside and _device(event) == _device(inside[around]) is not None:
                key = f"phasescope/peak_allocated_bytes/{around}"
                by_name[key] = max(by_name.get(key, 0), event["allocator_allocated_bytes"])
        if scope.get("action") == "enter" and name in inside and _scope_id(inside[name]) == scope["scope_id"]:
            _use_exact_peak(by_name, name, inside.pop(name))
            if not wanted and not inside:
                break
    return by_name


def _use_exact_peak(figures: dict[str, float], name: str, end: Event) -> None:
    exact = end["metadata"]["phase_scope"].get("peak_allocated_bytes")
    if exact is not None:
        figures[f"phasescope/peak_allocated_bytes/{name}"] = exact


def _device(event: Event) -> tuple[str, int] | None:
    """Return the device whose allocated bytes the event has; None if it has none."""
    metadata = event["metadata"]
    if "allocator_allocated_bytes" in metadata.get("unavailable", ()):
        return None
    return metadata["backend"], event["device_id"]


def _scope_id(event: Event) -> str:
    scope_id: str = event["metadata"]["phase_scope"]["scope_id"]
    return scope_id
