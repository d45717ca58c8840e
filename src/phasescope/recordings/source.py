"""Where a recording's events come from: JSONL in any number of parts, or one JSON array. All sessions, notes included.

Parquet is in a file of its own.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from phasescope import _os_compat
from phasescope.analysis.formatting import elide, printable
from phasescope.recordings.event_parser import parse, upgraded
from phasescope.recordings.formats import compression_in
from phasescope.recordings.line_stream import read_lines
from phasescope.wire.event import InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from phasescope.recordings.line_stream import Lines

MAX_PROBLEMS = 100
"""The most that are named; all are counted."""

_LONGEST_TEXT = 200
_MAX_JSON_BYTES = 1 << 28


class Problem(NamedTuple):
    """A place in a recording that holds no event. `line` counts from 1; None means: not known."""

    file: str
    line: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.file}: " + (self.text if self.line is None else f"line {self.line}: {self.text}")


class Tail(NamedTuple):
    """The last events of a source; `whole` if it has no others."""

    events: list[dict[str, Any]]
    whole: bool


class RecordingSource(Protocol):
    """What a recording is read from."""

    def events(self, report: Callable[[Problem], object]) -> Iterator[dict[str, Any]]:
        """Iterate over all events, checked and of version 3. A line that is not an event is passed to `report`. Raises
        OSError."""

    def tail(self, size_bytes: int) -> Tail | None:
        """Return the events in about the last `size_bytes`; None if there is no way to them but from the start."""

    def is_being_written(self) -> bool | None:
        """Return whether a recorder has the file open; None if the file system has no locks that would tell."""


class JsonlSource:
    """One event a line, in files that are read one after another; each may be compressed."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def events(self, report: Callable[[Problem], object]) -> Iterator[dict[str, Any]]:
        for name, batch in self.batches(report):
            for offset, line in enumerate(batch):
                try:
                    event = parse(line)
                except InvalidEventError as error:
                    self.complain(report, name, batch, offset, error)
                    continue
                yield event

    def batches(self, report: Callable[[Problem], object]) -> Iterator[tuple[str, Lines]]:
        """Iterate over the lines, whatever they hold, each batch with its file's name. Raises OSError."""
        for path in self._paths:
            try:
                file = path.open("rb")
            except FileNotFoundError:
                if len(self._paths) == 1:
                    raise
                continue  # an old part, removed meanwhile
            with file:
                for batch in read_lines(file, functools.partial(_report_text, report, path.name)):
                    yield path.name, batch

    def complain(
        self, report: Callable[[Problem], object], name: str, batch: Lines, offset: int, error: InvalidEventError
    ) -> None:
        """Report a line that holds no event, unless it is empty, or the rest of it is on its way."""
        if not batch[offset].strip(b" \t\r") or (batch.torn and self.is_being_written() is not False):
            return
        text = "cut off in the middle" if batch.torn else elide(printable(str(error)), _LONGEST_TEXT)
        report(Problem(name, batch.first + offset, text))

    def tail(self, size_bytes: int) -> Tail | None:
        path = self._paths[-1]
        with path.open("rb") as file:
            if compression_in(file.read(4)) is not None:
                return None
            size = os.fstat(file.fileno()).st_size
            start = max(0, size - size_bytes)
            file.seek(start)
            lines = file.read(size - start).split(b"\n")
        if start > 0:
            del lines[0]
        events = []
        for line in lines:
            try:
                if line:
                    events.append(parse(line))
            except InvalidEventError:
                continue
        return Tail(events, whole=start == 0 and len(self._paths) == 1)

    def is_being_written(self) -> bool | None:
        try:
            fd = os.open(self._paths[-1], os.O_RDONLY)
        except OSError:
            return False
        try:
            return _os_compat.is_locked(fd)
        except OSError:
            return None
        finally:
            os.close(fd)


def _report_text(report: Callable[[Problem], object], name: str, text: str) -> None:
    report(Problem(name, None, text))


class JsonSource:
    """One JSON array of events, or an object with one under `events`: what other tools export."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def events(self, report: Callable[[Problem], object]) -> Iterator[dict[str, Any]]:
        for number, record in enumerate(self._records(report)):
            try:
                yield upgraded(record)
            except InvalidEventError as error:
                report(Problem(self._path.name, None, f"event {number}: {elide(printable(str(error)), _LONGEST_TEXT)}"))

    def _records(self, report: Callable[[Problem], object]) -> list[Any]:
        if self._path.stat().st_size > _MAX_JSON_BYTES:
            report(Problem(self._path.name, None, f"over {_MAX_JSON_BYTES} bytes in one JSON text; JSONL has no bound"))
            return []
        try:
            content = msgspec.json.decode(self._path.read_bytes())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            report(Problem(self._path.name, None, f"not JSON: {error}"))
            return []
        if isinstance(content, dict) and "traceEvents" in content:
            report(Problem(self._path.name, None, "a Chrome trace is for viewers; it cannot be read back"))
            return []
        if isinstance(content, dict):
            events = content.get("events")
            content = events if isinstance(events, list) else [content]
        return content if isinstance(content, list) else []

    def tail(self, size_bytes: int) -> Tail | None:
        return None

    def is_being_written(self) -> bool:
        return False
