"""Reads back what `parquet` has written: rows as events, and the recorder's word in the file's own metadata."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from phasescope.analysis.formatting import elide, printable
from phasescope.recordings import columns
from phasescope.recordings.event_parser import upgraded
from phasescope.recordings.notes import is_note, note_in
from phasescope.recordings.parquet import pyarrow_modules
from phasescope.recordings.row_pass import Columns, event_in
from phasescope.recordings.source import Problem, Tail
from phasescope.wire.event import EVENT_KEYS, InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from phasescope.recordings.notes import Note

_LONGEST_TEXT = 200
_ROW_BYTES = 1024

# What pyarrow raises of a damaged file: also KeyError and the like, for names and types that do not exist.
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, NotImplementedError, RecursionError)

_decode = msgspec.json.Decoder().decode


class File(Protocol):
    """A file to read, here or on an object store."""

    @property
    def name(self) -> str:
        """Its name without folders."""

    def open(self, mode: Literal["rb"], /) -> Any:
        """Open it. Raises OSError."""


class ParquetSource:
    """The events of Parquet files that `write` made: one session's, in the order of its parts."""

    def __init__(self, files: Sequence[File]) -> None:
        """Take the files. Raises MissingDependencyError."""
        self._files = files
        self._pyarrow, self._parquet = pyarrow_modules()
        self._name = ""  # of the part that is being read
        self._tail: tuple[int, Tail] | None = None

    def events(self, report: Callable[[Problem], object]) -> Iterator[dict[str, Any]]:
        notes: list[dict[str, Any]] = []
        for columns_read in self.columns(report, notes.append):
            yield from notes
            notes.clear()
            for index in range(columns_read.size):
                try:
                    yield event_in(columns_read, index)
                except (InvalidEventError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    self.complain(report, columns_read.first + index, str(error))
        yield from notes

    def columns(
        self, report: Callable[[Problem], object], take_note: Callable[[dict[str, Any]], object]
    ) -> Iterator[Columns]:
        """Yield the rows as columns; what the recorder said of each part goes to `take_note` before its rows."""
        for file in self._files:
            self._name = file.name
            try:
                with file.open("rb") as opened, self._parquet.ParquetFile(opened) as parquet:
                    self._take_note(parquet, take_note, report)
                    yield from self._of_file(parquet, report)
            except FileNotFoundError:
                if len(self._files) == 1:
                    raise
            except (self._pyarrow.ArrowException, *_UNREADABLE) as error:
                self.complain(report, None, str(error).partition("\n")[0])

    def note(self) -> Note | None:
        """Return the recorder's word in the last file; None if there is none. Raises OSError."""
        notes: list[dict[str, Any]] = []
        with self._files[-1].open("rb") as opened, self._parquet.ParquetFile(opened) as file:
            self._take_note(file, notes.append, _ignored)
        return note_in(notes[-1]) if notes and is_note(notes[-1]) else None

    def _take_note(
        self, file: Any, take_note: Callable[[dict[str, Any]], object], report: Callable[[Problem], object]
    ) -> None:
        note = (file.metadata.metadata or {}).get(b"phasescope")
        if note is None:
            return
        try:
            event = upgraded(_decode(note))
        except (InvalidEventError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.complain(report, 0, str(error))
        else:
            take_note(event)

    def _of_file(self, file: Any, report: Callable[[Problem], object]) -> Iterator[Columns]:
        names = set(file.schema_arrow.names)
        number = 1
        for batch in file.iter_batches(columns=[key for key in EVENT_KEYS if key in names], batch_size=columns.ROWS):
            yield from self._of_batch(batch, number, report)
            number += len(batch)

    def _of_batch(self, batch: Any, first: int, report: Callable[[Problem], object]) -> Iterator[Columns]:
        try:
            yield _columns(batch, first)
        except ValueError:  # a text in it is not JSON: see which
            for offset in range(len(batch)):
                try:
                    row = _columns(batch.slice(offset, 1), first + offset, _decoded)
                except ValueError as error:
                    self.complain(report, first + offset, str(error))
                else:
                    yield row

    def complain(self, report: Callable[[Problem], object], row: int | None, text: str) -> None:
        """Report a row that holds no event, or a part that cannot be read on."""
        where = "" if row is None else f"row {row}: "
        report(Problem(self._name, None, where + elide(printable(text), _LONGEST_TEXT)))

    def tail(self, size_bytes: int) -> Tail | None:
        """Return the last rows as events, and the recorder's last word; some 1024 bytes are taken for a row."""
        if self._tail is None or self._tail[0] < size_bytes:
            try:
                self._tail = size_bytes, self._read_tail(size_bytes // _ROW_BYTES)
            except (self._pyarrow.ArrowException, *_UNREADABLE):
                return None
        return self._tail[1]

    def _read_tail(self, rows: int) -> Tail:
        tables: list[Any] = []
        notes: list[dict[str, Any]] = []
        missing = rows
        with self._files[-1].open("rb") as opened, self._parquet.ParquetFile(opened) as file:
            self._take_note(file, notes.append, _ignored)
            names = [key for key in EVENT_KEYS if key in set(file.schema_arrow.names)]
            group = file.num_row_groups
            while group and missing > 0:
                group -= 1
                table = file.read_row_group(group, columns=names)
                tables.append(table.slice(max(0, len(table) - missing)))
                missing -= len(table)
        events = []
        for table in reversed(tables):
            for batch in table.to_batches(max_chunksize=columns.ROWS):
                for part in self._of_batch(batch, 1, _ignored):
                    for index in range(part.size):
                        with contextlib.suppress(InvalidEventError, *_UNREADABLE, msgspec.DecodeError):
                            events.append(event_in(part, index))
        is_whole = not group and missing >= 0 and len(self._files) == 1
        return Tail([*events, *notes], is_whole)

    def is_being_written(self) -> bool:
        return False


def _ignored(problem: Problem) -> None:
    """Take a problem that the whole reading reports."""


def _columns(batch: Any, first: int, values: Callable[[Any], list[Any]] | None = None) -> Columns:
    lists = map(values or _values, batch.columns)
    return Columns(first, len(batch), dict(zip(batch.schema.names, lists, strict=True)))


def _decoded(column: Any) -> list[Any]:
    return column.to_pylist()  # type: ignore[no-any-return]


def _values(column: Any) -> list[Any]:
    """Return a column's values; of one with a dictionary each text once, however often it is there."""
    if not hasattr(column, "dictionary"):
        return _decoded(column)
    texts = [*column.dictionary.to_pylist(), None]
    return [texts[-1 if index is None else index] for index in column.indices.to_pylist()]
