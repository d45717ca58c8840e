"""A verdict of growth, as the fold gives it, for the tests of what is said beside it."""

from __future__ import annotations

from phasescope.analysis.diagnosis.growth import Growth

MIB = 1 << 20

GROWS = Growth(
    device="host",
    grows=True,
    per=("step",),
    steps=400,
    recent_steps=180,
    bytes_per_step=2.0 * MIB,
    low_bytes_per_step=1.9 * MIB,
    high_bytes_per_step=2.1 * MIB,
    bytes_per_hour=None,
    hours_until_full=None,
    phases=(),
    retained_bytes=(),
)
