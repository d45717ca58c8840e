"""Findings about a device beside the cause: an allocator that is short of memory, a context without use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasescope.analysis.event_fields import device_label, int_or_none, size_or_none
from phasescope.analysis.formatting import plural, printable, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from phasescope.analysis.devices import DeviceRow

_MOST_DEVICES = 256
_LEAST_STRAY_BYTES = 100 << 20
_OUTSIDE = ("process_outside", "process")


class RetriesFold:
    """How often each device's allocator has given back its cache and tried again, by what samples and errors tell."""

    def __init__(self) -> None:
        self._retries: dict[str, int] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        metadata, device_id = event.get("metadata"), int_or_none(event.get("device_id"))
        if not isinstance(metadata, dict) or device_id is None:
            return
        retries, backend = size_or_none(metadata.get("num_alloc_retries")), metadata.get("backend")
        if retries is None or not isinstance(backend, str):
            return
        self.note(device_label(backend, device_id), retries)

    def note(self, label: str, retries: int) -> None:
        """Take the newest count of a device."""
        if label in self._retries or len(self._retries) < _MOST_DEVICES:
            self._retries[label] = retries

    def result(self) -> dict[str, int]:
        """Return the newest count of each device, since the process began; those without any are not in it."""
        return {label: count for label, count in self._retries.items() if count}


def of_retries(retries: Mapping[str, int]) -> Iterator[str]:
    """Yield a line for each device whose allocator had to try again: a warning, hours before memory runs out."""
    for label, count in retries.items():
        yield (
            f"{printable(label)}: the allocator gave back its cache and tried again {plural(count, 'time')} since the "
            "process began: the device is nearly full, and each time stalls it"
        )


def of_stray_contexts(devices: Iterable[DeviceRow], rank: int | None) -> Iterator[str]:
    """Yield a line for each device that this process holds memory on without allocating, beside one that it uses."""
    rows = list(devices)
    for row in rows:
        beside = (other for other in rows if other.backend == row.backend and other.device_id != row.device_id)
        if row.allocated_bytes != 0 or row.reserved_bytes != 0 or not any(other.reserved_bytes for other in beside):
            continue
        parts = () if row.breakdown is None else row.breakdown.parts
        held = sum(part.size_bytes for part in parts if part.name in _OUTSIDE)
        if held >= _LEAST_STRAY_BYTES:
            who = "this process" if rank is None else f"rank {rank}"
            yield (
                f"{printable(row.label)}: {who} holds {size_text(held)} on it without using it: a context, made before "
                "the device was chosen (torch.cuda.set_device(local_rank) first, or CUDA_VISIBLE_DEVICES)"
            )
