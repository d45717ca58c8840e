"""One session from the sums that an engine made of it: the same figures as reading its events gives.

Only what a comparison of ranks asks for. A session of which sums do not say enough is `irregular`, and to be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from phasescope.analysis.devices import Devices
from phasescope.analysis.event_fields import device_label
from phasescope.analysis.jobs.clock_skew import Boundaries
from phasescope.analysis.jobs.member import innermost
from phasescope.analysis.spans import Span
from phasescope.analysis.steps import Ended
from phasescope.analysis.summary.phase_tree import PhaseTree
from phasescope.analysis.summary.summary import summary_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from phasescope.analysis.statistics.quantiles import KnownQuantiles
    from phasescope.analysis.summary.summary import Summary
    from phasescope.fleet.engine import Row

_MOST_PATHS = 2048
_ALLOCATED, _RESERVED = "allocator_allocated_bytes", "allocator_reserved_bytes"
_MAY_NOT_MEASURE = ("start", "stop", "error", "collector_recovered")
SHARES = (0.25, 0.5, 0.75, 0.95)

_decode = msgspec.json.Decoder(list[str]).decode

Path = tuple[str, ...]


class SessionSums:
    """The sums of one session, by phase, thread and device. Is a `MemberView`."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = sorted(rows, key=lambda row: row["first_at"])
        self._paths = {names: tuple(_decode(names)) for names in {row["phase_names"] for row in rows} if names}
        self.boundaries = Boundaries()
        self.entries = self._entries()

    @property
    def events(self) -> int:
        """How many events there are."""
        return sum(row["events"] for row in self._rows)

    @property
    def first_ns(self) -> int:
        """The earliest time."""
        return min(int(row["first_ns"]) for row in self._rows)

    @property
    def last_ns(self) -> int:
        """The latest time."""
        return max(int(row["last_ns"]) for row in self._rows)

    @property
    def last_type(self) -> str:
        """The type of the last event."""
        return str(max(self._rows, key=lambda row: row["last_at"])["event_type"])

    @property
    def last_event_ns(self) -> int:
        """The time of the last event."""
        return int(max(self._rows, key=lambda row: row["last_at"])["newest_ns"])

    @property
    def sequence(self) -> int | None:
        """The number of the last boundary."""
        return max((row["last_sequence"] for row in self._boundaries()), default=None)

    @property
    def is_regular(self) -> bool:
        """Whether the sums say all that is to be known."""
        boundaries = list(self._boundaries())
        if len(self._paths) > _MOST_PATHS or any(not path for path in self._paths.values()):
            return False
        if any(
            row["phase_names"] is None
            or row["phase_action"] not in ("enter", "exit")
            or row["numbered"] != row["events"]
            or row["linked"] != row["events"]
            for row in boundaries
        ):
            return False
        if any(row["timed"] != row["events"] for row in boundaries if row["phase_action"] == "exit"):
            return False
        first = min((row["first_sequence"] for row in boundaries if row["phase_action"] == "enter"), default=None)
        named = (row[key] for row in self._rows for key in ("first_entry", "first_parent"))
        if any(first is None or number < first for number in named if number is not None):
            return False  # a phase was entered before the first event
        return all(
            not entries or (entries == 1 and entered["last_sequence"] > ended_last)
            for entries, entered, ended_last in self._left_open()
        )

    @property
    def threads_with_errors(self) -> dict[int | None, int]:
        """Of each thread the number of its last entry, if an exception may be on its way in any thread; else none."""
        if not any(row["phase_status"] == "error" or row["event_type"] == "error" for row in self._rows):
            return {}
        entries = [row for row in self._boundaries() if row["phase_action"] == "enter"]
        threads = {row["phase_thread_id"] for row in self._boundaries()}
        return {
            thread: max((row["last_sequence"] for row in entries if row["phase_thread_id"] == thread), default=0)
            for thread in threads
        }

    @property
    def peaks(self) -> Mapping[str, int]:
        """The largest allocation of each device, by its label."""
        peaks: dict[str, int] = {}
        for row in self._rows:
            label = _label(row)
            if label is not None and _is_known(row, _ALLOCATED):
                peaks[label] = max(row["allocated_bytes"], peaks.get(label, 0))
        return peaks

    def open_spans(self) -> list[Span]:
        """Return the phases entered and not ended, in the order of their entries."""
        left_open = [(row["last_sequence"], row) for entries, row, _ in self._left_open() if entries]
        return [
            _open(self._paths[row["phase_names"]], f"{row['session_id']}:{number}", int(row["newest_ns"]))
            for number, row in sorted(left_open, key=lambda each: each[0])
        ]

    def current(self) -> list[Span]:
        """Return the innermost phase open in each thread, the one entered last at the end."""
        return innermost(self.open_spans())

    def path_of(self, names: str) -> Path:
        """Return a phase's path."""
        return self._paths[names]

    def summary(self, quantiles: Mapping[Path, KnownQuantiles], missed: int, damaged: int) -> Summary:
        """Return the session summed up, as far as a comparison of ranks needs it."""
        tree, devices = PhaseTree(), Devices()
        for row in self._rows:
            self._see(tree, row)
        for path, ended in self.entries.items():
            exits = [row for row in self._exits() if self._paths[row["phase_names"]] == path]
            deltas = [row for row in exits if _is_known(row, _ALLOCATED)]
            tree.node(path).summed_up(
                ended.count,
                ended.total_ns,
                quantiles[path],
                sum(row["deltas"] for row in deltas),
                sum(int(row["delta_bytes"] or 0) for row in deltas),
            )
        for event in self._newest_events():
            devices.see(event)
        open_spans = self.open_spans()
        rows = tree.rows(open_spans, self.last_ns, self.last_ns - self.first_ns)
        by_type: dict[str, int] = {}
        for row in self._rows:
            by_type[row["event_type"]] = by_type.get(row["event_type"], 0) + row["events"]
        return summary_of(
            rows,
            devices.rows(),
            open_now=len(open_spans),
            times_ns=(self.first_ns, self.last_ns),
            events=self.events,
            events_by_type=by_type,
            missed=missed,
            damaged=damaged,
            identity={},
        )

    def _see(self, tree: PhaseTree, row: Row) -> None:
        """Tell the tree what these events measured."""
        if row["phase_names"] is None:
            return
        path, label, is_boundary = self._paths[row["phase_names"]], _label(row), row["phase_action"] is not None
        allocated = row["allocated_bytes"] if _is_known(row, _ALLOCATED) else None
        tree.see(path, is_boundary, label, allocated)
        node = tree.node(path)
        if label is not None and allocated is not None and _is_known(row, _RESERVED):
            node.reserved(label, row["reserved_bytes"], row["slack_bytes"])
        if row["phase_action"] != "exit":
            return
        if row["peaks"]:
            node.measured(row["peak_bytes"], label)
            node.measured_peaks += row["peaks"] - 1
        if row["phase_exhausted"]:
            node.exhausted += row["events"]
        for status, count in (("error", "errors"), ("abandoned", "abandoned")):
            if row["phase_status"] == status and not row["phase_exhausted"]:
                setattr(node, count, getattr(node, count) + row["events"])

    def _newest_events(self) -> Iterable[dict[str, Any]]:
        """Yield the last event of each device that has its figures, as far as they are needed."""
        newest: dict[tuple[str, int], Row] = {}
        for row in sorted(self._rows, key=lambda row: row["last_at"]):
            device = row["backend"], row["device_id"]
            if _label(row) is None:
                continue
            if device not in newest or _is_known(row, _ALLOCATED) or row["event_type"] not in _MAY_NOT_MEASURE:
                newest[device] = row
        for (backend, device_id), row in newest.items():
            unknown = [] if row["unavailable"] is None else _decode(row["unavailable"])
            yield {
                "event_type": row["event_type"],
                "timestamp_ns": int(row["newest_ns"]),
                "device_id": device_id,
                _ALLOCATED: row["last_allocated_bytes"],
                _RESERVED: row["last_reserved_bytes"],
                "metadata": {"backend": backend, "unavailable": unknown},
            }

    def _boundaries(self) -> Iterable[Row]:
        return (row for row in self._rows if row["phase_action"] is not None)

    def _exits(self) -> Iterable[Row]:
        return (row for row in self._rows if row["phase_action"] == "exit" and not row["phase_exhausted"])

    def _entries(self) -> dict[Path, Ended]:
        ends: dict[str, list[Row]] = {}
        for row in self._exits():
            if row["phase_names"] is not None:
                ends.setdefault(row["phase_names"], []).append(row)
        return {
            self._paths[names]: Ended(
                sum(row["events"] for row in rows),
                sum(int(row["total_ns"] or 0) for row in rows),
                (min(int(row["first_ns"]) for row in rows), max(int(row["last_ns"]) for row in rows)),
            )
            for names, rows in ends.items()
        }

    def _left_open(self) -> Iterable[tuple[int, Row, int]]:
        """Yield, for each phase in each thread, how many of its entries have not ended, the sums with the last entry,
        and the number of its last end."""
        threads: dict[tuple[str, int | None], tuple[list[Row], list[Row]]] = {}
        for row in self._boundaries():
            if row["phase_names"] is not None:
                both = threads.setdefault((row["phase_names"], row["phase_thread_id"]), ([], []))
                both[row["phase_action"] == "exit"].append(row)
        for entered, ended in threads.values():
            count = sum(row["events"] for row in entered) - sum(row["events"] for row in ended)
            last = max(entered, key=lambda row: row["last_sequence"] or 0, default={})
            yield count, last, max((row["last_sequence"] or 0 for row in ended), default=-1)


def _open(path: Path, scope_id: str, start_ns: int) -> Span:
    return Span(path, scope_id, "open", start_ns, None, None, None, None, None, exhausted=False, entered=True)


def _label(row: Row) -> str | None:
    backend, device_id = row["backend"], row["device_id"]
    return None if backend is None or device_id is None else device_label(backend, device_id)


def _is_known(row: Row, counter: str) -> bool:
    return row["unavailable"] is None or counter not in _decode(row["unavailable"])
