"""A ring payload back to an event; `encoding` makes it.

A payload is one MessagePack array of what varies from event to event, in the order of `Wire`, cut off after the last
value that is there. What a session never changes (its id, host, rank …) is once in the ring's header and is added
back here. docs/ring-format.md has the table.
"""

from __future__ import annotations

import sys
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from phasescope.wire.encoding import MASKED_COUNTERS
from phasescope.wire.event import EVENT_TYPES, SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Unsigned = Annotated[int, msgspec.Meta(ge=0)]
Unsigned63 = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Signed64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]


class DeviceWire(msgspec.Struct, array_like=True, gc=False):
    """The device that an event speaks of, and its driver's figures as the sampler last saw them."""

    backend: Text
    device_id: int
    used: Unsigned
    free: Unsigned | None
    total: Unsigned | None
    unavailable: Annotated[int, msgspec.Meta(ge=0, lt=1 << len(MASKED_COUNTERS))]


class Wire(msgspec.Struct, array_like=True, gc=False):
    """The values of a payload, in this order. Times in ns, memory in bytes, as in TelemetryEvent v3."""

    event_type: Text
    timestamp: Unsigned
    device: DeviceWire
    allocated: Unsigned
    reserved: Unsigned
    active: Unsigned | None
    inactive: Unsigned | None
    change: int
    context: str | None = None
    extra: dict[str, Any] | None = None
    sequence: Unsigned | None = None
    scope: Unsigned | None = None  # the sequence of the phase's enter; None if that is `sequence`
    parent: Unsigned | None = None
    thread: tuple[int, str] = (0, "")
    path: list[Text] = []
    attributes: dict[str, str | int | Finite | bool | None] | None = None
    duration: Unsigned | None = None
    status: str = "ok"
    error_type: str | None = None
    allocated_delta: int | None = None
    peak_allocated: Unsigned | None = None


class Boundary(msgspec.Struct, array_like=True, gc=False):
    """A payload of a phase boundary as far as sums over many need it: what repeats is left as bytes, to be compared.

    The fields are those of `Wire`, in its order, and hold nothing but what the profiler writes, and no `extra`.
    """

    event_type: Literal["phase_enter", "phase_exit"]
    timestamp: Unsigned63
    device: msgspec.Raw
    allocated: Unsigned63
    reserved: Unsigned63
    active: Unsigned | None
    inactive: Unsigned | None
    change: int
    context: str | None
    extra: None
    sequence: Unsigned
    scope: Unsigned | None = None
    parent: Unsigned | None = None
    thread: msgspec.Raw = msgspec.Raw(b"")
    path: msgspec.Raw = msgspec.Raw(b"")
    attributes: dict[str, str | int | Finite | bool | None] | None = None
    duration: Unsigned63 | None = None
    status: Literal["ok", "error", "abandoned"] = "ok"
    error_type: str | None = None
    allocated_delta: Signed64 | None = None
    peak_allocated: Unsigned63 | None = None


class PayloadError(ValueError):
    """The payload does not hold an event of this format."""


_decode = msgspec.msgpack.Decoder(Wire).decode
_decode_path = msgspec.msgpack.Decoder(list[Text]).decode
_decode_device = msgspec.msgpack.Decoder(DeviceWire).decode
_NO_PATH = ("?",)
_decode_boundary = msgspec.msgpack.Decoder(Boundary).decode
_KNOWN_TYPES = frozenset(EVENT_TYPES)
_OWN_METADATA = frozenset({"backend", "unavailable", "phase_scope"})
_MAX_NESTING = 8
_SCALARS = frozenset({str, int, bool, type(None)})
_ACTIONS = {"phase_enter": "enter", "phase_exit": "exit"}


def _names_of(mask: int) -> list[str]:
    return [name for bit, name in enumerate(MASKED_COUNTERS) if mask >> bit & 1]


_NAMES_OF = [_names_of(mask) for mask in range(1 << len(MASKED_COUNTERS))]


