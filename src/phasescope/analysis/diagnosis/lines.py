"""The lines that allocated what became more with the steps, as `start(sites=True)` finds them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from phasescope.analysis.event_fields import size_or_none
from phasescope.analysis.formatting import count_text, plural, printable, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .growth import Growth

EVENT = "allocation_lines"
_MOST = 16
_LONGEST = 300
_MOST_NAMED = 3
_WORTH_NAMING = 0.05  # of the growth


@dataclass(frozen=True)
class GrownLine:
    """A line of a file, whose live blocks became more with the steps on a device (a label): `bytes` in `count` blocks
    now, `before` bytes at `since_step`, in `looks` looks in a row."""

    device: str
    file: str
    line: int
    bytes: int
    count: int
    before: int
    since_step: int
    per_step: float
    looks: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class GrownLines:
    """The newest look at the lines: at which step it was, what grew until then, and what could not be looked at."""

    step: int
    grown: tuple[GrownLine, ...]
    why_not: str


class LinesFold:
    """Takes events, and keeps the newest look."""

    def __init__(self) -> None:
        self._newest: GrownLines | None = None

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        if event.get("event_type") != EVENT:
            return
        metadata = event.get("metadata")
        newest = metadata.get(EVENT) if isinstance(metadata, dict) else None
        if isinstance(newest, dict):
            why_not = newest.get("why_not")
            self._newest = GrownLines(
                step=size_or_none(newest.get("step")) or 0,
                grown=tuple(_grown(newest.get("grown"))),
                why_not=why_not[:_LONGEST] if isinstance(why_not, str) else "",
            )

    def result(self) -> GrownLines | None:
        """Return the newest look; None if there was none."""
        return self._newest


def lines_behind(growth: Growth, lines: GrownLines | None) -> tuple[GrownLine, ...]:
    """Return the lines that account for a growth, those that grow fastest first."""
    if lines is None or not growth.grows or growth.per is None or growth.children is not None:
        return ()
    least = max(1.0, _WORTH_NAMING * growth.bytes_per_usual_step)
    there = [each for each in lines.grown if each.device == growth.device and each.per_step >= least]
    return tuple(sorted(there, key=lambda each: -each.per_step)[:_MOST_NAMED])


def line_text(line: GrownLine, until_step: int) -> str:
    """Return the sentence: `grew by 4.10 MiB allocated in train.py:41 (…)`."""
    more = size_text(max(0, line.bytes - line.before))
    file = printable(line.file).replace("\\", "/").rpartition("/")[2]
    rate = size_text(round(line.per_step))
    return (
        f"grew by {more} that {file}:{line.line} allocated, {rate} a step, from step {count_text(line.since_step)} to "
        f"{count_text(until_step)} ({size_text(line.bytes)} in {plural(line.count, 'block')} now)"
    )


def _grown(entries: object) -> Iterator[GrownLine]:
    for entry in entries[:_MOST] if isinstance(entries, (list, tuple)) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
            continue
        device, per_step = entry.get("device"), entry.get("per_step")
        yield GrownLine(
            device=device[:_LONGEST] if isinstance(device, str) else "",
            file=entry["file"][:_LONGEST],
            line=size_or_none(entry.get("line")) or 0,
            bytes=size_or_none(entry.get("bytes")) or 0,
            count=size_or_none(entry.get("count")) or 0,
            before=size_or_none(entry.get("before")) or 0,
            since_step=size_or_none(entry.get("since_step")) or 0,
            per_step=float(per_step) if isinstance(per_step, (int, float)) and 0 <= per_step < 1e15 else 0.0,
            looks=size_or_none(entry.get("looks")) or 0,
        )
