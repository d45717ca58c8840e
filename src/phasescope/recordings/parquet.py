"""Parquet, for pandas, polars and DuckDB: one row an event, a column a key, and the phase in columns of its own.

`metadata` is one column of JSON text, so that nothing is lost: the same file is read back as a recording. Needs
pyarrow.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import msgspec

from phasescope.analysis.formatting import elide, printable
from phasescope.recordings import columns
from phasescope.recordings.event_parser import upgraded
from phasescope.recordings.formats import new_file
from phasescope.recordings.line_stream import MissingDependencyError
from phasescope.recordings.notes import is_note, note_in
from phasescope.recordings.packed_rows import GROUP_ROWS, PackedRows
from phasescope.recordings.row_pass import Columns, event_in
from phasescope.recordings.source import Problem, Tail
from phasescope.wire.event import EVENT_KEYS, InvalidEventError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from phasescope.recordings.columns import Rows
    from phasescope.recordings.notes import Note

_END_ROWS = 256
_UNFINISHED = ".unfinished"  # what is cut off by a kill must not be found by `*.parquet`
_MAX_GROUP_BYTES = 1 << 28
_LONGEST_TEXT = 200
_ROW_BYTES = 1024
_RISING = ("timestamp_ns", *columns.LINKS)  # different in each event, and mostly a little more than before
_NEW = frozenset({"metadata", *_RISING})
_ONCE = frozenset({"context", "metadata"})  # texts that seldom repeat

WRITTEN_WITH: Mapping[str, Any] = {
    "compression": "zstd",
    "use_dictionary": [column for column in columns.COLUMNS if column not in _NEW],
    "column_encoding": dict.fromkeys(_RISING, "DELTA_BINARY_PACKED"),
}
"""How pyarrow is to write a table of these columns."""

# What pyarrow raises of a damaged file: also KeyError and the like, for names and types that do not exist.
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, NotImplementedError, RecursionError)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class File(Protocol):
    """A file to read, here or on an object store."""

    @property
    def name(self) -> str:
        """Its name without folders."""

    def open(self, mode: Literal["rb"], /) -> Any:
        """Open it. Raises OSError."""


class Written(NamedTuple):
    """How many events were written, and how many have a number that no column has room for."""

    events: int
    unfit: int


def write(
    batches: Iterable[Rows | PackedRows], path: str | os.PathLike[str], note: Callable[[], Mapping[str, Any]]
) -> Written:
    """Write these events. `note` gives a recorder's word about them, asked for when they are read, and kept in the
    file's own metadata.

    The file gets its name when it is complete. Raises OSError and MissingDependencyError.
    """
    pyarrow, parquet = _pyarrow()
    schema = schema_of(pyarrow)
    count = unfit = 0
    held: list[Any] = []
    first = _END_ROWS
    with new_file(Path(path), _UNFINISHED) as unfinished:
        with parquet.ParquetWriter(unfinished, schema, **WRITTEN_WITH) as writer, ThreadPoolExecutor(1) as thread:
            written: Future[None] | None = None
            for rows in batches:
                table = table_of(pyarrow, schema, rows)
                held.append(table)
                count, unfit = count + len(table), unfit + rows.unfit + len(rows) - len(table)
                most = first or GROUP_ROWS
                size = sum(map(len, held))
                if size >= most + _END_ROWS or sum(table.nbytes for table in held) >= _MAX_GROUP_BYTES:
                    if written is not None:
                        written.result()
                    together = pyarrow.concat_tables(held)
                    taken = min(most, max(1, size - _END_ROWS))
                    # Writing compresses, which needs no Python: meanwhile the next rows are made.
                    written = thread.submit(writer.write_table, together.slice(0, taken))
                    # A slice of the rows to come would keep all of them: so they are copied.
                    held, first = [together.slice(taken).take(pyarrow.array(range(size - taken)))], 0
                    del table, rows, together
            if written is not None:
                written.result()
            if held:
                for group in groups(pyarrow.concat_tables(held), first):
                    writer.write_table(group)
            writer.add_key_value_metadata({"phasescope": _encode(note()).decode()})
    return Written(count, unfit)


def groups(table: Any, first: int = _END_ROWS) -> Iterator[Any]:
    """Yield the row groups of what is left to write: small ones for the first rows and the last, which is where a
    session says how it began and ended. Who wants to know that reads no more."""
    first = min(first, len(table))
    last = max(first, len(table) - _END_ROWS)
    edges = [0, first, *range(first + GROUP_ROWS, last, GROUP_ROWS), last, len(table)]
    for begin, end in pairwise(edges):
        if end > begin:
            yield table.slice(begin, end - begin)


def schema_of(pyarrow: Any) -> Any:
    """Return the schema of all tables."""
    repeated = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())

    def kind(column: str) -> Any:
        if column in _ONCE:
            return pyarrow.string()
        return repeated if column in columns.TEXTS else pyarrow.int64()

    return pyarrow.schema([(column, kind(column)) for column in columns.COLUMNS])


def table_of(pyarrow: Any, schema: Any, rows: Rows | PackedRows) -> Any:
    """Return the rows as a table, without those that have a number beyond 64 bits."""
    if isinstance(rows, PackedRows):
        return _packed_table(pyarrow, schema, rows)
    try:
        return _table(pyarrow, schema, rows)
    except (OverflowError, pyarrow.ArrowInvalid):  # seldom: to look at each number first would cost as much again
        return _table(pyarrow, schema, rows.fitting())


def _table(pyarrow: Any, schema: Any, rows: Rows) -> Any:
    integers = pyarrow.int64()
    arrays = _alike(pyarrow, schema, rows, pyarrow.array(rows.places, pyarrow.int32()))
    for names, having in ((columns.MEASURED, rows.measured), (columns.PHASE, rows.phases)):
        for column, attribute in names.items():
            arrays[column] = pyarrow.array(list(map(attrgetter(attribute), having)), integers)
    session_id = rows.common[columns.COMMON.index("session_id")]
    for column, links in columns.links_of(rows.phases, session_id).items():
        arrays[column] = pyarrow.array(links, integers)
    arrays["metadata"] = pyarrow.array(rows.metadata, pyarrow.string())
    return pyarrow.Table.from_arrays([arrays[column] for column in columns.COLUMNS], schema=schema)


def _packed_table(pyarrow: Any, schema: Any, rows: PackedRows) -> Any:
    """Return the same of rows in buffers, which are taken as they are."""
    count = len(rows)
    if not count:
        return schema.empty_table()
    places, *figures, ends, texts = map(pyarrow.py_buffer, rows.buffers)
    bitmaps = dict(zip(columns.MAYBE, figures[len(columns.FIGURES) :], strict=True))
    taken = pyarrow.Array.from_buffers(pyarrow.int32(), count, [None, places])
    arrays = _alike(pyarrow, schema, rows, taken)
    for column, numbers in zip(columns.FIGURES, figures, strict=False):
        arrays[column] = pyarrow.Array.from_buffers(pyarrow.int64(), count, [bitmaps.get(column), numbers])
    arrays["metadata"] = pyarrow.Array.from_buffers(pyarrow.string(), count, [None, ends, texts])
    return pyarrow.Table.from_arrays([arrays[column] for column in columns.COLUMNS], schema=schema)


def _alike(pyarrow: Any, schema: Any, rows: Rows | PackedRows, places: Any) -> dict[str, Any]:
    """Return the columns that all rows have in common, and those that repeat."""
    arrays = {}
    alike = pyarrow.repeat(pyarrow.scalar(0, pyarrow.int32()), len(rows))
    of_rows = zip(columns.REPEATED, zip(*rows.repeated, strict=True), strict=True)
    of_all = zip(columns.COMMON, ((value,) for value in rows.common), strict=True)
    for where, pairs in ((alike, of_all), (places, of_rows)):
        for column, values in pairs:
            if isinstance(schema.field(column).type, pyarrow.DictionaryType):
                arrays[column] = _repeated(pyarrow, values, where)
            else:
                arrays[column] = pyarrow.array(values, schema.field(column).type).take(where)
    return arrays


def _repeated(pyarrow: Any, values: Sequence[str | None], places: Any) -> Any:
    """Return a dictionary array of the values at these places. Its dictionary is made here: that is several times as
    fast as having pyarrow look for it."""
    texts = [text for text in dict.fromkeys(values) if text is not None]
    numbers: dict[str | None, int] = {text: number for number, text in enumerate(texts)}
    indices = pyarrow.array(list(map(numbers.get, values)), pyarrow.int32())  # None has no index: it is null
    return pyarrow.DictionaryArray.from_arrays(indices.take(places), pyarrow.array(texts, pyarrow.string()))


class ParquetSource:
    """The events of Parquet files that `write` made: one session's, in the order of its parts."""

    def __init__(self, files: Sequence[File]) -> None:
        """Take the files. Raises MissingDependencyError."""
        self._files = files
        self._pyarrow, self._parquet = _pyarrow()
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


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError("Parquet needs pyarrow: pip install 'phasescope[parquet]'") from error
    return pyarrow, pyarrow.parquet
