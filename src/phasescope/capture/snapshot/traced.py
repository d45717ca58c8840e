"""The lines that allocated what is live now, where `tracemalloc` runs: by the training, or by `start(sites=True)`."""

from __future__ import annotations

import sys
from typing import Any

MOST_LINES = 60
MOST_TRACES_BYTES = 64 << 20
"""Of what tracemalloc itself takes, some 50 bytes for each block. Of more blocks a list would take the training's
memory, and its time: they are copied under the interpreter's lock, within a second or so."""

_LONGEST = 300

TracedLine = tuple[str, int]
"""A file, and the number of a line of it."""


class TooManyTracesError(Exception):
    """tracemalloc knows of more blocks than can be listed without harm."""

    def __str__(self) -> str:
        return "too many allocations are traced to list them without holding up the training"


def is_tracing() -> bool:
    """Return whether tracemalloc runs. Imports nothing."""
    module = sys.modules.get("tracemalloc")
    return module is not None and bool(module.is_tracing())


def lines() -> dict[TracedLine, tuple[int, int]]:
    """Return bytes and blocks of each line that allocated what is live: the innermost of Python's.

    Raises TooManyTracesError.
    """
    import _tracemalloc

    if _tracemalloc.get_tracemalloc_memory() > MOST_TRACES_BYTES:
        raise TooManyTracesError
    traces = _tracemalloc._get_traces()
    sizes: dict[int, list[Any]] = {}  # by the traceback, one object for all that have it: quicker than by its content
    for trace in traces:
        entry = sizes.get(id(trace[2]))
        if entry is None:
            sizes[id(trace[2])] = [trace[2][0], trace[1], 1]
        else:
            entry[1] += trace[1]
            entry[2] += 1
    by_line: dict[TracedLine, tuple[int, int]] = {}
    for line, size, count in sizes.values():
        so_far = by_line.get(line, (0, 0))
        by_line[line] = so_far[0] + size, so_far[1] + count
    return by_line


def traced() -> dict[str, Any]:
    """Return what tracemalloc knows: the lines with most bytes, and how much is traced in all."""
    if not is_tracing():
        return {"why_not": "tracemalloc does not run: start(sites=True) or `python -X tracemalloc` begins it"}
    module = sys.modules["tracemalloc"]
    total, peak = module.get_traced_memory()
    own = module.get_tracemalloc_memory()
    figures: dict[str, Any] = {"traced_bytes": total, "traced_peak_bytes": peak, "own_bytes": own}
    try:
        largest = sorted(lines().items(), key=lambda each: -each[1][0])[:MOST_LINES]
    except TooManyTracesError as error:
        return {**figures, "why_not": str(error)}
    figures["lines"] = [
        {"file": file[-_LONGEST:], "line": line, "bytes": size, "count": count}
        for (file, line), (size, count) in largest
    ]
    return figures
