"""Events as columns: what a session has in common, what repeats, and what is new in each event.

They come from TelemetryEvent v3 dicts, or straight from what is packed: see `batches`.
"""

from __future__ import annotations

from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phasescope.analysis.event_fields import int_or_none
from phasescope.wire.codec import Boundary
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
    "phase_names",
    "phase_exhausted",
    "unavailable",
    "is_rare",
)
"""The same in many events, taken together. `phase_path` is joined by slashes; `phase_names` is the path as a JSON list,
so that no slash in a name is mistaken, `unavailable` a JSON list too. `phase_exhausted` is 1 or null, `is_rare` 1 or 0:
who looks for those skips the row groups that have none."""

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
LINKS = {
    "phase_sequence": "sequence",
    "phase_entry": "scope",
    "phase_parent": "parent",
}
"""All new in each event; the values are the names that these have in a packed boundary. Links are numbers of
boundaries: the event's own, that of the entry which it is about, and that of the enclosing phase's entry."""

FIGURES = (*MEASURED, *PHASE, *LINKS)
"""Those that are new in each event and numbers, and of them those that may be null."""
MAYBE = ("allocator_active_bytes", "allocator_inactive_bytes", *PHASE, *LINKS)

COLUMNS = (
    *COMMON,
    *("timestamp_ns", *REPEATED[:3], *list(MEASURED)[1:], *REPEATED[3:8]),
    *(*REPEATED[8:14], *PHASE),
    *(*REPEATED[14:], *LINKS),
    "metadata",
)
"""All, in the order of a table."""

TEXTS = frozenset(
    {"session_id", "host", "job_id", "event_type", "collector", "context", "backend", "metadata", *REPEATED[8:13]}
    | {"phase_names", "unavailable"}
)
"""Of all columns those that hold text; the others hold integers of 64 bits."""

ROWS = 8192

_INT64 = 1 << 63
_encode = msgspec.json.Encoder().encode
_repeated = itemgetter(*REPEATED[:7])
_measured = itemgetter(*MEASURED)
_figures = attrgetter(*MEASURED.values())
_phase_figures = attrgetter(*PHASE.values())
_LONGEST_NUMBER = 18  # digits
_OFTEN = frozenset({"phase_enter", "phase_exit", "sample", "device_time"})

Row = tuple[Any, ...]


class RowsInCommon:
    """Rows with the same values of `COMMON`. `repeated` are the combinations of `REPEATED` that occur in them."""

    __slots__ = ("_known", "common", "repeated")

    def __init__(self, common: Row) -> None:
        self.common = common
        self.repeated: list[Row] = []
        self._known: dict[Row, int] = {}

    def place(self, repeated: Row) -> int:
        """Return the number of this combination."""
        place = self._known.setdefault(repeated, len(self._known))
        if place == len(self.repeated):
            self.repeated.append(repeated)
        return place


class Rows(RowsInCommon):
    """Some rows, as Python makes them: `places` says which of `repeated` each of them has.

    `measured` and `phases` have each row's figures as attributes, those of a packed boundary; `metadata` is JSON.
    """

    __slots__ = ("measured", "metadata", "phases", "places")

    unfit = 0  # those are left out as soon as there are any

    def __init__(self, common: Row) -> None:
        super().__init__(common)
        self.places: list[int] = []
        self.measured: list[Any] = []
        self.phases: list[Any] = []
        self.metadata: list[bytes | str] = []

    def __len__(self) -> int:
        return len(self.places)

    def fitting(self) -> Rows:
        """Return only those rows whose numbers all fit in 64 bits: an event may have larger ones, a table may not."""
        nothing: Row = (None,) * len(REPEATED)
        if not fits(self.common):
            none = Rows((None,) * len(COMMON))
            none.repeated = [nothing]
            return none
        fit = Rows(self.common)
        are_fit = [fits(repeated) for repeated in self.repeated]
        fit.repeated = [row if is_fit else nothing for row, is_fit in zip(self.repeated, are_fit, strict=True)]
        rows = zip(self.places, self.measured, self.phases, self.metadata, strict=True)
        for place, measured, phase, metadata in rows:
            if are_fit[place] and fits(_figures(measured)) and fits(_phase_figures(phase)):
                fit.places.append(place)
                fit.measured.append(measured)
                fit.phases.append(phase)
                fit.metadata.append(metadata)
        return fit

    def add(self, event: Mapping[str, Any]) -> None:
        """Take a whole event."""
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


