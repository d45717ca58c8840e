"""The sources for a session's missing phases: its summary, its end, and the sessions beside it."""

from __future__ import annotations

import contextlib
import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope._attach import attach
from phasescope.analysis.missing_phases import children_of, missing_phases
from phasescope.wire import ring_directories
from phasescope.wire.ring import RingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phasescope.analysis.summary.summary import Summary
    from phasescope.readers.reader import Reader

_MOST = 256
_SECONDS = 5


def missing_in(reader: Reader, summary: Summary, *, is_over: bool, ended_well: bool = True) -> list[str]:
    """Return lines that say which phases are missing and why.

    The files beside it are looked at only if it has no phase.
    """
    nothing = is_over and not summary.rows and reader.path is not None and reader.path.suffix == ring_directories.SUFFIX
    folder = str(reader.path.parent) if nothing and reader.path is not None else None
    return missing_phases(
        summary.rows,
        is_over=is_over,
        ended_well=ended_well,
        missed=summary.missed,
        constants=reader.constants,
        children=children_of(reader.constants, _in(folder, int(time.monotonic()) // _SECONDS)) if folder else 0,
    )


@functools.lru_cache(maxsize=4)
def _in(folder: str, _moment: int) -> tuple[Mapping[str, Any], ...]:
    """Return the constants of the sessions in a folder. A view that is drawn again and again looks now and then."""
    constants = []
    for path in sorted(Path(folder).glob(f"*{ring_directories.SUFFIX}"), reverse=True)[:_MOST]:
        with contextlib.suppress(OSError, RingError, LookupError), attach(path) as other:
            constants.append(other.constants)
    return tuple(constants)
