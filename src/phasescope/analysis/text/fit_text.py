"""A forecast as text for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.categories import LABELS
from phasescope.analysis.fit.forecast import FIXED, GROWING
from phasescope.analysis.formatting import count_text, printable, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from phasescope.analysis.fit.forecast import Forecast
    from phasescope.analysis.fit.savings import Saving


def fit_lines(forecast: Forecast) -> Iterator[str]:
    """Yield the lines: what fits, how memory grows, what would save how much, and what is assumed."""
    device = printable(forecast.device)
    yield f"{device}, {forecast.room.text}: {_largest(forecast)}"
    yield ""
    exactly = "" if forecast.peak_is_exact else " at least"
    yield f"{device} at the peak of a step of batch {forecast.batch_size}:{exactly} {size_text(forecast.peak_bytes)}"
    gentle, steep = forecast.growth.gentle, forecast.growth.steep
    yield f"  fixed       {_range(gentle.fixed, steep.fixed)}{_made_of(forecast, FIXED)}"
    yield f"  per sample  {_range(gentle.per_sample, steep.per_sample)}{_made_of(forecast, GROWING)}"
    if forecast.growth.floor_bytes > forecast.growth.steep.at(1):
        yield f"  optimizer   {size_text(forecast.growth.floor_bytes)} whatever the batch, in its step"
    if forecast.savings:
        yield ""
        yield f"what would save memory, at batch {forecast.batch_size}:"
        for saving in forecast.savings:
            yield _saving(saving)
    yield ""
    yield "this assumes:"
    for line in forecast.assumes:
        yield f"  {line}"


def _largest(forecast: Forecast) -> str:
    sure, maybe = forecast.largest_batch, forecast.largest_maybe
    if maybe == 0:
        return "not even a batch of 1 fits"
    if sure is None:
        most = "which batch fits is not known" if maybe is None else f"no batch above {count_text(maybe)} fits"
        return (
            most
            if forecast.peak_is_exact
            else f"{most}; phasescope run --peaks, start(peaks=True), tells which fits for sure"
        )
    if sure == maybe:
        return f"the largest batch that fits is {count_text(sure)}"
    may = "perhaps more" if maybe is None else f"perhaps up to {count_text(maybe)}"
    return f"the largest batch that fits is {count_text(sure)}, {may}"


def _saving(saving: Saving) -> str:
    size = saving.fixed_bytes + saving.growing_bytes
    most = "up to " if saving.is_most else ""
    batch = f"; then a batch of {count_text(saving.largest_batch)} fits" if saving.largest_batch else ""
    return f"  {most}{size_text(size)}  {saving.text}{batch}"


def _range(first: float, second: float) -> str:
    low, high = sorted((max(0, round(first)), max(0, round(second))))
    return size_text(low) if size_text(low) == size_text(high) else f"{size_text(low)} to {size_text(high)}"


def _made_of(forecast: Forecast, names: Sequence[str]) -> str:
    sizes = [(name, forecast.look.size_bytes(name) or 0) for name in names]
    parts = ", ".join(f"{LABELS[name]} {size_text(size)}" for name, size in sizes if size)
    where = f" at batch {forecast.batch_size}" if names is GROWING else " at the end of a step"
    return f"   ({parts}{where})" if parts else ""