class _PhaseValues(NamedTuple):
    """`PHASE`, as a packed boundary has it."""

    duration: int | None = None
    allocated_delta: int | None = None
    peak_allocated: int | None = None
    sequence: int | None = None
    scope: object = None
    parent: object = None


_NO_PHASE = _PhaseValues()
_NO_SCOPE = (None,) * 7


def repeated_of(event: Mapping[str, Any]) -> Row:
    """Return the values of `REPEATED`."""
    metadata = event["metadata"]
    backend, scope, unknown = metadata.get("backend"), metadata.get("phase_scope"), metadata.get("unavailable")
    return (
        *_repeated(event),
        backend if type(backend) is str else None,
        *(of_phase := _scope(scope) if type(scope) is dict else _NO_SCOPE),
        1 if metadata.get("exhausted") is True else None,
        _encode(unknown).decode() if type(unknown) is list and unknown else None,
        is_rare(event["event_type"], of_phase[2]),
    )


def is_rare(event_type: str, status: object) -> int:
    """Return 1 for an event that a session has few of, 0 for any other."""
    return int(event_type not in _OFTEN or status == "abandoned")


def common_of(event: Mapping[str, Any]) -> Row:
    """Return the columns that all events share; what an event leaves out has its value from the specification."""
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
    return (
        *[text if type(text) is str else None for text in texts],
        int_or_none(get("thread_id")),
        _names(path, get("name")),
    )


def _names(path: object, name: object) -> str | None:
    """Return the path as everything that reads events takes it: see `scope_of`."""
    if type(path) is list and path and all(type(each) is str for each in path):
        return _encode(path).decode()
    return _encode([name]).decode() if type(name) is str else None


def _phase(scope: dict[str, Any]) -> _PhaseValues:
    get = scope.get
    return _PhaseValues(
        int_or_none(get("duration_ns")),
        int_or_none(get("allocated_delta_bytes")),
        int_or_none(get("peak_allocated_bytes")),
        int_or_none(get("sequence")),
        get("scope_id"),
        get("parent_scope_id"),
    )


def links_of(phases: Iterable[Any], session_id: object) -> dict[str, list[int | None]]:
    """Return the columns of `LINKS`. What is not a number of this session's is null."""
    prefix = f"{session_id}:"
    sequences: list[int | None] = []
    entries: list[int | None] = []
    parents: list[int | None] = []
    for phase in phases:
        sequence, entry = phase.sequence, phase.scope
        if entry is None and isinstance(phase, Boundary):
            entry = sequence  # an entry is known by its own number
        sequences.append(_link(sequence, prefix))
        entries.append(_link(entry, prefix))
        parents.append(_link(phase.parent, prefix))
    return dict(zip(LINKS, (sequences, entries, parents), strict=True))


def _link(link: object, prefix: str) -> int | None:
    if type(link) is int:
        return link if -_INT64 <= link < _INT64 else None
    if type(link) is str and link.startswith(prefix):
        number = link[len(prefix) :]
        if number.isascii() and number.isdigit() and len(number) <= _LONGEST_NUMBER:
            return int(number)
    return None


def row_of(event: Mapping[str, Any]) -> Row:
    """Return the values of `FIGURES`."""
    scope = event["metadata"].get("phase_scope")
    phase = _phase(scope) if type(scope) is dict else _NO_PHASE
    links = (numbers[0] for numbers in links_of((phase,), event["session_id"]).values())
    return (*_measured(event), *phase[: len(PHASE)], *links)


def row_of_packed(measured: Any, phase: Any, session_id: str) -> Row:
    """Return the same of a packed boundary, and its phase."""
    links = (numbers[0] for numbers in links_of((phase,), session_id).values())
    return (*_figures(measured), *_phase_figures(phase), *links)


def fits(values: Iterable[object]) -> bool:
    """Return whether all of the numbers among these fit in 64 bits."""
    return all(type(value) is not int or -_INT64 <= value < _INT64 for value in values)
