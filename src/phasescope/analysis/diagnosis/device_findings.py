"""Findings about a device beside the cause: an allocator that is short of memory, a context without use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import plural, printable, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from phasescope.analysis.devices import DeviceRow

_LEAST_STRAY_BYTES = 100 << 20
_OUTSIDE = ("process_outside", "process")


def of_relieved(relieved: Mapping[str, int]) -> Iterator[str]:
    """Yield a line for each device whose allocator had room only without its cache: a warning, hours ahead."""
    for label, count in relieved.items():
        yield (
            f"{printable(label)}: the allocator gave back its cache {plural(count, 'time')} since the process began, "
            "and then had room: little is left, and each time stalls the device"
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
