"""The payloads of a segment, left where they were read: a bytes object is made only of those that are asked for."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SPAN = Struct("=II")
"""Where one lies: its start and its length."""


class SegmentPayloads:
    """Some payloads that lie in `data`; `spans` are packed as `SPAN`, one after another."""

    __slots__ = ("data", "spans")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.spans = bytearray()

    @classmethod
    def of(cls, payloads: Iterable[bytes]) -> SegmentPayloads:
        """Return these payloads, laid one after another."""
        laid = cls(b"".join(payloads := list(payloads)))
        start = 0
        for payload in payloads:
            laid.append(start, len(payload))
            start += len(payload)
        return laid

    def append(self, start: int, length: int) -> None:
        """Take the payload that lies there."""
        self.spans += SPAN.pack(start, length)

    def __len__(self) -> int:
        return len(self.spans) // SPAN.size

    def __iter__(self) -> Iterator[bytes]:
        data = self.data
        for start, length in SPAN.iter_unpack(self.spans):
            yield data[start : start + length]

    def __getitem__(self, index: int) -> bytes:
        """Return the payload of this number, from 0."""
        start, length = SPAN.unpack_from(self.spans, index * SPAN.size)
        return self.data[start : start + length]
