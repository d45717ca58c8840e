"""Remarks on the allocators of devices, phase by phase: the same lines wherever phases are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasescope.analysis.formatting import change_text, count_text, elide, path_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .phase_tree import Row

_MOST_NAMED = 3
_LONGEST_NAME = 40
_MORE_PHASES = "(more phases)"


def allocator_remarks(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line about phases in which an allocator had to give back its cache and try again, and one about those in
    which it failed even so: each where it happened, not the phases around it; and where this process took memory of a
    device beside the allocator."""
    for title, name in (
        ("allocator gave back its cache and retried", "alloc_retries"),
        ("allocator had no memory even so", "alloc_failures"),
    ):
        innermost = _innermost(rows, name)
        if innermost:
            named = [f"{_name(path)} ({count_text(count)})" for path, count in innermost[:_MOST_NAMED]]
            more = f" and {count_text(len(innermost) - _MOST_NAMED)} more" if len(innermost) > _MOST_NAMED else ""
            yield f"{title}: {', '.join(named)}{more}"
    outside = _innermost(rows, "outside_rise_bytes")
    if outside:
        named = [f"{change_text(size)} in {_name(path)}" for path, size in outside[:_MOST_NAMED]]
        yield f"memory outside the allocator (libraries, buffers): {', '.join(named)}"


def _name(path: tuple[str, ...]) -> str:
    return elide(path_text(path), _LONGEST_NAME) or _MORE_PHASES


def _innermost(rows: Sequence[Row], name: str) -> list[tuple[tuple[str, ...], int]]:
    """Return the phases with what was counted in them and in no phase inside, the most first."""
    own = {row.path: getattr(row, name) or 0 for row in rows}
    for row in rows:
        around = row.path[:-1]
        if around in own:
            own[around] -= getattr(row, name) or 0
    return sorted(((path, count) for path, count in own.items() if count > 0), key=lambda entry: -entry[1])