class Decoder:
    """Turns the payloads of one session into TelemetryEvent v3 dicts.

    `constants` are the ring's; those that an event needs must be there in the right type, else PayloadError.
    """

    def __init__(self, constants: Mapping[str, Any]) -> None:
        try:
            checked = msgspec.convert(constants, _Constants)
        except msgspec.ValidationError as error:
            raise PayloadError(f"the session's constants: {error}") from error
        if max(checked.rank, checked.local_rank) >= checked.world_size:
            raise PayloadError("the session's constants: rank and local_rank must be below world_size")
        self._constants = checked

    def wire(self, payload: bytes) -> Wire:
        """Return the payload's values as they are, checked. Raises PayloadError."""
        try:
            wire = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PayloadError(str(error)) from error
        if wire.event_type not in _KNOWN_TYPES and not wire.event_type.strip():
            raise PayloadError("the event type is blank")
        if wire.extra:
            for key, value in wire.extra.items():
                if key in _OWN_METADATA or (type(value) not in _SCALARS and not _is_json(value, _MAX_NESTING)):
                    raise PayloadError("the metadata holds what has no place there")
        return wire

    def boundaries(self, payloads: Iterable[bytes]) -> Iterator[tuple[Boundary, Boundary, bytes] | None]:
        """Yield each payload's phase boundary, twice, and its packed device, the same object as long as it is equal.

        Yields None for a payload that is anything else, or has more in it than those.
        """
        decode, device, packed = _decode_boundary, None, b""
        for payload in payloads:
            try:
                boundary = decode(payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                yield None
                continue
            if boundary.device != device:
                device = boundary.device
                packed = bytes(device)
            yield boundary, boundary, packed

    def path(self, packed: bytes) -> tuple[str, ...]:
        """Return the path of a `Boundary`. Raises PayloadError."""
        try:
            return (tuple(_decode_path(packed)) if packed else ()) or _NO_PATH
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PayloadError(str(error)) from error

    def device(self, packed: bytes) -> tuple[str, int, int]:
        """Return backend, device id and mask of the device of a `Boundary`. Raises PayloadError."""
        device = self.device_wire(packed)
        return device.backend, device.device_id, device.unavailable

    def device_wire(self, packed: bytes) -> DeviceWire:
        """Return all of the device of a `Boundary`. Raises PayloadError."""
        try:
            return _decode_device(packed)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PayloadError(str(error)) from error

    def metadata(self, wire: Wire) -> dict[str, Any]:
        """Return the event's `metadata`."""
        metadata: dict[str, Any] = {"backend": wire.device.backend}
        if wire.device.unavailable:
            metadata["unavailable"] = _NAMES_OF[wire.device.unavailable].copy()
        if wire.extra:
            metadata.update(wire.extra)
        if wire.sequence is not None:
            metadata["phase_scope"] = _phase_scope(wire, self._constants.session_id)
        return metadata

    def event(self, payload: bytes) -> dict[str, Any]:
        """Return one event, its keys in the order of the specification. Raises PayloadError."""
        wire = self.wire(payload)
        constants, device = self._constants, wire.device
        return {
            "schema_version": SCHEMA_VERSION,
            "session_id": constants.session_id,
            "timestamp_ns": wire.timestamp,
            "event_type": wire.event_type,
            "collector": "phasescope." + device.backend,
            "sampling_interval_ms": constants.sampling_interval_ms,
            "pid": constants.pid,
            "host": constants.host,
            "device_id": device.device_id,
            "allocator_allocated_bytes": wire.allocated,
            "allocator_reserved_bytes": wire.reserved,
            "allocator_active_bytes": wire.active,
            "allocator_inactive_bytes": wire.inactive,
            "allocator_change_bytes": wire.change,
            "device_used_bytes": device.used,
            "device_free_bytes": device.free,
            "device_total_bytes": device.total,
            "context": wire.context,
            "job_id": constants.job_id,
            "rank": constants.rank,
            "local_rank": constants.local_rank,
            "world_size": constants.world_size,
            "metadata": self.metadata(wire),
        }


def _is_json(value: object, nesting: int) -> bool:
    """Return whether JSON has this value.

    MessagePack knows more, none of it ever written: bytes, dates, NaN, any keys.
    """
    kind = type(value)
    if kind in _SCALARS:
        return True
    if isinstance(value, dict):
        return nesting > 0 and all(type(key) is str and _is_json(value[key], nesting - 1) for key in value)
    if isinstance(value, list):
        return nesting > 0 and all(_is_json(item, nesting - 1) for item in value)
    return isinstance(value, float) and isfinite(value)


NotBlank = Annotated[str, msgspec.Meta(pattern=r"\S")]


class _Constants(msgspec.Struct):
    session_id: NotBlank
    pid: Annotated[int, msgspec.Meta(ge=-1)]
    host: NotBlank
    sampling_interval_ms: Unsigned
    job_id: NotBlank | None = None
    rank: Unsigned = 0
    local_rank: Unsigned = 0
    world_size: Annotated[int, msgspec.Meta(ge=1)] = 1


def _phase_scope(wire: Wire, session_id: str) -> dict[str, Any]:
    """Return the `phase_scope` object: the phase itself on boundaries, on other events the phase that was open."""
    path = wire.path or list(_NO_PATH)
    scope: dict[str, Any] = {}
    action = _ACTIONS.get(wire.event_type)
    if action is not None:
        scope["action"] = action
    scope["name"] = path[-1]
    scope["path"] = path
    scope["depth"] = len(path)
    scope["scope_id"] = f"{session_id}:{wire.sequence if wire.scope is None else wire.scope}"
    scope["parent_scope_id"] = None if wire.parent is None else f"{session_id}:{wire.parent}"
    scope["thread_id"], scope["thread_name"] = wire.thread
    scope["sequence"] = wire.sequence
    if wire.attributes:
        scope["attributes"] = wire.attributes
    if action == "exit":
        scope["duration_ns"] = wire.duration or 0
        scope["status"] = wire.status
        if wire.error_type is not None:
            scope["error_type"] = wire.error_type
        if wire.allocated_delta is not None:
            scope["allocated_delta_bytes"] = wire.allocated_delta
        if wire.peak_allocated is not None:
            scope["peak_allocated_bytes"] = wire.peak_allocated
    return scope
