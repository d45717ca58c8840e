"""Packed events as a summary takes them: plain phase boundaries, and payloads that become whole events."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable


class PackedBoundary(Protocol):
    """A plain phase boundary; its integers are of 64 bits."""

    timestamp: int
    allocated: int
    reserved: int

    @property
    def event_type(self) -> str:
        """`phase_enter` or `phase_exit`."""


class PackedPhase(Protocol):
    """The phase of a boundary. Phases are known by numbers or by their whole ids."""

    duration: int | None
    allocated_delta: int | None
    peak_allocated: int | None

    @property
    def scope(self) -> int | str | None:
        """Which phase it is; None if that is `sequence`."""

    @property
    def sequence(self) -> int:
        """The boundary's own number."""

    @property
    def parent(self) -> int | str | None:
        """The enclosing phase."""

    @property
    def status(self) -> str:
        """`ok`, `error` or `abandoned`."""

    @property
    def path(self) -> Any:
        """As packed bytes."""


DecodedBoundary = tuple[PackedBoundary, PackedPhase, bytes]
"""A boundary, its phase, and its device as packed bytes: the same object as before if these are equal."""


Boundaries = Callable[[Any], "Iterable[DecodedBoundary | None]"]
"""Unpacks any payloads: one for each, None if it is not a plain boundary."""


class Payloads(Protocol):
    """Packed events by their place: bytes, or whatever else `Unpack.event` takes."""

    def __getitem__(self, index: int, /) -> Any: ...


@runtime_checkable
class LaidPayloads(Payloads, Protocol):
    """The same of bytes that lie in `data`; `spans` are packed, the start and the length of each."""

    data: bytes
    spans: bytearray


class Unpack(Protocol):
    """The unpacking of payloads; all raise ValueError for one that is ill-formed."""

    def event(self, payload: Any) -> dict[str, Any]:
        """Return a whole event."""

    def path(self, packed: bytes) -> tuple[str, ...]:
        """Return a path."""

    def device(self, packed: bytes) -> tuple[str, int, int]:
        """Return a device's backend, its id and the mask of its unavailable counters."""
