"""phasescope as the benchmarks use it: its public names, default options."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from benchmarks.measure import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Iterator


def free_backend() -> Any:
    """Return counters that cost nothing to read, as the free collector's in peers.py: the rest is our own cost."""
    from phasescope.testing import FakeBackend

    return FakeBackend(
        "cuda",
        allocated=2**28,
        reserved=2**29,
        active=2**28,
        inactive=0,
        used=2**29,
        free=2**30,
        total=3 * 2**29,
    )


@contextlib.contextmanager
def session(backend: str | None = None, **options: Any) -> Iterator[dict[str, Any]]:
    """Run a session with its ring in a file; with the free fake backend if none is named."""
    import phasescope

    with scratch_directory() as directory:
        running = phasescope.start(backends=[backend or free_backend()], directory=directory, **options)
        try:
            yield {"phase": phasescope.phase, "session": running, "directory": directory}
        finally:
            phasescope.stop()


@contextlib.contextmanager
def no_session() -> Iterator[dict[str, Any]]:
    """Import phasescope without starting it."""
    import phasescope

    phasescope.stop()
    yield {"phase": phasescope.phase}
