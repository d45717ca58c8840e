"""Events as columns: what a session has in common, what repeats, and what is new in each event.

They come from TelemetryEvent v3 dicts, or straight from what is packed: see `batches`.
"""

from __future__ import annotations

from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phasescope.wire.event import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

COMMON = (
    "schema_version",
    "session_id",
    "sampling_interval_ms",
    "pid",
    "host",
    "job_id",
    "rank",
    "local_rank",
    "world_size",
)
"""The same in every event that one process writes."""

REPEATED = (
    "event_type",
    "collector",
    "device_id",
    "device_used_bytes",
    "device_free_bytes",
    "device_total_bytes",
    "context",
    "backend",
    "phase_path",
    "phase_action",
    "phase_status",
    "phase_error_type",
    "phase_thread_name",
    "phase_thread_id",
)
"""The same in many events, taken together. `phase_path` is joined by slashes."""

MEASURED = {
    "timestamp_ns": "timestamp",
    "allocator_allocated_bytes": "allocated",
    "allocator_reserved_bytes": "reserved",
    "allocator_active_bytes": "active",
    "allocator_inactive_bytes": "inactive",
    "allocator_change_bytes": "change",
}
PHASE = {
    "phase_duration_ns": "duration",
    "phase_allocated_delta_bytes": "allocated_delta",
    "phase_peak_allocated_bytes": "peak_allocated",
}
"""New in each event; the values are the names that these have in a packed boundary."""

COLUMNS = (
    *COMMON,
    *("timestamp_ns", *REPEATED[:3], *list(MEASURED)[1:], *REPEATED[3:8]),
    *(*REPEATED[8:], *PHASE),
    "metadata",
)
"""All, in the order of a table."""

TEXTS = frozenset(
    {"session_id", "host", "job_id", "event_type", "collector", "context", "backend", "metadata", *REPEATED[8:13]}
)
"""Of all columns those that hold text; the others hold integers of 64 bits."""

ROWS = 8192

_INT64 = 1 << 63
_encode = msgspec.json.Encoder().encode
_repeated = itemgetter(*REPEATED[:7])
_measured = itemgetter(*MEASURED)
_figures = attrgetter(*MEASURED.values())
_phase_figures = attrgetter(*PHASE.values())

Row = tuple[Any, ...]


class Rows:
    """Some rows, all with the same values of `COMMON`.

    `repeated` are the combinations of `REPEATED` that there are, `places` which of them each row has. `measured` and
    `phases` have each row's figures as attributes, those of a packed boundary; `metadata` is JSON.
    """

    __slots__ = ("_known", "common", "measured", "metadata", "phases", "places", "repeated")

    def __init__(self, common: Row) -> None:
        self.common = common
        self.repeated: list[Row] = []
        self.places: list[int] = []
        self.measured: list[Any] = []
        self.phases: list[Any] = []
        self.metadata: list[bytes | str] = []
        self._known: dict[Row, int] = {}

    def __len__(self) -> int:
        return len(self.places)

    def place(self, repeated: Row) -> int:
        """Which combination this is."""
        place = self._known.setdefault(repeated, len(self._known))
        if place == len(self.repeated):
            self.repeated.append(repeated)
        return place

    def fitting(self) -> Rows:
        """Only those rows whose numbers all have room in 64 bits: an event may have larger ones, a table may not."""
        nothing: Row = (None,) * len(REPEATED)
        if not _fits(self.common):
            none = Rows((None,) * len(COMMON))
            none.repeated = [nothing]
            return none
        fit = Rows(self.common)
        are_fit = [_fits(repeated) for repeated in self.repeated]
        fit.repeated = [row if is_fit else nothing for row, is_fit in zip(self.repeated, are_fit, strict=True)]
        rows = zip(self.places, self.measured, self.phases, self.metadata, strict=True)
        for place, measured, phase, metadata in rows:
            if are_fit[place] and _fits(_figures(measured)) and _fits(_phase_figures(phase)):
                fit.places.append(place)
                fit.measured.append(measured)
                fit.phases.append(phase)
                fit.metadata.append(metadata)
        return fit

    def add(self, event: Mapping[str, Any]) -> None:
        """A whole event."""
        scope = event["metadata"].get("phase_scope")
        self.places.append(self.place(repeated_of(event)))
        self.measured.append(_Measured(*_measured(event)))
        self.phases.append(_phase(scope) if type(scope) is dict else _NO_PHASE)
        self.metadata.append(_encode(event["metadata"]))


class _Measured(NamedTuple):
    """`MEASURED`, as a packed boundary has it."""

    timestamp: int
    allocated: int
    reserved: int
    active: int | None
    inactive: int | None
    change: int


class _Phase(NamedTuple):
    """`PHASE`, as a packed boundary has it."""

    duration: int | None = None
    allocated_delta: int | None = None
    peak_allocated: int | None = None


_NO_PHASE = _Phase()
_NO_SCOPE = (None,) * 6


def repeated_of(event: Mapping[str, Any]) -> Row:
    """The values of `REPEATED`."""
    backend, scope = event["metadata"].get("backend"), event["metadata"].get("phase_scope")
    return (
        *_repeated(event),
        backend if type(backend) is str else None,
        *(_scope(scope) if type(scope) is dict else _NO_SCOPE),
    )


def common_of(event: Mapping[str, Any]) -> Row:
    """What an event may leave out has its value from the specification."""
    rank = event.get("rank", 0)
    return (
        SCHEMA_VERSION,
        event["session_id"],
        event["sampling_interval_ms"],
        event["pid"],
        event["host"],
        event.get("job_id"),
        rank,
        event.get("local_rank", rank),
        event.get("world_size", 1),
    )


def _scope(scope: dict[str, Any]) -> Row:
    get = scope.get
    path = get("path")
    joined = "/".join(map(str, path)) if isinstance(path, list) else get("name")
    texts = (joined, get("action"), get("status"), get("error_type"), get("thread_name"))
    return (*[text if type(text) is str else None for text in texts], _int_or_none(get("thread_id")))


def _phase(scope: dict[str, Any]) -> _Phase:
    get = scope.get
    return _Phase(
        _int_or_none(get("duration_ns")),
        _int_or_none(get("allocated_delta_bytes")),
        _int_or_none(get("peak_allocated_bytes")),
    )


def _fits(values: Iterable[object]) -> bool:
    return all(type(value) is not int or -_INT64 <= value < _INT64 for value in values)


def _int_or_none(value: object) -> int | None:
    return value if type(value) is int and -_INT64 <= value < _INT64 else None
