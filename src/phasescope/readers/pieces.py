"""What was written since the last time, in pieces: a ring is long, and whoever follows it has other work as well."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phasescope.readers.reader import Reader

_PIECE = 256


class Pieces:
    """The events of a reader that were not read yet. `behind` says that there may be more of them now."""

    def __init__(self, reader: Reader) -> None:
        self.behind = True
        self._reader = reader
        self._rest: Iterator[dict[str, Any]] | None = None

    def following(self) -> Iterator[dict[str, Any]]:
        """Iterate over the next piece. Raises OSError and RingError if the file cannot be read any more."""
        is_rest = self._rest is not None  # it ends where the ring did as it was begun: there may be more since
        if self._rest is None:
            self._rest = self._reader.unread()
        count = 0
        for event in islice(self._rest, _PIECE):
            count += 1
            yield event
        if count < _PIECE:
            self._rest = None
        self.behind = is_rest or count == _PIECE
