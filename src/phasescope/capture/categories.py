"""Live memory by category: the figures of one look at a training's own objects, as events and on samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.backends.protocol import HOST_DEVICE
from phasescope.capture.collector import ALLOCATED_UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.capture.collector import DeviceState
    from phasescope.capture.collectors import Collectors
    from phasescope.capture.event_writer import EventWriter

STANDING = ("parameters", "buffers", "gradients", "optimizer_state", "inputs")
"""What is there at the moment of the look, each storage in one of them. With `other` they are all that is allocated."""

PASSING = ("activations",)
"""What was there within the step, and is gone at the look."""

_PREFIX = "memory.category."
_FLOAT32 = "memory.category_float32."
_MODULES = "memory.modules"
_NAMES = {"cuda": ("cuda", "rocm"), "cpu": ("cpu",)}  # torch calls AMD's devices so too


def device_state(collectors: Collectors, device: str) -> DeviceState | None:
    """Return the state of a device by the name that torch gives it, None if it is not measured."""
    kind, _, number = device.partition(":")
    index = HOST_DEVICE if kind == "cpu" else int(number) if number.isdigit() else 0
    for collector in collectors.admitted:
        if collector.name in _NAMES.get(kind, (kind,)):
            return collector.state(index) if collectors.covers(index) else None
    return None


def allocated_bytes(collectors: Collectors, device: str) -> int | None:
    """Return the bytes that live objects hold on a device now. None if unknown: the host has no such figure."""
    state = device_state(collectors, device)
    return None if state is None else _allocated(state, state.collector.read(state.device_id)[0])


def note(
    writer: EventWriter,
    collectors: Collectors,
    sizes_by_device: Mapping[str, Mapping[str, int]],
    about: Mapping[str, int | str],
    modules: Mapping[str, Mapping[str, Mapping[str, int]]],
) -> None:
    """Write an event about each device that the session measures, and keep its figures for the samples to come.

    `about` is what else there is to say of the look, and `modules` which parts of the model have how much of it.
    """
    for device, sizes in sizes_by_device.items():
        state = device_state(collectors, device)
        if state is None:
            continue
        counters = state.collector.read(state.device_id)
        figures: dict[str, int | str] = {f"{_PREFIX}{name}": value for name, value in about.items()}
        if "activations" not in sizes:
            del figures[f"{_PREFIX}activations_are_exact"]
        figures |= {f"{_PREFIX}{name}_bytes": sizes[name] for name in (*STANDING, *PASSING) if name in sizes}
        floats = ((name, sizes.get(f"{name}_float32")) for name in STANDING if name in sizes)
        figures |= {f"{_FLOAT32}{name}_bytes": size for name, size in floats if size is not None}
        allocated = _allocated(state, counters[0])
        standing = sum(sizes.get(name, 0) for name in STANDING)
        if allocated is not None and standing <= allocated:  # else some of it came from elsewhere than this allocator
            figures[f"{_PREFIX}other_bytes"] = allocated - standing
        temporary = None if state.measures is None else state.measures.take_temporary()
        if temporary is not None:
            figures[f"{_PREFIX}temporary_bytes"] = temporary
        parts = {name: dict(of) for name, of in modules.get(device, {}).items()}
        writer.note(
            "memory_categories", state, counters, None, None, {**figures, _MODULES: parts} if parts else figures
        )
        state.categories = figures


def _allocated(state: DeviceState, allocated: int) -> int | None:
    """Return the allocator's figure, None if it does not count tensors: the host's is the resident set."""
    return None if state.device_id == HOST_DEVICE or state.mask & ALLOCATED_UNKNOWN else allocated
