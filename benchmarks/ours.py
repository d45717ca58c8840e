"""phasescope as the benchmarks use it: its public names, default options."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

from benchmarks.measure import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Iterator


def free_backend() -> Any:
    """Return counters that cost nothing to read, as the free collector's in peers.py: the rest is our own cost."""
    from phasescope.testing import FakeBackend

    counters = (2**28, 2**29, 2**28, 0)
    fields: dict[str, Any] = dict(zip(("allocated", "reserved", "active", "inactive"), counters, strict=True))
    backend: Any = FakeBackend("cuda", **fields, used=2**29, free=2**30, total=3 * 2**29)
    backend.allocator = {0: counters}.__getitem__
    backend.current_device = itertools.repeat(0).__next__
    return backend


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
