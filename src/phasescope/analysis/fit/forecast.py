"""The answer of `phasescope fit`: how the peak of a step grows with the batch, and which batch fits.

One session gives a range: of what it held at the end of a step, gradients and `other` may or may not be there at the
peak. Sessions of different batch sizes give the line itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from phasescope.analysis.formatting import size_text

from .lines import LineBounds, PeakLine, through
from .room import Room, room_of
from .savings import Saving, savings
from .usage import with_batch_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from phasescope.analysis.categories import Categories

    from .usage import Usage

FIXED = ("parameters", "buffers", "gradients", "optimizer_state", "other")
GROWING = ("activations", "temporary", "inputs")

_ALIKE = 0.01
"""Weights and samples of two sessions, or of two steps, are the same if they differ by less than this."""

_WITH_A_LAST_BATCH = 2
"""The batch sizes of a training whose last batch of an epoch is smaller."""

_DEFAULT_RANKS = 8


class FitError(ValueError):
    """Too little is known; the text says what is missing, and how to have it."""


@dataclass(frozen=True)
class Forecast:
    """How the peak of a step grows with the batch, and what fits. Memory in bytes.

    `growth` is between its two lines, of which there is one if `is_exact`: sessions of different `batch_sizes` gave
    it. `look` has the categories at the largest of those, and `peak_bytes` is what was measured there. `largest_batch`
    fits for sure, by what was measured; None if the peaks are not exact, since then nothing is sure. `largest_maybe`
    may fit, and no larger one does; None if no limit is known.
    """

    device: str
    batch_sizes: tuple[int, ...]
    peak_bytes: int
    peak_is_exact: bool
    is_exact: bool
    growth: LineBounds
    look: Categories
    room: Room
    largest_batch: int | None
    largest_maybe: int | None
    savings: tuple[Saving, ...]
    assumes: tuple[str, ...]

    @property
    def batch_size(self) -> int:
        """The largest batch that was measured."""
        return self.batch_sizes[-1]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        gentle, steep = self.growth.gentle, self.growth.steep
        return {
            "device": self.device,
            "batch_sizes": list(self.batch_sizes),
            "peak_bytes": self.peak_bytes,
            "peak_is_exact": self.peak_is_exact,
            "is_exact": self.is_exact,
            "fixed_bytes": sorted((round(gentle.fixed), round(steep.fixed))),
            "per_sample_bytes": sorted((round(gentle.per_sample), round(steep.per_sample))),
            "floor_bytes": self.growth.floor_bytes,
            "error_bytes": round(self.growth.error_bytes),
            "categories": {part.name: part.size_bytes for part in self.look.parts},
            "room": asdict(self.room),
            "largest_batch": self.largest_batch,
            "largest_maybe": self.largest_maybe,
            "savings": [asdict(saving) for saving in self.savings],
            "assumes": list(self.assumes),
        }


def fit(
    usages: Sequence[Usage],
    *,
    batch_sizes: Sequence[int] = (),
    device_memory_bytes: int | None = None,
    ranks: int | None = None,
) -> Forecast:
    """Return the forecast by what these sessions used on one device each. Raises FitError if too little is known.

    batch_sizes: those of the sessions, in their order, in the place of the noted ones.
    device_memory_bytes: the size of the device to fit, in the place of the measured one.
    ranks: the number over which sharding is counted; by default 8.
    """
    given: Sequence[int | None] = batch_sizes or [None] * len(usages)
    checked = [_checked(usage, size) for usage, size in zip(usages, given, strict=True)]
    _check_same(checked)
    points = [(_batch_of(usage), usage.peak_bytes or 0) for usage in checked]
    sizes = tuple(sorted({size for size, _ in points}))
    largest = max(checked, key=lambda usage: (_batch_of(usage), usage.peak_bytes or 0))
    look = largest.look
    if look is None:
        raise FitError("no step is known")
    floor = max((usage.optimizer_peak_bytes or 0 for usage in checked), default=0)
    growth = _by_several(points, floor) if len(sizes) > 1 else _by_one(largest, look, floor)
    room = room_of(largest, device_memory_bytes)
    sure, maybe = growth.largest(room.usable_bytes)
    is_measured = all(usage.peak_is_exact for usage in checked)
    return Forecast(
        largest.label,
        sizes,
        largest.peak_bytes or 0,
        is_measured,
        len(sizes) > 1,
        growth,
        look,
        room,
        sure if is_measured or not maybe else None,
        maybe,
        tuple(_with_batches(look, growth, room, ranks or _DEFAULT_RANKS, is_measured=is_measured)),
        tuple(_assumptions(checked, is_exact=len(sizes) > 1)),
    )


def _checked(usage: Usage, batch_size: int | None) -> Usage:
    """Return a usage that has all that a forecast needs."""
    if usage.is_of_host:  # by two batches' resident sets a third was off by a quarter
        raise FitError(
            "the host has no allocator that counts what tensors hold, and its resident set has freed memory in it: "
            "only the memory of a device is forecast"
        )
    if not usage.looks:
        if usage.failure is not None:
            raise FitError(
                "memory ran out before a step had ended, so what a step needs is not known: run it with a smaller batch"
            )
        raise FitError("no step of a known model and optimizer has ended yet")
    if usage.peak_bytes is None:
        raise FitError("no forward or backward pass was measured: mark them, as instrument() and phasescope run do")
    if batch_size is not None:
        return with_batch_size(usage, batch_size)
    sizes, noted = usage.batch_sizes, [look for look in usage.looks if look.batch_size]
    if not sizes or 2 * len(noted) < len(usage.looks):
        raise FitError("the batch size is not known for sure: pass --batch-size N")
    full = [look for look in noted if look.batch_size == sizes[-1]]
    if len(sizes) > _WITH_A_LAST_BATCH or 2 * len(full) < len(noted):
        raise FitError(
            f"the batches differ in size, from {sizes[0]} to {sizes[-1]} samples: pass the largest as --batch-size N"
        )
    samples = [look.batch_elements / sizes[-1] for look in full if look.batch_elements]
    if samples and max(samples) > (1 + _ALIKE) * min(samples):
        raise FitError(
            f"the samples differ in size, from {min(samples):,.0f} to {max(samples):,.0f} elements: pad them to one "
            "length, or pass the largest that was seen as --batch-size N"
        )
    return usage


def _check_same(usages: Sequence[Usage]) -> None:
    for name in ("parameters", "optimizer_state"):
        sizes = [look.size_bytes(name) or 0 for usage in usages if (look := usage.look) is not None]
        if max(sizes) > (1 + _ALIKE) * min(sizes):
            raise FitError(
                f"the sessions are not of the same training: {name.replace('_', ' ')} {size_text(min(sizes))} and "
                f"{size_text(max(sizes))}"
            )


def _batch_of(usage: Usage) -> int:
    return usage.batch_sizes[-1]


def _by_several(points: Sequence[tuple[int, int]], floor: int) -> LineBounds:
    line, error = through(points)
    if line.per_sample <= 0:
        raise FitError("memory did not grow from the smaller batch to the larger: another part decides its peak")
    return LineBounds(line, line, floor, error)


def _by_one(usage: Usage, look: Categories, floor: int) -> LineBounds:
    """Return the range of lines that agree with one session: all go through its peak."""
    size, peak = _batch_of(usage), usage.peak_bytes or 0
    sizes = {part.name: part.size_bytes for part in look.parts}
    most = sum(sizes.get(name, 0) for name in FIXED)
    least = most - sizes.get("gradients", 0) - sizes.get("other", 0)
    kept = sizes.get("activations", 0) + sizes.get("inputs", 0)
    if peak <= least:
        raise FitError("the peak of a step was not seen: measure it with start(peaks=True)")
    gentle = max(peak - most, min(kept, peak - least))
    lines = [PeakLine(peak - growing, growing / size) for growing in (gentle, peak - least)]
    return LineBounds(lines[0], lines[1], floor)


def _with_batches(
    look: Categories, growth: LineBounds, room: Room, ranks: int, *, is_measured: bool
) -> Iterator[Saving]:
    for saving in savings(look, ranks):
        if saving.growing_bytes or not is_measured:  # how much of it stays is not known
            yield saving
        else:
            yield replace(saving, largest_batch=growth.less(saving.certain_bytes).largest(room.usable_bytes)[0])


def _assumptions(usages: Sequence[Usage], *, is_exact: bool) -> Iterator[str]:
    sizes = sorted({_batch_of(usage) for usage in usages})
    if is_exact:
        many = "two points" if len(sizes) == 2 else f"{len(sizes)} batch sizes"
        exact = "exact: " if all(usage.peak_is_exact for usage in usages) else ""
        yield f"{exact}a line through {many}, batches {', '.join(map(str, sizes))}"
    else:
        yield (
            "a range: at the peak of one session, gradients and other may or may not be there; a second session of "
            "another batch size makes it exact"
        )
    yield "samples of the same size as those measured, and steps of training alone, without evaluation"
    if not all(usage.peak_is_exact for usage in usages):
        yield "no more within a phase than at its ends: start(peaks=True), phasescope run --peaks, would measure it"
    for usage in usages:
        if usage.failure is not None:
            of = f" at batch {usage.failure.batch_size}" if usage.failure.batch_size else ""
            yield f"memory ran out in this session{of}: phasescope explain says why"
